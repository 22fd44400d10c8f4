# SPDX-License-Identifier: Apache-2.0
"""PgBouncer in transaction mode between the web servers and PostgreSQL."""

import os
import shutil
import subprocess
import tempfile

import pytest

from httpd_env import Httpd, is_root, wait_until
from members import (MODULES, NAMES, await_online, enter, named, snapshot,
                     told)
from pg_env import Cluster, Database
from stream_client import Stream

pytestmark = pytest.mark.long
PROGRAM = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"


@pytest.fixture(scope="module")
def pooled():
    """A cluster whose connection string leads through a pooler."""
    if not os.path.exists(PROGRAM):
        pytest.skip("pgbouncer is not installed")
    cluster = Cluster()
    cluster.lay("search.sql")
    folder = tempfile.mkdtemp(prefix="comet-pool-", dir="/tmp")
    with open(folder + "/users", "w", encoding="ascii") as out:
        out.write('"comet_httpd" ""\n')
    with open(folder + "/ini", "w", encoding="ascii") as out:
        out.write("[databases]\nsite = host=%s\n[pgbouncer]\n"
                  "unix_socket_dir = %s\nlisten_port = 5432\n"
                  "auth_type = trust\nauth_file = %s/users\n"
                  "pool_mode = transaction\ndefault_pool_size = 8\n"
                  % (cluster.folder, folder, folder))
    os.chmod(folder, 0o755)
    become = []
    if is_root():
        shutil.chown(folder, "postgres")
        become = ["setpriv", "--reuid=postgres", "--regid=postgres",
                  "--clear-groups", "--"]
    pooler = subprocess.Popen(become + [PROGRAM, "-q", folder + "/ini"],
                              stderr=subprocess.DEVNULL)
    cluster.conninfo = cluster.conninfo.replace(cluster.folder, folder)
    wait_until(lambda: os.path.exists(folder + "/.s.PGSQL.5432"), 10,
               "the pooler")
    yield cluster
    pooler.terminate()
    pooler.wait(10)
    cluster.close()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def hosts(pooled):
    made = [Httpd(conf=NAMES + "CometSearch on\n", modules=MODULES, children=2,
                  database=Database(pooled, "site")).start()
            for _ in range(2)]
    wait_until(lambda: all(host.get("/comet/any?wait=0", named("x")).status
                           == 200 for host in made), 20, "the database")
    yield made
    problems = [problem for host in made for problem in host.close()]
    assert not problems, problems


def test_742_01_everything_works(hosts):
    """Behind PgBouncer two servers share streams, history, search and
    presence, and psql can publish to them. The connection options that the
    pooler refuses are left out."""
    here, there = hosts
    text = named("ann", **{"Content-Type": "text/plain"})
    with Stream(there, "/comet/pool?since=0", named("bob")) as stream:
        for i in range(30):
            assert here.request("POST", "/comet/pool", b"m%d" % i,
                                text).status == 201
        here.sql("INSERT INTO message(channel, body) VALUES('pool', 'row')")
        assert stream.until(31) == ["m%d" % i for i in range(30)] + ["row"]
        await_online(here, "pool", "bob")
        assert [m["member"] for m in snapshot(here, "pool")["members"]] \
            == ["bob"]
    with enter(here, "pool", "cy"):
        await_online(there, "pool", "cy")
    await_online(there, "pool")
    assert sorted(told(there, "pool")) == ["join bob", "join cy", "leave bob",
                                           "leave cy"]
    found = there.get("/comet/pool?q=m7", named("ann")).json()["messages"]
    assert [m["body"] for m in found] == ["m7"]
