# SPDX-License-Identifier: Apache-2.0
"""Sections 5 to 7 of RFC 6455.  Each case of socket_reference is answered as
its reference server says, and clients by other authors work."""

import json
import random
import subprocess

import pytest

from http_client import Closed
from httpd_env import SLOW
from socket_client import CLOSE, PING, PONG, TEXT, Socket, frame
from socket_reference import Reference, at_random, encode, families
from test_360_clients import CLIENTS, NODE

SERVER = {"conf": "CometTransports all websocket\n", "tls": True}
FAMILIES = families()


class Runner:
    """Runs cases, several on one WebSocket as long as it stays open."""

    def __init__(self, server, dice=None, **how):
        self.server, self.dice, self.how = server, dice, how
        self.socket, self.count = None, 0

    def open(self):
        if self.socket is None:
            self.socket = Socket(self.server, "/comet/rfc", **self.how)
            self.socket.opened()
        return self.socket

    def send(self, data):
        """Send the data in one piece or, with `dice`, in random pieces."""
        while self.dice and len(data) > 1:
            at = self.dice.randrange(1, min(len(data), 200))
            self.socket.send(data[:at])
            data = data[at:]
        self.socket.send(data)

    def answers(self, wanted):
        """Read until everything is answered; return the frames other than
        texts. Another thread answers the texts.  Before a Close a text can stay
        unanswered."""
        got, texts = [], 0
        while len(got) < len(wanted.answers) or (
                texts < len(wanted.texts) and not wanted.is_closed()):
            opcode, payload = self.socket.frame()
            if opcode == TEXT:
                texts += b'"timestamp":' not in payload
            else:
                got.append((opcode, self.socket.code if opcode == CLOSE
                            else payload))
        return got

    def run(self, name, frames):
        wanted = Reference(frames)
        # If a message has begun when the case ends, no further case can follow.
        self.open()
        self.send(b"".join(map(encode, frames)))
        try:
            got = self.answers(wanted)
        except (Closed, AssertionError, OSError) as error:
            raise AssertionError((name, wanted.answers, error)) from error
        assert got == wanted.answers, (name, got, wanted.answers)
        self.count += 1
        if wanted.is_closed():
            self.socket.conn.sock.settimeout(5 * SLOW)
            assert not self.socket.conn.buffer, name
            assert not self.socket.conn.sock.recv(1), name
        if wanted.is_closed() or wanted.message is not None:
            self.close()

    def close(self):
        if self.socket:
            self.socket.conn.close()
        self.socket = None

    def run_all(self, cases):
        for name, frames in cases:
            self.run(name, frames)
        self.close()
        self.server.wait_waiting(0)
        return self.count


def test_524_01_cases(server):
    """All cases are answered as the reference says if all their frames arrive
    at the same time."""
    assert all(len(family) > 3 for family in FAMILIES)
    assert Runner(server).run_all(sum(FAMILIES, [])) >= 900


def test_524_02_cases_in_pieces(server):
    """150 random cases whose bytes arrive in random pieces, over TLS, are
    answered as the reference says."""
    cases = [case for family in FAMILIES for case in family
             if len(b"".join(map(encode, case[1]))) < 1000]
    dice = random.Random(524)
    assert Runner(server, dice, tls=True).run_all(dice.sample(cases, 150)) == 150


@pytest.mark.long
@pytest.mark.parametrize("tls", [False, True])
def test_524_03_all_cases_in_pieces(server, tls):
    """All cases, and many random ones, are answered as the reference says if
    their bytes come in random pieces."""
    dice = random.Random(6455)
    cases = sum(FAMILIES, []) + list(at_random(dice, 3000))
    assert Runner(server, dice, tls=tls).run_all(cases) == len(cases)


def test_524_04_at_random(server):
    """Random cases of several frames are answered as the reference says."""
    dice = random.Random(6455)
    assert Runner(server).run_all(at_random(dice, 150)) == 150


def test_524_05_a_reason_in_pieces(server):
    """A Close frame that arrives in two pieces, cut at any byte, is judged as a
    whole."""
    for reason, code in ((b"so \xe2\x82\xac \xf0\x9f\x98\x80", 1000),
                         (b"so \xe2\x82", 1007), (b"\xed\xa0\x80", 1007),
                         (b"\xc0\x80 and more", 1007)):
        data = frame(CLOSE, b"\x03\xe8" + reason)
        for at in range(1, len(data)):
            with Socket(server, "/comet/rfc") as socket:
                socket.opened()
                socket.send(data[:at])
                # When the server answers this ping, it has read the first
                # piece.
                with Socket(server, "/comet/rfc") as other:
                    other.opened()
                    other.send(frame(PING, b"read"))
                    while other.frame() != (PONG, b"read"):
                        pass
                socket.send(data[at:])
                assert socket.until_close()[0] == code, (reason, at)


FOREIGN = {"websockets": ["/usr/bin/python3", "-B", "websockets_client.py"],
           "aiohttp": ["/usr/bin/python3", "-B", "aiohttp_socket.py"],
           "ws": [NODE, "ws.mjs"]}


def test_524_10_clients_of_others(server):
    """Clients by other authors publish, even in fragments, and get all messages
    in order.  They work although mod_comet has none of the extensions that they
    offer."""
    count = 60
    running = {
        name: subprocess.Popen(
            command + ["ws://localhost:%d/comet/%s" % (server.port, name),
                       str(count)], cwd=CLIENTS, stdout=subprocess.PIPE)
        for name, command in FOREIGN.items()}
    for name, process in running.items():
        out, _ = process.communicate(timeout=60 * SLOW)
        frames = [json.loads(line) for line in out.splitlines()]
        assert frames[-1] == {"closed": 1000, "protocol": "comet"}, name
        assert list(frames[0]) == ["open"], name
        answers = {f["ref"]: f["stored"] for f in frames if "ref" in f}
        messages = [f for f in frames if "body" in f]
        assert [m["body"] for m in messages] == [
            "m%d \u20ac" % n for n in range(count)], name
        assert [m["timestamp"] for m in messages] == [
            answers[n] for n in range(count)], name
    server.wait_waiting(0)
