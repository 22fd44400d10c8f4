# SPDX-License-Identifier: Apache-2.0
"""Request smuggling: no part of a request's body is ever read as another
request, however the first one is answered."""

import re

import pytest

from pipelining import (polls_that_the_hub_answers,
                        posts_that_the_hub_publishes, while_the_hub_answers)

SERVER = {
    "classics": 3,
    "conf": """
CometPollTimeout 20s
CometMaxLifetime 1s
CometMaxMessageSize 2000
<Location "/comet/secret">
  Require all denied
</Location>
<Location "/comet/fast">
  CometFastPoll on
  CometPollTimeout 10s
  CometMaxLifetime off
</Location>
<Location "/comet/lane">
  CometFastPublish on
  CometMaxLifetime off
</Location>
<Location "/comet/limited">
  CometLimitPublish address=1/min
</Location>
<Location "/comet/off">
  CometPublish off
</Location>
<Location "/comet/polls">
  CometTransports poll
</Location>
<Location "/comet/app">
  CometAllowOrigin https://app.example
</Location>
ErrorDocument 403 /static.txt
RedirectMatch "^/moved" /static.txt
"""}

# Each body contains this request.  If it were read as a request, its message
# would be stored, and the access log would show it.
SMUGGLED = (b"POST /comet/smuggled HTTP/1.1\r\nHost: x\r\n"
            b"Content-Type: text/plain\r\nContent-Length: 1\r\n\r\nx")
ENDING = b"GET /static.txt?end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
TEXT = {"Content-Type": "text/plain"}
CROSS = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
PREFLIGHT = {"Origin": "https://app.example",
             "Access-Control-Request-Method": "POST"}

# name: method, target, headers, permitted statuses
REQUESTS = {
    "poll": ("GET", "/comet/x", {}, {200}),
    "poll-of-old-news": ("GET", "/comet/seed?since=0", {}, {200}),
    "history": ("GET", "/comet/seed?wait=0", {}, {200}),
    "not-modified": ("GET", "/comet/seed?wait=0", {"If-None-Match": "*"},
                     {304}),
    "events": ("GET", "/comet/x?transport=events", {}, {200}),
    "iframe": ("GET", "/comet/x?transport=iframe", {}, {200}),
    "clock": ("GET", "/clock/backend.php", {}, {200}),
    "classic": ("GET", "/c0/backend.php", {}, {200}),
    "classic-publish": ("GET", "/c1/backend.php?msg=x", {}, {200}),
    "classic-post": ("POST", "/c2/backend.php?msg=x", FORM, {200}),
    "head": ("HEAD", "/comet/x", {}, {200}),
    "head-history": ("HEAD", "/comet/seed?wait=0", {}, {200}),
    "options": ("OPTIONS", "/comet/x", {}, {200}),
    "preflight": ("OPTIONS", "/comet/app", PREFLIGHT, {204}),
    "publish": ("POST", "/comet/taken", TEXT, {201}),
    "bad-cursor": ("GET", "/comet/x?since=never", {}, {400}),
    "bad-channel": ("POST", "/comet/a%0ab", TEXT, {400}),
    "no-channel": ("POST", "/comet", TEXT, {400}),
    "bad-key": ("POST", "/comet/x", dict(TEXT, **{"Idempotency-Key": "a b"}),
                {400}),
    "cross-site": ("POST", "/comet/x", dict(TEXT, **CROSS), {403}),
    "denied": ("POST", "/comet/secret", TEXT, {403}),
    "off": ("POST", "/comet/off", TEXT, {403}),
    "other-method": ("DELETE", "/comet/x", TEXT, {405}),
    "unknown-method": ("SMUGGLE", "/comet/x", TEXT, {405, 501}),
    "not-acceptable": ("GET", "/comet/polls?transport=events", {}, {406}),
    "too-long": ("POST", "/comet/x", TEXT, {413}),
    "media": ("POST", "/comet/x", {"Content-Type": "image/png"}, {415}),
    "limited": ("POST", "/comet/limited", TEXT, {201, 429}),
    "not-ours": ("POST", "/moved", TEXT, {302}),
}


def chunked(data, size=50):
    """Return the data as chunks with extensions, and a trailer after them."""
    pieces = [data[i:i + size] for i in range(0, len(data), size)]
    return b"".join(b"%x;ext=\"1\"\r\n%s\r\n" % (len(p), p) for p in pieces) \
        + b"0\r\nX-Trailer: 1\r\n\r\n"


def sized(data):
    return b"Content-Length: %d\r\n\r\n%s" % (len(data), data)


def ending_first(data):
    """Put an empty chunked body before the data.  A parser that reads chunks
    takes this for the whole body."""
    return b"0\r\n\r\n" + data


# Each function takes the data of a body.  It returns the end of the head, and
# the body in the form in which it is sent.
BODIES = {
    "length": sized,
    "length-expect": lambda data: b"Expect: 100-continue\r\n" + sized(data),
    "chunked": lambda data: b"Transfer-Encoding: chunked\r\n\r\n"
    + chunked(data),
    "chunked-expect": lambda data: b"Expect: 100-continue\r\n"
    b"Transfer-Encoding: CHUNKED\r\n\r\n" + chunked(data),
    "close-length": lambda data: b"Connection: close\r\n" + sized(data),
    "close-chunked": lambda data: b"Connection: close\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n" + chunked(data),
    "folded": lambda data: b"Content-Length:\r\n %d\r\n\r\n%s"
    % (len(data), data),
    "upgrade": lambda data: b"Connection: Upgrade, keep-alive\r\n"
    b"Upgrade: example/1\r\n" + sized(data),
}
# Bodies that can be read in two ways.  A proxy in front of the server may
# choose either of them.
AMBIGUOUS = {
    "length-and-chunked": lambda data: b"Content-Length: %d\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n%s"
    % (5 + len(data), ending_first(data)),
    "chunked-and-length": lambda data: b"Transfer-Encoding: chunked\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (5 + len(data), ending_first(data)),
    "two-lengths": lambda data: b"Content-Length: 0\r\n" + sized(data),
    "length-list": lambda data: b"Content-Length: 0, %d\r\n\r\n%s"
    % (len(data), data),
    "negative": lambda data: b"Content-Length: -1\r\n\r\n" + data,
    "plus": lambda data: b"Content-Length: +0\r\n\r\n" + data,
    "hex": lambda data: b"Content-Length: 0x0\r\n\r\n" + data,
    "overflow": lambda data: b"Content-Length: 18446744073709551616\r\n\r\n"
    + data,
    "empty-length": lambda data: b"Content-Length: \r\n\r\n" + data,
    "space-before-colon": lambda data: b"Content-Length : %d\r\n\r\n%s"
    % (len(data), data),
    "other-coding": lambda data: b"Transfer-Encoding: xchunked\r\n\r\n"
    + ending_first(data),
    "chunked-not-last": lambda data: b"Transfer-Encoding: chunked, identity"
    b"\r\n\r\n" + ending_first(data),
    "bad-chunk": lambda data: b"Transfer-Encoding: chunked\r\n\r\n"
    b"zz\r\n" + data,
    "negative-chunk": lambda data: b"Transfer-Encoding: chunked\r\n\r\n"
    b"-1\r\n" + data,
    "chunk-overflow": lambda data: b"Transfer-Encoding: chunked\r\n\r\n"
    b"ffffffffffffffff1\r\n" + data,
    "chunk-too-short": lambda data: b"Transfer-Encoding: chunked\r\n\r\n"
    b"1\r\nxx\r\n0\r\n\r\n" + data,
    "bare-cr": lambda data: b"X: 1\rContent-Length: %d\r\n\r\n%s"
    % (len(data), data),
    "nul": lambda data: b"X: \0\r\nContent-Length: %d\r\n\r\n%s"
    % (len(data), data),
}


@pytest.fixture(scope="module", autouse=True)
def seeded(shared_server):
    shared_server.post("seed", "a seed")


def drain(conn):
    """Read until the server closes; return everything."""
    try:
        while conn.fill():
            pass
    except ConnectionResetError:
        pass        # the server closed before it had read everything
    conn.close()
    return conn.buffer


# The number of connections in use at once.  It does not exceed the number that
# may publish, because others could get a 503 while a commit takes long.
AT_ONCE = 5


def talk(server, requests):
    """Send each text on its own connection, several at once; return the
    answers. If more bytes follow the request for a stream, the stream may last
    until its lifetime ends."""
    texts = []
    for i in range(0, len(requests), AT_ONCE):
        conns = []
        for data in requests[i:i + AT_ONCE]:
            conns.append(server.raw(timeout=10))
            conns[-1].send(data)
        texts += [drain(conn) for conn in conns]
    return texts


def answers(text):
    """Return the status of each final answer (not of a 1xx answer)."""
    return [int(s) for s in re.findall(
        rb"(?:\A|(?<=\n)|(?<=[^\n]))HTTP/1\.[01] ([2-5]\d\d) ", text)]


def body_for(name):
    """Return a body that contains a request.  For the name "too-long" the body
    is longer than the endpoint accepts."""
    if name == "too-long":
        return b"x" * 3000 + b"\r\n\r\n" + SMUGGLED
    return SMUGGLED


def line_of(method, target):
    return ("%s %s HTTP/1.1\r\nHost: x\r\n" % (method, target)).encode()


def head_of(name):
    method, target, headers, _ = REQUESTS[name]
    return line_of(method, target) + "".join(
        "%s: %s\r\n" % item for item in headers.items()).encode()


def check_not_smuggled(server, name):
    """Check that no part of a body was read as a request."""
    got = [line for line in server.access_lines()
           if "smuggled" in line or "X-Trailer" in line]
    assert not got, (name, got)
    assert server.rows("smuggled") == [], name


@pytest.mark.parametrize("name", list(REQUESTS))
def test_462_01_a_body_is_a_body(server, name):
    """However a request is answered, its body is read as a body, or the
    connection ends. So no part of a body is read as the next request."""
    allowed = REQUESTS[name][3]
    texts = talk(server, [head_of(name) + make(body_for(name)) + ENDING
                          for make in BODIES.values()])
    for kind, text in zip(BODIES, texts):
        got = answers(text)
        assert got and got[0] in allowed, (name, kind, text)
        assert len(got) <= 2, (name, kind, text)
        if len(got) == 2:
            assert got[1] == 200, (name, kind, text)
            assert text.endswith(b"a static file\n"), (name, kind, text)
    check_not_smuggled(server, name)


@pytest.mark.parametrize("kind", list(AMBIGUOUS))
def test_462_02_ambiguous(server, kind):
    """If a proxy might find the end of a body elsewhere than the server,
    nothing after the body is answered on this connection."""
    names = ("poll", "history", "events", "clock", "classic", "publish",
             "cross-site", "bad-cursor", "other-method", "preflight")
    texts = talk(server, [head_of(name) + AMBIGUOUS[kind](SMUGGLED) + ENDING
                          for name in names])
    for name, text in zip(names, texts):
        assert len(answers(text)) <= 1, (name, kind, text)
        assert b"a static file" not in text, (name, kind, text)
    check_not_smuggled(server, kind)


# -- bytes after a waiting request -------------------------------------------

@pytest.mark.both_paths
@pytest.mark.parametrize("name", ["events", "iframe", "clock"])
def test_462_03_behind_a_stream(server, name):
    """Bytes that follow a stream's request, at once or later, are not read as
    a request."""
    method, target, headers, _ = REQUESTS[name]
    for pause in (False, True):
        with server.raw() as conn:
            first = conn.format(method, target, headers)
            conn.send(first if pause else first + SMUGGLED)
            assert conn.head() == 200
            if pause:
                server.wait_waiting(1)
                conn.send(SMUGGLED[:40])
            rest = conn.body()
            assert b"HTTP/1.1" not in rest + conn.buffer
            conn.close()
    server.wait_waiting(0)
    check_not_smuggled(server, name)


def test_462_04_in_pieces_behind_a_poll(server):
    """A request behind a poll may arrive in any pieces.  It is read as one
    request, even if its body looks like another one."""
    follow = b"POST /comet/pieces HTTP/1.1\r\nHost: x\r\n" \
        b"Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" \
        % (len(SMUGGLED), SMUGGLED)
    want = 0
    for cut in list(range(1, 60, 7)) + list(range(60, len(follow), 23)):
        with server.raw() as conn:
            conn.request("GET", "/comet/empty")
            server.wait_waiting(1, "poll")
            conn.send(follow[:cut])
            answer = conn.answer()          # the first bytes end the poll
            assert answer.status == 200 and not answer.json()["messages"]
            conn.send(follow[cut:])
            conn.method = "POST"
            assert conn.answer().status == 201
            want += 1
            conn.request("GET", "/static.txt")
            assert conn.answer().body == b"a static file\n"
    assert server.rows("pieces") == [SMUGGLED.decode()] * want
    check_not_smuggled(server, "pieces")


def test_462_05_while_the_hub_answers(server):
    """A request that arrives while the poll before it is being answered gets
    its own answer."""
    while_the_hub_answers(server, 150)


def test_462_06_publishing_behind_ones_own_poll(server):
    """A client publishes behind its own poll of the same channel.  The poll
    ends, the publish is acknowledged, and the next poll has the message, always
    in this order."""
    with server.raw() as conn:
        cursor = server.post("own", "first")
        for number in range(20):
            poll = "/comet/own?since=%d" % cursor
            conn.send(conn.format("GET", poll)
                      + conn.format("POST", "/comet/own", TEXT, b"%d" % number)
                      + conn.format("GET", poll))
            assert conn.answer().json()["messages"] == []
            stamp = conn.answer().json()["timestamp"]
            messages = conn.answer().json()["messages"]
            assert [(m["timestamp"], m["body"]) for m in messages] \
                == [(stamp, str(number))]
            cursor = stamp


@pytest.mark.parametrize("target", ["/comet/seed?since=0",
                                    "/comet/seed?wait=0",
                                    "/chat/backend.php?timestamp=0"])
def test_462_07_in_pieces_after_an_answer(server, target):
    """After an immediate answer the connection is idle.  A request that then
    arrives in any pieces is read as one request."""
    server.publish("x")
    follow = b"POST /comet/rested HTTP/1.1\r\nHost: x\r\n" \
        b"Transfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\n" \
        + chunked(SMUGGLED)
    before = len(server.rows("rested"))
    cuts = list(range(1, len(follow), 31))
    for cut in cuts:
        with server.raw() as conn:
            conn.request("GET", target)
            assert conn.answer().status == 200
            conn.send(follow[:cut])
            assert conn.silent(0.002)
            conn.send(follow[cut:])
            conn.method = "POST"
            assert conn.answer().status == 201
            conn.request("GET", target)
            assert conn.answer().status == 200
    assert server.rows("rested")[before:] == [SMUGGLED.decode()] * len(cuts)
    check_not_smuggled(server, "rested")


@pytest.mark.event
def test_462_08_polls_that_the_hub_answers(server):
    """With CometFastPoll a client sends all kinds of requests between polls.
    The hub answers the polls, and each request gets its own answer."""
    assert polls_that_the_hub_answers(server, 60) > 60


def lane(server):
    """Return a connection whose POSTs the hub publishes."""
    conn = server.raw(timeout=10)
    conn.method = "POST"
    before = server.status()["fast_publishes"]
    while server.status()["fast_publishes"] == before:
        conn.send(line_of("POST", "/comet/lane")
                  + b"Content-Type: text/plain\r\n" + sized(b"known"))
        assert conn.answer().status == 201
    return conn


@pytest.mark.event
@pytest.mark.parametrize("kind", list(BODIES) + list(AMBIGUOUS))
def test_462_09_behind_posts_that_the_hub_publishes(server, kind):
    """The hub publishes the POSTs of a client. Then their body comes in another
    form: it is read as a body, or the connection ends."""
    head = line_of("POST", "/comet/lane") + b"Content-Type: text/plain\r\n"
    plain = head + sized(b"known")
    make = {**BODIES, **AMBIGUOUS}[kind]
    for before in (b"", plain):
        conn = lane(server)
        conn.send(before + head + make(SMUGGLED) + ENDING)
        text = drain(conn)
        got = answers(text)
        if before:
            assert got[0] == 201, (kind, text)
            got = got[1:]
        assert len(got) <= (2 if kind in BODIES else 1), (kind, text)
        assert got == [201, 200][:len(got)] or kind in AMBIGUOUS, (kind, text)
        assert kind in BODIES or b"a static file" not in text, (kind, text)
    check_not_smuggled(server, kind)


@pytest.mark.event
def test_462_10_posts_that_the_hub_publishes(make_server):
    """With CometFastPublish a client sends all kinds of requests between its
    POSTs.  The hub publishes the known ones, and each request gets its own
    answer."""
    server = make_server(conf="CometMaxMessageSize 4000\n"
                              '<Location "/comet/lane">\nCometFastPublish on\n'
                              "</Location>\n")
    assert posts_that_the_hub_publishes(server, 60) > 60
