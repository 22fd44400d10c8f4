# SPDX-License-Identifier: Apache-2.0
"""Opens three streams and a chain of polls on one connection with hyper-h2.
Each message of the first stream starts a download. The library checks every
frame and every window; if the server breaks a rule, this program ends with a
traceback. After a GOAWAY the library accepts no more frames, so the connection
ends there.

usage: python_h2.py URL
"""

import json
import select
import socket
import ssl
import sys
import threading
import time
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from printing import EventStream, print_event


class Reader:
    """An event stream. It is requested again whenever it ends."""

    def __init__(self, name, path):
        self.name, self.path, self.due = name, path, 0.0
        self.events = EventStream(self.got)

    def got(self, event):
        print_event({"reader": self.name, "data": event["data"]})
        if self.name == 0:
            CLIENT.wanted.append(File())

    def request(self):
        self.events.begin()
        headers = [("accept", "text/event-stream")]
        if self.events.last_id:
            headers.append(("last-event-id", self.events.last_id))
        return self.path, headers

    def take(self, piece):
        self.events.feed(piece)

    def end(self, _is_whole):
        self.due = time.monotonic() + self.events.retry
        CLIENT.wanted.append(self)


class Whole:
    """A request whose answer counts only if it is complete; otherwise the
    request is repeated."""

    due = 0.0

    def request(self):
        self.body = b""
        return self.path, []

    def take(self, piece):
        self.body += piece

    def end(self, is_whole):
        if is_whole:
            self.done()
        else:
            self.due = time.monotonic() + 0.2
            CLIENT.wanted.append(self)


class File(Whole):
    path = "/large.txt"

    def done(self):
        print_event({"reader": "file", "data": len(self.body)})


class Poll(Whole):
    def __init__(self, path):
        self.path = self.url = path

    def done(self):
        answer = json.loads(self.body)
        for message in answer["messages"]:
            print_event({"reader": "poll", "data": message["body"]})
        self.path = "%s?since=%s" % (self.url, answer["timestamp"])
        CLIENT.wanted.append(self)


class Client:
    """One connection at a time, and the requests on it."""

    def __init__(self, url):
        self.url = urlsplit(url)
        self.wanted, self.asked = [], {}

    def open(self):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        self.sock = context.wrap_socket(socket.create_connection(
            (self.url.hostname, self.url.port), 10))
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.bytes, self.goes_away = b"", False

    def ask(self):
        for thing in list(self.wanted):
            if thing.due <= time.monotonic():
                self.wanted.remove(thing)
                path, headers = thing.request()
                ident = self.h2.get_next_available_stream_id()
                self.h2.send_headers(ident, [
                    (":method", "GET"), (":scheme", "https"),
                    (":authority", self.url.netloc), (":path", path),
                    *headers], end_stream=True)
                self.asked[ident] = [thing, 0]

    def take(self, event):
        asked = self.asked.get(getattr(event, "stream_id", None))
        if isinstance(event, h2.events.ResponseReceived):
            asked[1] = int(dict(event.headers)[":status"])
        elif isinstance(event, h2.events.DataReceived):
            if asked[1] == 200:
                asked[0].take(event.data)
            self.h2.acknowledge_received_data(
                event.flow_controlled_length, event.stream_id)
        elif isinstance(event, (h2.events.StreamEnded,
                                h2.events.StreamReset)):
            del self.asked[event.stream_id]
            asked[0].end(isinstance(event, h2.events.StreamEnded)
                         and asked[1] == 200)
        elif isinstance(event, h2.events.ConnectionTerminated):
            if event.error_code not in (None, h2.errors.ErrorCodes.NO_ERROR):
                raise h2.exceptions.ProtocolError(repr(event))
            self.goes_away = True

    def frames(self, data):
        """Hand each complete frame to the library, up to a GOAWAY."""
        self.bytes += data
        while not self.goes_away and len(self.bytes) >= 9:
            size = 9 + int.from_bytes(self.bytes[:3], "big")
            if len(self.bytes) < size:
                break
            for event in self.h2.receive_data(self.bytes[:size]):
                self.take(event)
            self.bytes = self.bytes[size:]

    def live(self):
        self.open()
        while not self.goes_away:
            self.ask()
            self.sock.sendall(self.h2.data_to_send())
            if not self.sock.pending() and not select.select(
                    [self.sock], [], [], 0.05)[0]:
                continue
            data = self.sock.recv(65536)
            if not data:
                return
            self.frames(data)
            self.sock.sendall(self.h2.data_to_send())

    def follow(self):
        while True:
            try:
                self.live()
            except OSError as err:
                print(repr(err), file=sys.stderr)
            for thing, _ in list(self.asked.values()):
                thing.end(False)
            self.asked.clear()
            time.sleep(0.2)


CLIENT = Client(sys.argv[1])
CLIENT.wanted = [*(Reader(number, CLIENT.url.path) for number in range(3)),
                 Poll(CLIENT.url.path)]
threading.Thread(target=CLIENT.follow, daemon=True).start()
sys.stdin.read()        # until the parent closes it
