#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy that cuts event streams at random points, for the tests.

By hand:  cutting_proxy.py --to 8080 --seed 1 --cuts 50
"""

import argparse
import random
import select
import socket
import struct
import threading
import time

GATEWAY_ERROR = (b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain\r\n"
                 b"Content-Length: 4\r\nConnection: close\r\n\r\nbad\n")
LINGER_NONE = struct.pack("ii", 1, 0)      # close() then sends a reset


class Plan:
    """Where to cut a connection: after a number of bytes of the answer's body
    (or of its head, if the number is negative), or a number of seconds after
    the head."""

    def __init__(self, rng, span, seconds, heads):
        self.reset = rng.random() < 0.5
        self.body_bytes = rng.randrange(span)
        if rng.random() < heads:
            self.body_bytes = -rng.randrange(1, 200)
        self.seconds = rng.uniform(0.05, seconds)


class CuttingProxy:
    """Forwards to `port`. After start_cutting() it cuts the next `cuts`
    connections; then it only forwards again.

    span:     it cuts within the first `span` bytes of the body,
    seconds:  or at the latest this long after the head
    heads:    the share of the cuts that are made in the head
    errors:   the share of the requests that are answered with 502 instead of
              being forwarded; this counts as a cut
    whole_id: never cut between the two line feeds that end an event
    """

    def __init__(self, port, seed=1, cuts=50, span=400, seconds=0.4,
                 heads=0.1, errors=0.0, whole_id=False):
        self.to_port, self.rng = port, random.Random(seed)
        self.left, self.span, self.seconds = cuts, span, seconds
        self.heads, self.errors, self.whole_id = heads, errors, whole_id
        self.cutting = False
        self.lock = threading.Lock()
        self.resets = self.ends = self.refused = 0    # [lock]
        self.inside = 0         # cuts in the middle of an event
        self.streaming = 0      # connections whose head was passed on
        self.sockets = set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def cuts(self):
        """How many connections were cut."""
        return self.resets + self.ends + self.refused

    def start_cutting(self):
        """Begin to cut connections, and close those that are already open."""
        self.cutting = True
        self.shut_all()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(client,),
                             daemon=True).start()

    def plan(self):
        """The plan for the next connection: where to cut it (None: nowhere),
        and whether to answer with an error instead."""
        with self.lock:
            if not self.cutting or self.left == 0:
                return None, False
            self.left -= 1
            return Plan(self.rng, self.span, self.seconds, self.heads), \
                self.rng.random() < self.errors

    def unused(self):
        """Note that a planned cut did not take place, so that another
        connection is cut instead."""
        with self.lock:
            self.left += 1

    def serve(self, client):
        """Serve one connection until it ends."""
        server, plan = None, None
        self.keep(client)
        try:
            client.settimeout(30)
            request = client.recv(65536)
            if not request:
                return
            plan, fail = self.plan()
            if fail:
                client.sendall(GATEWAY_ERROR)
                with self.lock:
                    self.refused += 1
                plan = None
                return
            server = socket.create_connection(("127.0.0.1", self.to_port), 5)
            self.keep(server)
            server.sendall(request)
            if self.forward(client, server, plan):
                plan = None
        except OSError:
            pass
        finally:
            if plan is not None:
                self.unused()
            self.drop(server)
            self.drop(client)

    def forward(self, client, server, plan):
        """Forward in both directions; return True if the connection was cut.

        One thread serves both directions: with two threads, one could still be
        in recv() when the other calls close(), which would have no effect
        until recv() returns.
        """
        answer, head, deadline = b"", None, None
        try:
            while True:
                ready, _, _ = select.select(
                    [client, server], [], [], None if deadline is None
                    else max(0.0, deadline - time.monotonic()))
                if not ready:
                    self.cut(client, plan, answer)
                    return True
                if client in ready:
                    data = client.recv(65536)
                    if not data:
                        return False
                    server.sendall(data)
                if server not in ready:
                    continue
                data = server.recv(65536)
                if not data:
                    return False
                have = len(answer)
                answer += data
                if head is None and b"\r\n\r\n" in answer:
                    head = answer.index(b"\r\n\r\n") + 4
                    with self.lock:
                        self.streaming += 1
                    if plan is not None:
                        deadline = time.monotonic() + plan.seconds
                end = self.end(answer, head, plan)
                client.sendall(answer[have:end])
                if end is not None:
                    self.cut(client, plan, answer[:end])
                    return True
                if plan is None and head is not None:
                    answer = b""
        finally:
            if head is not None:
                with self.lock:
                    self.streaming -= 1

    def end(self, answer, head, plan):
        """How many bytes of the answer the client gets; None: all."""
        if plan is None:
            return None
        if plan.body_bytes < 0:
            end = -plan.body_bytes
        elif head is None:
            return None
        else:
            end = head + plan.body_bytes
        if self.whole_id and answer[end - 1:end + 1] == b"\n\n":
            end += 1
        return end if end <= len(answer) else None

    def cut(self, client, plan, answer):
        with self.lock:
            if plan.reset:
                self.resets += 1
            else:
                self.ends += 1
            if not answer.endswith((b"\n\n", b"\n\n\r\n")):
                self.inside += 1
        if plan.reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                              LINGER_NONE)
        self.drop(client, plan.reset)

    def keep(self, sock):
        with self.lock:
            self.sockets.add(sock)

    @staticmethod
    def shut(sock):
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def drop(self, sock, reset=False):
        if sock is None:
            return
        with self.lock:
            self.sockets.discard(sock)
        if not reset:
            self.shut(sock)
        sock.close()

    def close(self):
        """Close all sockets."""
        self.shut(self.listener)
        self.listener.close()
        self.shut_all()

    def shut_all(self):
        with self.lock:
            rest = list(self.sockets)
        for sock in rest:
            self.shut(sock)


def main():
    """Cut the connections that pass through, and print what was cut."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--to", type=int, default=8080, help="httpd's port")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cuts", type=int, default=50)
    parser.add_argument("--span", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=5)
    args = parser.parse_args()
    proxy = CuttingProxy(args.to, args.seed, args.cuts, args.span,
                         args.seconds)
    proxy.start_cutting()
    print("http://127.0.0.1:%d/" % proxy.port, flush=True)
    try:
        while proxy.cuts < args.cuts:
            time.sleep(1)
            print("%d resets, %d ends, %d inside an event"
                  % (proxy.resets, proxy.ends, proxy.inside), flush=True)
        proxy.thread.join()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
