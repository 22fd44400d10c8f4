# SPDX-License-Identifier: Apache-2.0
"""Pages that subscribe by a browser's own EventSource, with a cookie; a hub that
is killed, and pages of another site."""

import os
import signal

import pytest

import tokens
from browser import Browser, missing, wait_until
from httpd_env import SLOW
from mercure import ALL, BOOK, HUB, Subscriber, post, publish, token, url
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
<script>
document.cookie = 'mercureAuthorization=%s; path=/.well-known/mercure';
window.got = [];
window.ids = [];
window.source = new EventSource(
    %r, { withCredentials: true });
source.onmessage = ({ data, lastEventId }) => {
    got.push(data);
    ids.push(lastEventId);
};
</script>
"""


@pytest.mark.browser
@pytest.mark.bound(120)
@pytest.mark.skipif(missing() and os.environ.get("COMET_BROWSER") == "none",
                    reason="no browser")
def test_714_01_a_page(make_server):
    """A page gets what its cookie grants; after a kill -9 of the child it
    reconnects by itself, and nothing is lost or comes twice."""
    server = make_server(conf=CONF)
    server.allow_log.append("AH00051|AH00052")     # the child was killed
    server.check_waiting = False
    server.write("page.html", PAGE % (
        token(subscribe=["https://example.com/books/{id}"]),
        url("https://example.com/{+all}")))
    browser = Browser(server.port)
    try:
        tab = browser.open("/page.html")
        wait_until(lambda: server.waiting("mercure") == 1, 10 * SLOW, "it")
        publish(server, BOOK, "for me", private="on", id='["a,b"]')
        publish(server, "https://example.com/films/1", "not", private="on")
        publish(server, "https://example.com/films/1", "for all")
        wait_until(lambda: len(tab.js("return got")) == 2, 10 * SLOW, "two")
        assert tab.js("return ids[0]") == '["a,b"]'
        old = server.children()
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: server.children()
                   and not set(old) & set(server.children()), 10 * SLOW,
                   "another child")
        for number in range(20):
            publish(server, BOOK, "%d" % number, private="on")
        wanted = ["for me", "for all"] + ["%d" % i for i in range(20)]
        wait_until(lambda: len(tab.js("return got")) >= len(wanted),
                   20 * SLOW, "the rest")
        assert tab.js("return got") == wanted
    finally:
        browser.close()


def test_714_02_other_sites(server):
    """CORS with credentials, for the origins that are named; what another site
    publishes by a cookie is refused."""
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
