# SPDX-License-Identifier: Apache-2.0
"""Streams over TLS and HTTP/1.1 that the hub adopts from httpd
(CometAdoptTLS)."""

import contextlib
import os
import signal
import socket
import ssl
import struct
import subprocess
import time

import pytest

from event_stream import EventStream
from httpd_env import SLOW, stop_process, thread_count, wait_until
from stream_client import EVENTS, post
from test_250_adopt import adopted, wait_adopted, wait_line

CONF = """
CometAdoptTLS on
CometReplay 0
CometHeartbeat 1s
LogFormat "%U %m %>s %B %O" full
CustomLog "logs/full.log" full
"""
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@pytest.fixture(name="site")
def fixture_site(make_server, mpm):
    return make_server(mpm=mpm, tls=True, threads=8, conf=CONF)


@pytest.fixture(name="on_event")
def fixture_on_event(make_server):
    return make_server(mpm="event", tls=True, threads=8, conf=CONF)


class Stream:
    """A stream over TLS.  If the connection ends without close_notify, reading
    raises an error (SSLEOFError)."""

    def __init__(self, server, version="1.3", channel="news", rcvbuf=None):
        self.conn = server.raw(rcvbuf=rcvbuf, timeout=20)
        self.conn.sock.close()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = context.maximum_version = VERSIONS[version]
        plain = socket.socket()
        if rcvbuf:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        plain.settimeout(20 * SLOW)
        plain.connect(("127.0.0.1", server.tls_port))
        self.conn.sock = context.wrap_socket(plain, suppress_ragged_eofs=False)
        self.events = []
        self.parser = EventStream(self.events.append)
        self.conn.request("GET", "/comet/" + channel, EVENTS)
        assert self.conn.head() == 200

    def texts(self, count):
        """Wait until `count` events have arrived, and return their texts."""
        while len(self.events) < count:
            self.parser.feed(self.conn.chunk())
        return [event["data"] for event in self.events]


@pytest.mark.parametrize("version", [
    "1.3", pytest.param("1.2", marks=pytest.mark.long)])
def test_615_01_in_order(site, version):
    """Adopted streams hold no thread or process.  Each gets every message in
    order, short and long, and heartbeats."""
    before = sum(map(thread_count, site.children()))
    with contextlib.ExitStack() as stack:
        streams = [Stream(site, version) for _ in range(10)]
        for stream in streams:
            stack.enter_context(stream.conn)
        wait_adopted(site, 10)
        assert site.status()["blocked"] == 0
        if site.mpm != "prefork":
            assert sum(map(thread_count, site.children())) <= before + 2
        texts = ["%d %s" % (i, "x" * size) for i, size in
                 enumerate((1, 100, 5000, 60000, 10, 20000, 3) * 3)]
        for text in texts:
            post(site, "news", text)
        for stream in streams:
            assert stream.texts(len(texts)) == texts
        assert streams[0].conn.chunk().startswith(b":"), "no heartbeat"
    wait_adopted(site, 0)


def test_615_02_ends(site):
    """At a reload a stream ends with a retry field, the last chunk and
    close_notify."""
    stream = Stream(site)
    wait_adopted(site, 1)
    site.graceful()
    body = stream.conn.body()
    assert b"retry: " in body
    assert stream.conn.sock.recv(1) == b""      # no SSLEOFError


@pytest.mark.long
@pytest.mark.parametrize("how", ["close_notify", "no farewell", "a reset",
                                 "another request"])
def test_615_03_left(site, how):
    """If a client leaves or sends data, its stream ends."""
    stream = Stream(site)
    wait_adopted(site, 1)
    sock = stream.conn.sock
    if how == "another request":
        stream.conn.request("GET", "/static.txt")
        with contextlib.suppress(OSError, ssl.SSLError):
            stream.conn.body()
    elif how == "close_notify":
        sock.settimeout(1)
        with contextlib.suppress(OSError):
            sock.unwrap()
    elif how == "a reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                        struct.pack("ii", 1, 0))
    if how != "another request":
        sock.close()
    wait_adopted(site, 0)


@pytest.mark.long
def test_615_04_a_slow_reader(site):
    """A client that reads slowly gets everything, and delays no other
    client."""
    slow, quick = Stream(site, rcvbuf=4096), Stream(site)
    wait_adopted(site, 2)
    texts = ["%d %s" % (i, "y" * 30000) for i in range(60)]
    for text in texts:
        post(site, "news", text)
    assert quick.texts(60) == texts
    assert slow.texts(60) == texts
    assert adopted(site) == 2


@pytest.mark.event
def test_615_05_the_log(on_event):
    """A stream has one log line, written at its end, which shows the bytes of
    its body and the bytes on the network."""
    stream = Stream(on_event, channel="logged")
    wait_adopted(on_event, 1)
    post(on_event, "logged", "z" * 1000)
    stream.texts(1)
    stream.conn.close()
    line = wait_line(on_event, "full.log", "/comet/logged GET 200 ")
    body, network = map(int, line.split()[-2:])
    assert 1000 < body < network < 2000


def s_client(server, version="1.3"):
    """Start a client that reads a stream, and that changes its key for each line
    "k"."""
    process = subprocess.Popen(
        ["openssl", "s_client", "-connect", "127.0.0.1:%d" % server.tls_port,
         "-tls1_%s" % version[-1], "-crlf"], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    process.stdin.write(b"GET /comet/news HTTP/1.1\nHost: localhost\n"
                        b"Accept: text/event-stream\n\n")
    process.stdin.flush()
    return process


@pytest.mark.event
@pytest.mark.parametrize("version, command", [
    pytest.param("1.3", b"k", marks=pytest.mark.long), ("1.3", b"K"),
    pytest.param("1.2", b"R", marks=pytest.mark.long)])
def test_615_06_keys(on_event, version, command):
    """A client may change the keys of TLS 1.3.  TLS 1.2 is not renegotiated."""
    process = s_client(on_event, version)
    try:
        wait_adopted(on_event, 1)
        process.stdin.write(command + b"\n")
        process.stdin.flush()
        for number in range(3):
            post(on_event, "news", "message %d" % number)
        found = b""
        end = time.monotonic() + 5 * SLOW
        while b"message 2" not in found and time.monotonic() < end:
            piece = process.stdout.read1(65536)
            if not piece:
                break
            found += piece
        assert b"message 2" in found or command == b"R", found
        assert command != b"R" or b"no renegotiation" in found, found
    finally:
        process.kill()
        process.wait()
    wait_adopted(on_event, 0)


@pytest.mark.event
def test_615_07_what_stays(make_server):
    """With CometAdoptTLS off no stream over TLS is adopted."""
    server = make_server(tls=True, conf=CONF.replace("TLS on", "TLS off"))
    stream = Stream(server)
    server.wait_waiting(1)
    assert adopted(server) == 0
    post(server, "news", "parked")
    assert stream.texts(1) == ["parked"]
    stream.conn.close()


@pytest.mark.event
@pytest.mark.long
def test_615_08_resumed(on_event):
    """A TLS session may be resumed while its first connection still has a
    stream."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    session = None
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", on_event.tls_port)) as plain:
            with context.wrap_socket(plain, session=session) as sock:
                sock.sendall(b"GET /comet/news HTTP/1.1\r\nHost: localhost\r\n"
                             b"Accept: text/event-stream\r\n\r\n")
                assert sock.recv(100).startswith(b"HTTP/1.1 200")
                wait_adopted(on_event, 1)
                assert sock.session_reused == (session is not None)
                session = sock.session
        wait_adopted(on_event, 0)


def unread(server):
    """Return how many bytes of its TLS clients httpd has not read yet."""
    with open("/proc/net/tcp") as table:
        lines = [line.split() for line in table.readlines()[1:]]
    return sum(int(line[4].split(":")[1], 16) for line in lines
               if line[1].endswith(":%04X" % server.tls_port)
               and line[3] in ("01", "08"))       # ESTABLISHED, CLOSE_WAIT


@pytest.mark.event
@pytest.mark.parametrize("keys", [
    3, pytest.param(40, marks=pytest.mark.long)])
def test_615_09_keys_and_the_end_at_once(make_server, keys):
    """A client changes its keys and leaves, before the server has read anything
    of that. The server notices that it has left."""
    server = make_server(mpm="event", tls=True, threads=8,
                         conf=CONF.replace("beat 1s", "beat 60s"))
    process = s_client(server)
    child = server.children()[0]
    try:
        wait_adopted(server, 1)
        stop_process(child)
        for number in range(keys):
            process.stdin.write(b"k\n")
            process.stdin.flush()
            wait_until(lambda n=number: unread(server) >= 20 * (n + 1), 5,
                       "the key")
    finally:
        process.kill()
        process.wait()
        os.kill(child, signal.SIGCONT)
    wait_adopted(server, 0)
