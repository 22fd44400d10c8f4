# SPDX-License-Identifier: Apache-2.0
"""A client of the Mercure protocol: its tokens, publishing and subscribing."""

from urllib.parse import urlencode

import tokens
from stream_client import Stream
from tokens import bearer, sign

HUB = "/.well-known/mercure"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ALL = "*"
BOOK = "https://example.com/books/1"

tokens.write("secret", tokens.SECRET)


def token(publish=None, subscribe=None, **more):
    """Return a token as Mercure 0.x defines it. A claim that is None is left
    out."""
    said = {name: list(topics) for name, topics in
            (("publish", publish), ("subscribe", subscribe))
            if topics is not None}
    return sign({"mercure": said, **more})


PUBLISHER = bearer(token(publish=[ALL]))


def post(server, fields, headers=None, hub=HUB):
    """Publish a form; `fields` are its (name, value) pairs."""
    return server.request("POST", hub, urlencode(fields).encode(),
                          {**FORM, **(PUBLISHER if headers is None
                                      else headers)})


def publish(server, topics, data=None, hub=HUB, **fields):
    """Publish an update to one topic or several; return its id."""
    topics = [topics] if isinstance(topics, str) else topics
    pairs = [("topic", topic) for topic in topics]
    if data is not None:
        pairs.append(("data", data))
    answer = post(server, pairs + list(fields.items()), hub=hub)
    assert answer.status == 200, answer
    assert answer.header("content-type") == "text/plain; charset=utf-8"
    return answer.body.decode()


def url(*topics, hub=HUB, **query):
    return hub + "?" + urlencode([("topic", t) for t in topics]
                                 + list(query.items()))


class Subscriber(Stream):
    """A subscriber to topics by the protocol of Mercure 0.x."""

    def __init__(self, server, *topics, headers=None, hub=HUB, **query):
        super().__init__(server, url(*topics, hub=hub, **query), headers)

    def header(self, name):
        return self.conn.headers.get(name.lower())

    def ids(self):
        return [event["id"] for event in self.events]
