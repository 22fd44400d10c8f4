# SPDX-License-Identifier: Apache-2.0
"""Every recipe of the manual works: the tests take its fragments from the
page."""

import base64
import html
import html.parser
import json
import os
import re
import shutil
import ssl
import socket
import subprocess
import threading
import time

import pytest

from browser import Browser
from http_client import Raw, one_request
from httpd_env import (ORDINARY, REPO, SLOW, Httpd, free_port, is_root,
                       self_signed, sqlite, wait_until)
from stream_client import Stream

REFERENCE = os.path.join(REPO, "htdocs", "manual", "index.html")
RECIPES = os.path.join(REPO, "htdocs", "manual", "recipes.html")
COMET_JS = os.path.join(REPO, "htdocs", "comet", "comet.js")
NGINX = os.environ.get("COMET_NGINX", "/usr/sbin/nginx")
STORE = 'CometStore "sqlite:{data}/comet.db"\n'
HARNESS = {"filter", "rewrite", "setenvif", "headers"}  # loaded in every test


class Fragment:
    """A <pre data-lang=…> of the page."""

    def __init__(self, recipe, attributes):
        self.recipe, self.text = recipe, ""
        self.name = attributes.get("id")
        self.lang = attributes["data-lang"]
        self.role = attributes.get("data-role")
        self.modules = tuple(m for m in
                             attributes.get("data-modules", "").split()
                             if m not in HARNESS)
        self.needs = attributes.get("data-needs", "").split()
        self.mpm = attributes.get("data-mpm")
        self.tried = attributes.get("data-try") != "no"

    def __repr__(self):
        return "%s-%s" % (self.recipe, self.name or self.role or self.lang)


class Page(html.parser.HTMLParser):
    """Collects the page's recipes and fragments."""

    def __init__(self):
        super().__init__()
        self.recipes, self.fragments = [], []
        self.part, self.open = None, None

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if "recipe" in attributes.get("class", "").split():
            self.recipes.append(attributes["id"])
            self.part = attributes["id"]
        elif "pitfall" in attributes.get("class", "").split():
            self.part = attributes["id"]
        elif tag == "pre":
            self.open = Fragment(self.part, attributes)
            self.fragments.append(self.open)

    def handle_endtag(self, tag):
        if tag == "pre":
            self.open = None

    def handle_data(self, data):
        if self.open:
            self.open.text += data


def read_page():
    page = Page()
    with open(RECIPES, encoding="utf-8") as file:
        page.feed(file.read())
    return page


PAGE = read_page()


def fragments(lang):
    return [f for f in PAGE.fragments if f.lang == lang]


def fragment(name, lang="httpd", role=None):
    """Return the fragment with this id, or the only fragment of this recipe or
    pitfall."""
    found = [f for f in PAGE.fragments
             if f.name == name or (f.recipe == name and f.lang == lang
                                   and f.role == role and not f.name)]
    assert len(found) == 1, (name, lang, found)
    return found[0]


def local(text, server, backend=None):
    """Return a fragment's text, adapted to this machine and to this server."""
    for there, here in (
            ("/var/lib/apache2/comet", server.data),
            ("/var/backups", server.root),
            ("/etc/apache2", server.root + "/conf"),
            ("/etc/ssl/certs/push.pem", server.root + "/conf/cert.pem"),
            ("/etc/ssl/private/push.key", server.root + "/conf/key.pem"),
            ("Listen 127.0.0.1:8081\n", ""),
            ("127.0.0.1:8081", "127.0.0.1:%s" % (backend or server.port)),
            ("*:443>", "127.0.0.1:%s>" % server.tls_port),
            ("*:80>", "127.0.0.1:%d>" % server.port),
            ("http://localhost", "http://127.0.0.1:%d" % server.port)):
        text = text.replace(there, here)
    return text


def complete(text):
    """Add to a fragment what it needs from earlier recipes."""
    if "ProxyPass" in text:
        return text                     # a proxy, which needs no endpoint
    if "CometEndpoint" not in text:
        text = "CometEndpoint /comet\n" + text
        if "Require" not in text:
            text = ('<Location "/comet">\nRequire all granted\n'
                    "</Location>\n") + text
    return text if "CometStore" in text else STORE + text


def write_secret(server):
    """Write the file with the tokens' secret, as an administrator would."""
    path = os.path.join(server.root, "conf", "comet.key")
    with open(path, "w", encoding="ascii") as out:
        out.write("0123456789abcdef" * 4 + "\n")
    os.chmod(path, 0o640)


def prepare(server, needs):
    if "key" in needs:
        write_secret(server)
    if "passwd" in needs:
        for name in ("passwd", "comet.htpasswd"):
            with open(server.root + "/conf/" + name, "w",
                      encoding="utf-8") as out:
                for user in ("anna", "bert"):       # with the password "secret"
                    out.write(user + ":{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n")
    if "tls" in needs:
        self_signed(server.root + "/conf")


@pytest.fixture
def serve(make_server):
    """Return a function that starts a server with a fragment as its
    configuration."""
    def make(name, role=None, more="", backend=None, **kwargs):
        part = fragment(name, role=role)
        given = dict(comet="status", modules=part.modules, start=False)
        given.update(kwargs)
        given["modules"] = tuple(part.modules) + tuple(
            kwargs.get("modules", ()))
        if part.mpm:
            given["mpm"] = part.mpm
        server = make_server(**given)
        if "tls" in part.needs:
            server.tls_port = free_port()
        prepare(server, part.needs)
        server.conf = local(complete(part.text) + more, server, backend)
        return server.start()
    return make


def auth(name):
    token = base64.b64encode(("%s:secret" % name).encode()).decode()
    return {"Authorization": "Basic " + token}


def post(server, target, body=b"x", headers=None):
    return server.request("POST", target, body,
                          {"Content-Type": "text/plain", **(headers or {})})


def bodies(answer):
    assert answer.status == 200, answer
    return [m["body"] for m in answer.json()["messages"]]


def read_until(stream, mark):
    """Read a stream until it contains `mark`; return what has arrived."""
    text = ""
    while mark not in text:
        data = stream.chunk()
        assert data, "ended after %r" % text
        text += data.decode()
    return text


def run(command, server, text=None, code=0, **kwargs):
    done = subprocess.run(command, input=text, text=True, timeout=60 * SLOW,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          cwd=server.root, check=False, **kwargs)
    assert done.returncode == code, done.stdout
    return done.stdout


def run_shell(part, server, *arguments, text=None):
    return run(["sh", "-eu", "-c", local(part.text, server), "sh",
                *arguments], server, text)


# -- all recipes ------------------------------------------------------------

@pytest.fixture(scope="module")
def testers():
    """Yield a function that returns a server with a fragment's modules, for
    configtests."""
    made = {}

    def get(part):
        key = (part.modules, part.mpm)
        if key not in made:
            made[key] = Httpd(comet="load", modules=part.modules,
                              mpm=part.mpm)
            made[key].tls_port = free_port()
            made[key].mpm_conf = "" if part.role == "mpm" else None
        return made[key]
    yield get
    for server in made.values():
        assert not server.close()


@pytest.mark.parametrize("part", fragments("httpd"), ids=repr)
def test_390_01_configuration(testers, part):
    """httpd -t accepts every configuration fragment."""
    server = testers(part)
    prepare(server, part.needs)
    code, text = server.configtest(local(complete(part.text), server))
    assert code == 0, text
    assert "Syntax OK" in text and "warn" not in text, text


def test_390_02_no_recipe_is_forgotten():
    """Every recipe has fragments, and a test tries each fragment."""
    assert len(PAGE.recipes) >= 12, PAGE.recipes
    assert len(fragments("httpd")) >= 14
    tried = {"httpd", "php", "sh", "js", "nginx", "htaccess", "crontab",
             "ini", "haproxy"}
    # Other files try some: test_703 "session", test_710 "symfony", test_715
    # "laravel", test_716 "collaboration".
    assert {f.lang for f in PAGE.fragments} <= tried
    text = ""
    for name in ("test_390_manual", "test_485_recipes", "test_961_ways",
                 "test_963_runbook"):
        with open(os.path.join(REPO, "test", "e2e", name + ".py"),
                  encoding="utf-8") as file:
            text += file.read()
    for part in PAGE.fragments:
        name = part.name or part.recipe
        assert '"%s"' % name in text, "no test tries %s" % name


@pytest.mark.parametrize("part", fragments("php") + fragments("sh"), ids=repr)
def test_390_03_syntax(part, tmp_path):
    """PHP and shell fragments have no syntax error."""
    path = tmp_path / "fragment"
    path.write_text(part.text, encoding="utf-8")
    command = {"php": ["php", "-l"], "sh": ["sh", "-n"]}[part.lang]
    done = subprocess.run(command + [str(path)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=30 * SLOW,
                          check=False)
    assert done.returncode == 0, done.stdout


def boxes():
    """Return the directives of the reference: {directive: {row: text}}."""
    with open(REFERENCE, encoding="utf-8") as file:
        text = file.read()
    found = {}
    for body in re.findall(r'<section class="directive" id="comet\w+">(.*?)'
                           r"</section>", text, re.S):
        rows = dict(re.findall(r'<th scope="row">(\w+)</th><td>(.*?)</td>',
                               body))
        name = re.search(r'<h3><a href="[^"]*">(\w+)<', body).group(1)
        found[name] = {key: html.unescape(re.sub(
            r"<[^>]+>", "", value.replace("<br>", "\n")))
            for key, value in rows.items()}
    return found


BOXES = boxes()


@pytest.mark.parametrize("name", sorted(BOXES))
def test_390_04_examples(testers, name):
    """A directive's example and default are accepted only where the reference
    says so."""
    assert len(BOXES) >= 20
    server, box = testers(fragment("php")), BOXES[name]
    write_secret(server)
    for text in filter(None, (box["Example"], box.get("Default"))):
        assert all(line.startswith(name + " ") for line in text.split("\n"))
        text = local(text, server) + "\n"
        for place, allowed in (
                ("%s", True),
                ("<VirtualHost *:1>\nServerName v\n%s</VirtualHost>\n", True),
                ("<Location /x>\n%s</Location>\n",
                 "location" in box["Context"]),
                ('<Directory "/tmp">\n%s</Directory>\n', False)):
            store = "" if name == "CometStore" and "<" not in place else STORE
            code, said = server.configtest(store + place % text)
            assert (code == 0) == allowed, said
            assert allowed or name in said, said


# -- each recipe ------------------------------------------------------------

def test_390_10_php(serve, tmp_path):
    """The manual's PHP examples publish by PDO and by a POST.  When the POST is
    repeated, no second message is stored."""
    server = serve("php")
    for name in ("php-pdo", "php-post", "php-post"):
        path = tmp_path / (name + ".php")
        path.write_text(local(fragment(name).text, server),
                        encoding="utf-8")
        run(["php", str(path)], server)
    got = server.get("/comet/orders?since=0&wait=0").json()["messages"]
    assert [(m["type"], m["author"], json.loads(m["body"])) for m in got] \
        == [("shipped", author, {"id": 4711, "parcel": "«1 of 2»"})
            for author in ("shop", None)]


def test_390_49_php_transaction(serve, tmp_path):
    """The PHP transaction counts messages and publishes the count. The
    transaction succeeds ten times although others publish at the same time."""
    server = serve("php")
    path = tmp_path / "transaction.php"
    once = fragment("php-transaction").text
    path.write_text(local("%s\nfor ($i = 0; $i < 10; $i++) {\n%s\n}"
                          % (fragment("php-pdo").text, once), server),
                    encoding="utf-8")
    done = threading.Event()

    def publish():
        while not done.wait(0.005):
            post(server, "/comet/orders", b"other")

    others = threading.Thread(target=publish, daemon=True)
    others.start()
    try:
        run(["php", str(path)], server)
    finally:
        done.set()
        others.join(30)
    got = server.get("/comet/orders?since=0&wait=0&limit=1000").json()
    bodies = [(m["type"], m["body"]) for m in got["messages"]]
    counts = [number for number, (kind, body) in enumerate(bodies)
              if kind == "count" and body == str(number)]
    assert len(counts) == 10, bodies


def test_390_11_cron(serve):
    """The shell script publishes its input unchanged, even with quotes."""
    server = serve("php")
    text = "it's 42% full\n\"quoted\"; DROP TABLE message;--"
    run_shell(fragment("cron-script"), server, "ops/it's", text=text + "\n")
    assert bodies(server.get("/comet/ops/it%27s?since=0&wait=0")) == [text]
    assert fragment("cron", "crontab").text.split()[5:7] == ["deploy", "df"]


def test_390_12_dashboard(serve):
    """A batch sent by curl reaches a stream that follows a pattern, and each
    message names its channel."""
    server = serve("dashboard")
    for channel in ("web1", "web2"):
        post(server, "/comet/load/" + channel, b"0")
    with server.raw() as stream:
        stream.request("GET", "/comet?channel=alarm&channel=load/*&since=0",
                       {"Accept": "text/event-stream"})
        assert stream.head() == 200
        run_shell(fragment("dashboard-batch"), server)
        text = read_until(stream, "1.07")
    seen = [json.loads(x[5:]) for x in text.splitlines()
            if x.startswith("data:")]
    assert [(x["channel"], x["body"]) for x in seen] \
        == [("load/web1", "0"), ("load/web2", "0"), ("load/web1", "0.42"),
            ("load/web2", "1.07")]
    answer = server.get("/comet?channel=load/*&since=0&wait=0")
    assert bodies(answer) == ["0", "0", "0.42", "1.07"]
    too_many = "&".join("channel=c%d" % i for i in range(100))
    assert server.get("/comet?wait=0&" + too_many).status == 200


def test_390_13_private(serve):
    """Nobody else can read a user's channel, whatever URL asks for it."""
    server = serve("private", more="""
        <Location "/comet">
          CometMulti on
        </Location>""")
    sqlite(server.db, "INSERT INTO message(channel, body) "
           "VALUES('user/anna', 'for anna'), ('user/bert', 'for bert');")
    url = "/comet/user/anna?since=0&wait=0"
    assert bodies(server.get(url, auth("anna"))) == ["for anna"]
    assert bodies(server.get("/comet/user/anna/parcels?wait=0",
                             auth("anna"))) == []
    assert server.get(url).status == 401
    assert server.get(url, auth("bert")).status in (401, 403)
    assert post(server, "/comet/user/anna", headers=auth("anna")).status \
        == 403
    for detour in ("channel=user/*", "channel=*", "channel=user/bert",
                   "channel=user/anna&channel=user/bert"):
        assert server.get("/comet?since=0&wait=0&" + detour,
                          auth("anna")).status in (401, 403), detour
    for path in ("/comet/user", "/comet/user/", "/comet/user/anna/x",
                 "/comet/user//anna", "/comet/user/%2fanna",
                 "/comet/user/bert/../anna"):
        assert server.get(path + "?since=0&wait=0",
                          auth("bert")).status in (400, 401, 403, 404), path


def check_proxied(backend, port):
    """Check polls, streams and access rules through a proxy."""
    with Raw(port, timeout=15 * SLOW) as poll, \
            Raw(port, timeout=15 * SLOW) as stream:
        poll.request("GET", "/comet/news?since=0")
        stream.request("GET", "/comet/news?since=0",
                       {"Accept": "text/event-stream"})
        assert stream.head() == 200
        backend.wait_waiting(2)
        answer = post(backend, "/comet/news", b"through",
                      {"X-Forwarded-For": "192.0.2.7"})
        assert answer.status == 201, answer
        assert poll.head() == 200
        assert [m["body"] for m in json.loads(poll.body())["messages"]] \
            == ["through"]
        read_until(stream, "data: through\n")
    # A client of the proxy must not count as the proxy itself.  (This test's
    # own clients are trusted proxies, so they may name another address.)
    head = {"Content-Type": "text/plain"}
    assert one_request(port, "POST", "/comet/news", b"x", head).status == 403
    # The cross-site check compares the Origin with the Host that the browser
    # used.
    head["X-Forwarded-For"] = "192.0.2.7"
    for origin, status in (("http://localhost:%d" % port, 201),
                           ("http://evil.example", 403)):
        answer = one_request(port, "POST", "/comet/news", b"x",
                             {**head, "Origin": origin})
        assert answer.status == status, answer


def test_390_14_proxy(serve):
    """With httpd as a proxy in front, nothing is delayed, and the backend knows
    the clients' addresses and the site's Host."""
    backend = serve("proxy", "backend")
    front = serve("proxy", "front", backend=backend.port, comet="",
                  threads=25)
    try:
        check_proxied(backend, front.port)
    finally:
        # httpd's proxy does not notice that the client of a silent stream has
        # left.
        backend.stop()


@pytest.mark.skipif(not os.path.exists(NGINX), reason="no nginx here")
def test_390_15_nginx(serve, tmp_path):
    """With nginx as a proxy in front, nothing is delayed, and the backend knows
    the clients' addresses and the site's Host."""
    backend = serve("proxy", "backend")
    port = free_port()
    path = tmp_path / "nginx.conf"
    path.write_text("""
      daemon off; pid %(root)s/nginx.pid; error_log stderr;
      %(user)s
      events {}
      http {
        access_log off; client_body_temp_path %(root)s/body;
        proxy_temp_path %(root)s/proxy; fastcgi_temp_path %(root)s/fcgi;
        uwsgi_temp_path %(root)s/uwsgi; scgi_temp_path %(root)s/scgi;
        server { listen 127.0.0.1:%(port)d;
        %(fragment)s }
      }""" % {"root": tmp_path, "port": port,
              "user": "user root;" if is_root() else "",
              "fragment": local(fragment("proxy", "nginx").text, backend)})
    proxy = subprocess.Popen([NGINX, "-p", str(tmp_path), "-c", str(path)],
                             stdin=subprocess.DEVNULL)
    try:
        def up():
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", port)) == 0
        wait_until(up, 10, "nginx")
        check_proxied(backend, port)
    finally:
        proxy.terminate()
        proxy.wait(10)


def serve_haproxy(fragment_text, tmp_path):
    """Start HAProxy with the fragment's backend.  Return the process and its
    port."""
    port = free_port()
    path = tmp_path / "haproxy.cfg"
    path.write_text("""
defaults
    mode http
    timeout connect 5s
    timeout client 75s
    timeout server 75s
frontend site
    bind 127.0.0.1:%d
    default_backend comet
%s
""" % (port, fragment_text))
    return subprocess.Popen(["haproxy", "-q", "-db", "-f", str(path)],
                            stdin=subprocess.DEVNULL), port


def delays(backend, port, count):
    """Return the sorted delays of `count` messages on a stream, in seconds."""
    found, before = [], backend.waiting("events")
    with Raw(port, timeout=15 * SLOW) as stream:
        stream.request("GET", "/comet/late?since=0",
                       {"Accept": "text/event-stream"})
        assert stream.head() == 200
        wait_until(lambda: backend.waiting("events") > before, 10, "it to wait")
        for number in range(count):
            answer = post(backend, "/comet/late", b"n%d" % number,
                          {"X-Forwarded-For": "192.0.2.7"})
            assert answer.status == 201, answer
            begin = time.monotonic()
            read_until(stream, "data: n%d\n" % number)
            found.append(time.monotonic() - begin)
    return sorted(found)


@pytest.mark.skipif(not shutil.which("haproxy"), reason="no haproxy here")
@pytest.mark.parametrize("option", [True, False])
def test_390_48_haproxy(serve, tmp_path, option):
    """HAProxy in front delays no message. Without the option http-no-delay it
    delays messages."""
    backend = serve("proxy", "backend")
    text = local(fragment("proxy", "haproxy").text, backend)
    if not option:
        text = text.replace("option  http-no-delay", "")
    proxy, port = serve_haproxy(text, tmp_path)
    try:
        def up():
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", port)) == 0
        wait_until(up, 10, "haproxy")
        if option:
            check_proxied(backend, port)
        median = delays(backend, port, 9)[4]
        assert (median < 0.1) == option, median
    finally:
        proxy.terminate()
        proxy.wait(10)


def test_390_16_tls(serve):
    """The recipe's virtual host speaks only HTTP/1.1, even if the main server
    speaks HTTP/2.  Only pages of the site may read its answers."""
    server = serve("tls", more="""
        Protocols h2 http/1.1
        Listen 127.0.0.1:{tls_port}
        """)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection(("127.0.0.1", server.tls_port)) as sock, \
            context.wrap_socket(sock, server_hostname="push.example.org") \
            as tls:
        assert tls.selected_alpn_protocol() == "http/1.1"
    origin = "https://www.example.org"
    for origin, allowed in ((origin, origin),
                            ("https://evil.example", None)):
        answer = server.request("GET", "/comet/news?since=0&wait=0", None,
                                {"Origin": origin}, tls=True)
        assert answer.status == 200, answer
        assert answer.header("access-control-allow-origin") == allowed
        assert answer.header("access-control-allow-credentials") \
            == ("true" if allowed else None)


def test_390_17_wordpress(serve):
    """With the recipe's .htaccess an endpoint works beside a front controller
    and a folder of the same name."""
    server = serve("wordpress", more='\nCometReplay 5\n')
    server.write(".htaccess", fragment("wordpress", "htaccess").text)
    server.write("index.php", "the front controller")
    server.write("comet/index.html", "a folder")
    sqlite(server.db,
           "INSERT INTO message(channel, body) VALUES('blog', 'x');")
    assert server.get("/some/post").body == b"the front controller"
    assert bodies(server.get("/comet/blog?wait=0")) == ["x"]
    assert post(server, "/comet/blog").status == 403


def test_390_18_rewrite(serve):
    """A RewriteRule with [PT] gives an endpoint another path."""
    server = serve("rewrite")
    post(server, "/comet/blog/news", b"x")
    assert bodies(server.get("/live/news?since=0&wait=0")) == ["x"]


@pytest.mark.event
def test_390_19_fpm(serve):
    """On the event MPM a client waits without a thread, although PHP runs in
    php-fpm."""
    server = serve("fpm")
    with server.raw() as poll:
        poll.request("GET", "/comet/news?since=0")
        server.wait_waiting(1)
        assert server.status()["blocked"] == 0
        post(server, "/comet/news", b"x")
        assert poll.head() == 200
        poll.body()


def words(text):
    """Return {directive: value} for the lines of a configuration."""
    return dict(line.split(None, 1) for line in text.splitlines()
                if re.match(r"\s*[A-Z]\w+\s+\S", line))


@pytest.mark.event
def test_390_20_sizing(serve):
    """The recipe's numbers are those of conf/tuned.conf, and httpd starts with
    them without a warning."""
    with open(os.path.join(REPO, "conf", "tuned.conf"),
              encoding="utf-8") as file:
        tuned = words(file.read())
    assert words(fragment("sizing", role="mpm").text) == tuned
    server = serve("sizing", "mpm", mpm_conf="", parent=ORDINARY)
    wait_until(lambda: "resuming normal" in server.error_log(), 5, "the log")
    assert server.status()["children"] == 1
    assert not re.search(r"\[comet:(warn|error|crit)", server.error_log()), \
        server.error_log()


def test_390_21_upkeep(serve):
    """The recipe's commands inspect, moderate and back up the database while
    httpd runs."""
    server = serve("php", more="\nCometReplay 5\n")
    sqlite(server.db, "INSERT INTO message(channel, author, body) VALUES"
           "('chat', 'spammer', 'buy'), ('chat', 'anna', 'hello');")
    shown = run_shell(fragment("moderate"), server)
    assert "buy" in shown and "hello" in shown
    assert bodies(server.get("/comet/chat?since=0&wait=0")) == ["hello"]
    assert run_shell(fragment("backup"), server).split() == ["ok"]
    assert sqlite(server.root + "/comet.db", "SELECT body FROM message;") \
        == [["hello"]]
    # a back-up that fails leaves the last one: here there is no database
    empty = server.root + "/empty"
    os.mkdir(empty)
    failed = subprocess.run(
        ["sh", "-c", local(fragment("backup").text, server).replace(
            server.data, empty)], stderr=subprocess.DEVNULL, timeout=60)
    assert failed.returncode != 0
    assert sqlite(server.root + "/comet.db", "SELECT body FROM message;") \
        == [["hello"]]
    run_shell(fragment("dump"), server)
    assert sqlite(server.root + "/restored.db", "SELECT body FROM message;"
                  "PRAGMA application_id; PRAGMA user_version;") \
        == [["hello"], *sqlite(server.db, "PRAGMA application_id;"
                               "PRAGMA user_version;")]
    # No test runs the recipe's commands for a restore.
    assert "upkeep" in PAGE.recipes


@pytest.mark.parametrize("retain", ["", "CometRetain count=3\n"])
def test_390_50_deletions_are_announced(serve, retain):
    """Open pages learn at once which messages a moderator has deleted, but not
    which ones retention removes."""
    server = serve("php", more="\nCometReplay 5\n" + retain)
    run_shell(fragment("announce"), server)
    sqlite(server.db, "INSERT INTO message(channel, author, body) VALUES"
           "('chat', 'spammer', 'buy'), ('chat', 'anna', 'hello'),"
           "('other', 'spammer', 'buy, too');")
    spam = dict(sqlite(server.db, "SELECT channel, timestamp FROM message "
                       "WHERE author = 'spammer'"))
    with Stream(server, "/comet/chat?since=0") as stream:
        assert stream.until(2) == ["buy", "hello"]
        run_shell(fragment("moderate"), server)
        assert stream.until(3)[2] == spam["chat"]
        if retain:
            for number in range(6):
                post(server, "/comet/chat", b"more %d" % number)
            wait_until(lambda: len(server.rows("chat")) <= 3, 20, "retention")
        post(server, "/comet/chat", b"last")
        while "last" not in stream.data():
            assert stream.step()
        assert [e["data"] for e in stream.events if e["type"] == "deleted"] \
            == [spam["chat"]]
    assert sqlite(server.db, "SELECT body FROM message WHERE channel='other'"
                  ) == [[spam["other"]]]
    sqlite(server.db, "DELETE FROM message WHERE type = 'deleted'")
    assert sqlite(server.db, "SELECT count(*) FROM message "
                  "WHERE type = 'deleted'") == [["0"]]


def test_390_22_migrating(serve):
    """With the recipe's mod_rewrite rules, nchan's URLs still work."""
    server = serve("nchan")
    assert "migrating" in PAGE.recipes
    assert post(server, "/pub?id=news", b"x").status == 201
    assert bodies(server.get("/sub?id=news&since=0&wait=0")) == ["x"]
    assert bodies(server.get("/comet/news?since=0&wait=0")) == ["x"]


def test_390_30_require_any(serve):
    """With <RequireAll> all readers need a password, and only Anna may
    publish."""
    server = serve("require-any")
    url = "/comet/team?since=0&wait=0"
    assert server.get(url).status == 401
    assert server.get(url, auth("bert")).status == 200
    assert post(server, "/comet/team", headers=auth("bert")).status \
        in (401, 403)
    assert post(server, "/comet/team", headers=auth("anna")).status == 201


def test_390_31_require_not(serve):
    """Everybody may read, and the recipe's expression decides who may
    publish."""
    server = serve("require-not", modules=("remoteip",), more="""
        RemoteIPHeader X-Forwarded-For
        RemoteIPInternalProxy 127.0.0.1""")
    for address, status in (("10.1.2.3", 403), ("192.0.2.1", 201)):
        where = {"X-Forwarded-For": address}
        assert server.get("/comet/news?wait=0", where).status == 200
        assert post(server, "/comet/news", headers=where).status == status


def test_390_32_log_time(serve):
    """The recipe's location, with IdentityCheck off, accepts a message."""
    assert post(serve("log-time"), "/comet/x").status == 201


@pytest.mark.event
def test_390_33_filters(serve):
    """The recipe's filter works on the site, and clients of a mapping still
    wait without a thread."""
    server = serve("filters")
    server.write("page.html", "see http://here")
    assert server.get("/page.html").body == b"see https://here"
    with server.raw() as poll:
        poll.request("GET", "/comet/news?since=0")
        server.wait_waiting(1)
        assert server.status()["blocked"] == 0
        post(server, "/comet/news", b"x")
        assert poll.head() == 200
        poll.body()
    assert ":error]" not in server.error_log(), server.error_log()


def test_390_34_modsecurity(serve):
    """An iframe works although mod_security2 inspects the site's answers."""
    server = serve("modsecurity", more="\nSecRuleEngine On\n"
                   "SecResponseBodyAccess On\n"
                   "SecResponseBodyMimeType text/html text/plain\n",
                   may_leak=True)
    with server.raw() as stream:
        stream.request("GET", "/comet/news?transport=iframe&since=0")
        assert stream.head() == 200
        post(server, "/comet/news", b"inspected")
        stream.until(b"inspected")


def test_390_35_dbd(serve):
    """The recipe's lines for mod_authn_socache are valid."""
    server = serve("dbd", modules=("dbd", "authn_dbd"))
    assert server.get("/comet/news?since=0&wait=0").status == 200


# -- pages ------------------------------------------------------------------

@pytest.mark.browser
@pytest.mark.bound(120)
def test_390_40_scripts(serve):
    """The scripts of the recipes "php" and "dashboard" work in a browser."""
    if os.environ.get("COMET_BROWSER") == "none":
        pytest.skip("COMET_BROWSER=none")
    server = serve("dashboard")
    with open(COMET_JS, encoding="utf-8") as file:
        server.write("js/comet.js", file.read())
    parts = [f for f in fragments("js") if "example.org" not in f.text]
    assert len(parts) == 3
    for number, part in enumerate(parts):
        server.write("page%d.html" % number, SCRIPT_PAGE % part.text)
    for channel in ("alarm", "load/web1"):
        post(server, "/comet/" + channel, b"-")
    browser = Browser(server.port)
    try:
        for number in range(3):
            tab = browser.open("/page%d.html" % number)
            server.wait_waiting(1)
            value = "value %d" % number
            post(server, "/comet/load/web1", value.encode())
            post(server, "/comet/orders?type=shipped",
                 b'{"id": %d}' % number)
            wait_until(lambda t=tab, v=value, n=number: t.js(
                "return document.getElementById('load/web1').textContent")
                == v or t.js("return window.said")
                == ["order %d is on its way" % n], 10, repr(parts[number]))
            tab.close()
            server.wait_waiting(0, timeout=10)
    finally:
        browser.close()


SCRIPT_PAGE = """<!DOCTYPE html><meta charset="utf-8"><title>recipe</title>
<p id="alarm"></p><p id="load/web1"></p>
<script>
window.said = [];
console.log = (text) => said.push(text);
</script>
<script type="module">
%s
</script>
"""


@pytest.mark.parametrize("part", fragments("js"), ids=repr)
def test_390_41_urls(part):
    """The recipes' scripts use only URLs of an endpoint /comet."""
    urls = re.findall(r"'(?:https://push\.example\.org)?(/comet[^']*)'",
                      part.text)
    assert urls, part.text
    for url in urls:
        assert re.fullmatch(r"/comet(/[\w/]+|\?[\w/&=*]+)?",
                            url), url
