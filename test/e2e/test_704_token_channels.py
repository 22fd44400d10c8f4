# SPDX-License-Identifier: Apache-2.0
"""One token for several channels.  The module itself authorises them if httpd
would decide the same.  Otherwise it makes a sub-request for each channel."""

import itertools
import os

import pytest

import tokens
from httpd_env import SANITIZER, sql_text, sqlite
from tokens import bearer, claims, grant, sign

tokens.write("secret", tokens.SECRET)

SECRET = "for nobody's eyes"
TOKEN = "CometTokenKey HS256 %s\nCometMulti on\n" % tokens.path("secret")

# Configuration that protects the channel `secret` of an endpoint {e}, while a
# token opens the other channels.  No rule may be ignored.
RULES = {
    "location": "<Location {e}/secret>\nRequire all denied\n</Location>",
    "keys": "<Location {e}/secret>\nCometTokenKey HS256 %s\n</Location>"
            % tokens.write("other", tokens.NEW_SECRET),
    "match": '<LocationMatch "^{e}/s">\nRequire all denied\n</LocationMatch>',
    "match-end": '<LocationMatch "^{e}/secret$">\nRequire all denied\n'
                 "</LocationMatch>",
    "pattern": '<Location "{e}/sec*">\nRequire all denied\n</Location>',
    "if": '<If "%{REQUEST_URI} =~ m#^{e}/secret#">\nRequire all denied\n</If>',
    "and": "<Location {e}/secret>\nAuthMerging And\nRequire method DELETE\n"
           "</Location>",
    "deny": "<Location {e}/secret>\nOrder deny,allow\nDeny from all\n"
            "</Location>",
    "redirect": 'Redirect 403 "{e}/secret"',
    "rewrite": 'RewriteEngine on\nRewriteRule "^{e}/secret" "-" [F]',
    "endpoint": "CometEndpoint {e}/secret other/",
    "merged": '<Location "{e}">\nAuthMerging And\n'
              'Require expr "%{REQUEST_URI} !~ m#/secret#"\n</Location>',
    "merged-above": '<Location "/">\nAuthMerging And\n'
                    'Require expr "%{REQUEST_URI} !~ m#/secret#"\n'
                    "</Location>",
}
INSIDE = {
    "expr": 'Require expr "%{REQUEST_URI} !~ m#/secret#"',
    "if-inside": '<If "%{REQUEST_URI} =~ m#/secret#">\nRequire all denied\n'
                 "</If>",
    "channel": "Require comet-channel open",
}


def conf_of(rule):
    """Return a virtual host for each rule, so that a rule does not affect
    others."""
    end = "/x"
    inside = INSIDE.get(rule)
    lines = "Require comet-token" if not inside else (
        "<RequireAll>\nRequire comet-token\n<RequireAny>\n%s\n"
        'Require expr "%%{REQUEST_URI} =~ m#^/x/?$#"\n</RequireAny>\n'
        "</RequireAll>" % inside if rule != "if-inside"
        else "Require comet-token\n" + inside)
    return ('<VirtualHost *>\nServerName %s.test\nCometEndpoint /x %s/\n'
            '<Location "/x">\n%s%s\n</Location>\n%s\n</VirtualHost>\n'
            % (rule, rule, TOKEN, lines, RULES.get(rule, ""))
            ).replace("{e}", end)


SERVER = {"modules": ("access_compat",), "conf": """
CometPollTimeout 1s
<VirtualHost *>
ServerName localhost
</VirtualHost>
""" + "".join(conf_of(rule) for rule in [*RULES, *INSIDE]) + """
<VirtualHost *>
ServerName plain.test
CometEndpoint /x plain/
<Location "/x">
""" + TOKEN + """Require comet-token
</Location>
<Location "/x/with">
  Require all denied
</Location>
CometEndpoint /sub sub/
<Location "/sub">
""" + TOKEN + """<RequireAll>
  Require comet-token
</RequireAll>
</Location>
</VirtualHost>
"""}


@pytest.fixture(scope="module", autouse=True)
def seeded(shared_server):
    for rule in [*RULES, *INSIDE, "plain", "sub"]:
        for name, body in (("secret", SECRET), ("open", "open")):
            sqlite(shared_server.db, "INSERT INTO message(channel, body) "
                   "VALUES(%s, %s)" % (sql_text(rule + "/" + name),
                                       sql_text(body)))


def get(server, host, target, headers=None):
    return server.get(target, {"Host": host + ".test",
                               **(headers or grant("*", write=["*"]))})


@pytest.mark.parametrize("rule", [*RULES, *INSIDE])
def test_704_01_no_rule_is_overlooked(server, rule):
    """Whatever protects a channel's own URL also protects the channel if
    channel= names it, even from a token for all channels."""
    assert get(server, rule, "/x/secret?wait=0&since=0").status != 200 \
        or rule in ("endpoint",)
    answer = get(server, rule, "/x?channel=open&wait=0&since=0")
    assert answer.status == 200, answer
    assert [m["body"] for m in answer.json()["messages"]] == ["open"]
    for names in ("channel=secret", "channel=open&channel=secret",
                  "channel=*", "channel=%73ecret"):
        answer = get(server, rule, "/x?%s&wait=0&since=0" % names)
        assert answer.status in (401, 403), (names, answer)
        assert SECRET.encode() not in answer.body
    answer = server.request(
        "POST", "/x/open", b'{"channel":"secret","body":"x"}',
        {"Host": rule + ".test", "Content-Type": "application/x-ndjson",
         **grant("*", write=["*"])})
    assert answer.status in (401, 403), answer


def test_704_02_the_grant_decides(server):
    """If the module itself decides, the token must grant each channel."""
    for names, status in (
            ("channel=open&channel=secret", 403), ("channel=open", 200),
            ("channel=room/1&channel=open", 200), ("channel=room/*", 200),
            ("channel=*", 403), ("channel=with", 403),
            ("channel=room", 403), ("channel=open/x", 403)):
        answer = get(server, "plain", "/x?%s&wait=0" % names,
                     grant("open", "room/*", "with"))
        assert answer.status == status, (names, answer)
    answer = get(server, "plain", "/x?channel=*&wait=0&since=0", grant("*"))
    assert {m["body"] for m in answer.json()["messages"]} == {"open", SECRET}


def used(server):
    """Return the CPU seconds of the child's threads."""
    pid, total = server.children()[0], 0
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/schedstat" % (pid, task)) as stat:
            total += int(stat.read().split()[0])
    return total / 1e9


def cost(server, target, headers, numbers, count=25):
    """Return the CPU microseconds of a HEAD request, which reads nothing from
    the store."""
    with server.raw() as conn:
        for number in range(count + 1):
            if number == 1:
                begin = used(server)
            conn.request("HEAD", target(next(numbers)),
                         {"Host": "plain.test", **headers})
            assert conn.answer().status == 200
        return (used(server) - begin) / count * 1e6


def test_704_03_cost(server, figure):
    """Authorising a channel by a token costs less than half as much as by a
    sub-request. Each request names 100 new channels, because the server keeps
    the answers of sub-requests.  Both costs include reading the parameters. A
    request that names one channel 100 times shows how much that is."""
    headers = bearer(sign(claims(read=["room/*"])))
    numbers = itertools.count()

    def names(number, different):
        return "&".join("channel=room/%05d/%03d" % (number, i % different)
                        for i in range(100))

    targets = {"one": lambda n: "/x/room/%05d/000" % n,
               "token": lambda n: "/x?" + names(n, 100),
               "asked": lambda n: "/sub?" + names(n, 100),
               "read": lambda n: "/x?" + names(n, 1)}
    rounds = [{name: cost(server, target, headers, numbers)
               for name, target in targets.items()} for _ in range(6)]
    shares = [(one["token"] - one["one"]) / (one["asked"] - one["one"])
              for one in rounds]
    least = {name: min(one[name] for one in rounds) for name in targets}
    token, asked = ((least[name] - least["one"]) / 100
                    for name in ("token", "asked"))
    figure("a request of 1 channel %.0f us; a further channel by token %.2f us, "
           "by sub-request %.2f us; without reading its parameter %.2f us and "
           "%.2f us; shares %s" % (
               least["one"], token, asked,
               (least["token"] - least["read"]) / 100,
               (least["asked"] - least["read"]) / 100,
               ", ".join("%.2f" % share for share in sorted(shares))))
    assert SANITIZER != "none" or sorted(shares)[3] < 0.5
