# SPDX-License-Identifier: Apache-2.0
"""Crowds of hostile clients, and how they affect the other clients."""

import contextlib
import ctypes
import os
import socket
import struct
import time

from comet_load import quantile
from event_stream import EventStream
from http_client import Answer
from httpd_env import COMET_MODULE, SANITIZER, SLOW, connect, fd_count, pss_kb

EVENTS = {"Accept": "text/event-stream"}
SO_ATTACH_FILTER = 26           # Linux: asm-generic/socket.h
DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)   # BPF_RET | BPF_K, 0 bytes


def write_paths():
    """The ways in which the module may write to streams: name and
    configuration."""
    with open(COMET_MODULE, "rb") as module:
        knows = b"CometAdopt" in module.read()
    return {"brigade": "CometAdopt off\n", "adopted": "CometAdopt on\n"} \
        if knows else {"brigade": ""}


WRITE_PATHS = write_paths()


def deafen(sock):
    """Drop every packet that arrives for a socket before TCP sees it, so that
    for its peer the client has vanished. This needs no privilege."""
    drop = ctypes.create_string_buffer(DROP_ALL, len(DROP_ALL))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER,
                    struct.pack("HP", 1, ctypes.addressof(drop)))


class Crowd:
    """Clients on plain sockets, which only do what the test makes them do."""

    def __init__(self, server, make_socket=socket.socket, host="127.0.0.1"):
        self.server, self.host = server, host
        self.make_socket = make_socket
        self.socks = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.leave()

    def connect(self, count, rcvbuf=None):
        """Open `count` more connections; return them."""
        made = []
        for _ in range(count):
            sock = self.make_socket()
            self.socks.append(sock)
            if rcvbuf:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
            sock.settimeout(15 * SLOW)
            sock.connect((self.host, self.server.port))
            made.append(sock)
        return made

    def ask(self, count, target, headers=None, rcvbuf=None):
        """Open `count` more connections that send a request and read
        nothing."""
        made = self.connect(count, rcvbuf)
        for sock in made:
            sock.sendall(head("GET", target, headers))
        return made

    def leave(self):
        """Close all connections with a reset."""
        for sock in self.socks:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                            struct.pack("ii", 1, 0))
            sock.close()
        self.socks = []


def head(method, target, headers=None):
    """Make the head of a request."""
    lines = ["%s %s HTTP/1.1" % (method, target), "Host: localhost"]
    lines += ["%s: %s" % pair for pair in (headers or {}).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def read_head(sock):
    """Read the head of an answer, and not a byte more."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536, socket.MSG_PEEK)
        if not more:
            raise ConnectionError("closed after %r" % data)
        end = more.find(b"\r\n\r\n")     # a head comes in one piece
        data += sock.recv(end + 4 if end >= 0 else len(more))
    lines = data.decode("latin-1").split("\r\n")
    return Answer(int(lines[0].split(" ")[1]), {
        name.lower(): value.strip() for name, _, value in
        (line.partition(":") for line in lines[1:-2])}, b"", 0.0)


def noise(count):
    """The p99 of `count` samples that is always accepted, in seconds. With few
    samples the p99 is the slowest one. While other tests run, that shows only
    their load and their syncs."""
    if count >= 500:
        return 0.05
    return 1.5 if "PYTEST_XDIST_WORKER" in os.environ else 0.5


class Others:
    """A well-behaved stream, a publisher and a visitor of the site. Their
    delays are compared with those before the attack."""

    def __init__(self, server):
        self.server = server
        self.events, self.number = [], 0
        self.parser = EventStream(self.events.append)
        self.conn = server.raw(timeout=30)
        self.conn.request("GET", "/comet/others", EVENTS)
        assert self.conn.head() == 200
        self.before = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.conn.close()

    def message(self):
        """How long a message takes to reach the stream, including the
        publish."""
        self.number += 1
        begin = time.monotonic()
        self.server.post("others", "%d" % self.number)
        self.await_message()
        return time.monotonic() - begin

    def arrival(self):
        """How long another program's message takes to reach the stream."""
        self.number += 1
        with contextlib.closing(connect(self.server.db)) as db:
            begin = time.monotonic()
            db.execute("INSERT INTO message(channel, body) VALUES('others',"
                       " ?)", (str(self.number),))
            self.await_message()
            return time.monotonic() - begin

    def await_message(self):
        """Read the stream until the last message has arrived."""
        while not self.events or self.events[-1]["data"] != str(self.number):
            piece = self.conn.chunk()
            assert piece, "the others' stream has ended"
            self.parser.feed(piece)

    def page(self):
        """How long a static file takes."""
        begin = time.monotonic()
        assert self.server.get("/static.txt").status == 200
        return time.monotonic() - begin

    def feel(self, count):
        """The p99 in seconds of `count` messages, and of as many pages."""
        return (quantile([self.message() for _ in range(count)], 0.99),
                quantile([self.page() for _ in range(count)], 0.99))

    def remember(self, count):
        """Measure before the attack, after a warm-up."""
        self.feel(20)
        self.before = self.feel(count)
        return self

    def judge(self, count):
        """Check that each p99 is at most twice the remembered one, or at most
        noise(); return a sentence. prefork is not judged, since it starts
        processes by its own rules."""
        now = self.feel(count)
        if SANITIZER == "none" and self.server.mpm != "prefork":
            for was, have in zip(self.before, now):
                assert have <= max(2 * was, noise(count)), (self.before, now)
        return "p99 of others: messages %.1f -> %.1f ms, pages %.1f -> %.1f ms" \
            % (self.before[0] * 1000, now[0] * 1000,
               self.before[1] * 1000, now[1] * 1000)


class Footprint:
    """What a server's children use, compared with what they used at the
    beginning."""

    def __init__(self, server):
        self.server = server
        self.pss, self.fds = self.now()

    def now(self):
        """The children's memory in KiB, and their number of descriptors."""
        while True:
            kids = self.server.children()
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                return sum(map(pss_kb, kids)), sum(map(fd_count, kids))
            # a child has just ended: count again without it

    def grown(self):
        """The growth since the beginning, in KiB and descriptors."""
        pss, fds = self.now()
        return pss - self.pss, fds - self.fds
