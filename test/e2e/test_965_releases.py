# SPDX-License-Identifier: Apache-2.0
"""The parts of a release: the source archive, the npm package, and the
changelog."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile

import pytest

from httpd_env import REPO

CLEAN = {name: value for name, value in os.environ.items()
         if not name.startswith(("MAKE", "MFLAGS", "BUILD"))}


def run(*command, cwd=REPO, **more):
    done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={**CLEAN, **more}, check=False)
    assert done.returncode == 0, "%s: %s" % (command, done.stdout[-4000:])
    return done.stdout


def version():
    with open(os.path.join(REPO, "htdocs/comet/package.json"),
              encoding="utf-8") as file:
        return json.load(file)["version"]


def clone(folder):
    """Clone the newest commit, as other people get it, and return the
    folder."""
    run("git", "clone", "--quiet", "--shared", REPO, str(folder))
    return str(folder)


def dist(tree, umask="022"):
    """Make the archive of a clone, and return its path.  tar has no
    complaints."""
    said = run("sh", "-c", "umask %s; chmod -R go= . ; make dist" % umask,
               cwd=tree)
    assert "tar: " not in said, said
    return os.path.join(tree, "build", "mod_comet-%s.tar.gz" % version())


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    if not os.path.exists(os.path.join(REPO, ".git")):
        pytest.skip("this tree is not a clone")
    return dist(clone(tmp_path_factory.mktemp("one")))


@pytest.mark.long
def test_965_01_the_archive_is_reproducible(archive, tmp_path):
    """The archives of two clones are identical, in spite of other times and
    another umask.  They have exactly the files of the commit.  A tree with
    uncommitted changes gives no archive, and neither does a tar that fails."""
    tree = clone(tmp_path / "two")
    again = dist(tree, umask="077")
    assert digest(again) == digest(archive)
    top = "mod_comet-%s/" % version()
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
    listed = run("git", "ls-files", cwd=tree).splitlines()
    assert sorted(member.name for member in members) \
        == sorted(top + name for name in listed)
    assert {(m.uid, m.gid, m.uname, m.gname) for m in members} \
        == {(0, 0, "", "")}
    assert {oct(m.mode) for m in members} <= {"0o644", "0o755"}
    broken = tmp_path / "bin" / "tar"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\nexit 2\n")
    broken.chmod(0o755)
    os.remove(again)
    done = subprocess.run(
        ["make", "dist"], cwd=tree, check=False, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**CLEAN, "PATH": "%s:%s" % (broken.parent, os.environ["PATH"])})
    assert done.returncode and not os.path.exists(again)
    with open(tree + "/README.md", "a", encoding="utf-8") as file:
        file.write("\n")
    done = subprocess.run(["make", "dist"], cwd=tree, env=CLEAN, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False)
    assert done.returncode and "dist needs a commit" in done.stdout


def test_965_02_debians_changelog():
    """Debian's changelog has each release of CHANGELOG.md.  A heading without a
    date is an error."""
    with open(os.path.join(REPO, "CHANGELOG.md"), encoding="utf-8") as file:
        releases = re.findall(r"^## (\S+)", file.read(), re.M)
    text = run("conf/debian-changelog")
    assert re.findall(r"^mod-comet \((.*?)\)", text, re.M) == releases
    assert max(len(line) for line in text.splitlines()
               if not line.startswith(" -- ")) <= 80
    told = run("sh", "-c", "conf/debian-changelog | dpkg-parsechangelog -l -")
    assert "Version: %s\n" % version() in told
    done = subprocess.run(["conf/debian-changelog", "/dev/stdin"], cwd=REPO,
                          input="## 2.0\n- something\n", text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          check=False)
    assert done.returncode == 1
    assert "expected ## VERSION (YEAR-MONTH-DAY)" in done.stderr


@pytest.mark.long
@pytest.mark.bound(900)
def test_965_10_the_archive_builds(archive, tmp_path):
    """The unpacked archive builds without a warning, installs into a folder,
    and passes its guards and two JavaScript tests.  Everybody may read the
    installed files, even if root's umask is 077."""
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path)
    tree = str(tmp_path / ("mod_comet-" + version()))
    run("make", "-j2", "all", "WERROR=1", cwd=tree)
    run("sh", "-c", "umask 077; make install WERROR=1 DESTDIR=%s/root" % tmp_path,
        cwd=tree)
    assert not run("find", "%s/root" % tmp_path, "-type", "f", "!", "-perm",
                   "-444")
    assert os.path.exists("%s/root/usr/lib/apache2/modules/mod_comet.so"
                          % tmp_path)
    out = run("test/run", "guards", cwd=tree, BUILD="build")
    assert re.search(r"^\d+ passed, 0 failed$", out, re.M), out
    run("node", "--test", "test/js/test_package.mjs", "test/js/test_parser.mjs",
        cwd=tree)


USE = """
import { Comet, CometError, EventStreamParser } from 'mod-comet';
import about from 'mod-comet/package.json' with { type: 'json' };

const [event] = new EventStreamParser().push('data: hello\\n\\n');
if (event.data !== 'hello' || typeof Comet !== 'function'
    || !(new CometError('x') instanceof Error)) {
    throw new Error('not what was packed');
}
console.log(about.version);
"""


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("npm"), reason="no npm")
def test_965_11_the_package_for_npm(tmp_path):
    """npm packs the library without a warning.  Once installed, the package
    can be imported by its name, and a program that uses all of its types
    compiles."""
    out = run("make", "npm", "BUILD=%s/build" % tmp_path)
    assert not re.search(r"warn|err!", out, re.I), out
    packed = "%s/build/npm/mod-comet-%s.tgz" % (tmp_path, version())
    with tarfile.open(packed) as tar:
        assert sorted(tar.getnames()) == ["package/" + name for name in sorted(
            ("LICENSE", "README.md", "comet.d.ts", "comet.js",
             "package.json"))]
    site = tmp_path / "site"
    site.mkdir()
    (site / "package.json").write_text('{"private": true, "type": "module"}')
    run("npm", "install", "--offline", "--no-audit", "--no-fund", packed,
        cwd=str(site))
    (site / "use.mjs").write_text(USE)
    assert run("node", "--no-warnings", "use.mjs",
               cwd=str(site)).strip() == version()
    with open(os.path.join(REPO, "test/js/usage.ts"), encoding="utf-8") as file:
        usage, count = re.subn(r"'[^']*comet\.js'", "'mod-comet'", file.read())
    assert count == 1
    (site / "usage.ts").write_text(usage)
    if shutil.which("tsc"):
        run("tsc", "--noEmit", "--strict", "--target", "es2022", "--module",
            "es2022", "--moduleResolution", "node", "--lib", "es2022,dom",
            "usage.ts", cwd=str(site))
