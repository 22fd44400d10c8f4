# SPDX-License-Identifier: Apache-2.0
"""A crowd of HTTP/2 connections, each with streams, polls, downloads and
uploads: nothing is lost, repeated or damaged, and no window is exceeded."""

import asyncio
import contextlib
import json
import os
import random
import re
import ssl
import struct
import threading
import time

from h2_client import ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, H2, HEADERS, \
    PING, RST, SETTINGS, WINDOW
from httpd_env import SLOW, wait_until

# The windows of node and nghttp, python3-h2, Chromium, Firefox, and curl: the
# window of each stream, and what is added to the connection's 65,535 bytes.
PROFILES = [(65535, 0), (65535, 1 << 20), (6291456, 15663105),
            (131072, 12517377), (1 << 20, 1 << 24)]
FILE_BYTES = 5 << 20
UPLOAD_BYTES = 60000
BEHIND_MOST = 100       # messages that a follower may be behind
REFUSED = 7             # REFUSED_STREAM: a reload has ended the connection
                        # before this request


class Answer:
    """The answer to one request."""

    def __init__(self, window):
        self.status, self.body, self.ended, self.reset = None, b"", False, None
        self.credit, self.used = window, 0
        self.asked = time.monotonic()


class Client:
    """One connection. It refills a window once half of the window is used."""

    def __init__(self, port, profile, authority):
        self.port, self.authority = port, authority
        self.window, wider = profile
        self.total = 65535 + wider
        self.credit, self.used, self.wider = self.total, 0, wider
        self.answers, self.next_id = {}, 1
        self.something = asyncio.Event()
        self.ended, self.violation, self.grants = False, None, True
        self.may_read = asyncio.Event()
        self.may_read.set()
        self.read_at = time.monotonic()

    async def open(self, tls):
        context = None
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols(["h2"])
        self.reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=context)
        self.writer.write(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + H2.frame(SETTINGS, 0, 0, struct.pack(">HIHIHI", 1, 0, 2, 0, 4,
                                                   self.window))
            + (H2.frame(WINDOW, 0, 0, struct.pack(">I", self.wider))
               if self.wider else b""))
        self.task = asyncio.create_task(self.read())
        return self

    async def close(self):
        self.task.cancel()
        self.writer.transport.abort()
        with contextlib.suppress(BaseException):
            await self.task

    def ask(self, method, path, headers=(), body=b""):
        """Send a request; return its Answer, with the stream's number as
        `ident`."""
        block = b"".join(
            b"\x10" + b"".join(H2.integer(len(t), 7, 0) + t for t in
                               (k.encode(), v.encode()))
            for k, v in [(":method", method), (":scheme", "https"),
                         (":authority", self.authority), (":path", path),
                         *headers])
        ident, self.next_id = self.next_id, self.next_id + 2
        answer = self.answers[ident] = Answer(self.window)
        answer.ident = ident
        self.writer.write(H2.frame(
            HEADERS, END_HEADERS | (0 if body else END_STREAM), ident, block))
        for at in range(0, len(body), 16384):
            piece = body[at:at + 16384]
            self.writer.write(H2.frame(
                DATA, END_STREAM if at + 16384 >= len(body) else 0, ident,
                piece))
        return answer

    def cancel(self, answer):
        if not self.ended:
            self.writer.write(H2.frame(RST, 0, answer.ident,
                                       struct.pack(">I", 8)))
        self.answers.pop(answer.ident, None)

    def grant(self, ident, used):
        self.writer.write(H2.frame(WINDOW, 0, ident, struct.pack(">I", used)))

    def grant_more(self, ident, of, whole):
        """Refill a window, the connection's or an answer's, if half of it is
        used."""
        if self.grants and of.used >= whole // 2:
            self.grant(ident, of.used)
            of.credit, of.used = of.credit + of.used, 0

    def grant_again(self):
        """Refill the windows that were not refilled for a while."""
        self.grants = True
        if not self.ended:
            self.grant_more(0, self, self.total)
            for ident, answer in self.answers.items():
                if not answer.ended:
                    self.grant_more(ident, answer, self.window)

    def take_data(self, ident, flags, payload):
        answer = self.answers.get(ident)
        self.credit -= len(payload)
        self.used += len(payload)
        if self.credit < 0:
            self.violation = "the connection's window: %d" % self.credit
        self.grant_more(0, self, self.total)
        if not answer:
            return
        answer.credit -= len(payload)
        answer.used += len(payload)
        answer.body += payload
        if answer.credit < 0:
            self.violation = "a stream's window: %d" % answer.credit
        if not flags & END_STREAM:
            self.grant_more(ident, answer, self.window)

    def take(self, kind, flags, ident, payload):
        answer = self.answers.get(ident)
        if kind == DATA:
            self.take_data(ident, flags, payload)
        elif kind == HEADERS and answer and answer.status is None:
            answer.status = H2.status_of(payload)
        elif kind == RST and answer:
            answer.reset = int.from_bytes(payload, "big")
            answer.ended = True
        elif kind == SETTINGS and not flags & ACK:
            self.writer.write(H2.frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self.writer.write(H2.frame(PING, ACK, 0, payload))
        if kind in (DATA, HEADERS) and flags & END_STREAM and answer:
            answer.ended = True

    async def read(self):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError,
                                 ssl.SSLError):
            while True:
                await self.may_read.wait()
                head = await self.reader.readexactly(9)
                self.read_at = time.monotonic()
                size = int.from_bytes(head[:3], "big")
                self.take(head[3], head[4],
                          int.from_bytes(head[5:], "big") & 0x7fffffff,
                          await self.reader.readexactly(size))
                if head[3] == GOAWAY and int.from_bytes(head[5:], "big"):
                    break
                self.something.set()
                self.something.clear()
        self.ended = True
        self.something.set()

    async def until(self, condition, seconds):
        """Wait until a condition is true, or the time is over, or the
        connection has ended; return whether the condition is true."""
        end = time.monotonic() + seconds
        while not condition():
            left = end - time.monotonic()
            if left <= 0 or self.ended:
                return bool(condition())
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.something.wait(), min(left, 0.2))
        return True


class Follower:
    """Follows a channel whose messages are numbers, from request to request."""

    def __init__(self, crowd):
        self.crowd, self.cursor = crowd, crowd.cursor
        self.next, self.parsed = 0, 0
        self.answer = self.client = None

    def start(self, client):
        self.client, self.parsed = client, 0
        self.answer = client.ask("GET", "/comet/crowd?since=%s&transport=%s"
                                 % (self.cursor, self.transport),
                                 self.headers)

    def where(self):
        """A text about a follower that makes no progress."""
        client, answer = self.client, self.answer
        return ("%s at %d: asked %.1f s ago, status %s, %d bytes, ended %s, "
                "reset %s, stream's credit %d; connection of %d%s: credit %d, "
                "last read %.1f s ago, %d answers open" % (
                    self.transport, self.next,
                    time.monotonic() - answer.asked, answer.status,
                    len(answer.body), answer.ended, answer.reset,
                    answer.credit, client.window,
                    " (ended)" if client.ended else "", client.credit,
                    time.monotonic() - client.read_at,
                    sum(not a.ended for a in client.answers.values())))

    def got(self, ident, body):
        number, _, rest = body.partition(" ")
        if int(number) != self.next:
            self.crowd.problem("%s: %d comes where %d is due"
                               % (type(self).__name__, int(number), self.next))
        if set(rest) - {"x"}:
            self.crowd.problem("a damaged message: %r" % body[:60])
        self.next, self.cursor = int(number) + 1, ident
        self.crowd.advanced_at = time.monotonic()
        self.crowd.delivered += 1


class Streamer(Follower):
    transport, headers = "events", [("accept", "text/event-stream")]

    def look(self):
        """Take all complete events; return whether to ask again."""
        while True:
            end = self.answer.body.find(b"\n\n", self.parsed)
            if end < 0:
                break
            event = self.answer.body[self.parsed:end].decode()
            self.parsed = end + 2
            ident = re.search(r"^id: (\d+)", event, re.M)
            data = re.search(r"^data: (.*)$", event, re.M)
            if ident and data:
                self.got(ident.group(1), data.group(1))
        if self.parsed > 1 << 20:
            self.answer.body = self.answer.body[self.parsed:]
            self.parsed = 0
        return self.answer.ended


class Poller(Follower):
    transport, headers = "poll", []

    def look(self):
        if self.answer.ended and self.answer.reset is None \
                and self.answer.status == 200:
            answer = json.loads(self.answer.body)
            self.answer.status = None       # the answer was taken
            for message in answer["messages"]:
                self.got(message["timestamp"], message["body"])
            self.cursor = answer["timestamp"]
        return self.answer.ended


class Crowd:
    def __init__(self, server, seconds, connections, seed, file_bytes):
        self.server, self.seconds, self.count = server, seconds, connections
        self.problems, self.delivered, self.published = [], 0, 0
        self.files = self.uploads = self.resets = self.breaks = self.stuck = 0
        self.seed, self.cursor, self.over = seed, "0", False
        self.followers, self.advanced_at = [], 0.0  # advanced_at: when a
                                                    # follower last got a
                                                    # message
        self.big = os.urandom(file_bytes)
        with open(os.path.join(server.docroot, "big.bin"), "wb") as out:
            out.write(self.big)

    def problem(self, text):
        self.problems.append(text)

    async def fetch_file(self, client):
        answer = client.ask("GET", "/big.bin")
        if await client.until(lambda: answer.ended, 60 * SLOW) \
                and not client.ended and answer.reset is None:
            self.files += 1
            if answer.body != self.big:
                self.problem("a file of %d bytes differs" % len(answer.body))
        elif not client.ended and answer.reset != REFUSED:
            self.problem("a file that stops at %d (%s, %s)"
                         % (len(answer.body), answer.status, answer.reset))
        client.answers.pop(answer.ident, None)

    async def upload(self, client, rnd):
        body = bytes(rnd.choices(b"abcdefgh", k=UPLOAD_BYTES))
        answer = client.ask("POST", "/comet/up",
                            [("content-type", "text/plain")], body)
        if not await client.until(lambda: answer.ended, 60 * SLOW):
            if not client.ended:
                self.problem("an upload that is not answered")
        elif answer.reset is None and answer.status == 201:
            ident = re.search(rb'"timestamp": ?(\d+)', answer.body).group(1).decode()
            again = client.ask("GET", "/comet/up?since=%d&wait=0&limit=1"
                               % (int(ident) - 1))
            if await client.until(lambda: again.ended, 60 * SLOW) \
                    and again.status == 200 and again.reset is None:
                self.uploads += 1
                if body not in again.body:
                    self.problem("an upload that was damaged")
            client.answers.pop(again.ident, None)
        elif answer.status not in (503, None):
            self.problem("an upload answered with %s" % answer.status)
        client.answers.pop(answer.ident, None)

    async def misbehave(self, client, rnd, followers):
        what = rnd.random()
        if what < 0.5:
            follower = rnd.choice(followers)
            client.cancel(follower.answer)
            follower.answer.ended, follower.answer.reset = True, 8
            self.resets += 1
        elif what < 0.8:
            self.stuck += 1
            if rnd.random() < 0.5:
                client.may_read.clear()
                await asyncio.sleep(rnd.random() * 2)
                client.may_read.set()
            else:
                client.grants = False
                await asyncio.sleep(rnd.random() * 2)
                client.grant_again()
        else:
            await client.close()
            client.ended = True
            self.breaks += 1

    async def watch(self, client, followers):
        """Send a new request for each follower whose answer has ended."""
        while not client.ended:
            for follower in followers:
                if follower.look():
                    client.answers.pop(follower.answer.ident, None)
                    await asyncio.sleep(0.05)
                    if not client.ended:
                        follower.start(client)
            await client.until(lambda: False, 0.05)
        for follower in followers:
            follower.look()

    async def live(self, index):
        rnd = random.Random(self.seed * 1000 + index)
        followers = [Streamer(self) for _ in range(rnd.randint(1, 4))] \
            + [Poller(self) for _ in range(rnd.randint(0, 2))]
        self.followers += followers
        profile = PROFILES[index % len(PROFILES)]
        while not self.is_done(followers):
            client = Client(self.server.tls_port or self.server.port, profile,
                            "localhost")
            try:
                await client.open(self.server.tls)
            except OSError:
                await asyncio.sleep(0.2)
                continue
            for follower in followers:
                follower.start(client)
            watcher = asyncio.create_task(self.watch(client, followers))
            while not client.ended and not self.is_done(followers):
                await asyncio.sleep(rnd.random() * 0.3)
                if self.over:
                    continue
                what = rnd.random()
                if what < 0.3:
                    await self.fetch_file(client)
                elif what < 0.6:
                    await self.upload(client, rnd)
                elif what < 0.75:
                    await self.misbehave(client, rnd, followers)
            if client.violation:
                self.problem("%s of %s" % (client.violation, profile))
            await client.close()
            client.ended = True
            await watcher

    def is_stalled(self):
        """Whether no follower has made progress for so long that load cannot be
        the reason."""
        return time.monotonic() > self.advanced_at + 20 * SLOW

    def is_done(self, followers):
        return self.over and (
            all(f.next == self.published for f in followers)
            or self.is_stalled())

    def is_ahead(self):
        """Whether the publisher must wait for followers, which a sanitizer or a
        busy machine slows down."""
        return self.published > BEHIND_MOST + min(
            (f.next for f in self.followers), default=self.published)

    def publish(self):
        rnd = random.Random(self.seed)
        self.advanced_at = time.monotonic()
        end = self.advanced_at + self.seconds
        while time.monotonic() < end and not self.is_stalled():
            if self.is_ahead():
                time.sleep(0.05)
                continue
            size = (1, 10, 100, 1000, 5000, 30000)[self.published % 6]
            # a child that ends may not know whether it has stored a message, so
            # the request has a key
            answer = self.server.request(
                "POST", "/comet/crowd",
                b"%d %s" % (self.published, b"x" * size),
                {"Content-Type": "text/plain",
                 "Idempotency-Key": '"n%d"' % self.published})
            assert answer.status in (200, 201, 503), answer
            self.published += answer.status != 503
            time.sleep(rnd.random() * 0.1)
        self.advanced_at = time.monotonic()
        self.over = True

    def reload(self, every):
        due = time.monotonic() + every
        while not self.over:
            time.sleep(0.05)
            if time.monotonic() > due:
                self.server.graceful()
                due = time.monotonic() + every

    async def run(self):
        await asyncio.gather(*(self.live(i) for i in range(self.count)))


def crowd(make_server, seconds, connections, reload_every=0, seed=1, conf="",
          tls=True, file_bytes=FILE_BYTES):
    """Run the crowd; return the figures as a sentence."""
    server = make_server(
        mpm="event", tls=tls, h2=True, threads=64,
        conf="CometParkHTTP2 on\nCometReplay 100000\nCometHeartbeat 2\n"
             + conf)
    all_of_it = Crowd(server, seconds, connections, seed, file_bytes)
    threads = [threading.Thread(target=all_of_it.publish)]
    if reload_every:
        threads.append(threading.Thread(target=all_of_it.reload,
                                        args=(reload_every,)))
    for thread in threads:
        thread.start()
    asyncio.run(all_of_it.run())
    followers = all_of_it.followers
    for thread in threads:
        thread.join()
    for follower in followers:
        if follower.next != all_of_it.published:
            all_of_it.problem("of %d messages: %s" % (all_of_it.published,
                                                      follower.where()))
    assert not all_of_it.problems, (len(all_of_it.problems),
                                    all_of_it.problems[:10])
    status = server.status()
    wait_until(lambda: server.status()["ghosts"] == 0, 10, "no ghosts")
    return ("%d followers on %d connections, %d messages, %d deliveries, "
            "%d files of %d KB, %d uploads, %d resets, %d connections broken, "
            "%d stuck for a while; %d waited in a thread; nothing lost, "
            "repeated or damaged, no window exceeded"
            % (len(followers), connections, all_of_it.published,
               all_of_it.delivered, all_of_it.files, file_bytes >> 10,
               all_of_it.uploads,
               all_of_it.resets, all_of_it.breaks, all_of_it.stuck,
               status["http2_threads"]))
