# SPDX-License-Identifier: Apache-2.0
"""Many HTTP/2 connections with streams that wait without a thread: what they
cost, and how late their messages are."""

import multiprocessing
import os
import re
import selectors
import time
from concurrent.futures import ThreadPoolExecutor

from comet_load import quantile
from h2_client import H2Tls
from http_client import Closed
from httpd_env import SANITIZER, SLOW, fd_count, pss_kb, thread_count, wait_until

EVENTS = "/comet/news?transport=events"
CONF = "CometParkHTTP2 on\nCometReplay 0\nCometHeartbeat 25\n"
# one child, with few threads compared to its connections
MPM = """ServerLimit 1
StartServers 1
ThreadLimit 64
ThreadsPerChild 64
MaxRequestWorkers 64
MinSpareThreads 64
MaxSpareThreads 64
AsyncRequestWorkerFactor 100
MaxConnectionsPerChild 0
ListenBacklog 2000
H2MaxWorkers 64
"""
# How many clients wait before memory is measured: so many that every thread has
# worked.
OTHERS = 150
# The windows of curl and Chromium: the window of each stream, and what is added
# to the connection's 65,535 bytes.
CURL, CHROMIUM = (65535, 1 << 20), (6291456, 15663105)


def cpu_seconds(pid):
    """The CPU time that a process has used so far, in seconds."""
    with open("/proc/%d/stat" % pid) as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Many:
    """The test's connections. Each message is a number. A connection's `got`
    has the number that is due next on each of its streams."""

    def __init__(self, server, connections, streams):
        self.selector, self.server = selectors.DefaultSelector(), server
        self.streams = streams
        with ThreadPoolExecutor(8) as pool:
            self.conns = list(pool.map(self.open, range(connections)))
        for conn in self.conns:
            conn.sock.setblocking(False)
            self.selector.register(conn.sock, selectors.EVENT_READ, conn)

    def open(self, _):
        """Open a connection and its streams."""
        conn = H2Tls(self.server.tls_port, *CHROMIUM, timeout=60 * SLOW)
        conn.finish(conn.request("GET", "/static.txt"), 60 * SLOW)
        for _ in range(self.streams):
            conn.request("GET", EVENTS)
        assert conn.pump(lambda: all(s.status == 200 for s in
                                     conn.streams.values()), 60 * SLOW)
        conn.got = {ident: 0 for ident in conn.streams if ident > 1}
        return conn

    def close(self):
        for conn in self.conns:
            conn.close()
        self.selector.close()

    def take(self, conn):
        """Read what has arrived. Each stream must get its messages in order."""
        try:
            while True:
                data = conn.sock.recv(65536)
                if not data:
                    raise Closed("a connection is lost")
                conn.buffer += data
        except BlockingIOError:
            pass
        except OSError as err:
            if "did not complete" not in str(err):
                raise
        while conn.take():
            pass
        for ident, expected in conn.got.items():
            stream = conn.streams[ident]
            for number in re.findall(rb"data: (\d+)\n", stream.body()):
                assert int(number) == expected, (ident, number, expected)
                expected += 1
            conn.got[ident] = expected
            assert not stream.ended
            stream.pieces = []

    def run(self, seconds, is_done=lambda: False):
        """Read for `seconds`, or until is_done() is true; return whether it
        became true."""
        end = time.monotonic() + seconds
        while not is_done():
            left = end - time.monotonic()
            if left <= 0:
                return False
            for key, _ in self.selector.select(min(left, 0.5)):
                self.take(key.data)
        return True

    def behind(self, count):
        return sum(have != count for conn in self.conns
                   for have in conn.got.values())


def fan_out(server, many, rounds):
    """For each round, the seconds until all streams have its message."""
    took = []
    for number in range(rounds):
        begin = time.monotonic()
        server.post("news", str(number))
        done = many.run(60 * SLOW, lambda n=number: not any(
            have != n + 1 for c in many.conns for have in c.got.values()))
        assert done, "%d streams lack a message" % many.behind(number + 1)
        took.append(time.monotonic() - begin)
    return took


def server_for(make_server, **kwargs):
    return make_server(mpm="event", tls=True, h2=True, timeout=300,
                       mpm_conf=MPM, conf=CONF + "KeepAliveTimeout 300\n",
                       **kwargs)


def idle_cost(make_server, connections):
    """How many KiB of memory a connection takes that has received its answer,
    and on which the server waits for the next request."""
    server = server_for(make_server)
    pid = server.children()[0]
    server.request("GET", "/static.txt", tls=True)
    before = pss_kb(pid)
    many = Many(server, connections, 0)
    each = (pss_kb(pid) - before) / connections
    descriptors = fd_count(pid) - connections
    many.close()
    # httpd may crash if it is stopped while it closes connections: see
    # Httpd.settle()
    wait_until(lambda: fd_count(pid) <= descriptors, 60, "all to be closed")
    return each


def many_streams(make_server, connections, streams, rest, rounds=10):
    """Open the streams, let them rest, then publish. Return what was
    measured."""
    server = server_for(make_server)
    pid = server.children()[0]
    # Before memory is measured, other streams make each thread allocate what it
    # allocates only once. They are closed later, since otherwise the
    # measured streams would reuse their memory.
    others = Many(server, OTHERS, 1)
    wait_until(lambda: server.status()["ghosts"] == OTHERS, 30, "the others")
    threads, memory, begin = thread_count(pid), pss_kb(pid), time.monotonic()
    many = Many(server, connections, streams)
    count = connections * streams
    wait_until(lambda: server.status()["ghosts"] == OTHERS + count, 30,
               "all to wait")
    found = {"opened": time.monotonic() - begin,
             "threads": thread_count(pid) - threads,
             "blocked": server.status()["blocked"],
             "kib": (pss_kb(pid) - memory) / count}
    others.close()
    wait_until(lambda: server.status()["ghosts"] == count, 60, "their end")
    if rest:
        many.run(2)                             # until the work of opening them
                                                # is done
        used, begin = cpu_seconds(pid), time.monotonic()
        many.run(rest)
        found["idle"] = 100 * (cpu_seconds(pid) - used) \
            / (time.monotonic() - begin)
    used = cpu_seconds(pid)
    found["took"] = fan_out(server, many, rounds)
    found["usec"] = (cpu_seconds(pid) - used) / rounds / count * 1e6
    many.close()
    wait_until(lambda: server.status()["ghosts"] == 0, 60, "none to wait")
    return found


def many(make_server, connections, streams, rest=0, most_kib=None):
    """Judge many_streams(); return a sentence of figures."""
    found = many_streams(make_server, connections, streams, rest)
    assert found["blocked"] == 0 and found["threads"] <= 2, found
    if SANITIZER == "none":
        assert not most_kib or found["kib"] <= most_kib, found
        # usually about 1 % of a core; a busy machine's cold caches may double
        # it
        assert found.get("idle", 0) <= 2, found
    return ("%d connections with %d each open in %.1f s; %+d threads; "
            "%.1f KiB PSS a stream; %sa message reached all in p50 %.0f, "
            "max %.0f ms, %.0f us of CPU each"
            % (connections, streams, found["opened"], found["threads"],
               found["kib"],
               "%.2f %% of a core in %d s of rest; " % (found["idle"], rest)
               if rest else "",
               quantile(found["took"], 0.5) * 1000,
               max(found["took"]) * 1000, found["usec"]))


# --- beside a long request and a download ----------------------------------

SLOW_PAGE = """#!/bin/sh
sleep 5
printf 'Content-Type: text/plain\\n\\nslow\\n'
"""
DOWNLOAD_BYTES = 50 << 20


def beside_server(make_server):
    server = make_server(
        mpm="event", tls=True, h2=True, modules=("cgid",), threads=32,
        conf=CONF + 'ScriptSock "{root}/run/cgid"\n'
        '<Location "/slow.sh">\nSetHandler cgi-script\nOptions +ExecCGI\n'
        '</Location>\n')
    os.chmod(server.write("slow.sh", SLOW_PAGE), 0o755)
    with open(os.path.join(server.docroot, "big.bin"), "wb") as out:
        out.truncate(DOWNLOAD_BYTES)
    return server


def publish(server, over):
    """Publish the current time every 20 ms."""
    while not over.wait(0.02):
        server.post("news", "%d" % time.monotonic_ns())


def download(server, over):
    """Download a file again and again, on a connection of its own."""
    with H2Tls(server.tls_port, *CHROMIUM) as conn:
        while not over.is_set():
            asked = conn.request("GET", "/big.bin")
            while not asked.ended:
                conn.pump(lambda a=asked: a.ended, 0.2)
                asked.pieces = []


def arrivals(stream):
    """For each message of a stream, in order: its arrival and its number."""
    text = b""
    for at, piece in stream.pieces:
        *lines, text = (text + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data: "):
                yield at, int(line[len(b"data: "):])


def delays(server, conn, stream, seconds, ask, others=()):
    """Publish while the connection requests `ask` again and again. Return how
    late the messages were, in seconds, and how many bytes the answers had. The
    publisher and `others` are processes, since Python's threads would slow each
    other down."""
    fork = multiprocessing.get_context("fork")
    over, begin, loaded = fork.Event(), time.monotonic_ns(), 0
    processes = [fork.Process(target=other, args=(server, over))
                 for other in (publish, *others)]
    for process in processes:
        process.start()
    end, asked = time.monotonic() + seconds, None
    while time.monotonic() < end or (asked and not asked.ended):
        if ask and (asked is None or asked.ended):
            asked = conn.request("GET", ask)
        conn.pump(lambda: asked.ended if asked else False, 0.2)
        if asked:
            loaded += sum(len(piece) for _, piece in asked.pieces)
            asked.pieces = []
    over.set()
    while any(process.is_alive() for process in processes):
        conn.pump(lambda: False, 0.02)      # a message may still come
    last = str(time.monotonic_ns())
    server.post("news", last)
    assert conn.pump(lambda: last.encode() in stream.body(), 10 * SLOW), \
        "messages are missing"
    got = list(arrivals(stream))
    assert [sent for _, sent in got] == [
        int(row) for row in server.rows("news") if int(row) > begin]
    return [at - sent / 1e9 for at, sent in got], loaded


def beside(make_server, seconds=12):
    """How late the messages of a stream are while its connection also has a
    request of 5 s or a download; return a sentence of figures. A download by
    another client shows how much of the delay the busy processors cause."""
    server = beside_server(make_server)
    said = []
    for what, ask, windows, others in (
            ("nothing", None, CURL, ()),
            ("a request of 5 s", "/slow.sh", CURL, ()),
            ("a download with curl's windows", "/big.bin", CURL, ()),
            ("a download with Chromium's", "/big.bin", CHROMIUM, ()),
            ("a download of another client", None, CHROMIUM, (download,))):
        with H2Tls(server.tls_port, *windows) as conn:
            stream = conn.request("GET", EVENTS)
            server.wait_waiting(1)
            late, loaded = delays(server, conn, stream, seconds, ask, others)
        wait_until(lambda: server.waiting() == 0, 5, "its end")
        said.append("beside %s p50 %.1f, p99 %.1f, max %.1f ms (%d, %d MB)" % (
            what, *(1000 * quantile(late, q) for q in (0.5, 0.99, 1)),
            len(late), loaded >> 20))
    return "; ".join(said)
