# SPDX-License-Identifier: Apache-2.0
"""The Debian packages in a fresh Debian: install them, follow the README's lines,
install them again under a running Apache, remove and purge them.

The fresh Debian is a folder that debootstrap fills.  Its servers run in a network
of their own, where they have port 80 of 127.0.0.1.
"""

import glob
import os
import re
import shutil
import subprocess

import pytest

from httpd_env import REPO

pytestmark = [pytest.mark.long, pytest.mark.bound(900)]

README = os.path.join(REPO, "README.md")
# What the steps leave in these places shows what a package left behind.
PLACES = ("/etc/apache2/*/*comet*", "/usr/share/mod_comet", "/var/lib/apache2/comet",
          "/usr/lib/apache2/modules/mod_comet*", "/usr/share/doc/*mod-comet*",
          "/usr/share/man/man7/mod_comet*")


def run(*command, **more):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          **more)
    assert done.returncode == 0, "%s: %s" % (command, done.stdout[-4000:])
    return done.stdout


def mirror():
    """Where this machine gets Debian from, and which release it is."""
    found = run("apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)",
                "Created-By: Packages").splitlines()
    return next(line.split() for line in found
                if "security" not in line and "-" not in line.split()[1])


class Debian:
    """A fresh Debian in a folder."""

    def __init__(self, root):
        self.root = root
        site, release = mirror()
        run("debootstrap", "--variant=minbase", release, root, site)
        shutil.rmtree(root + "/etc/apt")
        shutil.copytree("/etc/apt", root + "/etc/apt", symlinks=True)
        for extra in glob.glob(root + "/etc/apt/apt.conf.d/docker*"):
            os.remove(extra)
        # no service starts by itself
        with open(root + "/usr/sbin/policy-rc.d", "w") as script:
            script.write("#!/bin/sh\nexit 101\n")
        os.chmod(root + "/usr/sbin/policy-rc.d", 0o755)
        self.sh("apt-get -q update")

    def sh(self, script):
        """Run a script with this machine's network."""
        return run("chroot", self.root, "sh", "-ec", script,
                   env={"PATH": os.environ["PATH"], "LC_ALL": "C",
                        "DEBIAN_FRONTEND": "noninteractive"})

    def serve(self, script):
        """Run a script in a network of its own, beside a running Apache."""
        script = "apachectl start; trap 'apachectl stop' EXIT\n" \
            "for i in $(seq 100); do curl -so /dev/null http://127.0.0.1/ " \
            "&& break; sleep 0.1; done\n" + script
        return run("unshare", "--net", "--mount", "--pid", "--fork", "sh", "-ec",
                   "ip link set lo up; mount -t proc proc '%s/proc'; "
                   "exec chroot '%s' sh -ec \"$0\"" % (self.root, self.root),
                   script, env={"PATH": os.environ["PATH"], "LC_ALL": "C"})

    def left(self):
        return sorted(path for place in PLACES
                      for path in glob.glob(self.root + place))


@pytest.fixture(scope="module")
def debian(tmp_path_factory):
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        pytest.skip("needs root and debootstrap")
    run("make", "deb", cwd=REPO)
    root = str(tmp_path_factory.mktemp("debian"))
    made = Debian(root)
    for package in glob.glob(os.path.join(REPO, "build/deb/*.deb")):
        shutil.copy(package, root + "/root")
    yield made
    shutil.rmtree(root, ignore_errors=True)


def five_lines():
    """The README's lines for a site."""
    with open(README) as readme:
        return re.search(r"^<IfModule comet_module>\n.*?^</IfModule>\n",
                         readme.read(), re.MULTILINE | re.DOTALL).group()


def test_950_01_lint(debian):
    """Lintian and mandoc have nothing to say."""
    changes = glob.glob(os.path.join(REPO, "build/deb/*.changes"))
    assert run("lintian", "--allow-root", "--fail-on", "error,warning",
               *changes) == ""
    run("mandoc", "-T", "lint", "-W", "warning",
        os.path.join(REPO, "conf/mod_comet.7"))


def test_950_02_install(debian):
    """After the installation and five lines of configuration Apache starts: a
    message by curl is in the database, and the console is there for this
    machine."""
    debian.sh("apt-get -qy install apache2 curl sqlite3 "
              "/root/libapache2-mod-comet_*.deb /root/mod-comet-console_*.deb")
    with open(debian.root + "/etc/apache2/conf-available/site.conf", "w") as site:
        site.write(five_lines())
    debian.sh("a2enconf site; apachectl configtest")
    out = debian.serve("""
        curl -sf -d hello -H 'Content-Type: text/plain' http://localhost/comet/news
        curl -sf 'http://localhost/comet/news?since=0'
        sqlite3 /var/lib/apache2/comet/comet.db 'SELECT body FROM message'
        curl -sf http://localhost/mod-comet/console/ | grep -o '<title>.*</title>'
        curl -sf http://localhost/mod-comet/mod-comet/comet.js | grep -c export
        curl -sf http://localhost/mod-comet/comet-status | grep -o '"published": *1,'
        curl -sf 'http://localhost/mod-comet/comet/news?since=0&wait=0'
        stat -c '%U:%G %a' /var/lib/apache2/comet
        """)
    assert out.count('"body":"hello"') == 2
    assert "}hello\n" in out and "Console" in out
    assert '"published"' in out and "www-data:comet 2770" in out


def test_950_03_upgrade(debian):
    """When the packages are installed again, a changed comet.conf and the
    messages stay."""
    conf = debian.root + "/etc/apache2/mods-available/comet.conf"
    with open(conf, "a") as file:
        file.write("# mine\n")
    debian.sh("apt-get -qy install --reinstall -o Dpkg::Options::=--force-confold "
              "/root/libapache2-mod-comet_*.deb")
    with open(conf) as file:
        assert file.read().endswith("# mine\n")
    assert "hello" in debian.serve("curl -sf 'http://localhost/comet/news?since=0'")


def test_950_04_remove_and_purge(debian):
    """Apache starts after a removal and after a purge, although the site's own
    configuration stays.  A purge leaves nothing else."""
    debian.sh("apt-get -qy remove libapache2-mod-comet mod-comet-console; "
              "apachectl configtest")
    assert os.path.exists(debian.root + "/var/lib/apache2/comet/comet.db")
    debian.serve("curl -s http://localhost/ -o /dev/null")
    debian.sh("apt-get -qy purge libapache2-mod-comet mod-comet-console; "
              "apachectl configtest; ! getent group comet")
    assert debian.left() == []
    debian.serve("curl -s http://localhost/ -o /dev/null")
