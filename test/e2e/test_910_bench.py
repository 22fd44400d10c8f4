# SPDX-License-Identifier: Apache-2.0
"""A small run of `make bench` reports each figure or why it is missing. No test
in this file judges speed."""

import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading

import pytest

from httpd_env import COMET_MODULE, REPO, free_port, give_port

pytestmark = pytest.mark.long

BUILD = os.path.dirname(COMET_MODULE)
LOAD = os.path.join(BUILD, "bench", "load")


@pytest.fixture
def folder():
    """Yield a temporary folder that the servers' users may enter."""
    path = tempfile.mkdtemp(prefix="comet-e2e-bench-",
                            dir=os.environ.get("COMET_TMP", "/tmp"))
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path)


def bench(folder, **settings):
    """Run a small bench.  Return its exit status, its output, and the rows of
    its table, each of which maps a column to its cell."""
    table = os.path.join(folder, "table.md")
    done = subprocess.run(
        [os.path.join(REPO, "test", "bench", "run")],
        env={**os.environ, "BUILD": BUILD, "BENCH_TABLE": table,
             "BENCH_DIR": folder, "BENCH_SCALE": "0.02", "BENCH_ROUNDS": "1", **settings},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=150,
        check=False)
    said = done.stdout.decode()
    rows = []
    if os.path.exists(table):
        with open(table, encoding="utf-8") as file:
            lines = [[cell.strip() for cell in line.strip("|\n").split("|")]
                     for line in file if line.startswith("|")]
        rows = [dict(zip(lines[0], line)) for line in lines[2:]]
    return done.returncode, said, rows


def number(cell):
    """Return the median that a cell shows."""
    match = re.match(r"[\d,.]+", cell)
    assert match, cell
    return float(match.group().replace(",", ""))


@pytest.mark.bound(180)
def test_910_01_a_table(folder):
    """Two rounds of streams, polls, GETs and parked clients fill a table, and
    each of its rows has numbers."""
    status, said, rows = bench(folder, BENCH_ROUNDS="2",
                               BENCH_ONLY="parked,streams,polls,gets")
    assert status == 0, said
    assert [row["scenario"] for row in rows if row["scenario"]] == [
        "10,000 event streams parked", "1,000 streams × 50 msg/s",
        "1,000 long polls × 50 msg/s",
        "catch-up GETs, keep-alive, 32 connections"], said
    assert len(rows) == 7
    for row in rows:
        assert number(row["mod_comet"]) >= 0, said
        assert number(row["floor"]) >= 0, said
        assert re.search(r"\(\S+–\S+\)", row["mod_comet"]), said
    assert number(rows[-1]["null handler"]) > 0
    assert re.match(r"[\d.e-]+$", rows[1]["× floor"]), said
    assert "deliveries per CPU s" in said
    assert os.listdir(folder) == ["table.md"]


@pytest.mark.bound(60)
def test_910_02_what_cannot_run_is_no_number(folder):
    """If a server is not installed, its cells say "failed", and the exit status
    is 1."""
    status, said, rows = bench(folder, BENCH_ONLY="streams",
                               COMET_HTTPD="/nowhere/httpd")
    assert status == 1
    assert [row["mod_comet"] for row in rows] == ["failed", "failed"]
    assert number(rows[0]["floor"]) > 0
    assert rows[0]["× floor"] == "–"
    assert "mod_comet in streams (1 of 1 runs): /nowhere/httpd is missing" \
        in said


@pytest.mark.parametrize("name, value, allowed", [
    ("BENCH_ONLY", "streams,nothing", "parked, idle, streams"),
    ("BENCH_ROUNDS", "0", "from 1 up"),
    ("BENCH_SCALE", "x", "from 0.001 up")])
def test_910_03_settings(folder, name, value, allowed):
    """The error for a wrong setting names the setting and the allowed
    values."""
    status, said, _ = bench(folder, **{name: value})
    assert status == 1
    assert name in said and allowed in said


class Unreliable(threading.Thread):
    """A faulty event-stream server.  Of every ten messages it repeats the
    first, loses the fourth, swaps the sixth and the seventh, corrupts the
    ninth, and sends the others in small pieces."""

    def __init__(self):
        super().__init__(daemon=True)
        self.port = free_port()
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.streams, self.held, self.count = [], b"", 0

    def run(self):
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(conn,),
                             daemon=True).start()

    def serve(self, conn):
        file = conn.makefile("rb")
        while True:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                line = file.readline()
                if not line:
                    return
                head += line
            if head.startswith(b"GET"):
                conn.sendall(b"HTTP/1.1 200 OK\r\n"
                             b"Transfer-Encoding: chunked\r\n\r\n")
                self.streams.append(conn)
                continue
            length = int(re.search(rb"Content-Length: (\d+)", head)[1])
            self.publish(file.read(length))
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def publish(self, body):
        self.count += 1
        what = self.count % 10
        if what == 1:
            self.send(body, body)
        elif what == 6:
            self.held = body
        elif what == 7:
            self.send(body, self.held)
        elif what == 9:
            self.send(body[:70] + b"?" + body[71:])
        elif what != 4:
            self.send(body, step=7)

    def send(self, *bodies, step=1 << 16):
        text = b"".join(b"data: " + body + b"\n\n" for body in bodies)
        half = len(text) // 2
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part)
                          for part in (text[:half], text[half:]))
        for stream in self.streams:
            for start in range(0, len(chunks), step):
                stream.sendall(chunks[start:start + step])


@pytest.mark.bound(60)
def test_910_04_the_generator_finds_faults():
    """The load generator counts each lost, repeated, disordered and corrupt
    message."""
    server = Unreliable()
    server.start()
    url = "http://127.0.0.1:%d/s" % server.port
    try:
        done = subprocess.run(
            [LOAD, "stream", "--url=" + url, "--publish=" + url,
             "--server=%d" % os.getpid(), "--subscribers=5",
             "--messages=100", "--rate=200"],
            stdout=subprocess.PIPE, timeout=50, check=True)
    finally:
        server.listener.close()
        give_port(server.port)
    found = json.loads(done.stdout)
    assert {key: found[key] for key in
            ("ready", "acknowledged", "expected", "delivered", "duplicates",
             "disordered", "malformed")} == {
        "ready": 5, "acknowledged": 100, "expected": 500, "delivered": 400,
        "duplicates": 50, "disordered": 50, "malformed": 50}
