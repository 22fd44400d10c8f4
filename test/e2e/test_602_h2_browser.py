# SPDX-License-Identifier: Apache-2.0
"""Tabs of a browser on one HTTP/2 connection, where all may wait: no stream
dies, whatever the server does."""

import os
import shutil

import pytest

from browser import missing
from httpd_env import REPO, SLOW, wait_until
from stream_client import post
from test_271_event_source import Page, fixture_open_browser  # noqa: F401
from test_601_h2_ghosts import ON

pytestmark = [
    pytest.mark.event, pytest.mark.browser,
    pytest.mark.skipif(missing() and os.environ.get("COMET_BROWSER") == "none",
                       reason="no browser"),
]

# Five streams, a chain of polls and a fetch for each message of the first.
BUSY = """<!DOCTYPE html>
<title>a busy page</title>
<script>
window.got = [[], [], [], [], []], window.polled = [], window.fetched = 0;
window.died = 0;
window.source = got.map((list, i) => {
    const source = new EventSource('/comet/c' + i);
    source.onmessage = ({ data }) => {
        list.push(data);
        if (!i) fetch('/static.txt?' + data).then((r) => r.text())
            .then((text) => { fetched += text === 'a static file\\n'; });
    };
    source.onerror = () => { died += source.readyState === 2; };
    return source;
});
(async () => {
    for (let since = '';;) {
        const answer = await (await fetch('/comet/polled?since=' + since)).json();
        since = answer.timestamp;
        polled.push(...answer.messages.map(({ body }) => body));
    }
})();
</script>
"""

# What comet.js gives a page.
MODULE = """<!DOCTYPE html>
<title>a page with comet.js</title>
<script type="module">
import { Comet } from './js/comet.js';
window.got = [], window.died = 0;
window.source = new Comet('/comet/news');
source.addEventListener('message', ({ message }) => got.push(message.body));
source.addEventListener('error', () => { died++; });
</script>
"""


def make_site(make_server):
    server = make_server(tls=True, h2=True, threads=32,
                         conf=ON.replace("Replay 0", "Replay 50"))
    server.keep_port = True
    return server, "https://localhost:%d" % server.tls_port


def test_602_01_a_busy_page(make_server, open_browser):
    """Five streams, polls and other requests of a page share a connection."""
    server, base = make_site(make_server)
    page = Page.__new__(Page)
    browser = open_browser(server.port, "--ignore-certificate-errors")
    server.write("busy.html", BUSY)
    page.driver, page.handle = browser.driver, browser.first
    page.driver.get(base + "/busy.html")
    wait_until(lambda: server.status()["ghosts"] == 6, 15 * SLOW, "six wait")
    assert page.js("return performance.getEntriesByType('navigation')[0]"
                   ".nextHopProtocol") == "h2"
    texts = ["m%d" % i for i in range(12)]
    for text in texts:
        for i in range(5):
            post(server, "c%d" % i, text)
        post(server, "polled", text)
    for what in ("[0]", "[1]", "[2]", "[3]", "[4]"):
        wait_until(lambda w=what: page.js("return got" + w) == texts,
                   15 * SLOW, "the messages")
    wait_until(lambda: page.js("return polled") == texts, 15 * SLOW, "polls")
    wait_until(lambda: page.js("return fetched") == len(texts), 15 * SLOW,
               "the fetches")
    assert page.js("return died") == 0
    assert server.status()["blocked"] == 0


def live_through(server, pages, steps):
    """All pages get all messages in order, before and after each step."""
    texts = []
    for step in [lambda: None, *steps]:
        step()
        for _ in range(2):
            texts.append("m%d" % len(texts))
            post(server, "news", texts[-1])
        for page in pages:
            page.wait_got(texts, 30)


@pytest.mark.bound(400)
@pytest.mark.parametrize("count, kind", [
    (6, "EventSource"), pytest.param(20, "EventSource", marks=pytest.mark.long),
    pytest.param(20, "comet.js", marks=pytest.mark.long)])
def test_602_02_tabs(make_server, open_browser, monkeypatch, count, kind):
    """Each tab has a stream, over reloads and a restart."""
    server, base = make_site(make_server)
    if kind == "comet.js":
        folder = os.path.join(server.docroot, "js")
        shutil.copytree(os.path.join(REPO, "htdocs", "comet"), folder)
        monkeypatch.setattr("test_271_event_source.PAGE", MODULE)
    browser = open_browser(server.port, "--ignore-certificate-errors")
    pages = [Page(browser, server, "/comet/news", base) for _ in range(count)]
    if kind == "EventSource":
        wait_until(lambda: server.status()["ghosts"] == count, 20 * SLOW,
                   "%d streams" % count)
    assert server.status()["blocked"] == 0

    def restart():
        server.stop()
        server.start()

    live_through(server, pages, [server.graceful, restart])
    assert server.status()["soft_landings"] == 0
