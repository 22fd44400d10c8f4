# SPDX-License-Identifier: Apache-2.0
"""The configuration: httpd -t finds and explains every error."""

import os
import re

import pytest

from http_client import one_request
from httpd_env import ORDINARY, SLOW, Httpd, free_port, give, wait_until

STORE = 'CometStore "sqlite:{data}/comet.db"\n'


@pytest.fixture(scope="module")
def tester():
    """Return a server that is never started."""
    server = Httpd(comet="load")
    yield server
    problems = server.close()
    assert not problems, problems


def test_140_01_good(tester):
    """configtest accepts every directive with a good value, in every place
    where the directive is allowed."""
    code, text = tester.configtest(STORE + """
      CometSync normal
      CometRetain count=1000 age=720h
      CometMaxSubscribers 100
      CometMaxMessageSize 1048576
      CometPublishTimeout 500ms
      CometReplay 0
      CometPollTimeout 20s
      CometTick 1s
      CometPublish on
      CometEscape on
      CometAllowOrigin *
      CometLimitSubscribers address=50
      CometLimitPublish user=10/s address=30/min
      CometLimitChannels 1000
      CometEndpoint /comet
      CometEndpoint /other other/
      CometClassic /chat/backend.php chat
      CometClassic "/中/backend.php" "中文 room"
      CometClock /clock/backend.php
      <VirtualHost *:1>
        ServerName two
        CometStore "sqlite:{data}/two.db"
        CometSync full
        CometRetain age=1h
        CometMaxSubscribers 5
        CometMaxMessageSize 1
        CometPublishTimeout 2s
        CometEndpoint /comet
        CometReplay 1000000
        <Location "/comet/x">
          CometReplay 7
          CometPollTimeout 10s
          CometTick 5s
          CometPublish off
          CometEscape off
          CometAllowOrigin https://a.example http://localhost:3000 \
            http://[::1]:8000 capacitor://localhost https://a.example:443
          CometLimitSubscribers address=1000000 user=1
          CometLimitPublish address=10000/s
          CometLimitChannels 1
          Require comet-publish all denied
        </Location>
        <Location "/comet/y">
          CometAllowOrigin none
          CometLimitSubscribers off
          CometLimitPublish off
        </Location>
      </VirtualHost>
      <Location "/comet-status">
        SetHandler comet-status
        Require local
      </Location>
    """)
    assert code == 0, text
    assert "Syntax OK" in text


BAD = [
    # a directive with a wrong value, and a pattern for what the message must
    # say
    ("CometStore mysql:x", "sqlite"),
    ("CometStore sqlite:", "sqlite:"),
    ("CometStore", "argument"),
    ("CometStore {data}/comet.db", "sqlite:"),
    ("CometSync maybe", "maybe|full.*normal"),
    ("CometSync", "argument"),
    ("CometRetain 5", "count=|age="),
    ("CometRetain count=0", "\"0\""),
    ("CometRetain count=-1", "-1"),
    ("CometRetain count=abc", "abc"),
    ("CometRetain age=soon", "soon"),
    ("CometRetain age=0", "age"),
    ("CometRetain size=5", "size"),
    ("CometRetain count=5x", "5x"),
    ("CometRetain count=99999999999999999999", "9999"),
    ("CometSearch maybe", "On or Off"),
    ("CometSearch", "On or Off"),
    ("CometMaxSubscribers -1", "-1"),
    ("CometMaxSubscribers many", "many"),
    ("CometMaxSubscribers 5.5", "5.5"),
    ("CometMaxSubscribers 99999999999999999999", "9999"),
    ("CometMaxMessageSize 0", "0"),
    ("CometMaxMessageSize 1048577", "1048577|1048576"),
    ("CometMaxMessageSize 64k", "64k"),
    ("CometMaxMessageSize -5", "-5"),
    ("CometPublishTimeout never", "never"),
    ("CometPublishTimeout -1s", "-1s"),
    ("CometPublishTimeout 0", "0"),
    ("CometEndpoint comet", "comet|/"),
    ("CometEndpoint", "argument"),
    ("CometEndpoint /a b c", "argument"),
    ("CometEndpoint /a bad//prefix/", "bad//prefix/"),
    ("CometClassic /chat/backend.php", "argument"),
    ("CometClassic chat/backend.php chat", "chat/backend.php"),
    ("CometClassic /chat/backend.php a//b", "a//b"),
    ("CometClassic /chat/backend.php ../b", r"\.\./b"),
    ("CometClassic /chat/backend.php \"\"", "channel|empty|argument"),
    ("CometClassic /chat/backend.php " + "x" * 256, "255"),
    ("CometClock clock", "clock"),
    ("CometClock", "argument"),
    ("CometReplay -1", "-1"),
    ("CometReplay 1000001", "1000001|1,?000,?000"),
    ("CometReplay all", "all"),
    ("CometReplay 5 6", "argument"),
    ("CometPollTimeout 0", "0"),
    ("CometPollTimeout -5s", "-5s"),
    ("CometPollTimeout 5parsecs", "5parsecs"),
    ("CometPollTimeout soon", "soon"),
    ("CometTick 0", "0"),
    ("CometTick -1s", "-1s"),
    ("CometTick x", "x"),
    ("CometPublish maybe", "[Oo]n"),
    ("CometEscape 5", "[Oo]n"),
    ("<Location /x>\nRequire comet-publish\n</Location>", "comet-publish"),
    ("<Location /x>\nRequire comet-publish no-such-provider x\n</Location>",
     "no-such-provider"),
    ("CometMulti maybe", "CometMulti"),
    ("CometTransports smoke", "smoke"),
    ("CometTransports poll smoke", "smoke"),
    ("CometHeartbeat 10ms", "10ms"),
    ("CometHeartbeat 2h", "2h"),
    ("CometMaxLifetime never", "never"),
    ("CometMaxLifetime 10ms", "10ms"),
    ("CometCallback a..b", "a..b"),
    ("CometCallback .a", ".a"),
    ("CometCallback a.", "a."),
    ("CometCallback 1a", "1a"),
    ('CometCallback "a;alert(1)"', "CometCallback"),
    ('CometCallback ""', "CometCallback"),
    ("<Directory /tmp>\nCometMulti on\n</Directory>", "CometMulti"),
    ("<Location /x>\nRequire comet-channel\n</Location>",
     "comet-channel.*at least one channel"),
    ("<Location /x>\nRequire comet-channel user//x\n</Location>",
     "comet-channel: \"user//x\""),
    ("<Location /x>\nRequire comet-channel a /a\n</Location>", "\"/a\""),
    ("<Location /x>\nRequire comet-channel a/\n</Location>", "\"a/\""),
    ("<Location /x>\nRequire comet-channel a*\n</Location>",
     "\"a\\*\".*user/"),
    ("<Location /x>\nRequire comet-channel */a\n</Location>", "\\*/a"),
    ("<Location /x>\nRequire comet-channel a/%{NO_SUCH}\n</Location>",
     "comet-channel.*NO_SUCH"),
    ("CometAllowOrigin", "none to allow no origin"),
    ("CometAllowOrigin www.example.com", "\"www.example.com\".*https://"),
    ("CometAllowOrigin https://www.example.com/", "example.com/\".*https://"),
    ("CometAllowOrigin https://*.example.com", "\\*.example.com"),
    ("CometAllowOrigin https://user@example.com", "user@"),
    ("CometAllowOrigin https://", "\"https://\""),
    ("CometAllowOrigin 1https://a", "1https"),
    ("CometAllowOrigin https://a:0", "a:0"),
    ("CometAllowOrigin https://a:65536", "65536"),
    ("CometAllowOrigin https://a:", "a:\""),
    ("CometAllowOrigin https://[::1", "::1"),
    ("CometAllowOrigin null", "\"null\""),
    ("CometAllowOrigin * https://a.example", "a.example"),
    ("CometAllowOrigin https://a.example *", "\"\\*\""),
    ("CometAllowOrigin https://a.example none", "\"none\""),
    ("CometLimitSubscribers", "argument"),
    ("CometLimitSubscribers 5", "\"5\".*address=N, user=N"),
    ("CometLimitSubscribers address=0", "address=0"),
    ("CometLimitSubscribers address=-1", "address=-1"),
    ("CometLimitSubscribers address=1000001", "1000001"),
    ("CometLimitSubscribers address=5/s", "5/s"),
    ("CometLimitSubscribers address=5 address=6", "address=6"),
    ("CometLimitSubscribers address=5 off", "\"off\""),
    ("CometLimitSubscribers off user=5", "\"off\""),
    ("CometLimitSubscribers host=5", "host=5"),
    ("CometLimitSubscribers user=1 address=2 user=3", "argument"),
    ("CometLimitPublish 5/s", "\"5/s\".*address=N/s, user=N/s"),
    ("CometLimitPublish address=5", "address=5"),
    ("CometLimitPublish address=5/h", "5/h"),
    ("CometLimitPublish address=/s", "address=/s"),
    ("CometLimitPublish user=0/s", "0/s"),
    ("CometLimitPublish user=10001/s", "10001"),
    ("CometLimitPublish user=1.5/s", "1.5/s"),
    ("CometLimitChannels 0", "\"0\""),
    ("CometLimitChannels 1001", "1001.*1 to 1000"),
    ("CometLimitChannels all", "all"),
]


@pytest.mark.parametrize("line, word", BAD, ids=[
    re.sub(r"[^!-~]+", "_", b[0])[:40] for b in BAD])
def test_140_02_bad(tester, line, word):
    """A wrong value fails the configtest.  The message names the directive and
    the value, and says what is allowed."""
    head = "" if line.startswith("CometStore") else STORE
    code, text = tester.configtest(head + line + "\n")
    assert code != 0, "accepted: " + line
    place, said = re.search(r"(?s)Syntax error on line \d+ of (\S+):\n(.*)",
                            text).groups()
    assert place.endswith("test.conf") and re.search(word, said), text
    name = re.search(r"Require comet-\w+|Comet\w+", line).group(0)
    found = re.match(name + r': "(.*)" is not allowed: (?:expected |Variable )',
                     said)
    if not found:                       # httpd itself refuses the line
        assert re.match(name + " (takes|must be On or Off|cannot occur) ?",
                        said), said
    elif found.group(1):
        assert found.group(1) in re.split(r'[\s"]+|count=|age=',
                                          tester.fill(line)), said
    else:
        assert re.search(r'""|^\w+$|Require \S+$', line, re.M), said


@pytest.mark.parametrize("line", [
    "CometStore sqlite:{data}/x.db", "CometSync full",
    "CometMaxSubscribers 5", "CometEndpoint /x", "CometClassic /x y",
    "CometClock /x", "CometRetain count=5", "CometSearch on",
    "CometMaxMessageSize 5",
    "CometPublishTimeout 2s"])
def test_140_03_server_only(tester, line):
    """Directives for a whole server are refused inside a <Location>."""
    code, text = tester.configtest(
        STORE + "<Location /here>\n%s\n</Location>\n" % line)
    assert code != 0, "accepted in a <Location>: " + line
    assert line.split()[0] in text


@pytest.mark.parametrize("line", [
    "CometReplay 5", "CometPollTimeout 5s", "CometPublish off",
    "CometAllowOrigin *", "CometLimitSubscribers off",
    "CometLimitPublish off", "CometLimitChannels 5"])
def test_140_04_not_in_htaccess(make_server, line):
    """No directive of the module is allowed in a .htaccess file."""
    server = make_server()
    server.write("below/.htaccess", line + "\n")
    server.write("below/x.txt", "x")
    server.allow_log.append("not allowed here")
    assert server.get("/below/x.txt").status == 500


@pytest.mark.parametrize("line", [
    "CometEndpoint /comet", "CometClassic /chat/backend.php chat"])
def test_140_05_mapping_without_store(tester, line):
    """A mapping without a store fails the configtest. The message names
    CometStore and the mapping."""
    code, text = tester.configtest(line + "\n")
    assert code != 0
    name, url = line.split()[:2]
    assert "%s %s: no CometStore is set" % (name, url) in text, text


def test_140_06_clock_needs_a_store(tester):
    """Even a clock alone needs a CometStore, and the error says so."""
    code, text = tester.configtest("CometClock /clock/backend.php\n")
    assert code != 0
    assert "CometClock /clock/backend.php: no CometStore is set" in text, text


def test_140_07_mapping_without_store_in_vhost(tester):
    """A mapping in a virtual host needs a store, too. The store may be the main
    server's."""
    host = ("<VirtualHost *:1>\nServerName v\nCometEndpoint /comet\n"
            "</VirtualHost>\n")
    code, text = tester.configtest(host)
    assert code != 0
    assert "CometEndpoint /comet: no CometStore is set" in text, text
    code, text = tester.configtest(STORE + host)
    assert code == 0, text


@pytest.mark.parametrize("lines", [
    "CometEndpoint /x\nCometEndpoint /x\n",
    "CometEndpoint /x\nCometClock /x\n",
    "CometClassic /x/b chat\nCometClassic /x/b other\n",
    "CometClassic /x chat\nCometClock /x\n"])
def test_140_08_conflicts(tester, lines):
    """If one URL is mapped twice, the error names the URL and both
    directives."""
    code, text = tester.configtest(STORE + lines)
    assert code != 0, lines
    (one, url, *_), (two, *_) = (line.split() for line in lines.splitlines())
    assert '%s: "%s" is already taken by %s\n' % (two, url, one) in text, text


@pytest.mark.parametrize("where", ["", "sub/", "deep/er/"])
def test_140_09_below_document_root(make_server, where):
    """A database below a DocumentRoot is refused."""
    server = make_server(start=False, comet="load")
    os.makedirs(os.path.join(server.docroot, where), exist_ok=True)
    code, text = server.configtest(
        'CometStore "sqlite:{docroot}/%scomet.db"\nCometEndpoint /comet\n'
        % where)
    assert code != 0, text
    assert "DocumentRoot" in text and "comet.db" in text


def test_140_10_below_document_root_by_link(make_server):
    """A database below a DocumentRoot is refused even if its path leads through
    a symbolic link."""
    server = make_server(start=False, comet="load")
    os.makedirs(os.path.join(server.docroot, "inside"))
    os.symlink(os.path.join(server.docroot, "inside"),
               os.path.join(server.root, "link"))
    code, text = server.configtest(
        'CometStore "sqlite:{root}/link/comet.db"\nCometEndpoint /comet\n')
    assert code != 0, text
    assert "DocumentRoot" in text


def test_140_11_below_a_vhosts_document_root(make_server):
    """A database below the DocumentRoot of any virtual host is refused."""
    server = make_server(start=False, comet="load")
    os.makedirs(os.path.join(server.root, "other"))
    code, text = server.configtest(
        'CometStore "sqlite:{root}/other/comet.db"\nCometEndpoint /comet\n'
        "<VirtualHost *:1>\nServerName v\n"
        'DocumentRoot "{root}/other"\n</VirtualHost>\n')
    assert code != 0, text
    assert "DocumentRoot" in text


ALIASES = ('Alias /files "{root}/other"\n',
           'ScriptAlias /cgi-bin/ "{root}/other/"\n',
           '<VirtualHost *:1>\nServerName v\nAlias "/a b" {root}/other/deep\n'
           "</VirtualHost>\n",
           '<Location "/files">\nAlias "{root}/other"\n</Location>\n')


@pytest.mark.parametrize("line", ALIASES)
def test_140_22_below_an_alias(make_server, line):
    """A database in a folder that an Alias publishes is refused."""
    server = make_server(start=False, comet="load")
    folder = os.path.join(server.root, "other", "deep")
    os.makedirs(folder)
    give(folder)
    database = 'CometStore "sqlite:%s/comet.db"\nCometEndpoint /comet\n' % folder
    code, text = server.configtest(line + database)
    assert code != 0 and "could be downloaded" in text, text
    code, text = server.configtest(
        'Alias /files "{root}/otherwise"\nAlias /one "{root}/other/file"\n'
        'Alias /two "{docroot}"\n' + database)
    assert code == 0, text


def test_140_12_name_alike_is_fine(make_server):
    """A database is accepted in a folder whose name only begins with the
    DocumentRoot's."""
    server = make_server(start=False, comet="load")
    folder = server.docroot + "-data"
    os.mkdir(folder)
    give(folder)
    code, text = server.configtest(
        'CometStore "sqlite:%s/comet.db"\nCometEndpoint /comet\n' % folder)
    assert code == 0, text


def test_140_13_same_file_is_one_store(make_server):
    """Different spellings of a file's path name one store."""
    server = make_server(
        comet="load", conf=STORE + "CometEndpoint /comet\n"
        'CometClassic /chat/backend.php chat\n'
        '<Location "/comet-status">\nSetHandler comet-status\n</Location>\n'
        "Listen 127.0.0.1:{tls_port}\n"
        "<VirtualHost 127.0.0.1:{tls_port}>\nServerName v\n"
        'CometStore "sqlite:{data}/../data/comet.db"\n</VirtualHost>\n',
        start=False)
    server.tls_port = free_port()
    server.start()
    assert len(server.status()["stores"]) == 1
    server.publish("x")
    answer = one_request(server.tls_port, "GET",
                         "/comet/chat?since=0&wait=0")
    assert [m["body"] for m in answer.json()["messages"]] == ["x"]


@pytest.mark.event
def test_140_14_capacity_warning(make_server):
    """If the MPM cannot hold CometMaxSubscribers clients, httpd starts with a
    warning but no error."""
    server = make_server(conf="CometMaxSubscribers 1000000")
    line = wait_until(lambda: [x for x in server.error_log().splitlines()
                               if "CometMaxSubscribers" in x], 5,
                      "the warning")[0]
    assert "comet:warn" in line
    server.publish("works all the same")


def test_140_15_no_warning_by_default(make_server):
    """With a suitable configuration the module logs no warning at start."""
    server = make_server(
        parent=ORDINARY, conf="CometMaxSubscribers 20\n"
        '<LocationMatch "^/(comet|chat|clock)">\nRequire all granted\n'
        "</LocationMatch>")
    server.publish("x")
    assert not re.search(r"\[comet:(warn|error|crit)", server.error_log()), \
        server.error_log()


def test_140_17_loaded_but_unused(make_server):
    """Loading the module alone changes nothing and creates no file."""
    server = make_server(comet="load")
    assert server.get("/static.txt").status == 200
    assert server.get("/chat/backend.php").status == 404
    assert os.listdir(server.data) == []
    server.graceful()
    assert server.stop() < 5 * SLOW


def test_140_18_status_formats(make_server):
    """comet-status answers in JSON, or in Prometheus's format if ?format= or
    Accept asks for it."""
    server = make_server()
    server.publish("x")
    answer = server.get("/comet-status")
    assert answer.header("content-type").startswith("application/json")
    data = answer.json()
    for key in ("waiting", "children", "published", "delivered", "dropped",
                "resumed", "store_errors", "stores"):
        assert key in data, key
    assert data["published"] == 1 and data["children"] >= 1
    assert data["stores"][0]["path"] in server.config_text()
    assert data["stores"][0]["cursor"] \
        == server.history("chat")[0]["timestamp"]
    for target, headers in (("/comet-status?format=prometheus", {}),
                            ("/comet-status", {"Accept": "text/plain"})):
        answer = server.get(target, headers)
        assert answer.status == 200
        assert answer.header("content-type").startswith("text/plain")
        text = answer.body.decode()
        for line in text.splitlines():
            assert re.fullmatch(
                r"# (HELP|TYPE) comet_\w+ .+"
                r'|comet_\w+(\{\w+="[^"]*"(,\w+="[^"]*")*\})? -?[0-9.e+]+',
                line), line
        assert re.search(r"^comet_published(_total)? 1$", text, re.M), text
    assert server.request("HEAD", "/comet-status").status == 200


def test_140_19_status_is_protected(make_server):
    """Require protects the status location."""
    server = make_server(comet="load", conf=STORE + """
      CometEndpoint /comet
      <Location "/comet-status">
        SetHandler comet-status
        Require all denied
      </Location>""")
    assert server.get("/comet-status").status in (401, 403)
