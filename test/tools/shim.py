# SPDX-License-Identifier: Apache-2.0
"""A server whose system clock jumps, and whose disk and process ends are slow:
see shim.c."""

import mmap
import os
import struct

import pytest

from httpd_env import COMET_MODULE, SANITIZER

LIBRARY = os.path.join(os.path.dirname(COMET_MODULE), "tools", "shim.so")
CLOCK, SYNC, EXIT, SIZE = 0, 8, 16, 24     # where in the file


class Shim:
    """What a server that is not started yet will believe.

    env: for other programs that are to believe it, too.
    """

    def __init__(self, server):
        if SANITIZER != "none":
            pytest.skip("a sanitizer's runtime wants these calls itself")
        path = os.path.join(server.root, "shim")
        with open(path, "w+b") as out:
            out.write(bytes(SIZE))
            out.flush()
            self.numbers = mmap.mmap(out.fileno(), SIZE)
        self.env = {"LD_PRELOAD": LIBRARY, "COMET_SHIM": path}
        server.env.update(self.env)

    def set_clock(self, seconds):
        """The system clock is off by so much from now on."""
        struct.pack_into("=q", self.numbers, CLOCK, int(seconds * 10 ** 6))

    def set_sync(self, seconds):
        """A sync takes so much longer from now on."""
        struct.pack_into("=q", self.numbers, SYNC, int(seconds * 10 ** 6))

    def set_exit(self, seconds):
        """A process that has nearly ended takes so much longer from now on."""
        struct.pack_into("=q", self.numbers, EXIT, int(seconds * 10 ** 6))
