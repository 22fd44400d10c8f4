# SPDX-License-Identifier: Apache-2.0
"""The manual's pages: the tutorial's commands, which are run in order, and the
table of contents and the search."""

import os
import re
import subprocess

import pytest

import php_fpm
from browser import stage
from httpd_env import REPO, WWW_USER, free_port, is_root, wait_until
from test_390_manual import Page

pytestmark = pytest.mark.browser

TUTORIAL = os.path.join(REPO, "htdocs", "manual", "tutorial.html")
# These programs stand for those that change the machine.  They only record how
# they were called.
STUBS = {"sudo": '[ "$1" != -u ] || { user=$2; shift 2; %s }\nexec "$@"\n'
         % ('exec setpriv --reuid "$user" --regid "$user" --clear-groups "$@";'
            if is_root() else ""),
         **dict.fromkeys(("apt", "make", "a2enmod", "a2enconf", "a2ensite",
                          "a2dissite", "systemctl", "apachectl"),
                         'echo "${0##*/} $*" >>"${0%/*}/calls"\n')}


def steps():
    """Return each command of the tutorial with its output or None, in order."""
    page = Page()
    with open(TUTORIAL, encoding="utf-8") as file:
        page.feed(file.read())
    found = []
    for part in page.fragments:
        if part.role == "output":
            found[-1] = (found[-1][0], part.text)
        else:
            assert part.lang == "sh"
            found.append((part.text, None))
    return found


class Terminal:
    """A shell that runs the tutorial's commands for a private site."""

    def __init__(self, server):
        self.server = server
        self.bin = os.path.join(server.root, "bin")
        os.mkdir(self.bin, 0o755)
        for name, text in STUBS.items():
            path = os.path.join(self.bin, name)
            with open(path, "w", encoding="ascii") as out:
                out.write("#!/bin/sh\n" + text)
            os.chmod(path, 0o755)

    def local(self, text):
        root = self.server.root
        for there, here in (
                ("/etc/apache2/sites-available", root + "/conf"),
                ("/etc/ssl/private", root + "/conf"),
                ("/etc/ssl/certs", root + "/conf"),
                ("/var/www/push", self.server.docroot),
                ("/var/log/apache2", root + "/logs"),
                ("/usr/local/bin", self.bin),
                ("/usr/share/mod_comet/examples", REPO + "/conf/examples"),
                ("/var/lib/apache2/comet", self.server.data),
                ("*:443>", "127.0.0.1:%d>" % self.server.tls_port),
                ("//localhost", "//localhost:%d" % self.server.tls_port)):
            text = text.replace(there, here)
        return text

    def run(self, text):
        done = subprocess.run(
            ["sh", "-euc", "umask 022\n" + self.local(text)],
            cwd=self.server.root, stdin=subprocess.DEVNULL, text=True,
            env={**os.environ, "PATH": self.bin + ":" + os.environ["PATH"]},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
            check=False)
        assert done.returncode == 0, (text, done.stdout, done.stderr)
        return done.stdout

    def calls(self):
        with open(self.bin + "/calls", encoding="ascii") as file:
            return file.read().splitlines()


def start(server):
    """Start the server, as `systemctl restart` does on a real machine."""
    with open(server.root + "/conf/push.conf", encoding="utf-8") as site:
        text = site.read()
    assert server.configtest(server.conf + text)[0] == 0
    server.conf += "Listen 127.0.0.1:%d\n" % server.tls_port + text
    server.start()


@pytest.fixture
def tutorial(make_server):
    """Yield a server with PHP that is not started."""
    fpm = php_fpm.Fpm()
    server = make_server(start=False, comet="status",
                         modules=("socache_shmcb", "ssl")
                         + php_fpm.MODULES, conf=fpm.conf)
    server.tls_port = free_port()
    os.remove(os.path.join(server.docroot, "index.html"))
    server.conf += "DirectoryIndex index.php\n"
    yield server
    fpm.close()


class Reader:
    """User 7, who logs in with Chromium and leaves the page open."""

    def __init__(self, server, chromium):
        self.driver = chromium.driver
        self.driver.execute_cdp_cmd("Security.setIgnoreCertificateErrors",
                                    {"ignore": True})
        self.driver.get("https://localhost:%d/?id=7" % server.tls_port)
        server.wait_waiting(1)

    def wait_texts(self, *texts):
        """Wait until the page shows exactly these messages."""
        script = "return [...document.querySelectorAll('#news li')]" \
            ".map((item) => item.textContent)"
        wait_until(lambda: self.driver.execute_script(script) == list(texts), 10,
                   texts)

    def close(self):
        self.driver.get("about:blank")


def test_966_01_each_command(tutorial, chromium):
    """Every command of the tutorial prints what the tutorial shows.  Its first
    notification appears on the open page, the next one on a page that is opened
    later."""
    terminal, reader, texts = Terminal(tutorial), None, []
    for command, output in steps():
        said = terminal.run(command)
        if output is not None:
            assert said.strip() == output.strip(), command
        if "systemctl restart" in command and not tutorial.proc:
            start(tutorial)
            reader = Reader(tutorial, chromium)
        if "notify 7" in command:
            texts.append(re.search("notify 7 '(.*)'", command).group(1))
            if len(texts) > 1:      # the page was closed before
                reader = Reader(tutorial, chromium)
            reader.wait_texts(*texts)
            reader.close()
    assert len(texts) == 2
    calls = terminal.calls()
    assert calls[:5] == [
        "apt install -y make", "make deb",
        "apt install -y apache2 php-fpm php-sqlite3 curl openssl "
        "./build/deb/libapache2-mod-comet_*.deb", "a2enmod ssl proxy_fcgi",
        "a2enconf php*-fpm"]
    assert "a2ensite push" in calls and calls[-1] == "systemctl restart apache2"
    for gone in ("conf/push.conf", "conf/push.key", "docroot", "bin/notify"):
        assert not os.path.exists(os.path.join(tutorial.root, gone)), gone


# -- the contents and the search -----------------------------------------------

SERVER = {"comet": "status"}
PAGES = ("index.html", "tutorial.html", "recipes.html", "security.html")


@pytest.fixture
def manual(server, chromium):
    """Yield a function that opens a page of the manual at a width, and returns
    a function that runs a script in it."""
    driver = stage(server) and chromium.driver

    def show(name, width, scripts=True):
        for method, values in (
                ("Emulation.setScriptExecutionDisabled", {"value": not scripts}),
                ("Emulation.setDeviceMetricsOverride",
                 {"width": width, "height": 800, "deviceScaleFactor": 1,
                  "mobile": False})):
            driver.execute_cdp_cmd(method, values)
        driver.get("http://127.0.0.1:%d/manual/%s" % (server.port, name))
        wait_until(lambda: driver.execute_script(
            "return document.readyState") == "complete", 10, name)
        return driver.execute_script

    yield show
    for method in ("Emulation.clearDeviceMetricsOverride",
                   "Emulation.setScriptExecutionDisabled"):
        driver.execute_cdp_cmd(method, {"value": False} if "Script" in method
                               else {})


@pytest.mark.long
def test_966_10_contents(manual):
    """The contents list each chapter of a page.  They are at the side of a wide
    page and folded on a narrow one, even without scripts.  Nothing is wider
    than the page."""
    for name in PAGES:
        for width, scripts in ((1280, True), (1280, False), (360, False)):
            js = manual(name, width, scripts)
            link = js("""const link = document.querySelector('.contents a');
                const box = link.getBoundingClientRect();
                return [link.checkVisibility({contentVisibilityAuto: true})
                        && box.height > 0, box.right]""")
            assert link[0] == (width > 1000), (name, width, scripts)
            assert link[1] < 300
            assert js("return document.documentElement.scrollWidth") <= width
        missing = js("""return [...document.querySelectorAll('main h2')]
            .filter((h) => !h.closest('.directive'))
            .map((h) => h.id && document.getElementById(h.id)
                 .closest('section[id]')?.id || h.id)
            .filter((id) => !document.querySelector(
                 `.contents a[href="#${id}"]`))""")
        assert set(missing) <= {"summary", "directives", "reference", "goal"}, \
            (name, missing)


def found(js, words):
    """Search the manual, and return the titles and targets of the results."""
    js("""const input = document.querySelector('#query');
        input.focus();
        input.value = arguments[0];
        input.dispatchEvent(new Event('input'));""", words)
    wait_until(lambda: js("return document.querySelector('#found-count')"
                          ".textContent"), 10, "an answer to " + words)
    return js("return [...document.querySelectorAll('#found a')]"
              ".map((a) => [a.textContent, a.getAttribute('href')])")


@pytest.mark.long
@pytest.mark.parametrize("words,title,target", [
    ("CometRetain", "CometRetain", "index.html#cometretain"),
    ("retry-after", None, "index.html#response-headers"),
    ("disk full", "The disk is full", "recipes.html#run-full"),
    ("COMET0164", "Statuses and errors", "index.html#statuses"),
    ("certbot", "2. A certificate", "tutorial.html#certificate"),
])
def test_966_11_search(manual, words, title, target):
    """A search finds the expected chapter among its first three results, and
    the link leads to it."""
    js = manual("recipes.html", 1280)
    places = found(js, words)
    assert target in [href for _, href in places[:3]], places
    if title:
        assert [title, target] in places[:3]
    js("document.querySelector(`#found a[href='${arguments[0]}']`).click()",
       target)
    anchor = re.sub(".*#", "", target)
    wait_until(lambda: js("return location.hash") == "#" + anchor, 10, target)
    assert js("return document.getElementById(arguments[0]) !== null", anchor)


@pytest.mark.long
def test_966_12_search_that_finds_nothing(manual):
    js = manual("index.html", 360)
    assert found(js, "zyxwv") == []
    assert js("return document.querySelector('#found-count').textContent") \
        == "Nothing was found."
