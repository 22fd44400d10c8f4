# SPDX-License-Identifier: Apache-2.0
"""Tabs of a browser share one HTTP/2 connection, on which all of them may wait.
No stream dies, whatever the server does."""

import os
import shutil

import pytest

from browser import missing
from firefox import FIREFOX, Firefox
from httpd_env import REPO, SLOW, wait_until
from stream_client import post
from test_271_event_source import (  # noqa: F401
    Page, fixture_open_browser, landings)
from test_601_h2_ghosts import ON, wait_ghosts

pytestmark = [
    pytest.mark.event, pytest.mark.browser,
    pytest.mark.skipif(missing() and os.environ.get("COMET_BROWSER") == "none",
                       reason="no browser"),
]

# A page with five streams, a chain of polls, and a fetch for each message of
# the first stream.  It repeats requests that a restart interrupts.
BUSY = """<!DOCTYPE html>
<title>a busy page</title>
<script>
window.got = [[], [], [], [], []], window.polled = [], window.fetched = 0;
window.died = 0;
const again = async (url) => {
    for (;;) {
        try {
            const answer = await fetch(url);
            if (answer.ok) return await answer.text();
        } catch { /* the connection broke */ }
        await new Promise((done) => setTimeout(done, 200));
    }
};
window.source = got.map((list, i) => {
    const source = new EventSource('/comet/c' + i);
    source.onmessage = ({ data }) => {
        list.push(data);
        if (!i) again('/static.txt?' + data).then((text) => {
            fetched += text === 'a static file\\n';
        });
    };
    source.onerror = () => { died += source.readyState === 2; };
    return source;
});
(async () => {
    for (let since = '';;) {
        const answer = JSON.parse(await again('/comet/polled?since=' + since));
        since = answer.timestamp;
        polled.push(...answer.messages.map(({ body }) => body));
    }
})();
</script>
"""

# A page that uses comet.js.
MODULE = """<!DOCTYPE html>
<title>a page with comet.js</title>
<script type="module">
import { Comet } from './js/comet.js';
window.got = [], window.died = 0;
window.source = new Comet('/comet/news', { share: %s });
source.addEventListener('message', ({ message }) => got.push(message.body));
// An error without a next attempt is the end.
source.addEventListener('error', ({ retryIn }) => { died += !(retryIn >= 0); });
</script>
"""


@pytest.fixture(name="browse")
def fixture_browse(open_browser, request):
    """Return a function that opens a browser of a kind, which trusts any
    certificate."""
    def opened(kind, server):
        if kind == "Chromium":
            return open_browser(server.port, "--ignore-certificate-errors")
        if not os.path.exists(FIREFOX):
            pytest.skip("Firefox is not installed")
        browser = Firefox()
        request.addfinalizer(browser.close)
        return browser
    return opened


def make_site(make_server):
    server = make_server(tls=True, h2=True, threads=32,
                         conf=ON.replace("Replay 0", "Replay 50"))
    server.keep_port = True
    return server, "https://localhost:%d" % server.tls_port


def protocol(page):
    return page.js("return performance.getEntriesByType('navigation')[0]"
                   ".nextHopProtocol")


class Steps:
    """The steps that a server takes while `count` clients read."""

    def __init__(self, server, count):
        self.server, self.count, self.conf = server, count, server.conf

    def restart(self):
        self.server.stop()
        self.server.start()

    def cap(self):
        """Give only half of the clients a place.  The others are refused again
        and again by a soft landing."""
        half = self.count // 2
        self.reload("CometLimitSubscribers address=%d\n" % half)
        landings(self.server, 2 * (self.count - half))

    def of(self, kinds):
        yield from [self.server.graceful, self.restart]
        if "caps" in kinds:
            yield from [self.cap, self.free]

    def reload(self, directive):
        self.server.conf = self.conf + directive
        self.server.conf_path(self.server.config_text())
        self.server.graceful()

    def free(self):
        """Give all clients a place again, without a thread."""
        self.reload("")
        wait_ghosts(self.server, self.count, 30 * SLOW)
        assert self.server.status()["blocked"] == 0


@pytest.mark.bound(300)
@pytest.mark.parametrize("kind, steps", [
    ("Chromium", None),
    pytest.param("Chromium", "caps", marks=pytest.mark.long),
    pytest.param("Firefox", "caps", marks=pytest.mark.long)])
def test_602_01_a_busy_page(make_server, browse, kind, steps):
    """Five streams, polls and other requests of a page share a connection, and
    all messages arrive in order."""
    server, base = make_site(make_server)
    server.write("busy.html", BUSY)
    page = Page.__new__(Page)
    browser = browse(kind, server)
    page.driver, page.handle = browser.driver, browser.first
    page.driver.get(base + "/busy.html")
    wait_ghosts(server, 6, 15 * SLOW)
    assert protocol(page) == "h2" and server.status()["blocked"] == 0
    texts = []
    for step in [lambda: None, *(Steps(server, 6).of(steps) if steps else ())]:
        step()
        for _ in range(12):
            texts.append("m%d" % len(texts))
            for i in range(5):
                post(server, "c%d" % i, texts[-1])
            post(server, "polled", texts[-1])
        for what in ("got[0]", "got[1]", "got[2]", "got[3]", "got[4]",
                     "polled"):
            wait_until(lambda w=what: len(page.js("return " + w))
                       >= len(texts), 30 * SLOW, what)
            assert page.js("return " + what) == texts
        wait_until(lambda: page.js("return fetched") == len(texts), 15 * SLOW,
                   "the fetches")
    assert page.js("return died") == 0


def live_through(server, pages, steps):
    """Check that all pages get all messages in order, before and after each
    step."""
    texts = []
    for step in [lambda: None, *steps]:
        step()
        for _ in range(2):
            texts.append("m%d" % len(texts))
            post(server, "news", texts[-1])
        for page in pages:
            page.wait_got(texts, 30)


@pytest.mark.bound(400)
@pytest.mark.parametrize("kind, count, what, steps", [
    ("Chromium", 6, "EventSource", ""),
    *(pytest.param(kind, 20, what, steps, marks=pytest.mark.long)
      for kind in ("Chromium", "Firefox")
      for what, steps in (("EventSource", "caps"), ("comet.js", ""),
                          ("comet.js alone", "caps")))])
def test_602_02_tabs(make_server, browse, monkeypatch, kind, count, what,
                     steps):
    """Each tab has a stream, or all tabs share one through comet.js.  All get
    every message in spite of reloads, a restart and a lack of room."""
    server, base = make_site(make_server)
    if what != "EventSource":
        folder = os.path.join(server.docroot, "js")
        shutil.copytree(os.path.join(REPO, "htdocs", "comet"), folder)
        monkeypatch.setattr("test_271_event_source.PAGE", MODULE % (
            "false" if "alone" in what else "true"))
    browser = browse(kind, server)
    pages = [Page(browser, server, "/comet/news", base) for _ in range(count)]
    assert protocol(pages[0]) == "h2"
    count = 1 if what == "comet.js" else count
    wait_ghosts(server, count, 20 * SLOW)
    assert server.status()["blocked"] == 0
    live_through(server, pages, Steps(server, count).of(steps))
    if not steps:
        assert server.status()["soft_landings"] == 0
