# SPDX-License-Identifier: Apache-2.0
"""Requests that arrive while the one before them is answered by the hub."""

import random
import threading

from httpd_env import SLOW

TEXT = {"Content-Type": "text/plain"}


def while_the_hub_answers(server, rounds):
    """Requests that arrive in the moment in which the poll before them is
    answered: each gets its own answer, in order, and no message is lost."""
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
