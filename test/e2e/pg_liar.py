# SPDX-License-Identifier: Apache-2.0
"""A server that speaks PostgreSQL's protocol, and gives answers that a real
PostgreSQL would never give."""

import socket
import struct
import threading
import time


def packet(kind, body=b""):
    return kind + struct.pack("!i", len(body) + 4) + body


def row(*values):
    """Return a result of one row of int8 values in binary, preceded by the
    description of its columns."""
    columns = b"".join(b"c\0" + struct.pack("!ihihih", 0, 0, 20, 8, -1, 1)
                       for _ in values)
    data = b"".join(struct.pack("!iq", 8, value) for value in values)
    return packet(b"T", struct.pack("!h", len(values)) + columns) \
        + packet(b"D", struct.pack("!h", len(values)) + data)


READY = packet(b"Z", b"I")
HELLO = packet(b"R", struct.pack("!i", 0)) \
    + packet(b"S", b"client_encoding\0UTF8\0") \
    + packet(b"K", struct.pack("!ii", 4711, 42)) + READY
DONE = packet(b"C", b"SELECT 1\0") + READY
# The lies: what the server sends as the answer to a statement.
LIES = {
    # the server announces a COPY: libpq then reports COPY for ever
    "copy out": packet(b"H", struct.pack("!bh", 0, 0)),
    "copy in": packet(b"G", struct.pack("!bh", 0, 0)),
    "no rows": DONE,
    "other rows": row(1) + row(2) + DONE,
    "nothing": b"",
    "noise": bytes(range(256)) * 4,
    "an error of no kind": packet(b"E", b"SERROR\0\0") + READY,
    "a long row": packet(b"D", b"\x7f\xff" + bytes(64)),
}


class Liar:
    """Accepts connections on a socket in a folder.  It says that the schema
    exists, and answers all other statements with `self.lie`: a key of LIES,
    "flood" or "slow"."""

    def __init__(self, folder):
        self.path = folder + "/.s.PGSQL.5432"
        self.conninfo = "host=%s dbname=site user=x" % folder
        self.lie, self.asked = "nothing", 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(100)
        self.connections = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(conn)
            threading.Thread(target=self.serve, args=(conn,),
                             daemon=True).start()

    def serve(self, conn):
        try:
            self.converse(conn)
        except (OSError, struct.error):
            pass
        finally:
            conn.close()

    def converse(self, conn):
        stream = conn.makefile("rb")
        length, = struct.unpack("!i", stream.read(4))
        stream.read(length - 4)
        conn.sendall(HELLO)
        text = b""
        while True:
            kind, length = struct.unpack("!ci", stream.read(5))
            text += stream.read(length - 4)
            if kind in b"QS":           # the end of a statement
                self.answer(conn, text)
                text = b""

    def answer(self, conn, text):
        parsed = packet(b"1") + packet(b"2")
        if b"comet.schema" in text:
            conn.sendall(parsed + row(99, 1) + DONE)
        elif b"comet.configure" in text:
            conn.sendall(parsed + row(0) + DONE)
        else:
            self.asked += 1
            self.say(conn, parsed)

    def say(self, conn, parsed):
        if self.lie == "flood":
            while self.lie == "flood":
                conn.sendall(packet(b"S", b"a\0b\0") * 1000)
        elif self.lie == "slow":
            for byte in parsed + row(1, 1) + DONE:
                conn.sendall(bytes([byte]))
                time.sleep(0.1)
        else:
            conn.sendall(parsed + LIES[self.lie])

    def change(self, lie):
        """Change the lie, and cut all connections, so that new ones get it."""
        self.lie = lie
        for conn in self.connections:
            try:
                conn.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.connections, self.asked = [], 0

    def close(self):
        self.listener.close()
        self.change("nothing")
