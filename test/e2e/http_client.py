# SPDX-License-Identifier: Apache-2.0
"""HTTP clients for the tests.  They show each chunk and when it arrived, and
can pipeline requests."""

import json
import socket
import ssl
import struct
import threading
import time
import urllib.parse


def quote(text, safe=""):
    """Percent-encode text (or bytes) for a query value or a path."""
    return urllib.parse.quote(text, safe=safe)


class Answer:
    """A whole response."""

    def __init__(self, status, headers, body, took):
        self.status, self.headers = status, headers
        self.body, self.took = body, took

    def json(self):
        return json.loads(self.body)

    def header(self, name, default=None):
        return self.headers.get(name.lower(), default)

    def __repr__(self):
        return "<%d %r %r>" % (self.status, self.headers, self.body[:300])


class Closed(ConnectionError):
    """The server closed the connection before the answer was complete."""


class Raw:
    """One connection whose answers the test reads piece by piece.

    `stamp` and `wall` are the monotonic and the wall-clock time at which the
    last byte read so far arrived.
    """

    def __init__(self, port, tls=False, timeout=15.0, rcvbuf=None,
                 host="127.0.0.1"):
        self.timeout = timeout
        self.host = "localhost:%d" % port
        sock = socket.socket()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        sock.settimeout(timeout)
        sock.connect((host, port))
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            sock = context.wrap_socket(sock, server_hostname="localhost")
        self.sock = sock
        self.buffer = b""
        self.stamp = self.wall = 0.0
        self.status, self.headers, self.raw_head = 0, {}, b""
        self.method = "GET"
        self.framing, self.left = None, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # -- sending ----------------------------------------------------------

    def send(self, data):
        self.sock.sendall(data)

    def request(self, method, target, headers=None, body=None,
                version="1.1"):
        """Send a request; only Host and Content-Length are added."""
        self.method = method
        self.send(self.format(method, target, headers, body, version))
        return self

    def format(self, method, target, headers=None, body=None,
               version="1.1"):
        if isinstance(target, str):
            target = target.encode("utf-8")
        lines = [method.encode() + b" " + target + b" HTTP/"
                 + version.encode()]
        given = {k.lower() for k in (headers or {})}
        if "host" not in given:
            lines.append(b"Host: " + self.host.encode())
        for name, value in (headers or {}).items():
            if value is not None:
                lines.append(name.encode() + b": "
                             + (value if isinstance(value, bytes)
                                else str(value).encode("utf-8")))
        if body is not None and "content-length" not in given \
                and "transfer-encoding" not in given:
            lines.append(b"Content-Length: %d" % len(body))
        return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")

    # -- receiving --------------------------------------------------------

    def fill(self, timeout=None):
        """Read from the socket once; return False at the end of the stream."""
        self.sock.settimeout(self.timeout if timeout is None else timeout)
        data = self.sock.recv(65536)
        self.stamp, self.wall = time.monotonic(), time.time()
        self.buffer += data
        return bool(data)

    def until(self, mark):
        while mark not in self.buffer:
            if not self.fill():
                raise Closed("closed after %r" % self.buffer[:200])
        head, _, self.buffer = self.buffer.partition(mark)
        return head

    def exactly(self, count):
        while len(self.buffer) < count:
            if not self.fill():
                raise Closed("closed, %d of %d bytes"
                             % (len(self.buffer), count))
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def head(self):
        """Read the status line and headers; return the status."""
        while True:
            self.raw_head = self.until(b"\r\n\r\n")
            lines = self.raw_head.decode("latin-1").split("\r\n")
            parts = lines[0].split(" ", 2)
            if not parts[0].startswith("HTTP/") or len(parts) < 2:
                raise ValueError("not HTTP: %r" % lines[0])
            self.status = int(parts[1])
            if self.status >= 200:
                break
        self.headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            name, value = name.strip().lower(), value.strip()
            if name in self.headers:
                value = self.headers[name] + ", " + value
            self.headers[name] = value
        if self.method == "HEAD" or self.status in (204, 304):
            self.framing = "none"
        elif "chunked" in self.headers.get("transfer-encoding", "").lower():
            self.framing = "chunked"
        elif "content-length" in self.headers:
            self.framing = "length"
            self.left = int(self.headers["content-length"])
        else:
            self.framing = "close"
        return self.status

    def chunk(self):
        """Return the next chunk (or what has arrived of an answer without
        chunks); b"" at the end."""
        if self.framing == "none":
            return b""
        if self.framing == "chunked":
            size = int(self.until(b"\r\n").split(b";")[0], 16)
            data = self.exactly(size)
            if self.exactly(2) != b"\r\n":
                raise ValueError("broken chunk")
            if size == 0:
                self.framing = "none"
            return data
        if self.framing == "length" and self.left == 0:
            return b""
        if not self.buffer and not self.fill():
            if self.framing == "length":
                raise Closed("%d bytes missing" % self.left)
            return b""
        if self.framing == "length":
            data = self.buffer[:self.left]
            self.left -= len(data)
            self.buffer = self.buffer[len(data):]
        else:
            data, self.buffer = self.buffer, b""
        return data

    def body(self):
        """Return the rest of the answer's body."""
        parts = []
        while True:
            data = self.chunk()
            if not data:
                return b"".join(parts)
            parts.append(data)

    def answer(self):
        """Read the head and the body; return an Answer."""
        begin = time.monotonic()
        self.head()
        body = self.body()
        return Answer(self.status, self.headers, body,
                      time.monotonic() - begin)

    def at_eof(self, timeout):
        """Return whether the server closes within `timeout` without sending a
        byte."""
        end = time.monotonic() + timeout
        try:
            while not self.buffer:
                if not self.fill(max(0.01, end - time.monotonic())):
                    return True
        except ConnectionError:
            return True
        except (TimeoutError, socket.timeout):
            return False
        return False

    def silent(self, seconds):
        """Return whether nothing arrives for this many seconds."""
        if self.buffer:
            return False
        try:
            self.fill(seconds)
        except (TimeoutError, socket.timeout):
            return True
        return False

    def reset(self):
        """Close the connection by a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                             struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()


def one_request(port, method, target, body=None, headers=None,
                timeout=15.0, tls=False):
    """Send one request on its own connection; return the Answer."""
    if isinstance(body, str):
        body = body.encode("utf-8")
    headers = dict(headers or {})
    headers.setdefault("Connection", "close")
    begin = time.monotonic()
    with Raw(port, tls=tls, timeout=timeout) as conn:
        conn.request(method, target, headers, body)
        answer = conn.answer()
        answer.took = time.monotonic() - begin
        return answer


class Poller(threading.Thread):
    """A thread that polls, with the cursor loop of the original page.

    messages: (timestamp, msg, monotonic arrival) in order of arrival.
    quiet:    the timestamps of the no-news answers.
    failures: the errors after each of which a page would have waited 5 s.
    answered: how many requests were answered completely.
    """

    def __init__(self, port, target="/chat/backend.php", cursor=0,
                 tls=False, timeout=60.0, keepalive=True, conn=None):
        super().__init__(daemon=True)
        self.port, self.target, self.tls = port, target, tls
        self.cursor, self.timeout = cursor, timeout
        self.keepalive = keepalive
        self.messages, self.quiet, self.failures = [], [], []
        self.answered = self.connects = 0
        self.changed = threading.Condition()
        self.done = threading.Event()
        self.conn = conn

    def run(self):
        reused = self.conn is not None
        while not self.done.is_set():
            try:
                if self.conn is None:
                    reused = False
                    self.conn = Raw(self.port, tls=self.tls,
                                    timeout=self.timeout)
                    self.connects += 1
                self.conn.request(
                    "GET", "%s?timestamp=%s" % (self.target, self.cursor),
                    {} if self.keepalive else {"Connection": "close"})
                answer = self.conn.answer()
                self.take(answer, self.conn.stamp)
                reused = True
                if not self.keepalive or "close" in answer.header(
                        "connection", "").lower():
                    self.drop()
            except (OSError, ValueError, KeyError) as err:
                if self.done.is_set():
                    break
                lost_idle = reused and isinstance(err, ConnectionError) \
                    and (not isinstance(err, Closed)
                         or "b''" in str(err))
                self.drop()
                if not lost_idle:     # an HTTP client repeats such a GET
                    with self.changed:
                        self.failures.append(repr(err))
                        self.changed.notify_all()
                    self.done.wait(0.05)
        self.drop()

    def take(self, answer, stamp):
        if answer.status != 200:
            with self.changed:
                self.failures.append(repr(answer))
                self.changed.notify_all()
            self.done.wait(0.05)
            return
        data = answer.json()
        with self.changed:
            self.answered += 1
            self.cursor = data["timestamp"]
            if data["msg"] == "":
                self.quiet.append(data["timestamp"])
            else:
                self.messages.append((data["timestamp"], data["msg"],
                                      stamp))
            self.changed.notify_all()

    def drop(self):
        conn, self.conn = self.conn, None
        if conn is not None:
            try:
                conn.close()
            except OSError:
                pass

    def texts(self):
        with self.changed:
            return [m[1] for m in self.messages]

    def wait_for(self, count, timeout):
        """Wait until `count` messages have arrived in all; return their
        texts."""
        with self.changed:
            ok = self.changed.wait_for(
                lambda: len(self.messages) >= count, timeout)
            texts = [m[1] for m in self.messages]
            assert ok, ("%d of %d messages in %.1f s: %r; failures %r"
                        % (len(texts), count, timeout, texts[-5:],
                           self.failures[-3:]))
            stamps = [m[0] for m in self.messages]
        assert stamps == sorted(set(stamps)), "timestamps not increasing"
        return texts

    def stop(self):
        """End the loop, even while a poll is held."""
        self.done.set()
        conn = self.conn
        if conn is not None:
            try:
                conn.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.join(10)
        assert not self.is_alive(), "poller hangs"

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()


def but_date(head):
    """The lines of an answer's head without the date."""
    return [line for line in head.split(b"\r\n")
            if not line.startswith(b"Date: ")]


def gather(jobs, timeout=60.0):
    """Run each callable in a thread of its own; return their results, or raise
    the first error."""
    results, errors = [None] * len(jobs), []

    def run(index, job):
        try:
            results[index] = job()
        except BaseException as err:      # gather() raises it
            errors.append(err)

    threads = [threading.Thread(target=run, args=(i, j), daemon=True)
               for i, j in enumerate(jobs)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
        assert not thread.is_alive(), "a job hangs"
    if errors:
        raise errors[0]
    return results
