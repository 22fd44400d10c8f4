# SPDX-License-Identifier: Apache-2.0
"""The chat page shows members, who is typing, and edited, deleted and unread
messages. It resends messages that could not be sent.  The console
moderates."""

import json

import pytest

from browser import CONF, Tab, stage, wait_until
from httpd_env import sqlite
from members import MODULES, NAMES, enter, named

pytestmark = [pytest.mark.browser, pytest.mark.bound(120)]

SERVER = {"start": False, "modules": MODULES, "conf": NAMES + CONF + """
CometDeletions on
<Location "/comet">
  CometModerate on
</Location>
"""}

ROWS = "return [...document.querySelectorAll('#log li.row .body')]" \
    ".map(d => d.textContent)"


@pytest.fixture
def pages(make_server):
    return stage(make_server(**SERVER)).start()


@pytest.fixture
def opened(chromium, pages):
    """Yield a function that opens a page as the user ann."""
    chromium.port = pages.port
    chromium.driver.get_log("browser")

    def open_page(path, script=""):
        driver = chromium.driver
        driver.switch_to.window(chromium.first)
        driver.switch_to.new_window("tab")
        driver.execute_cdp_cmd("Network.enable", {})
        driver.execute_cdp_cmd("Network.setExtraHTTPHeaders",
                               {"headers": named("ann")})
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument",
                               {"source": script})
        tab = Tab(chromium, driver.current_window_handle)
        driver.get("http://127.0.0.1:%d%s" % (pages.port, path))
        wait_until(lambda: tab.js("return document.querySelector('#status')"
                                  "?.dataset.state") == "connected", 15, path)
        return tab
    yield open_page
    errors = [entry for entry in chromium.driver.get_log("browser")
              if entry["level"] == "SEVERE" and entry["source"] != "network"]
    chromium.reset()
    assert not errors, errors


def say(server, text, name="bob", query=""):
    answer = server.request("POST", "/comet/chat" + query, text.encode(),
                            named(name, **{"Content-Type": "text/plain"}))
    assert answer.status == 201, answer
    return answer.json()["timestamp"]


def text(tab, selector):
    return tab.js("return document.querySelector(arguments[0]).textContent",
                  selector)


def wait_rows(tab, *want):
    wait_until(lambda: tab.js(ROWS) == list(want), 10, "rows %r" % (want,))


def edit(server, timestamp, body, name):
    say(server, json.dumps({"of": timestamp, "body": body}), name,
        "?type=edit")


def test_657_01_here_and_typing(opened, pages):
    """The page shows members who come and go.  It shows that a user is typing
    until this user's message comes.  It needs no storage of the browser."""
    here = "return [...document.querySelectorAll('#here li')]" \
        ".map(li => li.textContent).join()"
    tab = opened("/chat/", "Object.defineProperty(window, 'sessionStorage',"
                 " {get() { throw new DOMException('', 'SecurityError'); }})")
    wait_until(lambda: tab.js(here) == "ann", 10, "ann")
    with enter(pages, "chat", "bob"):
        wait_until(lambda: tab.js(here) == "ann,bob", 10, "bob")
        say(pages, "", query="?type=typing&keep=60")
        wait_until(lambda: text(tab, "#typing") == "bob is typing…", 10)
        say(pages, "", "\u202eeve", "?type=typing&keep=60")
        wait_until(lambda: "eve are" in text(tab, "#typing"), 10, "eve")
        assert tab.js("return [...document.querySelectorAll('#typing bdi')]"
                      ".map(name => name.textContent)") == ["bob", "\u202eeve"]
        say(pages, "hi")
        wait_rows(tab, "hi")
        assert text(tab, "#typing") == "\u202eeve is typing…"
        say(pages, "ho", "\u202eeve")
        wait_rows(tab, "hi", "ho")
        assert text(tab, "#typing") == ""
    wait_until(lambda: tab.js(here) == "ann", 15, "bob's leave")
    tab.js("const box = document.querySelector('#message'); box.value = 'x';"
           "box.dispatchEvent(new Event('input'))")
    wait_until(lambda: sqlite(pages.db, "SELECT author FROM message"
                              " WHERE type = 'typing' ORDER BY timestamp")
               == [["bob"], ["\u202eeve"], ["ann"]], 10, "ann's typing")
    assert text(tab, "#typing") == ""       # not the user's own typing


def test_657_02_edited_and_deleted(opened, pages):
    """Only an author can edit a message.  A deleted message disappears, even
    from the history, and so does a deleted edit."""
    say(pages, "from elsewhere", "ann")
    tab = opened("/chat/")
    first = say(pages, "hello")
    second = say(pages, "spam")
    wait_rows(tab, "from elsewhere", "hello", "spam")
    edit(pages, first, "hello?", "bob")
    edit(pages, first, "forged", "mallory")
    edit(pages, first, "rude", "bob")
    wait_rows(tab, "from elsewhere", "rude", "spam")
    for word, left in (("rude", "hello?"), ("hello?", "hello")):
        sqlite(pages.db, "DELETE FROM message WHERE body LIKE '%" + word + "%'")
        wait_rows(tab, "from elsewhere", left, "spam")
    edit(pages, first, "hello!", "bob")
    wait_rows(tab, "from elsewhere", "hello!", "spam")
    sqlite(pages.db, "DELETE FROM message WHERE timestamp = %d" % second)
    wait_rows(tab, "from elsewhere", "hello!")
    tab.js("document.querySelector('#message').value = 'mine';"
           "document.querySelector('#send').click()")
    own = "return [...document.querySelectorAll('#log .mine.editable .body')]" \
        ".map(b => b.textContent)"
    wait_until(lambda: tab.js(own) == ["from elsewhere", "mine"], 10,
               "the user's own rows")
    tab.js("document.querySelectorAll('#log .editable .change')[1].click()")
    assert tab.js("return document.querySelector('#message').value") == "mine"
    tab.js("document.querySelector('#message').value = 'mine, too';"
           "document.querySelector('#send').click()")
    wait_rows(tab, "from elsewhere", "hello!", "mine, too")
    tab.close()
    wait_rows(opened("/chat/"), "from elsewhere", "hello!", "mine, too")


def test_657_03_unread(opened, pages):
    """The page shows a line above the messages that have come since the user's
    last visit."""
    tab = opened("/chat/")
    last = say(pages, "read")
    wait_rows(tab, "read")
    wait_until(lambda: sqlite(pages.db, "SELECT read_at FROM last_seen"
                              " WHERE member = 'ann'") == [[str(last)]], 15,
               "the mark")
    tab.close()
    say(pages, "new")
    say(pages, "newer")
    tab = opened("/chat/")
    wait_until(lambda: tab.js("return document.querySelector('.divider')"
                              "?.textContent ?? ''")
               == "2 messages since you were here", 10, "the line")
    assert tab.js("return [...document.querySelector('#log ol').children]"
                  ".map(li => li.className.split(' ')[0])") \
        == ["row", "divider", "row", "row"]


def test_657_04_sent_again(opened, pages):
    """A message that could not be sent is sent when the page has reconnected,
    and is stored once."""
    tab = opened("/chat/")
    tab.js("window.real = fetch; window.fetch = () => Promise.reject("
           "new TypeError('cut'))")
    pages.graceful()        # ends the stream; the page cannot open another one
    tab.js("document.querySelector('#message').value = 'late';"
           "document.querySelector('#send').click()")
    wait_until(lambda: tab.js("return document.querySelector("
                              "'#log li.failed') !== null"), 20, "the failure")
    tab.js("window.fetch = window.real; dispatchEvent(new Event('online'))")
    wait_until(lambda: tab.js("return document.querySelector("
                              "'#log li.row:not(.failed, .sending)')"
                              "?.dataset.timestamp > 0"), 40, "the message")
    assert [row[0] for row in sqlite(
        pages.db, "SELECT body FROM message WHERE channel = 'chat'"
        " AND type = 'message'")] == ["late"]


def test_657_05_console_moderates(opened, pages):
    """The console lists channels and their members, removes members, and
    deletes messages."""
    say(pages, "rude")
    tab = opened("/console/#*")
    with enter(pages, "chat", "bob") as stream:
        channels = "return [...document.querySelectorAll(" \
            "'#channel-list button')].map(b => b.firstChild.textContent)"
        tab.js("document.querySelector('#list-channels').click()")
        wait_until(lambda: tab.js(channels) == ["chat"], 10, "the list")
        names = "return [...document.querySelectorAll('#members .name')]" \
            ".map(n => n.textContent).join()"

        def is_listed():
            tab.js("document.querySelector('#channel-list button').click()")
            return tab.js(names) == "bob"
        wait_until(is_listed, 10, "bob", 0.3)
        tab.js("document.querySelector('#members li button').click()")
        stream.until_end()
    wait_until(lambda: "thrown out" in text(tab, "#members-note"), 10)
    rows = "return [...document.querySelectorAll('#live .message .body')]" \
        ".map(b => b.textContent)"
    wait_until(lambda: "rude" in tab.js(rows), 10, "the message")
    tab.js("document.querySelector('#live .message .delete').click()")
    wait_until(lambda: "rude" not in tab.js(rows), 10, "no message")
    assert sqlite(pages.db, "SELECT 1 FROM message WHERE body = 'rude'") == []
    # What is deleted while the page pauses is not shown afterwards.
    tab.js("document.querySelector('#pause').click()")
    say(pages, "spam")
    sqlite(pages.db, "DELETE FROM message WHERE body = 'spam'")
    say(pages, "fine")
    wait_until(lambda: "(3)" in text(tab, "#pause")
               or "(2)" in text(tab, "#pause"), 10, "what waits")
    tab.js("document.querySelector('#pause').click()")
    wait_until(lambda: "fine" in tab.js(rows), 10, "the last message")
    assert "spam" not in tab.js(rows)
    groups = "return [...document.querySelectorAll('#counters h3')]" \
        ".map(h => h.textContent)"
    wait_until(lambda: tab.js(groups)[:2] == ["Waiting now", "Publishing"], 10)


def test_657_06_console_sets_rules(opened, pages):
    """The console sets a retention rule, shows it in words, edits it and
    removes it. It shows why a rule is refused."""
    say(pages, "x")
    tab = opened("/console/#*")
    rows = "return [...document.querySelectorAll('#rules li')].map(li =>" \
        " li.querySelector('.name').textContent + ' '" \
        " + li.querySelector('.keeps').textContent)"

    def put(pattern, count, age):
        tab.js("const form = document.querySelector('#rules form');"
               "['pattern', 'count', 'age'].forEach((name, i) => {"
               " form.elements[name].value = arguments[i]; });"
               "form.requestSubmit()", pattern, count, age)

    put("log/*", "1000", "30")
    wait_until(lambda: tab.js(rows) == [
        "log/* keeps at most 1,000 messages up to 30 days old"], 10,
        "the rule")
    assert "set. All other channels keep everything." \
        in text(tab, "#rules [role=status]")
    put("audit", "", "")
    wait_until(lambda: tab.js(rows)[0] == "audit keeps everything", 10)
    tab.js("document.querySelectorAll('#rules li button')[2].click();"
           "document.querySelector('#rule-age').value = '';"
           "document.querySelector('#rules form').requestSubmit()")
    wait_until(lambda: tab.js(rows)[1] == "log/* keeps at most 1,000 messages",
               10, "the edited rule")
    tab.js("document.querySelectorAll('#rules li button')[1].click()")
    wait_until(lambda: len(tab.js(rows)) == 1, 10, "one rule")
    assert sqlite(pages.db, "SELECT pattern, keep_count, keep_age"
                  " FROM channel_retention") == [["log/*", "1000", ""]]
    # An age may be a large number of seconds.
    put("audit", "5", "")
    tab.js("document.querySelector('[name=unit]').value = 's'")
    put("audit", "6", "100001")
    wait_until(lambda: tab.js(rows)[0] == "audit keeps at most 6 messages up"
               " to 100,001 seconds old", 10, "the rule")
    tab.js("document.querySelector('[name=unit]').value = 'd'")
    put("a*", "1", "")
    wait_until(lambda: "a star must follow" in text(tab, "#rules [role=status]"),
               10, "the refusal")
