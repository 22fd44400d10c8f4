# SPDX-License-Identifier: Apache-2.0
"""A small HTTP/2 client, over TLS or over cleartext with prior knowledge."""

import socket
import ssl
import struct
import time

from http_client import Closed

DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK, PADDED = 1, 4, 1, 8
STATIC_STATUS = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404,
                 14: 500}
HUFFMAN_DIGITS = {"00000": "0", "00001": "1", "00010": "2"}
HUFFMAN_DIGITS.update({format(0x19 + i, "06b"): str(3 + i)
                       for i in range(7)})


def tls_context():
    """Return a TLS context that trusts every server. (create_default_context()
    would load the system's certificate authorities, which takes 40 ms.)"""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


class Stream:
    """The answer to one request, as far as it has arrived."""

    def __init__(self):
        self.status = None
        self.head_at = self.end_at = 0.0
        self.pieces = []            # (monotonic arrival, bytes)
        self.ended = False
        self.reset = None           # error code of an RST_STREAM

    def body(self):
        return b"".join(p[1] for p in self.pieces)


class H2:
    """One connection with any number of streams."""

    def __init__(self, port, timeout=15.0, window=1 << 20, wider=1 << 24,
                 tls=False):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.sock = tls_context().wrap_socket(self.sock)
            assert self.sock.selected_alpn_protocol() == "h2"
        # credit: how many bytes the server may still send; used: how many it
        # has sent since the client last granted more. The keys are 0 (the
        # connection) and the ids of streams.
        self.window, self.total = window, 65535 + wider
        self.credit, self.used = {0: self.total}, {0: 0}
        self.grants = True
        self.authority = "localhost:%d" % port
        self.streams, self.next_id = {}, 1
        self.buffer = b""
        self.goaway, self.error = False, None
        self.sock.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + self.frame(SETTINGS, 0, 0, struct.pack(
                ">HIHIHI", 1, 0, 2, 0, 4, window))
            + (self.frame(WINDOW, 0, 0, struct.pack(">I", wider))
               if wider else b""))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    @staticmethod
    def frame(kind, flags, stream, payload):
        return struct.pack(">I", len(payload))[1:] \
            + struct.pack(">BBI", kind, flags, stream) + payload

    @staticmethod
    def integer(value, prefix, first):
        limit = (1 << prefix) - 1
        if value < limit:
            return bytes([first | value])
        out = [first | limit]
        value -= limit
        while value >= 128:
            out.append(value % 128 + 128)
            value //= 128
        return bytes(out + [value])

    def literal(self, name, value):
        name, value = name.encode(), value.encode()
        return b"\x10" + self.integer(len(name), 7, 0) + name \
            + self.integer(len(value), 7, 0) + value

    def request(self, method, path, headers=None, body=None):
        """Send a request; return its Stream."""
        block = b"".join(
            self.literal(k, v) for k, v in
            [(":method", method), (":scheme", "http"),
             (":authority", self.authority), (":path", path)]
            + [(k.lower(), v) for k, v in (headers or {}).items()])
        ident, self.next_id = self.next_id, self.next_id + 2
        stream = self.streams[ident] = Stream()
        self.sock.sendall(self.frame(
            HEADERS, END_HEADERS | (0 if body else END_STREAM), ident,
            block))
        if body:
            self.sock.sendall(self.frame(DATA, END_STREAM, ident, body))
        return stream

    def connect(self, path, headers=None, protocol="websocket"):
        """Send an extended CONNECT (RFC 8441); return its Stream, on which
        send() sends bytes."""
        block = b"".join(
            self.literal(k, v) for k, v in
            [(":method", "CONNECT"), (":protocol", protocol),
             (":scheme", "https"), (":authority", self.authority),
             (":path", path)]
            + [(k.lower(), v) for k, v in (headers or {}).items()])
        ident, self.next_id = self.next_id, self.next_id + 2
        stream = self.streams[ident] = Stream()
        self.sock.sendall(self.frame(HEADERS, END_HEADERS, ident, block))
        return stream

    def send(self, stream, data, end=False):
        """Send bytes on a stream, at most as many as its initial window
        allows."""
        ident = next(i for i, s in self.streams.items() if s is stream)
        self.sock.sendall(self.frame(DATA, END_STREAM if end else 0, ident,
                                     data))

    def cancel(self, stream):
        ident = next(i for i, s in self.streams.items() if s is stream)
        self.sock.sendall(self.frame(RST, 0, ident, struct.pack(">I", 8)))

    @staticmethod
    def status_of(block):
        """Return the status from a block of fields. :status is its first
        field."""
        while block and block[0] & 0xe0 == 0x20:    # table size update
            if block[0] & 0x1f == 0x1f:
                block = block[1:]
                while block[0] & 0x80:
                    block = block[1:]
            block = block[1:]
        if block[0] & 0x80:
            return STATIC_STATUS.get(block[0] & 0x7f, -1)
        length = block[1] & 0x7f
        value = block[2:2 + length]
        if not block[1] & 0x80:
            return int(value)
        bits = "".join(format(b, "08b") for b in value)
        digits = ""
        while len(digits) < 3:
            for size in (5, 6):
                if bits[:size] in HUFFMAN_DIGITS:
                    digits += HUFFMAN_DIGITS[bits[:size]]
                    bits = bits[size:]
                    break
            else:
                raise ValueError("not a status: %r" % value)
        return int(digits)

    def pump(self, until, timeout):
        """Read frames until `until()` is true; return False on timeout."""
        end = time.monotonic() + timeout
        while not until():
            left = end - time.monotonic()
            if left <= 0:
                return False
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(65536)
            except (TimeoutError, socket.timeout):
                return bool(until())
            if not data:
                if until():
                    return True
                raise Closed("h2 connection closed")
            self.buffer += data
            while self.take():
                pass
        return True

    def spend(self, ident, size, whole):
        """Note that the server has used `size` bytes of a window."""
        self.credit[ident] = self.credit.get(ident, self.window) - size
        assert self.credit[ident] >= 0, \
            "the server sent %d bytes beyond the window of %d" \
            % (-self.credit[ident], ident)
        self.used[ident] = self.used.get(ident, 0) + size
        if self.grants and self.used[ident] >= whole // 2:
            self.grant(ident)

    def grant(self, ident):
        """Grant the server as many bytes of a window as it has used."""
        update, self.used[ident] = self.used.get(ident, 0), 0
        if update:
            self.sock.sendall(self.frame(WINDOW, 0, ident,
                                         struct.pack(">I", update)))
            self.credit[ident] += update

    def take(self):
        if len(self.buffer) < 9:
            return False
        size = int.from_bytes(self.buffer[:3], "big")
        if len(self.buffer) < 9 + size:
            return False
        kind, flags = self.buffer[3], self.buffer[4]
        ident = int.from_bytes(self.buffer[5:9], "big") & 0x7fffffff
        payload = self.buffer[9:9 + size]
        self.buffer = self.buffer[9 + size:]
        stream = self.streams.get(ident)
        now = time.monotonic()
        if flags & PADDED and kind in (DATA, HEADERS):
            payload = payload[1:len(payload) - payload[0]]
        if kind == SETTINGS and not flags & ACK:
            self.sock.sendall(self.frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self.sock.sendall(self.frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            self.goaway = True
            self.error = int.from_bytes(payload[4:8], "big")
        elif stream is None:
            pass
        elif kind == HEADERS:
            if stream.status is None:
                stream.status = self.status_of(payload)
                stream.head_at = now
        elif kind == DATA:
            if payload:
                stream.pieces.append((now, payload))
                self.spend(0, size, self.total)
                self.spend(ident, size, self.window)
        elif kind == RST and stream.ended and payload == bytes(4):
            pass        # the answer is complete; no more of the body is wanted
        elif kind == RST:
            stream.reset = int.from_bytes(payload, "big")
            stream.ended, stream.end_at = True, now
        if stream is not None and kind in (DATA, HEADERS) \
                and flags & END_STREAM:
            stream.ended, stream.end_at = True, now
        return True

    def finish(self, stream, timeout):
        """Wait for the end of one stream."""
        assert self.pump(lambda: stream.ended, timeout), \
            "h2 stream not ended in %.1f s (status %s, %r)" \
            % (timeout, stream.status, stream.body()[:100])
        assert stream.reset is None, "RST_STREAM %s" % stream.reset
        return stream


class H2Tls(H2):
    """One connection over TLS.  The client checks that the server respects its
    windows, and grants more bytes when half of a window is used."""

    def __init__(self, port, window=1 << 20, wider=1 << 24, timeout=15.0):
        super().__init__(port, timeout, window=window, wider=wider, tls=True)
