# SPDX-License-Identifier: Apache-2.0
"""A private PostgreSQL server, and the configuration of web servers that use it
as their store."""

import os
import re
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

PATH = "SET search_path = comet, public;"

# Expressions of SQLite in the tests, and PostgreSQL's equivalents.
DIALECT = (("ifnull(", "coalesce("), ("BEGIN IMMEDIATE", "BEGIN"),
           ("comet_clock", "clock"), ("PRAGMA integrity_check", "SELECT 'ok'"),
           ("PRAGMA quick_check", "SELECT 'ok'"),
           ("SELECT floor FROM channel WHERE name",
            "SELECT floor FROM floor WHERE channel"),
           ("SELECT sql FROM sqlite_master", "SELECT tablename FROM pg_tables"
            " WHERE schemaname = 'comet' ORDER BY 1"))
FLOOR = re.compile(r"UPDATE channel SET floor=(\d+) WHERE name=('[^']*')")
FUNCTIONS = """
CREATE FUNCTION public.hex(bytea) RETURNS text LANGUAGE sql
  AS $$ SELECT upper(encode($1, 'hex')) $$;
CREATE FUNCTION public.hex(text) RETURNS text LANGUAGE sql
  AS $$ SELECT public.hex(convert_to($1, 'UTF8')) $$;
CREATE FUNCTION public.zeroblob(integer) RETURNS bytea LANGUAGE sql
  AS $$ SELECT decode(repeat('00', $1), 'hex') $$;
"""


def translate(sql):
    """Translate SQLite's words into PostgreSQL's."""
    for word, meaning in DIALECT:
        sql = sql.replace(word, meaning)
    return FLOOR.sub(r"INSERT INTO floor(floor, channel) VALUES(\1, \2)", sql)


def literal(text):
    for char, escaped in (("\\", "\\\\"), ("'", "''"), ("\r", "\\r"),
                          ("\n", "\\n")):
        text = text.replace(char, escaped)
    return "E'%s'" % text


class Cluster:
    """One server with one database; clients use a socket in its folder.

    settings: NAME=VALUE for postgresql.conf, in addition to pg_cluster's.
    port:     a port of 127.0.0.1 on which the server also listens.
    env:      additions to the server's environment.
    parent:   the folder in which the server's folder is made.
    """

    def __init__(self, settings=(), port=None, env=None,
                 parent=os.environ.get("COMET_TMP", "/tmp")):
        if port:
            settings = [*settings, "listen_addresses=127.0.0.1",
                        "port=%d" % port]
        self.env = dict(os.environ, COMET_PG_SETTINGS="\n".join(settings),
                        PGPORT=str(port or 5432), **(env or {}))
        if not os.path.exists(PG_MODULE):
            pytest.skip("mod_comet_pg.so was not built: libpq-dev is missing")
        self.folder = tempfile.mkdtemp(prefix="comet-pg-", dir=parent)
        done = subprocess.run([sys.executable, "-B", TOOL, "start",
                               self.folder], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, text=True, check=False,
                              env=self.env)
        if done.returncode == SKIPPED:
            shutil.rmtree(self.folder)
            pytest.skip(done.stdout.strip())
        assert done.returncode == 0
        self.conninfo = done.stdout.strip()

    def lay(self, name):
        """Run another file of sql/postgresql, and then grants.sql."""
        for file in (name, "grants.sql"):
            self.psql("\\i " + os.path.join(REPO, "sql", "postgresql", file))

    def command(self, user=None, database="site"):
        user = user or ("postgres" if is_root() else None)
        return ["psql", "-X", "-q", "-A", "-t", "-h", self.folder,
                "-d", database, "-v", "ON_ERROR_STOP=1"] \
            + (["-U", user] if user else [])

    def psql(self, sql, user=None, check=True, database="site"):
        """Run SQL as another program does. Return the output; with check=False
        return (status, error)."""
        done = subprocess.run(self.command(user, database), input=sql,
                              text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              check=False, env=self.env)
        if check:
            assert done.returncode == 0, (sql, done.stderr)
            return done.stdout.strip()
        return done.returncode, done.stderr

    def database(self, name):
        """Make a new database with the schema."""
        self.psql("CREATE DATABASE %s TEMPLATE site" % name,
                  database="postgres")
        return Database(self, name)

    def session(self, database="site"):
        """Return a psql that stays open, so that a test can hold a transaction
        open."""
        return Session(self.command(database=database), self.env)

    def first_pid(self):
        with open(os.path.join(self.folder, "data", "postmaster.pid")) as file:
            return int(file.readline())

    def pids(self):
        """Return the process ids of the postmaster and all its children."""
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
        """Stop all processes of the server by SIGSTOP: they stay alive, and
        keep their sockets open."""
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)

    def crash(self):
        """Kill the whole server, as if its power failed."""
        first = self.pids()[0]
        self.signal(signal.SIGKILL)
        while os.path.exists("/proc/%d" % first):
            time.sleep(0.01)

    def run_tool(self, what, *more):
        subprocess.run([sys.executable, "-B", TOOL, what, self.folder, *more],
                       check=True, env=self.env)

    def start(self):
        """Start the server again."""
        self.run_tool("again")

    def stop(self):
        """Shut the server down, as an administrator does."""
        first = self.first_pid()
        self.run_tool("stop")
        wait_until(lambda: not os.path.exists("/proc/%d" % first), 20,
                   "the end of the server")

    def restart(self):
        """Stop the server and start it, so that new settings take effect."""
        self.stop()
        self.start()

    def standby(self, synchronous=True):
        """Make a hot standby of this server; return its Cluster."""
        other = object.__new__(Cluster)
        other.folder = self.folder + "-standby"
        other.conninfo = self.conninfo.replace(self.folder, other.folder)
        other.env = self.env
        other.follow(self, synchronous)
        return other

    def follow(self, primary, synchronous=True):
        """Become a standby of another server, with a copy of its data."""
        self.run_tool("standby", primary.folder)
        primary.psql("ALTER SYSTEM SET synchronous_standby_names = '%s'"
                     % ("*" if synchronous else ""))
        primary.psql("SELECT pg_reload_conf()")
        state = "sync" if synchronous else "async"
        wait_until(lambda: primary.psql("SELECT sync_state FROM"
                                        " pg_stat_replication") == state, 20,
                   "the standby to follow")

    def promote(self):
        """Promote this standby to a primary. It needs no standby of its own:
        pg_promote() does not wait for one."""
        self.psql("SELECT pg_promote()")

    def log(self):
        with open(os.path.join(self.folder, "server.log"),
                  encoding="utf-8", errors="replace") as text:
            return text.read()

    def runs(self):
        try:
            return os.path.exists("/proc/%d" % self.first_pid())
        except FileNotFoundError:
            return False

    def close(self):
        """End the server, unless it was killed, and remove its folder."""
        if self.runs():
            self.resume()
            self.run_tool("stop")
        shutil.rmtree(self.folder)


class Pooler:
    """A PgBouncer in transaction mode between web servers and a cluster, with
    its own folder."""

    def __init__(self, cluster):
        program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
        if not os.path.exists(program):
            pytest.skip("pgbouncer is not installed")
        self.folder = tempfile.mkdtemp(prefix="comet-pool-", dir="/tmp")
        with open(self.folder + "/users", "w", encoding="ascii") as out:
            out.write('"comet_httpd" ""\n')
        with open(self.folder + "/ini", "w", encoding="ascii") as out:
            out.write("[databases]\nsite = host=%s\n[pgbouncer]\n"
                      "unix_socket_dir = %s\nlisten_port = 5432\n"
                      "auth_type = trust\nauth_file = %s/users\n"
                      "pool_mode = transaction\ndefault_pool_size = 8\n"
                      % (cluster.folder, self.folder, self.folder))
        os.chmod(self.folder, 0o755)
        become = []
        if is_root():
            shutil.chown(self.folder, "postgres")
            become = ["setpriv", "--reuid=postgres", "--regid=postgres",
                      "--clear-groups", "--"]
        self.proc = subprocess.Popen(
            become + [program, "-q", self.folder + "/ini"],
            stderr=subprocess.DEVNULL)
        cluster.conninfo = cluster.conninfo.replace(cluster.folder,
                                                    self.folder)
        wait_until(lambda: os.path.exists(self.folder + "/.s.PGSQL.5432"), 10,
                   "the pooler")

    def close(self):
        self.proc.terminate()
        self.proc.wait(10)
        shutil.rmtree(self.folder)


class Database:
    """A database of a cluster that a web server uses as its store."""

    def __init__(self, cluster, name):
        self.cluster, self.name = cluster, name

    def directives(self):
        return 'LoadModule comet_pg_module "%s"\n' \
            'CometStore "postgresql:%s"' \
            % (PG_MODULE, self.cluster.conninfo.replace(
                "dbname=site", "dbname=" + self.name))

    def connect(self):
        """Open a connection, which the caller closes."""
        return Connection(self)

    def sql(self, text, check=True):
        """Run SQL; return rows of strings, as httpd_env.sqlite() does ("1" is
        true, "0" is false).  After a change, return only when its messages are
        published."""
        if not check:
            return self.cluster.psql(PATH + translate(text), check=False,
                                     database=self.name)
        rows = self.run(text)
        if "INSERT" in text or "DELETE" in text:
            self.await_inbox()
        return rows

    def await_inbox(self):
        wait_until(lambda: self.run(
            "SELECT 1 FROM inbox UNION ALL SELECT 1 FROM online_inbox") == [],
            8, "the inbox to be empty")

    def run(self, text):
        done = subprocess.run(
            self.cluster.command(database=self.name)
            + ["-F", "\x1f", "-R", "\x1e"],
            input=(PATH + translate(text)).encode(), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, check=False)
        assert done.returncode == 0, (text, done.stderr)
        if not done.stdout:
            return []
        # (text=True would convert the ends of lines.  The end of the last line
        # is not part of the last row.)
        out = done.stdout.decode()
        out = out[:-1] if out.endswith("\n") else out
        said = {"t": "1", "f": "0"}
        return [[said.get(value, value) for value in row.split("\x1f")]
                for row in out.split("\x1e")]


class Session:
    """A psql that runs statements one by one."""

    def __init__(self, command, env):
        self.proc = subprocess.Popen(command, stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, text=True,
                                     env=env)

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


class Connection(Session):
    """A psql with the methods of sqlite3's connections that the tests use."""

    def __init__(self, database):
        super().__init__(database.cluster.command(database=database.name),
                         database.cluster.env)
        self.database = database
        self.run(PATH)

    def close(self):
        """Close the connection; return when all that it inserted is
        published."""
        super().close()
        self.database.await_inbox()

    def execute(self, sql, values=()):
        parts = translate(sql).split("?")
        self.run(parts[0] + "".join(
            literal(value) + part for value, part in zip(values, parts[1:])))


def server_conf(cluster, **more):
    """Return the arguments for a web server that uses a cluster; `more`
    overrides some of them."""
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
