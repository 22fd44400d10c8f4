# SPDX-License-Identifier: Apache-2.0
"""The original pages and today's pages in a real headless Chromium."""

import os
import statistics
import time

import pytest

from browser import CONF, Browser, missing, stage, wait_until
from http_client import gather
from httpd_env import SLOW, connect, lock, sqlite

pytestmark = [pytest.mark.browser, pytest.mark.bound(120)]

TEXTS = ["hello", "中文 聊天", "emoji 😀👩‍👩‍👧", "\"double\" and 'single'",
         "<b>bold?</b>", "a & b &amp; c", "<img src=x onerror=alert(1)>",
         "</script><script>alert(2)</script>", "x" * 4096,
         "50% + 2 = 100%?", "back\\slash /slash", "{\"json\": [1]}",
         "0", "é" * 300, "عربى", "&lt;b&gt;", "#hash;semi=colon",
         "%41%zz", "\u2028line", "last one"]


@pytest.fixture(scope="module", autouse=True)
def tools():
    if os.environ.get("COMET_BROWSER") == "none":
        pytest.skip("COMET_BROWSER=none")
    assert not missing()


@pytest.fixture
def pages(make_server):
    """Return a server with the pages, configured as by `make run`."""
    server = make_server(start=False, conf="CometPollTimeout 2s\n" + CONF)
    return stage(server).start()


@pytest.fixture(scope="module")
def chromium():
    browser = Browser(0)
    yield browser
    browser.close()


@pytest.fixture
def browser(chromium, pages):
    chromium.port = pages.port
    yield chromium
    chromium.reset()


def test_300_01_original_clock(browser):
    """The original clock shows at least 5 ticks in 8 s, one at a time."""
    tab = browser.open("/clock/original.html")
    wait_until(lambda: tab.js(
        "return !!document.querySelector('#content')"), 10, "the page")
    tab.watch("#content")
    begin = time.time()
    wait_until(lambda: len(tab.seen()) >= 5, 8, "5 ticks in 8 s", 0.2)
    assert time.time() - begin < 8 * SLOW
    ticks = tab.seen()
    values = [int(text) for _, text in ticks]
    # The first two ticks may show the same second.
    assert values == sorted(values)
    assert values[1:] == list(range(values[1], values[1] + len(values) - 1))
    gaps = [b[0] - a[0] for a, b in zip(ticks, ticks[1:])]
    assert all(400 <= gap <= 1800 * SLOW for gap in gaps), gaps
    assert abs(values[-1] - time.time()) < 3


def test_300_02_todays_clock(browser):
    """Today's clock ticks and shows that it is connected."""
    tab = browser.open("/clock/")
    wait_until(lambda: tab.js("return document.querySelector('#status')"
                              "?.dataset.state === 'connected'"), 10,
               "the first tick")
    tab.watch("#unix")
    wait_until(lambda: len({t for _, t in tab.seen()}) >= 5, 8,
               "5 ticks in 8 s", 0.2)
    values = sorted({int(t) for _, t in tab.seen() if t.isdigit()})
    assert values == list(range(values[0], values[0] + len(values)))


@pytest.mark.parametrize("kinds", [("original", "original"),
                                   ("today", "today"),
                                   ("original", "today")],
                         ids=lambda k: "-".join(k))
def test_300_03_two_chats(browser, pages, kinds):
    """Two pages send 20 messages of all kinds. Both pages show each message
    once, in order, as plain text."""
    one, two = browser.chat(kinds[0]), browser.chat(kinds[1])
    for i, text in enumerate(TEXTS):
        (one, two)[i % 2].send(text)
        # Wait until this message is stored, so that the order is known.
        wait_until(lambda n=i: len(pages.rows("chat")) == n + 1, 8,
                   "message %d stored" % i)
    assert pages.rows("chat") == TEXTS
    for tab in (one, two):
        tab.wait_rows(TEXTS)
        assert tab.js(tab.kind["markup"]) == 0, "markup was interpreted"
    # A page that is opened now shows the same history.
    three = browser.chat(kinds[0])
    three.wait_rows(TEXTS)


@pytest.mark.parametrize("kind", ["original", "today"])
def test_300_04_burst(browser, pages, kind):
    """A page shows 10 messages within a second, and 40 sent in parallel, once
    each and in the store's order."""
    tab = browser.chat(kind)
    for i in range(10):
        pages.publish("b%d" % i)
    tab.wait_rows(["b%d" % i for i in range(10)])
    gather([lambda i=i: [pages.post("chat", "p%d-%d" % (i, j))
                         for j in range(8)] for i in range(5)])
    tab.wait_rows(pages.rows("chat"))
    assert len(pages.rows("chat")) == 50


@pytest.mark.parametrize("kind", ["original", "today"])
def test_300_05_away(browser, pages, kind):
    """10 messages that were sent while the page was closed are all shown once
    and in order."""
    tab = browser.chat(kind)
    tab.send("before")
    tab.wait_rows(["before"])
    tab.close()
    want = ["before"] + ["away%d" % i for i in range(10)]
    for text in want[1:]:
        pages.publish(text)
    tab = browser.chat(kind)
    tab.wait_rows(want)
    pages.publish("live")
    tab.wait_rows(want + ["live"])


@pytest.mark.parametrize("kind", ["original", "today"])
def test_300_06_six_tabs(browser, pages, kind):
    """One of six tabs in a browser profile publishes, and all six show the
    message."""
    tabs = [browser.chat(kind) for _ in range(6)]
    tabs[5].send("from the sixth")
    for tab in tabs:
        tab.wait_rows(["from the sixth"], timeout=20)
    tabs[0].send("from the first")
    for tab in tabs:
        tab.wait_rows(["from the sixth", "from the first"], timeout=20)


@pytest.mark.parametrize("kind", ["original", "today"])
def test_300_07_kill_and_start(browser, pages, kind):
    """After the server was killed and started again, the page continues by
    itself. It shows the history, and repeats nothing."""
    tab = browser.chat(kind)
    tab.send("before the kill")
    tab.wait_rows(["before the kill"])
    pages.kill()
    if kind == "today":
        wait_until(lambda: tab.js("return document.querySelector('#status')"
                                  ".dataset.state") != "connected", 10,
                   "the page to say so")
    pages.start()
    pages.publish("after the kill")
    tab.wait_rows(["before the kill", "after the kill"], timeout=20)
    tab.send("and on")
    tab.wait_rows(["before the kill", "after the kill", "and on"],
                  timeout=20)


def test_300_08_clock_after_kill(browser, pages):
    """Today's clock continues by itself after the server was killed and
    started."""
    tab = browser.open("/clock/")
    state = "return document.querySelector('#status')?.dataset.state"
    wait_until(lambda: tab.js(state) == "connected", 10, "a tick")
    pages.kill()
    wait_until(lambda: tab.js(state) in ("reconnecting", "offline"), 10,
               "the page to say so")
    pages.start()
    wait_until(lambda: tab.js(state) == "connected", 20, "ticks again", 0.1)
    tab.watch("#unix")
    wait_until(lambda: len(tab.seen()) >= 2, 6, "two more ticks", 0.1)


@pytest.mark.parametrize("kind", ["original", "today"])
def test_300_09_reload_of_the_server(browser, pages, kind):
    """After a graceful reload the page loses no message and pauses for less
    than 4 s."""
    tab = browser.chat(kind)
    pages.publish("one")
    tab.wait_rows(["one"])
    pages.graceful()
    begin = time.monotonic()
    pages.publish("two")
    tab.wait_rows(["one", "two"], timeout=4)
    assert time.monotonic() - begin < 4 * SLOW


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["original", "today"])
def test_300_10_outside_insert(browser, pages, kind):
    """A message that another process inserts is on the page within 50 ms of its
    commit. A page that is opened after a DELETE does not show the deleted
    message."""
    tab = browser.chat(kind)
    tab.watch(tab.kind["box"])
    db = connect(pages.db)
    lags = []
    for i in range(12):
        # today's chat also waits for presence
        pages.wait_waiting(2 if kind == "today" else 1)
        db.execute("INSERT INTO message(channel, body) VALUES('chat', ?)",
                   ("cron%02d" % i,))
        committed = time.time() * 1000
        stamp = wait_until(lambda n=i: next(
            (s for s, text in tab.seen() if "cron%02d" % n in text), None),
            5, "the row on the page", 0.05)
        lags.append(stamp - committed)
    assert statistics.median(lags) < 50 * SLOW, lags
    tab.wait_rows(["cron%02d" % i for i in range(12)])
    db.execute("DELETE FROM message WHERE body='cron03'")
    db.close()
    again = browser.chat(kind)
    again.wait_rows(["cron%02d" % i for i in range(12) if i != 3])


def test_300_11_poll_timeouts_show_nothing(browser, pages):
    """No-news answers, here every 2 s, change nothing on the pages."""
    tabs = [browser.chat("original"), browser.chat("today")]
    pages.publish("x")
    for tab in tabs:
        tab.wait_rows(["x"])
    lines = len(pages.access_lines("backend.php?timestamp="))
    wait_until(lambda: len(pages.access_lines("backend.php?timestamp="))
               >= lines + 2, 12, "two no-news answers", 0.2)
    for tab in tabs:
        tab.wait_rows(["x"])
    assert tabs[0].js("return document.querySelector('#content')"
                      ".textContent.trim()") == "x"


def test_300_12_own_message_at_once(browser, pages):
    """Today's chat shows the user's own message at once. After the message is
    stored, the page still shows it only once."""
    tab = browser.chat("today")
    locked = lock(pages.db)
    tab.send("mine")
    assert tab.js("return [...document.querySelectorAll('#log li .body')]"
                  ".map(d => d.textContent)") == ["mine"]
    locked.execute("ROLLBACK")
    locked.close()
    wait_until(lambda: pages.rows("chat") == ["mine"], 15, "the message")
    tab.wait_rows(["mine"])
    assert tab.js("return document.querySelectorAll('#log li.failed').length") \
        == 0


def test_300_13_no_errors_in_the_console(browser, pages):
    """No page logs an error or requests a missing file."""
    browser.driver.get_log("browser")       # forget what earlier tests logged
    for path in ("/", "/clock/", "/chat/", "/clock/original.html",
                 "/chat/original.html"):
        tab = browser.open(path)
        wait_until(lambda: tab.js(
            "return document.readyState") == "complete", 10, path)
        errors = [e for e in browser.driver.get_log("browser")
                  if e["level"] == "SEVERE"
                  and "favicon.ico" not in e["message"]
                  and ":%d/" % pages.port in e["message"]]
        assert not errors, (path, errors)
    missing = [x for x in pages.access_lines() if x.split()[2] == "404"
               and "favicon.ico" not in x]
    assert not missing, missing


def test_300_14_narrow_and_dark(browser, pages):
    """Today's pages fit a phone without sideways scrolling, in light and dark
    mode."""
    browser.driver.switch_to.window(browser.first)
    for path in ("/", "/clock/", "/chat/"):
        tab = browser.open(path)
        wait_until(lambda: tab.js(
            "return document.readyState") != "loading", 10, path)
        for scheme in ("light", "dark"):
            browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
                "features": [{"name": "prefers-color-scheme",
                              "value": scheme}]})
            browser.driver.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": 305, "height": 640, "deviceScaleFactor": 2,
                 "mobile": True})
            wide = tab.js("return document.documentElement.scrollWidth")
            assert wide <= 305, (path, wide)


def test_300_15_earlier_messages(browser, pages):
    """The button for earlier messages is shown only if there are any."""
    hidden = "return document.querySelector('#earlier').hidden"
    ready = "const earlier = document.querySelector('#earlier');" \
        "return !earlier.hidden && !earlier.disabled"
    tab = browser.chat("today")
    assert tab.js(hidden)
    pages.post("chat", "first")
    tab.wait_rows(["first"])
    wait_until(lambda: pages.access_lines("before="), 5, "the question")
    want = ["first"] + [str(number) for number in range(149)]
    for text in want[1:]:
        pages.post("chat", text)
    tab.wait_rows(want)
    assert tab.js(hidden)
    tab.close()
    tab = browser.chat("today")
    tab.wait_rows(want[-50:])
    for count in (100, 150):
        wait_until(lambda: tab.js(ready), 5, "the button")
        tab.js("document.querySelector('#earlier').click()")
        wait_until(lambda n=count: tab.rows() == want[-n:], 5,
                   "%d rows" % count)
    wait_until(lambda: tab.js(hidden), 5, "no button")


def test_300_40_landing_page(browser, pages):
    """The landing page shows its own message, those of other pages, and one
    that another program inserts."""
    rows = "return [...document.querySelectorAll('#pushed li')]" \
        ".map(row => row.textContent)"
    tab = browser.open("/")
    wait_until(lambda: "ms after it was sent" in "".join(tab.js(rows)),
               10 * SLOW, "its own message")
    other = browser.open("/")
    wait_until(lambda: sum("says hello." in row for row in tab.js(rows)) == 2,
               10 * SLOW, "the other page's message")
    sqlite(pages.db, "INSERT INTO message(channel, body) "
           "VALUES('hello', '<b>a row</b>')")
    for page in (tab, other):
        wait_until(lambda: page.js(rows)[-1].endswith(" <b>a row</b>"),
                   10 * SLOW, "the row")
    for i in range(6):
        pages.post("hello", str(i))
    wait_until(lambda: [row.split()[-1] for row in tab.js(rows)]
               == ["1", "2", "3", "4", "5"], 10 * SLOW, "the last five")


def test_300_41_landing_page_where_publishing_is_off(chromium, make_server):
    """If clients may not publish, the landing page says that its own message
    was refused. A message that another program inserts still arrives."""
    server = stage(make_server(start=False, conf="CometPublish off\n" + CONF)).start()
    chromium.port = server.port
    tab = chromium.open("/")
    wait_until(lambda: "refused this page’s message: publishing is off here "
               "(CometPublish)" in tab.js("return document.querySelector("
                                          "'#push-note')?.textContent ?? ''"),
               10 * SLOW, "the note")
    sqlite(server.db, "INSERT INTO message(channel, body) VALUES('hello', 'a row')")
    wait_until(lambda: tab.js("return document.querySelector('#pushed')"
                              ".textContent").endswith(" a row"),
               10 * SLOW, "the row")
    chromium.reset()
