# SPDX-License-Identifier: Apache-2.0
"""A child that runs out of descriptors for a while."""

import contextlib
import os
import resource
import select
import signal
import subprocess
import time

from crowd import EVENTS, WRITE_PATHS, Crowd, Footprint, read_head
from httpd_env import SLOW, WWW_USER, is_root, thread_count, wait_until


def limit_of(pid):
    """The soft and the hard limit of a process's descriptors."""
    with open("/proc/%d/limits" % pid) as limits:
        line = [x for x in limits if x.startswith("Max open files")][0]
    return [int(x) for x in line.split()[3:5]]


def set_limit(pid, soft):
    """Set the soft limit of a child, acting as the child's user."""
    command = ["prlimit", "--pid", str(pid), "--nofile=%d:" % soft]
    if is_root():
        command = ["setpriv", "--reuid", WWW_USER, "--regid", WWW_USER,
                   "--clear-groups"] + command
    subprocess.run(command, check=True, timeout=30,
                   stderr=subprocess.DEVNULL)


def lowest_free(pid):
    """The number that a process's next descriptor will get."""
    used = {int(name) for name in os.listdir("/proc/%d/fd" % pid)}
    return next(n for n in range(len(used) + 1) if n not in used)


@contextlib.contextmanager
def without_descriptors(pid, left=0):
    """Within this context, the process can open at most `left` more
    descriptors. It keeps those that it has."""
    soft = limit_of(pid)[0]
    set_limit(pid, lowest_free(pid) + left)
    try:
        yield
    finally:
        set_limit(pid, soft)


TEXT = {"Content-Type": "text/plain"}
# Requests on connections that are already open. Each gets its usual answer, or
# a clear error that says that it is impossible now.
QUESTIONS = (
    ("GET", "/comet/x?since=0&wait=0", {}, None),
    ("GET", "/comet/x?since=0&wait=1", {}, None),
    ("GET", "/comet?channel=x&channel=y&wait=0", {}, None),
    ("GET", "/comet?channel=*&since=0&wait=0", {}, None),
    ("GET", "/comet/x?since=0", EVENTS, None),
    ("POST", "/comet/x", TEXT, b"hi"),
)


def ask_all(conns, good):
    """Send all requests, each on its own connection; return how many messages
    were acknowledged, and how many requests were refused."""
    acknowledged = refused = 0
    for conn, question in zip(conns, QUESTIONS):
        conn.request(*question)
        status = conn.head()
        if status == 503:
            assert int(conn.headers["retry-after"]) >= 1
            assert b"error" in conn.body()
            refused += 1
        elif question[0] == "POST":
            assert status in (200, 201), conn.raw_head
            conn.body()
            acknowledged += 1
        else:
            assert status == 200, conn.raw_head
            if "event-stream" not in conn.headers["content-type"]:
                conn.body()
        assert not (good and status == 503), question
    return acknowledged, refused


def connected(server):
    """Open a connection for each request, and wait until the server has
    accepted them."""
    conns = [server.raw() for _ in QUESTIONS]
    for conn in conns:
        conn.request("GET", "/static.txt")
        assert conn.answer().status == 200
    return conns


def none_left(make_server, mpm, path, most):
    """A child can open no descriptor, or only a few. In every second round the
    database has just been replaced. Each answer is as usual or a clear error,
    and no acknowledged message is lost. Once the child can open descriptors
    again, everything works."""
    server = make_server(mpm=mpm, threads=16, conf=WRITE_PATHS[path]
                         + "CometMulti on\n")
    server.keep_port = True
    acknowledged = refused = 0
    for left in range(most):
        if left:
            server.stop()           # no file is open after this
            server.start()
        conns = connected(server)
        (child,) = server.children()
        with without_descriptors(child, left):
            if left % 2:
                os.rename(server.db, server.db + ".old%d" % left)
                os.unlink(server.db + "-wal")
                acknowledged = 0
            counts = ask_all(conns, good=False)
            acknowledged += counts[0]
            refused += counts[1]
        for conn in conns:
            conn.close()
        conns = connected(server)
        wait_until(lambda: server.request("POST", "/comet/x", b"hi",
                                          TEXT).status == 201, 5, "a 201")
        acknowledged += 1 + ask_all(conns, good=True)[0]
        for conn in conns:
            conn.close()
        server.wait_waiting(0)
        assert len(server.history("x")) == acknowledged
        assert server.children() == [child], "it has died"
    assert refused
    return "%d refused, %d stored" % (refused, acknowledged)


def used_up(make_server, path, streams=150, pages=300):
    """Clients use up all descriptors of a child. httpd lets another child take
    over (if this continues, it stops the server: AH02324). Each request gets
    its own answer or a refusal. Once the clients are gone, everything works as
    before."""
    server = make_server(mpm="event", threads=25, conf=WRITE_PATHS[path],
                         wrapper=("prlimit", "--nofile=300:300"))
    server.post("x", "first")
    before = Footprint(server)
    said = {}
    with Crowd(server) as crowd:
        for target, headers, count in (("/comet/x", EVENTS, streams),
                                       ("/static.txt", None, pages)):
            for _ in range(count):
                sock = crowd.ask(1, target, headers)[0]
                sock.settimeout(5 * SLOW)
                try:
                    status = read_head(sock).status
                except OSError:
                    status = "closed"
                said[status] = said.get(status, 0) + 1
        server.post("x", "second")
    # httpd itself answers 403 if it cannot look for a .htaccess
    assert set(said) <= {200, 503, 403, "closed"}, said
    assert said[200] >= pages
    assert said.get("closed", 0) + said.get(403, 0) <= 10, said
    server.wait_waiting(0)
    wait_until(lambda: before.grown()[1] <= 2 * server.threads, 10,
               "the descriptors")
    assert [m["body"] for m in server.history("x")] == ["first", "second"]
    assert "Too many open files" in server.error_log()
    return ", ".join("%s: %d" % pair for pair in said.items())


def many_hosts(server, hosts, stores):
    """The configuration of virtual hosts with their own logs, some with their
    own stores."""
    return "".join(
        '<VirtualHost *>\n  ServerName h%d\n  ErrorLog "logs/e%d.log"\n'
        '  CustomLog "logs/a%d.log" e2e\n' % (n, n, n)
        + ('  CometStore "sqlite:%s/s%d.db"\n  CometEndpoint /comet\n'
           % (server.data, n) if n < stores else "")
        + "</VirtualHost>\n" for n in range(hosts))


def leave_refused(socks):
    """Close the clients whose answers have ended; return how many are left."""
    ready = select.select(socks, [], [], 0)[0]
    for sock in ready:
        sock.setblocking(False)
        while True:
            try:
                if not sock.recv(65536):
                    sock.close()
                    socks.remove(sock)
                    break
            except BlockingIOError:
                break
    return len(socks)


def serving(server):
    """The children that serve requests. (Others write logs.)"""
    return [pid for pid in server.children() if thread_count(pid) > 1]


def fully_taken(server, target, headers=None):
    """There are more clients than a child has descriptors for. Clients that
    find no place are refused. Each visitor still gets a descriptor, and no
    waiting client is cut off."""
    (child,), asked = serving(server), 0

    def counts():
        now = server.status()
        return sum(now["waiting"].values()), now["turned_away"]

    with Crowd(server) as crowd:
        while counts()[1] < 60:
            crowd.ask(20, target, headers)
            asked += 20
            wait_until(lambda: sum(counts()) == asked, 20, "%d to be served"
                       % asked)
            wait_until(lambda: leave_refused(crowd.socks) == counts()[0],
                       5, "those refused to be told")
        waiting = counts()[0]
        for _ in range(20):
            assert server.get("/static.txt").status == 200
        assert leave_refused(crowd.socks) == waiting, "clients were cut"
    assert "Too many open files" not in server.error_log()
    assert serving(server) == [child], "it has ended"
    server.wait_waiting(0)
    return "%d of %d wait" % (waiting, asked)


def at_start(make_server, left):
    """Children start with few descriptors. As soon as they can open
    more, they serve requests; if httpd has given up on them, their successors
    do.
    (Under a threaded MPM httpd stops altogether if its first child has too
    few.)"""
    server = make_server(mpm="prefork")
    server.allow_log.append("AH00156")              # a fault of httpd itself
    server.post("x", "first")
    old = server.children()
    soft, hard = limit_of(server.pid)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE,
                     (lowest_free(server.pid) + left, hard))
    server.proc.send_signal(signal.SIGUSR1)
    wait_until(lambda: "Too many open files" in server.error_log(), 10,
               "a child that has none")
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (soft, hard))
    begin = time.monotonic()
    wait_until(lambda: stored(server, old, soft), 15, "a message")
    took = time.monotonic() - begin
    for _ in range(20):
        wait_until(lambda: stored(server, old, soft), 5, "one of each child")
    wait_until(lambda: server.get("/comet/x?wait=0").status == 200, 5,
               "the history")
    assert len(server.rows("x")) == 22
    return "works %.1f s after there are descriptors again" % took


def stored(server, old, soft):
    """Whether a message can be stored now. First give new children their
    descriptors back."""
    for pid in set(server.children()) - set(old):
        with contextlib.suppress(subprocess.CalledProcessError, OSError):
            if limit_of(pid)[0] < soft:             # it may have ended
                set_limit(pid, soft)
    try:
        return server.request("POST", "/comet/x", b"second", TEXT,
                              timeout=3).status == 201
    except OSError:
        return False
