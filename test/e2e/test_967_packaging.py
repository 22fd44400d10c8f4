# SPDX-License-Identifier: Apache-2.0
"""Packages for other systems: the container's configuration, the RPM's spec,
and the lines for AppArmor and SELinux, as far as this machine can test them."""

import os
import re
import shutil
import subprocess
import tarfile

import pytest

from httpd_env import REPO
from test_965_releases import archive, run, version    # noqa: F401 (a fixture)

EXAMPLES = os.path.join(REPO, "conf", "examples")


def needs(*programs):
    missing = [name for name in programs if not shutil.which(name)]
    return pytest.mark.skipif(bool(missing), reason="no " + ", ".join(missing))


def test_967_01_the_containers_configuration(make_server):
    """Messages can be published and read with the container's configuration."""
    with open(os.path.join(REPO, "conf/packaging/comet-container.conf"),
              encoding="utf-8") as file:
        text = re.sub("(?m)^LoadModule .*$", "", file.read())
    server = make_server(comet="load", conf=text.replace("/var/lib/comet",
                                                         "{data}"))
    # (no advice from advice.c and advice_access.c)
    assert not re.search(r"COMET01[56]\d", server.error_log()), \
        server.tail()
    server.post("news", "hello")
    assert [m["body"] for m in server.history("news")] == ["hello"]


@needs("apparmor_parser")
def test_967_02_apparmor(tmp_path):
    """AppArmor's parser compiles a profile with the lines of
    apparmor.profile."""
    with open(os.path.join(EXAMPLES, "apparmor.profile"),
              encoding="utf-8") as file:
        lines = file.read()
    profile = tmp_path / "profile"
    profile.write_text("profile apache2 /usr/sbin/apache2 {\n%s}\n" % lines)
    done = subprocess.run(["apparmor_parser", "--skip-kernel-load", "--skip-cache",
                           "--stdout", str(profile)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0 and len(done.stdout) > 1000, done.stderr


@needs("checkmodule", "semodule_package")
def test_967_03_selinux(tmp_path):
    """The commands at the head of mod_comet.te build the SELinux module."""
    shutil.copy(os.path.join(EXAMPLES, "mod_comet.te"), tmp_path)
    with open(tmp_path / "mod_comet.te", encoding="utf-8") as file:
        commands = re.findall(r"^#     ((?:checkmodule|semodule_package) .*)$",
                              file.read(), re.M)
    assert len(commands) == 2
    for command in commands:
        run("sh", "-ec", command, cwd=str(tmp_path))
    assert os.path.getsize(tmp_path / "mod_comet.pp") > 500


@needs("mandoc")
def test_967_05_man_page():
    """mandoc reports nothing for the man page."""
    assert run("mandoc", "-T", "lint", "-W", "warning",
               os.path.join(REPO, "conf/mod_comet.7")) == ""


@pytest.mark.long
@pytest.mark.bound(900)
@needs("rpmbuild")
def test_967_04_rpm(archive, tmp_path):    # noqa: F811
    """The RPM's spec builds from the source archive with Debian's httpd.  The
    package has all that an installed module needs, where Fedora expects it."""
    spec = os.path.join(REPO, "conf/packaging/mod_comet.spec")
    run("rpmbuild", "-bb", "--nodeps", "--define", "_topdir %s" % tmp_path,
        "--define", "_sourcedir " + os.path.dirname(archive),
        "--define", "_libdir /usr/lib64", spec)
    built, = (os.path.join(folder, name) for folder, _, names in
              os.walk(tmp_path / "RPMS") for name in names
              if "debug" not in name)
    listed = run("rpm", "-qp", "--queryformat",
                 "[%{FILEMODES:perms} %{FILEUSERNAME} %{FILEGROUPNAME} "
                 "%{FILENAMES}\n]", built)
    for line in ("-rw-r--r-- root root /etc/httpd/conf.d/comet.conf",
                 "-rw-r--r-- root root /etc/httpd/conf.modules.d/20-comet.conf",
                 "drwxrws--- apache comet /var/lib/mod_comet",
                 "-rw-r--r-- root root /usr/share/mod_comet/comet/comet.js"):
        assert line in listed.splitlines(), listed
    assert "/usr/lib64/httpd/modules/mod_comet.so" in listed
    run("rpm2archive", built)
    with tarfile.open(built + ".tgz") as tar:
        conf, load, _ = (tar.extractfile(name).read().decode() for name in (
            "./etc/httpd/conf.d/comet.conf",
            "./etc/httpd/conf.modules.d/20-comet.conf",
            "./usr/share/mod_comet/examples/mod-comet-console.conf"))
    assert "\nLoadModule comet_module /usr/lib64/httpd/modules/mod_comet.so\n" \
        in load
    assert "\n\tCometStore sqlite:/var/lib/mod_comet/comet.db\n" in conf
    assert "www-data" not in conf and "apache2" not in conf
    assert version() in run("rpm", "-qp", built)
