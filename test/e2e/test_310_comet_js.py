# SPDX-License-Identifier: Apache-2.0
"""comet.js in a real headless Chromium.  Each message arrives once and in
order, whatever happens to the leading tab, the network and the server."""

import os
import threading
import time

import pytest

from browser import CONF, Browser, missing, stage, wait_until
from httpd_env import SLOW, sqlite

pytestmark = [pytest.mark.browser, pytest.mark.bound(90)]

CONFIG = CONF + """
  CometPollTimeout 20s
  CometSearch on
  CometHeartbeat 1s
  <Location /comet>
    CometReplay 1000
    CometMulti on
  </Location>
  <Location /comet/chat>
    CometReplay 50
  </Location>
  <Location /comet/polled>
    CometTransports poll
  </Location>
  <Location /comet/streamed>
    CometTransports events
  </Location>
  <Location /comet/called>
    CometCallback my.own.name
  </Location>
  <Location /comet/secret>
    Require all denied
  </Location>
"""

SERVER = {"conf": CONFIG}

# A page that follows channels when the test tells it to, and records all
# events.
PAGE = """<!DOCTYPE html><meta charset="utf-8"><title>310</title>
<link rel="icon" href="data:,">
<script type="module">
import * as package_ from '/mod-comet/comet.js';
Object.assign(window, package_);
window.follow = (url, options) => {
  window.comet = new Comet(url, options);
  window.got = [];
  window.told = [];
  comet.addEventListener('message', (event) => {
    const { timestamp, channel, type, author, body } = event.message;
    got.push([body, timestamp, channel, type, author, event.data,
              Number(event.lastEventId), comet.cursor]);
  });
  comet.addEventListener('open',
      ({ transport }) => told.push(['open', transport]));
  comet.addEventListener('gap', ({ since, floor, reset }) =>
      told.push(['gap', since, floor, reset, got.length]));
  comet.addEventListener('error', ({ error, retryIn }) =>
      told.push(['error', error.status, retryIn]));
  comet.addEventListener('close', ({ error }) =>
      told.push(['close', error?.status]));
};
</script>
"""

BODIES = ["</script><script>top.hacked = 1</script>", "<!--", "-->", "<![CDATA[",
          "<!--<script>", "&lt;&amp;&#39;", "\u2028 and \u2029", "\r", "\n",
          "\r\n", "a\rb\nc\r\nd\n\r", "\nid: 9", "x\n\ndata: y\n\n",
          "event: gap\ndata: 1", ":", ": x", " leading", "trailing ", "\t\ttabs\t",
          "'\"\\`${1}", "x" * 65536, "é" * 32768, "שלום عليكم \u202e",
          "😀👩‍👩‍👧 𝒳", "\ufeffBOM", "\u0001\u001b\u007f\u0085", "null", "0",
          "{\"type\":\"gap\"}", "javascript:top.hacked = 1",
          "<img src=x onerror='top.hacked = 1'>"]


@pytest.fixture(scope="module", autouse=True)
def tools():
    if os.environ.get("COMET_BROWSER") == "none":
        pytest.skip("COMET_BROWSER=none")
    assert not missing()


@pytest.fixture(scope="module")
def chromium():
    browser = Browser(0)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def with_windows():
    browser = Browser(0, windows=True)
    yield browser
    browser.close()


@pytest.fixture
def browser(request, server, make_server):
    """Yield a browser whose tabs are closed before the servers are checked. A
    test marked `windows` needs a browser that hides tabs."""
    used = request.getfixturevalue(
        "with_windows" if request.node.get_closest_marker("windows")
        else "chromium")
    used.port = stage(server).port
    server.write("310.html", PAGE)
    yield used
    used.reset()


@pytest.fixture
def fresh(browser, make_server):
    """Return a function that starts a server for one test, and makes it the
    browser's server."""
    def make():
        made = stage(make_server(start=False, conf=CONFIG))
        made.write("310.html", PAGE)
        browser.port = made.start().port
        return made
    return make


class Follower:
    """A tab that follows a channel."""

    def __init__(self, browser, url, **options):
        self.tab = browser.open("/310.html")
        wait_until(lambda: self.js("return !!window.follow"), 10, "the page")
        self.follow(url, **options)

    def js(self, script, *args):
        return self.tab.js(script, *args)

    def follow(self, url, **options):
        self.js("follow(arguments[0], arguments[1])", url, options)

    def bodies(self):
        return self.js("return got.map(([body]) => body)")

    def told(self, kind=None):
        """Return the recorded events other than messages, or only those of one
        kind."""
        told = self.js("return told")
        return [t for t in told if kind in (None, t[0])]

    def get(self, name):
        return self.js("return comet[arguments[0]]", name)

    def wait_open(self, transport="events"):
        wait_until(lambda: self.get("state") == "open", 12,
                   "%s to open" % transport, 0.05)
        assert self.get("transport") == transport
        return self

    def wait_bodies(self, want, timeout=10.0):
        """Wait until exactly these texts have arrived, in this order."""
        wait_until(lambda: self.js("return got.length") >= len(want), timeout,
                   "%d messages" % len(want), 0.05)
        assert self.bodies() == want
        return self

    def publish(self, body, **options):
        return self.tab.browser.driver.execute_async_script(
            "const done = arguments[2];"
            "comet.publish(arguments[0], arguments[1]).then("
            "  (value) => done({ value }),"
            "  (error) => done({ name: error.name, status: error.status,"
            "                    message: error.message }))", body, options) \
            if self.js("return true") else None

    def history(self, **options):
        return self.tab.browser.driver.execute_async_script(
            "const done = arguments[1];"
            "comet.history(arguments[0]).then(done,"
            "  (error) => done({ status: error.status }))", options) \
            if self.js("return true") else None


def leader_of(tabs):
    """Wait until exactly one tab has the connection; return that tab."""
    def find():
        leaders = [t for t in tabs if not t.get("shared")]
        return len(leaders) == 1 and leaders[0]
    return wait_until(find, 8, "one leader")


class Publisher(threading.Thread):
    """Publishes m0, m1 … one after the other, and repeats each until the server
    has stored it."""

    def __init__(self, server, channel, count, pause=0.0):
        super().__init__(daemon=True)
        self.server, self.channel = server, channel
        self.texts = ["m%d" % i for i in range(count)]
        self.pause = pause
        self.done = 0

    def run(self):
        for text in self.texts:
            while True:
                try:
                    answer = self.server.request(
                        "POST", "/comet/" + self.channel, text.encode(),
                        {"Content-Type": "text/plain",
                         "Idempotency-Key": text})
                    if answer.status in (200, 201):
                        break
                except (OSError, ValueError):
                    pass
                time.sleep(0.02)
            self.done += 1
            time.sleep(self.pause)


@pytest.mark.parametrize("transport", ["events", "poll", "iframe"])
def test_310_01_bodies(browser, server, transport):
    """Awkward bodies arrive unchanged, and no script in them runs."""
    channel = "bodies-" + transport
    path = "/comet/" + channel
    tab = Follower(browser, path, transport=transport)
    tab.wait_open(transport)
    half = len(BODIES) // 2
    for body in BODIES[:half]:          # first as live messages
        done = tab.publish(body)
        assert "value" in done, (body[:40], done)
        assert done["value"]["channel"] == channel
    tab.wait_bodies(BODIES[:half])
    for body in BODIES[half:]:
        server.post(channel, body)
    tab.wait_bodies(BODIES)
    again = Follower(browser, path, transport=transport, share=False, since=0)
    again.wait_bodies(BODIES)           # then from the history
    assert server.rows(channel) == BODIES
    for page in (tab, again):
        for body, stamp, where, kind, author, data, last, cursor \
                in page.js("return got"):
            assert (where, kind, author) == (channel, "message", None)
            assert data == body and last == cursor == stamp
        assert page.js("return window.hacked === undefined && !told.some("
                       "([type]) => type !== 'open')"), page.told()


def test_310_02_ten_tabs(browser, server):
    """Ten tabs share one connection, and each gets all messages once and in
    order. This is also true if, twice within a burst, the leading tab closes
    and another tab joins."""
    server.post("ten", "before")
    tabs = [Follower(browser, "/comet/ten") for _ in range(10)]
    for tab in tabs:
        tab.wait_open()
    assert server.waiting() == 1 and server.waiting("events") == 1
    leader = leader_of(tabs)
    burst = Publisher(server, "ten", 400, 0.002)
    burst.start()
    for mark in (60, 160):
        wait_until(lambda n=mark: burst.done >= n, 20, "part of the burst")
        leader.tab.close()
        tabs.remove(leader)
        tabs.append(Follower(browser, "/comet/ten"))
        leader = leader_of(tabs)
    burst.join(30 * SLOW)
    want = ["before"] + burst.texts
    assert server.rows("ten") == want
    for tab in tabs:
        tab.wait_bodies(want)
        assert tab.told("error") == tab.told("gap") == []
        assert len(tab.told("open")) == 1
    server.wait_waiting(1, "events")
    # A leading tab that calls close() hands over, too.  A tab that joins gets
    # everything.
    leader.js("comet.close()")
    assert leader.told("close") == [["close", None]]
    late = Follower(browser, "/comet/ten").wait_bodies(want)
    assert late.publish("last")["value"]["timestamp"]
    for tab in tabs + [late]:
        if tab is not leader:
            tab.wait_bodies(want + ["last"])
    leader.wait_bodies(want)
    server.wait_waiting(1, "events")


def test_310_03_reload_and_restart(browser, fresh):
    """The page does not notice a graceful reload. After kill -9 and a start the
    page reports errors and then an open event. No tab loses or repeats a
    message, even if it shares another tab's connection."""
    server = fresh()
    # `silence` is short because a browser does not report that an iframe's
    # connection broke.
    tabs = [(transport, Follower(browser, "/comet/on", transport=transport,
                                 silence=2.5))
            for transport in ("events", "poll", "iframe") for _ in range(2)]
    for transport, tab in tabs:
        tab.wait_open(transport)
    burst = Publisher(server, "on", 120, 0.01)
    burst.start()
    wait_until(lambda: burst.done >= 20, 10, "part of the burst")
    server.graceful()
    for transport, tab in tabs:
        wait_until(lambda t=tab: t.js("return got.length") >= 60, 15,
                   "%s to go on" % transport)
        assert tab.told() == [["open", transport]]
    server.kill()
    for transport, tab in tabs:
        wait_until(lambda t=tab: t.told("error"), 10,
                   "%s to notice" % transport)
    server.start()
    burst.join(30 * SLOW)
    for transport, tab in tabs:
        tab.wait_bodies(burst.texts, 20).wait_open(transport)
        kinds = [kind for kind, *_ in tab.told()]
        assert kinds[0] == kinds[-1] == "open"
        assert set(kinds[1:-1]) == {"error"}, kinds


def test_310_04_fallback(browser, server):
    """If event streams are refused, held back or broken, long polls replace
    them. All tabs still share one connection."""
    refused = [Follower(browser, "/comet/polled") for _ in range(3)]
    for tab in refused:
        tab.wait_open("poll")
        assert tab.told() == [["open", "poll"]]
    server.wait_waiting(1, "poll")
    server.post("polled", "x")
    for tab in refused:
        tab.wait_bodies(["x"])
        tab.tab.close()
    # Three spoilt streams: no head, a head without a body, and another content
    # type.
    for held in ("new Promise((_, fail) => i.signal.addEventListener("
                 "'abort', () => fail(i.signal.reason)))",
                 "new Response(new ReadableStream({ start(c) {"
                 " i.signal.addEventListener('abort', () =>"
                 " c.error(i.signal.reason)) } }), { headers:"
                 " { 'Content-Type': 'text/event-stream' } })",
                 "new Response('<p>Blocked', { headers:"
                 " { 'Content-Type': 'text/html' } })"):
        tab = Follower(browser, "/comet/unused", share=False)
        tab.js("comet.close(); const real = fetch;"
               "window.fetch = (u, i) => String(u).includes('=events') ? "
               + held + " : real(u, i)")
        tab.follow("/comet/held", patience=0.3)
        tab.wait_open("poll")
        assert tab.told() == [["open", "poll"]]
        assert tab.publish(held)["value"]
        wait_until(lambda t=tab, h=held: t.bodies()[-1:] == [h], 5, "it")
        tab.tab.close()
    # Streams never work here, but polls show that the server can be reached.
    tab = Follower(browser, "/comet/unused", share=False)
    tab.js("comet.close(); const real = fetch; Math.random = () => 0;"
           "window.fetch = (u, i) => String(u).includes('=events')"
           " ? Promise.reject(new TypeError('reset')) : real(u, i)")
    tab.follow("/comet/held")
    tab.wait_open("poll")
    wait_until(lambda: server.waiting("poll") == 1, 5, "it to stay with polls")


def test_310_05_refused(browser, server):
    """If the server refuses for good, the Comet object closes, and its close
    event gives the status."""
    for path, options, status in (
            ("/comet/secret", {}, 403),
            ("/comet/nothing%00", {}, 404),
            ("/comet", {"channels": ["a", "secret"]}, 403),
            ("/comet/polled", {"transport": "events"}, 406),
            ("/comet/other", {"transport": "iframe", "callback": "x.y"}, 406)):
        tab = Follower(browser, path, **options)
        wait_until(lambda t=tab: t.get("state") == "closed", 8, "the end")
        told = tab.told()
        assert [kind for kind, *_ in told] == ["close"], told
        assert told[0][1] in (status, 400 if status == 404 else status)
        tab.tab.close()
    tab = Follower(browser, "/comet/called", transport="iframe",
                   callback="my.own.name", share=False)
    tab.wait_open("iframe").publish("called")
    tab.wait_bodies(["called"])
    for call in ("new Comet('/comet/x', { transport: 'pigeon' })",
                 "new Comet('/comet/x', { since: -1 })",
                 "new Comet('/comet/x', { sinse: 1 })",
                 "new Comet('/comet', { channels: [] })"):
        assert tab.js("try { %s } catch (e) { return e.name }" % call) \
            == "TypeError"


def test_310_06_publish(browser, server):
    """A publish is repeated after a lost answer, a 502 or a 503.  Messages are
    stored once, in the order of the calls.  A refusal is reported at once."""
    tab = Follower(browser, "/comet/post").wait_open()
    tab.js("""
      const real = fetch;
      window.posts = [];
      window.fetch = async (url, init) => {
        if (init?.method !== 'POST') {
          return real(url, init);
        }
        posts.push(init.headers.get('Idempotency-Key'));
        switch (posts.length) {
        case 1:         // the answer is lost
          await real(url, init);
          throw new TypeError('Failed to fetch');
        case 2:         // the server is restarting
          return new Response('no', { status: 502 });
        case 3:         // … and busy
          return new Response('{"error": "busy"}', { status: 503,
              headers: { 'Retry-After': '1' } });
        }
        return real(url, init);
      };""")
    begin = time.monotonic()
    stamps = tab.tab.browser.driver.execute_async_script("""
      const done = arguments[0];
      Promise.all(['a', 'b', 'c'].map((text) => comet.publish(text, {
          type: 'note' }))).then(done, done)""")
    assert time.monotonic() - begin >= 1
    stamps = [s["timestamp"] for s in stamps]
    assert stamps == sorted(stamps) and server.rows("post") == ["a", "b", "c"]
    posts = tab.js("return posts")
    assert len(posts) == 6 and len(set(posts[:4])) == 1
    assert len(set(posts)) == 3
    tab.wait_bodies(["a", "b", "c"])
    assert {row[3] for row in tab.js("return got")} == {"note"}
    # The caller may choose the key.
    one = tab.publish("d", idempotencyKey="mine")
    assert tab.publish("d", idempotencyKey="mine") == one
    assert tab.publish("e", idempotencyKey="mine")["status"] == 422
    assert tab.publish("x" * 65537)["status"] == 413
    assert tab.publish("\0")["status"] == 400
    # No refused publish was repeated.
    assert tab.js("return posts.length") == 11
    tab.wait_bodies(["a", "b", "c", "d"])


def test_310_07_history(browser, server):
    """history() goes back page by page to the beginning, and searches."""
    texts = ["h%d" % i for i in range(25)]
    for text in texts:
        server.post("past", text)
    tab = Follower(browser, "/comet/past").wait_bodies(texts)
    before, pages = None, []
    while len(pages) < 5:
        page = tab.history(limit=10, **({"before": before} if before else
                                        {"before": 9007199254740991}))
        if not page["messages"]:
            assert page["timestamp"] == before and page["gap"] is False
            break
        pages.append([m["body"] for m in page["messages"]])
        before = page["messages"][0]["timestamp"]
    assert pages == [texts[15:], texts[5:15], texts[:5]]
    middle = tab.history(since=before, limit=3)
    assert [m["body"] for m in middle["messages"]] == texts[1:4]
    assert [m["body"] for m in tab.history(q="h7")["messages"]] == ["h7"]
    assert tab.history(q="h7", before=before)["messages"] == []
    assert tab.history(limit=0) == {"status": 400}


def test_310_08_gap(browser, server):
    """If a client was away for longer than messages are kept, it is told of one
    gap."""
    stamps = [server.post("kept", "m%d" % i) for i in range(20)]
    kept = ["m%d" % i for i in range(15, 20)]
    # Delete messages as retention does.
    sqlite(server.db, "BEGIN IMMEDIATE;"
           "DELETE FROM message WHERE channel='kept' AND timestamp <= %d;"
           "UPDATE channel SET floor=%d WHERE name='kept'; COMMIT;"
           % (stamps[14], stamps[14]))
    for transport in ("events", "poll", "iframe"):
        # First a leading tab, then one that shares its connection, then one
        # alone.
        for share in (True, True, False):
            tab = Follower(browser, "/comet/kept", transport=transport,
                           share=share, since=stamps[3]).wait_bodies(kept)
            (_, since, floor, reset, count), = tab.told("gap")
            assert since == stamps[3] and reset is False and count == 0
            assert stamps[3] < floor <= stamps[15]
        for since in (0, stamps[14], stamps[19]):
            tab.js("comet.close()")
            tab.follow("/comet/kept", transport=transport, since=since)
            tab.wait_open(transport)
            assert tab.told("gap") == []


@pytest.mark.parametrize("transport", ["events", "poll", "iframe"])
def test_310_09_another_store(browser, server, transport):
    """A cursor ahead of the store is reported as a reset. Then all tabs
    continue, even one that shares another tab's connection."""
    channel = "ahead-" + transport
    old = server.post(channel, "old")
    tabs = [Follower(browser, "/comet/" + channel, transport=transport,
                     since=old + 10 ** 9) for _ in range(2)]
    for tab in tabs:
        tab.wait_bodies(["old"])
        (_, since, _, reset, _), = tab.told("gap")
        assert since == old + 10 ** 9 and reset is True
    new = server.post(channel, "new")
    for tab in tabs:
        tab.wait_bodies(["old", "new"])
        assert tab.get("cursor") == new


def test_310_10_channels(browser, server):
    """Several channels and a wildcard share one connection, and their messages
    have one order. A channel that is created later joins without an error."""
    server.post("room/1", "one")
    server.post("other", "not for us")
    server.post("lobby", "two")
    tabs = [Follower(browser, "/comet", channels=["lobby", "room/*"])
            for _ in range(2)]
    for tab in tabs:
        tab.wait_bodies(["one", "two"]).wait_open()
    assert server.waiting() == 1
    assert tabs[1].publish("three", channel="room/2")["value"]["channel"] \
        == "room/2"
    server.post("other", "nor this")
    assert tabs[0].publish("four", channel="lobby")["value"]
    assert tabs[0].publish("?")["name"] == "TypeError"
    for tab in tabs:
        tab.wait_bodies(["one", "two", "three", "four"])
        assert [row[2] for row in tab.js("return got")] \
            == ["room/1", "lobby", "room/2", "lobby"]
        assert tab.told() == [["open", "events"]]
    assert [m["body"] for m in tabs[0].history(since=0)["messages"]] \
        == ["one", "two", "three", "four"]


@pytest.mark.windows
def test_310_11_no_sharing(browser, server):
    """Without Web Locks each tab has its own connection, and closes it while it
    is hidden.  share: false or another name keeps tabs apart, too."""
    tabs = []
    for i in range(3):
        tab = Follower(browser, "/comet/unused", share=False)
        tab.js("comet.close();"
               "Object.defineProperty(navigator, 'locks', { value: undefined })")
        tab.follow("/comet/lone")
        tabs.append(tab)
    # All tabs but the front one are hidden.
    tabs[-1].wait_open()
    server.wait_waiting(1, "events")
    server.post("lone", "x")
    tabs[-1].wait_bodies(["x"])
    for tab in tabs:
        tab.js("return true")  # a tab that becomes visible connects at once
        tab.wait_bodies(["x"])
        tab.tab.close()
    apart = [Follower(browser, "/comet/apart", share=share)
             for share in (False, False, "anna", "anna", "bert")]
    for tab in apart:
        tab.wait_open()
    server.wait_waiting(4, "events")


@pytest.mark.windows
def test_310_12_away(browser, server):
    """A page loses and repeats no message when the user leaves it and comes
    back, when it was frozen, or when its network was down. A page does not
    count as waiting while it is away."""
    driver = browser.driver
    tabs = [Follower(browser, "/comet/away") for _ in range(2)]
    for tab in tabs:
        tab.wait_open()
    want = []
    for tab in tabs:            # one of the two tabs leads
        other = tabs[1 - tabs.index(tab)]
        tab.js("window.stays = true;"
               "addEventListener('pageshow', () => { window.back = true })")
        driver.get("http://127.0.0.1:%d/static.txt" % server.port)
        wait_until(lambda t=tab: "static" in t.js("return location.href"), 5,
                   "the other page")
        want.append("while %d was away" % len(want))
        server.post("away", want[-1])
        other.wait_bodies(want)
        tab.js("history.back()")
        wait_until(lambda t=tab: t.js("return !!window.comet || "
                                      "!!window.follow"), 5, "it to be back")
        if not tab.js("return !!window.stays"):
            # The browser has not kept the page.  A lock must not be the reason.
            assert "lock" not in tab.js(
                "return JSON.stringify(performance.getEntriesByType("
                "'navigation')[0].notRestoredReasons)")
            tab.follow("/comet/away")
        tab.wait_bodies(want).wait_open()
        server.wait_waiting(1, "events")
    for state in ("frozen", "active"):
        for tab in tabs:
            tab.js("return true")
            driver.execute_cdp_cmd("Page.setWebLifecycleState",
                                   {"state": state})
        server.wait_waiting(0 if state == "frozen" else 1)
        want.append(state)
        server.post("away", state)
    for tab in tabs:
        tab.wait_bodies(want)
    leader = leader_of(tabs)
    leader.js("return true")
    slow = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    driver.execute_cdp_cmd("Network.enable", {})
    driver.execute_cdp_cmd("Network.emulateNetworkConditions",
                           {"offline": True, **slow})
    want.append("offline")
    server.post("away", "offline")
    driver.execute_cdp_cmd("Network.emulateNetworkConditions",
                           {"offline": False, **slow})
    for tab in tabs:
        tab.wait_bodies(want)


def test_310_13_stuck_leader(browser, server):
    """If the leading tab no longer responds, another tab replaces it."""
    tabs = [Follower(browser, "/comet/unused", share=False)
            for _ in range(2)]
    for tab in tabs:        # the tabs' timers run ten times as fast
        tab.js("comet.close(); const real = setInterval;"
               "window.setInterval = (act, ms) => real(act, ms / 10)")
        tab.follow("/comet/stuck")
    for tab in tabs:
        tab.wait_open()
    leader = leader_of(tabs)
    other = tabs[1 - tabs.index(leader)]
    # The leading tab sends nothing to the other tab any more.  The other tab's
    # clock then jumps 40 s ahead.
    leader.js("""
      BroadcastChannel.prototype.postMessage = () => {};""")
    server.post("stuck", "unheard")
    leader.wait_bodies(["unheard"])
    assert other.bodies() == []
    other.js("const now = Date.now; Date.now = () => now() + 40000")
    other.wait_bodies(["unheard"])
    assert other.get("shared") is False


def test_310_14_chat_page(browser, server):
    """The chat page shows its transport, continues when the user changes the
    transport, and can load earlier messages."""
    texts = ["c%d" % i for i in range(120)]
    for text in texts:
        server.post("chat", text)
    one, two = browser.chat("today"), browser.chat("today")
    one.wait_rows(texts[70:])
    more = "document.querySelector('#earlier')"
    for begin in (20, 0):
        one.js(more + ".click()")
        one.wait_rows(texts[begin:])
        wait_until(lambda: one.js("return !%s.disabled" % more), 5, "it")
        # The rows that were visible are still visible.
        assert one.js("const log = document.querySelector('#log');"
                      "return log.scrollHeight - log.scrollTop"
                      " - log.clientHeight") < 60
    one.js(more + ".click()")
    wait_until(lambda: one.js("return %s.hidden" % more), 5, "the beginning")
    state = "return document.querySelector('#status').textContent"
    for value, name in (("auto", "event stream"), ("poll", "long poll"),
                        ("iframe", "iframe"), ("events", "event stream")):
        one.js("const choice = document.querySelector('#transport');"
               "if (choice.value !== arguments[0]) {"
               "  choice.value = arguments[0];"
               "  choice.dispatchEvent(new Event('change')) }", value)
        wait_until(lambda n=name: n in one.js(state), 8, name, 0.05)
        texts.append("by " + value)
        two.send(texts[-1])
        one.wait_rows(texts)
        two.wait_rows(texts[70:])
    # Tabs with auto and tabs with events do not share a connection. Each page
    # also has a connection for presence.
    server.wait_waiting(4, "events")


def test_310_15_only_streams(browser, server):
    """Tabs also work if a location allows only event streams."""
    server.post("streamed", "one")
    tabs = [Follower(browser, "/comet/streamed") for _ in range(3)]
    for tab in tabs:
        tab.wait_bodies(["one"]).wait_open()
    assert tabs[0].publish("two")["value"]["channel"] == "streamed"
    for tab in tabs:
        tab.wait_bodies(["one", "two"])
        assert tab.told() == [["open", "events"]]


@pytest.mark.parametrize("transport", ["events", "poll"])
def test_310_16_other_origin(browser, server, make_server, transport):
    """A page of an allowed origin can read, publish and get the history. A page
    of another origin gets an error."""
    origin = "http://127.0.0.1:%d" % server.port
    other = make_server(conf="CometAllowOrigin %s\n" % origin)
    url = "http://127.0.0.1:%d/comet/far" % other.port
    tabs = [Follower(browser, url, transport=transport,
                     fetchOptions={"credentials": "include"})
            for _ in range(2)]
    for tab in tabs:
        tab.wait_open(transport)
    other.wait_waiting(1, transport)
    done = tabs[0].publish("hello", type="note")
    assert done["value"]["channel"] == "far", done
    for tab in tabs:
        tab.wait_bodies(["hello"])
        assert [m["body"] for m in tab.history(since=0)["messages"]] \
            == ["hello"]
    # The page can read the reason of a refusal.
    assert tabs[0].publish("\0")["message"].endswith(
        other.request("POST", "/comet/far", b"\0").json()["error"])
    stranger = make_server()
    # This tab polls, because Chromium keeps a refused stream for 5 s.
    tab = Follower(browser, "http://127.0.0.1:%d/comet/far" % stranger.port,
                   transport="poll")
    wait_until(lambda: tab.told("error"), 5, "the error")
    assert tab.told()[0][:2] == ["error", 0]
