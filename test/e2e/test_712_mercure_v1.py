# SPDX-License-Identifier: Apache-2.0
"""The drafts of Mercure 1.0: matchers, authorization_details and errors, and
both versions of the protocol at one URL."""

import time
from urllib.parse import urlencode

import pytest

import tokens
from mercure import BOOK, FORM, HUB, Subscriber, post, publish
from stream_client import Stream
from tokens import bearer, sign

RESOURCE = "https://hub.example.com/.well-known/mercure"
METADATA = 'resource_metadata="https://hub.example.com' \
    '/.well-known/oauth-protected-resource/.well-known/mercure"'
STORES = ("sqlite", pytest.param("postgresql", marks=pytest.mark.long))

SERVER = {"conf": """
HttpProtocolOptions RegisteredMethods
CometMercure /.well-known/mercure
CometMercure /closed
<LocationMatch "^/(closed|.well-known/mercure)">
  CometTokenKey HS256 KEYS/secret
  CometTokenKey HS256 KEYS/v1 issuer=https://issuer.example.com \
    audience=RESOURCE
  CometTokenParameter access_token
  CometTokenCookie __Secure-mercure_access_token
</LocationMatch>
<Location "/.well-known/mercure">
  CometMercureAnonymous on
</Location>
""".replace("KEYS", tokens.FOLDER).replace("RESOURCE", RESOURCE)}

tokens.write("v1", tokens.NEW_SECRET)


def detail(actions, *topics, kind="mercure"):
    return {"type": kind, "actions": actions, "topics": [
        {"match": t} if isinstance(t, str)
        else {"match": t[0], "match_type": t[1]} for t in topics]}


def access(*details, typ="at+jwt", secret=tokens.NEW_SECRET, **more):
    """Return a token as the drafts of 1.0 define it."""
    said = {"iss": "https://issuer.example.com", "aud": [RESOURCE, "x"],
            "exp": time.time() + 60, "authorization_details": list(details)}
    for name, value in more.items():
        if value is None:
            del said[name]
        else:
            said[name] = value
    return sign(said, secret, {"alg": "HS256", "typ": typ})


def stream(server, *matchers, headers=None, **query):
    """Open a stream with these matchers, which are (name, value) pairs."""
    return Stream(server, HUB + "?" + urlencode(list(matchers)
                                                + list(query.items())),
                  headers)


@pytest.mark.parametrize("name, value, gets", [
    ("match", BOOK, True), ("matchExact", BOOK, True),
    ("match_exact", BOOK, True), ("match", "*", True),
    ("match", "https://example.com/books/{id}", False),
    ("matchURLPattern", "https://example.com/books/:id", True),
    ("match_urlpattern", "https://*.com/*", True),
    ("matchURLPattern", "https://example.com/:id", False),
    ("matchURLPattern", "https://EXAMPLE.com/books/:id(.*)?", None),
    ("matchURLPattern", "/books/:id", False), ("matchURLPattern", "*", True)])
def test_712_01_matchers(server, name, value, gets):
    """A matcher selects the same updates from the history and live."""
    if gets is None:
        answer = server.get(HUB + "?" + urlencode({name: value}))
        assert answer.status == 400 and b"not supported" in answer.body
        return
    before = publish(server, "before", "x")
    for query in ({}, {"lastEventID": before}):
        with stream(server, (name, value), ("match", "end"),
                    **query) as reader:
            if not query:
                publish(server, BOOK, "book")
                publish(server, "end", "end")
            wanted = ["book", "end"] if gets else ["end"]
            assert reader.until(len(wanted)) == wanted


def test_712_02_errors_of_matchers(server):
    for query, words in (
            ("matchRegExp=x", b"reserved"), ("MATCH=x", b"reserved"),
            ("matchexact=x", b"reserved"), ("matching=x", b"reserved"),
            ("match=x&topic=y", b"not both"), ("match=", b"empty"),
            ("match=a%0Ab", b"control"), ("match=%FF", b"UTF-8"),
            ("matchURLPattern=books", b"slash"),
            ("matchURLPattern=" + "/:a" * 101, b"100"),
            ("match=" + "a" * 256, b"255"), ("unknown=x", b"Missing")):
        answer = server.get(HUB + "?" + query)
        assert answer.status == 400 and words in answer.body, (query, answer)


def test_712_03_private(server):
    """authorization_details grants private updates.  Both headers that the
    drafts name for the cursor are in the answer."""
    grants = access(detail(["subscribe"], (BOOK + "/:x", "urlpattern")),
                    detail(["subscribe"], "a",
                           kind="https://mercure.rocks/authorization-detail"))
    before = publish(server, "mark", "x")
    for topic in (BOOK, BOOK + "/1", "a", "b"):
        publish(server, topic, topic, private="on")
    publish(server, "end", "end")
    cookie = {"Cookie": "__Secure-mercure_access_token=" + grants}
    for said in ({"headers": bearer(grants)}, {"access_token": grants},
                 {"headers": cookie}):
        with stream(server, ("match", "*"), lastEventID=before,
                    **said) as reader:
            assert reader.until(3) == [BOOK + "/1", "a", "end"]
            for name in ("last-event-id", "mercure-last-event-id"):
                assert reader.conn.headers[name] == before
    with stream(server, ("match", "*"), lastEventID=before) as reader:
        assert reader.until(1) == ["end"]


def test_712_04_publishing(server):
    """A publisher needs a grant of the action `publish`.  Without it, the
    answer is 403 with insufficient_scope."""
    books = bearer(access(detail(["publish"],
                                 ("https://example.com/books/:id",
                                  "urlpattern"))))
    reads = bearer(access(detail(["subscribe"], "*")))
    everything = bearer(access(detail(["publish"], "*")))
    assert post(server, [("topic", BOOK)], books).status == 200
    for headers, topic in ((books, "https://example.com/films/1"),
                           (reads, BOOK), (bearer(access()), BOOK)):
        answer = post(server, [("topic", topic)], headers)
        assert answer.status == 403, answer
        assert 'error="insufficient_scope"' \
            in answer.header("www-authenticate")
    for field, value, status in (("topic", "*", 400), ("type", "mercure", 400),
                                 ("id", "#x", 400), ("id", "earliest", 400),
                                 ("topic", "/.well-known/mercure/x", 403)):
        fields = [("topic", "x")] if field != "topic" else []
        assert post(server, fields + [(field, value)],
                    everything).status == status, (field, value)


def test_712_05_wrong_tokens(server):
    """A token with any fault gets 401 with invalid_token.  A request without a
    token gets 401 without an error code."""
    right = detail(["publish", "subscribe"], "*")
    wrong = [
        access(right, typ="JWT"), access(right, exp=None),
        access(right, exp=1), access(right, iss="https://other.example.com"),
        access(right, iss=None), access(right, aud="https://other"),
        access(right, aud=None), access(right, secret=tokens.SECRET),
        access(right, nbf=time.time() + 600),
        access(right, {"type": "mercure"}),
        access(detail(["publish"], ("a", "regexp"))),
        access(detail(["publish"], ("/(a)", "urlpattern"))),
        access(right, authorization_details={}), "x.y.z"]
    for i, text in enumerate(wrong):
        for answer in (post(server, [("topic", "x")], bearer(text)),
                       server.get("/closed?match=x", bearer(text))):
            assert answer.status == 401, (i, answer)
            assert 'error="invalid_token"' \
                in answer.header("www-authenticate")
            assert ", " + METADATA in answer.header("www-authenticate")
    for answer in (post(server, [("topic", "x")], {}),
                   server.get("/closed?match=x")):
        assert answer.status == 401
        assert answer.header("www-authenticate") == "Bearer " + METADATA
    assert post(server, [("topic", "x")],
                bearer(access(right))).status == 200


def test_712_06_both_versions_at_one_url(server):
    """Clients of 0.x and of 1.0 read each other's updates."""
    new = bearer(access(detail(["publish"], "*")))
    with Subscriber(server, "https://example.com/books/{id}") as old, \
            stream(server, ("matchURLPattern",
                            "https://example.com/books/:id")) as young:
        publish(server, BOOK, "by 0.x")
        assert post(server, [("topic", BOOK), ("data", "by 1.0")],
                    new).status == 200
        for reader in (old, young):
            assert reader.until(2) == ["by 0.x", "by 1.0"]


def test_712_07_a_token_s_end(server):
    text = access(detail(["subscribe"], "*"), exp=time.time() + 1.5)
    with stream(server, ("match", "x"), headers=bearer(text)) as reader:
        reader.until_end()


def test_712_08_query(server):
    """A QUERY request subscribes to the topics of its form and of its URL.  A
    wrong form is an error, and so is QUERY at other endpoints."""
    before = publish(server, "mark", "x")
    publish(server, "old", "history")
    grants = bearer(access(detail(["subscribe"], "mine")))
    form = urlencode([("match", "old"), ("match", "mine"),
                      ("lastEventID", before)]).encode()
    with Stream(server, HUB + "?match=inurl", {**FORM, **grants},
                method="QUERY", body=form) as reader:
        for topic in ("inurl", "mine", "other", "old"):
            publish(server, topic, topic, **(
                {"private": "on"} if topic == "mine" else {}))
        assert reader.until(4) == ["history", "inurl", "mine", "old"]
        assert reader.conn.headers["last-event-id"] == before
    with Stream(server, HUB, FORM, method="QUERY",
                body=b"topic=books/%7Bid%7D") as reader:
        publish(server, "books/1", "a book")
        assert reader.until(1) == ["a book"]
    plain = {"Content-Type": "text/plain"}
    for target, headers, body, status in (
            (HUB, FORM, b"", 400), (HUB, FORM, b"match=x&topic=y", 400),
            (HUB, FORM, b"x=1&" * 1001, 400), (HUB, plain, b"match=x", 415),
            (HUB, {}, b"match=x", 415), (HUB, FORM, b"a" * 300_000, 413),
            (HUB, {**FORM, "Content-Encoding": "br"}, b"match=x", 415),
            ("/closed", FORM, b"match=x", 401),
            ("/comet/x", FORM, b"since=0", 405)):
        answer = server.request("QUERY", target, body, headers)
        assert answer.status == status, (target, headers, body[:20], answer)


def test_712_09_what_is_not_there(server):
    """The API of active subscriptions and the resource's metadata do not exist:
    both get 404."""
    reader = bearer(access(detail(["subscribe"], "*")))
    for path in (HUB + "/subscriptions", HUB + "/subscriptions/exact/x/y",
                 "/.well-known/oauth-protected-resource" + HUB):
        assert server.get(path, reader).status == 404


def test_712_10_no_token_in_a_log(server):
    tokens.assert_hidden(server)
