# SPDX-License-Identifier: Apache-2.0
"""Mappings work whatever other modules do with the URLs of a site."""

import os
import re

import pytest

from http_client import one_request
from httpd_env import SLOW, free_port

WORDPRESS = """
# BEGIN WordPress
<IfModule mod_rewrite.c>
RewriteEngine On
RewriteRule .* - [E=HTTP_AUTHORIZATION:%{HTTP:Authorization}]
RewriteBase /
RewriteRule ^index\\.php$ - [L]
RewriteCond %{REQUEST_FILENAME} !-f
RewriteCond %{REQUEST_FILENAME} !-d
RewriteRule . /index.php [L]
</IfModule>
# END WordPress
"""


def check_all_three(server, port=None):
    """Check that the chat, the endpoint and the clock answer correctly."""
    port = port or server.port

    def ask(method, target, body=None, headers=None):
        return one_request(port, method, target, body, headers,
                           timeout=10 * SLOW)

    answer = ask("GET", "/chat/backend.php?msg=hello")
    assert answer.status == 200 and answer.body == b"", answer
    answer = ask("GET", "/chat/backend.php?timestamp=0")
    assert answer.json()["msg"] == "hello", answer
    answer = ask("POST", "/comet/room/42", "x",
                 {"Content-Type": "text/plain"})
    assert answer.status == 201, answer
    assert answer.json()["channel"] == "room/42"
    answer = ask("GET", "/comet/room/42?since=0&wait=0")
    assert answer.json()["messages"][-1]["body"] == "x", answer
    answer = ask("HEAD", "/clock/backend.php")
    assert answer.status == 200, answer
    assert "no-transform" in answer.header("cache-control")


def test_150_01_wordpress(make_server):
    """WordPress's .htaccess in the DocumentRoot does not capture the
    mappings."""
    server = make_server()
    server.check_waiting = False    # WordPress may capture /comet-status
    server.write(".htaccess", WORDPRESS)
    server.write("index.php", "the front controller\n")
    assert server.get("/no/such/page").body == b"the front controller\n"
    check_all_three(server)


def test_150_02_rewrite_in_server_config(make_server):
    """A front controller in a <Directory> section does not capture the
    mappings."""
    server = make_server(conf='<Directory "{docroot}">\nRewriteEngine On\n'
                         "RewriteCond %{REQUEST_URI} !index.html\n"
                         "RewriteRule . /index.html [L]\n</Directory>")
    server.check_waiting = False
    assert b"index" in server.get("/no/such/page").body
    check_all_three(server)


def test_150_03_existing_directory(make_server):
    """A directory with the name of a mapping causes no redirect, index or
    listing."""
    server = make_server(modules=("autoindex",))
    for name in ("comet", "comet/room", "comet/room/42",
                 "chat/backend.php", "clock/backend.php"):
        server.write(name + "/index.html", "a file in the way\n")
    check_all_three(server)
    answer = server.get("/comet?wait=0")
    assert answer.status in (400, 404), answer


def test_150_04_existing_files(make_server):
    """Files with the names of mappings have no effect, even if .php has a
    handler."""
    server = make_server(
        conf="""
      AddType application/x-httpd-php .php
      <FilesMatch "\\.php$">
        SetHandler application/x-httpd-php
        Header set X-Files-Match yes
      </FilesMatch>""")
    server.write("chat/backend.php", "<?php the source ?>\n")
    server.write("clock/backend.php", "<?php the source ?>\n")
    server.write("comet", "a file\n")
    server.write("chat/other.php", "<?php ?>\n")
    assert server.get("/chat/other.php").header("x-files-match") == "yes"
    check_all_three(server)
    # Other files in the same folder are still served.
    server.write("chat/index.html", "the page\n")
    assert server.get("/chat/index.html").body == b"the page\n"
    assert server.get("/chat/").body == b"the page\n"


@pytest.mark.parametrize("handler", ["AddHandler", "SetHandler"])
def test_150_05_add_handler(make_server, handler):
    """An AddHandler or SetHandler for .php has no effect on the mappings."""
    line = {"AddHandler": "AddHandler send-as-is .php",
            "SetHandler": '<FilesMatch "php$">\nSetHandler send-as-is\n'
                          "</FilesMatch>"}[handler]
    server = make_server(modules=("asis",), conf=line)
    server.write("chat/backend.php", "Status: 200 hijacked\n\nhijacked\n")
    check_all_three(server)


def test_150_06_fallback_resource(make_server):
    """FallbackResource does not capture the mappings."""
    server = make_server(conf='<Directory "{docroot}">\n'
                         "FallbackResource /index.html\n</Directory>")
    assert b"index" in server.get("/no/such/page").body
    check_all_three(server)


def test_150_07_alias_of_a_parent(make_server):
    """An Alias or ScriptAlias of a parent path does not capture the
    mappings."""
    server = make_server(conf='Alias /chat "{docroot}"\n'
                         'ScriptAlias /comet "{docroot}"\n'
                         'ScriptAlias /clock/ "{docroot}/"\n')
    check_all_three(server)
    assert server.get("/chat/static.txt").body == b"a static file\n"


@pytest.mark.parametrize("how", ["location", "htaccess-deny"])
def test_150_08_denied(make_server, how):
    """Require all denied in a <Location> refuses every request there. In a
    .htaccess file it has no effect on mapped URLs."""
    if how == "location":
        server = make_server(conf='<LocationMatch "^/(chat|comet|clock)/">\n'
                             "Require all denied\n</LocationMatch>")
        for method in ("GET", "HEAD", "POST"):
            for target in ("/chat/backend.php?msg=x", "/chat/backend.php",
                           "/comet/chat", "/clock/backend.php"):
                answer = server.request(
                    method, target, b"x" if method == "POST" else None,
                    {"Content-Type": "text/plain"})
                assert answer.status in (401, 403), (method, target, answer)
        assert server.status()["published"] == 0
    else:
        # a .htaccess applies only to files
        server = make_server()
        server.write("chat/.htaccess", "Require all denied\n")
        server.write("chat/x.txt", "x")
        assert server.get("/chat/x.txt").status == 403
        check_all_three(server)


def test_150_09_a_url_reaches_only_its_channel(make_server):
    """<Location> protects the channel at its URL, even if a request spells the
    URL differently."""
    server = make_server(conf='<Location "/comet/secret">\n'
                         "Require all denied\n</Location>")
    server.post("open", "x")
    for target in ("/comet/secret", "/comet/secret/below",
                   "/comet/%73ecret", "/comet//secret", "/comet/./secret",
                   "/comet/x/../secret", "/comet/open/%2e%2e/secret",
                   "/comet/secret?channel=open", "//comet/secret",
                   "/comet/;/../secret"):
        with server.raw() as conn:
            conn.request("POST", target, {"Content-Type": "text/plain"},
                         b"x")
            assert conn.answer().status in (400, 401, 403, 404), target
        with server.raw() as conn:
            conn.request("GET", target + ("&" if "?" in target else "?")
                         + "since=0&wait=0")
            assert conn.answer().status in (400, 401, 403, 404), target
    assert server.rows("secret") == []
    # The query cannot name another channel.
    got = server.get("/comet/open?since=0&wait=0&topic=secret").json()
    assert {m["channel"] for m in got["messages"]} == {"open"}
    assert server.get("/comet/open?since=0&wait=0&channel=secret").status \
        == 403


def test_150_10_vhosts(make_server):
    """Virtual hosts inherit the store and the mappings, and can define their
    own."""
    one, two, three = free_port(), free_port(), free_port()
    server = make_server(conf="""
      Listen 127.0.0.1:%(one)d
      <VirtualHost 127.0.0.1:%(one)d>
        ServerName inherits
      </VirtualHost>
      Listen 127.0.0.1:%(two)d
      <VirtualHost 127.0.0.1:%(two)d>
        ServerName own-mapping
        CometClassic /extra/backend.php extra
      </VirtualHost>
      Listen 127.0.0.1:%(three)d
      <VirtualHost 127.0.0.1:%(three)d>
        ServerName own-store
        CometStore "sqlite:{data}/three.db"
      </VirtualHost>""" % {"one": one, "two": two, "three": three})
    check_all_three(server, one)
    check_all_three(server, two)
    assert one_request(two, "GET", "/extra/backend.php?msg=x").status == 200
    assert server.get("/extra/backend.php?msg=x").status == 404
    assert server.rows("extra") == ["x"]
    before = server.rows("chat")
    check_all_three(server, three)
    assert server.rows("chat") == before, "stores mixed up"
    assert os.path.exists(os.path.join(server.data, "three.db"))
    paths = [s["path"] for s in server.status()["stores"]]
    assert len(paths) == 2, paths


def test_150_11_longest_mapping_wins(make_server):
    """Of two mappings that match a URL, the longer one is used."""
    server = make_server(conf="CometClassic /comet/backend.php below\n"
                         "CometEndpoint /comet/inner inner/")
    assert server.get("/comet/backend.php?msg=x").body == b""
    assert server.rows("below") == ["x"]
    answer = server.request("POST", "/comet/inner/a", "x",
                            {"Content-Type": "text/plain"})
    assert answer.status == 201
    assert server.rows("inner/a") == ["x"]


def test_150_12_only_whole_segments(make_server):
    """/cometx and /COMET do not match /comet."""
    server = make_server()
    for target in ("/cometx", "/cometx/chat", "/COMET/chat", "/com",
                   "/chat/backend.phpx", "/chat/backend"):
        answer = server.get(target + "?wait=0&msg=x")
        assert answer.status == 404, (target, answer)
    assert server.status()["published"] == 0


def test_150_13_per_location(make_server):
    """Directives in a <Location> apply to mapped URLs, whichever module they
    belong to."""
    server = make_server(conf="""
      <Location "/comet/marked">
        Header always set X-Mark here
        CometPollTimeout 1s
      </Location>
      <Location "/comet">
        Header always set X-All all
      </Location>""")
    answer = server.get("/comet/marked?since=0")
    assert answer.status == 200
    assert answer.header("x-mark") == "here"
    assert answer.header("x-all") == "all"
    assert answer.json()["messages"] == []


def test_150_14_unknown_is_404(make_server):
    """The module leaves every URL that is not mapped to httpd."""
    server = make_server()
    assert server.get("/chat/").status in (403, 404)
    assert server.get("/clock").status == 404
    assert server.get("/static.txt").body == b"a static file\n"
    assert re.search(rb"index", server.get("/").body)


@pytest.mark.parametrize("how", ["", "mapping=servlet", "mapping=encoded"])
def test_150_15_proxy_that_decodes_no_path(make_server, how):
    """ProxyPass hands over all other URLs, with its mapping=servlet not decoded.
    A channel's name is decoded all the same.  So the <Location> of its URL
    protects it, also where a request names several channels."""
    server = make_server(
        modules=("proxy", "proxy_http"), conf="""
      CometMulti on
      CometEndpoint "/my comet" mine/
      <Location "/comet/caf\u00e9 1">
        Require all denied
      </Location>
      ProxyPass "/comet-status" ! %s
      ProxyPass "/" "http://127.0.0.1:1/" %s""" % (how, how))
    server.sql("INSERT INTO message(channel, body) VALUES('caf\u00e9 1', 'x')")
    for target in ("/comet/caf%C3%A9%201", "/comet?channel=caf%C3%A9%201",
                   "/comet?channel=open&channel=caf%C3%A9+1",
                   "/comet?channel=*"):
        target += "&" if "?" in target else "?"
        answer = server.get(target + "since=0&wait=0")
        assert answer.status == 403, (target, answer)
    for target in ("/comet/caf%C3%A9%202", "/my%20comet/2"):
        assert server.request("POST", target, "x",
                              {"Content-Type": "text/plain"}).status == 201
    assert server.rows("caf\u00e9 2") == server.rows("mine/2") == ["x"]
    # httpd refuses %2F unless it hands over the path as it is
    assert server.get("/comet%2Fx").status == (503 if how else 404)
