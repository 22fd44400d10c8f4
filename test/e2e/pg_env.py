# SPDX-License-Identifier: Apache-2.0
"""A private PostgreSQL server, and web servers that keep their messages in
it."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest

from httpd_env import COMET_MODULE, REPO, TOOLS, is_root, wait_until

TOOL = os.path.join(TOOLS, "pg_cluster")
PG_MODULE = os.path.join(os.path.dirname(COMET_MODULE), "mod_comet_pg.so")
SKIPPED = 77


class Cluster:
    """One server with one database, reached by a socket in its folder."""

    def __init__(self):
        if not os.path.exists(PG_MODULE):
            pytest.skip("mod_comet_pg.so was not built: libpq-dev is missing")
        self.folder = tempfile.mkdtemp(prefix="comet-pg-",
                                       dir=os.environ.get("COMET_TMP", "/tmp"))
        done = subprocess.run([sys.executable, "-B", TOOL, "start",
                               self.folder], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode == SKIPPED:
            shutil.rmtree(self.folder)
            pytest.skip(done.stdout.strip())
        assert done.returncode == 0
        self.conninfo = done.stdout.strip()

    def lay(self, name):
        """Run one more file of sql/postgresql, and the grants."""
        for file in (name, "grants.sql"):
            self.psql("\\i " + os.path.join(REPO, "sql", "postgresql", file))

    def command(self, user=None, database="site"):
        user = user or ("postgres" if is_root() else None)
        return ["psql", "-X", "-q", "-A", "-t", "-h", self.folder,
                "-d", database, "-v", "ON_ERROR_STOP=1"] \
            + (["-U", user] if user else [])

    def psql(self, sql, user=None, check=True, database="site"):
        """Run SQL as another program does. Return the output, or (status,
        error)."""
        done = subprocess.run(self.command(user, database), input=sql,
                              text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              check=False)
        if check:
            assert done.returncode == 0, (sql, done.stderr)
            return done.stdout.strip()
        return done.returncode, done.stderr

    def database(self, name):
        """A database of its own, with the schema."""
        self.psql("CREATE DATABASE %s TEMPLATE site" % name,
                  database="postgres")
        return Database(self, name)

    def session(self):
        """A psql that stays open, whose transactions the test holds open."""
        return Session(self.command())

    def first_pid(self):
        with open(os.path.join(self.folder, "data", "postmaster.pid")) as file:
            return int(file.readline())

    def pids(self):
        """The process ids of the postmaster and all its children."""
        first = self.first_pid()
        done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(first)],
                              stdout=subprocess.PIPE, text=True, check=True)
        return [first] + [int(pid) for pid in done.stdout.split()]

    def signal(self, number):
        for pid in self.pids():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def pause(self):
        """Stop all processes of the server; they stay there and keep their
        sockets."""
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)

    def crash(self):
        """Kill the whole server, as a power cut does."""
        first = self.pids()[0]
        self.signal(signal.SIGKILL)
        while os.path.exists("/proc/%d" % first):
            time.sleep(0.01)

    def start(self):
        """Start it again."""
        subprocess.run([sys.executable, "-B", TOOL, "again", self.folder],
                       check=True)

    def standby(self):
        """A synchronous hot standby of this server: a Cluster, too."""
        other = object.__new__(Cluster)
        other.folder = self.folder + "-standby"
        subprocess.run([sys.executable, "-B", TOOL, "standby", other.folder,
                        self.folder], check=True)
        other.conninfo = self.conninfo.replace(self.folder, other.folder)
        self.psql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.psql("SELECT pg_reload_conf()")
        wait_until(lambda: self.psql("SELECT sync_state FROM"
                                     " pg_stat_replication") == "sync", 20,
                   "the standby to be synchronous")
        return other

    def close(self):
        """End the server, unless it was killed, and remove its folder."""
        if os.path.exists("/proc/%d" % self.first_pid()):
            self.resume()
            subprocess.run([sys.executable, "-B", TOOL, "stop", self.folder],
                           check=True)
        shutil.rmtree(self.folder)


class Database:
    """A database of a cluster, as the store of a web server."""

    def __init__(self, cluster, name):
        self.cluster, self.name = cluster, name

    def directives(self):
        return 'LoadModule comet_pg_module "%s"\n' \
            'CometStore "postgresql:%s"' \
            % (PG_MODULE, self.cluster.conninfo.replace(
                "dbname=site", "dbname=" + self.name))

    def sql(self, text, check=True):
        """Rows of strings, as httpd_env.sqlite() has them: 1 is true and 0
        is false.  What is changed is published when this returns."""
        if not check:
            return self.cluster.psql("SET search_path = comet;" + text,
                                     check=False, database=self.name)
        rows = self.run(text)
        if "INSERT" in text or "DELETE" in text:
            wait_until(lambda: self.run(
                "SELECT 1 FROM inbox UNION ALL SELECT 1 FROM online_inbox")
                == [], 8, "the inbox to be empty")
        return rows

    def run(self, text):
        done = subprocess.run(
            self.cluster.command(database=self.name)
            + ["-F", "\x1f", "-R", "\x1e"],
            input="SET search_path = comet;"
            + text.replace("ifnull(", "coalesce("), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        assert done.returncode == 0, (text, done.stderr)
        # psql ends the last row by a line feed
        out = done.stdout[:-1] if done.stdout.endswith("\n") else done.stdout
        said = {"t": "1", "f": "0"}
        return [[said.get(value, value) for value in row.split("\x1f")]
                for row in out.split("\x1e")] if out else []


class Session:
    """A psql whose statements are given one after the other."""

    def __init__(self, command):
        self.proc = subprocess.Popen(command, stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, text=True)

    def run(self, sql):
        """Run a statement and wait for its end."""
        self.proc.stdin.write(sql + ";\n\\echo done\n")
        self.proc.stdin.flush()
        lines = []
        while True:
            line = self.proc.stdout.readline()
            assert line, "psql has ended"
            if line == "done\n":
                return "".join(lines).strip()
            lines.append(line)

    def close(self):
        self.proc.stdin.close()
        self.proc.wait(10)


def server_conf(cluster, **more):
    """Arguments for a server on a cluster; `more` replaces some."""
    conf = dict(
        comet="status", children=2,
        before='LoadModule comet_pg_module "%s"\n' % PG_MODULE,
        conf='CometStore "postgresql:%s"\n'
             "CometEndpoint /comet\n"
             '<Location "/comet">\n  CometMulti on\n</Location>\n'
             "CometSearch on\n" % cluster.conninfo)
    conf["conf"] += more.pop("extra", "")
    conf.update(more)
    return conf
