# SPDX-License-Identifier: Apache-2.0
"""Require comet-request: a sub-request to one of the site's URLs lets the
application decide.  The application runs in PHP-FPM and in mod_php."""

import http.client
import json
import os
import ssl
import threading
import time

import pytest

import php_fpm
from http_client import quote
from httpd_env import (MODULES, SANITIZER, SLOW, self_signed, sqlite,
                       wait_until)
from stream_client import Stream

LOGIN = """<?php
session_start();
$_SESSION['user'] = $_GET['user'] ?? null;
echo 'ok';
"""

# This script logs what it is asked, and then does what the channel's name says.
MAY = """<?php
session_start(['read_and_close' => true]);
$channel = $_SERVER['HTTP_COMET_CHANNEL'] ?? null;
$action = $_SERVER['HTTP_COMET_ACTION'] ?? null;
$user = $_SESSION['user'] ?? null;
file_put_contents('{data}/asked', json_encode([$channel, $action, $user,
    $_SERVER['REQUEST_METHOD'], $_SERVER['REQUEST_URI'],
    file_get_contents('php://input'), $_SERVER['CONTENT_LENGTH'] ?? '',
    $_SERVER['HTTP_IF_NONE_MATCH'] ?? ''])
    . "\\n", FILE_APPEND | LOCK_EX);
$part = explode('/', $channel . '/')[0];
$word = explode('/', $channel . '//')[1];
if ($part === 'odd') {
    switch ($word) {
    case 'slow': sleep(1); break;
    case 'drips': for ($i = 0; $i < 30; $i++) { echo '.'; flush(); usleep(100000); } break;
    case 'dies': header('Comet-User: root'); flush(); posix_kill(getmypid(), 9); break;
    case 'throws': throw new Exception('x');
    case 'redirects': header('Location: /static.txt'); break;
    case 'moves': header('Location: /static.txt', true, 200); break;
    case 'megabyte': echo str_repeat('x', 1 << 20); break;
    case 'missing': http_response_code(404); break;
    case 'teapot': http_response_code(418); break;
    case 'partial': http_response_code(206); break;
    case 'user': header('Comet-User: ' . str_repeat('u', 256)); break;
    case 'again':
        if (!file_exists('{data}/go')) {
            exit;
        }
        $got = @file_get_contents('http://127.0.0.1:{port}/comet/odd/again?wait=0');
        http_response_code($got === false ? 403 : 204);
        break;
    }
    exit;
}
if ($user === null) {
    header('WWW-Authenticate: Session');
    http_response_code(401);
}
elseif ($channel === '' || $part === 'public' || $channel === "user/$user") {
    header("Comet-User: $user");
    if (str_contains($_SERVER['QUERY_STRING'], 'keep')) {
        header('Comet-Lifetime: 2');
    }
    http_response_code(204);
}
else {
    http_response_code(403);
}
"""

CONF = """
CometPollTimeout 1s
<Location "/comet">
  CometMulti on
  Require comet-request /may.php timeout=500ms
</Location>
<Location "/comet/user/kept">
  Require comet-request /may.php?keep
</Location>
<Location "/comet/public/kept">
  Require comet-request /may.php?keep
</Location>
<Location "/comet/loop">
  Require comet-request /comet/loop
</Location>
<Location "/comet/static">
  Require comet-request /static.txt
</Location>
<Location "/comet/absent">
  Require comet-request /absent.php
</Location>
<Location "/comet/either">
  <RequireAny>
    Require method DELETE
    Require comet-request /may.php
  </RequireAny>
</Location>
<Location "/comet/publish">
  Require comet-publish comet-request /may.php
</Location>
CometClassic /c/backend.php user/anna
<Location "/c">
  Require comet-request /may.php
</Location>
"""


def prepare(server):
    for name, text in (("may.php", MAY), ("login.php", LOGIN)):
        server.write(name, server.fill(text))


def answers_php(make_server, conf, **more):
    server = make_server(start=False, conf=CONF + conf, **more)
    prepare(server)
    server.start()
    wait_until(lambda: server.get("/login.php").body == b"ok", 10, "PHP")
    return server


@pytest.fixture(scope="module")
def fpm():
    made = php_fpm.Fpm()
    yield made
    made.close()


@pytest.fixture
def php(request, make_server, fpm):
    """Return a server with PHP-FPM."""
    return answers_php(make_server, fpm.conf, modules=php_fpm.MODULES)


def log_in(server, user):
    """Log a user in; return the header with the session's cookie."""
    answer = server.get("/login.php?user=" + user)
    return {"Cookie": answer.header("set-cookie").split(";")[0]}


def asked(server):
    """Return the questions that MAY has logged."""
    path = os.path.join(server.data, "asked")
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def forget(server):
    path = os.path.join(server.data, "asked")
    if os.path.exists(path):
        os.remove(path)


def post(server, target, headers=None, text=b"x", **more):
    return server.request("POST", target, text,
                          {"Content-Type": "text/plain", **(headers or {}),
                           **more})


def check_answers(server):
    """Check decisions that do not depend on how PHP runs."""
    anna = log_in(server, "anna")
    for headers, target, status in (
            (anna, "/comet/user/anna", 200), (anna, "/comet/user/bert", 403),
            (anna, "/comet/public/x", 200), ({}, "/comet/public/x", 401),
            ({}, "/comet/user/anna", 401), (anna, "/comet/user/", 400),
            (anna, "/comet?channel=user/anna&channel=public/x", 200),
            (anna, "/comet?channel=user/anna&channel=user/bert", 403),
            (anna, "/comet?channel=user/*", 403),
            (anna, "/comet?channel=public/*", 200),
            (anna, "/comet?channel=*", 403),
            ({}, "/comet?channel=public/x", 401)):
        answer = server.get(target + "&?"["?" not in target] + "wait=0",
                            headers)
        if target == "/comet/user/":
            assert answer.status in (400, 403), answer
            continue
        assert answer.status == status, (target, answer)
        if status == 401:
            assert answer.header("www-authenticate") == "Session"
        assert b"ok" not in answer.body
    answer = post(server, "/comet/user/anna", anna)
    assert answer.status == 201, answer
    assert sqlite(server.db, "SELECT author FROM message") == [["anna"]]
    assert post(server, "/comet/user/bert", anna).status == 403
    assert post(server, "/comet/user/anna").status == 401


def test_702_01_a_session(php):
    """A session of PHP decides who may read and publish, and names the user."""
    check_answers(php)
    log = php.error_log()
    assert "COMET0003: GET /comet/user/bert is refused: the site's " \
        "application: it answered 403" in log
    assert "COMET0002: GET /comet/user/anna is refused" in log


def test_702_02_what_is_asked(php):
    """The application sees the channel, the action, and a GET of its own URL.
    It does not see the client's body, conditions or forged Comet-… headers."""
    anna = log_in(php, "anna")
    forget(php)
    lie = {"Comet-Channel": "public/x", "Comet-Action": "read",
           "If-None-Match": '"x"', **anna}
    assert post(php, "/comet/user/anna?x=y", lie).status == 201
    assert php.get("/comet/user/bert?wait=0", lie).status == 403
    assert php.get("/comet?wait=0&channel=public/*", anna).status == 200
    assert asked(php) == [
        [channel, action, "anna", "GET", "/may.php", "", "", ""]
        for channel, action in (("user/anna", "publish"),
                                ("user/bert", "read"), ("", "read"),
                                ("public/*", "read"))]
    forget(php)
    for name in ("a%0d%0aComet-User:%20root", "a%00", "%ff", "a//b"):
        answer = php.get("/comet/" + name, anna)
        assert answer.status in (400, 403, 404), answer
    assert all("\n" not in line[0] for line in asked(php))


ODD = {"slow": 503, "drips": 503, "dies": 503, "throws": 503,
       "redirects": 403, "moves": 403, "megabyte": 503, "missing": 403,
       "teapot": 403, "partial": 200, "user": 503}


def test_702_03_odd_answers(php):
    """If the application is slow or broken, a poll gets 503 and a stream a soft
    landing.  Only a 2xx answer allows a request.  No part of the application's
    answer reaches the client, and the connection can still be used."""
    for word, status in sorted(ODD.items()):
        with php.raw() as conn:
            begin = time.monotonic()
            conn.request("GET", "/comet/odd/%s?wait=0" % word)
            answer = conn.answer()
            assert answer.status == status, (word, answer)
            assert time.monotonic() - begin < 0.9 * SLOW, word
            assert b"xxx" not in answer.body and b"..." not in answer.body
            if status == 503:       # httpd closes the connection after a 503
                assert answer.header("retry-after") == "1"
                assert b"the site's application cannot be asked" in answer.body
            else:
                conn.request("GET", "/static.txt")
                assert conn.answer().body == b"a static file\n"
        if status == 503:
            with Stream(php, "/comet/odd/" + word) as stream:
                stream.until_end()
                assert stream.bytes.startswith(b": the site's application")
                assert b"retry: " in stream.bytes
    assert post(php, "/comet/odd/dies").status == 503
    assert sqlite(php.db, "SELECT count(*) FROM message") == [["0"]]
    assert php.get("/comet?wait=0&channel=odd/slow").status in (401, 503)
    assert "AH00" not in php.error_log().replace("AH00489", "") \
        .replace("AH00094", "")


def test_702_04_itself(php):
    """If the URL that is asked has the same Require, asking would never end.
    So the request is refused, and the log says why."""
    assert php.get("/comet/loop?wait=0").status == 403
    assert "/comet/loop may not ask again" in php.error_log()


def test_702_05_again(php):
    """A script that requests its own URL over HTTP does not hang for ever: only
    a quarter of the threads may ask at a time, and each only for a limited
    time."""
    begin = time.monotonic()
    answers = []
    go = os.path.join(php.data, "go")
    with open(go, "w", encoding="ascii"):
        pass
    threads = [threading.Thread(target=lambda: answers.append(
        php.get("/comet/odd/again?wait=0"))) for _ in range(12)]
    for thread in threads:
        thread.start()
    wait_until(lambda: php.status()["asking"] == 6, 5, "a quarter of 25")
    assert php.get("/static.txt").status == 200
    for thread in threads:
        thread.join()
    assert {answer.status for answer in answers} <= {403, 503}, answers
    assert any(b"too many requests are asking it" in a.body for a in answers)
    assert time.monotonic() - begin < 8 * SLOW
    os.remove(go)
    wait_until(lambda: php.status()["asking"] == 0, 15, "nobody asks")


def test_702_06_other_handlers(php):
    """Any URL that httpd serves may decide.  An answer with a body allows
    nothing."""
    assert php.get("/comet/static?wait=0").status == 503
    php.write("static.txt", " \r\n")
    assert php.get("/comet/static?wait=0").status == 200
    assert php.get("/comet/absent?wait=0").status == 403


def test_702_07_combined(php):
    anna = log_in(php, "anna")
    assert php.get("/comet/publish?wait=0").status == 200
    assert post(php, "/comet/publish").status == 401
    assert post(php, "/comet/publish", anna).status == 403
    assert php.get("/comet/either?wait=0", anna).status == 403
    assert php.get("/c/backend.php?timestamp=0", anna).status == 200
    assert php.get("/c/backend.php?timestamp=0").status == 401


def test_702_08_a_decision_is_kept(php):
    """While Comet-Lifetime lasts, the application is not asked again about the
    same client and channel.  A stream ends when the decision that allowed it
    expires.  Refusals, and decisions about publishing, are not kept."""
    anna, bert = (log_in(php, user) for user in ("anna", "bert"))
    target = "/comet/public/kept/%s?wait=0"
    forget(php)
    for _ in range(5):
        assert php.get(target % "a", anna).status == 200
    assert len(asked(php)) == 1
    for headers, name, status in ((bert, "a", 200), (anna, "b", 200),
                                  ({}, "a", 401), ({}, "a", 401)):
        assert php.get(target % name, headers).status == status
    assert len(asked(php)) == 5
    assert post(php, "/comet/public/kept/a", anna).status == 201
    assert len(asked(php)) == 6
    begin = time.monotonic()
    with Stream(php, "/comet/public/kept/a", anna) as stream:
        stream.until_end()
        assert time.monotonic() - begin < 3 * SLOW
    assert php.get(target % "a", anna).status == 200
    assert len(asked(php)) == 7
    forget(php)
    for _ in range(3):
        assert php.get("/comet/user/anna?wait=0", anna).status == 200
    assert len(asked(php)) == 3


BY_CERTIFICATE = """
function handle(r)
  r.headers_out["Comet-Lifetime"] = "60"
  r.status = r:ssl_var_lookup("SSL_CLIENT_CERT") ~= "" and 204 or 403
  return apache2.OK
end
"""


def test_702_11_another_certificate(make_server):
    """A decision about the owner of a certificate is not used for another
    client of the same address."""
    server = make_server(start=False, tls=True, modules=("lua",), conf="""
      SSLVerifyClient optional_no_ca
      AddHandler lua-script .lua
      <Location "/comet">
        Require comet-request /may.lua
      </Location>""")
    server.write("may.lua", BY_CERTIFICATE)
    server.start()
    key, cert = self_signed(os.path.join(server.root, "conf"))
    for certificate, status in ((cert, 200), (None, 403), (cert, 200)):
        context = ssl._create_unverified_context()
        if certificate:
            context.load_cert_chain(certificate, key)
        conn = http.client.HTTPSConnection("127.0.0.1", server.tls_port,
                                           timeout=15 * SLOW, context=context)
        conn.request("GET", "/comet/x?wait=0")
        assert conn.getresponse().status == status, certificate
        conn.close()


NAMED_ALIKE = """
function handle(r)
  local asked = ""
  for _, name in ipairs({"Comet-Channel", "comet_channel", "Comet.Channel"}) do
    asked = asked .. (r.headers_in[name] or "")
  end
  r.status = asked == "secret" and 403 or 204
  return apache2.OK
end
"""


def test_702_12_fields_with_other_names(make_server):
    """The client cannot name another channel in a field that many servers of
    applications take for Comet-Channel."""
    server = make_server(start=False, modules=("lua",), conf="""
      AddHandler lua-script .lua
      <Location "/comet">
        Require comet-request /may.lua
      </Location>""")
    server.write("may.lua", NAMED_ALIKE)
    server.start()
    assert server.get("/comet/open?wait=0").status == 200
    for name in ("X", "Comet-Channel", "comet_channel", "Comet.Channel"):
        assert server.get("/comet/secret?wait=0",
                          {name: "open"}).status == 403, name


@pytest.mark.skipif(SANITIZER in ("asan", "tsan"), reason="PHP opens opcache "
                    "with RTLD_DEEPBIND, which ends httpd")
def test_702_09_mod_php(make_server):
    """Decisions are the same if PHP runs in httpd itself (mod_php, on
    prefork)."""
    found = sorted(name for name in os.listdir(MODULES)
                   if name.startswith("libphp"))
    assert found, "libapache2-mod-php"
    server = answers_php(
        make_server, '<FilesMatch "\\.php$">\n  SetHandler '
        'application/x-httpd-php\n</FilesMatch>\n', mpm="prefork",
        before='LoadModule php_module "%s/%s"\nphp_admin_value '
        'session.save_path {data}\n' % (MODULES, found[-1]))
    check_answers(server)
    for word in ("megabyte", "redirects", "throws", "partial", "slow"):
        answer = server.get("/comet/odd/%s?wait=0" % word)
        assert answer.status == ODD[word], (word, answer)
        assert b"xxx" not in answer.body


def test_702_10_configtest(make_server):
    server = make_server(start=False)
    for words, said in (("", "a URL of this server"),
                        ("http://x/may.php", "a URL of this server"),
                        ("/may.php timeout=2min", "timeout="),
                        ("/may.php timeout=1s x", "timeout=")):
        code, text = server.configtest(
            "<Location /comet>\nRequire comet-request %s\n</Location>" % words)
        assert code != 0 and said in text, (words, text)
