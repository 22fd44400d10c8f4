# SPDX-License-Identifier: Apache-2.0
"""Compare how the module and a reference in Python parse random query strings,
forms, cursors and batches."""

import json
import os
import random
import re

from http_client import quote
from httpd_env import sqlite

SEED = int(os.environ.get("COMET_SEED", "460"))
CONF = ("CometSync normal\nCometMaxMessageSize 100000\n"
        '<Location "/comet">\nCometMulti on\n</Location>\n')
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
LINES = {"Content-Type": "application/x-ndjson"}


# -- the references ------------------------------------------------------------

def reference_pairs(encoded):
    """Decode application/x-www-form-urlencoded exactly as in section 5.1 of
    WHATWG's URL standard."""
    pairs = []
    for part in encoded.split(b"&"):
        if part:
            name, _, value = part.partition(b"=")
            pairs.append((reference_decode(name), reference_decode(value)))
    return pairs


def reference_decode(text):
    return re.sub(rb"%([0-9A-Fa-f]{2})",
                  lambda match: bytes([int(match.group(1), 16)]),
                  text.replace(b"+", b" "))


def last(pairs, name):
    found = [value for key, value in pairs if key == name]
    return found[-1] if found else None


def is_utf8(data):
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def is_text(data, most=255):
    """Whether this is a valid type. A channel's name has further rules."""
    return 0 < len(data) <= most and is_utf8(data) and not re.search(
        "[\x00-\x1f\x7f\x80-\x9f]", data.decode("utf-8"))


def is_body(data):
    return is_utf8(data) and b"\0" not in data


def is_channel(data):
    return is_text(data) and not {b"", b".", b".."} & set(data.split(b"/"))


def reference_cursor(data):
    """The number that a cursor means; None if it is invalid."""
    if data == b"":
        return -1
    if not re.fullmatch(rb"[0-9]+", data) or int(data) > 2 ** 53 - 1:
        return None
    return int(data)


def unique(pairs):
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError("twice")
    return dict(pairs)


def reference_line(line):
    """The members of a line of a batch; None if the line is invalid."""
    try:
        made = json.loads(line.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError):
        return None
    if not isinstance(made, dict) or "body" not in made \
            or set(made) - {"body", "type", "channel"} \
            or not all(isinstance(text, str) for text in made.values()):
        return None
    try:
        data = {name: text.encode("utf-8") for name, text in made.items()}
    except UnicodeEncodeError:          # half of a surrogate pair
        return None
    if not is_body(data["body"]) or not is_text(data.get("type", b"t")) \
            or data.get("type") == b"gap" \
            or not is_channel(data.get("channel", b"c")):
        return None
    return made


# -- random input ----------------------------------------------------------------

PIECES = [b"msg", b"type", b"=", b"=", b"&", b"&", b"+", b"%", b"%2", b"%zz",
          b"%41", b"%00", b"%0a", b"%0D", b"%c3%bc", b"%C3", b"%ff", b"%26",
          b"%3d", b"%2B", b"%25", b"%2541", b";", b"a", b"b", b" ", b"%20",
          b"%f0%9f%98%80", b"%ed%a0%80", b"%c0%80", b"%e2%80%a8", b"%7f",
          b"%c2%85", b"msg=x", b"&type=y", b"gap", b"#", b"?", b"/", b"[]",
          b"%6dsg=", b"m%73g=", b"MSG=", b"msg[]=", b"'", b"\"", b"<"]
RAW = [b"\xc3\xbc", b"\xff", b"\0", b"\n", b"\r\n", b"\xe2\x80\xa8", b"\x7f"]
TOKENS = [b'{', b'}', b'"', b'"body"', b'"type"', b'"channel"', b':', b',',
          b'"x"', b' ', b'\t', b'\r', b'{"body":"', b'","type":"', b'"}',
          b'","channel":"', b'\\n', b'\\u0000', b'\\u00fc', b'\\ud83d',
          b'\\ude00', b'\\ud83d\\ude00', b'\\uD83D\\uDE00', b'\\ud83d\\u0041',
          b'\\ud83d\\ue000', b'\\ud83d\\', b'\\', b'\\\\',
          b'\\"', b'\\/', b'\\b\\f\\t', b'\\x', b'\\u12', b'\\U0041', b'[', b']',
          b'null', b'true', b'1', b'-1e9', b'\xc3\xbc', b'\xff', b'\xed\xa0\x80',
          b'\0', b'\x01', b'\x7f', b'\xc2\x85', b'\xef\xbb\xbf', b'a', b'/',
          b'..', b'gap', b'"body":"x"', b'"b\\u006fdy":"y"', b'"author":"x"',
          b"'", b'NaN', b'//', b'/**/', b'\x0b', b'\xc2\xa0']
GOOD = b'{"body":"x","type":"t","channel":"c"}'


def mixed(chance, pieces, most):
    return b"".join(chance.choice(pieces)
                    for _ in range(chance.randint(0, most)))


def mutated(chance, text, pieces):
    """A text with one to three small changes."""
    for _ in range(chance.randint(1, 3)):
        at = chance.randint(0, len(text))
        text = text[:at] + chance.choice(pieces + [b""]) \
            + text[at + chance.randint(0, 2):]
    return text


class Ask:
    """One connection for many requests. It is opened again if a refusal has
    closed it."""

    def __init__(self, server):
        self.server, self.conn = server, None

    def __call__(self, method, target, headers=None, body=None):
        if self.conn is None:
            self.conn = self.server.raw()
        answer = self.conn.request(method, target, headers, body).answer()
        if answer.header("connection") == "close":
            self.close()
        return answer

    def close(self):
        if self.conn is not None:
            self.conn.close()
        self.conn = None


def rows(server, channel):
    """The stored (channel, type, body) of a channel and of all channels below
    it."""
    return [tuple(map(bytes.fromhex, row)) for row in sqlite(
        server.db, "SELECT hex(channel), hex(type), hex(body) FROM message "
        "WHERE channel='%s' OR channel LIKE '%s/%%' ORDER BY timestamp;"
        % (channel, channel))]


# -- what is compared ---------------------------------------------------------------

def forms(server, count, seed=SEED):
    """The server accepts the same forms as the reference, and stores the same
    messages."""
    ask, chance, want = Ask(server), random.Random(seed), []
    for _ in range(count):
        form = mixed(chance, PIECES + RAW, 12)
        if chance.random() < 0.6:
            form = b"msg=" + form
        pairs = reference_pairs(form)
        body, kind = last(pairs, b"msg"), last(pairs, b"type")
        if not form:
            body = b""              # an empty form is an empty message
        good = body is not None and is_body(body) and (
            kind is None or is_text(kind) and kind != b"gap")
        answer = ask("POST", "/comet/forms", FORM, form)
        assert answer.status == (201 if good else 400), (form, answer)
        if good:
            want.append((b"forms", kind or b"message", body))
    assert len(want) > count / 10
    assert rows(server, "forms") == want


def queries(server, count, seed=SEED):
    """The server stores the type that the reference finds in a query string."""
    ask, chance, want = Ask(server), random.Random(seed + 1), []
    for _ in range(count):
        query = b"type=" * (chance.random() < 0.6) + mixed(
            chance, [p for p in PIECES if p not in (b" ", b"#")], 10)
        kind = last(reference_pairs(query), b"type")
        good = kind is None or is_text(kind) and kind != b"gap"
        answer = ask("POST", b"/comet/queries?" + query,
                     {"Content-Type": "text/plain"}, b"x")
        assert answer.status == (201 if good else 400), (query, answer)
        if good:
            want.append((b"queries", kind or b"message", b"x"))
    assert len(want) > count / 10
    assert rows(server, "queries") == want


def cursors(server, count, seed=SEED):
    """The server understands a cursor as the reference does, in each place
    where a request can have one."""
    ask, chance = Ask(server), random.Random(seed + 2)
    stamps = [server.post("cursors", "x") for _ in range(3)]
    pieces = [b"0", b"1", b"9", b"00", b"-", b"+", b".", b"e", b"x", b"0x",
              b" ", b"\t", b"_", b",", b"9007199254740991",
              b"9007199254740992", b"18446744073709551616", b"\xd9\xa1",
              b"\xef\xbc\x91", b"NaN", b"\0"] + [b"%d" % s for s in stamps]
    for _ in range(count):
        text = mixed(chance, pieces, 3)
        where = chance.choice(["since", "last_event_id", "lastEventId"])
        cursor = reference_cursor(text)
        answer = ask("GET", "/comet/cursors?wait=0&%s=%s"
                     % (where, quote(text)))
        if cursor is None:
            assert answer.status == 400, (text, answer)
            continue
        assert answer.status == 200, (text, answer)
        if cursor == -1 or cursor > stamps[-1]:
            cursor = 0              # all three messages are replayed
        assert [m["timestamp"] for m in answer.json()["messages"]] \
            == [stamp for stamp in stamps if stamp > cursor], text


def batches(server, count, seed=SEED):
    """The server accepts the lines of a batch that Python's json and the rules
    for messages accept, and refuses all others."""
    ask, chance, want = Ask(server), random.Random(seed + 3), []
    for number in range(count):
        line = chance.choice([
            lambda: mixed(chance, TOKENS, 14),
            lambda: mutated(chance, GOOD, TOKENS),
            lambda: b'{"body":"' + mixed(chance, TOKENS, 6) + b'"}',
            lambda: b'{"body":"x","channel":"batches/'
            + mixed(chance, TOKENS, 3) + b'"}'])()
        line = line.replace(b'"channel":"c"', b'"channel":"batches/c"')
        made = reference_line(line)
        if made and not made.get("channel", "batches/").startswith(
                "batches/"):
            continue        # a message on another test's channel
        answer = ask("POST", "/comet/batches", LINES, b"\n" + line + b"\n\r\n")
        assert answer.status == (201 if made else 400), (line, made, answer)
        if made:
            want.append(tuple(text.encode() for text in (
                made.get("channel", "batches"), made.get("type", "message"),
                made["body"])))
        else:
            assert answer.json()["error"].startswith("line "), answer
    assert len(want) > count / 20
    assert rows(server, "batches") == want


def channels(server, count, seed=SEED):
    """The server accepts the same channel names in a parameter as the
    reference."""
    ask, chance = Ask(server), random.Random(seed + 4)
    pieces = [b"a", b"/", b".", b"..", b"*", b"\0", b"\n", b" ", b"\xc3\xbc",
              b"\xff", b"\xc2\x85", b"\xe2\x80\xa8", b"%", b"\\", b"x" * 127,
              b"?", b"#", b";", b"&", b"+", b"\x7f", b"'"]
    for _ in range(count):
        name = mixed(chance, pieces, 5)
        stem = name
        if name == b"*":
            stem = b"x"
        elif name.endswith(b"/*"):
            stem = name[:-2]
        good = is_channel(stem) and len(name) <= 255
        answer = ask("GET", "/comet?wait=0&since=9007199254740991&channel="
                     + quote(name))
        assert answer.status == (200 if good else 400), (name, answer)


COMPARED = (forms, queries, cursors, batches, channels)
