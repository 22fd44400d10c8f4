# SPDX-License-Identifier: Apache-2.0
"""A page's script in Node, driven by a test. It takes JSON commands from its
standard input, and prints JSON for each thing that happens."""

import json
import os
import subprocess
import threading

from httpd_env import REPO, SLOW, wait_until

CLIENTS = os.path.join(REPO, "test", "clients")
MODULES = os.path.join(CLIENTS, "node_modules")
NODE = os.environ.get("COMET_NODE", "node")


class NodeClient:
    """A script of test/clients; `said` is what it has printed."""

    def __init__(self, script, *arguments):
        self.said = []
        self.process = subprocess.Popen(
            [NODE, script, *arguments], cwd=CLIENTS, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for line in self.process.stdout:
            self.said.append(json.loads(line))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(20 * SLOW)
        self.thread.join(10)
        self.process.stdout.close()

    def wait(self, condition, what):
        wait_until(condition, 15 * SLOW, what)

    def command(self, *words):
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()

    def ask(self, *words):
        """Send a command; return the next thing that it prints."""
        count = len(self.said)
        self.command(*words)
        self.wait(lambda: len(self.said) > count, "an answer to %r" % (words,))
        return self.said[count][1:]
