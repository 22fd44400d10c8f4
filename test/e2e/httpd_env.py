# SPDX-License-Identifier: Apache-2.0
"""A private Apache httpd for the tests, with its own ServerRoot and port."""

import contextlib
import glob
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time

from http_client import Raw, one_request, quote

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
TOOLS = os.path.join(REPO, "test", "tools")
HTTPD = os.environ.get("COMET_HTTPD", "/usr/sbin/apache2")
MODULES = os.environ.get("COMET_HTTPD_MODULES", "/usr/lib/apache2/modules")
SANITIZER = os.environ.get("COMET_SANITIZER", "none") or "none"
COMET_MODULE = os.path.abspath(
    os.environ.get("COMET_MODULE",
                   os.path.join(REPO, "build", "mod_comet.so")))
ALL_MPMS = ("event", "worker", "prefork")
MPMS = tuple(m for m in ALL_MPMS
             if m in re.split(r"[,\s]+", os.environ.get("COMET_MPM", "")
                              or ",".join(ALL_MPMS)))
DEFAULT_MPM = MPMS[0] if MPMS else "event"
WWW_USER = os.environ.get("COMET_WWW_USER", "www-data")

# "adopted": the hub may adopt streams.  "brigade": streams stay with httpd and
# its filters (CometAdopt off).
WRITE_PATH = os.environ.get("COMET_WRITE_PATH", "adopted")
# Whether the hub itself answers polls everywhere (CometFastPoll on).
FAST_POLL = os.environ.get("COMET_FAST_POLL") == "on"
# Whether it publishes what comes in known POSTs (CometFastPublish on).
FAST_PUBLISH = os.environ.get("COMET_FAST_PUBLISH") == "on"

# Under a sanitizer, deadlines (but no fixed waits) are multiplied by SLOW.
SLOW = {"asan": 4.0, "tsan": 8.0, "memcheck": 12.0}.get(SANITIZER, 1.0)
# wait_until() waits twice as long where tests run in parallel, because
# everything is slower then.  This does not affect figures that a test judges.
PATIENCE = SLOW * (2.0 if "PYTEST_XDIST_WORKER" in os.environ else 1.0)

# Matches a log line about a store that cannot be used, except two lines that
# are usual at a first start, while another child makes the database.
CANNOT_OPEN = re.compile(r"CometStore: \S+: (?!another process has locked"
                         r"|No such file or directory: reading)")

# With "postgresql", servers that name no store keep their messages in
# PostgreSQL.  conftest.py then sets NEW_DATABASE, which makes a database for
# each of these servers.
STORE = os.environ.get("COMET_STORE", "sqlite")
NEW_DATABASE = None

# The parent folder of servers whose advice is tested.  The module proposes no
# command for a system folder such as /dev/shm.
ORDINARY = "/tmp"

BASE_MODULES = ("authz_core", "authz_host", "authn_core", "authn_file",
                "authz_user", "auth_basic", "alias", "dir", "mime",
                "rewrite", "setenvif", "env", "headers", "filter", "deflate",
                "reqtimeout")

# Lines that must not be in the error log after any test.
BAD_LOG = re.compile(
    r"segfault|Segmentation fault|AH00051|AH00052|AH00045|AH00046|AH00047"
    r"|exit signal|[Aa]ssert|AddressSanitizer|ThreadSanitizer|LeakSanitizer"
    r"|runtime error:|double free|corrupted|stack smashing|:emerg\]")


# The warning that a database is in memory.  The tests' databases are in memory
# if COMET_TMP is on a tmpfs.
IN_MEMORY = re.compile(r".* is on tmpfs, in memory.*\n?")


class HttpdError(Exception):
    """The private httpd did not do something in time."""


def wait_until(condition, timeout=5.0, what="the condition", step=0.01):
    """Poll `condition` until it is true, and return its value.  Fail after
    `timeout` seconds."""
    end = time.monotonic() + timeout * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited %.1f s in vain for %s (last: %r)"
                                 % (timeout * PATIENCE, what, value))
        time.sleep(step)


def raise_nofile():
    """Raise the limit of open file descriptors to the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    want = hard if hard != resource.RLIM_INFINITY else 65536
    if soft < want:
        resource.setrlimit(resource.RLIMIT_NOFILE, (want, hard))
    return want


CLAIMS = {}     # port: the socket that reserves it


def free_port():
    """Reserve a loopback port outside the ephemeral range until give_port().

    The reservation is a socket in Linux's abstract namespace.  It keeps other
    test processes off the port before our server listens, and between a kill
    and the next start.
    """
    for _ in range(200):
        port = random.randint(12000, 30000)
        claim = socket.socket(socket.AF_UNIX)
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                claim.bind("\0comet-e2e-port-%d" % port)
                sock.bind(("127.0.0.1", port))
            except OSError:
                claim.close()
                continue
        CLAIMS[port] = claim
        return port
    raise HttpdError("no free port")


def give_port(port):
    """Release a reserved port."""
    if port in CLAIMS:
        CLAIMS.pop(port).close()


def sqlite(db, sql, timeout_ms=5000, check=True):
    """Run the statements of `sql`.  Return all rows as lists of texts, as the
    sqlite3 command line prints them (it would take 16 ms to start).  With
    `check=False`, return whether a statement failed, and SQLite's message.
    `db` is a path, or a pg_env.Database."""
    if not isinstance(db, str):
        return db.sql(sql, check)
    rows = []
    try:
        with contextlib.closing(sqlite3.connect(
                db, timeout=timeout_ms / 1000, isolation_level=None)) as base:
            base.text_factory = lambda text: text.decode("utf-8", "replace")
            for statement in statements(sql):
                rows += base.execute(statement)
    except sqlite3.Error as error:
        if check:
            raise AssertionError("sqlite3: %s\n%s" % (error, sql)) from error
        return True, str(error)
    return [[sql_shown(value) for value in row] for row in rows] \
        if check else (False, "")


def connect(db):
    """Return a connection to a store.  The caller closes it."""
    if not isinstance(db, str):
        return db.connect()
    return sqlite3.connect(db, timeout=10, isolation_level=None,
                           check_same_thread=False)


@contextlib.contextmanager
def flag(server):
    """Have the file conf/flag in the server's folder while the context is open,
    so that rules of httpd's configuration decide differently."""
    path = os.path.join(server.root, "conf", "flag")
    with open(path, "w", encoding="ascii"):
        pass
    yield
    os.unlink(path)


def lock(db):
    """Return a connection with a transaction that publishers have to wait for.
    The caller rolls it back, and closes the connection."""
    conn = connect(db)
    conn.execute("BEGIN IMMEDIATE")
    if not isinstance(db, str):
        conn.execute("LOCK TABLE turn IN EXCLUSIVE MODE")
    return conn


def statements(sql):
    """Yield the statements of a script, one by one."""
    begun = ""
    for part in re.split(r"(?<=;)", sql):
        begun += part
        if sqlite3.complete_statement(begun):
            yield begun
            begun = ""
    if begun.strip():
        yield begun


def sql_shown(value):
    """Return a value as the sqlite3 command line prints it."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "%.15g" % value if isinstance(value, float) else str(value)


def sql_text(text):
    """Quote `text` as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def proc_children(pid):
    """Return the pids whose parent is `pid`."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % name, "rb") as stat:
                fields = stat.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != b"Z":
            found.append(int(name))
    return sorted(found)


def alive(pid):
    """Return whether any thread of `pid` has not ended yet."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as stat:
            if stat.read().rpartition(b")")[2].split()[0] != b"Z":
                return True
        return len(os.listdir("/proc/%d/task" % pid)) > 1
    except OSError:
        return False


def runs(path):
    """Return whether a thread is running, ready to run or blocked on a disk.
    `path` is its /proc/PID/task/TID/stat."""
    try:
        with open(path, "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] in b"RD"
    except OSError:
        return False


def thread_count(pid):
    """Return the number of threads of a process."""
    return len(os.listdir("/proc/%d/task" % pid))


def fd_count(pid, kinds=("",)):
    """Return the number of open file descriptors of a process.
    kinds: count only those of /proc/PID/fd that lead to something whose name
    begins like one of these"""
    folder = "/proc/%d/fd/" % pid
    count = 0
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            count += os.readlink(folder + name).startswith(kinds)
    return count


def is_stopped(pid):
    """Return whether no thread of a process runs: all are stopped, or it is
    dead."""
    texts = [Httpd.slurp(path)
             for path in glob.glob("/proc/%d/task/*/stat" % pid)]
    # a thread that has just ended has no text
    return all((text.rpartition(")")[2].split() or "X")[0] in "TtZX"
               for text in texts)


def stop_process(pid):
    """Stop a process by SIGSTOP.  kill() returns before the process's threads
    have stopped: one of them takes the signal and stops the others, so these
    may still go on for a while.  This returns when all of them have stopped."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: is_stopped(pid), 5, "all threads of %d to stop" % pid)


def pss_kb(pid):
    """Return the proportional set size of a process in KiB."""
    with open("/proc/%d/smaps_rollup" % pid) as smaps:
        for line in smaps:
            if line.startswith("Pss:"):
                return int(line.split()[1])
    raise HttpdError("no Pss for %d" % pid)


def is_root():
    return os.geteuid() == 0


def give(path):
    """Change the owner of `path` to the user of httpd's children."""
    if is_root():
        shutil.chown(path, WWW_USER, WWW_USER)


def self_signed(folder):
    """Make a key and a certificate for localhost in `folder`."""
    key = os.path.join(folder, "key.pem")
    cert = os.path.join(folder, "cert.pem")
    if not os.path.exists(cert):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
             "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
             "-subj", "/CN=localhost", "-addext",
             "subjectAltName=DNS:localhost,IP:127.0.0.1",
             "-keyout", key, "-out", cert],
            check=True, timeout=60, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
    return key, cert


class Httpd:
    """One private httpd.  No method waits for it without a deadline.

    conf:     configuration text of the main server; {root} {data} {docroot}
              {port} {tls_port} in it are replaced.
    comet:    "demo" loads the module and maps /chat /clock /comet and
              /comet-status, with the store {data}/comet.db; "load" only loads
              the module; "" does not load it.
    classics: how many classic backends to map: /cN/backend.php on channel cN.
    database: a store to use instead of the file (pg_env.Database).
    env:      additions to the server's environment.
    wrapper:  a command that executes the server (strace -D …).
    parent:   where the server's folder is made.
    may_leak: the sanitizers report no leaks, because children may end before
              their threads, which wait for a store or a log, or because other
              modules leak.
    """

    def __init__(self, conf="", mpm=None, comet="demo", classics=0,
                 children=1, threads=25, mpm_conf=None, modules=(),
                 tls=False, h2=False, timeout=60, env=None, keepalive="on",
                 max_keepalive=0, data=None, before="", wrapper=(),
                 database=None, parent=os.environ.get("COMET_TMP", ORDINARY),
                 may_leak=False):
        self.root = tempfile.mkdtemp(prefix="comet-e2e-", dir=parent)
        os.chmod(self.root, 0o755)
        self.mpm = mpm or DEFAULT_MPM
        self.conf, self.before = conf, before
        if database is None and comet == "demo" and NEW_DATABASE:
            database = NEW_DATABASE()
        self.database = database
        self.comet, self.classics = comet, classics
        self.children_count, self.threads = children, threads
        self.mpm_conf = mpm_conf
        self.modules = tuple(modules)
        self.tls, self.h2 = tls, h2
        self.timeout = timeout
        self.keepalive, self.max_keepalive = keepalive, max_keepalive
        self.env = dict(env or {})
        self.wrapper = list(wrapper)
        self.may_leak = may_leak
        self.port = free_port()
        self.tls_port = free_port() if tls else None
        self.proc = None
        self.allow_log = []      # regular expressions of expected bad lines
        if SANITIZER != "none":
            # LeakSanitizer searches all memory at exit, so httpd ends slowly
            self.allow_log.append("AH0004[567]")
        self.check_waiting = True
        self.mode = "-DFOREGROUND"
        self.removed = False
        self._next_classic = 0
        for name in ("conf", "logs", "run", "docroot"):
            os.mkdir(os.path.join(self.root, name), 0o755)
            os.chmod(os.path.join(self.root, name), 0o755)
        self.docroot = os.path.join(self.root, "docroot")
        self.data = data or os.path.join(self.root, "data")
        if data is None:
            os.mkdir(self.data)
            give(self.data)
            os.chmod(self.data, 0o2770)
        self.reports = os.path.join(self.root, "reports")
        os.mkdir(self.reports)
        os.chmod(self.reports, 0o777)
        self.db = database or os.path.join(self.data, "comet.db")
        self.error_log_path = os.path.join(self.root, "logs", "error.log")
        self.access_log_path = os.path.join(self.root, "logs", "access.log")
        self.write("static.txt", "a static file\n")
        self.write("index.html", "<!DOCTYPE html><title>index</title>\n")

    # -- files ------------------------------------------------------------

    def write(self, name, text):
        """Put a file into the document root."""
        path = os.path.join(self.docroot, name)
        folder = os.path.dirname(path)
        os.makedirs(folder, mode=0o755, exist_ok=True)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        os.chmod(path, 0o644)
        return path

    def fill(self, text):
        for key in ("root", "data", "docroot", "port", "tls_port"):
            text = text.replace("{%s}" % key, str(getattr(self, key)))
        return text

    def mpm_lines(self):
        if self.mpm_conf is not None:
            return self.mpm_conf
        n, t = self.children_count, self.threads
        if self.mpm == "prefork":
            n = max(n, 8)
            return ("StartServers %d\nMinSpareServers %d\n"
                    "MaxSpareServers 64\nServerLimit 128\n"
                    "MaxRequestWorkers 64\n" % (n, n))
        lines = ("ServerLimit %d\nStartServers %d\nThreadLimit %d\n"
                 "ThreadsPerChild %d\nMaxRequestWorkers %d\n"
                 "MinSpareThreads %d\nMaxSpareThreads %d\n"
                 % (4 * n + 4, n, t, t, n * t, n * t, n * t + t))
        if self.mpm == "event":
            lines += "AsyncRequestWorkerFactor 200\n"
        return lines

    def config_text(self, conf=None):
        """Return the whole httpd.conf."""
        out = ['ServerRoot "%s"' % self.root, "ServerName localhost",
               "Listen 127.0.0.1:%d" % self.port,
               'PidFile "run/httpd.pid"', 'DefaultRuntimeDir "run"',
               'ErrorLog "logs/error.log"', "LogLevel warn",
               "Timeout %d" % self.timeout,
               "KeepAlive %s" % self.keepalive, "KeepAliveTimeout 15",
               "MaxKeepAliveRequests %d" % self.max_keepalive,
               "GracefulShutdownTimeout 10", "EnableSendfile off"]
        names = ["mpm_" + self.mpm] + list(BASE_MODULES)
        if self.tls:
            names += ["socache_shmcb", "ssl"]
        if self.h2:
            names += ["http2"]
        for name in list(names) + [m for m in self.modules
                                   if m not in names]:
            out.append('LoadModule %s_module "%s/mod_%s.so"'
                       % (name, MODULES, name))
        if is_root():
            out += ["User %s" % WWW_USER, "Group %s" % WWW_USER]
        out += [self.mpm_lines(),
                'DocumentRoot "%s"' % self.docroot,
                "<Directory />\n  AllowOverride None\n"
                "  Require all denied\n</Directory>",
                '<Directory "%s">\n  AllowOverride All\n'
                "  Options FollowSymLinks\n  Require all granted\n"
                "</Directory>" % self.docroot,
                "DirectoryIndex index.html",
                "TypesConfig /dev/null",
                "AddType text/html .html", "AddType text/plain .txt",
                "AddType text/javascript .js", "AddType text/css .css",
                # pid, local port, status, bytes, microseconds, connection,
                # request line
                'LogFormat "%P %{local}p %>s %B %D %X \\"%r\\"" e2e',
                'CustomLog "logs/access.log" e2e']
        if self.h2:
            out.append("Protocols h2 h2c http/1.1")
        if self.comet:
            out.append('LoadModule comet_module "%s"\n'
                       "LogLevel warn comet:info" % COMET_MODULE)
            if WRITE_PATH == "brigade":
                out.append("CometAdopt off")
            if FAST_POLL:
                out.append("CometFastPoll on")
            if FAST_PUBLISH:
                out.append("CometFastPublish on")
        out.append(self.fill(self.before))
        if self.comet == "demo":
            out += [self.database.directives() if self.database
                    else 'CometStore "sqlite:%s"' % self.db,
                    "CometClassic /chat/backend.php chat",
                    "CometClock /clock/backend.php",
                    "CometEndpoint /comet"]
            out += ["CometClassic /c%d/backend.php c%d" % (i, i)
                    for i in range(self.classics)]
        if self.comet in ("demo", "status"):
            out.append('<Location "/comet-status">\n'
                       "  SetHandler comet-status\n  Require local\n"
                       "</Location>")
        out.append(self.fill(self.conf if conf is None else conf))
        if self.tls:
            key, cert = self_signed(os.path.join(self.root, "conf"))
            out.append('Listen 127.0.0.1:%d\n'
                       'SSLSessionCache "shmcb:%s/run/ssl(65536)"\n'
                       '<VirtualHost 127.0.0.1:%d>\n  SSLEngine on\n'
                       '  SSLCertificateFile "%s"\n'
                       '  SSLCertificateKeyFile "%s"\n</VirtualHost>'
                       % (self.tls_port, self.root, self.tls_port, cert,
                          key))
        return "\n".join(out) + "\n"

    def conf_path(self, text, name="httpd.conf"):
        path = os.path.join(self.root, "conf", name)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        return path

    # -- process ----------------------------------------------------------

    def command(self, *args, wrapper=()):
        cmd = [HTTPD] + list(args)
        if SANITIZER == "memcheck":
            # (asan reports leaks; memcheck cannot, because httpd unloads the
            # module before it exits)
            cmd = ["valgrind", "--quiet", "--fair-sched=yes",
                   "--keep-debuginfo=yes",
                   "--suppressions=" + os.path.join(TOOLS, "memcheck.supp"),
                   "--log-file=%s.%%p" % os.path.join(self.reports, SANITIZER)
                   ] + cmd
        cmd = [self.fill(word) for word in wrapper] + cmd
        # (the sanitizer's library is preloaded into the wrapper, too)
        if SANITIZER in ("asan", "tsan"):
            cmd = ["setarch", os.uname().machine, "-R"] + cmd
        return cmd

    def environment(self):
        env = dict(os.environ)
        for name in list(env):
            if name.startswith(("APACHE_", "COMET_TEST_")):
                del env[name]
        env.update(self.env)
        env["LC_ALL"] = "C.UTF-8"
        log = os.path.join(self.reports, SANITIZER)
        if SANITIZER == "asan":
            env["LD_PRELOAD"] = runtime_library("libasan.so")
            # (httpd's own handler of SIGSEGV would print no stack)
            common = ("log_path=%s:abort_on_error=0:handle_segv=2:"
                      "handle_sigbus=2:handle_abort=2" % log)
            # prefork ends its children inside a signal handler, where the
            # module must not free memory that its threads may still use
            env["ASAN_OPTIONS"] = "detect_leaks=%d:" \
                % (self.mpm != "prefork" and not self.may_leak) + common
            env["UBSAN_OPTIONS"] = "print_stacktrace=1:" + common
            env["LSAN_OPTIONS"] = ("suppressions=%s:print_suppressions=0"
                                   % os.path.join(TOOLS, "lsan.supp"))
        elif SANITIZER == "tsan":
            env["LD_PRELOAD"] = runtime_library("libtsan.so")
            # prefork's children call exit() in a signal handler; each free() in
            # OpenSSL would be reported, thousands for each child.  At a reload
            # they do not wait longer than 40 ms for the threads that write,
            # which need longer if many children end at once.
            env["TSAN_OPTIONS"] = (
                "log_path=%s:suppressions=%s:history_size=4:handle_segv=2:"
                "second_deadlock_stack=1:exitcode=0:report_signal_unsafe=%d:"
                "report_thread_leaks=%d"
                % (log, os.path.join(TOOLS, "tsan.supp"),
                   self.mpm != "prefork",
                   self.mpm != "prefork" and not self.may_leak))
        return env

    def start(self, wait=True):
        """Start and wait until the port answers a request."""
        assert self.proc is None, "already running"
        for attempt in range(5):
            path = self.conf_path(self.config_text())
            with open(os.path.join(self.root, "logs", "stderr.log"),
                      "ab") as err:
                self.proc = subprocess.Popen(
                    self.command(self.mode, "-f", path,
                                 wrapper=self.wrapper),
                    stdin=subprocess.DEVNULL, stdout=err, stderr=err,
                    env=self.environment(), start_new_session=True,
                    cwd="/")
            if not wait:
                return self
            try:
                wait_until(self.answers_or_dead, 15, "httpd to answer")
            except AssertionError:
                self.kill()
                raise HttpdError("httpd does not answer\n" + self.tail())
            if self.proc.poll() is None:
                self.await_store(2 * PATIENCE)
                return self
            self.proc = None
            if "could not bind" in self.tail() and attempt < 4 \
                    and not getattr(self, "keep_port", False):
                self.give_ports()
                self.port = free_port()
                if self.tls:
                    self.tls_port = free_port()
                continue
            break
        raise HttpdError("httpd ended at once\n" + self.tail())

    def await_store(self, limit):
        """Wait until the new database exists. A child makes it after the port
        is open. Do not wait if the database cannot be made."""
        end = time.monotonic() + limit
        named = not self.database \
            and "sqlite:" + self.db in self.config_text()
        while self.database and STORE == "postgresql" \
                and time.monotonic() < end and self.get(
                    "/comet/none?wait=0").status == 503:
            time.sleep(0.01)
        while named and time.monotonic() < end \
                and not self.has_tables() \
                and not CANNOT_OPEN.search(self.error_log()):
            time.sleep(0.002)

    def has_tables(self):
        """Return whether the database has its schema: the file is longer than
        its first page, or the index of its log shows the commit.  A check with
        sqlite3, as root, could make a child that opens the file at the same
        moment fail."""
        try:
            with open(self.db + "-shm", "rb") as index:
                _, _, _, _, _, committed = struct.unpack(
                    "=IIIHHI", index.read(20))
            # (the commit of the schema has about ten pages; the commit before
            # it has one)
            return committed > 4 or os.path.getsize(self.db) > 4096
        except (OSError, struct.error):
            return False

    def give_ports(self):
        """Release the reserved ports."""
        for port in (self.port, self.tls_port):
            give_port(port)

    def answers_or_dead(self):
        if self.proc.poll() is not None:
            return True
        return self.answers()

    def answers(self):
        try:
            return one_request(self.port, "GET", "/static.txt",
                               timeout=2 * SLOW).status > 0
        except (OSError, ValueError):
            return False

    @property
    def pid(self):
        return self.proc.pid

    def children(self):
        """Return the pids of the children of all generations."""
        return proc_children(self.proc.pid) if self.proc else []

    def settle(self):
        """Let the workers finish with their connections, before a stop.

        On SIGTERM httpd's event MPM touches the sockets of its workers without
        a lock.  It crashes if a socket is freed at that moment.  This happened
        in close_worker_sockets() at 17 of 60 stops of an httpd without our
        module, each soon after 40 clients had left.
        """
        end = time.monotonic() + 0.3 * SLOW
        quiet = 0
        while time.monotonic() < end and quiet < 2:
            quiet = 0 if self.closing() or self.works() else quiet + 1
            time.sleep(0.01)

    def works(self):
        """Return whether a thread of any child runs or is ready to run."""
        return any(runs(path) for pid in self.children()
                   for path in glob.glob("/proc/%d/task/*/stat" % pid))

    def connections(self):
        """Return (client's port, state, how many bytes httpd has not read yet)
        for each connection, as the server's end of it has them."""
        with open("/proc/net/tcp") as table:
            for line in table.readlines()[1:]:
                _, local, remote, state, queues = line.split()[:5]
                if local.endswith(":%04X" % self.port):
                    yield (int(remote.split(":")[1], 16), state,
                           int(queues.split(":")[1], 16))

    def closing(self):
        """Return whether any connection is being closed."""
        # FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING
        return any(state in ("04", "05", "08", "09", "0B")
                   for _, state, _ in self.connections())

    def has_read(self, conn):
        """Return whether httpd has read everything that the client has sent."""
        mine = conn.sock.getsockname()[1]
        return any(port == mine and unread == 0
                   for port, _, unread in self.connections())

    def stop(self, timeout=20.0):
        """Send SIGTERM, and kill the server if it hangs.  Return how many
        seconds it took to stop."""
        if self.proc is None:
            return 0.0
        self.settle()
        begin = time.monotonic()
        kids = self.children()
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
        try:
            self.proc.wait(timeout * SLOW)
        except subprocess.TimeoutExpired:
            self.kill()
            raise HttpdError("httpd did not stop in %.0f s\n%s"
                             % (timeout * SLOW, self.tail()))
        took = time.monotonic() - begin
        self.proc = None
        wait_until(lambda: not any(alive(p) for p in kids), 5,
                   "the children to be gone")
        return took

    def kill(self):
        """Send kill -9 to the server and all its children at once."""
        if self.proc is None:
            return
        kids = self.children()
        if self.proc.poll() is None:    # once stopped, it starts no children
            stop_process(self.proc.pid)
        kids = sorted(set(kids) | set(self.children()))
        for pid in [self.proc.pid] + kids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.proc.wait(10)
        wait_until(lambda: not any(alive(p) for p in kids), 5,
                   "the killed children to be gone")
        self.proc = None

    def generation(self):
        """Return how many times httpd has started or reloaded, according to its
        error log."""
        return self.error_log().count("resuming normal operations")

    def graceful(self, timeout=15.0, sign=signal.SIGUSR1):
        """Reload (or with SIGHUP restart at once).  Return the old children
        once the new ones answer."""
        old, gen = set(self.children()), self.generation()
        if sign == signal.SIGHUP:
            self.settle()
        self.proc.send_signal(sign)
        wait_until(lambda: self.generation() > gen, timeout,
                   "the reload in the error log")
        wait_until(lambda: set(self.children()) - old, timeout,
                   "a child of the new generation")
        wait_until(self.answers, timeout, "the new generation to answer")
        return sorted(old)

    def time_restart(self):
        """Restart at once (SIGHUP). Return after how many seconds the new
        children answer and the old ones have ended."""
        begin = time.monotonic()
        old = self.graceful(sign=signal.SIGHUP)
        wait_until(lambda: not any(map(alive, old)), 15, "the old children's end")
        return time.monotonic() - begin

    def configtest(self, conf, comet="load"):
        """Run `httpd -t` with `conf` as the module's only configuration."""
        saved, self.comet = self.comet, comet
        try:
            path = self.conf_path(self.config_text(conf), "test.conf")
        finally:
            self.comet = saved
        done = subprocess.run(self.command("-t", "-f", path),
                              stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT,
                              env=self.environment(), timeout=30 * SLOW)
        return done.returncode, IN_MEMORY.sub(
            "", done.stdout.decode("utf-8", "replace"))

    # -- logs and status --------------------------------------------------

    @staticmethod
    def slurp(path):
        try:
            with open(path, encoding="utf-8", errors="replace") as text:
                return text.read()
        except FileNotFoundError:
            return ""

    def error_log(self):
        return self.slurp(self.error_log_path)

    def access_log(self):
        return self.slurp(self.access_log_path)

    def access_lines(self, part=""):
        return [x for x in self.access_log().splitlines() if part in x]

    def tail(self, count=40):
        text = self.slurp(os.path.join(self.root, "logs", "stderr.log"))
        lines = (text + self.error_log()).splitlines()
        return "\n".join(lines[-count:])

    def sanitizer_reports(self):
        """Return the text of all sanitizer reports written so far."""
        found = []
        for name in sorted(os.listdir(self.reports)):
            text = self.slurp(os.path.join(self.reports, name))
            if SANITIZER == "tsan":
                text = judged_races(text)
            if text.strip():
                found.append("== %s\n%s" % (name, text))
        return found

    def status(self):
        """Return the answer of comet-status as a dictionary."""
        answer = one_request(self.port, "GET", "/comet-status",
                             timeout=10 * SLOW)
        assert answer.status == 200, answer
        return json.loads(answer.body)

    def waiting(self, kind=None):
        """Return how many clients wait in all children: all clients, or those
        on the transport `kind`."""
        counts = self.status()["waiting"]
        return counts[kind] if kind else sum(counts.values())

    def wait_waiting(self, count, kind=None, timeout=6.0):
        """Wait until exactly `count` clients wait."""
        wait_until(lambda: self.waiting(kind) == count, timeout,
                   "%d waiting clients (%s), status: %s"
                   % (count, kind or "all", self.safe_status()))

    def safe_status(self):
        try:
            return self.status()
        except (OSError, ValueError, AssertionError) as err:
            return repr(err)

    # -- requests ---------------------------------------------------------

    def request(self, method, target, body=None, headers=None,
                timeout=None, tls=False):
        """Send one request on its own connection; return the Answer."""
        return one_request(self.tls_port if tls else self.port, method,
                           target, body, headers,
                           timeout=(timeout or 15) * SLOW, tls=tls)

    def get(self, target, headers=None, timeout=None):
        return self.request("GET", target, None, headers, timeout)

    def raw(self, tls=False, timeout=15.0, rcvbuf=None):
        """Return a connection that the test reads chunk by chunk."""
        return Raw(self.tls_port if tls else self.port, tls=tls,
                   timeout=timeout * SLOW, rcvbuf=rcvbuf)

    def publish(self, text, target="/chat/backend.php"):
        """Publish as the original page does, and check the answer."""
        answer = self.get(target + "?msg=" + quote(text),
                          {"X-Requested-With": "XMLHttpRequest"})
        assert answer.status == 200, answer
        assert answer.body == b"", answer
        return answer

    def publish_again(self, text, target="/chat/backend.php"):
        """Publish.  Repeat while the answer is 503, which means "not stored,
        retry"."""
        def stored():
            answer = self.get(target + "?msg=" + quote(text),
                              {"X-Requested-With": "XMLHttpRequest"})
            assert answer.status in (200, 503), answer
            assert answer.status == 200 or answer.header("retry-after")
            return answer.status == 200

        wait_until(stored, 15, "%r to be stored" % text, 0.02)

    def post(self, channel, text, ctype="text/plain; charset=utf-8"):
        """POST to the endpoint; return the timestamp of the 201."""
        answer = self.request("POST", "/comet/" + quote(channel, "/"),
                              text.encode("utf-8"), {"Content-Type": ctype})
        assert answer.status == 201, answer
        return answer.json()["timestamp"]

    def history(self, channel, query="since=0&limit=1000&wait=0"):
        """Return a channel's messages, as the endpoint lists them."""
        answer = self.get("/comet/%s?%s" % (quote(channel, "/"), query))
        assert answer.status == 200, answer
        return answer.json()["messages"]

    def rows(self, channel):
        """Return the bodies of a channel's messages in the database."""
        return [row[0] for row in sqlite(
            self.db, "SELECT body FROM message WHERE channel=%s "
            "ORDER BY timestamp;" % sql_text(channel))]

    def sql(self, text):
        """Run SQL on the store, as another program does.  Return rows of
        strings. Views and tables have SQLite's names on every store."""
        return sqlite(self.db, text)

    def next_classic(self):
        """Return a classic backend that no test of this server has used."""
        number = self._next_classic
        self._next_classic += 1
        assert number < self.classics, "raise classics="
        return "/c%d/backend.php" % number, "c%d" % number

    # -- checks and removal -----------------------------------------------

    def complaints(self):
        """Return the lines of the error log that show a fault."""
        return [line for line in self.error_log().splitlines()
                if BAD_LOG.search(line)
                and not any(re.search(a, line) for a in self.allow_log)]

    def verify(self):
        """Check the running server after a test; return the problems."""
        problems = []
        if self.proc is not None:
            if self.proc.poll() is not None:
                problems.append("httpd died, rc %s" % self.proc.returncode)
            elif self.comet == "demo" and self.check_waiting:
                try:
                    self.wait_waiting(0)
                except (AssertionError, OSError, ValueError) as err:
                    problems.append("waiting counters: %s" % err)
        problems += self.complaints()
        problems += self.sanitizer_reports()
        return problems

    def close(self):
        """Check, stop, check again and remove the server.  Return the
        problems."""
        problems = []
        if self.proc is not None:
            problems += self.verify()
            try:
                self.stop()
            except (HttpdError, AssertionError) as err:
                problems.append(str(err))
        for text in self.complaints() + self.sanitizer_reports():
            if text not in problems:
                problems.append(text)
        if problems:
            problems.append("error log:\n" + self.tail())
        self.give_ports()
        if not os.environ.get("COMET_KEEP"):
            shutil.rmtree(self.root, ignore_errors=True)
            self.removed = True
        else:
            sys.stderr.write("kept: %s\n" % self.root)
        return problems


def judged_races(text):
    """Return ThreadSanitizer's reports in which the module makes all accesses:
    mod_comet.so, or mod_comet_pg.so, which is the engine for PostgreSQL.

    httpd passes the memory of connections between threads by a lock-free list
    in its own code.  That code is not instrumented: when it clears such memory,
    this looks like a race with every earlier use.  httpd's own writes do not
    count either, even when the module calls httpd: several threads write the
    scoreboard without a lock.  When a child ends early, httpd destroys mutexes
    of its own that are locked, such as a request's on prefork.
    """
    module = re.compile(r"mod_comet(_pg)?\.so")

    def is_ours(stack):
        frames = [line for line in stack.splitlines() if "libtsan" not in line]
        return bool(frames) and bool(module.search(frames[0]))

    kept = []
    for block in text.split("=================="):
        # Calls in a signal handler do not count: prefork ends children there.
        if "WARNING: ThreadSanitizer" not in block \
                or not module.search(block) \
                or "signal-unsafe call inside of a signal" in block:
            if "ERROR: " in block:
                kept.append(block)
            continue
        if "destroy of a locked mutex" in block \
                and "created at:" in block \
                and not module.search(block.partition("created at:")[2]):
            continue
        accesses = re.findall(
            r"^  (?:Previous )?(?:atomic )?(?:[Rr]ead|[Ww]rite) of size"
            r"[^\n]*\n((?:    .*\n)*)", block, re.M)
        if all(is_ours(stack) for stack in accesses):
            kept.append(block)
    return "".join(kept)


def runtime_library(name):
    """Return the path of a sanitizer's runtime library, as gcc reports it."""
    path = subprocess.run(["gcc", "-print-file-name=" + name], check=True,
                          stdout=subprocess.PIPE,
                          timeout=30).stdout.decode().strip()
    return os.path.realpath(path)
