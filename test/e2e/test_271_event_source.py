# SPDX-License-Identifier: Apache-2.0
"""A browser's own EventSource reconnects after any cap or limit has refused it.
It also does so on an HTTP/2 connection that many tabs share, on another host of
the same certificate, and after the user has gone back to its page."""

import contextlib
import html
import os
import re
import subprocess

import pytest

from browser import Browser, missing, wait_until
from httpd_env import REPO, SLOW, give, sqlite
from stream_client import Stream, post

pytestmark = [
    pytest.mark.browser,
    pytest.mark.bound(120),
    pytest.mark.skipif(missing() and os.environ.get("COMET_BROWSER") == "none",
                       reason="no browser"),
]

PAGE = """<!DOCTYPE html>
<title>a page with an EventSource</title>
<script>
window.got = [], window.died = 0;
window.source = new EventSource(new URLSearchParams(location.search).get('at'),
                                { withCredentials: true });
source.onmessage = (event) => got.push(event.data);
source.onerror = () => { died += source.readyState === EventSource.CLOSED };
</script>
"""


@pytest.fixture(name="open_browser")
def fixture_open_browser():
    """Yield a function that opens browsers. They are closed after the test."""
    with contextlib.ExitStack() as stack:
        def opened(port, *flags, windows=False):
            browser = Browser(port, flags, windows)
            stack.callback(browser.close)
            return browser
        yield opened


class Page:
    """A tab with one EventSource."""

    def __init__(self, browser, server, at, base=None):
        server.write("page.html", PAGE)
        browser.driver.switch_to.window(browser.first)
        browser.driver.switch_to.new_window("tab")
        self.driver, self.handle = browser.driver, \
            browser.driver.current_window_handle
        base = base or "http://127.0.0.1:%d" % server.port
        self.driver.get("%s/page.html?at=%s" % (base, at))
        wait_until(lambda: self.js("return !!window.source"), 10 * SLOW,
                   "the page")

    def js(self, script):
        self.driver.switch_to.window(self.handle)
        return self.driver.execute_script(script)

    def got(self):
        return self.js("return got")

    def wait_got(self, texts, timeout=15):
        wait_until(lambda: len(self.got()) >= len(texts), timeout * SLOW,
                   "%r in the page, which has %r" % (texts, self.got()))
        assert self.got() == texts and self.js("return died") == 0


def landings(server, more):
    """Wait until `more` further streams have been refused."""
    was = server.status()["soft_landings"]
    wait_until(lambda: server.status()["soft_landings"] >= was + more,
               15 * SLOW, "%d soft landings" % more)


@pytest.mark.parametrize("mpm, held, conf", [
    ("event", 1, "CometMaxSubscribers 1\n"),
    pytest.param("event", 2, "CometLimitSubscribers address=2\n",
                 marks=pytest.mark.long),
    pytest.param("worker", 4, "CometAdopt off\n", marks=pytest.mark.long),
    pytest.param("prefork", 1, "CometMaxSubscribers 1\n",
                 marks=pytest.mark.long)])
def test_271_01_full(make_server, open_browser, mpm, held, conf):
    """A page gets the stored messages even while its stream is refused. When
    another client leaves, the page's stream stays open."""
    server = make_server(mpm=mpm, threads=8, conf=conf)
    server.keep_port = True
    streams = [Stream(server, "/comet/other") for _ in range(held)]
    server.wait_waiting(held)
    page = Page(open_browser(server.port), server, "/comet/news")
    landings(server, 1)
    post(server, "news", "while full")
    page.wait_got(["while full"])
    landings(server, 2)
    streams.pop().conn.close()
    server.wait_waiting(held - 1)
    server.wait_waiting(held, timeout=10)       # now the page waits, too
    post(server, "news", "a place")
    page.wait_got(["while full", "a place"])
    for stream in streams:
        stream.conn.close()


def test_271_02_unreadable(make_server, open_browser):
    """If the database file is invalid for a while, the page reconnects
    afterwards."""
    server = make_server()
    server.keep_port = True
    server.allow_log.append("CometStore: ")
    page = Page(open_browser(server.port), server, "/comet/news")
    server.wait_waiting(1)
    post(server, "news", "before")
    page.wait_got(["before"])
    server.stop()
    for end in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(server.db + end)
    os.rename(server.db, server.db + ".kept")
    with open(server.db, "w", encoding="utf-8") as out:
        out.write("no database")
    give(server.db)
    server.start(wait=False)
    wait_until(server.answers, 10 * SLOW, "httpd")
    landings(server, 2)
    os.rename(server.db + ".kept", server.db)
    server.wait_waiting(1, timeout=15)
    sqlite(server.db, "INSERT INTO message(channel, body) "
           "VALUES('news', 'after')")
    page.wait_got(["before", "after"])


def test_271_03_tabs(make_server, open_browser):
    """Six tabs share an HTTP/2 connection on which only two streams may wait.
    All tabs get live messages."""
    server = make_server(tls=True, h2=True, threads=64,
                         conf="CometParkHTTP2 off\n")
    server.keep_port = True
    browser = open_browser(server.port, "--ignore-certificate-errors")
    base = "https://localhost:%d" % server.tls_port
    pages = [Page(browser, server, "/comet/news", base) for _ in range(6)]
    assert all(page.js("return performance.getEntriesByType('navigation')[0]"
                       ".nextHopProtocol") == "h2" for page in pages)
    landings(server, 4)
    for i in range(2):
        post(server, "news", "m%d" % i)
        for page in pages:
            page.wait_got(["m%d" % k for k in range(i + 1)], 20)


# -- two names, one certificate ------------------------------------------------

HOSTS = """
<VirtualHost 127.0.0.1:{tls_port}>
  ServerName www.example.test
  Protocols h2 http/1.1
  SSLEngine on
  SSLCertificateFile "{root}/conf/pair.pem"
  SSLCertificateKeyFile "{root}/conf/pair.key"
</VirtualHost>
<VirtualHost 127.0.0.1:{tls_port}>
  ServerName push.example.test
  Protocols http/1.1
  SSLEngine on
  SSLCertificateFile "{root}/conf/pair.pem"
  SSLCertificateKeyFile "{root}/conf/pair.key"
  CometAllowOrigin https://www.example.test:{tls_port}
</VirtualHost>
"""


def certify(server):
    """Make one certificate for both host names. Return the option that makes
    Chromium trust it."""
    key, cert = (os.path.join(server.root, "conf", "pair" + end)
                 for end in (".key", ".pem"))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
         "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
         "/CN=www.example.test", "-addext", "subjectAltName="
         "DNS:www.example.test,DNS:push.example.test",
         "-keyout", key, "-out", cert],
        check=True, timeout=60, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)
    spki = subprocess.run(
        "openssl x509 -in %s -pubkey -noout | openssl pkey -pubin -outform der"
        " | openssl dgst -sha256 -binary | openssl base64" % cert, shell=True,
        check=True, timeout=60, capture_output=True, text=True).stdout.strip()
    return "--ignore-certificate-errors-spki-list=" + spki


def test_271_10_other_host(make_server, open_browser):
    """A browser uses the HTTP/2 connection of one host for another host of the
    same certificate. After a 421 it opens a new connection for the other
    host."""
    server = make_server(start=False, tls=True, h2=True, before=HOSTS)
    trust = certify(server)
    server.start()
    browser = open_browser(server.port, trust, "--host-resolver-rules="
                           "MAP *.example.test 127.0.0.1")
    page = Page(browser, server, "https://push.example.test:%d/comet/news"
                % server.tls_port,
                "https://www.example.test:%d" % server.tls_port)
    assert page.js("return performance.getEntriesByType('navigation')[0]"
                   ".nextHopProtocol") == "h2"
    server.wait_waiting(1, timeout=10)
    post(server, "news", "hello")
    page.wait_got(["hello"])
    assert [line.split()[2] for line in server.access_lines("GET /comet/news")
            if "HTTP/2" in line] == ["421"]


# -- the back button -----------------------------------------------------------

PAGES = {
    # name: (document, the text before the script, the text after it, the
    # channel that the script reads)
    "README": ("README.md", "In a page, without any library", "</script>",
               "news"),
    "the reference": ("htdocs/manual/index.html", 'id="bfcache-page"><code>',
                      "</code>", "news"),
    "the recipe for PHP": ("htdocs/manual/recipes.html",
                           "<p>In the page:</p>", "</code>", "orders"),
    "the dashboard": (
        "htdocs/manual/recipes.html", '<h2 id="dashboard-title">',
        "</code></pre>\n    <p><code>load/*", "alarm"),
    "a host of its own": (
        "htdocs/manual/recipes.html", "CometAllowOrigin https://www.example",
        "</code></pre>\n    <p>A browser opens six", "news"),
    "the tutorial": ("htdocs/manual/tutorial.html", "session_regenerate_id",
                     "&lt;/script&gt;", "user/7"),
}

BACK_PAGE = """<!DOCTYPE html><title>x</title>
<p id="alarm"></p><ul id="news"></ul>
<script>
window.got = [];
console.log = (text) => got.push(text);
addEventListener('pageshow', (event) => {
    if (event.persisted) {
        sessionStorage.setItem('kept', location.pathname);
    }
});
</script>
<script>%s</script>
"""


def script_of(document, start, end):
    """Return the page script that a document shows, adapted to this server."""
    with open(os.path.join(REPO, document), encoding="utf-8") as text:
        shown = text.read().partition(start)[2].partition(end)[0]
    shown = html.unescape(re.split(r"<script>|&lt;script&gt;|<code>",
                                   shown)[-1])
    assert "new EventSource(" in shown
    return shown.replace("<?= $id ?>", "7").replace(
        "https://push.example.org", "")


@pytest.mark.parametrize("names", [
    pytest.param(("README", "the tutorial"), id="some"),
    pytest.param([name for name in PAGES if name not in (
        "README", "the tutorial")], id="others", marks=pytest.mark.long)])
def test_271_20_back(make_server, open_browser, names):
    """A page with a script from the documentation works again when the browser
    takes the page from its back/forward cache."""
    server = make_server(
        conf='<Location "/comet">\nCometMulti on\n</Location>\n')
    browser = open_browser(server.port, windows=True)
    for number, name in enumerate(names):
        page = PAGES[name]
        path = "/back%d.html" % number
        server.write(path[1:], BACK_PAGE % script_of(*page[:3]))
        tab = browser.open(path)
        server.wait_waiting(1, timeout=10)
        browser.driver.get("http://127.0.0.1:%d/static.txt" % server.port)
        server.wait_waiting(0, timeout=10)
        tab.js("history.back()")
        server.wait_waiting(1, timeout=10)
        assert tab.js("return sessionStorage.getItem('kept')") == path, name
        post(server, page[3], '{"id": %d}' % number, type="shipped"
             if page[3] == "orders" else "message")
        shown = {"orders": "order %d is on its way" % number}.get(
            page[3], '{"id": %d}' % number)
        if name != "a host of its own":     # that script shows nothing
            wait_until(lambda t=tab, s=shown: s in t.js(
                "return got.join() + document.body.textContent"),
                10 * SLOW, name)
        tab.close()
        server.wait_waiting(0, timeout=10)


def test_271_21_every_page_is_tried():
    """PAGES has every script in the documents that opens an EventSource in a
    page."""
    scripts = [script_of(*page[:3]) for page in PAGES.values()]
    for folder in ("", "htdocs/manual", "htdocs/comet"):
        folder = os.path.join(REPO, folder)
        for name in os.listdir(folder):
            if not name.endswith((".html", ".md")):
                continue
            with open(os.path.join(folder, name), encoding="utf-8") as text:
                found = re.findall(r"= (new EventSource\([^,)]*)",
                                   html.unescape(text.read()))
            for call in found:
                call = call.replace("<?= $id ?>", "7").replace(
                    "https://push.example.org", "")
                assert any(call in script for script in scripts), (name, call)
