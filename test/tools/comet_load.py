#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Thousands of HTTP clients in one asyncio loop, for the tests and by hand.

By hand:  comet_load.py --port 8080 --polls 1000 --clocks 1000 --seconds 10
"""

import argparse
import asyncio
import json
import resource
import threading
import time


class HttpConn(asyncio.Protocol):
    """One kept-alive connection. It calls a method for each head, each piece of
    data and each end."""

    def __init__(self):
        self.transport = None
        self.buffer = bytearray()
        self.framing, self.left = "head", 0
        self.status, self.head = 0, b""
        self.body = bytearray()
        self.keep_body = True
        self.lost = False
        self.asked = 0.0

    # methods that asyncio calls
    def connection_made(self, transport):
        self.transport = transport
        self.on_open()

    def connection_lost(self, exc):
        self.lost = True
        if self.framing == "close":
            self.finish()
        self.on_lost(exc)

    def data_received(self, data):
        self.buffer += data
        try:
            while self.buffer and self.parse():
                pass
        except ValueError as err:
            self.on_broken(err)
            self.transport.abort()

    # methods for subclasses to override
    def on_open(self):
        pass

    def on_head(self):
        pass

    def on_data(self, data):
        pass

    def on_end(self):
        pass

    def on_lost(self, exc):
        pass

    def on_broken(self, err):
        pass

    def get(self, target, headers=b""):
        """Send a GET. The methods above are called with the answer."""
        self.asked = time.monotonic()
        self.transport.write(b"GET " + target.encode() + b" HTTP/1.1\r\n"
                             b"Host: localhost\r\n" + headers + b"\r\n")

    def finish(self):
        self.framing = "head"
        self.on_end()

    def parse(self):
        """Take one element from the buffer; return False if more bytes are
        needed."""
        buf = self.buffer
        if self.framing == "head":
            end = buf.find(b"\r\n\r\n")
            if end < 0:
                return False
            self.head = bytes(buf[:end]).lower()
            del buf[:end + 4]
            self.status = int(self.head.split(b" ", 2)[1])
            self.body.clear()
            if b"transfer-encoding: chunked" in self.head:
                self.framing = "size"
            elif b"content-length: " in self.head:
                self.left = int(self.head.split(b"content-length: ")[1]
                                .split(b"\r\n")[0])
                self.framing = "length"
            else:
                self.framing = "close"
            self.on_head()
            if self.framing == "length" and self.left == 0:
                self.finish()
            return True
        if self.framing == "size":
            end = buf.find(b"\r\n")
            if end < 0:
                return False
            self.left = int(bytes(buf[:end]).split(b";")[0], 16)
            del buf[:end + 2]
            self.framing = "chunk"
        if self.framing == "chunk":
            if len(buf) < self.left + 2:
                return False
            data = bytes(buf[:self.left])
            del buf[:self.left + 2]
            if not data:
                self.finish()
                return True
            self.framing = "size"
            self.give(data)
            return True
        if self.framing == "length":
            data = bytes(buf[:self.left])
            del buf[:len(data)]
            self.left -= len(data)
            self.give(data)
            if self.left == 0:
                self.finish()
            return True
        data = bytes(buf)
        buf.clear()
        self.give(data)
        return False

    def give(self, data):
        if self.keep_body:
            self.body += data
        self.on_data(data)


class Held(HttpConn):
    """One GET that the server holds. It notes when the head, each piece and the
    end came."""

    def __init__(self, target):
        super().__init__()
        self.target = target
        self.head_at = self.end_at = self.lost_at = 0.0
        self.pieces = []

    def on_open(self):
        self.get(self.target)

    def on_head(self):
        self.head_at = time.monotonic()

    def on_data(self, data):
        self.pieces.append((time.monotonic(), len(data)))

    def on_end(self):
        self.end_at = time.monotonic()

    def on_lost(self, exc):
        self.lost_at = time.monotonic()


class Follower(HttpConn):
    """Follows a channel by its cursor, even if connections are lost.

    A poll of the kind "classic" takes one message, and one of the kind
    "endpoint" takes up to `limit`. `bodies` has the bodies of all messages, in
    order. Messages that are repeated or out of order are errors.
    """

    def __init__(self, load, kind, target, cursor=0, limit=1000):
        super().__init__()
        self.load, self.kind, self.target = load, kind, target
        self.limit, self.cursor = limit, cursor
        self.bodies, self.errors = [], []
        self.requests = self.answers = self.reconnects = 0
        self.last = 0
        self.open_request = False
        self.partial = False
        self.stopped = False

    def ask(self):
        self.requests += 1
        self.open_request, self.partial = True, False
        if self.kind == "classic":
            self.get("%s?timestamp=%d" % (self.target, self.cursor))
        else:
            self.get("%s?since=%d&limit=%d" % (self.target, self.cursor,
                                               self.limit))

    def on_open(self):
        if self.stopped:
            self.transport.abort()
            return
        self.lost = False
        self.buffer.clear()
        self.framing = "head"
        self.ask()

    def on_head(self):
        self.partial = True

    def on_broken(self, err):
        self.errors.append("broken answer: %s" % err)

    def on_end(self):
        self.open_request = False
        self.answers += 1
        if self.status == 200:
            try:
                data = json.loads(self.body)
                if self.kind == "classic":
                    got = [(data["timestamp"], data["msg"])] \
                        if data["msg"] else []
                else:
                    got = [(m["timestamp"], m["body"])
                           for m in data["messages"]]
                for stamp, text in got:
                    if stamp <= self.last:
                        self.errors.append("%d after %d: %s"
                                           % (stamp, self.last, text))
                    self.last = stamp
                    self.bodies.append(text)
                self.cursor = data["timestamp"]
            except (ValueError, KeyError) as err:
                self.errors.append("bad body %r: %r"
                                   % (bytes(self.body[:200]), err))
        else:
            self.errors.append("status %d: %r"
                               % (self.status, bytes(self.body[:200])))
        if self.stopped:
            self.transport.close()
        elif b"connection: close" in self.head:
            self.transport.close()
        else:
            self.ask()

    def on_lost(self, exc):
        if self.stopped:
            return
        if self.open_request:
            if self.partial:
                self.errors.append("cut in the middle of an answer: %r"
                                   % exc)
            self.requests -= 1       # the access log omits unanswered requests
            self.open_request = False
        self.reconnects += 1
        self.load.again(self)

    def stop(self):
        self.stopped = True


class Publisher(HttpConn):
    """Publishes prefix0, prefix1 … one after the other, until it is stopped.

    acked:  (timestamp, text) of each message that was answered with 201.
    unsure: texts whose answer was lost with the connection; they may be stored.
    """

    def __init__(self, load, target, prefix, pause=0.0, count=None,
                 suffix=""):
        super().__init__()
        self.suffix = suffix
        self.load, self.target, self.prefix = load, target, prefix
        self.pause, self.count = pause, count
        self.number = 0
        self.acked, self.unsure, self.errors = [], [], []
        self.refused = 0
        self.waits = []
        self.open_request = False
        self.stopped = False
        self.timer = None

    def text(self):
        return "%s%d%s" % (self.prefix, self.number, self.suffix)

    def post(self):
        self.timer = None
        if self.stopped or self.lost:
            return
        if self.count is not None and self.number >= self.count:
            self.stopped = True
            self.transport.close()
            return
        body = self.text().encode()
        self.open_request = True
        self.asked = time.monotonic()
        self.transport.write(
            b"POST " + self.target.encode() + b" HTTP/1.1\r\n"
            b"Host: localhost\r\nContent-Type: text/plain\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body)

    def on_open(self):
        self.lost = False
        self.buffer.clear()
        self.framing = "head"
        self.post()

    def on_end(self):
        self.open_request = False
        pause = self.pause
        if self.status == 201:
            self.waits.append(time.monotonic() - self.asked)
            self.acked.append((json.loads(self.body)["timestamp"],
                               self.text()))
            self.number += 1
        elif self.status == 503:
            self.refused += 1
            pause = max(pause, 0.01)
        else:
            self.errors.append("status %d: %r"
                               % (self.status, bytes(self.body[:200])))
            self.number += 1
        if b"connection: close" in self.head:
            self.transport.close()
        elif pause:
            self.timer = self.load.loop.call_later(pause, self.post)
        else:
            self.post()

    def on_lost(self, exc):
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.open_request:
            self.unsure.append(self.text())
            self.number += 1
            self.open_request = False
        if not self.stopped:
            self.load.again(self)

    def stop(self):
        self.stopped = True


class Load:
    """An event loop that runs the clients, in a thread."""

    def __init__(self, port, host="127.0.0.1", connects_at_once=100):
        self.host, self.port = host, port
        self.loop = asyncio.new_event_loop()
        self.gate = None
        self.width = connects_at_once
        self.conns = []
        self.refused = 0
        self.thread = threading.Thread(target=self.loop.run_forever,
                                       daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def run(self, coroutine, timeout=60.0):
        """Run a coroutine in the loop; called by the test's thread."""
        return asyncio.run_coroutine_threadsafe(
            coroutine, self.loop).result(timeout)

    async def connect(self, make):
        if self.gate is None:
            self.gate = asyncio.Semaphore(self.width)
        async with self.gate:
            _, conn = await self.loop.create_connection(make, self.host,
                                                        self.port)
        self.conns.append(conn)
        return conn

    async def open_all(self, makers):
        return await asyncio.gather(*[self.connect(m) for m in makers])

    def hold(self, count, target, timeout=60.0, keep_body=True):
        """Send `count` GETs of one target, which the server holds, and wait for
        their heads."""
        def make():
            conn = Held(target)
            conn.keep_body = keep_body
            return conn
        conns = self.run(self.open_all([make] * count), timeout)
        self.wait(lambda: all(c.head_at or c.lost_at for c in conns),
                  timeout, "heads of %d %s" % (count, target))
        return conns

    def follow(self, count, kind, target, cursor=0, timeout=60.0,
               limit=1000):
        """Start `count` followers of a channel."""
        makers = [lambda: Follower(self, kind, target, cursor, limit)]
        return self.run(self.open_all(makers * count), timeout)

    def publish(self, count, target, prefix, pause=0.0, each=None,
                suffix="", timeout=60.0):
        """Start `count` publishers. With the prefix "p" the first posts p0-0,
        p0-1 …, the second p1-0 …."""
        makers = [lambda i=i: Publisher(self, target, "%s%d-" % (prefix, i),
                                        pause, each, suffix)
                  for i in range(count)]
        return self.run(self.open_all(makers), timeout)

    def finish(self, publishers, timeout=30.0):
        """Stop publishers, and wait for every answer that is still due."""
        for publisher in publishers:
            publisher.stop()
        self.wait(lambda: not any(p.open_request for p in publishers),
                  timeout, "the last answers")

    def again(self, conn):
        """Soon reconnect a client that was cut off. Called in the loop."""
        async def retry():
            while not conn.stopped:
                try:
                    await self.loop.create_connection(
                        lambda: conn, self.host, self.port)
                    return
                except OSError:
                    self.refused += 1
                    await asyncio.sleep(0.02)
        self.loop.create_task(retry())

    @staticmethod
    def wait(condition, timeout, what):
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise AssertionError("waited %.0f s for %s"
                                     % (timeout, what))
            time.sleep(0.02)

    def drop(self, conns, timeout=30.0):
        """Close connections and wait until they are closed."""
        async def abort():
            for conn in conns:
                if isinstance(conn, (Follower, Publisher)):
                    conn.stop()
                if conn.transport is not None:
                    conn.transport.abort()
        self.run(abort(), timeout)
        self.wait(lambda: all(c.lost for c in conns), timeout,
                  "connections to close")
        gone = set(map(id, conns))
        self.conns = [c for c in self.conns if id(c) not in gone]

    def close(self):
        try:
            self.drop(list(self.conns))
        finally:
            async def cancel():
                tasks = [t for t in asyncio.all_tasks()
                         if t is not asyncio.current_task()]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            self.run(cancel(), 10)
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(10)
            self.loop.close()


def quantile(values, part):
    """The value below which the share `part` of the values lies."""
    values = sorted(values)
    return values[min(len(values) - 1, int(part * len(values)))]


def main():
    """Run clients against a running server, and report what they receive."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--polls", type=int, default=1000)
    parser.add_argument("--clocks", type=int, default=0)
    parser.add_argument("--poll-url", default="/comet/chat?wait=20&since=")
    parser.add_argument("--clock-url", default="/clock/backend.php")
    parser.add_argument("--seconds", type=float, default=10)
    args = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with Load(args.port, args.host) as load:
        begin = time.monotonic()
        polls = load.hold(args.polls, args.poll_url)
        clocks = load.hold(args.clocks, args.clock_url, keep_body=False)
        print("%d polls, %d clocks held after %.1f s"
              % (len(polls), len(clocks), time.monotonic() - begin))
        time.sleep(args.seconds)
        ticks = [len(c.pieces) for c in clocks]
        print("polls answered: %d; lost: %d; ticks per clock: %s"
              % (sum(1 for p in polls if p.end_at),
                 sum(1 for c in polls + clocks if c.lost),
                 "%d..%d" % (min(ticks), max(ticks)) if ticks else "-"))


if __name__ == "__main__":
    main()
