# SPDX-License-Identifier: Apache-2.0
"""What other programs and people might do to the database: triggers, a network
file system, an encoding other than UTF-8."""

import threading

import pytest

from httpd_env import give, sqlite, wait_until
from shim import Shim
from stream_client import Stream

TEXT = {"Content-Type": "text/plain"}
PUBLISHERS, EACH = 6, 8
SPAM = ("CREATE TRIGGER rule {when} INSERT ON message_log"
        " WHEN NEW.body LIKE '%spam%'"
        " BEGIN SELECT RAISE({how}, 'no spam here'); END;")


@pytest.fixture
def ruled(server):
    """Yield a server in whose database a test may make the trigger `rule`."""
    yield server
    sqlite(server.db, "DROP TRIGGER rule;")


def publish(server, name, answers):
    """Publish messages, every third of which is spam, and note the answers."""
    for number in range(EACH):
        body = "%s %d%s" % (name, number, " spam" if number % 3 == 2 else "")
        answers[body] = server.request("POST", "/comet/%s" % name, body, TEXT)


@pytest.mark.parametrize("when, how", [("BEFORE", "ABORT"), ("AFTER", "FAIL"),
                                       ("AFTER", "ROLLBACK")])
def test_502_01_a_trigger_refuses_some(ruled, when, how):
    """A trigger refuses some of the messages that are published at the same
    time.  These get 400, and the log has the trigger's text.  All others are
    stored once and in order."""
    sqlite(ruled.db, SPAM.format(when=when, how=how))
    answers = {}
    threads = [threading.Thread(target=publish, args=(
        ruled, "%s-%d" % (how.lower(), i), answers))
        for i in range(PUBLISHERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == PUBLISHERS * EACH
    for body, answer in answers.items():
        assert answer.status == (400 if "spam" in body else 201), answer
    for i in range(PUBLISHERS):
        name = "%s-%d" % (how.lower(), i)
        assert ruled.rows(name) \
            == ["%s %d" % (name, n) for n in range(EACH) if n % 3 != 2]
    assert "refused a change: no spam here" \
        in ruled.error_log()


def test_502_02_a_trigger_leaves_some_out(ruled):
    """A message that a trigger discards with RAISE(IGNORE) gets 400."""
    sqlite(ruled.db, "CREATE TRIGGER rule BEFORE INSERT ON message_log"
           " WHEN NEW.body = 'spam' BEGIN SELECT RAISE(IGNORE); END;")
    assert ruled.request("POST", "/comet/out", "spam", TEXT).status == 400
    assert ruled.request("POST", "/comet/out", "ham", TEXT).status == 201
    assert ruled.rows("out") == ["ham"]
    assert "a trigger dropped the message" in ruled.error_log()


def test_502_03_a_trigger_answers(ruled):
    """A trigger answers each message with another one.  Readers get the answers
    once and in order, although several clients publish."""
    sqlite(ruled.db, "CREATE TRIGGER rule AFTER INSERT ON message_log"
           " WHEN NEW.author IS NULL BEGIN"
           " INSERT INTO message(channel, author, body)"
           " VALUES('bot', 'bot', NEW.id || ' ' || NEW.body); END;")
    with Stream(ruled, "/comet/bot?since=0") as stream:
        ruled.wait_waiting(1, "events")
        answers = {}
        threads = [threading.Thread(target=publish, args=(
            ruled, "asked-%d" % i, answers)) for i in range(PUBLISHERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert {a.status for a in answers.values()} == {201}
        stream.until(PUBLISHERS * EACH)
        wanted = sorted("%d %s" % (a.json()["timestamp"], body)
                        for body, a in answers.items())
        assert stream.data() == wanted
    ids = [m["timestamp"] for m in ruled.history("bot")]
    assert all(int(text.split()[0]) < when
               for text, when in zip(wanted, ids))


def test_502_10_on_a_network(make_server):
    """httpd -t and a start warn if the database is on a network file system."""
    server = make_server(start=False)
    shim = Shim(server)
    conf = 'CometStore "sqlite:%s"\nCometEndpoint /comet\n' % server.db
    for kind, name in ((0x6969, "NFS"), (0xff534d42, "CIFS"),
                       (0x01021997, "9p"), (0, None)):
        shim.set_file_system(kind)
        code, text = server.configtest(conf)
        assert code == 0, text
        assert ("network file system (%s)" % name in text) == bool(name), text
        assert ("network" in text) == bool(name), text
    shim.set_file_system(0x6969)
    server.start()
    wait_until(lambda: "network file system (NFS)" in server.error_log(), 5,
               "the warning")
    server.post("chat", "served all the same")


def test_502_11_another_encoding(make_server):
    """httpd -t says that a database with UTF-16 texts cannot be used."""
    server = make_server(start=False)
    conf = 'CometStore "sqlite:%s"\nCometEndpoint /comet\n' % server.db
    sqlite(server.db, "PRAGMA encoding = 'UTF-16le'; CREATE TABLE a(b);"
           " DROP TABLE a;")
    give(server.db)
    assert "UTF-16, not as UTF-8: nothing can be published" \
        in server.configtest(conf)[1]


def test_502_12_no_directive_within_if(make_server):
    """httpd refuses the module's directives in <If>, as the manual says. It
    accepts Require."""
    server = make_server(start=False)
    conf = ('CometStore "sqlite:{data}/comet.db"\nCometEndpoint /comet\n'
            "<If \"%{HTTP:X} == '1'\">\n")
    for line in ("CometMulti on", "CometReplay 5", "CometPollTimeout 5",
                 "CometLimitPublish address=5/min", "CometAllowOrigin none"):
        code, text = server.configtest(conf + line + "\n</If>\n")
        assert code != 0 and "cannot occur within <If> section" in text, text
    code, text = server.configtest(
        conf + "Require comet-publish local\n</If>\n")
    assert code == 0, text


def test_502_13_no_directive_within_proxy(make_server):
    """httpd refuses the module's directives in <Proxy>: no other server answers
    the module's URLs, so <Proxy> does not apply to them."""
    server = make_server(start=False, modules=("proxy",))
    for line in ("CometPublish off", "CometMulti on", "CometReplay 5",
                 "CometAllowOrigin none", "CometTokenCookie token"):
        code, text = server.configtest("<Proxy *>\n%s\n</Proxy>\n" % line)
        assert code != 0 \
            and "cannot occur within <Proxy> section" in text, text
