# SPDX-License-Identifier: Apache-2.0
"""Clients that keep listening, whatever happens, and record when each message
arrives."""

import threading
import time

from background import Background
from event_stream import EventStream
from http_client import Raw, one_request


class Reader(threading.Thread):
    """Reads a stream piece by piece, and reconnects when it ends.

    stamps:   when each piece arrived, by the monotonic clock.
    refusals: (when, status) of each answer that was not a stream.
    """

    PAUSE = 0.05        # seconds before a reader reconnects

    def __init__(self, port, target):
        super().__init__(daemon=True)
        self.port, self.target = port, target
        self.stamps, self.refusals = [], []
        self.connects = 0
        self.done = threading.Event()
        self.changed = threading.Condition()
        self.conn = None

    def headers(self):
        return {}

    def begin(self):
        """Begin a new answer."""

    def take(self, piece):
        """Take bytes that have arrived."""

    def run(self):
        while not self.done.is_set():
            try:
                self.read_one()
            except (OSError, ValueError):
                pass
            self.done.wait(self.PAUSE)

    def read_one(self):
        """Make one request, and read its answer to the end."""
        with Raw(self.port, timeout=120) as conn:
            self.conn = conn
            conn.request("GET", self.target, self.headers())
            if conn.head() != 200:
                self.refusals.append((time.monotonic(), conn.status))
                return
            self.connects += 1
            self.begin()
            while not self.done.is_set():
                piece = conn.chunk()
                if not piece:
                    return
                with self.changed:
                    self.stamps.append(conn.stamp)
                    self.take(piece)
                    self.changed.notify_all()

    def silence(self, begin, end=None):
        """The longest time without a piece between `begin` and `end`, in
        seconds. By default `end` is now."""
        end = end or time.monotonic()
        inside = [s for s in list(self.stamps) if begin < s < end]
        marks = [begin] + inside + [end]
        return max(b - a for a, b in zip(marks, marks[1:]))

    def wait(self, condition, timeout, what):
        with self.changed:
            assert self.changed.wait_for(condition, timeout), \
                "waited %.1f s for %s" % (timeout, what)

    def stop(self):
        self.done.set()
        if self.conn is not None:
            try:
                self.conn.sock.shutdown(2)
            except OSError:
                pass
        self.join(10)
        assert not self.is_alive(), "a reader hangs"

    def __enter__(self):
        self.start()
        self.wait(lambda: self.stamps, 15, "the first piece")
        return self

    def __exit__(self, *_):
        self.stop()


class Listener(Reader):
    """Follows an event stream by its cursor.

    messages: (timestamp, body, arrival) of each, in the order of arrival.
    gaps:     how many gaps were reported.
    """

    def __init__(self, port, target="/comet/chat", cursor=0):
        super().__init__(port, target)
        self.messages, self.gaps = [], 0
        self.stream = EventStream(self.event)
        self.stream.last_id = str(cursor)

    def headers(self):
        return {"Accept": "text/event-stream",
                "Last-Event-ID": self.stream.last_id}

    def begin(self):
        self.stream.begin()

    def take(self, piece):
        self.stream.feed(piece)

    def event(self, event):
        if event["type"] == "gap":
            self.gaps += 1
        else:
            self.messages.append((int(event["id"]), event["data"],
                                  time.monotonic()))

    def bodies(self):
        with self.changed:
            return [m[1] for m in self.messages]

    def wait_for(self, text, timeout):
        """Wait until a message has arrived. @return when it arrived"""
        def came():
            return next((m[2] for m in reversed(self.messages)
                         if m[1] == text), None)
        self.wait(came, timeout, "%r in the stream" % text)
        return came()


class Asker(Background):
    """Sends one request again and again.

    answers: (when, took, status) of each; after a failed connection the status
             is 0."""

    def __init__(self, ask, pause=0.02):
        super().__init__()
        self.ask, self.pause = ask, pause
        self.answers = []

    def run(self):
        while not self.done.is_set():
            begin = time.monotonic()
            try:
                status = self.ask().status
            except (OSError, ValueError):
                status = 0
            self.answers.append((begin, time.monotonic() - begin, status))
            self.done.wait(self.pause)

    def statuses(self):
        return {status for _, _, status in self.answers}

    def slowest(self):
        return max(took for _, took, _ in self.answers)


def static_files(port):
    """A client that requests a static file again and again."""
    return Asker(lambda: one_request(port, "GET", "/static.txt", timeout=30))
