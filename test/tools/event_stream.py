# SPDX-License-Identifier: Apache-2.0
"""Parses event streams by WHATWG's rules, for the tests and for clients that
leave parsing to their user."""

import codecs


class EventStream:
    """Turns the bytes that it is fed into events ({"id", "type", "data"}).

    last_id and retry (in seconds) outlive a connection; call begin() at the
    beginning of each.
    """

    def __init__(self, on_event):
        self.on_event = on_event
        self.last_id, self.retry = "", 1.0
        self.comments = 0
        self.begin()

    def begin(self):
        """Begin a new connection. An incomplete event is dropped."""
        self.decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self.rest, self.id = "", self.last_id
        self.type, self.data = "", []

    def feed(self, piece):
        """Process the next bytes."""
        text = self.rest + self.decoder.decode(piece)
        text, held = (text[:-1], "\r") if text.endswith("\r") else (text, "")
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self.rest = lines.pop() + held
        for line in lines:
            self.line(line)

    def line(self, line):
        if line == "":
            self.dispatch()
            return
        name, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if name == "":
            self.comments += 1
        elif name == "id" and "\0" not in value:
            self.id = value
        elif name == "event":
            self.type = value
        elif name == "data":
            self.data.append(value)
        elif name == "retry" and value.isdecimal():
            self.retry = int(value) / 1000

    def dispatch(self):
        self.last_id = self.id
        if self.data:
            self.on_event({"id": self.id, "type": self.type or "message",
                           "data": "\n".join(self.data)})
        self.type, self.data = "", []
