# SPDX-License-Identifier: Apache-2.0
"""An event stream that a test reads piece by piece, and a function that
publishes."""

from event_stream import EventStream    # in test/tools
from http_client import quote

EVENTS = {"Accept": "text/event-stream"}


class Stream:
    """One event stream, which the test reads piece by piece."""

    def __init__(self, server, target, headers=None, rcvbuf=None,
                 method="GET", **kwargs):
        self.conn = server.raw(rcvbuf=rcvbuf)
        self.events, self.bytes = [], b""
        self.parser = EventStream(self.events.append)
        self.conn.request(method, target, dict(EVENTS, **(headers or {})),
                          **kwargs)
        status = self.conn.head()
        assert status == 200, (status, target, self.conn.body())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.conn.close()

    def step(self):
        """Read the next piece; return False at the end of the stream."""
        piece = self.conn.chunk()
        self.bytes += piece
        self.parser.feed(piece)
        return bool(piece)

    def until(self, count):
        """Read until `count` events have arrived in all; return the data of
        all."""
        while len(self.events) < count:
            assert self.step(), "ended after %r" % self.events
        return self.data()

    def until_bytes(self, wanted):
        while wanted not in self.bytes:
            assert self.step(), "ended after %r" % self.bytes
        return self.bytes

    def until_end(self):
        while self.step():
            pass
        return self.data()

    def data(self):
        return [e["data"] for e in self.events]


def post(server, channel, text, **query):
    """Publish bytes unchanged; return the timestamp."""
    target = "/comet/" + quote(channel, "/")
    if query:
        target += "?" + "&".join("%s=%s" % (k, quote(v))
                                 for k, v in query.items())
    answer = server.request("POST", target, text.encode("utf-8"),
                            {"Content-Type": "text/plain; charset=utf-8"})
    assert answer.status == 201, answer
    return answer.json()["timestamp"]
