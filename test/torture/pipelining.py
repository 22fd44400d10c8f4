# SPDX-License-Identifier: Apache-2.0
"""Requests that arrive while the hub answers the poll before them."""

import random
import threading

from httpd_env import SLOW

TEXT = {"Content-Type": "text/plain"}


def while_the_hub_answers(server, rounds):
    """Requests arrive at the moment when the poll before them is answered. Each
    gets its own answer, in order, and no message is lost."""
    sent = []
    chance = random.Random(460)
    begin, done = threading.Semaphore(0), threading.Event()
    pauses = [chance.random() * 0.002 for _ in range(rounds)]

    def publish():
        with server.raw() as conn:
            for number in range(rounds):
                if not begin.acquire(timeout=20 * SLOW):
                    return
                done.wait(pauses[number])
                conn.request("POST", "/comet/moment", TEXT,
                             b"%d" % number)
                sent.append(conn.answer().json()["timestamp"])

    thread = threading.Thread(target=publish, daemon=True)
    thread.start()
    got, cursor = [], server.post("moment", "first")
    with server.raw() as conn:
        for number in range(rounds):
            poll = "/comet/moment?since=%d" % cursor
            conn.request("GET", poll)
            begin.release()
            pipelined = conn.format("GET", "/static.txt?%d" % number)
            done.wait(chance.random() * 0.002)
            conn.send(pipelined)
            answer = conn.answer()
            assert answer.status == 200, answer
            got += answer.json()["messages"]
            cursor = answer.json()["timestamp"]
            assert conn.answer().body == b"a static file\n", number
        thread.join(20 * SLOW)
        while len(got) < rounds:
            conn.request("GET", "/comet/moment?wait=1&since=%d" % cursor)
            more = conn.answer().json()
            assert more["messages"], "lost: %d of %d" % (len(got), rounds)
            got += more["messages"]
            cursor = more["timestamp"]
    assert [m["timestamp"] for m in got] == sent
    assert [m["body"] for m in got] == [str(i) for i in range(rounds)]


class FastPoller:
    """A client whose polls differ only in the cursor. It also sends other
    requests on the same connection."""

    TARGET = "/comet/fast?since=%s"

    def __init__(self, server, seed):
        self.server, self.chance = server, random.Random(seed)
        self.sent, self.cursor = [server.post("fast", "first")], None
        self.cursor = self.sent[0]
        self.conn = server.raw()

    def head(self, cursor=None, headers=None):
        cursor = self.cursor if cursor is None else cursor
        return self.conn.format("GET", self.TARGET % cursor, headers)

    def publish(self):
        self.sent.append(self.server.post("fast", "news"))

    def take(self):
        """Read the answer of a poll: every message after the cursor, or
        none."""
        self.conn.method = "GET"
        answer = self.conn.answer()
        assert answer.status == 200, answer
        stamps = [m["timestamp"] for m in answer.json()["messages"]]
        assert stamps == [s for s in self.sent if s > self.cursor][
            :len(stamps)], "out of order, or lost"
        self.cursor = answer.json()["timestamp"]
        return stamps

    def catch_up(self):
        while self.cursor < self.sent[-1]:
            self.conn.send(self.head())
            assert self.take()

    # -- what the client sends ----------------------------------------------

    def news(self):
        self.conn.send(self.head())
        self.server.wait_waiting(1, "poll")
        self.publish()
        assert self.take()

    def late(self):
        self.publish()
        self.conn.send(self.head())
        assert self.take()

    def split(self):
        head = self.head()
        cut = self.chance.randrange(1, len(head))
        self.conn.send(head[:cut])
        if self.chance.random() < 0.5:
            self.publish()
        self.conn.send(head[cut:])
        self.publish()
        assert self.take()

    def two(self):
        self.conn.send(self.head() + self.head())
        assert self.take() == []
        self.publish()
        assert self.take()

    def another(self):
        """Send another request after a poll, at once or while the poll
        waits."""
        request = self.conn.format("GET", "/static.txt")
        late = self.chance.random() < 0.5
        self.conn.send(self.head() + (b"" if late else request))
        self.conn.send(request if late else b"")
        assert self.take() == []
        assert self.conn.answer().body == b"a static file\n"

    def post(self):
        """Send a POST whose body looks like a poll followed by a publish."""
        body = self.head() + self.conn.format("POST", "/comet/smuggled", TEXT,
                                              b"x")
        self.conn.send(self.head() + self.conn.format(
            "POST", "/comet/bodies", TEXT, body))
        assert self.take() == []
        self.conn.method = "POST"
        assert self.conn.answer().status == 201

    def body_of_a_poll(self):
        """Send the head of a poll with a body. It is then not the same poll as
        before."""
        body = self.head()
        self.conn.send(self.head(headers={"Content-Length": len(body)}) + body)
        self.publish()
        assert self.take()

    def wrong(self):
        """Send an almost valid cursor; httpd answers 400 and closes the
        connection."""
        cursor = self.chance.choice([
            "-1", "0x%d" % self.cursor, "%d.0" % self.cursor, "1e9", "9" * 16,
            "9" * 17, "%d%%00" % self.cursor])
        self.conn.send(self.head(cursor))
        assert self.conn.answer().status == 400, cursor
        self.conn.close()
        self.conn = self.server.raw()

    def other_words(self):
        """Send the same cursor in an unusual form: with leading zeros,
        percent-encoded, or after another `since`."""
        digits = str(self.cursor)
        self.conn.send(self.head(self.chance.choice([
            digits.zfill(20), "%3" + digits, "1&since=" + digits])))
        self.publish()
        assert self.take()


def polls_that_the_hub_answers(server, rounds, seed=460):
    """A CometFastPoll client sends all kinds of requests between its polls.
    Each gets its own answer. No message is lost, and no body is taken for a
    request. Return how many polls the hub answered."""
    client = FastPoller(server, seed)
    kinds = [client.news] * 6 + [
        client.late, client.split, client.two, client.another, client.post,
        client.body_of_a_poll, client.wrong, client.other_words]
    before = server.status()["fast_polls"]
    for _ in range(rounds):
        client.catch_up()
        client.chance.choice(kinds)()
        client.catch_up()
        for _ in range(client.chance.randint(0, 6)):    # until the hub answers
                                                        # its polls
            client.news()
    client.conn.send(client.head(client.sent[0]))
    client.cursor, client.sent = client.sent[0], client.sent[:101]
    assert client.take() == client.sent[1:]
    client.conn.close()
    assert server.rows("smuggled") == []
    return server.status()["fast_polls"] - before
