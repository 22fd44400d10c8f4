# SPDX-License-Identifier: Apache-2.0
"""A client without a grant learns nothing about a channel by any detour.  Each
answer is the same as for a channel that nobody has ever used."""

import json
import re

import pytest

import tokens
from httpd_env import wait_until
from members import online
from socket_client import Socket
from stream_client import Stream
from tokens import bearer, claims, sign

tokens.write("secret", tokens.SECRET)

SECRET, UNUSED = "vault", "empty"       # names of equal length
WORD = "VERYSECRET"

SERVER = {"conf": """
CometTransports all websocket
CometSearch on
CometDeletions on
CometPollTimeout 1s
CometEndpoint /second
CometEndpoint /part vault/
CometClassic /old.php vault
CometClassic /new.php empty
LogFormat "%r %>s %{comet-channel}n %{comet-messages}n %{comet-end}n" notes
CustomLog logs/notes.log notes
<LocationMatch "^/(comet|second|part|old.php|new.php)(/|$)">
  CometTokenKey HS256 KEYS/secret
  CometTokenParameter token
  CometMulti on
  CometPresence on
  CometModerate on
  Require comet-token
</LocationMatch>
""".replace("KEYS", tokens.FOLDER)}

OWNER = bearer(sign(claims("zoe", read=["*"], write=["*"], seconds=7200)))
THIEF = bearer(sign(claims("eve", read=["open", "open/*", "part/*"],
                           write=["open", "open/*"], seconds=7200)))
TEXT = {"Content-Type": "text/plain"}
LINES = {"Content-Type": "application/x-ndjson"}


@pytest.fixture(scope="module")
def stored(shared_server):
    """Publish to the channels that only zoe may read, and to the open ones."""
    for channel in (SECRET, SECRET + "/deep", "open", "open/x"):
        answer = shared_server.request("POST", "/comet/" + channel, (
            WORD if channel.startswith(SECRET) else "public").encode(),
            {**TEXT, **OWNER})
        assert answer.status == 201, answer


@pytest.fixture
def etag(server, stored):
    """Yield the ETag of the secret history, while zoe waits in its channel."""
    target = "/comet/%s?since=0&wait=0" % SECRET
    with Stream(server, "/comet/" + SECRET, OWNER):
        wait_until(lambda: online(server, SECRET) == ["zoe"], 10, "zoe")
        yield server.get(target, OWNER).header("etag")


# Requests that try to reach the channel NAME, which may be in the body or in a
# header, too.
READS = [
    "/comet/NAME?since=0&wait=0", "/comet/NAME?before=9007199254740991&wait=0",
    "/comet/NAME?wait=0&q=" + WORD, "/comet/NAME?wait=0&format=json",
    "/comet/NAME?transport=iframe", "/comet/NAME?transport=events",
    "/comet/NAME?unread", "/comet/NAME/@online?members",
    "/comet/NAME/@online?since=0&wait=0", "/comet/NAME/deep?since=0&wait=0",
    "/comet?channel=NAME&since=0&wait=0", "/comet?channel=NAME/*&since=0&wait=0",
    "/comet?channel=open&channel=NAME&since=0&wait=0",
    "/comet/open?channel=NAME&since=0&wait=0",
    "/comet/open?channel=NAME/@online&members",
    "/comet/open/@online?members&channel=NAME/@online",
    "/comet?channels=NAME/*", "/comet?channels=NAME*",
    "/comet?retention=NAME", "/comet?retention=NAME/*",
    "/second/NAME?since=0&wait=0", "/second?channel=NAME&since=0&wait=0",
    "/comet//NAME?wait=0", "/comet/open/..%2fNAME?wait=0",
    "/comet/open/../NAME?wait=0", "/comet/open%2F..%2FNAME?wait=0",
    "/comet/./NAME?wait=0", "/comet/NAME%00?wait=0", "/comet/NAME;x?wait=0",
    "/comet/%2e/NAME?wait=0", "/comet/NAME/?wait=0",
]
WRITES = [
    ("/comet/NAME", TEXT, b"x"), ("/comet/NAME?keep=5s&type=typing", TEXT, b"x"),
    ("/comet/NAME?read=1", TEXT, b""), ("/comet/NAME?delete=1", TEXT, b""),
    ("/comet/NAME/@online?remove=zoe", TEXT, b""),
    ("/comet/NAME/@online", TEXT, b"x"), ("/comet?retention=NAME&all", {}, b""),
    ("/comet?retention=NAME/*&count=1", {}, b""),
    ("/second/NAME", TEXT, b"x"),
    ("/comet", LINES, b'{"channel": "NAME", "body": "x"}\n'),
    ("/comet", LINES, b'{"channel": "open", "body": "x"}\n'
                      b'{"channel": "NAME", "body": "x"}\n'),
    ("/comet/NAME", {"Content-Type": "application/x-www-form-urlencoded"},
     b"msg=x"), ("/comet/NAME", {**TEXT, "Idempotency-Key": "k"}, b"x"),
]
VARIES = ("date", "retry-after")


def shape(answer, name):
    """Return what a client sees of an answer, with the channel's name
    masked."""
    text = re.sub(rb'"timestamp": ?\d+', b"T", answer.body).replace(
        name.encode(), b"NAME")
    return (answer.status, {key: value.replace(name, "NAME") for key, value
                            in answer.headers.items() if key not in VARIES},
            text)


def put(target, name):
    return target.replace("NAME", name)


def check(server, what, ask):
    """Check that `ask` gets the same answer for the secret channel as for the
    unused one, and that nothing secret is in it."""
    seen, wanted = (shape(ask(name), name) for name in (SECRET, UNUSED))
    assert seen == wanted, what
    text = repr(seen)
    assert WORD not in text and "zoe" not in text, (what, text)
    assert seen[0] not in (201, 204), (what, text)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_722_01_reading(server, etag, method):
    """A read request reveals nothing, whether it tries a URL, parameter,
    wildcard, neighbouring channel or condition."""
    for target in ("/comet/NAME?since=0&wait=0", "/comet/NAME/@online?members",
                   "/comet?channels=NAME/*", "/comet/./NAME?wait=0"):
        text = server.get(put(target, SECRET), OWNER).body.decode()
        assert WORD in text or "zoe" in text or SECRET + "/deep" in text, target
    assert server.get(put(READS[0], SECRET),
                      {**OWNER, "If-None-Match": etag}).status == 304
    for target in READS:
        for headers in (THIEF, {**THIEF, "If-None-Match": etag},
                        {**THIEF, "Accept": "text/event-stream",
                         "Last-Event-ID": "1"}, {}):
            if method != "GET" and "Accept" in headers:
                continue
            check(server, (method, target, headers), lambda name:
                  server.request(method, put(target, name), None, headers))


def test_722_02_writing(server, etag):
    """A write request reveals nothing and changes nothing, whether it tries to
    publish, mark, moderate or send a batch."""
    before = server.sql("SELECT count(*) FROM message")
    for target, headers, body in WRITES:
        check(server, (target, body), lambda name: server.request(
            "POST", put(target, name), put(body.decode(), name).encode(),
            {**THIEF, **headers}))
    assert server.sql("SELECT count(*) FROM message") == before
    assert online(server, SECRET) == ["zoe"]


def test_722_03_websocket(server, etag):
    """Commands on an open WebSocket reveal nothing about a channel."""
    def ask(name):
        with Socket(server, "/comet?channel=open&live=1", THIEF) as socket:
            socket.opened()
            said = []
            for ref, command in enumerate((
                    {"subscribe": [name]}, {"subscribe": [name + "/@online"]},
                    {"subscribe": [name + "/*"], "since": 0},
                    {"subscribe": ["open/x", name], "since": 0},
                    {"publish": {"channel": name, "body": "x"}},
                    {"publish": {"channel": name + "/@online", "body": "x"}})):
                socket.say({**command, "ref": ref})
                while True:
                    heard = socket.hear()
                    if heard.get("ref") == ref:
                        break
                assert "error" in heard, (command, heard)
                said.append(json.dumps(heard).replace(name, "NAME"))
            return said

    answers = [ask(name) for name in (SECRET, UNUSED)]
    assert answers[0] == answers[1]
    assert WORD not in repr(answers)


def test_722_04_other_ways_in(server, etag):
    """A classic chat and an endpoint with a prefix refuse the client, too.
    Statistics and logs do not contain the secret message."""
    for old, new in (("/old.php?timestamp=1", "/new.php?timestamp=1"),
                     ("/old.php?msg=x", "/new.php?msg=x")):
        answers = [server.get(target, {**THIEF, "X-Requested-With": "x"})
                   for target in (old, new)]
        assert answers[0].status == answers[1].status == 403
        assert answers[0].body == answers[1].body
    assert server.get("/part/deep?since=0&wait=0", THIEF).status == 403
    for target in ("/comet-status", "/comet-status?format=prometheus"):
        text = server.get(target).body.decode()
        assert WORD not in text and SECRET not in text and "zoe" not in text
    with open(server.root + "/logs/notes.log", encoding="utf-8") as file:
        notes = file.read()
    assert WORD not in (notes + server.error_log()).replace("q=" + WORD, "")


def test_722_05_beside_a_prefix(server, etag):
    """An endpoint with the prefix vault/ opens the channels below vault.  It
    does not open vault itself, nor the list of its members."""
    assert server.get("/comet/vault/@online?members", OWNER).status == 200
    assert server.get("/part/deep?wait=0", OWNER).status == 200
    for target in ("/part/@online?members", "/part/@online?since=0&wait=0",
                   "/part/%40online?since=0&wait=0",
                   "/part?channel=@online&since=0&wait=0",
                   "/part?channel=deep&channel=@online&wait=0",
                   "/part?channel=@online/*&wait=0",
                   "/part?retention=@online"):
        for headers in (OWNER, THIEF):
            answer = server.get(target, headers)
            assert answer.status in (400, 403), (target, answer)
            assert "zoe" not in answer.body.decode()
    for target in ("/part/@online?remove=zoe", "/part/@online?read=1",
                   "/part?retention=@online&all"):
        answer = server.request("POST", target, b"", OWNER)
        assert answer.status in (400, 403), (target, answer)
    with Socket(server, "/part?channel=deep&live=1", OWNER) as socket:
        socket.opened()
        socket.say({"subscribe": ["@online"], "ref": 1})
        while "ref" not in (heard := socket.hear()):
            pass
        assert heard["status"] == 400, heard
    assert online(server, SECRET) == ["zoe"]


def test_722_06_beside_a_star(server, etag):
    """A grant of all channels below vault does not reveal who is in vault.  A
    grant of vault itself or of vault/@online does."""
    for read, status in ((["vault/*"], 403), (["vault/*", "vault"], 200),
                         (["vault/*", "vault/@online"], 200)):
        reader = bearer(sign(claims("eve", read=read, write=["vault/*"])))
        assert server.get("/comet/vault/deep?wait=0", reader).status == 200
        for target in ("/comet/vault/@online?members",
                       "/comet?channel=vault/@online&since=0&wait=0",
                       "/comet/vault/deep?channel=vault/@online&wait=0"):
            answer = server.get(target, reader)
            assert answer.status == status, (read, target, answer)
    below = bearer(sign(claims("eve", read=["vault/*"], write=["vault/*"])))
    answer = server.request("POST", "/comet/vault/@online?remove=zoe", b"", below)
    assert answer.status == 403
    assert online(server, SECRET) == ["zoe"]
