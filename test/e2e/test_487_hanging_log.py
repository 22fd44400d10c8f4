# SPDX-License-Identifier: Apache-2.0
"""An access log that accepts no lines, because its program hangs or nobody
reads its pipe.  Such a log delays no messages to other clients."""

import os
import time

import pytest

from httpd_env import wait_until
from stream_client import Stream, post

MANY = 40
LONG = 'LogFormat "%{pid}P %U ' + "x" * 4000 + '" long\n'
ONLY = ' long "expr=%{REQUEST_URI} =~ m#^/comet/many#"\n'
# A program that reads nothing until the file "go" exists.
HANGS = "#!/bin/sh\nwhile ! [ -e %s/go ]; do sleep 0.1; done\nexec cat >>%s\n"


class Hanging:
    """A server whose second access log hangs."""

    def __init__(self, make_server, kind, mpm, may_leak=False):
        self.server = server = make_server(start=False, mpm=mpm, threads=50,
                                           may_leak=may_leak)
        self.lines = os.path.join(server.root, "logs", "many.log")
        self.reader = None
        program = os.path.join(server.root, "hangs")
        with open(program, "w") as script:
            script.write(HANGS % (server.root, self.lines))
        os.chmod(program, 0o755)
        # (a shell would end at once if it loaded ThreadSanitizer's library)
        path = '"|/usr/bin/env -u LD_PRELOAD %s"' % program
        if kind == "pipe by name":
            path = os.path.join(server.root, "logs", "fifo")
            os.mkfifo(path)
            self.reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        server.conf = LONG + "CustomLog " + path + ONLY + (
            "BufferedLogs on\n" if kind == "buffered" else "")
        server.start()

    def go_on(self):
        """Let the log accept lines again.  Return a function that counts the
        lines that have arrived."""
        if self.reader is None:
            with open(os.path.join(self.server.root, "go"), "w"):
                pass
            return lambda: self.server.slurp(self.lines).count("/comet/many")
        got = []

        def count():
            try:
                got.append(os.read(self.reader, 1 << 20))
            except BlockingIOError:
                pass
            return b"".join(got).count(b"/comet/many")
        return count


def late(server, stream, text):
    """Return how long a message takes to reach a stream."""
    began = time.monotonic()
    post(server, "other", text)
    stream.until_bytes(text.encode())
    return time.monotonic() - began


@pytest.mark.parametrize("kind", ["program", "buffered", "pipe by name"])
def test_487_01_streams_end(make_server, kind, mpm):
    """So many adopted streams end that their lines do not fit into the log's
    pipe.  A message still reaches another stream at once, and no line is
    lost."""
    if kind == "buffered" and mpm == "prefork":
        pytest.skip("not adopted there (no lock)")
    hanging = Hanging(make_server, kind, mpm)
    server = hanging.server
    with Stream(server, "/comet/other?since=0") as other:
        streams = [Stream(server, "/comet/many?since=0") for _ in range(MANY)]
        server.wait_waiting(MANY + 1, "events")
        wait_until(lambda: server.status()["adopted"] == MANY + 1, 5,
                   "all streams to be adopted")
        for stream in streams:
            stream.conn.close()
        server.wait_waiting(1, "events")
        assert late(server, other, "through") < 2
        count = hanging.go_on()
        kept = kind == "buffered"      # httpd still keeps the last line
        wait_until(lambda: count() == MANY - kept, 10, "all lines")
    if hanging.reader is not None:
        os.close(hanging.reader)


@pytest.mark.event
@pytest.mark.parametrize("kind", ["program", "pipe by name"])
def test_487_02_polls_end(make_server, kind):
    """So many polls end that their lines do not fit into the log's pipe.  A
    message still reaches another stream at once, and no line is lost."""
    hanging = Hanging(make_server, kind, "event")
    server = hanging.server
    with Stream(server, "/comet/other?since=0") as other:
        polls = [server.raw() for _ in range(MANY)]
        for conn in polls:
            conn.request("GET", "/comet/many?since=0")
        server.wait_waiting(MANY, "poll")
        post(server, "many", "news")
        assert late(server, other, "through") < 2
        for conn in polls:
            assert b"news" in conn.answer().body
        count = hanging.go_on()
        # the polls and the POST
        wait_until(lambda: count() == MANY + 1, 10, "all lines")
        for conn in polls:
            conn.close()
    if hanging.reader is not None:
        os.close(hanging.reader)


def test_487_03_a_stop_does_not_wait(make_server, mpm):
    """A stop does not wait for a log that accepts no lines, and the streams
    end."""
    hanging = Hanging(make_server, "program", mpm, may_leak=True)
    server = hanging.server
    streams = [Stream(server, "/comet/many?since=0") for _ in range(MANY)]
    server.wait_waiting(MANY, "events")
    assert server.stop() < 5
    assert all(stream.until_end() == [] for stream in streams)
