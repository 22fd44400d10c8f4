# SPDX-License-Identifier: Apache-2.0
"""How requests end if httpd has other modules, too.  A slow log hook delays
only its own request, and a wait does not restart mod_reqtimeout's deadline."""

import os
import socket
import ssl
import time

import pytest

from beside import MODULES
from httpd_env import wait_until
from test_500_beside import Client, config

POLLS = 30
SLOW_LOG = """
function slow(r)
  if r.uri == "/comet/many" then os.execute("sleep 0.1") end
  return apache2.DECLINED
end
"""


def lua_hook(server):
    with open(os.path.join(server.root, "slow.lua"), "w") as script:
        script.write(SLOW_LOG)
    return "LuaHookLog {root}/slow.lua slow"


def test_501_01_a_slow_log_hook_delays_nobody_else(make_server):
    """Many polls end at once, and a log hook takes 100 ms for each.  Other
    clients are served meanwhile."""
    server = make_server(start=False, modules=("lua",))
    server.before = lua_hook(server)
    server.start()
    polls = [server.raw() for _ in range(POLLS)]
    for count, conn in enumerate(polls, 1):
        conn.request("GET", "/comet/many?since=0")
        server.wait_waiting(count, "poll")
    assert server.status()["blocked"] == 0
    other = Client(server, "events", "c1")
    server.wait_waiting(1, "events")
    server.post("many", "to all")
    began = time.monotonic()
    server.post("c1", "to one")
    other.news(b"to one")
    took = time.monotonic() - began
    for conn in polls:
        assert b"to all" in conn.answer().body
    assert took < POLLS * 0.1 / 2, took
    for conn in polls:      # The next poll of each connection is answered, too.
        conn.request("GET", "/comet/many?since=0&wait=0")
        assert b"to all" in conn.answer().body
        conn.close()
    other.conn.close()
    wait_until(lambda: len(server.access_lines("/comet/many?since")) \
               == 2 * POLLS, what="all lines")


@pytest.mark.parametrize("conf, reason", [
    ("IdentityCheck on", "IdentityCheck"),
    ("CustomLog logs/u.log \"%U\" \"expr=-U '/index.html'\"", "-U"),
])
def test_501_05_code_that_may_wait(make_server, conf, reason):
    """A worker ends polls if a log asks the client's host for the user or makes
    sub-requests, since both may block."""
    server = make_server(modules=("ident",), conf=conf)
    assert any("COMET0105" in line and reason in line
               for line in server.error_log().splitlines())


@pytest.mark.parametrize("size", (10, 60000), ids=("short", "long"))
def test_501_02_a_worker_sends_what_the_hub_answers(make_server, size):
    """With mod_log_forensic a worker sends the hub's answers, short or long.
    Pipelined requests are answered, and a client may leave."""
    row = [r for r in MODULES if r["name"] == "log_forensic"][0]
    server = make_server(before=config(row))
    text = "x" * size
    with server.raw() as conn, server.raw() as gone:
        gone.request("GET", "/comet/room?since=0")
        conn.request("GET", "/comet/room?since=0")
        server.wait_waiting(2, "poll")
        gone.close()
        server.wait_waiting(1, "poll")
        stamp = server.post("room", text)
        assert conn.answer().json()["messages"][0]["body"] == text
        conn.request("GET", "/comet/room?since=%d" % stamp)
        server.wait_waiting(1, "poll")
        conn.request("GET", "/static.txt")
        assert conn.answer().json()["messages"] == []
        assert conn.answer().body == b"a static file\n"


def test_501_03_a_database_connection_kept_is_told_once(make_server):
    server = make_server(modules=("dbd", "authn_dbd", "socache_shmcb"),
                         before="""
DBDriver sqlite3
DBDParams {data}/users.db
DBDMax 10
<Location /comet/secret>
  AuthType Basic
  AuthName x
  AuthBasicProvider dbd
  AuthDBDUserPWQuery "SELECT '{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=' WHERE %s != ''"
  Require valid-user
</Location>""", start=False)
    if not os.path.exists("/usr/lib/x86_64-linux-gnu/apr-util-1/"
                          "apr_dbd_sqlite3.so"):
        pytest.skip("no libaprutil1-dbd-sqlite3")
    server.start()
    user = {"Authorization": "Basic YTp0ZXN0"}      # a:test, in base64
    conns = [server.raw() for _ in range(3)]
    for conn in conns:
        conn.request("GET", "/comet/secret?since=0", user)
    server.wait_waiting(3, "poll")
    assert server.error_log().count("keeps a database connection") == 1
    for conn in conns:
        conn.close()


class TrickledTls:
    """A TLS client that can send a record in parts."""

    def __init__(self, server):
        context = ssl._create_unverified_context()
        self.sock = socket.create_connection(("127.0.0.1", server.tls_port))
        self.sock.settimeout(10)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing)
        self.ask(self.tls.do_handshake)

    def ask(self, call, *args):
        while True:
            try:
                got = call(*args)
                self.sock.sendall(self.outgoing.read())
                return got
            except ssl.SSLWantReadError:
                self.sock.sendall(self.outgoing.read())
                self.incoming.write(self.sock.recv(65536))

    def record(self, data):
        self.tls.write(data)
        return self.outgoing.read()


GET = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize("path", (b"/static.txt", b"/comet/a?since=0&wait=1"),
                         ids=("file", "poll"))
def test_501_04_a_deadline_is_not_begun_again(make_server, path):
    """RequestReadTimeout ends a connection that sends a TLS record byte by
    byte, even after a poll."""
    server = make_server(tls=True, conf="RequestReadTimeout header=2-3,"
                         "MinRate=500")
    client = TrickledTls(server)
    client.ask(client.tls.write, GET % path)
    assert b"200 OK" in client.ask(client.tls.read, 65536)
    rest = client.record(GET % b"/static.txt" * 20)
    began = time.monotonic()
    client.sock.settimeout(0.4)
    while time.monotonic() - began < 12:
        try:
            client.sock.sendall(rest[:1])
            rest = rest[1:]
            if client.sock.recv(65536) == b"":
                break
        except socket.timeout:
            continue
        except OSError:
            break
    took = time.monotonic() - began
    client.sock.close()
    assert took < 8, took
