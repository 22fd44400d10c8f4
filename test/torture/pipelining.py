# SPDX-License-Identifier: Apache-2.0
"""Requests that arrive while the hub answers the poll before them, or stores the
message before them."""

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


class FastPublisher:
    """A client whose POSTs differ only in their bodies. It also sends other
    requests on the same connection.

    said: the (timestamp, body) of each message that was acknowledged.
    """

    TARGET = "/comet/lane"

    def __init__(self, server, seed):
        self.server, self.chance = server, random.Random(seed)
        self.said, self.number = [], 0
        self.conn = server.raw()

    def text(self):
        """Return the body of the next message. Some look like requests."""
        self.number += 1
        smuggled = self.conn.format("POST", "/comet/smuggled", TEXT, b"x")
        return b"%d " % self.number + self.chance.choice([
            b"", b"", b"x" * self.chance.randrange(3000), smuggled,
            b"\r\n\r\n" + smuggled,
            b"\r\nContent-Length: 3\r\n\r\nabc", "\u2603".encode()])

    def request(self, text, headers=None):
        return self.conn.format("POST", self.TARGET,
                                dict(TEXT, **(headers or {})), text)

    def take(self, text):
        self.conn.method = "POST"
        answer = self.conn.answer()
        assert answer.status == 201, answer
        self.said.append((answer.json()["timestamp"], text.decode()))

    # -- what the client sends ----------------------------------------------

    def post(self):
        text = self.text()
        self.conn.send(self.request(text))
        self.take(text)

    def split(self):
        text = self.text()
        data = self.request(text)
        cuts = sorted(self.chance.randrange(len(data) + 1) for _ in range(2))
        for begin, end in zip([0] + cuts, cuts + [len(data)]):
            self.conn.send(data[begin:end])
        self.take(text)

    def several(self):
        texts = [self.text() for _ in range(self.chance.randrange(2, 6))]
        data = b"".join(map(self.request, texts))
        cut = self.chance.randrange(len(data))
        self.conn.send(data[:cut])
        self.conn.send(data[cut:])
        for text in texts:
            self.take(text)

    def another(self):
        """Send another request behind a POST."""
        text = self.text()
        request = self.conn.format("GET", "/static.txt")
        late = self.chance.random() < 0.5
        self.conn.send(self.request(text) + (b"" if late else request))
        self.conn.send(request if late else b"")
        self.take(text)
        self.conn.method = "GET"
        assert self.conn.answer().body == b"a static file\n"

    def other_words(self):
        """Send the length in another form, or another header."""
        text = self.text()
        length = len(text)
        self.conn.send(self.request(text, self.chance.choice([
            {"Content-Length": " %d" % length},
            {"Content-Length": "%012d" % length},
            {"content-LENGTH": "%d" % length},
            {"X-Other": "Content-Length: 1"},
            {"X-Folded": "a\r\n Content-Length: 1"},
            {"Expect": "100-continue"}])))
        self.take(text)

    def chunked(self):
        text = self.text()
        self.conn.send(self.request(
            b"%x\r\n%s\r\n0\r\n\r\n" % (len(text), text),
            {"Transfer-Encoding": "chunked"}))
        self.take(text)

    def wrong(self):
        """Send a length that can be read in two ways, and a request inside what
        might be the body; httpd answers 400 and closes the connection."""
        text = self.text() + self.request(b"no")
        self.conn.send(self.request(text, self.chance.choice([
            {"Content-Length": "-1"}, {"Content-Length": "+1"},
            {"Content-Length": "1, 1"}, {"Content-Length": "0x1"},
            {"Content-Length": "1\r\n 1"}, {"Content-Length": ""},
            {"Content-Length": "18446744073709551617"},
            {"Content-Length": "1", "content-length": "%d" % len(text)}])))
        self.conn.method = "POST"
        assert self.conn.answer().status == 400
        self.conn.close()
        self.conn = self.server.raw()

    def too_long(self):
        text = b"x" * 4000 + b"\r\n\r\n" + self.request(b"no")
        self.conn.send(self.request(text))
        self.conn.method = "POST"
        assert self.conn.answer().status == 413
        self.conn.close()
        self.conn = self.server.raw()


def posts_that_the_hub_publishes(server, rounds, seed=460):
    """A CometFastPublish client sends all kinds of requests between its POSTs.
    Each gets its own answer. Each message is stored once, in order, and no body
    is taken for a request. Return how many messages the hub has published. The
    server has CometMaxMessageSize 4000."""
    client = FastPublisher(server, seed)
    kinds = [client.post] * 6 + [
        client.split, client.several, client.another, client.other_words,
        client.chunked, client.wrong, client.too_long]
    before = server.status()["fast_publishes"]
    for _ in range(rounds):
        client.chance.choice(kinds)()
        for _ in range(client.chance.randint(0, 6)):    # until the hub knows its
                                                        # POSTs
            client.post()
    client.conn.close()
    assert server.rows("smuggled") == []
    assert [(int(stamp), body) for stamp, body in server.sql(
        "SELECT timestamp, body FROM message WHERE channel = 'lane' "
        "ORDER BY timestamp")] == client.said
    return server.status()["fast_publishes"] - before
