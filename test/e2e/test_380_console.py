# SPDX-License-Identifier: Apache-2.0
"""The console page in a real headless Chromium."""

import re

import pytest

from browser import CONF, stage, wait_until
from httpd_env import sqlite, sql_text

pytestmark = [pytest.mark.browser, pytest.mark.bound(120)]

HOSTILE = ["</script><script>window.hit=1</script>",
           "<img src=x onerror=window.hit=1>", "<!--", "&lt;b&gt;&amp;",
           "a\u2028b\u2029c", "two\nlines\r\nand\ttab", "عربى ‮abc",
           "😀👩‍👩‍👧", "javascript:alert(1)", "</li></ol><h1>out</h1>",
           "{{constructor}}", "x" * 20000]

LIVE = "[...document.querySelectorAll('#live .message')]"
PAGE = "[...document.querySelectorAll('#history .message')]"


@pytest.fixture
def pages(make_server):
    """Return a server with the pages, configured as by `make run`."""
    return stage(make_server(start=False, conf=CONF + """
      CometSearch on
      <Location "/comet">
        CometMulti on
      </Location>
      <Location "/comet/secret">
        Require all denied
      </Location>
    """)).start()


@pytest.fixture
def console(chromium, pages):
    """Yield a function that opens the console on some channels.  Afterwards
    check that the console has logged no error."""
    chromium.port = pages.port
    chromium.driver.get_log("browser")

    def open_console(channels="chat"):
        tab = chromium.open("/console/#" + channels)
        wait_state(tab, "connected")
        return tab
    yield open_console
    errors = [entry for entry in chromium.driver.get_log("browser")
              if entry["level"] == "SEVERE"
              and entry["source"] != "network"]
    chromium.reset()
    assert not errors, errors


def wait_state(tab, state):
    wait_until(lambda: tab.js("return document.querySelector('#status')"
                              "?.dataset.state") == state, 15,
               "the state " + state)


def texts(tab, rows, part):
    return tab.js("return %s.map(row => row.querySelector('.%s')"
                  ".textContent)" % (rows, part))


def text(tab, selector):
    return tab.js("return document.querySelector(arguments[0]).textContent",
                  selector)


def fill(tab, selector, value):
    tab.js("document.querySelector(arguments[0]).value = arguments[1]",
           selector, value)


def click(tab, selector):
    tab.js("document.querySelector(arguments[0]).click()", selector)


def wait_texts(tab, rows, want, part="body"):
    """Wait until a table has these rows. On failure, show the rows that the
    table has."""
    try:
        wait_until(lambda: texts(tab, rows, part) == want, 10, "rows", 0.05)
    except AssertionError:
        assert texts(tab, rows, part) == want


def insert(server, *rows):
    sqlite(server.db, "INSERT INTO message(channel, body) VALUES"
           + ",".join("(%s, %s)" % tuple(map(sql_text, row)) for row in rows)
           + ";")


def test_380_01_hostile(console, pages):
    """Every part of a message is shown as plain text, live and in the
    history."""
    tab = console("*")
    for body in HOSTILE:
        pages.post("chat", body)
    pages.request("POST", "/comet/%3Cb%3Ech?type=%3Ci%3Et", b"last",
                  {"Content-Type": "text/plain"})
    want = HOSTILE + ["last"]
    wait_texts(tab, LIVE, want)
    assert texts(tab, LIVE, "channel")[-1] == "<b>ch"
    assert texts(tab, LIVE, "type")[-1] == "<i>t"
    click(tab, "#search .button")
    wait_texts(tab, PAGE, want)
    assert tab.js("return document.querySelectorAll('.message :is(b, i, img,"
                  " script, h1)').length + Number(window.hit ?? 0)") == 0


def test_380_02_latency(console, pages):
    """A live message shows its latency, but a stored one does not."""
    insert(pages, ("chat", "old"))
    tab = console()
    wait_texts(tab, LIVE, ["old"])
    assert texts(tab, LIVE, "latency") == ["stored"]
    assert text(tab, "#latency-last") == "–"
    pages.post("chat", "new")
    wait_texts(tab, LIVE, ["old", "new"])
    shown = texts(tab, LIVE, "latency")[1]
    assert re.fullmatch(r"-?[\d.]+ ms", shown), shown
    assert -2 < float(shown.split()[0]) < 3000
    for name in ("last", "median", "highest"):
        assert text(tab, "#latency-" + name) == shown
    assert text(tab, "#count") == "2"


def test_380_03_wildcard(console, pages):
    """The console shows all chosen channels and patterns, even a channel that
    is created later, and no other channel."""
    tab = console("chat,room/*")
    for i, name in enumerate(("chat", "room/1", "other", "room/new", "roomy",
                              "room/1")):
        pages.post(name, "m%d" % i)
    wait_texts(tab, LIVE, ["m0", "m1", "m3", "m5"])
    assert texts(tab, LIVE, "channel") == ["chat", "room/1", "room/new",
                                           "room/1"]
    assert tab.js("return performance.getEntriesByType('resource')"
                  ".filter(x => /[/]comet[/]/.test(x.name)).length") == 0
    fill(tab, "#channels", "other")
    click(tab, "#subscribe .button")
    wait_state(tab, "connected")
    pages.post("chat", "m6")
    pages.post("other", "m7")
    wait_until(lambda: texts(tab, LIVE, "body")[-1] == "m7", 10, "the last")
    assert "m6" not in texts(tab, LIVE, "body")
    assert tab.js("return location.hash") == "#other"


def test_380_04_refused(console, pages):
    """If the user may not read one of the channels, the page says so and shows
    nothing."""
    insert(pages, ("secret", "hidden"))
    tab = console()
    fill(tab, "#channels", "chat, secret")
    click(tab, "#subscribe .button")
    wait_state(tab, "offline")
    assert "secret" in text(tab, "#status .why")
    click(tab, "#search .button")
    wait_until(lambda: "secret" in text(tab, "#range"), 5, "the reason")
    assert texts(tab, PAGE, "body") == []


def test_380_05_publish(console, pages):
    """The page publishes by its button and by the keyboard. After an error the
    page gives the reason, and keeps the text."""
    tab = console("chat,log/x%20y")
    fill(tab, "#channel", "log/x y")
    fill(tab, "#type", "alarm")
    fill(tab, "#body", "<b>one</b>")
    click(tab, "#publish .button")
    wait_texts(tab, LIVE, ["<b>one</b>"])
    assert texts(tab, LIVE, "channel") == ["log/x y"]
    assert texts(tab, LIVE, "type") == ["alarm"]
    wait_until(lambda: re.match(r"Stored as \d{16} in [\d.]+ ms",
                                text(tab, "#outcome")), 5, "the outcome")
    assert tab.js("return document.querySelector('#body').value") == ""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    box = tab.browser.driver.find_element(By.ID, "body")
    box.send_keys("two", Keys.CONTROL, Keys.ENTER)
    wait_texts(tab, LIVE, ["<b>one</b>", "two"])
    fill(tab, "#channel", "secret")
    fill(tab, "#body", "kept")
    click(tab, "#publish .button")
    wait_until(lambda: "403" in text(tab, "#outcome"), 5, "the refusal")
    assert tab.js("return document.querySelector('#body').value") == "kept"
    assert pages.rows("secret") == []


def test_380_14_answer_lost(console, pages):
    """If the answer to a publish is lost, the page says that the message may
    have been stored. Sending the message again does not store it twice."""
    tab = console("chat")
    tab.js("""
      const real = fetch;
      let lost = false;
      window.fetch = async (url, options) => {
        const answer = await real(url, options);
        if (options?.method === 'POST' && !lost) {
          lost = true;
          throw new TypeError('lost');
        }
        return answer;
      };""")
    fill(tab, "#channel", "chat")
    fill(tab, "#body", "once")
    click(tab, "#publish .button")
    wait_until(lambda: "Perhaps" in text(tab, "#outcome"), 5, "the doubt")
    click(tab, "#publish .button")
    wait_until(lambda: "Stored as" in text(tab, "#outcome"), 5, "the outcome")
    assert pages.rows("chat") == ["once"]


def test_380_06_paging(console, pages):
    """The page shows the history page by page, older and newer.  Each message
    is on one page."""
    insert(pages, *[("chat", "h%02d" % i) for i in range(25)])
    tab = console()
    fill(tab, "#limit", "10")
    pages_of = ["h%02d" % i for i in range(25)]
    click(tab, "#search .button")
    wait_texts(tab, PAGE, pages_of[15:])
    assert tab.js("return document.querySelector('#newer').disabled")
    tab.js("const older = document.querySelector('#older');"
           "older.click(); older.click()")      # two clicks ask for one page
    wait_texts(tab, PAGE, pages_of[5:15])
    click(tab, "#older")
    wait_texts(tab, PAGE, pages_of[:5])
    assert tab.js("return document.querySelector('#older').disabled")
    click(tab, "#newer")
    wait_texts(tab, PAGE, pages_of[5:15])
    assert "10 messages" in text(tab, "#range")
    click(tab, "#newer")
    wait_texts(tab, PAGE, pages_of[15:])


def test_380_15_long_messages(console, pages):
    """A page of long messages has few of them, and the older ones can be
    shown."""
    insert(pages, *[("chat", "h%d %s" % (i, "x" * 60000)) for i in range(6)])
    tab = console()
    click(tab, "#search .button")
    wait_until(lambda: "4 messages" in text(tab, "#range"), 5, "a page")
    click(tab, "#older")
    wait_until(lambda: "2 messages" in text(tab, "#range"), 5, "the rest")
    assert tab.js("return document.querySelector('#older').disabled")


def test_380_07_search(console, pages):
    """A search finds messages of the chosen channels that have all words."""
    insert(pages, ("chat", "the red fox"), ("chat", "a red hen"),
           ("other", "red fox, too"), ("room/1", "fox and red"),
           ("chat", 'say "fox"'))
    tab = console("chat,room/*")
    fill(tab, "#words", "red fox")
    click(tab, "#search .button")
    wait_texts(tab, PAGE, ["the red fox", "fox and red"])
    fill(tab, "#words", '"fox" OR')
    click(tab, "#search .button")
    wait_until(lambda: texts(tab, PAGE, "body") == [], 5, "no message")
    assert "No message" in text(tab, "#range")


def test_380_08_pause_and_stop(console, pages):
    """While paused, the page shows no new message but loses none. Stop ends the
    stream."""
    tab = console()
    click(tab, "#pause")
    pages.post("chat", "held")
    wait_until(lambda: text(tab, "#pause") == "Go on (1)", 5, "the count")
    assert texts(tab, LIVE, "body") == []
    click(tab, "#pause")
    wait_texts(tab, LIVE, ["held"])
    click(tab, "#stop")
    wait_state(tab, "idle")
    pages.wait_waiting(0)


def test_380_09_counters(console, pages):
    """The page shows the server's counters and their graphs."""
    tab = console()
    values = ("return Object.fromEntries([...document.querySelectorAll("
              "'#counters dl > div')].map(d => [d.querySelector('dt')"
              ".textContent, d.querySelector('dd').textContent]))")
    wait_until(lambda: tab.js(values).get("waiting events") == "1", 10,
               "the stream counted")
    for i in range(3):
        pages.post("chat", str(i))
    wait_until(lambda: tab.js(values)["published"] == "3", 10, "published")
    # An answer that is no refusal does not end the counters for good.
    tab.js("const real = fetch; window.fetch = async (url, options) =>"
           " /status/.test(url) ? new Response('busy', {status: 503})"
           " : real(url, options); window.mend = () => { window.fetch = real; }")
    wait_until(lambda: tab.js("return document.querySelector("
                              "'#counters.stale') !== null"), 10, "no counters")
    tab.js("mend()")
    pages.post("chat", "3")
    wait_until(lambda: tab.js(values)["published"] == "4", 10, "published")
    names = set(pages.status()) - {"waiting", "stores", "ways", "version"}
    assert {name.replace("_", " ") for name in names} <= set(tab.js(values))
    assert len(tab.js(
        "return document.querySelector('#counters polyline')"
        ".getAttribute('points')").split()) >= 2


def test_380_10_server_gone(console, pages):
    """The page says that the server is gone, and continues later without
    repeating a message."""
    tab = console()
    pages.post("chat", "before")
    wait_texts(tab, LIVE, ["before"])
    pages.kill()
    wait_state(tab, "reconnecting")
    pages.start()
    pages.post("chat", "after")
    wait_texts(tab, LIVE, ["before", "after"])
    wait_state(tab, "connected")


@pytest.mark.parametrize("path", ["/console/", "/manual/",
                                  "/manual/recipes.html",
                                  "/manual/security.html"])
def test_380_11_narrow_dark_and_named(console, pages, path):
    """On a phone no page is too wide, in light or dark, and each control has a
    name. A page has 305 px if it is enlarged four times on a screen of 1,280
    px with a scroll bar."""
    pages.post("a/" + "long" * 50, "unbroken" * 300)
    tab = console("*")
    if path != "/console/":
        tab = tab.browser.open(path)
    else:
        click(tab, "#search .button")
        wait_until(lambda: texts(tab, PAGE, "body"), 5, "the page")
    for scheme in ("light", "dark"):
        driver = tab.browser.driver
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
            "features": [{"name": "prefers-color-scheme", "value": scheme}]})
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": 305, "height": 640, "deviceScaleFactor": 2,
            "mobile": True})
        wait_until(lambda: tab.js(
            "return document.documentElement.scrollWidth") <= 305, 5,
            "%s to fit (%s)" % (path, scheme))
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    nameless = tab.js(
        "return [...document.querySelectorAll('input, select, textarea,"
        " button, a')].filter(x => !(x.labels?.length || x.ariaLabel"
        " || x.textContent.trim())).map(x => x.outerHTML)")
    assert nameless == []
    names = [node["name"]["value"] for node in driver.execute_cdp_cmd(
        "Accessibility.getFullAXTree", {})["nodes"]
        if node.get("role", {}).get("value") == "heading"]
    assert len(names) >= 4 and all(names), names
