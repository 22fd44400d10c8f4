# SPDX-License-Identifier: Apache-2.0
"""Three network namespaces of Linux: the server's host, the clients' host, and
between them a router that can stop forwarding.

server (the test) 192.0.2.1 -- 192.0.2.2 router 198.51.100.2 --
198.51.100.1 clients

The namespaces have no names, so they end with the last process that uses them.
"""

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess

import pytest

CLONE_NEWNET = 0x40000000
SERVER, CLIENT = "192.0.2.1", "198.51.100.1"
LIBC = ctypes.CDLL(None, use_errno=True)


def call(function, *args):
    """Call a C function; raise an error if it fails."""
    if function(*args) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def here():
    """A descriptor of this thread's network namespace."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


class Host:
    """A network namespace."""

    def __init__(self):
        home = here()
        try:
            call(LIBC.unshare, CLONE_NEWNET)
            self.fd = here()
            call(LIBC.setns, home, CLONE_NEWNET)
        finally:
            os.close(home)
        self.path = "/proc/%d/fd/%d" % (os.getpid(), self.fd)
        self.ip("link", "set", "lo", "up")

    @contextlib.contextmanager
    def entered(self):
        """Within this context, the calling thread is on this host, and so are
        the sockets that it makes and the programs that it starts."""
        home = here()
        try:
            call(LIBC.setns, self.fd, CLONE_NEWNET)
            yield self
        finally:
            call(LIBC.setns, home, CLONE_NEWNET)
            os.close(home)

    def socket(self):
        """A socket on this host."""
        with self.entered():
            return socket.socket()

    def ip(self, *args):
        """Run ip(8) on this host."""
        with self.entered():
            subprocess.run(["ip"] + list(args), check=True, timeout=30,
                           stderr=subprocess.PIPE)

    def cable(self, other, mine, theirs):
        """Connect an interface of this host, with the address `mine`, to one of
        the other host, with the address `theirs`."""
        name = "to%d" % other.fd
        self.ip("link", "add", name, "type", "veth", "peer", "name",
                "to%d" % self.fd, "netns", other.path)
        for host, device, address in ((self, name, mine),
                                      (other, "to%d" % self.fd, theirs)):
            host.ip("address", "add", address + "/24", "dev", device)
            host.ip("link", "set", device, "up")

    def close(self):
        os.close(self.fd)


class Far:
    """The three network namespaces."""

    def __init__(self):
        self.hosts = [Host() for _ in range(3)]
        self.server, self.router, self.client = self.hosts
        self.server.cable(self.router, SERVER, "192.0.2.2")
        self.client.cable(self.router, CLIENT, "198.51.100.2")
        self.server.ip("route", "add", "default", "via", "192.0.2.2")
        self.client.ip("route", "add", "default", "via", "198.51.100.2")
        self.forward(True)

    def forward(self, on):
        """Choose whether the router forwards packets or drops them all."""
        with self.router.entered(), \
                open("/proc/sys/net/ipv4/ip_forward", "w") as switch:
            switch.write("1" if on else "0")

    def close(self):
        for host in self.hosts:
            host.close()


@pytest.fixture
def far():
    """Run the test on the server's host. Name this fixture before make_server,
    so that servers are stopped on the host where they were started."""
    if not shutil.which("ip"):
        pytest.skip("no ip(8), which makes the other hosts (iproute2)")
    try:
        made = Far()
    except (OSError, subprocess.CalledProcessError) as err:
        pytest.skip("no network namespaces here: %s" % err)
    with made.server.entered():
        yield made
    made.close()
