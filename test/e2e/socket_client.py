# SPDX-License-Identifier: Apache-2.0
"""A small WebSocket client (RFC 6455) that can also send invalid frames."""

import base64
import hashlib
import json
import os
import struct

from http_client import Closed

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(opcode, payload=b"", fin=True, mask=b"\x37\xfa\x21\x3d", rsv=0,
          length=None, form=None):
    """Return one frame.  If `length` is given, the frame's head states it
    instead of the true length.  `form` is the size of the extended length: 0,
    2 or 8 bytes.  With `mask` None the frame is not masked."""
    if isinstance(payload, str):
        payload = payload.encode()
    size = len(payload) if length is None else length
    if form is None:
        form = 0 if size < 126 else 2 if size < 65536 else 8
    masked = 0x80 if mask is not None else 0
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if form == 0:
        head += bytes([masked | size])
    elif form == 2:
        head += bytes([masked | 126]) + struct.pack(">H", size)
    else:
        head += bytes([masked | 127]) + struct.pack(">Q", size)
    if mask is None:
        return head + payload
    key = (mask * (len(payload) // 4 + 1))[:len(payload)]
    return head + mask + (int.from_bytes(payload, "big")
                          ^ int.from_bytes(key, "big")
                          ).to_bytes(len(payload), "big")


def close_frame(code=None, reason=b"", **how):
    return frame(CLOSE, b"" if code is None
                 else struct.pack(">H", code) + reason, **how)


def handshake(key=None, **changes):
    """Return the headers of a correct handshake; a header that is None is left
    out."""
    headers = {"Upgrade": "websocket", "Connection": "Upgrade",
               "Sec-WebSocket-Key": key or "dGhlIHNhbXBsZSBub25jZQ==",
               "Sec-WebSocket-Version": "13"}
    for name, value in changes.items():
        headers[name.replace("_", "-")] = value
    return {name: value for name, value in headers.items()
            if value is not None}


class Socket:
    """A WebSocket that a test reads frame by frame."""

    def __init__(self, server, target, headers=None, **raw):
        self.conn = server.raw(**raw)
        key = base64.b64encode(os.urandom(16)).decode()
        self.conn.request("GET", target, dict(handshake(key),
                                              **(headers or {})))
        lines = self.conn.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        self.headers = {name.lower(): value.strip() for name, _, value in
                        (line.partition(":") for line in lines[1:])}
        self.code, self.reason = None, None
        if self.status == 101:
            right = base64.b64encode(
                hashlib.sha1(key.encode() + GUID).digest()).decode()
            assert self.headers["sec-websocket-accept"] == right
            assert self.headers["upgrade"] == "websocket"
            assert self.headers["connection"] == "Upgrade"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.conn.close()

    def send(self, data):
        self.conn.send(data)

    def say(self, value):
        """Send a JSON value as one frame."""
        self.send(frame(TEXT, json.dumps(value)))

    def publish(self, body, ref=None, **members):
        self.say({"publish": dict(members, body=body), "ref": ref}
                 if ref is not None else
                 {"publish": dict(members, body=body)})

    def frame(self):
        """Read a frame; return (opcode, payload).  It must be final and
        unmasked, as all frames of the server are."""
        first, second = self.conn.exactly(2)
        assert first & 0x70 == 0 and second & 0x80 == 0
        assert first & 0x80, "a fragment"
        size = second & 0x7f
        if size == 126:
            size, = struct.unpack(">H", self.conn.exactly(2))
            assert size > 125
        elif size == 127:
            size, = struct.unpack(">Q", self.conn.exactly(8))
            assert size > 65535
        payload = self.conn.exactly(size)
        if first & 0x0f == CLOSE:
            self.code = struct.unpack(">H", payload[:2])[0] if payload \
                else None
            self.reason = payload[2:].decode()
        return first & 0x0f, payload

    def hear(self):
        """Read the next text frame as JSON.  Answer the pings before it."""
        while True:
            opcode, payload = self.frame()
            if opcode == PING:
                self.send(frame(PONG, payload))
            elif opcode == TEXT:
                return json.loads(payload.decode("utf-8"))
            elif opcode == CLOSE:
                raise Closed("closed: %s %s" % (self.code, self.reason))

    def stored(self, body, **members):
        """Publish, and read until both the answer and the message have arrived.
        Return both."""
        self.publish(body, ref=body, **members)
        answer, messages = None, {}
        while answer is None or answer["stored"] not in messages:
            got = self.hear()
            if "ref" in got:
                assert got["ref"] == body and "stored" in got, got
                answer = got
            else:
                messages[got["timestamp"]] = got
        return answer, messages[answer["stored"]]

    def opened(self):
        """Read the first frame; return its cursor."""
        first = self.hear()
        assert list(first) == ["open"], first
        return first["open"]

    def until_close(self):
        """Read up to the Close frame and the end of the connection. Return the
        close code and the frames before it."""
        seen = []
        while self.code is None and self.reason is None:
            opcode, payload = self.frame()
            if opcode != CLOSE:
                seen.append((opcode, payload))
        self.send(close_frame(self.code or 1000))
        while self.conn.fill():
            pass
        return self.code, seen
