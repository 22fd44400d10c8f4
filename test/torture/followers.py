# SPDX-License-Identifier: Apache-2.0
"""Thousands of clients in a separate process (build/tools/follow)."""

import json
import os
import subprocess

from httpd_env import COMET_MODULE, PATIENCE, wait_until

FOLLOW = os.path.join(os.path.dirname(COMET_MODULE), "tools", "follow")
# The faults that no follower may ever see.
FAULTS = ("repeated", "missed", "strange", "malformed", "gaps", "backwards")
# The configuration of a server for many followers. Event streams at /parked
# stay httpd's connections; polls and POSTs at /fast are answered by the hub.
CROWD = ("ListenBacklog 2000\nCometMaxSubscribers 4000\n"
         "CometEndpoint /parked\n"
         "<Location /parked>\n  CometAdopt off\n</Location>\n"
         "CometEndpoint /fast\n"
         "<Location /fast>\n  CometFastPoll on\n  CometFastPublish on\n"
         "</Location>\n")


class Followers:
    """Clients of a server, in groups (kind, count, channel, path).

    All clients of a channel must receive the same messages, and they check this
    while messages arrive. log() returns these messages.
    """

    def __init__(self, server, groups, **options):
        self.folder = server.root
        self.count = sum(group[1] for group in groups)
        self.proc = subprocess.Popen(
            [FOLLOW, "--port=%d" % server.port]
            + ["--%s=%s" % option for option in options.items()]
            + ["%s:%d:%s:%s" % group for group in groups],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.proc.stdin.close()
        try:
            self.proc.wait(10)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
        self.proc.stdout.close()

    def tell(self, command):
        """Send a command; return the report."""
        self.proc.stdin.write(command + "\n")
        self.proc.stdin.flush()
        line = self.proc.stdout.readline()
        assert line, "the followers have ended"
        return json.loads(line)

    def report(self):
        return self.tell("report")

    def wait(self, condition, what, timeout=30):
        """Wait until condition(report) is true; return the report."""
        last = {}

        def look():
            last.update(self.report())
            return condition(last)

        try:
            wait_until(look, timeout, what, 0.05)
        except AssertionError as err:
            raise AssertionError("%s: %r" % (what, last)) from err
        return last

    def wait_open(self, timeout=30):
        """Wait until all clients wait for messages."""
        return self.wait(lambda said: said["open"] == self.count,
                         "%d open" % self.count, timeout)

    def wait_all(self, last, timeout=60):
        """Wait until every client has the last message (by its timestamp) of
        each channel; return the report."""
        def complete(said):
            channels = said["channels"]
            return all(channels[name]["last"] >= stamp
                       and channels[name]["behind"] == 0
                       for name, stamp in last.items())

        return self.wait(complete, "all to have %r" % last, timeout)

    def log(self):
        """The (timestamp, body) of each message, in order, by channel."""
        path = os.path.join(self.folder, "followers.log")
        self.tell("write " + path)
        found = {}
        with open(path, encoding="ascii") as lines:
            for line in lines:
                channel, stamp, body = line.split()
                found.setdefault(channel, []).append((int(stamp), body))
        return found

    def judged(self):
        """Check that no client has seen a fault; return the report."""
        said = self.report()
        assert not any(said[fault] for fault in FAULTS), said
        return said


def limit(seconds):
    """A time limit for this run: it is longer under a sanitizer, and if tests
    run in parallel."""
    return seconds * PATIENCE
