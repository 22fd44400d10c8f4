# SPDX-License-Identifier: Apache-2.0
"""Pages that subscribe to the Mercure hub: one by the browser's EventSource
with a cookie, one by a polyfill with a header, and pages of other sites."""

import os
import shutil
import signal

import pytest

import tokens
from browser import Browser, missing, wait_until
from httpd_env import SLOW
from mercure import ALL, BOOK, HUB, Subscriber, post, publish, token, url
from node_client import MODULES
from tokens import bearer

CONF = """
CometMercure /.well-known/mercure
<Location "/.well-known/mercure">
  CometTokenKey HS256 KEYS/secret
  CometMercureAnonymous on
  CometAllowOrigin http://127.0.0.1:{port} https://app.example.com
</Location>
""".replace("KEYS", tokens.FOLDER)

PAGE = """<!DOCTYPE html>
<title>a page of a Symfony site</title>
%s
<script>
window.got = [];
window.ids = [];
window.source = %s;
source.onmessage = ({ data, lastEventId }) => {
    got.push(data);
    ids.push(lastEventId);
};
</script>
"""

# Chromium's own EventSource with the cookie that Symfony sets
COOKIE = ("""<script>
document.cookie = 'mercureAuthorization=%s; path=/.well-known/mercure';
</script>""", "new EventSource('%s', { withCredentials: true })")

# npm's event-source-polyfill, which can send a header
HEADER = ('<script src="/eventsource.js"></script>',
          "new EventSourcePolyfill('%s', { headers: {"
          " Authorization: 'Bearer %s' } })")
POLYFILL = os.path.join(MODULES, "event-source-polyfill", "src",
                        "eventsource.js")

FILM = "https://example.com/films/1"


def write_pages(server):
    """Write a page with a cookie for books, and one with a header for films."""
    hub = url("https://example.com/{+all}")
    books, films = (token(subscribe=["https://example.com/%s/{id}" % kind])
                    for kind in ("books", "films"))
    server.write("cookie.html", PAGE % (COOKIE[0] % books, COOKIE[1] % hub))
    server.write("header.html", PAGE % (HEADER[0], HEADER[1] % (hub, films)))
    shutil.copy(POLYFILL, server.docroot)


def kill(server):
    """Kill the server's children by SIGKILL, and wait for new ones."""
    old = server.children()
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: server.children()
               and not set(old) & set(server.children()), 10 * SLOW,
               "another child")


@pytest.mark.browser
@pytest.mark.bound(120)
@pytest.mark.skipif(missing() and os.environ.get("COMET_BROWSER") == "none",
                    reason="no browser")
def test_714_01_pages(make_server):
    """A page receives the updates that its cookie or header grants.  After a
    kill -9 of the child it reconnects without help, and receives each update
    exactly once."""
    server = make_server(conf=CONF)
    server.allow_log.append("AH00051|AH00052")     # for the killed child
    server.check_waiting = False
    write_pages(server)
    browser = Browser(server.port)
    try:
        tabs = {BOOK: browser.open("/cookie.html"),
                FILM: browser.open("/header.html")}
        wait_until(lambda: server.waiting("mercure") == 2, 10 * SLOW, "both")
        publish(server, BOOK, "a book", private="on", id='["a,b"]')
        publish(server, FILM, "a film", private="on", id='["a,c"]')
        publish(server, FILM, "for all")
        for tab in tabs.values():
            wait_until(lambda tab=tab: len(tab.js("return got")) == 2,
                       10 * SLOW, "two")
        kill(server)
        for number in range(20):
            for topic in tabs:
                publish(server, topic, "%d" % number, private="on")
        for (topic, tab), first in zip(tabs.items(), (
                ("a book", '["a,b"]'), ("a film", '["a,c"]'))):
            wanted = [first[0], "for all"] + ["%d" % i for i in range(20)]
            wait_until(lambda tab=tab: len(tab.js("return got"))
                       >= len(wanted), 20 * SLOW, "the rest of " + topic)
            assert tab.js("return got") == wanted
            assert tab.js("return ids[0]") == first[1]
    finally:
        browser.close()


def test_714_02_other_sites(server):
    """CORS with credentials is answered for the configured origins only.  A
    page of another site cannot publish with a visitor's cookie."""
    origin = {"Origin": "https://app.example.com"}
    other = {"Origin": "https://evil.example.com"}
    with Subscriber(server, "a", headers=origin) as stream:
        assert stream.header("access-control-allow-origin") \
            == "https://app.example.com"
        assert stream.header("access-control-allow-credentials") == "true"
    with Subscriber(server, "a", headers=other) as stream:
        assert stream.header("access-control-allow-origin") is None
    answer = server.request("OPTIONS", HUB, headers={
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization", **origin})
    assert answer.status == 204
    allowed = answer.header("access-control-allow-headers").lower()
    for name in ("authorization", "cache-control", "last-event-id"):
        assert name in allowed
    cookie = {"Cookie": "mercureAuthorization=" + token(publish=[ALL])}
    for headers, status in ((origin, 200), (other, 403), ({}, 200)):
        assert post(server, [("topic", "x")],
                    {**cookie, **headers}).status == status
    answer = server.get(url("a"), {**bearer("wrong"), **origin})
    assert answer.status == 401 and answer.header(
        "access-control-allow-origin") == "https://app.example.com"


SERVER = {"conf": CONF}
