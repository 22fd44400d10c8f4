# SPDX-License-Identifier: Apache-2.0
"""The recipes for a site whose users log in with a PHP session, in Chromium
and with PHP-FPM.  Each user has a private channel, which a token or a request
to the application opens."""

import os
import re
import time

import pytest

import browser as chromium
import php_fpm
import tokens
from httpd_env import REPO, sql_text, sqlite, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.skipif(
    os.environ.get("COMET_BROWSER") == "none", reason="COMET_BROWSER=none")]

EXAMPLES = os.path.join(REPO, "conf", "examples")
MODULES = php_fpm.MODULES

LOGIN = """<?php
session_start();
if (isset($_GET['id'])) {
    $_SESSION = ['id' => $_GET['id'], 'name' => $_GET['name']];
}
elseif (isset($_GET['out'])) {
    session_destroy();
}
echo 'login';
"""

PAGE = """<!DOCTYPE html>
<title>page</title>
<script type="module">
window.got = [];
window.told = [];
%s
</script>
"""

EVENT_SOURCE = """
const source = new EventSource('/comet/' + location.search.slice(1));
source.onmessage = ({ data }) => window.got.push(data);
source.onopen = () => window.told.push('open');
source.onerror = () => window.told.push(source.readyState);
"""


def read(name):
    with open(os.path.join(EXAMPLES, name), encoding="utf-8") as file:
        return file.read()


def script_of(conf):
    """Return the script in the comment of an example, adapted to this test."""
    lines = re.findall(r"^#     (.*)$|^(#)$", conf, re.M)
    text = "\n".join(line for line, _ in lines)
    text = text[text.index("import {"):]
    for old, new in (
            ("'/comet/user/7'", "'/comet/' + location.search.slice(1)"),
            ("console.log(data)", "window.got.push(data)"),
            ("comet.addEventListener('close', () =>",
             "comet.addEventListener('open', () => window.told.push('open'));\n"
             "comet.addEventListener('close', ({ error }) => "
             "window.told.push(error.status));\n"
             "if (0) comet.addEventListener('close', () =>")):
        assert old in text, text
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def fpm():
    made = php_fpm.Fpm()
    yield made
    made.close()


@pytest.fixture(scope="module")
def chrome():
    made = chromium.Browser(0)
    yield made
    made.close()


@pytest.fixture
def site(make_server, fpm, chrome):
    """Return a function that starts a site with one of the examples, where anna
    is logged in."""
    def make(conf, script, change):
        text = read(conf)
        server = make_server(
            start=False, comet="status", modules=MODULES,
            conf='CometStore "sqlite:{data}/comet.db"\nCometReplay 0\n'
            + fpm.conf + text.replace("/etc/apache2/", "{root}/conf/"))
        tokens.write_example(server)
        php = read(script)
        assert change[0] in php
        php = php.replace(*change).replace("/etc/apache2", server.root
                                           + "/conf")
        server.write(script, php)
        server.write("login.php", LOGIN)
        server.write("page.html", PAGE % (
            script_of(text) if "import {" in text else EVENT_SOURCE))
        with open(os.path.join(REPO, "htdocs", "comet", "comet.js"),
                  encoding="utf-8") as file:
            server.write("comet.js", file.read())
        server.start()
        chrome.port = server.port
        chrome.reset()
        visit(chrome, server, "/login.php?id=7&name=anna")
        return server
    return make


def visit(chrome, server, path):
    tab = chrome.open(path)
    wait_until(lambda: tab.js("return document.body?.textContent") == "login",
               10, path)
    tab.close()


def insert(server, channel, text):
    sqlite(server.db, "INSERT INTO message(channel, body) VALUES(%s, %s)"
           % (sql_text(channel), sql_text(text)))


def open_page(chrome, channel):
    return chrome.open("/page.html?" + channel)


def told(tab):
    return tab.js("return window.told ?? []")


def got(tab):
    return tab.js("return window.got ?? []")


def check_channels(server, chrome, refused):
    """Check that anna's page reads her own channel and no other.  `refused` is
    what the page sees when it is refused."""
    own = open_page(chrome, "user/7")
    wait_until(lambda: "open" in told(own), 10, "the own channel")
    insert(server, "user/8", "for bert")
    insert(server, "user/7", "for anna")
    wait_until(lambda: got(own) == ["for anna"], 10, "the message")
    others = open_page(chrome, "user/8")
    wait_until(lambda: told(others), 10, "a refusal")
    assert told(others)[-1] == refused and "open" not in told(others)
    assert got(others) == []
    return own


def check_sequence(server, tab, seconds):
    """Publish for some seconds, during which streams end and pages reconnect.
    Check that the page gets each message once, in order."""
    want = got(tab)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        want.append(str(len(want)))
        insert(server, "user/7", want[-1])
        time.sleep(0.05)        # (the pace of a site)
    wait_until(lambda: got(tab) == want, 15, "the whole sequence")


def breaker(server, script):
    """Return a function that makes a script fail, and one that repairs it."""
    path = os.path.join(server.docroot, script)

    def break_it():
        os.rename(path, path + ".kept")
        server.write(script, "<?php http_response_code(500);")

    def mend():
        os.rename(path + ".kept", path)
    return break_it, mend


def lines_of(server, script):
    return len(server.access_lines("GET /" + script))


def test_703_01_token(site, chrome):
    """With php-token.conf a page reads only its user's own channel.  Its stream
    continues although tokens expire and the script fails for a while. A log-out
    ends it."""
    server = site("php-token.conf", "comet-token.php",
                  ("time() + 300", "time() + 1"))
    own = check_channels(server, chrome, 403)
    begin = lines_of(server, "comet-token.php")
    check_sequence(server, own, 3)
    assert lines_of(server, "comet-token.php") >= begin + 2
    break_it, mend = breaker(server, "comet-token.php")
    break_it()
    failed = server.access_log().count(" 500 ")
    wait_until(lambda: server.access_log().count(" 500 ") > failed, 10,
               "a token that was not to be had")
    insert(server, "user/7", "meanwhile")
    mend()
    wait_until(lambda: got(own)[-1] == "meanwhile", 30, "the page's recovery")
    visit(chrome, server, "/login.php?out")
    wait_until(lambda: told(own)[-1] == 401, 10, "the end of the session")
    assert server.get("/comet/user/7?wait=0").status == 401
    late = open_page(chrome, "user/7")
    wait_until(lambda: told(late) == [401], 10, "nobody is logged in")


def test_703_02_request(site, chrome):
    """With php-request.conf a page reads only its user's own channel.  Its
    stream continues although the script fails for a while.  A log-out ends
    it."""
    server = site("php-request.conf", "comet-may.php",
                  ("Comet-Lifetime: 60", "Comet-Lifetime: 1"))
    own = check_channels(server, chrome, 2)
    streams = len(server.access_lines("GET /comet/user/7"))
    check_sequence(server, own, 3)
    assert len(server.access_lines("GET /comet/user/7")) >= streams + 1
    break_it, mend = breaker(server, "comet-may.php")
    break_it()
    landings = server.status()["soft_landings"]
    wait_until(lambda: server.status()["soft_landings"] > landings, 10,
               "a stream that lands softly")
    insert(server, "user/7", "meanwhile")
    mend()
    wait_until(lambda: got(own)[-1] == "meanwhile", 20, "the page's recovery")
    visit(chrome, server, "/login.php?out")
    wait_until(lambda: told(own)[-1] == 2, 10, "the end of the session")
    assert server.get("/comet/user/7?wait=0").status == 401


def test_703_03_a_name_is_no_channel(make_server, fpm):
    """A user whose name is a star gets only the channels of the user's id."""
    server = make_server(
        start=False, comet="status", modules=MODULES,
        conf='CometStore "sqlite:{data}/comet.db"\n' + fpm.conf
        + read("php-request.conf"))
    server.write("comet-may.php", read("comet-may.php"))
    server.write("login.php", LOGIN)
    server.start()
    cookie = {"Cookie": server.get("/login.php?id=9&name=*")
              .header("set-cookie").split(";")[0]}
    for channel, status in (("user/9", 200), ("user/9/x", 200),
                            ("user/7", 403), ("user/99", 403),
                            ("public/x", 200), ("other", 403)):
        answer = server.get("/comet/%s?wait=0" % channel, cookie)
        assert answer.status == status, (channel, answer)
    assert server.request("POST", "/comet/user/9", b"x", {
        "Content-Type": "text/plain", **cookie}).status == 403
