# SPDX-License-Identifier: Apache-2.0
"""Searching the history: q= and CometSearch."""

import base64
import re

import pytest

from http_client import gather, quote
from httpd_env import Httpd, SLOW, sqlite, wait_until
from ledger import is_sound

SERVER = {"children": 2, "conf": """
  CometSearch on
  CometEndpoint /s shared/
  <Location "/comet">
    CometMulti on
  </Location>
  <LocationMatch "^/(comet|s)/secret">
    AuthType Basic
    AuthName "test"
    AuthUserFile "{root}/conf/passwd"
    Require user anna
  </LocationMatch>
"""}


@pytest.fixture(scope="module", autouse=True)
def passwords(shared_server):
    with open(shared_server.root + "/conf/passwd", "w") as out:
        out.write("anna:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n")


def ask(server, channel, words, more="", headers=None, base="/comet/"):
    return server.get("%s%s?q=%s%s" % (base, channel, quote(words), more),
                      headers)


def bodies(server, channel, words, more=""):
    answer = ask(server, channel, words, more)
    assert answer.status == 200, answer
    return [m["body"] for m in answer.json()["messages"]]


def is_indexed(server, channel, words):
    """Return whether a search finds something. While there is no index, check
    that the server says that the index is not ready."""
    answer = ask(server, channel, words)
    if answer.status == 503:
        check_error(answer, 503, "not ready")
        return False
    return bodies(server, channel, words) != []


def check_error(answer, status, word):
    assert answer.status == status, answer
    assert word in answer.json()["error"], answer


def test_325_01_words(server):
    """A message matches if it has all words, in any case, with or without
    diacritics."""
    for text in ("the quick brown fox", "a Brown dog", "caf\u00e9 noir",
                 "<b>brown</b> & \"quoted\"", "nothing"):
        server.post("w", text)
    assert bodies(server, "w", "brown") == [
        "the quick brown fox", "a Brown dog", "<b>brown</b> & \"quoted\""]
    assert bodies(server, "w", " FOX  brown ") == ["the quick brown fox"]
    assert bodies(server, "w", "cafe") == ["caf\u00e9 noir"]
    assert bodies(server, "w", "bro") == []
    assert bodies(server, "w", "bro* dog") == ["a Brown dog"]
    assert bodies(server, "none", "brown") == []


SYNTAX = ["the brown dog", "the brown fox",
          "not body brown near brown fox or 1 1 brown and"]


@pytest.mark.parametrize("words", [
    'NEAR(brown fox)', 'body:brown', '"brown', 'brown"', "brown' OR 1=1 --",
    'brown AND', 'NOT brown', '(brown', 'brown)', '^brown', '-brown',
    'brown + fox', '{body}:brown', '* *', '\\', '""', "%", "_", "\u4e2d\u6587",
    "a" * 4000])
def test_325_02_no_syntax(server, words):
    """A search accepts any text that a user may type, and treats each part of
    the text as a word."""
    if not server.rows("syntax"):
        for text in SYNTAX:
            server.post("syntax", text)
    wanted = set(re.findall("[a-z0-9]+", words.lower()))
    assert bodies(server, "syntax", words) == [
        text for text in SYNTAX if wanted and wanted <= set(text.split())]


@pytest.mark.parametrize("query", [
    "q=", "q=%20%09", "q=" + "+".join("x%d" % i for i in range(17)),
    "q=" + "the." * 1900], ids=["none", "spaces", "17", "phrase"])
def test_325_03_no_words(server, query):
    """The limit on words counts words as the index does, not as spaces separate
    them."""
    check_error(server.get("/comet/w?" + query), 400, "q: expected 1 to 16")


def test_325_13_equal_words(server):
    """A word that is repeated counts once."""
    server.post("equal", "the brown fox")
    assert bodies(server, "equal", "the Brown " * 300) == ["the brown fox"]


@pytest.mark.parametrize("query,word", [
    ("q=%ff", "UTF-8"), ("q=a%00b", "UTF-8"),
    ("q=a&transport=events", "transport"), ("q=a&limit=0", "limit"),
    ("q=a&since=x", "since"), ("q=a&before=-1", "before")])
def test_325_04_bad(server, query, word):
    check_error(server.get("/comet/w?" + query), 400, word)


def test_325_05_pages(server):
    """A search returns the newest `limit` matches between since and before,
    oldest first."""
    stamps = [server.post("p", "word %d" % i)
              for i in range(30)]
    for i in range(5):
        server.post("p", "other %d" % i)
    assert bodies(server, "p", "word", "&limit=3") \
        == ["word 27", "word 28", "word 29"]
    assert bodies(server, "p", "word", "&limit=3&before=%d" % stamps[27]) \
        == ["word 24", "word 25", "word 26"]
    assert bodies(server, "p", "word", "&since=%d" % stamps[27]) \
        == ["word 28", "word 29"]
    assert bodies(server, "p", "word", "&since=%d&before=%d"
                  % (stamps[3], stamps[6])) == ["word 4", "word 5"]
    pages, before = [], 2 ** 53 - 1
    while True:
        page = ask(server, "p", "word", "&limit=7&before=%d" % before)
        messages = page.json()["messages"]
        if not messages:
            break
        pages = [m["timestamp"] for m in messages] + pages
        before = messages[0]["timestamp"]
    assert pages == stamps


def test_325_06_history_answer(server):
    """A search answer has an ETag. A request with this ETag gets 304 while the
    result is the same."""
    server.post("etag", "brown")
    answer = ask(server, "etag", "brown")
    assert answer.header("cache-control") == "private, no-cache"
    tag = answer.header("etag")
    again = ask(server, "etag", "brown", headers={"If-None-Match": tag})
    assert again.status == 304 and again.body == b""
    server.post("etag", "brown again")
    again = ask(server, "etag", "brown", headers={"If-None-Match": tag})
    assert again.status == 200 and len(again.json()["messages"]) == 2


def test_325_07_channels(server):
    """A search covers only the requested channels, and needs permission for
    each."""
    for name in ("c/1", "c/2", "d"):
        server.post(name, "needle in " + name)
    answer = server.request("POST", "/comet/secret/x", b"needle hidden", {
        "Content-Type": "text/plain", "Authorization":
        "Basic " + base64.b64encode(b"anna:secret").decode()})
    assert answer.status == 201, answer

    def found(query, headers=None):
        answer = server.get("/comet?q=needle&" + query, headers)
        if answer.status != 200:
            return answer.status
        return [m["channel"] for m in answer.json()["messages"]]

    assert found("channel=c/1&channel=d") == ["c/1", "d"]
    assert found("channel=c/*") == ["c/1", "c/2"]
    for query in ("channel=secret/x", "channel=d&channel=secret/x",
                  "channel=secret/*", "channel=*", "channel=secret%2fx"):
        assert found(query) in (401, 403), query
    assert ask(server, "secret/x", "needle").status == 401
    assert ask(server, "x", "needle", base="/s/").json()["messages"] == []
    anna = {"Authorization":
            "Basic " + base64.b64encode(b"anna:secret").decode()}
    assert found("channel=secret/*", anna) == ["secret/x"]


def test_325_08_other_programs(server):
    """A search finds what other programs insert, and not what they have
    deleted."""
    sqlite(server.db, "INSERT INTO message(channel, body) VALUES"
                      " ('out', 'deploy finished'), ('out', 'deploy failed')")
    assert bodies(server, "out", "deploy") == ["deploy finished",
                                               "deploy failed"]
    sqlite(server.db, "DELETE FROM message WHERE body = 'deploy failed'")
    assert bodies(server, "out", "deploy") == ["deploy finished"]
    # This is the query in sql/search.sql.
    assert sqlite(server.db, "SELECT channel, body FROM message"
                  " WHERE timestamp IN (SELECT rowid FROM message_search"
                  " WHERE message_search MATCH 'deploy AND finished')"
                  " ORDER BY timestamp DESC LIMIT 20") \
        == [["out", "deploy finished"]]


def test_325_09_off(make_server):
    """With CometSearch off a search gets 400 with the reason, and the database
    has no index."""
    server = make_server()
    server.post("x", "brown")
    check_error(ask(server, "x", "brown"), 400, "CometSearch")
    assert sqlite(server.db, "SELECT count(*) FROM sqlite_master"
                             " WHERE name LIKE '%search%'") == [["0"]]


def test_325_10_on_and_off(make_server):
    """A reload with CometSearch on makes an index of old messages while clients
    publish. A reload with CometSearch off removes it.  Neither loses a message
    or delays publishers."""
    server = make_server(conf="CometSearch off\n", children=2)
    sqlite(server.db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT"
           " i + 1 FROM n WHERE i < 20000) INSERT INTO message(channel, body)"
           " SELECT 'old', 'word number' || i || ' ' || hex(randomblob(40))"
           " FROM n")

    def switch(to):
        path = server.root + "/conf/httpd.conf"
        text = open(path).read()
        with open(path, "w") as out:
            out.write(text.replace("CometSearch on", "CometSearch " + to)
                      .replace("CometSearch off", "CometSearch " + to))
        server.graceful()

    slow = []

    def publish(until):
        sent = 0
        while sent < 20 or not until():
            answer = server.request("POST", "/comet/new",
                                    "word fresh%d" % sent,
                                    {"Content-Type": "text/plain"})
            assert answer.status == 201, answer
            slow.append(answer.took)
            sent += 1
            assert sent < 20000
        return sent

    switch("on")
    sent = publish(lambda: is_indexed(server, "old", "number1"))
    assert bodies(server, "old", "number20000") != []
    assert bodies(server, "new", "fresh%d" % (sent - 1)) != []
    assert is_sound(server)
    switch("off")
    check_error(ask(server, "old", "number1"), 400, "CometSearch")
    more = publish(lambda: sqlite(server.db, "SELECT count(*) FROM"
                                  " sqlite_master WHERE name LIKE '%search%'")
                   == [["0"]])
    assert server.rows("new") == ["word fresh%d" % number
                                  for count in (sent, more)
                                  for number in range(count)]
    assert sorted(slow)[len(slow) // 2] < 0.05 * SLOW, "publishers wait"
    assert sqlite(server.db, "PRAGMA quick_check") == [["ok"]]
    switch("on")
    wait_until(lambda: is_indexed(server, "old", "number1"), 30 * SLOW,
               "the index, once more")


def test_325_11_two_minds(make_server):
    """Two virtual hosts with one store must not differ in CometSearch."""
    server = make_server(start=False, comet="load")
    hosts = "".join("""
      <VirtualHost *:%d>
        ServerName %s
        CometStore sqlite:{data}/comet.db
        CometEndpoint /comet
        CometSearch %s
      </VirtualHost>
    """ % (server.port, name, mind)
        for name, mind in (("a.test", "on"), ("b.test", "off")))
    code, text = server.configtest(hosts)
    assert code != 0
    assert "CometSearch" in text
    assert "comet.db" in text


def test_325_12_while_published(server):
    """While others publish and search, each client finds what it has just
    published."""
    def one(name):
        for i in range(20):
            word = "w%sx%d" % (name, i)
            server.post("busy", word + " text")
            assert bodies(server, "busy", word) == [word + " text"]

    gather([lambda n=n: one(n) for n in range(6)])
    assert is_sound(server)


# --- what a search may cost -------------------------------------------------

# This search takes long: SQLite compares long lists of positions for each
# phrase and each message. It then finds that the message lacks one of the last
# two words.
COSTLY = "the.of.the.of of.the.of.the the.of.the of.the.of alpha beta"
FOUND = "the of the of the alpha beta"


@pytest.fixture(scope="module")
def costly(request):
    """Yield a server with four threads, on which a search for COSTLY takes
    long."""
    server = Httpd(conf="CometSearch on\n", threads=4)
    server.start()
    for channel in ("old", "long"):
        server.post(channel, FOUND)
    sqlite(server.db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
                      " FROM n WHERE i < 1600) INSERT INTO message(channel, body)"
                      " SELECT 'long', replace(hex(zeroblob(4600)), '00',"
                      " 'the of ') || iif(i % 2, 'alpha', 'beta') FROM n",
           timeout_ms=60000)
    yield server
    problems = server.close()
    assert not problems, problems


def test_325_14_costly_words_in_parts(costly):
    """A search that takes long returns a cursor to continue from. The client
    reaches the end of the search in several such parts."""
    before, found, cut = "", [], costly.status()["searches_cut"]
    for count in range(200):
        page = ask(costly, "long", COSTLY, before)
        assert page.status == 200, page
        found += page.json()["messages"]
        if "before" not in page.json():
            break
        before = "&before=%d" % page.json()["before"]
    assert [m["body"] for m in found] == [FOUND]
    assert count > 0
    assert costly.status()["searches_cut"] - cut == count


def test_325_15_channel_before_words(costly):
    """In a channel with few messages even a costly search is quick."""
    cut = costly.status()["searches_cut"]
    for channel, wanted in (("none", []), ("old", [FOUND])):
        page = ask(costly, channel, COSTLY).json()
        assert [m["body"] for m in page["messages"]] == wanted
        assert "before" not in page
    assert costly.status()["searches_cut"] == cut


def test_325_16_share_of_threads(costly):
    """Only some of the threads may search, and further searches are refused."""
    before = costly.status()
    answers = gather([lambda: ask(costly, "long", COSTLY) for _ in range(12)])
    refused = [answer for answer in answers if answer.status == 503]
    assert 0 < len(refused) < len(answers)
    for answer in refused:
        check_error(answer, 503, "q: too many searches")
        assert answer.header("retry-after") == "1"
    after = costly.status()
    assert after["searches_refused"] - before["searches_refused"] \
        == len(refused)
    assert after["searching"] == 0


def test_325_17_client_leaves(costly):
    """A search ends when its client leaves, even if a further request of this
    client has arrived."""
    before = costly.status()

    def leave():
        """Leave during a search. Return whether the server noticed. The server
        does not notice if the search has just ended."""
        with costly.raw() as client:
            client.send(client.format("GET", "/comet/long?q=" + quote(COSTLY)))
            client.send(client.format("GET", "/comet/none?q=more"))
            wait_until(lambda: costly.status()["searching"], what="a search")
        wait_until(lambda: not costly.status()["searching"], what="its end")
        return costly.status()["departed"] - before["departed"]

    wait_until(leave, 20, "a search that ends with its client")
