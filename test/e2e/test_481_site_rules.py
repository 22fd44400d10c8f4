# SPDX-License-Identifier: Apache-2.0
"""A site's rules that redirect or refuse act on the module's URLs as on files.
Its front controllers do not capture these URLs."""

import os
import re

import pytest

from http_client import one_request
from httpd_env import MODULES, SANITIZER, SLOW, free_port, sqlite
from stream_client import EVENTS

# Requests that succeed, for each kind of URL that the module serves.
OURS = [("GET", "/comet/chat?since=0&wait=0"),
        ("GET", "/comet/chat?wait=20"),
        ("POST", "/comet/chat"),
        ("OPTIONS", "/comet/chat"),
        ("GET", "/chat/backend.php?timestamp=0"),
        ("GET", "/chat/backend.php?msg=x"),
        ("GET", "/clock/backend.php")]

CERTBOT = """
RewriteEngine on
RewriteCond %{SERVER_NAME} =localhost
RewriteRule ^ https://%{SERVER_NAME}%{REQUEST_URI} [END,NE,R=permanent]
"""

# name: (configuration, status that it causes)
RULES = {
    "certbot": (CERTBOT, 301),
    "redirect": ("Redirect permanent / https://www.example.org/", 301),
    "redirect-match": ("RedirectMatch 302 ^/(.*)$ "
                       "https://www.example.org/$1", 302),
    "gone": ("RedirectMatch gone ^/(chat|clock|comet|static)", 410),
    "maintenance": ("RewriteEngine on\n"
                    "RewriteCond {docroot}/maintenance -f\n"
                    "RewriteRule ^ - [R=503,L]", 503),
    "forbidden": ("RewriteEngine on\n"
                  "RewriteRule ^/(chat|clock|comet|static) - [F]", 403),
    "rewrite-gone": ("RewriteEngine on\n"
                     "RewriteRule ^/(chat|clock|comet|static) - [G]", 410),
    "after-others": ("RewriteEngine on\n"
                     "RewriteRule ^/(.*) /other/$1 [PT]\n"
                     "Redirect 403 /other", 403),
    "location": ('<LocationMatch "^/(chat|clock|comet|static)">\n'
                 "Redirect permanent https://www.example.org/\n"
                 "</LocationMatch>", 301),
    "if": ('<If "%{REQUEST_URI} =~ m#^/(chat|clock|comet|static)#">\n'
           "Redirect 403\n</If>", 403),
}


# Front controllers in the virtual host, which handle every other URL.  The
# first is from WordPress, the others are from guides.
CONTROLLERS = {
    "wordpress": """RewriteEngine On
        RewriteRule ^/index\\.html$ - [L]
        RewriteCond %{DOCUMENT_ROOT}%{REQUEST_FILENAME} !-f
        RewriteCond %{DOCUMENT_ROOT}%{REQUEST_FILENAME} !-d
        RewriteRule . /index.html [L]""",
    "query": """RewriteEngine On
        RewriteRule ^/(.*)$ /index.html?q=$1 [L,B,QSA]""",
    "query-lost": """RewriteEngine On
        RewriteRule ^/(.*)$ /index.html? [L]""",
    "pass-through": """RewriteEngine On
        RewriteRule ^/(.*)$ /index.html [PT]""",
    "handler": """RewriteEngine On
        RewriteRule ^/(.*)$ /index.html [L,H=default-handler,T=text/plain]""",
    "proxy": """RewriteEngine On
        RewriteRule ^/(.*)$ http://127.0.0.1:9/$1 [P]""",
    "alias": """AliasMatch ^/(.*)$ "{docroot}/index.html" """,
}

PORTS = {name: free_port() for name in (*RULES, *CONTROLLERS)}


def virtual_hosts():
    """Return a virtual host for each set of rules.  The mappings belong to the
    main server."""
    texts = {name: conf for name, (conf, _) in RULES.items()} | CONTROLLERS
    return "\n".join("Listen 127.0.0.1:%d\n<VirtualHost 127.0.0.1:%d>\n%s\n"
                     "</VirtualHost>" % (port, port, texts[name])
                     for name, port in PORTS.items())


SERVER = {"modules": ("proxy", "proxy_http"),
          "conf": virtual_hosts() + """
<Location "/comet">
  CometMulti on
</Location>"""}


@pytest.fixture(scope="module", autouse=True)
def site(shared_server):
    shared_server.write("maintenance", "")


def ask(name, method, target, body=None, ctype="text/plain"):
    return one_request(PORTS[name], method, target, body,
                       {"Content-Type": ctype, "X-Requested-With": "x"},
                       timeout=10 * SLOW)


@pytest.mark.parametrize("name", RULES)
def test_481_01_rules_act(server, name):
    """A rule that redirects or refuses acts on the module's URLs as on
    files."""
    status = RULES[name][1]
    before = server.rows("chat")
    for method, target in OURS + [("GET", "/static.txt")]:
        answer = ask(name, method, target, b"x" if method == "POST" else None)
        assert answer.status == status, (method, target, answer)
        if status in (301, 302) and name != "location":
            assert answer.header("location").endswith(target), answer
            assert answer.header("cache-control") is None, answer
    assert server.rows("chat") == before


@pytest.mark.parametrize("name", CONTROLLERS)
def test_481_02_front_controllers_do_not(server, name):
    """A rule that rewrites to another target has no effect on mapped URLs."""
    elsewhere = ask(name, "GET", "/no/such/page")
    assert elsewhere.status == 503 if name == "proxy" \
        else b"index" in elsewhere.body, elsewhere
    assert ask(name, "POST", "/comet/room/" + name, "x").status == 201
    got = ask(name, "GET", "/comet/room/%s?since=0&wait=0&limit=1" % name)
    assert [m["body"] for m in got.json()["messages"]] == ["x"], got
    assert got.header("content-type").startswith("application/json")
    assert ask(name, "GET", "/chat/backend.php?msg=" + name).body == b""
    assert server.rows("chat")[-1] == name
    assert ask(name, "HEAD", "/clock/backend.php").status == 200


MULTI = '<Location "/comet">\nCometMulti on\n</Location>\nRewriteEngine on\n'


def test_481_03_channels_named_otherwise(make_server):
    """A rule against a channel's URL also applies to requests that name the
    channel differently, whatever the rule answers (mod_rewrite passes over
    [R] and [NS] in sub-requests, where IS_SUBREQ is true).  Rules that look
    their own URL up end."""
    server = make_server(conf=MULTI + """
      RewriteRule ^/comet/secret - [F]
      RewriteRule ^/comet/login https://www.example.org/ [R,L]
      RewriteCond %{LA-U:REMOTE_USER} !=anna
      RewriteRule ^/comet/anna - [R=404]
      RewriteRule ^/comet/main - [F,NS]
      Redirect /comet/moved https://www.example.org/
      <Location "/comet/inner">
        Require expr "%{IS_SUBREQ} == 'true'"
      </Location>
      <Location "/comet/later">
        RewriteEngine on
        RewriteRule ^ /index.html [R]
      </Location>""")
    for channel in ("secret", "login", "anna", "main", "moved", "inner",
                    "later", "open"):
        sqlite(server.db, "INSERT INTO message(channel, body) "
               "VALUES('%s', '%s')" % (channel, channel))
    for channel in ("secret", "login", "anna", "main", "moved", "inner",
                    "later"):
        for target in ("/comet?channel=%s", "/comet/open?channel=%s",
                       "/comet/./%s", "/comet//%s", "/comet/x/../%s"):
            answer = server.get(target % channel
                                + ("&" if "?" in target else "?")
                                + "since=0&wait=0")
            assert answer.status in (302, 403, 404), (target, answer)
        answer = server.request(
            "POST", "/comet/open",
            '{"channel": "%s", "body": "x"}\n' % channel,
            {"Content-Type": "application/x-ndjson"})
        assert answer.status == 403, answer
    answer = server.get("/comet?channel=*&since=0&wait=0")
    assert answer.status == 403, answer
    answer = server.get("/comet?channel=open&since=0&wait=0")
    assert [m["body"] for m in answer.json()["messages"]] == ["open"]


def test_481_04_what_a_rule_says_of_one_channel(make_server):
    """[E=…] for the URL of one channel has no effect on another channel."""
    server = make_server(conf=MULTI + """
      RewriteRule ^/comet/open - [E=public:1]
      RewriteRule ^/comet/closed - [E=closed:1]
      <Location "/comet/open">
        Require env public
      </Location>
      <Location "/comet/secret">
        Require env public
      </Location>
      <Location "/comet/closed">
        <RequireAll>
          Require all granted
          Require not env closed
        </RequireAll>
      </Location>""")
    end = "since=0&wait=0"
    assert server.get("/comet/open?" + end).status == 200
    assert server.get("/comet/secret?" + end).status == 403
    assert server.get("/comet/open?channel=secret&" + end).status == 403
    assert server.get("/comet/closed?" + end).status == 403
    assert server.get("/comet/open?channel=closed&" + end).status == 403


def test_481_05_passed_through(make_server):
    """After mod_rewrite's [PT], rules for the new URL apply."""
    server = make_server(conf="RewriteEngine on\n"
                         "RewriteRule ^/live/(.*)$ /comet/$1 [PT,QSA]\n"
                         "Redirect gone /comet/old\n")
    server.post("news", "x")
    got = server.get("/live/news?since=0&wait=0").json()["messages"]
    assert [m["body"] for m in got] == ["x"]
    assert server.get("/live/old?since=0&wait=0").status == 410


LUA = """
function rule(r)
  if r.uri:find("shut") then return 403 end
  if r.uri == "/static.txt" then return apache2.DECLINED end
  r.filename = r.document_root .. "/index.html"
  r.handler = "default-handler"
  return apache2.OK
end
"""


def test_481_06_lua(make_server):
    """A mod_lua script can refuse the module's URLs, but not capture them."""
    server = make_server(
        start=False, modules=("lua",),
        conf="LuaHookTranslateName {docroot}/rule.lua rule")
    server.check_waiting = False
    server.write("rule.lua", LUA)
    server.start()
    assert b"index" in server.get("/no/such/page").body
    assert server.get("/shut.txt").status == 403
    assert server.get("/comet/shut?since=0&wait=0").status == 403
    server.post("chat", "x")
    got = server.get("/comet/chat?since=0&wait=0").json()["messages"]
    assert [m["body"] for m in got] == ["x"]


def test_481_07_files_rules(make_server):
    """Rules in <Directory> apply only to files, as the manual says."""
    server = make_server(conf='<Directory "{docroot}">\nRewriteEngine On\n'
                         "RewriteRule ^(comet/|static) - [F]\n</Directory>")
    assert server.get("/static.txt").status == 403
    assert server.get("/comet/chat?since=0&wait=0").status == 200


def test_481_08_streams_outlive_maintenance(make_server):
    """During a site's maintenance (503), an EventSource is told to come back,
    because after an error it would give up for good.  It gets no messages, and
    what may not read is refused.  All other requests get the 503."""
    server = make_server(conf=RULES["maintenance"][0] + """
      <Location "/comet/secret">
        Require all denied
      </Location>""")
    server.post("chat", "before")
    server.write("maintenance", "")
    for target in ("/comet/chat?since=0", "/clock/../comet/chat?since=0"):
        answer = server.get(target, EVENTS)
        assert answer.status == 200, answer
        assert answer.header("content-type") == "text/event-stream"
        assert re.match(rb": a rule of this site .*\nretry: \d+\n\n$",
                        answer.body), answer.body
    assert server.get("/comet/secret", EVENTS).status == 403
    for method, target, headers in (
            ("POST", "/comet/chat", EVENTS), ("HEAD", "/comet/chat", EVENTS),
            ("GET", "/comet/chat?since=0", {"Accept": "*/*"}),
            ("GET", "/comet/chat?transport=websocket", EVENTS),
            ("GET", "/static.txt", EVENTS)):
        answer = server.request(method, target, None, headers)
        assert answer.status == 503, (method, target, answer)
        assert answer.header("content-type").startswith("text/html")
    os.unlink(os.path.join(server.docroot, "maintenance"))
    assert server.rows("chat") == ["before"]


# channel: (rules that act later than those of the server, their status)
LATER_RULES = {
    "rewrite": ("RewriteEngine on\nRewriteRule ^ - [R=503,L]", 503),
    "busy": ("RewriteEngine on\nRewriteRule ^ - [R=429,L]", 429),
    "redirect": ("Redirect 503", 503),
    "if": ('<If "-f \'{docroot}/maintenance\'">\nRedirect 503\n</If>', 503),
    "checker": ("LuaHookAccessChecker {docroot}/later.lua refuse", 503),
    "text": ("Redirect 503\nErrorDocument 503 \"closed\"", 503),
    "page": ("Redirect 503\nErrorDocument 503 /static.txt", 503),
    "elsewhere": ("Redirect 503\n"
                  "ErrorDocument 503 https://www.example.org/", 302),
    "gone": ("Redirect gone", 410),
    "forbidden": ("Redirect 403\nErrorDocument 403 /static.txt", 403),
}

LATER_LUA = """
require "apache2"
function refuse(r) return 503 end
function early(r)
  if r.uri:find("early") then return 503 end
  if r.uri:find("plain") then r.headers_in["Accept"] = "*/*" end
  return apache2.DECLINED
end
"""

# What an event stream is told that a rule closes for a while.
LANDED = re.compile(rb": a rule of this site .*\nretry: \d+\n\n$")


def test_481_09_streams_outlive_rules_of_sections(make_server):
    """An EventSource is told to come back, too, if a rule within a section, a
    rule with the status 429 or another module answers with an error that is
    only for now, whatever ErrorDocument says.  Other clients get the error, and
    the site's ErrorDocument with it."""
    # (mod_security2 has leaks of its own)
    guarded = SANITIZER == "none" and os.path.exists(
        os.path.join(MODULES, "mod_security2.so"))
    server = make_server(
        start=False,
        modules=("lua", *(("unique_id", "security2") if guarded else ())),
        conf="<IfModule security2_module>\n"
             "SecRuleEngine On\nSecResponseBodyAccess Off\n"
             "SecRule REQUEST_URI first id:1,phase:1,deny,status:503\n"
             "</IfModule>\nRewriteEngine on\nRewriteRule ^/comet/soon - [R=429,L]\n"
             "LuaHookPreTranslateName {docroot}/later.lua early\n"
             "CometMercure /hub\nErrorDocument 503 \"page of the site\"\n"
             "RewriteRule ^/comet/plain - [R=503,L]\n"
             + "".join('<LocationMatch "^/(comet|hub)/%s$">\n%s\n'
                       "</LocationMatch>\n" % (channel, rule)
                       for channel, (rule, _) in LATER_RULES.items()))
    server.allow_log.append("ModSecurity")
    server.write("later.lua", LATER_LUA)
    server.write("maintenance", "")
    server.start()
    statuses = {channel: status
                for channel, (_, status) in LATER_RULES.items()}
    statuses |= {"soon": 429, "early": 503}
    statuses |= {"first": 503} if guarded else {}
    for channel, status in statuses.items():
        target = "/comet/%s?since=0" % channel
        answer = server.get(target, EVENTS)
        if status in (403, 410):
            assert answer.status == status, (channel, answer)
            continue
        assert answer.status == 200, (channel, answer)
        assert answer.header("content-type") == "text/event-stream", answer
        assert answer.header("cache-control") == "no-store, no-transform"
        assert answer.header("x-content-type-options") == "nosniff", answer
        assert LANDED.match(answer.body), (channel, answer.body)
        for method, headers in (("POST", EVENTS), ("HEAD", EVENTS),
                                ("GET", {"Accept": "*/*"})):
            answer = server.request(method, target, None, headers)
            assert answer.status == status, (channel, method, answer)
    for target in ("/comet/../early", "/comet/%2E%2e/early", "/comet/plain"):
        answer = server.get(target, EVENTS)
        assert (answer.status, answer.body) == (503, b"page of the site"), target


def test_481_10_streams_of_channels_that_a_rule_closes(make_server):
    """A stream of several channels, one of which a rule closes for a while, is
    told to come back; a poll or a publisher gets 503."""
    server = make_server(
        conf='<Location "/comet">\nCometMulti on\n</Location>\n'
             "RewriteEngine on\nRewriteRule ^/comet/moved - [R=503,L]\n"
             '<Location "/comet/closed">\nRedirect 503\n</Location>\n'
             '<Location "/comet/busy">\nRedirect 429\n</Location>\n')
    for channel in ("closed", "moved", "busy"):
        sqlite(server.db, "INSERT INTO message(channel, body) "
               "VALUES('%s', 'x')" % channel)
        for wanted in (channel, "*"):
            target = "/comet?channel=%s&since=0&wait=0" % wanted
            answer = server.get(target, EVENTS)
            assert answer.status == 200, (channel, answer)
            assert re.match(rb": .*\nretry: \d+\n\n$", answer.body), answer
            answer = server.get(target)
            assert answer.status == 503, (channel, answer)
            assert answer.header("retry-after"), answer
        answer = server.request("POST", "/comet/open",
                                '{"channel": "%s", "body": "x"}\n' % channel,
                                {"Content-Type": "application/x-ndjson"})
        assert answer.status == 503, answer
        sqlite(server.db, "DELETE FROM message")
