# SPDX-License-Identifier: Apache-2.0
"""Cheap requests stay cheap.  The server's cost is proportional to what clients
name, repeat, leave unread or read slowly, and everything that takes a place is
counted."""

import base64
import os
import re
import select
import subprocess
import time

import pytest

from crowd import Crowd
from h2_client import H2Tls
from http_client import Closed
from httpd_env import MPMS, SANITIZER, SLOW, WRITE_PATH, pss_kb, sql_text, \
    sqlite, wait_until
from stream_client import Stream, post

PROXY = """
RemoteIPHeader X-Forwarded-For
RemoteIPInternalProxy 127.0.0.1
"""


def via(address, **more):
    """Return headers in which a trusted proxy gives the client's address."""
    return dict({"X-Forwarded-For": address}, **more)


def fill(server, rows):
    """Store messages at once; each row is (channel, body)."""
    values = ",".join("(%s,%s)" % (sql_text(c), sql_text(b)) for c, b in rows)
    sqlite(server.db, "INSERT INTO message(channel, body) VALUES %s" % values)


def cpu(server):
    """Return the CPU seconds that the children have used."""
    total = 0
    for pid in server.children():
        with open("/proc/%d/stat" % pid) as stat:
            fields = stat.read().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


# -- what takes a place is counted --------------------------------------------

LONG = "\x01" * 50000   # six bytes each in JSON: too much for a socket's buffer


SMALL = "SendBufferSize 16384\n"   # (a loopback socket buffers megabytes)


def ask(server, target, headers=None, rcvbuf=4096):
    """Send a request, and do not read its answer."""
    conn = server.raw(timeout=20, rcvbuf=rcvbuf)
    conn.request("GET", target, headers or {})
    return conn


@pytest.mark.parametrize("what", ["history", "news"])
def test_491_01_unread_answers_count(make_server, mpm, what):
    """A long answer that its client does not read counts towards the address's
    limit. Other clients are served."""
    server = make_server(mpm=mpm, modules=("remoteip",), conf=PROXY
                         + "CometLimitSubscribers address=2\n"
                         + SMALL)
    fill(server, [("long", LONG) for _ in range(5)])
    target = "/comet/long?since=0" + ("&wait=0" if what == "history" else "")
    me = via("192.0.2.1")
    conns = [ask(server, target, me) for _ in range(2)]
    try:
        for conn in conns:
            assert conn.until(b"\r\n").startswith(b"HTTP/1.1 200")
        refused = server.get(target, me)
        assert refused.status == 429, refused
        assert "CometLimitSubscribers" in refused.json()["error"]
        assert refused.header("etag") is None
        assert server.status()["limited_subscribers"] == 1
        assert server.get("/comet/x?since=0&wait=0", me).status == 200
        assert server.get(target, via("192.0.2.2")).status == 200
    finally:
        for conn in conns:
            conn.close()
    wait_until(lambda: server.get(target, me).status == 200, 10,
               "the places to be given back")


@pytest.mark.event
def test_491_02_resting_gives_way(make_server):
    """Connections that stay open after their answers give up their places to
    clients that must wait, the oldest connection first.  So no new client is
    refused."""
    server = make_server(mpm="event", threads=4, mpm_conf="""
      ServerLimit 1
      StartServers 1
      ThreadLimit 4
      ThreadsPerChild 4
      MaxRequestWorkers 4
      MinSpareThreads 1
      MaxSpareThreads 4
      AsyncRequestWorkerFactor 8
    """)
    post(server, "x", "one")
    resting, waiting = [], []
    try:
        for _ in range(40):         # more connections than places
            conn = server.raw(timeout=20)
            conn.request("GET", "/comet/x?since=0")
            assert conn.answer().status == 200
            resting.append(conn)
        for number in range(20):
            conn = server.raw(timeout=20)
            conn.request("GET", "/comet/y?since=0")
            waiting.append(conn)
            server.wait_waiting(number + 1)
        assert server.status()["turned_away"] == 0
        closed, _, _ = select.select([c.sock for c in resting], [], [], 0)
        assert closed == [c.sock for c in resting[:len(closed)]]
        assert 0 < len(closed) < len(resting)
        post(server, "y", "for all")
        for conn in waiting:
            answer = conn.answer()
            assert answer.status == 200 and b"for all" in answer.body
    finally:
        for conn in resting + waiting:
            conn.close()


def test_491_03_classic_over_the_limit(make_server, mpm):
    """A classic poll over its address's limit gets 429 at once on every MPM,
    and is not held."""
    server = make_server(mpm=mpm, classics=1, modules=("remoteip",), conf=PROXY
                         + "CometLimitSubscribers address=1\n")
    me = via("192.0.2.1")
    cursor = post(server, "c0", "first")
    with ask(server, "/comet/x", me):
        server.wait_waiting(1)
        answers = [server.get("/c0/backend.php?timestamp=%d" % cursor, me)
                   for _ in range(5)]
        assert {a.status for a in answers} == {429}, answers
        assert server.status()["limited_subscribers"] == 5
        assert server.waiting() == 1


@pytest.mark.event
def test_491_04_classic_over_the_servers_places(make_server):
    """If the server has no place, a classic poll is held for a second.
    Meanwhile it counts towards its address's limit."""
    server = make_server(mpm="event", classics=1, modules=("remoteip",),
                         conf=PROXY + "CometMaxSubscribers 1\n"
                         "CometLimitSubscribers address=2\n")
    me = via("192.0.2.1")
    with ask(server, "/comet/x", via("192.0.2.2")):
        server.wait_waiting(1)
        conns = [ask(server, "/c0/backend.php", me) for _ in range(6)]
        statuses = sorted(conn.answer().status for conn in conns)
        for conn in conns:
            conn.close()
        assert statuses.count(429) >= 1 and statuses.count(200) >= 2, statuses


@pytest.mark.event
@pytest.mark.parametrize("what", ["channels", "landing"])
def test_491_16_unread_answers_leave_threads(make_server, what):
    """Long answers that must hold a thread until they are read hold only some
    of the threads: lists of channels, and a long message for streams that are
    turned away.  Further clients are told to come back, and the site is
    served."""
    server = make_server(mpm="event", threads=5, conf=SMALL
                         + "CometMulti on\nCometMaxSubscribers 1\n")
    fill(server, [("long/%03d%s" % (i, "n" * 240), "x") for i in range(900)])
    fill(server, [("lines", NEWLINES)])
    target, headers = {
        "channels": ("/comet?channels=long/*", {}),
        "landing": ("/comet/lines?since=0", {"Accept": "text/event-stream"}),
    }[what]
    whole = server.get("/comet?channels=long/*").json()["channels"]
    assert len(whole) == 900
    with ask(server, "/comet/x?since=0"):
        server.wait_waiting(1)
        conns = [ask(server, target, headers) for _ in range(10)]
        try:
            for conn in conns:
                assert conn.until(b"\r\n").split()[1] in (b"200", b"503")
            assert server.status()["writing"] == 1
            for _ in range(3):
                assert server.get("/static.txt").status == 200
        finally:
            for conn in conns:
                conn.close()
    wait_until(lambda: server.status()["writing"] == 0, 10, "a free thread")


# -- memory that clients choose -----------------------------------------------

NEWLINES = "\n" * 60000     # seven bytes each on a stream


@pytest.mark.event
@pytest.mark.parametrize("messages, least, most", [
    pytest.param([NEWLINES] * 4, 8192, 34000, id="long"),
    pytest.param(["x" * 1000] * 3000, 1000, 12000, id="many")])
def test_491_05_slow_streams_are_bounded(make_server, figure, messages, least,
                                         most):
    """Slow streams get a long history piece by piece, whether its messages are
    long or many.  The child uses a limited amount of memory for them, and every
    message arrives completely."""
    server = make_server(mpm="event", children=1, conf=SMALL)
    count = 60
    fill(server, [("long", text) for text in messages + ["the end"]])
    pid = server.children()[0]
    before = pss_kb(pid)
    streams = [Stream(server, "/comet/long?since=0", rcvbuf=2048)
               for _ in range(count)]
    try:
        wait_until(lambda: server.status()["buffered_bytes"] > count * least,
                   20, "their outboxes to fill")
        kept = server.status()["buffered_bytes"]
        figure("%d slow streams: %d bytes kept, %d KB more"
               % (count, kept, pss_kb(pid) - before))
        assert kept <= count * most, kept
        for stream in streams[:3]:
            assert stream.until(len(messages) + 1) == messages + ["the end"]
    finally:
        for stream in streams:
            stream.conn.close()
    wait_until(lambda: server.status()["buffered_bytes"] == 0, 20,
               "all to be given back")


@pytest.mark.event
@pytest.mark.parametrize("adopt, then", [
    ("on", "another"), ("on", "silence"), ("off", "another"),
    ("off", "silence")])
def test_491_06_an_erased_rest_ends_the_stream(make_server, adopt, then):
    """If a message is deleted when a client has read half of it, the
    client's stream ends, whether the hub or httpd's filters write it.  The
    client never gets two messages joined, or a stream that stays open in the
    middle of one."""
    server = make_server(mpm="event", children=1,
                         conf=SMALL + "CometAdopt %s\n" % adopt)
    fill(server, [("long", NEWLINES + "a" * 60000)])
    with Stream(server, "/comet/long?since=0", rcvbuf=2048) as stream:
        stream.until_bytes(b"data: \n" * 20)
        assert (server.status()["adopted"] == 1) == (adopt == "on")
        sqlite(server.db, "DELETE FROM message")
        if then == "another":
            post(server, "long", "another")
        with pytest.raises((Closed, ConnectionError)):
            while stream.step():
                pass
        assert stream.data() == []


@pytest.mark.event
@pytest.mark.parametrize("kind", ["http1", "h2"])
def test_491_15_long_answers_are_bounded(make_server, kind):
    """While much is kept for clients that do not read, each answer has fewer
    messages, also over HTTP/2, where one connection may ask for a hundred
    answers.  A client that continues gets every message once."""
    # each thread may begin one more long answer before the limit takes effect
    server = make_server(mpm="event", children=1, threads=8, conf=SMALL,
                         tls=kind == "h2", h2=kind == "h2")
    bodies = ["%d %s" % (i, LONG) for i in range(5)]
    fill(server, [("long", body) for body in bodies])
    target, conns = "/comet/long?since=0&wait=0", []
    try:
        if kind == "h2":
            conns.append(H2Tls(server.tls_port, window=100, wider=0))
            for _ in range(60):
                conns[0].request("GET", target)
        else:
            conns = [ask(server, target) for _ in range(60)]
        wait_until(lambda: server.status()["buffered_bytes"] > 1 << 24, 20,
                   "much to be kept")
        news, found = server.get(target).json()["messages"], []
        assert [m["body"] for m in news] == bodies[:1]
        before = 1 << 53 - 1
        while before:
            page = server.get("/comet/long?before=%d" % before).json()
            found = [m["body"] for m in page["messages"]] + found
            assert len(page["messages"]) == 1
            before = page.get("before")
        assert found == bodies
        kept = server.status()["buffered_bytes"]
        assert kept < 60000000, kept  # 90 MB without a bound
    finally:
        for conn in conns:
            conn.close()
    wait_until(lambda: server.status()["buffered_bytes"] == 0, 20,
               "all to be given back")


# -- what authorisation costs --------------------------------------------------

@pytest.mark.event
def test_491_07_judging_leaves_nothing(make_server, figure):
    """A poll on a wildcard keeps little memory, although many channels were
    authorised for it."""
    server = make_server(mpm="event", children=1, conf="CometMulti on\n")
    fill(server, [("r/%03d" % i + "n" * 200, "x") for i in range(900)])
    cursor = server.get("/comet/x?since=0&wait=0").json()
    pid = server.children()[0]
    target = "/comet?channel=r/*&since=%d" % post(server, "x", "now")
    conns, last = [], 0
    try:
        for count in (10, 40):
            while len(conns) < count:
                conns.append(ask(server, target))
                server.wait_waiting(len(conns))
            first, last = last, pss_kb(pid)
        each = (last - first) / 30
        figure("a waiting poll on 900 channels: %.0f KB" % each)
        if SANITIZER == "none":     # sanitizers keep freed memory
            assert each < 200, (each, cursor)
    finally:
        for conn in conns:
            conn.close()


USERS = """
CometMulti on
<Location "/comet">
  AuthType Basic
  AuthName "users"
  AuthUserFile "{root}/conf/users"
  Require expr "%{REQUEST_URI} !~ m#/only-bert# || %{REMOTE_USER} == 'bert'"
  Require user nobody
</Location>
<Location "/comet/apart">
  AuthName "others"
  AuthUserFile "{root}/conf/others"
  Require user bert
</Location>
<Location "/comet/apart/twin">
  AuthUserFile "{root}/conf/users"
  Require user anna
</Location>
<If "%{REQUEST_URI} =~ m#^/comet/if/#">
  Require user bert
</If>
<If "%{REQUEST_URI} =~ m#^/comet/if/only-anna#">
  Require user anna
</If>
"""


def basic(name, password="secret"):
    token = base64.b64encode(("%s:%s" % (name, password)).encode())
    return {"Authorization": "Basic " + token.decode()}


@pytest.fixture
def bcrypt(make_server):
    """Return a server that takes 25 ms to check a password."""
    server = make_server(start=False, conf=USERS.replace(
        "Require expr", "<RequireAll>\n  Require valid-user\n  Require expr")
        .replace("  Require user nobody\n", "  </RequireAll>\n"))
    for name, users in (("users", ("anna", "bert")), ("others", ("bert",))):
        path = os.path.join(server.root, "conf", name)
        for i, user in enumerate(users):
            subprocess.run(["htpasswd", "-bB", "-C", "9"]
                           + (["-c"] if not i else []) + [path, user, "secret"],
                           check=True, timeout=30, stderr=subprocess.DEVNULL)
        os.chmod(path, 0o644)
    return server.start()


@pytest.mark.parametrize("below", ["r", "apart", "if"])
@pytest.mark.parametrize("what", ["names", "wildcard", "batch"])
def test_491_08_one_password_a_request(bcrypt, what, below, figure):
    """A password is checked once per request and section, however many channels
    the request names, even if the sections do not apply to the request's own
    URL.  The CPU time of a request for one channel is the measure."""
    server, bert = bcrypt, basic("bert")
    names = ["%s/%d" % (below, i) for i in range(80)]
    if what == "names":     # alternately from two sections
        names[::2] = ["q%d" % i for i in range(40)]
    fill(server, [(name, "x") for name in names])
    assert server.get("/comet/r/1?since=0&wait=0", bert).status == 200
    begin = cpu(server)
    for _ in range(10):
        server.get("/comet/r/1?since=0&wait=0", bert)
    one = (cpu(server) - begin) / 10
    begin = cpu(server)
    if what == "batch":
        body = "".join('{"channel":"%s","body":"y"}\n' % n for n in names)
        answer = server.request("POST", "/comet/r/0", body.encode(), dict(
            bert, **{"Content-Type": "application/x-ndjson"}))
        assert answer.status == 201, answer
    else:
        query = ("&".join("channel=" + n for n in names)
                 if what == "names" else "channel=%s/*" % below)
        answer = server.get("/comet?%s&since=0&wait=0&limit=1000" % query,
                            bert)
        assert answer.status == 200, answer
        assert len(answer.json()["messages"]) == len(names)
    many = cpu(server) - begin
    figure("one channel %.0f ms, 80 channels %.0f ms" % (one * 1e3,
                                                         many * 1e3))
    assert many < 12 * one, (one, many)


def test_491_09_each_channel_is_judged(bcrypt):
    """Although the password is checked once, each channel is authorised by its
    own rules.  A section with other passwords asks for one of these."""
    server = bcrypt
    fill(server, [(n, "x") for n in ("a", "only-bert", "apart/1")])

    def status(who, *names, password="secret"):
        return server.get("/comet?since=0&wait=0&" + "&".join(
            "channel=" + n for n in names), basic(who, password)).status

    assert status("anna", "a") == 200
    assert status("anna", "a", "only-bert") in (401, 403)
    assert status("bert", "a", "only-bert") == 200
    assert status("anna", "a", "apart/1") in (401, 403)
    assert status("bert", "a", "only-bert", "apart/1") == 200
    assert status("bert", "apart/1", "apart/twin/1") in (401, 403)
    assert status("anna", "apart/twin/1", "apart/1") in (401, 403)
    assert status("anna", "a", "apart/twin/1", "apart/twin/2") == 200
    assert status("bert", "if/1", "if/2") == 200
    assert status("bert", "if/1", "if/only-anna") in (401, 403)
    assert status("anna", "if/only-anna", "if/1") in (401, 403)
    assert status("anna", "if/only-anna", "a") == 200
    assert status("bert", "a", password="wrong") == 401
    assert status("anna", "*") in (401, 403)
    assert status("bert", "*") == 200


@pytest.mark.event
def test_491_14_judging_ends_with_the_child(make_server, figure):
    """If httpd restarts, a child does not go on judging the channels of a
    request.  Here each channel has a password of its own, which costs 0.2 s."""
    channels = range(60)
    server = make_server(
        start=False, mpm="event", children=1, threads=16,
        conf=USERS + "".join('<Location "/comet/p/%d">\n  AuthName "p%d"\n'
                             "  Require valid-user\n</Location>\n" % (i, i)
                             for i in channels))
    path = os.path.join(server.root, "conf", "users")
    subprocess.run(["htpasswd", "-bcB", "-C", "12", path, "bert", "secret"],
                   check=True, timeout=30, stderr=subprocess.DEVNULL)
    os.chmod(path, 0o644)
    server.start()
    with ask(server, "/comet?since=0&wait=0&" + "&".join(
            "channel=p/%d" % i for i in channels), basic("bert")):
        begin = cpu(server)
        wait_until(lambda: cpu(server) > begin + 0.5, 20,
                   "passwords to be checked")
        took = server.time_restart()
    figure("a restart takes %.1f s" % took)
    assert took < 5 * SLOW, took


# -- live streams while others catch up ---------------------------------------

@pytest.mark.event
@pytest.mark.serial
@pytest.mark.both_paths
def test_491_10_live_beside_catching_up(make_server, figure):
    """While 60 streams catch up on a long history at full speed, another stream
    gets each new message at once."""
    server = make_server(mpm="event", children=1)
    body = "y" * 50000
    for _ in range(8):
        fill(server, [("old", body) for _ in range(50)])
    streams = []
    with Stream(server, "/comet/live") as live:
        try:
            for _ in range(60):
                conn = server.raw(timeout=30)
                conn.request("GET", "/comet/old?since=0",
                             {"Accept": "text/event-stream"})
                streams.append(conn)
            delays = []
            for number in range(20):
                for conn in streams:        # read what has arrived
                    conn.sock.setblocking(False)
                    try:
                        conn.sock.recv(1 << 20)
                    except BlockingIOError:
                        pass
                begin = time.monotonic()
                post(server, "live", str(number))
                live.until(number + 1)
                delays.append(time.monotonic() - begin)
            delays.sort()
            figure("beside 60 that catch up: median %.0f ms, most %.0f ms"
                   % (delays[10] * 1e3, delays[-1] * 1e3))
            assert delays[10] < 0.15 * SLOW, delays
        finally:
            for conn in streams:
                conn.close()


# -- clients that come back ---------------------------------------------------

GROUPS = """
CometMulti on
<Location /comet>
  AuthType Basic
  AuthName users
  AuthUserFile "{root}/conf/users"
  AuthGroupFile "{root}/conf/groups"
  Require valid-user
</Location>
<Location /comet/r/old>
  Require group old
</Location>
<Location /comet/r/secret>
  Require user bert
</Location>
"""


def set_groups(server, text):
    path = os.path.join(server.root, "conf", "groups")
    with open(path, "w") as out:
        out.write(text)
    os.chmod(path, 0o644)


def groups_server(make_server, conf, **options):
    """Start a server where anna may read r/old as long as the group file says
    so."""
    server = make_server(start=False, children=1, conf=GROUPS + conf,
                         modules=("authz_groupfile",), **options)
    path = os.path.join(server.root, "conf", "users")
    for i, user in enumerate(("anna", "bert")):
        subprocess.run(["htpasswd", "-bs"] + (["-c"] if not i else [])
                       + [path, user, "secret"], check=True, timeout=30,
                       stderr=subprocess.DEVNULL)
    os.chmod(path, 0o644)
    set_groups(server, "old: anna bert\n")
    server.start()
    fill(server, [("r/old", "first")])
    return server


@pytest.fixture
def groups(make_server, request):
    return groups_server(make_server, "CometAdopt %s\n" % request.param)


ANNA = dict(basic("anna"))


def status(server, headers, query="&wait=0"):
    return server.get("/comet?channel=r/*" + query, headers).status


@pytest.mark.event
@pytest.mark.parametrize("groups", ["on", "off"], indirect=True)
def test_491_11_only_the_new_channel_is_judged(groups):
    """A stream ends when its wildcard matches a new channel.  When its client
    returns, only this channel is authorised.  The client may read the others
    for as long as its first stream might have lasted.  Other clients are
    authorised for all channels."""
    server = groups
    with Stream(server, "/comet?channel=r/*&since=0", ANNA) as stream:
        stream.until(1)
        set_groups(server, "old: bert\n")
        server.wait_waiting(1, "events")
        fill(server, [("r/new", "second")])
        stream.until_end()
        last = stream.parser.last_id
    again = dict(ANNA, **{"Last-Event-ID": last})
    with Stream(server, "/comet?channel=r/*&since=0", again) as stream:
        assert "second" in stream.until(1)[0]
        # A request with other headers or parameters, or for history, counts as
        # another client's.
        for headers, query in ((dict(again, Cookie="a=b"), "&since=0"),
                               (again, "&since=0&limit=5"),
                               (ANNA, "&wait=0")):
            assert status(server, headers, query) in (401, 403)
        assert status(server, ANNA) in (401, 403)
        assert status(server, basic("bert")) == 200
        server.wait_waiting(1, "events")
        fill(server, [("r/secret", "third")])
        stream.until_end()
    assert status(server, dict(again), "&since=0") in (401, 403)


@pytest.mark.event
@pytest.mark.parametrize("groups", ["on"], indirect=True)
def test_491_12_a_poll_is_not_judged_again(groups):
    """If a poll ends because its wildcard matches a new channel, only this
    channel is authorised for the client's next poll.  The client may read the
    others for as long as its first poll would have waited."""
    server = groups
    cursor = server.get("/comet/r/old?since=0&wait=0", ANNA).json()["timestamp"]
    with server.raw() as conn:
        for text in ("second", "third"):
            conn.request("GET", "/comet?channel=r/*&wait=4&since=%d" % cursor,
                         ANNA)
            server.wait_waiting(1, "poll")
            set_groups(server, "old: bert\n")
            fill(server, [("r/%s" % text, text)])
            assert conn.answer().json()["messages"] == []
            conn.request("GET", "/comet?channel=r/*&wait=4&since=%d" % cursor,
                         ANNA)
            messages = conn.answer().json()["messages"]
            assert [m["body"] for m in messages] == [text]
            cursor = messages[-1]["timestamp"]
        def denied():
            return server.get("/comet?channel=r/*&wait=4&since=%d" % cursor,
                              ANNA).status in (401, 403)
        wait_until(denied, 15, "the old verdict to end")


@pytest.mark.event
def test_491_13_the_return_is_spread(make_server):
    """At a reload, many clients with many channels are told to return at
    different moments, over more than 2 s and less than 30 s."""
    server = make_server(conf="CometMulti on\n", children=1)
    fill(server, [("room/%d" % n, "x") for n in range(900)])
    with Crowd(server) as crowd:
        socks = crowd.ask(400, "/comet?channel=room/*&limit=1",
                          {"Accept": "text/event-stream"})
        server.wait_waiting(400, "events", timeout=20)
        server.graceful()
        said = []
        for sock in socks:
            text = b""
            while b"0\r\n\r\n" not in text[-7:]:
                more = sock.recv(65536)
                assert more
                text += more
            said.append(int(re.findall(rb"retry: (\d+)\n", text)[-1]))
    said.sort()
    assert 2000 < said[-1] < 30000, said
    assert said[300] > 1.5 * said[100], said    # quartiles
