# SPDX-License-Identifier: Apache-2.0
"""A server whose system clock jumps, whose disk is slow or on a network, whose
processes end slowly, whose name server is slow, or that has a client who takes
bytes only now and then: see shim.c."""

import mmap
import os
import struct

import pytest

from httpd_env import COMET_MODULE, SANITIZER

LIBRARY = os.path.join(os.path.dirname(COMET_MODULE), "tools", "shim.so")
# offsets in the file
CLOCK, SYNC, EXIT, FILE_SYSTEM, RESOLVE, PORT, TAKES, SIZE = range(0, 64, 8)


class Shim:
    """The clock and the delays of a server. Make it before the server starts;
    the values can be changed later.

    env: the environment for other programs that must see the same clock.
    """

    def __init__(self, server):
        if SANITIZER != "none":
            pytest.skip("a sanitizer's runtime wants these calls itself")
        # Without the library the dynamic linker would only warn.
        assert os.path.exists(LIBRARY), "`make tests` builds " + LIBRARY
        path = os.path.join(server.root, "shim")
        with open(path, "w+b") as out:
            out.write(bytes(SIZE))
            out.flush()
            self.numbers = mmap.mmap(out.fileno(), SIZE)
        self.env = {"LD_PRELOAD": LIBRARY, "COMET_SHIM": path}
        server.env.update(self.env)

    def set_clock(self, seconds):
        """Shift the system clock by this many seconds."""
        struct.pack_into("=q", self.numbers, CLOCK, int(seconds * 10 ** 6))

    def set_sync(self, seconds):
        """Make each sync take this much longer."""
        struct.pack_into("=q", self.numbers, SYNC, int(seconds * 10 ** 6))

    def set_exit(self, seconds):
        """Make a process take this much longer at its very end."""
        struct.pack_into("=q", self.numbers, EXIT, int(seconds * 10 ** 6))

    def set_resolve(self, seconds):
        """Make the name server answer this much later."""
        struct.pack_into("=q", self.numbers, RESOLVE, int(seconds * 10 ** 6))

    def set_file_system(self, kind):
        """Set the type that statfs() reports for all file systems."""
        struct.pack_into("=q", self.numbers, FILE_SYSTEM, kind)

    def set_takes_at(self, conn, attempt):
        """Let the client `conn` take bytes only at every `attempt`-th attempt
        to send.  There is one such client at a time."""
        struct.pack_into("=q", self.numbers, TAKES, attempt)
        struct.pack_into("=q", self.numbers, PORT,
                         conn.sock.getsockname()[1])

    def set_breaks_at(self, conn, attempt):
        """Let the client `conn` take nothing, and break the connection at the
        `attempt`-th attempt to send."""
        self.set_takes_at(conn, -attempt)
