# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL server, or something that pretends to be one, hangs, lies or
cannot be reached."""

import glob
import os
import shutil
import tempfile
import time

import pytest

import pg_faults
from far import far                                     # noqa: F401
from httpd_env import PATIENCE, SANITIZER, SLOW, Httpd, wait_until
from pg_env import PG_MODULE, server_conf
from pg_liar import LIES, Liar

pytestmark = pytest.mark.event
TEXT = {"Content-Type": "text/plain"}


@pytest.mark.heavy
def test_686_01_a_silent_host_comes_first(make_server, figure):
    """If the first host of CometStore accepts connections and sends nothing,
    the second one is used."""
    figure(pg_faults.dead_hosts_first(make_server, pg_faults.silent_port))


@pytest.mark.long
def test_686_02_a_host_that_accepts_nothing_comes_first(make_server, figure):
    """If the first host of CometStore drops all packets, the second one is
    used."""
    figure(pg_faults.dead_hosts_first(make_server, pg_faults.full_port))


@pytest.mark.long
@pytest.mark.bound(90)
def test_686_03_no_name_server(make_server, figure):
    """While the name server does not answer, only publishing and reading fail,
    and httpd stops in time."""
    figure(pg_faults.unresolved(make_server, 4))


@pytest.mark.long
@pytest.mark.bound(90)
def test_686_04_hanging(make_server, figure):
    """When the database server hangs, nothing else does."""
    figure(pg_faults.hanging(make_server, 4))


@pytest.mark.long
@pytest.mark.bound(90)
def test_686_05_cut_off(far, make_server, figure):      # noqa: F811
    """If a host is cut off while it has the turn, the other hosts publish."""
    figure(pg_faults.cut_off(far, make_server, 8))


def cpu_seconds(server):
    """Return the CPU time that the children have used."""
    total = 0
    for pid in server.children():
        with open("/proc/%d/stat" % pid) as stat:
            fields = stat.read().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


class Conninfo:
    """Stands in for a Cluster: it has what server_conf() needs of one."""

    def __init__(self, conninfo):
        self.conninfo = conninfo


@pytest.fixture(scope="module")
def liar():
    if not os.path.exists(PG_MODULE):
        pytest.skip("mod_comet_pg.so was not built: libpq-dev is missing")
    folder = tempfile.mkdtemp(prefix="comet-liar-", dir="/tmp")
    os.chmod(folder, 0o755)
    made = Liar(folder)
    os.chmod(made.path, 0o777)
    yield made
    made.close()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def believer(liar):
    """Yield a web server that uses the liar as its store."""
    server = Httpd(**server_conf(Conninfo(liar.conninfo)))
    server.start()
    yield server
    # The last lie is one that once kept a thread busy for ever.
    liar.change("copy out")
    wait_until(lambda: liar.asked, 15, "a statement")
    took = server.stop()
    problems = server.close()
    assert not problems, problems
    assert took < 5 * SLOW, took


SHORT = ("copy out", "no rows")


@pytest.mark.parametrize("lie", [
    pytest.param(lie, marks=() if lie in SHORT else pytest.mark.long)
    for lie in [*LIES, "flood", "slow"]])
def test_686_06_a_server_that_lies(believer, liar, lie):
    """Whatever the database server answers, publishers and readers get 503,
    static files are served, and no thread is busy for ever."""
    pids = believer.children()
    liar.change(lie)
    wait_until(lambda: liar.asked, 15, "a statement")
    begin = time.monotonic()
    assert believer.request("POST", "/comet/chat", b"x", TEXT,
                            timeout=30).status == 503
    assert believer.get("/comet/chat?since=0&wait=0",
                        timeout=30).status == 503
    assert time.monotonic() - begin < 14 * SLOW
    assert believer.get("/static.txt").status == 200
    used, begin = cpu_seconds(believer), time.monotonic()
    asked = liar.asked
    wait_until(lambda: time.monotonic() - begin > 1, 5)
    used = cpu_seconds(believer) - used
    if SANITIZER == "none" and lie != "flood":  # (a flood is read for a while)
        assert used < 0.5, used
    assert liar.asked - asked < 400 * PATIENCE
    # (a busy machine may make httpd start another child)
    assert set(pids) <= set(believer.children())
    assert not glob.glob(believer.root + "/core*")
