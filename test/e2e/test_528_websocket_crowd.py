# SPDX-License-Identifier: Apache-2.0
"""A thousand WebSockets, while httpd is reloaded, children are killed, and
other clients do not read.  Each WebSocket's client follows its channels by its
cursor and loses no message."""

import asyncio
import json
import os
import re
import signal
import socket
import threading

import pytest
import websockets

from httpd_env import SLOW, wait_until
from socket_client import Socket, frame, TEXT
from stream_client import post

pytestmark = [pytest.mark.long, pytest.mark.event, pytest.mark.bound(400)]

COUNT = 1000
STUCK = 50
CONF = """
CometTransports all websocket
CometMulti on
CometHeartbeat 2s
CometMaxSubscribers 4000
"""


class Client:
    """A client that reads the channel `news`.  If `live`, it also subscribes to
    `more` on its open WebSocket.  When the WebSocket ends, the client returns
    with its cursor."""

    doors = asyncio.Semaphore(20)

    def __init__(self, port, number, cursor):
        self.url = "ws://127.0.0.1:%d/comet?channel=news" % port
        self.live = number % 2 == 0  # True: it is parked; False: it is adopted
        self.cursor, self.since, self.has_more = cursor, cursor, False
        self.got = {"news": [], "more": []}

    def target(self):
        return "%s%s&live=%d&since=%d" % (
            self.url, "&channel=more" if self.has_more else "", self.live,
            self.cursor)

    def take(self, frame_, pending):
        if "subscribed" in frame_:
            self.has_more, self.cursor = True, frame_["subscribed"]
            self.got["more"] += pending
            pending.clear()
        elif "timestamp" in frame_:
            if frame_["channel"] == "more" and not self.has_more:
                pending.append(frame_["timestamp"])
                return
            self.got[frame_["channel"]].append(frame_["timestamp"])
            self.cursor = max(self.cursor, frame_["timestamp"])

    async def once(self):
        pending = []        # messages of `more` before the answer
        async with self.doors:          # at most 20 connect at once
            ws = await websockets.connect(self.target(), ping_interval=None,
                                          open_timeout=60 * SLOW)
        try:
            if self.live and not self.has_more:
                await ws.send(json.dumps({"subscribe": ["more"],
                                          "since": self.since, "ref": 1}))
            async for text in ws:
                self.take(json.loads(text), pending)
        finally:
            await ws.close()
        retry = re.match(r"retry=(\d+)", ws.close_reason or "")
        await asyncio.sleep(min(int(retry[1]), 2000) / 1000 if retry else 0)

    async def run(self):
        while True:
            try:
                await self.once()
            except (OSError, websockets.WebSocketException,
                    asyncio.TimeoutError):
                await asyncio.sleep(0.2)


class Crowd:
    """Clients that run together in one thread."""

    def __init__(self, server, count, cursor):
        self.clients = [Client(server.port, n, cursor) for n in range(count)]
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.runs = [asyncio.run_coroutine_threadsafe(client.run(), self.loop)
                     for client in self.clients]

    def all_have(self, name, stamps, which=lambda client: True):
        return all(client.got[name] == stamps for client in self.clients
                   if which(client))

    async def end(self):
        """Cancel all other tasks, and wait until they have ended."""
        others = [task for task in asyncio.all_tasks(self.loop)
                  if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def close(self):
        asyncio.run_coroutine_threadsafe(self.end(), self.loop).result(60 * SLOW)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


def waiting(server):
    """Return how many WebSockets wait, or None if httpd is too busy to say."""
    try:
        return server.waiting("websocket")
    except OSError:
        return None


def stuck(server):
    """Open WebSockets whose clients will publish much and read nothing."""
    made = []
    for _ in range(STUCK):
        one = Socket(server, "/comet/flood", rcvbuf=4096)
        one.conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        one.conn.sock.settimeout(0)
        made.append(one)
    return made


def flood(sockets):
    data = frame(TEXT, json.dumps({"publish": {"body": "x" * 2000}})) * 10
    for one in sockets:
        try:
            one.conn.sock.send(data)
        except (BlockingIOError, OSError):
            pass


def test_528_01_reloads_kills_and_stuck_clients(make_server):
    """While messages are published, httpd is reloaded three times and its
    children are killed twice.  Other clients publish and read nothing.  Each
    client of the crowd gets all messages once and in order."""
    server = make_server(conf=CONF, children=2, threads=50)
    cursor = post(server, "first", "x")
    crowd = Crowd(server, COUNT, cursor)
    sockets, news, more = [], [], []
    try:
        wait_until(lambda: waiting(server) == COUNT, 120 * SLOW,
                   "all to wait")
        sockets = stuck(server)
        for turn in range(10):
            for _ in range(4):
                news.append(post(server, "news", "n"))
                more.append(post(server, "more", "m"))
                flood(sockets)
            if turn in (2, 5, 8):
                server.graceful(timeout=60 * SLOW)
            elif turn in (4, 7):
                for pid in server.children():
                    os.kill(pid, signal.SIGKILL)
                wait_until(server.answers, 30 * SLOW, "new children")
        wait_until(lambda: crowd.all_have("news", news), 120 * SLOW,
                   "each to have all news once, in order")
        wait_until(lambda: crowd.all_have("more", more,
                                          lambda client: client.live),
                   120 * SLOW, "those who subscribed to have the rest")
        assert all(not client.got["more"] for client in crowd.clients
                   if not client.live)
    finally:
        crowd.close()
        for one in sockets:
            one.conn.close()
    server.allow_log.append("AH00052")          # children were killed
    server.wait_waiting(0, timeout=60 * SLOW)
