# SPDX-License-Identifier: Apache-2.0
"""The messages of configtest, or of the start, for wrong configurations: each
names the mistake and says what to write instead."""

import os
import re

import pytest

from httpd_env import IN_MEMORY, ORDINARY, WWW_USER, Httpd, is_root, wait_until

STORE = 'CometStore "sqlite:{data}/comet.db"\n'
OPEN = '<Location "/comet">\nRequire all granted\n</Location>\n'
GOOD = STORE + "CometEndpoint /comet\n" + OPEN


def at(section, *lines):
    """Return a <Location> section with these lines."""
    return '<Location "%s">\n%s\n</Location>\n' % (section, "\n".join(lines))


# configurations that httpd refuses: (name, configuration, the error)
REFUSED = [
    ("no store", "CometEndpoint /comet\n" + OPEN,
     r"CometEndpoint /comet: no CometStore .*; add CometStore sqlite:"),
    ("store without its kind",
     'CometStore "{data}/comet.db"\n', r"expected sqlite:"),
    ("store that is a folder", 'CometStore "sqlite:{data}"\n',
     r"expected sqlite:PATH of a file"),
    ("store without its folder",
     'CometStore "sqlite:{data}/no/comet.db"\nCometEndpoint /comet\n',
     r"the folder of .*/no/comet\.db does not exist"),
    ("relative path of a store in httpd's folder",
     'CometStore "sqlite:conf/comet.db"\nCometEndpoint /comet\n',
     r"holds httpd's configuration.*name an absolute path in a folder of its "
     "own"),
    ("store below the DocumentRoot",
     'CometStore "sqlite:{docroot}/comet.db"\nCometEndpoint /comet\n',
     r"below the DocumentRoot .*; put it elsewhere"),
    ("store for everybody",
     "CometStore sqlite:/var/tmp/comet.db\nCometEndpoint /comet\n",
     r"/var/tmp, which every local user may write.*name a folder of its own"),
    ("two settings for one store",
     GOOD + "<VirtualHost *:1>\nCometRetain age=1h\n</VirtualHost>\n",
     r"comet\.db is used by two servers with different CometSync, CometRetain"),
    ("relative path of an endpoint", STORE + "CometEndpoint comet\n",
     r'"comet" is not allowed: expected a URL path such as /comet'),
    ("a URL mapped twice", GOOD + "CometClock /comet\n",
     r'"/comet" is already taken by CometEndpoint'),
    ("server's directive in a Location",
     GOOD + at("/comet", "CometSync normal"),
     r"CometSync (cannot occur|not allowed) (with)?in <Location"),
    ("location's directive in a Directory",
     GOOD + "<Directory /srv>\nCometMulti on\n</Directory>\n",
     r"CometMulti (cannot occur|not allowed) (with)?in <Directory"),
    ("fast polls with rules that change",
     GOOD + at("/comet", "CometFastPoll on", "Require env trusted"),
     r"Require env trusted' may decide .*use just one of them"),
    ("a duration without its unit's name",
     GOOD + "CometPollTimeout 5parsecs\n",
     r'"5parsecs" is not allowed: expected a duration from 100ms to 1h'),
    ("a key that is not there",
     GOOD + at("/comet", "CometTokenKey HS256 {root}/no.key"),
     r"CometTokenKey: .*no\.key"),
    ("a unit that httpd does not know",
     GOOD + "CometMaxLifetime 5m\n",
     r'"5m" is not allowed: expected .* \(units: ms, s, min, h, d, w\)'),
    ("quotation marks of a word processor",
     "CometStore \u201csqlite:{data}/comet.db\u201d\n",
     "expected sqlite:PATH, in straight quotation marks"),
    ("a path with a space", "CometStore sqlite:{data}/my comet.db\n",
     "ENGINE:PLACE, in quotation marks if it has spaces"),
    ("PostgreSQL's own URL without its module",
     "CometStore postgres://u@h/db\n",
     r"after \"LoadModule comet_pg_module .*postgresql:CONNECTION"),
    ("a store of another kind", "CometStore mysql:comet\n",
     "expected sqlite:PATH"),
    ("a store in memory", "CometStore sqlite::memory:\nCometEndpoint /comet\n",
     "name an absolute path in a folder of its own"),
    ("a negative number", GOOD + "CometReplay -1\n",
     r'"-1" is not allowed: expected a whole number from 0 to'),
    ("a prefix with a slash before it", STORE + "CometEndpoint /comet /a/\n",
     "does not begin with one, such as shared/"),
    ("a secret in place of its file",
     GOOD + at("/comet", "CometTokenKey HS256 uihsdg8734fgsdf7862"),
     r"expected a key file, as made by \(umask 077; openssl rand -hex 32 "
     r">FILE\)"),
    ("a secret that repeats itself",
     GOOD + at("/comet", "CometTokenKey HS256 {root}/weak.key"),
     r"too few of its bytes differ \(1\): \(umask 077; openssl rand"),
    ("a mapping in a section", STORE + at("/comet", "CometEndpoint /comet"),
     r"CometEndpoint (cannot occur|not allowed) (with)?in <Location"),
    ("an origin with a slash", GOOD + "CometAllowOrigin https://a.example/\n",
     "expected an origin as browsers send it, such as https://www"),
    ("a list with commas", GOOD + "CometTransports poll,events\n",
     "expected all, or some of poll, events, iframe and websocket"),
    ("a limit without its kind", GOOD + "CometLimitSubscribers 50\n",
     "expected address=N, user=N"),
    ("a script of another site",
     GOOD + at("/comet", "Require comet-request http://a.example/may"),
     "expected a URL of this server, such as /comet-may.php"),
    ("a channel pattern that cannot match",
     GOOD + at("/comet", "Require comet-channel a*"), r'"a\*" is not allowed: expected a channel.* such as user/'),
]

# Configurations that httpd accepts with a warning: (name, configuration, part
# of the line that it names, the warning).
WARNED = [
    ("no Require", STORE + "CometEndpoint /comet\n", "CometEndpoint /comet",
     r"no Require applies to /comet, so everybody .*write <Location "
     r'"/comet"> .*Require all granted'),
    ("Require in a Directory",
     STORE + "CometClassic /chat/b chat\n"
     '<Directory "{docroot}/chat">\nRequire local\n</Directory>\n',
     "CometClassic /chat/b", r"no Require applies to /chat/b"),
    ("Require for another URL",
     STORE + "CometMercure /hub\n" + at("/hubs", "Require local",
                                        "CometTokenKey HS256 {root}/a.key"),
     "CometMercure /hub", r"no Require applies to /hub,"),
    ("Require for some methods",
     STORE + "CometEndpoint /comet\n"
     + at("/comet", "<Limit POST>", "Require local", "</Limit>"),
     "CometEndpoint /comet", r"with every method \(remove <Limit>\)"),
    ("no Require in a virtual host",
     STORE + "<VirtualHost *:1>\nCometEndpoint /own\n</VirtualHost>\n" + OPEN,
     "CometEndpoint /own", r"no Require applies to /own,"),
    ("Alias", GOOD + "Alias /comet /srv/comet\n", "Alias",
     r"Alias has no effect for /comet, since CometEndpoint /comet \(.* line "
     r"\d+\) answers there; give one of them another path"),
    ("ScriptAlias below",
     GOOD + "ScriptAlias /comet/cgi/ /srv/cgi/\n", "ScriptAlias",
     r"ScriptAlias has no effect for /comet/cgi/"),
    ("ProxyPass",
     GOOD + "ProxyPass /comet/ http://127.0.0.1:1/\n", "ProxyPass",
     r"ProxyPass has no effect for /comet/"),
    ("AliasMatch",
     GOOD + "AliasMatch ^/comet/(.*)$ /srv/$1\n", "AliasMatch",
     r"AliasMatch has no effect for \^/comet/\(\.\*\)\$, since Comet"),
    ("ProxyPassMatch",
     GOOD + "ProxyPassMatch ^/comet http://127.0.0.1:1\n", "ProxyPassMatch",
     r"ProxyPassMatch has no effect for \^/comet, since Comet"),
    ("RedirectMatch",
     GOOD + "RedirectMatch permanent ^/comet/ /other\n", "RedirectMatch",
     r"RedirectMatch sends everybody away from \^/comet/, so that"),
    ("a script that the endpoint hides",
     STORE + "CometEndpoint /comet\n"
     + at("/comet", "Require comet-request /comet/may?a=b"), "Require",
     r"CometEndpoint /comet answers there, so that every request is refused; "
     "write the URL of a script"),
    ("an age without a unit", GOOD + "CometRetain age=30\n", "CometRetain",
     r"CometRetain age=30: .* seconds; write age=30s, or for days age=30d"),
    ("ProxyPass in a Location",
     GOOD + at("/comet/x", "ProxyPass http://127.0.0.1:1/"), "ProxyPass",
     r"ProxyPass has no effect for /comet/x"),
    ("another handler",
     GOOD + at("/comet", "SetHandler server-status"), "SetHandler",
     r"SetHandler has no effect for /comet"),
    ("counters below the endpoint",
     GOOD + at("/comet/status", "SetHandler comet-status"), "SetHandler",
     r"SetHandler has no effect for /comet/status"),
    ("Redirect", GOOD + "Redirect permanent /comet /other\n", "Redirect",
     r"Redirect sends everybody away from /comet, so that CometEndpoint "
     r"/comet .* answers nobody; give one of them another path"),
    ("Redirect of all channels",
     GOOD + "Redirect permanent /comet/ /other/\n", "Redirect",
     r"Redirect sends everybody away from /comet/, so that CometEndpoint "),
    ("a handler's name",
     GOOD + at("/counters", "SetHandler comet-staus", "Require local"),
     "SetHandler", r"comet-staus: there is no such handler; write SetHandler "
     "comet-status"),
    ("a handler's name by extension",
     GOOD + "AddHandler comet_status .counters\n", "AddHandler",
     r"comet_status: there is no such handler; write AddHandler comet-status"),
    ("counters for everybody",
     GOOD + at("/counters", "SetHandler comet-status"), "SetHandler",
     r"everybody may read the counters .*; add Require local"),
    ("valid-user without AuthType",
     STORE + "CometEndpoint /comet\n" + at("/comet", "Require valid-user"),
     "Require valid-user", r"no AuthType applies .*; add AuthType Basic, "
     "AuthName and AuthUserFile, or CometTokenKey"),
    ("publishers without AuthType",
     STORE + "CometEndpoint /comet\n"
     + at("/comet", "Require comet-publish user anna"),
     "Require comet-publish", r"Require comet-publish user anna: no AuthType"),
    ("AuthType None", STORE + "CometEndpoint /comet\n"
     + at("/comet/team", "AuthType None", "Require group team"),
     "Require group", r"Require group team: no AuthType"),
    ("login without AuthName", STORE + "CometEndpoint /comet\n"
     + at("/comet", "AuthType Basic", "AuthUserFile {root}/users",
          "Require valid-user"),
     "AuthType", r'nobody can log in, since no AuthName .*; add AuthName '
     '"comet"'),
    ("login without passwords", STORE + "CometEndpoint /comet\n"
     + at("/comet", "AuthType Basic", "AuthName a", "Require valid-user"),
     "AuthType", r"nobody can log in, since no passwords .*; add "
     "AuthUserFile FILE"),
    ("login without its module", STORE + "CometEndpoint /comet\n"
     + at("/comet", "AuthType form", "AuthName a", "Require valid-user"),
     "AuthType", r"mod_auth_form is not loaded; run a2enmod auth_form"),
    ("tokens without a key", STORE + "CometEndpoint /comet\n"
     + at("/comet", "Require comet-token"), "Require comet-token",
     r"no CometTokenKey applies here.*; add CometTokenKey HS256 FILE"),
    ("limits of users without users",
     GOOD + at("/comet", "CometLimitPublish user=5/s"), "CometLimitPublish",
     r"user= limits nobody; write address=, or add AuthType Basic"),
    ("relative path of a Location",
     GOOD + at("comet", "CometReplay 5"), "<Location \"comet\"",
     r'applies to no URL; write <Location "/comet">'),
    ("relative path of a Location with a rule",
     GOOD + at("comet/secret", "Require all denied"),
     "<Location \"comet/secret\"",
     r'applies to no URL; write <Location "/comet/secret">'),
    ("encoded path of a Location",
     GOOD + at("/comet/a%20b", "Require all denied"),
     "<Location \"/comet/a%20b\"",
     r'is compared with decoded URLs; write <Location "/comet/a b">'),
    ("a Location for nothing",
     GOOD + at("/coment", "CometReplay 5"), "CometReplay",
     r'CometReplay has no effect in <Location "/coment">.*; mapped URLs: '
     "/comet"),
    ("an encoded Location for nothing",
     GOOD + at("/coment%20x", "CometReplay 5"), "CometReplay",
     r'CometReplay has no effect in <Location "/coment%20x">'),
    ("a token's cookie without a key",
     GOOD + "CometTokenCookie token\n", "CometTokenCookie",
     r"does nothing without CometTokenKey; add CometTokenKey"),
    ("presence's grace without presence",
     GOOD + "CometPresenceGrace 5s\n", "CometPresenceGrace",
     r"does nothing without CometPresence; add"),
    ("a hub without a key",
     STORE + "CometMercure /hub\n" + at("/hub", "Require all granted"),
     "CometMercure", r"does nothing without CometTokenKey; add"),
    ("a hub without a prefix beside an endpoint",
     GOOD + at("/comet/team", "Require local") + "CometMercure /hub\n"
     + at("/hub", "CometTokenKey HS256 {root}/a.key"), "CometMercure /hub",
     r'may read every channel of CometEndpoint /comet, whatever the Require in '
     r'<Location "/comet/team"> says; write CometMercure /hub PREFIX/'),
    ("polls longer than Timeout",
     GOOD + at("/comet", "CometPollTimeout 55s"), "CometPollTimeout",
     r"Timeout 60 allows 48s at most; raise Timeout to 69, or lower this"),
    ("bodies shorter than messages",
     GOOD + at("/comet", "LimitRequestBody 1000"), "LimitRequestBody",
     r"CometMaxMessageSize is 65536; raise this to at least that"),
]


WARNED += [
    ("filters that keep streams back",
     GOOD + at("/", "SetOutputFilter INCLUDES;BUFFER"), "SetOutputFilter",
     r"BUFFER holds a thread for each stream.*; take it off these URLs"),
    ("filters that refuse streams",
     GOOD + at("/comet/x", "SetOutputFilter Sed"), "SetOutputFilter",
     r"Sed keeps all bytes back, so streams are refused.*; take it off"),
    ("a secret that can be downloaded",
     GOOD + "Alias /files {root}/a.key\n"
     + at("/comet", "CometTokenKey HS256 {root}/a.key"), "CometTokenKey",
     r"a\.key lies below the DocumentRoot or Alias .*; make a new one "
     "elsewhere"),
]


@pytest.fixture(scope="module")
def tester():
    """Yield a server that is never started."""
    server = Httpd(comet="load", modules=("authz_groupfile", "proxy",
                                            "proxy_http"))
    path = os.path.join(server.root, "a.key")
    with open(path, "w", encoding="ascii") as key:
        key.write(os.urandom(32).hex())
    os.chmod(path, 0o600)
    path = os.path.join(server.root, "weak.key")
    with open(path, "w", encoding="ascii") as key:
        key.write("a" * 64)
    os.chmod(path, 0o600)
    yield server
    problems = server.close()
    assert not problems, problems


def names(cases):
    return [case[0].replace(" ", "_") for case in cases]


def warnings(text):
    """Return mod_comet's warnings in a text, without their prefixes."""
    return [re.sub(r"^(\[[^]]*\] )+(COMET01\d\d: )", "", line)
            for line in text.splitlines()
            if re.search(r"\[comet:(warn|error)\]", line)
            and not IN_MEMORY.search(line)]


@pytest.mark.parametrize("case", REFUSED, ids=names(REFUSED))
def test_960_01_refused(tester, case):
    """httpd refuses each wrong configuration and says why."""
    code, text = tester.configtest(case[1])
    assert code != 0, text
    assert re.search(case[2], text), text


@pytest.mark.parametrize("case", WARNED, ids=names(WARNED))
def test_960_02_warned(tester, case):
    """configtest gives one warning, which names the line and what to write
    instead."""
    code, text = tester.configtest(case[1])
    assert code == 0 and "Syntax OK" in text, text
    said = warnings(text)
    assert len(said) == 1, text
    place = re.match(r"(\S+) line (\d+): ", said[0])
    with open(place.group(1), encoding="utf-8") as file:
        line = file.read().splitlines()[int(place.group(2)) - 1]
    assert case[2] in line, (line, said)
    assert re.search(case[3], said[0]), said


def test_960_03_there_are_thirty():
    """These tests have at least thirty different wrong configurations."""
    assert len({case[0] for case in REFUSED + WARNED}) >= 30


LOGIN = ('AuthType Basic', 'AuthName a', 'AuthUserFile {root}/users')
FINE = [
    ("filters of others", GOOD + "SetOutputFilter INCLUDES\n"
     + at("/other", "SetOutputFilter BUFFER")),
    ("everything in sections", GOOD + "Alias / {docroot}/\n"
     "ProxyPass /comet !\nProxyPass / http://127.0.0.1:1/\n"),
    ("expressions for everything, or for others", GOOD
     + "RedirectMatch ^/(?!\\.well-known) https://localhost/\n"
     "AliasMatch ^/comets /srv\n"),
    ("a script beside the endpoint", STORE + "CometEndpoint /comet\n"
     + at("/comet", "Require comet-request /comet.php?a=b")),
    ("a channel that has moved", GOOD
     + "Redirect permanent /comet/old /comet/new\n"
     "RedirectMatch permanent ^/comet/older$ /comet/new\n"),
    ("redirects of others", GOOD + "Redirect /comets /other\n"
     "<VirtualHost *:1>\nRedirect / https://localhost/\n</VirtualHost>\n"),
    ("encoded paths of others, and an encoded slash", GOOD
     + at("/other%20site", "Require all denied")
     + at("/comet/a%2Fb", "Require all denied")),
    ("Require around", STORE + "CometEndpoint /comet\n"
     + at("/", "Require all granted")),
    ("Require below", STORE + "CometEndpoint /comet\n"
     + at("/comet/x", "Require all granted")),
    ("Require by a pattern", STORE + "CometEndpoint /comet\n"
     '<LocationMatch "^/comet/[a-z]+$">\nRequire local\n</LocationMatch>\n'),
    ("Require in a condition", STORE + "CometEndpoint /comet\n"
     "<If \"true\">\n<RequireAny>\nRequire local\n</RequireAny>\n</If>\n"),
    ("a rule of the main server for a virtual host", STORE + OPEN
     + "<Location \"/comet\">\nCometReplay 5\n</Location>\n"
     "<VirtualHost *:1>\nCometEndpoint /comet\n</VirtualHost>\n"),
    ("login around", STORE + "CometEndpoint /comet\n" + at("/", *LOGIN)
     + at("/comet/team", "Require valid-user", "CometLimitPublish user=1/s")),
    ("login by a pattern", STORE + "CometEndpoint /comet\n"
     "<LocationMatch \"^/(comet|other)\">\n%s\n</LocationMatch>\n"
     % "\n".join(LOGIN) + at("/comet", "Require valid-user")),
    ("login by tokens", STORE + "CometEndpoint /comet\n" + at(
        "/comet", "CometTokenKey HS256 {root}/a.key", "CometTokenCookie t",
        "Require valid-user", "CometLimitPublish user=1/s")),
    ("a token for another URL", GOOD + at(
        "/reports", "CometTokenKey HS256 {root}/a.key", "Require valid-user")),
    ("somebody else's mistakes", GOOD + at("/other", "Require valid-user",
                                           "LimitRequestBody 5",
                                           "SetHandler server-status")),
    ("counters with Require", GOOD + at("/comet-status", "Require local")
     + at("/comet-status", "SetHandler comet-status")),
    ("a hub whose rule are tokens", STORE + "CometMercure /hub\n"
     + at("/hub", "CometTokenKey HS256 {root}/a.key",
          "CometMercureAnonymous on")),
    ("a hub whose messages come by SQL", STORE + "CometMercure /hub\n"
     + at("/hub", "Require local", "CometMercureAnonymous on")),
    ("a hub with channels of its own", STORE + "CometEndpoint /a a/\n"
     "CometMercure /hub hub/\n" + at("/a/team", "Require local")
     + at("/hub", "CometTokenKey HS256 {root}/a.key")),
    ("a hub and an <If>", GOOD + '<If "true">\nRequire local\n</If>\n'
     "CometMercure /hub\n" + at("/hub", "CometTokenKey HS256 {root}/a.key")),
    ("a hub beside an open endpoint", GOOD + at(
        "/comet", "Require comet-publish local", "Require all granted")
     + "CometMercure /hub\n" + at("/hub", "CometTokenKey HS256 {root}/a.key")),
    ("durations within Timeout", "Timeout 30\n" + GOOD
     + "CometPollTimeout 24s\nCometHeartbeat 25s\nLimitRequestBody 65536\n"),
]


@pytest.mark.parametrize("case", FINE, ids=names(FINE))
def test_960_04_no_false_alarm(tester, case):
    """A configuration that works causes no warning."""
    code, text = tester.configtest(case[1])
    assert code == 0 and not warnings(text), text


@pytest.mark.skipif(not is_root(), reason="needs root to be another user")
def test_960_05_store_that_the_children_cannot_write(make_server):
    """configtest warns if the children's user may not write to the database's
    folder, or if the file is no database."""
    server = make_server(start=False, comet="load", parent=ORDINARY)
    os.chown(server.data, 0, 0)
    os.chmod(server.data, 0o755)
    code, text = server.configtest(GOOD)
    assert code == 0 and re.search(
        "%s cannot be written by user %s: nothing can be published; try: "
        "chown %s '%s'" % (server.data, WWW_USER, WWW_USER, server.data),
        text), text
    with open(server.db, "w", encoding="ascii") as file:
        file.write("These are my notes, not a database.\n")
    text = server.configtest(GOOD)[1]
    assert re.search(r"comet\.db is not an SQLite database: nothing can be "
                     "published; name another file", text), text


H2 = "Protocols h2 http/1.1\n"


@pytest.mark.parametrize("mpm, modules, lines, words", [
    ("worker", {"h2": True, "tls": True}, H2,
     r"this MPM cannot park connections; run a2enmod mpm_event"),
    ("event", {"tls": True}, H2,
     r"mod_http2 is not loaded; run a2enmod http2"),
    ("event", {"modules": ("http2",)}, H2,
     r"none of the hosts on which it is on speaks HTTP/2; add Protocols h2 "
     r"http/1\.1 to them \(without TLS, h2c in place of h2\)"),
    ("event", {"modules": ("http2",), "tls": True}, "Protocols http/1.1\n",
     r"none of the hosts on which it is on speaks HTTP/2; "),
    ("event", {"h2": True}, "", None),
    ("event", {"h2": True, "tls": True}, H2, None)])
def test_960_06_http2(make_server, mpm, modules, lines, words):
    """configtest warns if something that CometParkHTTP2 needs is missing."""
    server = make_server(start=False, comet="load", mpm=mpm, **modules)
    code, text = server.configtest(lines + "CometParkHTTP2 on\n" + GOOD)
    assert code == 0, text
    said = warnings(text)
    assert bool(said) == bool(words), text
    assert not words or re.search("CometParkHTTP2 on has no effect, since "
                                  + words, said[0]), said


def test_960_07_at_start(make_server):
    """The log has each warning once at a start, and once at a reload."""
    server = make_server(comet="status",
                         conf=STORE + "CometEndpoint /comet\n"
                         "Alias /comet /srv\n"
                         + "".join("<VirtualHost *:%d>\nServerName v%d\n"
                                   "</VirtualHost>\n" % (i, i)
                                   for i in range(1, 4)))
    wait_until(lambda: len(warnings(server.error_log())) == 2, 5, "warnings")
    server.graceful()
    wait_until(lambda: len(warnings(server.error_log())) == 4, 5, "warnings")
    said = warnings(server.error_log())
    assert said[:2] == said[2:]
