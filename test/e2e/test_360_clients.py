# SPDX-License-Identifier: Apache-2.0
"""Other people's clients lose and repeat no message, however often their
connections are cut.

All clients run at the same time, each on its own channel through its own
cutting proxy, while messages are published and the server is restarted twice.
"""

import json
import os
import random
import subprocess
import threading

import pytest

from cutting_proxy import CuttingProxy
from httpd_env import REPO, SLOW, wait_until
from test_300_pages import Browser

CLIENTS = os.path.join(REPO, "test", "clients")
MODULES = os.path.join(CLIENTS, "node_modules")
NODE = os.environ.get("COMET_NODE", "node")
PYTHON = "/usr/bin/python3"

SERVER = {"children": 2, "conf": "CometPublishTimeout 10s"}

# The command of each client, and options of its proxy.
DRIVERS = {
    "eventsource": ([NODE, "eventsource.mjs"], {}),
    # This client stores the cursor when it reads the id line, before the event
    # is complete.  A cut between the two would lose the event.
    "fetch-event-source": ([NODE, "fetch_event_source.mjs"],
                           {"whole_id": True}),
    "event-source-polyfill": ([NODE, "event_source_polyfill.mjs"], {}),
    # This client continues after an error, so its proxy also answers with
    # errors.
    "reconnecting-eventsource": ([NODE, "reconnecting_eventsource.mjs"],
                                 {"errors": 0.2}),
    "aiohttp": ([PYTHON, "-B", "aiohttp_client.py"], {}),
    "curl": ([PYTHON, "-B", "curl_client.py"], {}),
    # If FIN cuts a head in half, this client takes the half for a complete head
    # of another content type. It then stops for good, as WHATWG's rules say.
    "chromium": (None, {"heads": 0.0}),
}

# The forms of the messages' texts: several lines, special characters, and parts
# that look like a field or like JSON.
TEXTS = ["m%d", "m%d \u4e2d\u6587 \U0001f600", "two\nlines %d", "id: %d",
         '{"number": %d, "quote": "\\""}', "  m%d  ", "data: m%d\nid: 7\n\nx"]


class Driver:
    """A client in its own process; `events` are the events that it has
    printed."""

    def __init__(self, command, url, log):
        self.events = []
        self.log = open(log, "wb")
        self.process = subprocess.Popen(
            command + [url], cwd=CLIENTS, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self.log)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for line in self.process.stdout:
            self.events.append(json.loads(line))

    def received(self):
        return list(self.events)

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self.thread.join(10)
        self.process.stdout.close()
        self.log.close()


class ChromiumDriver:
    """Like Driver, but the client is Chromium's own EventSource."""

    def __init__(self, url):
        port, path = url.split(":")[2].split("/", 1)
        self.browser = Browser(int(port))
        self.tab = self.browser.open("/static.txt")
        self.events = []
        self.tab.js("""
          window.events = [];
          window.source = new EventSource(arguments[0]);
          for (const type of ['message', 'note', 'gap']) {
            source.addEventListener(type, (event) => events.push(
              {id: event.lastEventId, type: event.type, data: event.data}));
          }""", "/" + path)

    def received(self):
        self.events += self.tab.js("return window.events.splice(0)")
        return list(self.events)

    def close(self):
        self.browser.close()


class Run:
    """One client with its channel, its proxy and its publisher."""

    def __init__(self, server, name, channel, total, cuts):
        command, options = DRIVERS[name]
        self.server, self.name, self.channel = server, name, channel
        self.total, self.cuts = total, cuts
        self.rng = random.Random(channel)
        self.sent = []  # acknowledged messages: {"id", "type", "data"}
        self.problem = None
        self.proxy = CuttingProxy(server.port, seed=channel, cuts=cuts,
                                  **options)
        url = "http://127.0.0.1:%d/comet/%s" % (self.proxy.port, channel)
        if command is None:
            self.driver = ChromiumDriver(url)
        else:
            self.log = os.path.join(server.root, "logs", channel)
            self.driver = Driver(command, url, self.log)

    def send(self, number):
        """Publish a message, and repeat it after a 503."""
        text = TEXTS[number % len(TEXTS)] % number
        kind = "note" if number % 5 == 4 else "message"
        answers = []

        def is_stored():
            """Return whether the message is stored.  A 503 asks for a repeat,
            as is usual when seven clients publish at once."""
            answers.append(self.server.request(
                "POST", "/comet/%s?type=%s" % (self.channel, kind),
                text.encode(), {"Content-Type": "text/plain",
                                "Idempotency-Key": "%d" % number}))
            return answers[-1].status != 503

        wait_until(is_stored, 10, "message %d to be stored" % number)
        answer = answers[-1]
        assert answer.status in (200, 201), answer
        self.sent.append({"id": str(answer.json()["timestamp"]),
                          "type": kind, "data": text})

    def publish(self, part):
        """Publish one third of the messages (0, 1 or 2), spread over the cuts:
        some while the client is disconnected, some while it reads."""
        try:
            for number in range(part * self.total // 3,
                                (part + 1) * self.total // 3):
                due = number * self.cuts // self.total
                wait_until(lambda: self.proxy.cuts >= due, 60,
                           "cut %d of %s" % (due, self.name))
                if self.rng.random() < 0.5:
                    wait_until(lambda: self.proxy.streaming
                               or self.proxy.cuts > due, 60,
                               "%s to be back" % self.name)
                self.send(number)
        except (AssertionError, OSError, ValueError) as err:
            self.problem = err

    def finish(self):
        """Wait for the last cuts, publish a last message, and wait until it has
        arrived."""
        try:
            wait_until(lambda: self.proxy.cuts == self.cuts, 30,
                       "the last cuts")
            self.send(self.total)
            wait_until(lambda: self.sent[-1] in self.driver.received(), 40,
                       "the last message")
        except (AssertionError, OSError, ValueError) as err:
            self.problem = self.problem or err

    def close(self):
        try:
            self.driver.close()
        finally:
            self.proxy.close()


def restart(server, how):
    """Stop and start the server while no client publishes."""
    if how == "stop":
        server.stop()
    else:
        server.kill()
    server.start()


def run_all(server, total, cuts):
    """Run all clients at the same time, with two restarts of the server."""
    server.keep_port = True
    runs = {}
    try:
        for name, (command, _) in DRIVERS.items():
            if command and command[0] == NODE and not os.path.isdir(MODULES):
                continue  # check() reports that this client is missing
            runs[name] = Run(server, name, "%s-%d" % (name, total), total,
                             cuts)
        wait_until(lambda: server.waiting() >= len(runs), 15,
                   "all clients to be there")
        for run in runs.values():
            run.proxy.start_cutting()
        for part, how in enumerate(("stop", "kill", None)):
            threads = [threading.Thread(target=run.publish, args=(part,),
                                        daemon=True)
                       for run in runs.values()]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(150 * SLOW)
            if how:
                restart(server, how)
        for run in runs.values():
            run.finish()
        return runs
    finally:
        for run in runs.values():
            run.close()


@pytest.fixture(scope="module")
def short(shared_server):
    return run_all(shared_server, 60, 10)


@pytest.fixture(scope="module")
def full(shared_server):
    return run_all(shared_server, 200, 50)


def check(runs, name, figure):
    """Check that exactly the acknowledged messages have arrived, in order and
    with their ids."""
    assert name in runs, "`conf/setup check` installs test/clients"
    run = runs[name]
    got = list(run.driver.events)
    ids = [int(event["id"]) for event in got]
    wanted = {event["id"] for event in run.sent}
    lost = [event for event in run.sent if event not in got]
    assert not lost, ("lost", len(lost), lost[:3], run.problem)
    repeated = [a for a, b in zip(got, got[1:]) if int(b["id"]) <= int(
        a["id"])]
    assert ids == sorted(set(ids)), ("repeated or out of order", repeated)
    assert not [event for event in got if event["id"] not in wanted]
    assert got == run.sent
    assert run.problem is None, run.problem
    assert run.proxy.cuts == run.cuts
    figure("%d messages; %d resets, %d ends, %d refused; %d of the cuts "
           "inside an event" % (len(got), run.proxy.resets, run.proxy.ends,
                                run.proxy.refused, run.proxy.inside))


@pytest.mark.browser
@pytest.mark.parametrize("name", list(DRIVERS))
def test_360_01_cut_at_random(server, short, name, figure):
    """Over 10 cuts and two restarts a client gets its 60 messages once, in
    order."""
    check(short, name, figure)
    assert short[name].proxy.inside >= 1


@pytest.mark.browser
@pytest.mark.long
@pytest.mark.parametrize("name", list(DRIVERS))
def test_360_02_cut_fifty_times(server, full, name, figure):
    """Over 50 cuts and two restarts a client gets its 200 messages once, in
    order."""
    check(full, name, figure)
    assert full[name].proxy.inside >= 10
