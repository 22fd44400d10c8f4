# SPDX-License-Identifier: Apache-2.0
"""comet.js on a WebSocket, in a real headless Chromium."""

import pytest

from stream_client import post
from test_310_comet_js import (CONFIG, Follower, browser,  # noqa: F401
                               chromium)

pytestmark = [pytest.mark.browser, pytest.mark.bound(90)]

SERVER = {"conf": CONFIG + """
CometTransports all websocket
<Location "/comet/streams">
  CometTransports all
</Location>
"""}


def follow(browser, channel, **options):  # noqa: F811
    options = dict({"transport": "websocket", "share": False}, **options)
    return Follower(browser, "/comet/" + channel, **options)


def test_526_01_reads_publishes_and_resumes(browser, server):  # noqa: F811
    """A page reads and publishes on its WebSocket, and continues after a
    graceful reload of httpd.  Another page continues from the first one's
    cursor."""
    tab = follow(browser, "ws")
    tab.wait_open("websocket")
    before = server.status()["published"]
    answers = tab.js("""
        return Promise.all([1, 2, 3].map((n) => comet.publish('m' + n)));""")
    tab.wait_bodies(["m1", "m2", "m3"])
    assert [a["channel"] for a in answers] == ["ws"] * 3
    assert [a["timestamp"] for a in answers] == tab.js(
        "return got.map(([, timestamp]) => timestamp)")
    assert server.status()["published"] == before + 3
    server.wait_waiting(1, "websocket")
    server.graceful()
    post(server, "ws", "m4")
    tab.wait_bodies(["m1", "m2", "m3", "m4"])
    server.wait_waiting(1, "websocket")
    cursor = tab.get("cursor")
    post(server, "ws", "m5")
    again = follow(browser, "ws", since=cursor)
    again.wait_bodies(["m5"])
    assert again.get("transport") == "websocket"


def test_526_02_falls_back(browser, server):  # noqa: F811
    """If WebSockets are off, the page reads an event stream."""
    tab = follow(browser, "streams")
    tab.wait_open("events")
    tab.js("return comet.publish('hello')")
    tab.wait_bodies(["hello"])
    server.wait_waiting(1, "events")


def test_526_03_several_channels(browser, server):  # noqa: F811
    """A page's WebSocket reads several channels, and publishes to whichever of
    them the page names."""
    tab = Follower(browser, "/comet", transport="websocket", share=False,
                   channels=["one", "two", "room/*"])
    tab.wait_open("websocket")
    tab.js("""return Promise.all(['one', 'two'].map(
        (channel) => comet.publish(channel, { channel })))""")
    tab.wait_bodies(["one", "two"])
