# SPDX-License-Identifier: Apache-2.0
"""A reference server for the frames that a client sends, according to RFC 6455
(sections 5 to 7), and families of cases.  It shares no code with mod_comet. A
case is a name and frames; the reference says how a server must answer them."""

import struct
from collections import namedtuple

from socket_client import (BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT,
                           frame)

# A frame as a client sends it; `length` and `form` as in socket_client.frame().
Frame = namedtuple("Frame", "opcode payload fin rsv masked form length",
                   defaults=(b"", True, 0, True, None, None))
MOST = 6 * 65536 + 4096         # the longest message that is accepted
VALID_CODES = set(range(1000, 1004)) | set(range(1007, 1012)) \
    | set(range(3000, 5000))


def encode(one):
    return frame(one.opcode, one.payload, fin=one.fin, rsv=one.rsv,
                 mask=b"\x91\x02\xfe\x40" if one.masked else None,
                 form=one.form, length=one.length)


def is_utf8(text, whole):
    """Return whether a text is valid UTF-8. With `whole` false, return whether
    further bytes can make it valid."""
    try:
        text.decode("utf-8")
        return True
    except UnicodeDecodeError as error:
        # only an incomplete character at the end can still become valid
        return not whole and error.reason == "unexpected end of data"


class Reference:
    """The server's side.  `answers` are its frames: (opcode, payload), and last
    (CLOSE, code).  `texts` are the messages that it accepts."""

    def __init__(self, frames):
        self.answers, self.texts = [], []
        self.message = None         # the payload of the fragments so far
        for one in frames:
            if self.is_closed():
                break
            code = self.take(one)
            if code is not None:
                self.answers.append((CLOSE, code or None))

    def is_closed(self):
        return bool(self.answers) and self.answers[-1][0] == CLOSE

    def take(self, one):
        """Take a frame. Return the code of the Close that answers it; 0 if that
        Close has no code; None if the connection goes on."""
        size = len(one.payload) if one.length is None else one.length
        form = one.form
        shortest = 0 if size < 126 else 2 if size < 65536 else 8
        if one.rsv or not one.masked or size >= 1 << 63 \
                or (form is not None and form != shortest):
            return 1002
        if one.opcode >= 8:
            if one.opcode > PONG or not one.fin or size > 125:
                return 1002
            return self.control(one)
        if one.opcode > BINARY \
                or (one.opcode == CONTINUATION) == (self.message is None):
            return 1002
        return self.data(one, size)

    def control(self, one):
        if one.opcode == PING:
            self.answers.append((PONG, one.payload))
        if one.opcode != CLOSE:
            return None
        if not one.payload:
            return 0
        if len(one.payload) == 1:
            return 1002
        code, = struct.unpack(">H", one.payload[:2])
        if code not in VALID_CODES:
            return 1002
        return code if is_utf8(one.payload[2:], True) else 1007

    def data(self, one, size):
        if one.opcode == BINARY:
            return 1003
        held = self.message or b""
        if len(held) + size > MOST:
            return 1009
        self.message = held + one.payload
        if not is_utf8(self.message, one.fin):
            return 1007
        if one.fin:
            self.texts.append(self.message)
            self.message = None
        return None


# -- families of cases ---------------------------------------------------------

def text(body="a"):
    """Return a command to publish, which mod_comet accepts."""
    return b'{"publish": {"body": "%s"}}' % body.encode()


def heads():
    """Yield every opcode with every reserved bit, final or not, masked or not.
    Each is tried alone and within a message."""
    begun = Frame(TEXT, b"{", fin=False)
    for opcode in range(16):
        for rsv in range(8):
            yield "opcode %d rsv %d" % (opcode, rsv), [Frame(opcode, rsv=rsv)]
        for fin in (True, False):
            for masked in (True, False):
                one = Frame(opcode, b"", fin, 0, masked)
                name = "opcode %d fin %d masked %d" % (opcode, fin, masked)
                yield name, [one]
                yield name + " within", [begun, one]


def lengths():
    """Yield every length at a boundary, in each form that can hold it, and
    longer lengths that are announced but not sent."""
    for size in (0, 1, 124, 125, 126, 127, 65535, 65536):
        for form in (0, 2, 8):
            if size >= (126, 65536, 1 << 63)[form // 3]:
                continue
            for opcode in (TEXT, PING, CLOSE):
                yield "length %d of %d in %d" % (size, opcode, form), [
                    Frame(opcode, b" " * size if opcode != CLOSE
                          else (struct.pack(">H", 1000) + b"x" * size)[:size],
                          form=form)]
    for size in (MOST + 1, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63,
                 (1 << 64) - 1):
        for opcode in (TEXT, PING):
            yield "announced %d of %d" % (size, opcode), [
                Frame(opcode, b"x", length=size)]


def limits():
    """Yield messages of the greatest length that is allowed, and one byte
    longer."""
    half = MOST // 2
    for size in (MOST, MOST + 1):
        yield "%d bytes" % size, [Frame(TEXT, b" " * size)]
        yield "%d bytes in fragments" % size, [
            Frame(TEXT, b" " * half, fin=False), Frame(PING, b"p"),
            Frame(CONTINUATION, b" " * (size - half))]


def fragments():
    """Yield control frames at each place between fragments, and fragments that
    do not belong together."""
    parts = [text()[:5], b"", text()[5:9], text()[9:]]
    for at in range(5):
        for opcode, payload in ((PING, b"p"), (PONG, b"q"), (CLOSE, b""),
                                (CLOSE, b"\x03\xe8bye"), (CLOSE, b"\x03"),
                                (11, b""), (TEXT, b"{}"), (BINARY, b"")):
            frames = [Frame(TEXT if not n else CONTINUATION, part, n == 3)
                      for n, part in enumerate(parts)]
            frames.insert(at, Frame(opcode, payload))
            yield "%d %r before fragment %d" % (opcode, payload, at), frames


GOOD = ("\u03ba\u1f79\u03c3\u03bc\u03b5", "\U0001f600", "\u20ac",
        "\ud7ff\ue000\ufffd\ufffe\uffff", "\U00010000\U0010ffff", "\x7f\x80",
        "\u07ff\u0800", "")
BAD = (b"\x80", b"\xbf", b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\x80",
       b"\xe0\x9f\xbf", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf0\x80\x80\x80",
       b"\xf0\x8f\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80",
       b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80", b"\xfe", b"\xff",
       b"\xc2", b"\xe1\x80", b"\xf1\x80\x80", b"\xc2\x20", b"\xe1\x80\x20",
       b"\xf1\x80\x80\x20")


def characters():
    """Yield valid and invalid UTF-8, split into two fragments at each byte."""
    whole = [text(good) for good in GOOD if good]
    whole += [b'"' + bad + b'"' for bad in BAD]
    whole += [b'"' + bad for bad in BAD]
    for data in whole:
        for at in range(len(data) + 1):
            yield "UTF-8 %r at %d" % (data, at), [
                Frame(TEXT, data[:at], fin=False),
                Frame(CONTINUATION, data[at:])]


def closes():
    """Yield Close frames with many codes, lengths and characters in the
    reason."""
    codes = list(range(0, 6)) + list(range(995, 1030)) + [
        1099, 1100, 1999, 2000, 2999, 3000, 3999, 4000, 4999, 5000, 9999, 65535]
    for code in codes:
        yield "close %d" % code, [Frame(CLOSE, struct.pack(">H", code)),
                                  Frame(PING, b"late")]
    for size in range(0, 126, 25):
        yield "close with %d bytes" % size, [
            Frame(CLOSE, (struct.pack(">H", 1000) + b"r" * 123)[:size])]
    for reason in [good.encode("utf-8", "surrogatepass") for good in GOOD[:3]] \
            + list(BAD):
        yield "close because %r" % reason, [
            Frame(CLOSE, struct.pack(">H", 1000) + b"so " + reason)]


def families():
    return [list(family()) for family in (heads, lengths, limits, fragments,
                                          characters, closes)]


def at_random(dice, count):
    """Yield random cases of several frames, most of which are valid."""
    def one(within):
        kind = dice.random()
        if kind < 0.25:
            return Frame(dice.choice((PING, PONG)),
                         b"p" * dice.randrange(126)), within
        if kind < 0.9:
            fin = dice.random() < 0.5
            body = dice.choice((text("x" * dice.randrange(200)), b"", b"{",
                                "\u20ac".encode(), b" " * 300))
            return Frame(CONTINUATION if within else TEXT, body, fin), not fin
        return Frame(dice.randrange(16), b"\x03\xe8" + dice.choice(BAD)[:1],
                     dice.random() < 0.9, dice.choice((0, 0, 0, 0, 1, 2, 4)),
                     dice.random() < 0.9), within
    for number in range(count):
        frames, within = [], False
        for _ in range(dice.randrange(1, 12)):
            added, within = one(within)
            frames.append(added)
        yield "random %d" % number, frames
