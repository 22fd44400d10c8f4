# SPDX-License-Identifier: Apache-2.0
"""The examples of the reference that have no id: configurations are loaded,
answers compared with real ones, and commands run.  Other tests try the examples
with an id, and test_390_04 the boxes of directives."""

import glob
import html
import json
import os
import re
import subprocess

import pytest

from http_client import quote
from httpd_env import REPO, sqlite
from stream_client import Stream
from test_390_manual import REFERENCE, write_secret

SERVER = {"modules": ("authz_groupfile",), "conf": 'CometRetain age=1d\n<Location "/comet">\nCometMulti on\n'
                  "CometModerate on\nCometPresence on\n</Location>\n"}
# These examples need PostgreSQL; test_800 does the same with a server.
ELSEWHERE = ("createdb -E", "GRANT comet_insert", "# on each web server")


def examples():
    """Return each example's id and its text as the reader sees it."""
    with open(REFERENCE, encoding="utf-8") as file:
        return [(name, html.unescape(re.sub(r"<[^>]+>", "", text)))
                for name, text in re.findall(
                    r'<pre tabindex="0"[^>]*><code(?: id="([^"]*)")?>(.*?)'
                    "</code></pre>", file.read(), re.S)]


EXAMPLES = [text for name, text in examples() if not name]


def one(beginning):
    found = [text for text in EXAMPLES if text.startswith(beginning)]
    assert len(found) == 1, (beginning, found)
    return found[0]


def configurations():
    return [text for text in EXAMPLES
            if re.match(r"<Location|LoadModule|Comet[A-Z]|# in the conf", text)]


def test_969_01_each_example_is_of_a_known_kind():
    """Every example of the reference is of a kind that some test tries, so that
    no new example is forgotten."""
    known = configurations() + [
        one(beginning) for beginning in (
            '{"channels"', '{"rules"', '{"members"', '{"messages"',
            '{"timestamp"', "event: alarm", ": too many", "sqlite3 comet.db",
            "install -d", "let seen", "$url = ", *ELSEWHERE)]
    assert sorted(known) == sorted(EXAMPLES)
    tests = ""
    for path in glob.glob(os.path.join(REPO, "test", "e2e", "test_*.py")):
        with open(path, encoding="utf-8") as file:
            tests += file.read()
    for name, _ in examples():
        assert not name or 'id="%s"' % name in tests \
            or '"%s"' % name in tests, name


def test_969_02_configurations(server):
    """httpd accepts each configuration of the examples.  Each is loaded in its
    own virtual host, unless it contains virtual hosts."""
    write_secret(server)
    hosts = ""
    for number, text in enumerate(configurations()):
        text = re.sub(r"(?m)^LoadModule .*$|^ *CometStore .*postgresql.*$", "",
                      text)
        if "CometEndpoint" not in text:
            text = "CometEndpoint /comet\n" + text
        if "<VirtualHost" not in text:
            text = "<VirtualHost *:1>\nServerName v%d\n%s\n</VirtualHost>" % (
                number, text)
        hosts += "%s\n" % (
            text.replace("/etc/apache2", server.root + "/conf")
            .replace("/var/lib/apache2/comet/", server.data + "/"))
    assert len(configurations()) >= 8
    code, said = server.configtest(
        'CometStore "sqlite:{data}/comet.db"\n' + hosts)
    assert code == 0, said


def shape(value):
    """Return the types of a JSON value and of its members."""
    if isinstance(value, dict):
        return {key: shape(member) for key, member in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def test_969_03_answers(server):
    """Real answers have the same members as the examples, of the same types."""
    for name in ("room/41", "room/42"):
        server.post(name, "hello")
    for beginning, target in (
            ('{"channels"', "/comet?channels=room/*"),
            ('{"messages"', "/comet/room/42?since=0&wait=0"),
            ('{"members"', "/comet/room/42/@online?members")):
        shown = json.loads(one(beginning).replace("[ … ]", "[]"))
        answer = server.get(target)
        assert answer.status == 200, (target, answer)
        real = answer.json()
        assert set(real) == set(shown), target
        for key, value in shown.items():
            if value and real[key]:
                assert shape(real[key]) == shape(value), (target, key)
    message = json.loads(one('{"timestamp"'))
    assert shape({**message, "author": None}) == shape(
        server.history("room/42")[0])


def test_969_04_a_stream(server):
    """The event stream of the example has the same bytes as a real one, apart
    from timestamps."""
    shown = one("event: alarm")
    server.request("POST", "/comet/alarms?type=alarm",
                   "first line\nsecond line", {"Content-Type": "text/plain"})
    with Stream(server, "/comet/alarms?since=0") as stream:
        stream.until(1)
    got = "event:" + stream.bytes.decode().split("event:")[1]
    number = re.compile(r"\d{16}")
    assert number.sub("N", got).strip() == number.sub("N", shown).strip()


@pytest.mark.parametrize("beginning", ("sqlite3 comet.db", "install -d"))
def test_969_05_commands(server, beginning):
    """The shell runs the commands of an example while a server runs."""
    server.post("chat", "hello")
    text = one(beginning)
    if beginning == "install -d":
        text = text.replace("-o www-data -g comet ", "").replace(
            "/var/lib/apache2/comet", server.root + "/made")
    done = subprocess.run(["sh", "-eu", "-c", text], cwd=server.data, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    if beginning != "install -d":
        assert "hello" in done.stdout
        assert "deploy finished" in [row["body"] for row in server.history(
            quote("chat"))]


def test_969_07_retention(server):
    """The SQL of the example retention-sql sets a rule for a wildcard and one
    for a single channel."""
    text, = (text for name, text in examples() if name == "retention-sql")
    sqlite(server.db, text)
    assert sqlite(server.db, "SELECT pattern, keep_count, keep_age FROM "
                  "channel_retention;") == [["log/*", "1000", "86400"],
                                       ["log/audit", "", ""]]


@pytest.mark.parametrize("beginning", ELSEWHERE[:1])
def test_969_06_syntax(beginning):
    done = subprocess.run(["sh", "-n"], input=one(beginning), text=True,
                          stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stderr
