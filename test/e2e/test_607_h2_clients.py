# SPDX-License-Identifier: Apache-2.0
"""Other people's HTTP/2 clients wait without a thread.  Despite a reload and a
restart, each of their readers gets every message once, in order."""

import importlib.util
import os

import pytest

from httpd_env import SLOW, wait_until
from stream_client import post
from test_360_clients import NODE, PYTHON, Driver
from test_601_h2_ghosts import ON, wait_ghosts

pytestmark = pytest.mark.event

SERVER = {"tls": True, "h2": True, "threads": 32,
          "conf": ON + "CometPublishTimeout 10s\n"}
LARGE = 200000
SIZES = (1, 100, 5000, 30000)
SHARE = [0, 1, 2, "poll"]       # the readers of one connection

# The command of each client, and the names of its readers.  curl has one
# reader, which has no name in its output.
CLIENTS = {
    "curl": ([PYTHON, "-B", "curl_client.py", "--http2", "-k"], [None]),
    "node": ([NODE, "node_http2.mjs"], SHARE),
    "hyper-h2": ([PYTHON, "-B", "python_h2.py"], SHARE),
}


def is_read(driver, readers, texts):
    """Return whether every reader has all texts.  Check that no reader has any
    other text."""
    got = {reader: [] for reader in readers}
    for event in driver.received():
        if event.get("reader") != "file":
            got[event.get("reader")].append(event["data"])
    for reader, have in got.items():
        assert have == texts[:len(have)], (reader, len(have), len(texts))
    return all(len(have) == len(texts) for have in got.values())


@pytest.mark.parametrize("name", [
    "node", *(pytest.param(name, marks=pytest.mark.long)
              for name in ("curl", "hyper-h2"))])
def test_607_01_all_in_order(server, name):
    """Every reader gets all texts in order, and other requests of a page are
    answered while the streams wait."""
    command, readers = CLIENTS[name]
    if name == "hyper-h2" and not importlib.util.find_spec("h2"):
        pytest.fail("python3-h2 is not installed: run `conf/setup check`")
    server.keep_port = True
    server.write("large.txt", "x" * LARGE)
    texts = []
    driver = Driver(command, "https://localhost:%d/comet/%s"
                    % (server.tls_port, name),
                    os.path.join(server.root, "logs", name))
    try:
        def publish(count):
            for _ in range(count):
                texts.append("%d %s" % (len(texts), "x" * SIZES[
                    len(texts) % len(SIZES)]))
                post(server, name, texts[-1])

        def all_have_them():
            server.wait_waiting(len(readers), timeout=15 * SLOW)
            publish(12)
            wait_until(lambda: is_read(driver, readers, texts), 20 * SLOW,
                       "all messages in all readers of " + name)

        wait_ghosts(server, len(readers), 15 * SLOW)
        all_have_them()
        server.graceful()
        all_have_them()
        server.stop()
        server.start()
        all_have_them()
        wait_until(lambda: len(readers) == 1 or sum(
            event.get("reader") == "file" for event in driver.received())
            >= len(texts), 20 * SLOW, "the files")
        # A stop may cut off a file.  A client must not take a part for a file.
        assert {event["data"] for event in driver.received()
                if event.get("reader") == "file"} <= {LARGE}
        assert driver.process.poll() is None
    finally:
        driver.close()
    wait_ghosts(server, 0)
