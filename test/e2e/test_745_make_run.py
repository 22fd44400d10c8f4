# SPDX-License-Identifier: Apache-2.0
"""`make run STORE=postgresql` starts two servers with the demos and a private
database."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.request

import pytest

from httpd_env import COMET_MODULE, REPO, SLOW, wait_until
from pg_env import PG_MODULE

pytestmark = [pytest.mark.long, pytest.mark.bound(120)]


@pytest.fixture(scope="module")
def clone():
    """Yield a copy of the files that `make run` needs, because the real ones
    may be in use."""
    top = tempfile.mkdtemp(prefix="comet-run-", dir="/tmp")
    os.chmod(top, 0o755)
    for folder in ("conf", "htdocs", "sql", "test/tools"):
        shutil.copytree(os.path.join(REPO, folder), os.path.join(top, folder))
    os.mkdir(os.path.join(top, "build"))
    for module in (COMET_MODULE, PG_MODULE):
        if not os.path.exists(module):
            pytest.skip("it was not built: " + module)
        shutil.copy(module, os.path.join(top, "build"))
    yield top
    subprocess.run(["conf/demo", "remove"], cwd=top, check=True)
    shutil.rmtree(top)


def read(port, target, body=None):
    request = urllib.request.Request(
        "http://127.0.0.1:%d%s" % (port, target), body,
        {"Content-Type": "text/plain"})
    with urllib.request.urlopen(request, timeout=20 * SLOW) as answer:
        return answer.read().decode()


def bodies(port):
    said = json.loads(read(port, "/comet/chat?since=0&wait=0"))
    return [message["body"] for message in said["messages"]]


class Run:
    """A run of `make run`, which SIGTERM ends as Ctrl-C does."""

    def __init__(self, clone, port):
        self.log = os.path.join(clone, "log")
        with open(self.log, "wb") as log:
            self.proc = subprocess.Popen(
                ["conf/demo", "run"], cwd=clone, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
                env=dict(os.environ, PORT=str(port), STORE="postgresql"))
        wait_until(lambda: "Ctrl-C" in self.text()
                   or self.proc.poll() is not None, 60, "the banner")
        if self.proc.poll() is not None and "no PostgreSQL" in self.text():
            pytest.skip("no PostgreSQL server is installed")
        assert self.proc.poll() is None, self.text()

    def text(self):
        with open(self.log, encoding="utf-8") as text:
            return text.read()

    def end(self):
        self.proc.send_signal(signal.SIGTERM)
        assert self.proc.wait(30 * SLOW) == 0, self.text()


def two_ports():
    """Return a free port whose next port is free, too."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                other.bind(("127.0.0.1", port + 1))
                return port
            except (OSError, OverflowError):
                pass


def test_745_01_two_servers_and_their_history(clone):
    """Both servers have each message, and the printed commands work.  A stop
    leaves nothing running, and the next start has the history."""
    port = two_ports()
    run = Run(clone, port)
    try:
        read(port, "/comet/chat", b"from the first")
        wait_until(lambda: bodies(port + 1) == ["from the first"], 10)
        read(port + 1, "/comet/chat", b"from the second")
        command = [line.strip() for line in run.text().split("\n")
                   if "INSERT INTO" in line][0]
        subprocess.run(command, shell=True, check=True,
                       stdout=subprocess.DEVNULL)
        wait_until(lambda: bodies(port)[2:] == ["hello"], 10, "the row")
        assert "<title>" in read(port + 1, "/chat/")
        assert json.loads(read(port, "/comet/chat?q=second"))["messages"]
        folder = re.search(r"host=(\S+)", run.text()).group(1)
        for log in ("error.log", "error-2.log"):
            with open(os.path.join(clone, "run", "logs", log),
                      encoding="utf-8") as lines:
                assert lines.read().count("COMET0101") == 1
    finally:
        run.end()
    assert not os.path.exists(folder + "/data/postmaster.pid")
    run = Run(clone, port)
    try:
        assert bodies(port) == ["from the first", "from the second", "hello"]
    finally:
        run.end()


def cluster(clone):
    """Return the folder of the private PostgreSQL server of a clone."""
    if os.geteuid() != 0:
        return clone + "/run/postgresql"
    cksum = subprocess.run(["cksum"], input=clone.encode(), check=True,
                           stdout=subprocess.PIPE).stdout.split()[0].decode()
    return "/var/lib/mod_comet-demo/%s/postgresql" % cksum


def test_745_02_a_start_that_fails_leaves_no_database_server(clone):
    """If the second port is in use, the message names this port and a command
    that works, and the database server ends.  There is no port after 65535, and
    the message says so."""
    def told(port):
        done = subprocess.run(
            ["conf/demo", "run"], cwd=clone, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=dict(os.environ, PORT=str(port), STORE="postgresql"),
            check=False, timeout=60 * SLOW)
        if "no PostgreSQL" in done.stdout:
            pytest.skip("no PostgreSQL server is installed")
        assert done.returncode == 1, done.stdout
        return done.stdout

    port = two_ports()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port + 1))
        other.listen()
        assert told(port) == (
            "make run: port %d is in use; try: make run PORT=%d"
            " STORE=postgresql\n" % (port + 1, port + 2))
    assert os.path.exists(cluster(clone) + "/data/PG_VERSION")
    assert not os.path.exists(cluster(clone) + "/data/postmaster.pid")
    assert "needs the next port" in told(65535)
    assert not os.path.exists(cluster(clone) + "/data/postmaster.pid")
