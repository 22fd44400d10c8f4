# SPDX-License-Identifier: Apache-2.0
"""Many event streams over TLS and HTTP/1.1 that have left httpd: what they
cost, and how late their messages are."""

import selectors
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

from comet_load import quantile
from httpd_env import SANITIZER, SLOW, pss_kb, thread_count, wait_until

# How many clients wait before memory is measured: so many that every thread has
# worked.
OTHERS = 150
CONF = "CometAdoptTLS on\nCometReplay 0\nCometHeartbeat 25\n"


def open_stream(server):
    """Open a stream, and read its headers."""
    conn = server.raw(tls=True, timeout=60)
    conn.request("GET", "/comet/news", {"Accept": "text/event-stream"})
    assert conn.head() == 200
    conn.sock.setblocking(False)
    return conn


def take(conn):
    """Read what has arrived."""
    try:
        while True:
            data = conn.sock.recv(65536)
            assert data, "a stream has ended"
            conn.buffer += data
    except (ssl.SSLWantReadError, BlockingIOError):
        pass


def fan_out(server, conns, number):
    """How long it takes until all streams have this message, in seconds."""
    mark = b"data: %d\n" % number
    begin = time.monotonic()
    server.post("news", str(number))
    with selectors.DefaultSelector() as selector:
        for conn in conns:
            selector.register(conn.sock, selectors.EVENT_READ, conn)
        left = len(conns)
        while left:
            ready = selector.select(20 * SLOW)
            assert ready, "%d streams lack a message" % left
            for key, _ in ready:
                take(key.data)
                if mark in key.data.buffer:
                    assert key.data.buffer.count(b"data: ") == 1
                    key.data.buffer = b""
                    selector.unregister(key.data.sock)
                    left -= 1
    return time.monotonic() - begin


def many(make_server, mpm, count, most_kib=None):
    """Open streams and publish; return a sentence of figures."""
    server = make_server(mpm=mpm, tls=True, threads=64, timeout=300, conf=CONF)

    def children_kb():
        return sum(map(pss_kb, server.children()))

    def open_streams(count):
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(open_stream, [server] * count))

    def wait_for(count):
        wait_until(lambda: server.status()["adopted"] == count, 60, "them")

    # Before memory is measured, other streams make each thread allocate what it
    # allocates only once. They stay open, since otherwise the measured
    # streams would reuse their memory.
    others = open_streams(OTHERS)
    wait_for(OTHERS)
    memory = children_kb()
    threads = sum(map(thread_count, server.children()))
    conns = open_streams(count)
    wait_for(OTHERS + count)
    each = (children_kb() - memory) / count
    more = sum(map(thread_count, server.children())) - threads
    assert server.status()["blocked"] == 0
    for conn in others:
        conn.close()
    wait_for(count)
    assert SANITIZER != "none" or not most_kib or each <= most_kib, each
    took = [fan_out(server, conns, number) for number in range(10)]
    for conn in conns:
        conn.close()
    wait_for(0)
    return ("%s: %d streams, %+d threads, %.1f KiB PSS each; a message reached "
            "all in p50 %.0f, max %.0f ms" % (
                mpm, count, more, each, quantile(took, 0.5) * 1000,
                max(took) * 1000))
