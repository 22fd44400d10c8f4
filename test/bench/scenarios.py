# SPDX-License-Identifier: Apache-2.0
"""The scenarios: the rows of the table, and how each is measured."""

import json
import os
import subprocess

from servers import (BENCH, HEARTBEAT_SECONDS, Comet, Floor, Nchan, Null,
                     Unavailable)

LOAD = os.path.join(BENCH, "load")
# If the generator uses more than this share of a core, the figure describes the
# generator.
GENERATOR_LIMIT = 0.9


class Failed(Exception):
    """A run has failed, so its figures would be meaningless."""


class Figure:
    """A figure of a run; it makes a row of the table."""

    def __init__(self, key, title, unit=1, less_is_better=False):
        self.key, self.title, self.unit = key, title, unit
        self.less_is_better = less_is_better

    def of(self, result):
        return result[self.key] / self.unit


class Scenario:
    """A measurement that gives one row of the table, or several.

    servers:  the servers that take part
    url:      what subscribers request (a key of Server.urls)
    publish:  where publishers publish (likewise)
    load:     options of the generator; those in SCALED shrink with BENCH_SCALE
    conf:     further lines of httpd's configuration
    prime:    how many messages are stored before the run
    warm:     how many clients come and go before the run, so that each thread
              has made its one-time allocations
    once:     the run takes long and varies little, so one round is enough
    """

    SCALED = {"subscribers": 4, "channels": 4, "messages": 5, "seconds": 0.3}

    def __init__(self, name, title, mode, figures, servers=(Comet, Nchan, Floor),
                 url=None, publish="publish", conf="", prime=0, warm=0,
                 once=False, **load):
        self.name, self.title, self.mode = name, title, mode
        self.figures, self.servers = figures, servers
        self.url, self.publish = url, publish
        self.conf, self.prime, self.warm = conf, prime, warm
        self.once, self.load = once, load

    def scaled(self, scale):
        options = dict(self.load)
        for key, least in self.SCALED.items():
            if key in options and scale != 1:
                value = max(options[key] * scale, least)
                options[key] = value if key == "seconds" else round(value)
        return options

    def seconds(self):
        """Roughly how many seconds a run on one server takes."""
        rate = self.load.get("rate")
        run = (self.load["seconds"] if "seconds" in self.load
               else self.load["messages"] / rate if rate else 0.5)
        return run + 1.2 + self.load.get("subscribers", 0) / 4000

    def arguments(self, server, options):
        # On a server without streams only publishing is measured.
        url = self.url and server.url(self.url)
        mode = self.mode if url or not self.url else "publish"
        words = [mode, "--server=%d" % server.process.pid]
        if mode not in ("park", "get"):
            words.append("--publish=" + server.url(self.publish))
            if self.publish == "publish-websocket":
                words.append("--type=" + server.frame)
        if url and mode != "publish":
            words.append("--url=" + url)
        if mode == "poll":
            words.append("--cursor=" + server.cursor)
        if mode == "publish":
            options = {key: value for key, value in options.items()
                       if key != "subscribers"}
        return words + ["--%s=%s" % pair for pair in options.items()]

    def measure(self, kind, scale=1, children=1):
        """Run once on one server; return its figures, by key."""
        options = self.scaled(scale)
        with kind(children=children, conf=self.conf) as server:
            if self.prime:
                generator(["publish", "--messages=%d" % self.prime,
                           "--server=%d" % server.process.pid,
                           "--publish=" + server.url("publish")])
            if self.warm:
                generator(self.arguments(server, dict(
                    options, subscribers=self.warm)))
            words = self.arguments(server, options)
            result = generator(words)
        check(words[0], result, options)
        if words[0] == "get" and kind is not Null:
            check_bodies(result)
        return result


def generator(arguments):
    if not os.path.exists(LOAD):
        raise Unavailable("%s is missing; 'make bench' builds it" % LOAD)
    done = subprocess.run([LOAD] + arguments, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=300, check=False)
    if done.returncode != 0:
        raise Failed(done.stderr.decode("utf-8", "replace").strip())
    return json.loads(done.stdout)


def check(mode, result, options):
    """Fail if a run lost or repeated messages, or had errors."""
    wanted = {"refused": 0, "http_errors": 0, "closed": 0, "malformed": 0,
              "duplicates": 0, "connect_errors": 0}
    if options.get("publishers", 1) == 1:   # several publishers race to the
                                            # server
        wanted["disordered"] = 0
    if mode in ("stream", "poll", "publish", "history"):
        wanted["acknowledged"] = result["sent"]
    if mode in ("stream", "poll", "park"):
        wanted["ready"] = options["subscribers"]
    if mode == "park":
        wanted["open"] = options["subscribers"]
    if mode in ("stream", "poll"):
        wanted["delivered"] = result["expected"]
    if mode == "history":
        wanted["complete"] = options["subscribers"]
    wrong = ["%s: %g instead of %g" % (key, result[key], value)
             for key, value in wanted.items() if result[key] != value]
    if wrong and result["last_refusal"]:
        wrong.append("last status %d" % result["last_refusal"])
    if wrong:
        raise Failed(", ".join(wrong))


def check_bodies(result):
    """Fail if a catch-up answer has no message."""
    if not 0 < result["answers"] <= result["delivered"]:
        raise Failed("%d messages in %d answers"
                     % (result["delivered"], result["answers"]))


class DiskFloor:
    """Takes a server's place in a scenario, and stands for the disk alone, or
    for SQLite alone, in the same folder."""

    name = "floor"


class BatchScenario(Scenario):
    """Messages in batches. The floor is SQLite alone, with 32 rows in a
    transaction."""

    def measure(self, kind, scale=1, children=1):
        if kind is not DiskFloor:
            return super().measure(kind, scale, children)
        result = disk(self.scaled(scale)["seconds"])
        return {"published_per_second": result["rows_per_second"],
                "generator_share": 0}


class SyncedScenario(Scenario):
    """Messages one at a time, each synced to the disk. The floor is an
    fdatasync alone, at the same pace."""

    def measure(self, kind, scale=1, children=1):
        if kind is not DiskFloor:
            return super().measure(kind, scale, children)
        load = self.scaled(scale)
        result = disk(load["messages"] / load["rate"], 1000 // load["rate"])
        return {"latency_p50_us": result["fdatasync_at_rest_p50_us"],
                "delivered": load["messages"], "generator_share": 0}


def disk(seconds, *pause):
    """Measure the disk and SQLite alone. With a pause in milliseconds: measure
    an fdatasync after each such pause."""
    done = subprocess.run(
        [os.path.join(BENCH, "dbfloor"),
         os.environ.get("BENCH_DIR", "/var/tmp"), str(seconds),
         *map(str, pause)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120,
        check=False)
    if done.returncode != 0:
        raise Failed(done.stderr.decode("utf-8", "replace").strip())
    return json.loads(done.stdout)


PER_CPU = Figure("per_cpu_second", "deliveries per CPU s")
P99 = Figure("latency_p99_us", "latency p99, ms", 1000, True)
P50_MS = Figure("latency_p50_us", "latency p50, ms", 1000, True)
P50_US = Figure("latency_p50_us", "latency p50, µs", 1, True)

RATE = Figure("published_per_second", "messages/s")
WEBSOCKETS = "CometTransports all websocket"
CHANNELS = "1,000 channels × 1 stream, 32 publishers"


def located(*lines):
    """Lines for the endpoint's <Location>."""
    return "\n".join(('<Location "/comet">',) + lines + ("</Location>",))


FAST_POLL = located("CometFastPoll on")
FAST_PUBLISH = located("CometFastPublish on")

SCENARIOS = (
    Scenario("parked", "10,000 event streams parked", "park",
             [Figure("pss_per_subscriber_kib", "PSS each, KiB", 1, True)],
             url="stream", warm=300, subscribers=10000, seconds=0.3, settle=1),
    Scenario("idle", "10,000 event streams, a heartbeat every %d s"
             % HEARTBEAT_SECONDS, "park",
             [Figure("server_percent", "% of a core", 1, True)],
             servers=(Comet, Nchan), url="stream", once=True,
             subscribers=10000, seconds=HEARTBEAT_SECONDS, settle=1),
    Scenario("streams", "1,000 streams × 50 msg/s", "stream", [PER_CPU, P99],
             url="stream", subscribers=1000, messages=200, rate=50),
    Scenario("streams10k", "10,000 streams × 1 msg/s", "stream",
             [PER_CPU, P99],
             url="stream", subscribers=10000, messages=6, rate=1, settle=1),
    Scenario("polls", "1,000 long polls × 50 msg/s", "poll", [PER_CPU, P99],
             url="poll", subscribers=1000, messages=200, rate=50, settle=1),
    Scenario("fastpolls", "1,000 long polls × 50 msg/s, CometFastPoll on",
             "poll", [PER_CPU, P99], url="poll",
             conf=FAST_POLL,
             subscribers=1000, messages=200, rate=50, settle=1),
    Scenario("rest-normal", "one subscriber at rest, CometSync normal",
             "stream", [P50_US], url="stream", conf="CometSync normal",
             subscribers=1, messages=60, rate=20),
    Scenario("rest-fast",
             "one subscriber at rest, CometSync normal, CometFastPublish on",
             "stream", [P50_US], servers=(Comet, Nchan), url="stream",
             conf="CometSync normal\n" + FAST_PUBLISH,
             subscribers=1, messages=60, rate=20),
    SyncedScenario("rest-full", "one subscriber at rest, CometSync full",
                   "stream", [P50_US], url="stream", conf="CometSync full",
                   servers=(Comet, DiskFloor),
                   subscribers=1, messages=60, rate=20),
    Scenario("channels-normal", CHANNELS + ", CometSync normal", "stream",
             [RATE, P50_MS, P99],
             servers=(Comet, Nchan, Floor, Null), url="stream",
             conf="CometSync normal",
             subscribers=1000, channels=1000, publishers=32, seconds=3),
    Scenario("channels-full", CHANNELS + ", CometSync full", "stream",
             [RATE, P50_MS, P99], servers=(Comet,), url="stream",
             conf="CometSync full",
             subscribers=1000, channels=1000, publishers=32, seconds=3),
    Scenario("channels-fast", CHANNELS + ", CometSync normal, "
             "CometFastPublish on", "stream", [RATE, P50_MS, P99],
             servers=(Comet, Nchan, Null), url="stream",
             conf="CometSync normal\n" + FAST_PUBLISH,
             subscribers=1000, channels=1000, publishers=32, seconds=3),
    Scenario("channels-fast-full", CHANNELS + ", CometSync full, "
             "CometFastPublish on", "stream", [RATE, P50_MS, P99],
             servers=(Comet,), url="stream",
             conf="CometSync full\n" + FAST_PUBLISH,
             subscribers=1000, channels=1000, publishers=32, seconds=3),
    Scenario("publish", "32 publishers, nobody listens", "publish",
             [RATE, Figure("per_cpu_second", "messages per CPU s")],
             servers=(Comet, Nchan, Null), conf="CometSync normal",
             publishers=32, seconds=2),
    Scenario("publish-fast", "32 publishers, nobody listens, "
             "CometFastPublish on", "publish",
             [RATE, Figure("per_cpu_second", "messages per CPU s")],
             servers=(Comet, Nchan, Null),
             conf="CometSync normal\n" + FAST_PUBLISH,
             publishers=32, seconds=2),
    Scenario("publish-one", "one publisher, nobody listens", "publish",
             [RATE, Figure("per_cpu_second", "messages per CPU s")],
             servers=(Comet, Nchan, Null), conf="CometSync normal",
             publishers=1, seconds=2),
    BatchScenario("batch", "NDJSON, 32 messages a request, 8 publishers",
                  "publish",
                  [RATE],
                  servers=(Comet, DiskFloor), publishers=8, batch=32,
                  type="application/x-ndjson", seconds=2),
    Scenario("wsparked", "10,000 WebSockets parked", "park",
             [Figure("pss_per_subscriber_kib", "PSS each, KiB", 1, True)],
             servers=(Comet, Nchan), url="websocket", conf=WEBSOCKETS, warm=300,
             subscribers=10000, seconds=0.3, settle=1),
    Scenario("websockets", "1,000 WebSockets × 50 msg/s", "stream",
             [PER_CPU, P99], servers=(Comet, Nchan), url="websocket",
             conf=WEBSOCKETS, subscribers=1000, messages=200, rate=50),
    Scenario("wspublish", "8 WebSockets publish without waiting, CometSync "
             "full", "publish", [RATE], servers=(Comet, Nchan),
             publish="publish-websocket", conf=WEBSOCKETS + "\nCometSync full",
             channels=8, publishers=8, seconds=2),
    Scenario("history", "1,000 stored messages to a new stream", "history",
             [Figure("history_p50_us", "ms", 1000, True)],
             url="history", subscribers=50, messages=1000),
    Scenario("gets", "catch-up GETs, keep-alive, 32 connections", "get",
             [Figure("rate_per_second", "requests/s"),
              Figure("per_cpu_second", "requests per CPU s")],
             servers=(Comet, Nchan, Floor, Null), url="get", prime=1,
             subscribers=32, seconds=2),
)
