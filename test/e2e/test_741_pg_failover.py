# SPDX-License-Identifier: Apache-2.0
"""When PostgreSQL's primary dies and its synchronous standby is promoted, no
acknowledged message is lost."""

import threading
import time

import pytest

from httpd_env import SLOW, wait_until
from pg_env import Cluster, server_conf
from stream_client import Stream

pytestmark = [pytest.mark.long, pytest.mark.bound(180)]


class Publisher(threading.Thread):
    """A thread that publishes one message after another, and lists the messages
    that were stored."""

    def __init__(self, host, name):
        super().__init__(daemon=True)
        self.host, self.name_ = host, name
        self.stored, self.over = [], False
        self.start()

    def run(self):
        number = 0
        while not self.over:
            number += 1
            body = "%s%d" % (self.name_, number)
            answer = self.host.request(
                "POST", "/comet/fail", body.encode(),
                {"Content-Type": "text/plain", "Idempotency-Key": body})
            if answer.status in (200, 201):
                self.stored.append((answer.json()["timestamp"], body,
                                    time.monotonic()))
            else:
                number -= 1     # repeat it with the same key
                time.sleep(0.02)


def test_741_01_promotion(make_server, figure):
    """During a promotion the stream stays open, and afterwards publishing
    resumes.  Every acknowledged message is once in the stream and once in the
    new primary, in the same order."""
    primary = Cluster()
    standby = primary.standby()
    try:
        both = primary.conninfo.replace(
            primary.folder, primary.folder + "," + standby.folder) \
            + " target_session_attrs=read-write"
        conf = server_conf(primary)
        conf["conf"] = conf["conf"].replace(primary.conninfo, both) \
            .replace("CometSearch on", "")
        host = make_server(**conf)
        wait_until(lambda: host.get("/comet/any?wait=0").status == 200, 15,
                   "the database")
        with Stream(host, "/comet/fail?since=0") as stream:
            publishers = [Publisher(host, name) for name in "abcd"]
            wait_until(lambda: all(len(p.stored) > 20 for p in publishers),
                       60, "some messages")
            primary.crash()
            standby.psql("SELECT pg_promote()")
            promoted = time.monotonic()
            wait_until(lambda: all(p.stored[-1][2] > promoted + 0.5
                                   for p in publishers), 30, "publishing")
            again = min(t for p in publishers for _, _, t in p.stored
                        if t > promoted) - promoted
            for publisher in publishers:
                publisher.over = True
            for publisher in publishers:
                publisher.join(20 * SLOW)
            stored = sorted((time_, body) for p in publishers
                            for time_, body, _ in p.stored)
            rows = [tuple(row.split("|")) for row in standby.psql(
                "SELECT id, body FROM comet.log WHERE channel = 'fail'"
                " ORDER BY id").split("\n")]
            assert [(int(i), body) for i, body in rows] == stored
            data = stream.until(len(stored))
            assert data == [body for _, body in stored]
        figure("%d messages, the primary killed: 0 lost; publishing again"
               " %.2f s after the promotion" % (len(stored), again))
    finally:
        primary.close()
        standby.close()
