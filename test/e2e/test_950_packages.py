# SPDX-License-Identifier: Apache-2.0
"""The Debian packages in a fresh Debian 12 and 13: all commands of the README
and of the tutorial as they are printed, an upgrade under 500 waiting clients,
removal and purge."""

import glob
import os
import re
import shutil

import pytest

import debian_env
from browser import Browser, missing
from comet_load import Load
from debian_env import run
from followers import Followers
from httpd_env import COMET_MODULE, REPO, wait_until
from ledger import acknowledged, settle, wait_more
from test_966_manual_pages import steps

pytestmark = pytest.mark.bound(2400)

# A file that matches one of these patterns shows what a package left behind.
PLACES = ("/etc/apache2/*/*comet*", "/usr/share/mod_comet", "/var/lib/apache2/comet",
          "/var/lib/apache2/*/*/*comet*", "/usr/lib/apache2/modules/mod_comet*",
          "/usr/share/doc/*mod-comet*", "/usr/share/man/man7/mod_comet*",
          "/var/lib/dpkg/info/*mod-comet*")
DATABASE = "/var/lib/apache2/comet/comet.db"
PACKAGE = "libapache2-mod-comet_*.deb"


def readme():
    """Return the commands of the README's steps, in order."""
    with open(os.path.join(REPO, "README.md"), encoding="utf-8") as file:
        part = file.read().partition("\n## In your site\n")[2]
    found = re.findall(r"^\*\*(\d+)\.\*\* .*?^```sh\n(.*?)^```",
                       part.partition("\n## ")[0], re.M | re.S)
    assert [int(number) for number, _ in found] == list(range(1, len(found) + 1))
    return [text for _, text in found]


def test_950_01_at_most_ten_steps():
    """The README has at most ten steps.  The first builds the packages, and the
    last writes a page."""
    found = readme()
    assert 5 <= len(found) <= 10
    assert "make deb" in found[0] and "EventSource" in found[-1]


@pytest.fixture(scope="module", params=("bookworm", "trixie"))
def debian(request, tmp_path_factory):
    """Yield a running fresh Debian whose user has the packages.  A copy of that
    Debian has built them."""
    reason = debian_env.missing()
    if reason:
        pytest.skip(reason)
    top = str(tmp_path_factory.mktemp(request.param))
    os.chmod(top, 0o755)
    clean = debian_env.make(top + "/clean", request.param)
    builder = clean.copy(top + "/builder")
    debian_env.source(builder.home + "/mod_comet")
    builder.fetch("chown -R %s: %s" % (debian_env.USER, "/home/" + debian_env.USER))
    builder.fetch("cd mod_comet\n" + readme()[0], debian_env.USER)
    os.makedirs(clean.home + "/mod_comet/build")
    shutil.move(builder.home + "/mod_comet/build/deb",
                clean.home + "/mod_comet/build")
    shutil.rmtree(builder.root)
    shutil.rmtree(clean.home + "/mod_comet/build/deb/mod-comet")
    clean.fetch("chown -R %s: %s" % (debian_env.USER, "/home/" + debian_env.USER))
    clean.download("apache2 curl php-fpm php-sqlite3 openssl mod_comet/build/deb/"
                   "libapache2-mod-comet_*.deb mod_comet/build/deb/mod-comet-c*.deb"
                   .replace("mod_comet/", "./mod_comet/"))
    with clean:
        yield clean
    shutil.rmtree(top, ignore_errors=True)


def packages(debian, pattern):
    return glob.glob(debian.home + "/mod_comet/build/deb/" + pattern)


def left(debian):
    return sorted(path for place in PLACES for path in glob.glob(debian.root + place))


@pytest.mark.long
def test_950_02_lint(debian):
    """Lintian reports no error or warning for the packages."""
    if not shutil.which("lintian"):
        pytest.skip("no lintian")
    changes = packages(debian, "*.changes")
    assert len(changes) == 1
    assert run("lintian", "--allow-root", "--fail-on", "error,warning",
               *changes) == ""


@pytest.mark.long
def test_950_03_readme(debian):
    """Each step of the README works, and Chromium shows its page."""
    for number, step in enumerate(readme()[1:], 2):
        said = debian.run("cd mod_comet\n" + step)
        if "curl -d" in step:
            assert '"channel":"news"' in said and '"body":"deploy finished"' in said
            publish = step.splitlines()[0]
        assert number < 10
    assert debian.run("stat -c '%U:%G %a' " + os.path.dirname(DATABASE)) \
        == "www-data:comet 2770\n"
    if missing():
        pytest.skip("no Chromium")
    with debian.network():
        browser = Browser(80)
        try:
            tab = browser.open("/news.html")
            for shown in ("deploy finished", "deploy finished deploy finished"):
                wait_until(lambda text=shown: tab.js(
                    "return document.body?.innerText.trim()") == text, 20, shown)
                debian.run(publish)
        finally:
            browser.close()


@pytest.mark.long
def test_950_04_console(debian):
    """The console package serves the console and all that its page needs to
    this machine."""
    debian.run("sudo apt-get -qqy install ./mod_comet/build/deb/mod-comet-console_*.deb")
    for path, words in (("console/", "Console"), ("mod-comet/comet.js", "export"),
                        ("comet-status", '"published"'),
                        ("chat/prototype.js", "Prototype"),
                        ("comet/news?since=0&wait=0", "deploy finished")):
        assert words in debian.run("curl -sf 'http://localhost/mod-comet/%s'" % path)


@pytest.mark.long
def test_950_08_console_beside_a_store_elsewhere(debian):
    """CometStore may be moved from comet.conf into a virtual host.  Apache then
    starts with the console, which only that virtual host has."""
    conf = "/etc/apache2/mods-available/comet.conf"
    site = "<VirtualHost *:80>\nServerName own\nCometStore sqlite:%s\n" \
        "CometRetain count=1000\nCometEndpoint /comet\n<Location /comet>\n" \
        "Require local\n</Location>\n</VirtualHost>" % DATABASE
    debian.run("sudo a2disconf push; sudo sed -i 's/^\tCometStore/\t#CometStore/' %s\n"
               "echo '%s' | sudo tee /etc/apache2/sites-available/own.conf\n"
               "sudo a2ensite own; sudo apt-get -qqy install --reinstall "
               "./mod_comet/build/deb/mod-comet-console_*.deb\n"
               "sudo systemctl restart apache2" % (conf, site))
    for name, status in (("own", "200"), ("localhost", "404")):
        assert status == debian.run(
            "curl -s -o answer -w '%%{http_code}' -H 'Host: %s' 'http://localhost/"
            "mod-comet/comet/news?since=0&wait=0'; rm answer" % name)
    debian.run("sudo a2dissite own; sudo rm /etc/apache2/sites-available/own.conf\n"
               "sudo sed -i 's/^\t#CometStore/\tCometStore/' %s; sudo a2enconf push\n"
               "sudo systemctl restart apache2" % conf)


class Site:
    """What Followers and settle() need to know of a server."""

    def __init__(self, debian, folder):
        self.root, self.port = str(folder), 80
        self.db = debian.root + DATABASE


def newer(debian, folder):
    """Write newer.deb into the user's home: the package with a higher
    version."""
    tree = str(folder / "tree")
    run("dpkg-deb", "--raw-extract", packages(debian, PACKAGE)[0], tree)
    run("sed", "-i", "s/^Version: .*/Version: 99.0/", tree + "/DEBIAN/control")
    run("dpkg-deb", "--root-owner-group", "-Zgzip", "--build", tree,
        debian.home + "/newer.deb")


@pytest.mark.long
def test_950_05_upgrade_under_load(debian, tmp_path, figure):
    """The package's scripts restart Apache while 500 clients wait and 50
    messages a second are published.  Every client gets each message once and in
    order, and no acknowledged message is lost.  A changed comet.conf is
    kept."""
    if not os.path.exists(os.path.dirname(COMET_MODULE) + "/tools/follow"):
        pytest.skip("build/tools/follow was not built")
    newer(debian, tmp_path)
    conf = "/etc/apache2/mods-available/comet.conf"
    debian.run("echo '# mine' | sudo tee -a %s" % conf)
    groups = [("events", 400, "chat", "/comet/chat"),
              ("poll", 100, "chat", "/comet/chat")]
    pid = debian.run("cat /run/apache2/apache2.pid", "root")
    with debian.network():
        site = Site(debian, tmp_path)
        with Followers(site, groups) as followers, Load(80) as load:
            followers.wait_open()
            pubs = {"chat": load.publish(5, "/comet/chat", "p", pause=0.1)}
            wait_more(pubs["chat"], 100)
            debian.run("sudo apt-get -qqy -o Dpkg::Options::=--force-confold "
                       "install ./newer.deb")
            wait_more(pubs["chat"], 100, 60)
            said = settle(site, load, followers, pubs, 120)
            figure("%s: upgraded under 500 clients and 50 messages/s: %d messages "
                   "acknowledged, %d deliveries, 0 lost, 0 repeated; longest gap "
                   "of a client %.2f s" % (
                       debian.release, acknowledged(pubs["chat"]), said["messages"],
                       max(said["stall_us"], said["catch_up_us"]) / 1e6))
    assert pid != debian.run("cat /run/apache2/apache2.pid", "root")
    assert "99.0" in debian.run("dpkg-query -W libapache2-mod-comet")
    assert debian.run("tail -n 1 " + conf) == "# mine\n"


@pytest.mark.long
def test_950_06_remove_and_purge(debian):
    """Apache still runs after a removal and after a purge.  A purge leaves
    nothing but the README's push.conf."""
    alive = "sudo apachectl configtest; sudo systemctl is-active apache2; " \
        "curl -sf http://localhost/ | grep -c 'It works'"
    names = "libapache2-mod-comet mod-comet-console"
    debian.run("sudo apt-get -qqy remove %s; %s" % (names, alive))
    assert os.path.exists(debian.root + DATABASE)
    debian.run("sudo systemctl restart apache2; " + alive)
    debian.run("sudo apt-get -qqy purge %s; %s" % (names, alive))
    debian.run("! getent group comet; sudo systemctl restart apache2; " + alive)
    assert os.path.exists(debian.root + "/etc/apache2/conf-enabled/push.conf")
    assert left(debian) == []


@pytest.mark.long
def test_950_07_tutorial(debian):
    """Each command of the tutorial prints what the page shows, and its last
    step leaves nothing behind.  (The fixture has run its first step.)"""
    (build, _), *others = steps()
    assert build.strip() == readme()[0].strip()
    for command, output in others:
        said = debian.run("cd mod_comet\n" + command)
        assert output is None or said.strip() == output.strip(), (command, said)
    assert "active\n" == debian.run("sudo systemctl is-active apache2")
    assert left(debian) == []
    assert not os.path.exists(debian.root + "/var/www/push")
