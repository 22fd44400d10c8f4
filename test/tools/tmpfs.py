# SPDX-License-Identifier: Apache-2.0
"""A small disk that can be filled up or made read-only. It needs root."""

import os
import subprocess

import pytest

from httpd_env import give, is_root


class Tmpfs:
    """A separate file system in a folder that the children's user owns."""

    def __init__(self, folder, size="2m"):
        if not is_root():
            pytest.skip("needs root for a tmpfs")
        self.folder = folder
        self.run("mount", "-t", "tmpfs", "-o", "size=%s,mode=770" % size,
                 "tmpfs", folder)
        give(folder)

    @staticmethod
    def run(*command):
        done = subprocess.run(command, stderr=subprocess.PIPE, timeout=20)
        if done.returncode:
            pytest.skip("%s: %s" % (" ".join(command),
                                    done.stderr.decode().strip()))

    def remount(self, how):
        self.run("mount", "-o", "remount," + how, self.folder)

    def fill(self):
        """Fill the disk. @return the path of the file that fills it"""
        filler = os.path.join(self.folder, "filler")
        with open(filler, "wb", buffering=0) as out:
            try:
                while out.write(bytes(4096)) == 4096:
                    pass
            except OSError:
                pass
        return filler

    def close(self):
        subprocess.run(["umount", "-l", self.folder], timeout=20)
