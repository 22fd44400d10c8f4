# SPDX-License-Identifier: Apache-2.0
"""What CometAllowOrigin permits to pages of other sites, and what it does not,
in a real headless Chromium."""


import pytest

from browser import wait_until
from httpd_env import sqlite
from test_330_access import authors, basic, write_users

pytestmark = [pytest.mark.browser, pytest.mark.bound(120)]

CONF = """
CometAllowOrigin http://localhost:{port}
<Location "/comet/any">
  CometAllowOrigin *
</Location>
<Location "/comet/own">
  CometAllowOrigin none
</Location>
<Location "/comet/members">
  AuthType Basic
  AuthName "members"
  AuthUserFile "{root}/conf/users"
  Require valid-user
</Location>
"""

# Call fetch(), and return what the page can see of the answer.
FETCH = """
const [url, init, done] = arguments;
fetch(url, init).then(async (answer) => done({
    status: answer.status, type: answer.type, text: await answer.text(),
    etag: answer.headers.get('ETag'),
    retryAfter: answer.headers.get('Retry-After'),
  }), (error) => done({ failed: error.name }));
"""


@pytest.fixture
def site(make_server):
    server = make_server(start=False, conf=CONF, classics=2)
    write_users(server)
    server.write("page.html", "<!DOCTYPE html><title>a page</title>\n")
    server.keep_port = True
    return server.start()


class Page:
    """A page of localhost, for which 127.0.0.1 is another site."""

    def __init__(self, browser, server):
        self.driver = browser.driver
        self.server = server
        self.base = "http://127.0.0.1:%d" % server.port
        self.driver.get("http://localhost:%d/page.html" % server.port)
        wait_until(lambda: self.driver.execute_script(
            "return location.hostname === 'localhost' && document.readyState"
            " === 'complete'"), 10, "the page")

    def fetch(self, target, **init):
        return self.driver.execute_async_script(FETCH, self.base + target,
                                                init)

    def js(self, script, *args):
        return self.driver.execute_script(script, *args)


@pytest.fixture
def page(chromium, site):
    return Page(chromium, site)


JSON = {"Content-Type": "application/json", "Idempotency-Key": "one"}


def test_332_01_allowed(page, site):
    """A page of an allowed origin publishes after a preflight, and can read
    messages and errors."""
    answer = page.fetch("/comet/x", method="POST", body='{"a": 1}',
                        headers=JSON, credentials="include")
    assert answer.get("status") == 201, answer
    assert site.access_lines("OPTIONS /comet/x"), "no preflight"
    assert site.rows("x") == ['{"a": 1}']
    answer = page.fetch("/comet/x?since=0&wait=0", credentials="include")
    assert answer["status"] == 200 and '"a\\": 1' in answer["text"], answer
    answer = page.fetch("/comet/x?since=never", credentials="include")
    assert answer["status"] == 400 and "since" in answer["text"], answer
    answer = page.fetch("/comet/x?type=gap", method="POST", body="x",
                        credentials="include")
    assert answer["status"] == 400 and "type" in answer["text"], answer


def test_332_02_event_source(page, site):
    """An EventSource with credentials reads from another site that allows it,
    and reads nothing from one that does not."""
    page.js("""
      window.seen = [];
      const source = new EventSource(arguments[0], {withCredentials: true});
      source.onmessage = (event) => window.seen.push(event.data);
      source.onerror = () => window.seen.push('error');
      """, page.base + "/comet/stream?since=0")
    site.wait_waiting(1)
    site.post("stream", "over sites")
    wait_until(lambda: page.js("return window.seen") == ["over sites"], 5,
               "the message")
    page.js("""
      window.refused = [];
      const source = new EventSource(arguments[0]);
      source.onmessage = (event) => window.refused.push(event.data);
      source.onerror = () => window.refused.push('error');
      """, page.base + "/comet/own?since=0")
    site.post("own", "not over sites")
    wait_until(lambda: page.js("return window.refused")[:1] == ["error"], 5,
               "the refusal")
    assert "not over sites" not in page.js("return window.refused")
    page.driver.get("about:blank")
    site.wait_waiting(0)


def test_332_03_users(page, site):
    """A user can authenticate after a preflight, which needs no password. The
    page can read the status that asks for the password."""
    answer = page.fetch("/comet/members/x?wait=0")
    assert answer.get("status") == 401, answer
    answer = page.fetch("/comet/members/x", method="POST", body="hello",
                        headers=dict(basic("anna"),
                                     **{"Content-Type": "text/plain"}))
    assert answer.get("status") == 201, answer
    assert authors(site, "members/x") == ["anna"]


def test_332_04_not_allowed(page, site):
    """A page of another origin can read and publish nothing, not even by
    requests without a preflight."""
    sqlite(site.db, "INSERT INTO message(channel, body) "
           "VALUES('own', 'secret');")
    assert page.fetch("/comet/own?since=0&wait=0") == {"failed": "TypeError"}
    for init in ({"headers": JSON}, {"credentials": "include"},
                 {"mode": "no-cors"}):
        page.fetch("/comet/own", method="POST", body="forged", **init)
    page.js("""
      const frame = document.createElement('iframe');
      frame.name = 'sink';
      document.body.append(frame);
      const form = document.createElement('form');
      form.action = arguments[0] + '/comet/own';
      form.method = 'post';
      form.target = 'sink';
      form.innerHTML = '<input name="msg" value="forged">';
      document.body.append(form);
      form.submit();
      """, page.base)
    wait_until(lambda: site.access_lines("POST /comet/own"), 5, "the form")
    wait_until(lambda: len(site.access_lines("POST /comet/own")) == 3, 5,
               "two fetches without a preflight and the form")
    assert {line.split()[2] for line in site.access_lines(
        "POST /comet/own")} == {"403"}
    assert site.rows("own") == ["secret"]


def test_332_05_any(page, site):
    """With * any page may read, but not as a user: a request with credentials
    fails."""
    answer = page.fetch("/comet/any", method="POST", body="hello",
                        headers={"Content-Type": "text/plain"})
    assert answer.get("status") == 201, answer
    assert page.fetch("/comet/any?since=0&wait=0")["status"] == 200
    assert page.fetch("/comet/any?since=0&wait=0", credentials="include") \
        == {"failed": "TypeError"}


def test_332_06_classic_image(page, site):
    """An <img crossorigin> does not publish, even from an allowed origin. A
    script that sets X-Requested-With does."""
    page.js("""
      const image = new Image();
      image.crossOrigin = 'use-credentials';
      window.done = 0;
      image.onerror = image.onload = () => { window.done = 1; };
      image.src = arguments[0] + '/c0/backend.php?msg=image';
      """, page.base)
    wait_until(lambda: page.js("return window.done"), 5, "the image")
    answer = page.fetch("/c0/backend.php?msg=script",
                        headers={"X-Requested-With": "XMLHttpRequest"})
    assert answer.get("status") == 200, answer
    assert site.rows("c0") == ["script"]
