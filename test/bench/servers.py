# SPDX-License-Identifier: Apache-2.0
"""The servers that are compared: mod_comet on httpd's event MPM, nchan, the
floor, and a null handler.  Each runs alone, on a loopback port."""

import glob
import os
import pwd
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
BUILD = os.path.join(TOP, os.environ.get("BUILD") or "build")
BENCH = os.path.join(BUILD, "bench")
HTTPD = os.environ.get("COMET_HTTPD", "/usr/sbin/apache2")
MODULES = os.environ.get("COMET_HTTPD_MODULES", "/usr/lib/apache2/modules")
USER = os.environ.get("COMET_WWW_USER", "www-data")
# Where 'conf/setup bench' unpacks Debian's packages of nginx and nchan.
DEBIAN = os.path.join(BENCH, "debian")
HEARTBEAT_SECONDS = 25


class Unavailable(Exception):
    """A server does not start, or the server or something that it needs is
    missing."""


def raise_nofile():
    """Raise the limit of file descriptors to the hard limit, for this process
    and its children."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 1 << 20


def free_port():
    """A free loopback port outside the range of ephemeral ports."""
    for _ in range(200):
        port = random.randint(12000, 30000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise Unavailable("no free port")


def is_root():
    return os.geteuid() == 0


class Server:
    """A server with a folder of its own. A `with` statement starts and stops
    it.

    urls: the paths for the generator: stream, poll, publish, history, get. The
    server does not offer what has no path here.
    """

    name = ""
    urls = {}
    cursor = ""
    frame = "text/plain"

    def __init__(self, children=1, conf=""):
        self.children, self.conf = children, conf
        # Not below /tmp, which may be in memory: the figures include the disk.
        self.root = tempfile.mkdtemp(
            prefix="comet-bench-",
            dir=os.environ.get("BENCH_DIR", "/var/tmp"))
        os.chmod(self.root, 0o755)
        self.port = free_port()
        self.process = None

    def command(self):
        raise NotImplementedError

    def environment(self):
        return dict(os.environ, LC_ALL="C.UTF-8")

    def url(self, kind):
        path = self.urls.get(kind)
        scheme = "ws" if kind.endswith("websocket") else "http"
        return path and "%s://127.0.0.1:%d%s" % (scheme, self.port, path)

    def path(self, *names):
        return os.path.join(self.root, *names)

    def folder(self, name):
        """A folder that the server's children may write to."""
        path = self.path(name)
        os.mkdir(path, 0o770)
        if is_root():
            shutil.chown(path, USER, pwd.getpwnam(USER).pw_gid)
        return path

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.path(name)

    def listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def said(self):
        """The last line of the server's output."""
        for name in ("output", "error.log"):
            if os.path.exists(self.path(name)):
                with open(self.path(name), encoding="utf-8",
                          errors="replace") as file:
                    lines = file.read().splitlines()
                if lines:
                    return lines[-1].replace(self.root + "/", "")
        return "nothing was said"

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        command = self.command()
        if not os.access(command[0], os.X_OK):
            raise Unavailable("%s is missing" % command[0])
        with open(self.path("output"), "wb") as output:
            # httpd signals its whole process group, so it gets its own session.
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, env=self.environment(), cwd=self.root,
                start_new_session=True)
        end = time.monotonic() + 10
        while not self.listens():
            if self.process.poll() is not None or time.monotonic() > end:
                raise Unavailable("does not start: " + self.said())
            time.sleep(0.02)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        shutil.rmtree(self.root, ignore_errors=True)


class Comet(Server):
    """mod_comet, with the MPM's settings of conf/tuned.conf."""

    name = "mod_comet"
    urls = {"stream": "/comet/{channel}",
            "poll": "/comet/{channel}?since={cursor}",
            "publish": "/comet/{channel}",
            "history": "/comet/{channel}?since=0",
            "get": "/comet/{channel}?since=0&wait=0",
            "websocket": "/comet/{channel}",
            "publish-websocket": "/comet/{channel}"}
    cursor = "json:timestamp"
    # The type of a message that is published on a WebSocket.
    frame = "application/json"
    module = os.path.join(BUILD, "mod_comet.so")

    def command(self):
        data = self.folder("data")
        lines = ['ServerRoot "%s"' % self.root, "ServerName localhost",
                 "Listen 127.0.0.1:%d" % self.port, "ListenBacklog 4096",
                 "PidFile httpd.pid", "DefaultRuntimeDir .",
                 "ErrorLog error.log", "LogLevel warn",
                 "KeepAlive on", "KeepAliveTimeout 60",
                 "MaxKeepAliveRequests 0"]
        for module in ("mpm_event", "authz_core"):
            lines.append('LoadModule %s_module "%s/mod_%s.so"'
                         % (module, MODULES, module))
        lines += ['LoadModule comet_module "%s"' % self.module,
                  'LoadModule comet_bench_null_module "%s/mod_null.so"'
                  % BENCH]
        if is_root():
            lines += ["User " + USER, "Group " + USER]
        lines += ['Include "%s/conf/tuned.conf"' % TOP]
        if self.children > 1:
            lines += ["ServerLimit %d" % self.children,
                      "StartServers %d" % self.children,
                      "MaxRequestWorkers %d" % (64 * self.children),
                      "MinSpareThreads %d" % (32 * self.children),
                      "MaxSpareThreads %d" % (64 * self.children)]
        lines += ['CometStore "sqlite:%s/comet.db"' % data,
                  "CometEndpoint /comet", "CometReplay 0",
                  # At least three heartbeats are sent within a Timeout.
                  "Timeout %d" % (4 * HEARTBEAT_SECONDS),
                  "CometHeartbeat %ds" % HEARTBEAT_SECONDS,
                  "CometPollTimeout 45s",
                  '<Location "/null/">', "SetHandler bench-null",
                  "</Location>", self.conf]
        return [HTTPD, "-DFOREGROUND", "-f",
                self.write("httpd.conf", "\n".join(lines) + "\n")]

    def listens(self):
        """Whether the server serves messages. At the first start, a child makes
        the database only after httpd has begun to listen."""
        if not super().listens():
            return False
        with socket.create_connection(("127.0.0.1", self.port)) as client:
            client.sendall(b"GET /comet/0?wait=0 HTTP/1.0\r\n\r\n")
            return client.recv(100).split()[1:2] == [b"200"]


class Before(Comet):
    """mod_comet as built before a change: shows what the change costs."""

    name = "before"
    module = os.environ.get("BENCH_BEFORE") or ""

    def command(self):
        if not os.path.exists(self.module):
            raise Unavailable("BENCH_BEFORE=%s: no such file" % self.module)
        return super().command()


class Null(Comet):
    """The same httpd with a handler that answers and does nothing else."""

    name = "null handler"
    urls = {"publish": "/null/{channel}", "get": "/null/{channel}"}
    cursor = ""


class Nchan(Server):
    """nginx with nchan's memory store, and as many workers as httpd has
    children."""

    name = "nchan"
    urls = {"stream": "/stream/{channel}", "poll": "/poll/{channel}",
            "publish": "/publish/{channel}",
            "history": "/history/{channel}", "get": "/history/{channel}",
            "websocket": "/websocket/{channel}",
            "publish-websocket": "/publish-websocket/{channel}"}
    cursor = "etag"

    @staticmethod
    def find(path):
        """The path of a file in the unpacked packages, or else in the
        system."""
        for root in (DEBIAN, ""):
            if os.path.exists(root + path):
                return root + path
        raise Unavailable("%s is missing; 'conf/setup bench' gets it" % path)

    def environment(self):
        libraries = glob.glob(DEBIAN + "/usr/lib/*-linux-gnu*")
        return dict(super().environment(),
                    LD_LIBRARY_PATH=":".join(libraries))

    def command(self):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        connections = min(40000, limit) if limit > 0 else 40000
        temporary = ["%s_temp_path %s;" % (kind, self.folder(kind))
                     for kind in ("client_body", "proxy", "fastcgi", "uwsgi",
                                  "scgi")]
        conf = ["daemon off;", "worker_processes %d;" % self.children,
                "user %s;" % USER if is_root() else "",
                "pid %s;" % self.path("nginx.pid"),
                "error_log %s warn;" % self.path("error.log"),
                "load_module %s;" % self.find(
                    "/usr/lib/nginx/modules/ngx_nchan_module.so"),
                "events { worker_connections %d; }" % connections,
                "http {", "access_log off;", "tcp_nodelay on;",
                "keepalive_timeout 3600;", "keepalive_requests 1000000000;",
                *temporary,
                "nchan_shared_memory_size 512M;",
                "nchan_message_timeout 10m;",
                "nchan_message_buffer_length 1000;",
                "nchan_max_channel_subscribers 0;",
                "server { listen 127.0.0.1:%d backlog=4096;" % self.port,
                self.location("stream", "nchan_subscriber eventsource;"
                              "nchan_subscriber_first_message newest;"
                              "nchan_eventsource_ping_interval %d;"
                              % HEARTBEAT_SECONDS),
                self.location("poll", "nchan_subscriber longpoll;"
                              "nchan_subscriber_first_message newest;"),
                self.location("history",
                              "nchan_subscriber eventsource longpoll;"
                              "nchan_subscriber_first_message oldest;"),
                self.location("websocket", "nchan_subscriber websocket;"
                              "nchan_subscriber_first_message newest;"),
                self.location("publish-websocket",
                              "nchan_publisher websocket;"),
                self.location("publish", "nchan_publisher;"),
                "} }"]
        return [self.find("/usr/sbin/nginx"), "-p", self.root,
                "-e", self.path("error.log"),
                "-c", self.write("nginx.conf", "\n".join(conf) + "\n")]

    @staticmethod
    def location(kind, what):
        return ("location ~ ^/%s/(.+)$ { %s nchan_channel_id $1; }"
                % (kind, what))


class Floor(Server):
    """A bare epoll server: one write(2) for each delivery, and nothing
    durable."""

    name = "floor"
    urls = {"stream": "/stream/{channel}", "poll": "/poll/{channel}?c={cursor}",
            "publish": "/publish/{channel}", "history": "/history/{channel}",
            "get": "/get/{channel}"}
    cursor = "header:X-Seq"

    def command(self):
        return [os.path.join(BENCH, "floor"), str(self.port)]


def taking_part(kinds):
    """These servers. If BENCH_BEFORE names a module, it comes after our
    mod_comet."""
    return [server for kind in kinds
            for server in ((kind, Before) if kind is Comet and Before.module
                           else (kind,))]


def output_of(*command):
    """The first line of a command's output; "" if the command fails."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, cwd=TOP,
                              stderr=subprocess.STDOUT, timeout=30,
                              check=False)
    except OSError:
        return ""
    text = done.stdout.decode("utf-8", "replace").strip()
    return text.splitlines()[0] if done.returncode == 0 and text else ""


def versions():
    """The versions of the programs that are compared, as text."""
    found = []
    commit = output_of("git", "describe", "--always", "--dirty")
    found.append("mod_comet" + (" " + commit if commit else ""))
    match = re.search(r"Apache/([\d.]+)", output_of(HTTPD, "-v"))
    found.append("httpd " + match.group(1) if match else "no httpd")
    packages = glob.glob(DEBIAN + "/archives/libnginx-mod-nchan_*.deb")
    nchan = (re.search(r"_(?:1%3a)?([^_]+)_", packages[0]).group(1)
             if packages else output_of("dpkg-query", "-W", "-f",
                                        "${Version}", "libnginx-mod-nchan"))
    found.append("nchan " + nchan if nchan else "no nchan")
    return ", ".join(found)
