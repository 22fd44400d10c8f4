# SPDX-License-Identifier: Apache-2.0
"""Where the database may be, and what httpd advises about unsuitable places."""

import contextlib
import glob
import grp
import os
import pwd
import re
import shutil
import struct
import subprocess

import pytest

from httpd_env import (IN_MEMORY, ORDINARY, SANITIZER, WWW_USER, give,
                       is_root, sqlite, wait_until)
from stream_client import Stream

ROOT_ONLY = pytest.mark.skipif(not is_root(), reason="needs root to mount "
                               "and to become another user")
TEXT = {"Content-Type": "text/plain"}
ENDPOINT = "CometEndpoint /comet\n"
# Commands that would change a file's permissions.
COMMAND = re.compile(r"\b(?:chown|chmod|chgrp|setfacl|install)\b")


def store(path):
    return 'CometStore "sqlite:%s"\n' % path + ENDPOINT


def try_post(server, text="x"):
    return server.request("POST", "/comet/chat", text, TEXT)


@contextlib.contextmanager
def bound(source, target):
    """Mount `source` at `target`, too, while the context is open."""
    done = subprocess.run(["mount", "--bind", source, target],
                          stderr=subprocess.PIPE, timeout=20)
    if done.returncode:
        pytest.skip("mount --bind: " + done.stderr.decode().strip())
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", target], check=True, timeout=20)


@pytest.fixture
def tester(make_server):
    return make_server(start=False, comet="load", parent=ORDINARY)


def make_database(server):
    """Let httpd make a database and close it."""
    server.start()
    server.post("chat", "first")
    server.stop()


def configtest_by(server, wrapper, conf):
    """Run httpd -t through another command."""
    path = server.conf_path(server.config_text(conf), "test.conf")
    done = subprocess.run(wrapper + server.command("-t", "-f", path),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env=server.environment(),
                          timeout=60)
    return done.returncode, IN_MEMORY.sub(
        "", done.stdout.decode("utf-8", "replace"))


# -- files and folders with a second name --------------------------------------

@ROOT_ONLY
def test_475_01_file_mounted_before_the_start(make_server):
    """configtest refuses a database that is mounted as a single file. Its log
    would be outside the mount, and so would be lost with the container."""
    server = make_server(start=False)
    make_database(server)
    host = os.path.join(server.root, "host.db")
    shutil.copy(server.db, host)
    give(host)
    with bound(host, server.db):
        code, text = server.configtest(store(server.db))
        assert code != 0 and server.db in text, text
        assert "mount its folder instead" in text, text
    code, text = server.configtest(store(server.db))
    assert code == 0 and "mount" not in text, text


@ROOT_ONLY
def test_475_02_file_mounted_while_running(make_server):
    """If the file is mounted while httpd runs, nothing is acknowledged until
    the mount is gone."""
    server = make_server()
    server.post("chat", "first")
    host = os.path.join(server.root, "host.db")
    sqlite(server.db, "VACUUM INTO '%s';" % host)
    give(host)
    with bound(host, server.db):
        wait_until(lambda: b"second name" in try_post(server).body, 5,
                   "a refusal")
        assert try_post(server).status == 503
        assert "mount its folder instead" in server.error_log()
    wait_until(lambda: try_post(server, "again").status == 201, 10,
               "the store to work again")
    assert server.rows("chat")[0] == "first"
    assert server.rows("chat")[-1] == "again"


def test_475_03_hard_link(make_server):
    """While the file has a hard link, configtest and the log warn of it,
    publishing is refused, and reading works.  Without the link everything works
    again."""
    server = make_server()
    other = os.path.join(server.root, "other.db")
    server.post("chat", "first")
    os.link(server.db, other)
    wait_until(lambda: try_post(server).status == 503, 5, "a refusal")
    assert b"second name" in try_post(server).body
    assert [m["body"] for m in server.history("chat")] == ["first"]
    code, text = server.configtest(store(server.db))
    assert code == 0 and "more than one hard link" in text, text
    server.graceful()       # a new child refuses to publish, too
    assert try_post(server).status == 503
    assert [m["body"] for m in server.history("chat")] == ["first"]
    assert server.error_log().count("nothing can be published") == 1
    os.unlink(other)
    wait_until(lambda: try_post(server, "again").status == 201, 10,
               "the store to work again")
    assert server.rows("chat") == ["first", "again"]


def test_475_04_dangling_link(make_server):
    """If the path is a symbolic link to a missing file, httpd makes the file
    and its log where the link leads.  Both names are one store."""
    server = make_server(start=False, comet="load")
    real = os.path.join(server.data, "real.db")
    link = os.path.join(server.root, "link.db")
    os.symlink("data/real.db", link)
    conf = ("%s<VirtualHost *>\nServerName two\n%%s"
            'CometStore "sqlite:%s"\nCometEndpoint /two\n</VirtualHost>\n'
            % (store(real), link))
    code, text = server.configtest(conf % "CometSync normal\n")
    assert code != 0 and "used by two servers" in text, text
    server.conf = conf % ""
    server.check_waiting = False
    server.start()
    assert server.request("POST", "/two/chat", "x", TEXT).status == 201
    assert os.path.islink(link)
    assert sorted(os.listdir(server.data)) \
        == ["real.db", "real.db-shm", "real.db-wal"]
    assert not os.path.exists(link + "-wal")


def test_475_05_becomes_a_link(make_server):
    """If a symbolic link replaces the database while httpd runs, publishing is
    refused, because the write-ahead log would be beside another file."""
    server = make_server()
    server.post("chat", "first")
    real = os.path.join(server.root, "moved.db")
    sqlite(server.db, "VACUUM INTO '%s';" % real)
    give(real)
    link = server.db + ".new"
    os.symlink(real, link)
    os.rename(link, server.db)
    wait_until(lambda: b"second name" in try_post(server).body, 5,
               "a refusal")
    wait_until(lambda: "has become a symbolic link" in server.error_log(), 5,
               "the reason")


@ROOT_ONLY
def test_475_06_folder_mounted_twice(make_server):
    """A folder that is mounted in two places has one store."""
    server = make_server(start=False, comet="load")
    again = os.path.join(server.root, "again")
    os.mkdir(again)
    conf = (store(server.db) + "<VirtualHost *>\nServerName two\n%s"
            'CometStore "sqlite:%s/comet.db"\n%s</VirtualHost>\n')
    with bound(server.data, again):
        code, text = server.configtest(
            conf % ("CometSync normal\n", again, ENDPOINT))
        assert code != 0 and "used by two servers" in text, text
        code, text = server.configtest(conf % ("", again, ENDPOINT))
        assert code == 0, text


@ROOT_ONLY
@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_475_07_log_mounted_alone(make_server, suffix):
    """If the log or its shared memory is mounted as a single file, nothing is
    acknowledged until the mount is gone, and configtest refuses the database.
    Otherwise, messages in the mounted log are lost with the mount."""
    server = make_server()
    server.post("chat", "first")
    host = os.path.join(server.root, "host")
    shutil.copy(server.db + suffix, host)
    give(host)
    with bound(host, server.db + suffix):
        wait_until(lambda: b"second name" in try_post(server).body, 5,
                   "a refusal")
        acknowledged = len(server.history("chat"))
        assert try_post(server).status == 503
        assert "mount its folder instead" in server.error_log()
        code, text = server.configtest(store(server.db))
        assert code != 0 and "mount its folder instead" in text, text
    wait_until(lambda: try_post(server, "again").status == 201, 10,
               "the store to work again")
    rows = server.rows("chat")
    assert len(rows) == acknowledged + 1
    assert (rows[0], rows[-1]) == ("first", "again")


def test_475_08_link_is_switched(make_server):
    """If a symbolic link on the way to the database is switched, as deployments
    do, nothing is published to the old database, which other programs no longer
    find.  A reload follows the link."""
    server = make_server(start=False, comet="load")
    current = os.path.join(server.root, "current")
    for release in ("one", "two"):
        os.mkdir(os.path.join(server.root, release))
        give(os.path.join(server.root, release))
    os.symlink("one", current)
    server.db = os.path.join(current, "comet.db")
    server.conf = store(server.db)
    server.start()
    server.post("chat", "one")
    os.symlink("two", current + ".new")
    os.rename(current + ".new", current)
    answer = try_post(server)
    assert answer.status == 503 and b"second name" in answer.body, answer
    wait_until(lambda: "reload httpd, which follows the link"
               in server.error_log(), 5, "the reason")
    assert [m["body"] for m in server.history("chat")] == ["one"]
    server.graceful()
    server.post("chat", "two")
    assert server.rows("chat") == ["two"]


# -- folders that httpd must not write to --------------------------------------

def test_475_10_folder_of_the_configuration(tester):
    """A folder that contains httpd's configuration, at any depth, is refused.
    No command is proposed that would make the folder writable."""
    extra = os.path.join(tester.root, "extra", "deep")
    os.makedirs(extra)
    with open(os.path.join(extra, "more.conf"), "w",
              encoding="utf-8") as out:
        out.write("ServerAdmin a@example\n")
    include = 'Include "{root}/extra/deep/*.conf"\n'
    for line in (store("comet.db"),  # (these are relative to ServerRoot)
                 store("conf/comet.db"),
                 store("{root}/comet.db"),
                 include + store("{root}/extra/comet.db"),
                 include + store("{root}/extra/deep/comet.db"),
                 store("/comet.db")):
        code, text = tester.configtest(line)
        assert code != 0, (line, text)
        assert "holds httpd's configuration" in text, text
        assert not COMMAND.search(text), text
    code, text = tester.configtest(include + store("{data}/comet.db"))
    assert code == 0, text


def test_475_11_world_writable_folder(tester):
    """A folder that everybody may write to is refused, with or without the
    sticky bit. No command is proposed that would grant permissions."""
    folder = os.path.join(tester.root, "open")
    os.mkdir(folder)
    give(folder)
    for mode in (0o777, 0o1777, 0o2777, 0o3777):
        os.chmod(folder, mode)
        code, text = tester.configtest(store(folder + "/comet.db"))
        assert code != 0 and "every local user" in text, (oct(mode), text)
        assert not COMMAND.search(text), text
    os.chmod(folder, 0o2770)
    code, text = tester.configtest(store(folder + "/comet.db"))
    assert code == 0 and "CometStore" not in text, text
    code, text = tester.configtest(store("/tmp/comet.db"))
    assert code != 0 and not COMMAND.search(text), text


def warnings(server, path):
    """Return what httpd -t says about a store.  The configtest must pass."""
    code, text = server.configtest(store(path))
    assert code == 0, text
    return text


@ROOT_ONLY
@pytest.mark.parametrize("folder", ["/var/lib", "/etc/comet-test-475", "/srv",
                                    "/var/opt", "/usr/local/src"])
def test_475_12_advice_for_system_folders(tester, folder):
    """httpd proposes no command for a system folder, even if it is empty."""
    made = not os.path.isdir(folder)
    if made:
        os.mkdir(folder)
    try:
        text = warnings(tester, folder + "/comet.db")
    finally:
        if made:
            os.rmdir(folder)
    assert "cannot be written by user" in text, text
    assert "folder of its own" in text
    assert not COMMAND.search(text), text


@ROOT_ONLY
def test_475_13_advice_for_shared_folders(tester):
    """httpd proposes a chown of a folder, or a setgid bit, only if the folder
    contains nothing but databases."""
    folder = os.path.join(tester.root, "of root")
    os.mkdir(folder, 0o755)
    path = folder + "/comet.db"
    assert "chown %s '%s'" % (WWW_USER, folder) in warnings(tester, path)
    with open(folder + "/secret.conf", "w", encoding="utf-8"):
        pass
    text = warnings(tester, path)
    assert "folder of its own" in text and not COMMAND.search(text), text
    give(folder)
    os.chmod(folder, 0o770)
    text = warnings(tester, path)
    assert "setgid" in text and not COMMAND.search(text), text
    os.unlink(folder + "/secret.conf")
    assert "chmod g+s '%s'" % folder in warnings(tester, path)
    os.rename(folder, folder + "'s")        # a quote in the name
    text = warnings(tester, folder + "'s/comet.db")
    assert "setgid" in text and not COMMAND.search(text), text


@ROOT_ONLY
def test_475_14_supplementary_groups(tester):
    """A supplementary group may give a permission or take one away.  The advice
    considers both."""
    groups = os.path.join(tester.root, "group")
    shutil.copy("/etc/group", groups)
    with open(groups, "a", encoding="utf-8") as out:
        out.write("comet475:x:65500:%s\n" % WWW_USER)
    member = ["unshare", "-m", "sh", "-c",
              'mount --bind "$0" /etc/group; exec "$@"', groups]
    os.chown(tester.data, 0, 65500)
    for mode, wrapper, warned in ((0o2770, [], True), (0o2770, member, False),
                                  (0o2755, member, True),
                                  (0o2705, member, True)):
        os.chmod(tester.data, mode)
        code, text = configtest_by(tester, wrapper, store(tester.db))
        assert code == 0 and ("CometStore" in text) == warned, (oct(mode),
                                                                text)


@ROOT_ONLY
@pytest.mark.parametrize("owner", ["root", WWW_USER])
@pytest.mark.parametrize("what", ["folder", "file"])
def test_475_17_the_command_helps(make_server, what, owner):
    """After the command that httpd proposes, the database can be written, also
    if its owner lacks the right."""
    server = make_server(start=False, parent=ORDINARY)
    make_database(server)
    subject = server.data if what == "folder" else server.db
    shutil.chown(subject, owner, "root")
    os.chmod(subject, 0o555 if what == "folder" else 0o444)
    command = re.search(r"try: (.*)", warnings(server, server.db)).group(1)
    subprocess.run(command, shell=True, check=True, timeout=10)
    assert "cannot be written" not in warnings(server, server.db)


@ROOT_ONLY
def test_475_18_a_file_is_no_folder(make_server):
    """If the folder of a store is a file, httpd does not start, and says why."""
    server = make_server(start=False)
    code, text = server.configtest(store(server.write("file", "") + "/x.db"))
    assert code != 0 and "Not a directory" in text, text


@ROOT_ONLY
def test_475_15_whatever_cannot_be_written(make_server):
    """httpd also reports a side file (-wal, -shm) of another user, and a parent
    folder that it may not enter.  It proposes no command for such a folder."""
    server = make_server(start=False, parent=ORDINARY)
    make_database(server)
    for name in ("-wal", "-shm"):
        with open(server.db + name, "w", encoding="utf-8"):
            pass
        os.chmod(server.db + name, 0o600)
        text = warnings(server, server.db)
        assert "chown %s '%s%s'" % (WWW_USER, server.db, name) in text, text
        os.unlink(server.db + name)
    assert "CometStore" not in warnings(server, server.db)
    above = os.path.join(server.root, "closed")
    os.makedirs(above + "/data")
    give(above + "/data")
    os.chmod(above + "/data", 0o2770)
    os.chmod(above, 0o700)
    text = warnings(server, above + "/data/comet.db")
    assert "may not enter %s," % above in text, text
    assert not COMMAND.search(text), text


def let_daemon_write(path):
    """Give a file an access control list that lets another user write to it."""
    user, write = pwd.getpwnam("daemon").pw_uid, 6
    entries = ((1, write, -1), (2, write, user), (4, write, -1),
               (16, write, -1), (32, 0, -1))
    try:
        os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2)
                    + b"".join(struct.pack("<HHi", *e) for e in entries))
    except OSError as error:
        pytest.skip("no access control lists: %s" % error)


def write_groups(server, name, member):
    """Write a copy of /etc/group in which the group `name` has one member;
    return its path."""
    path = os.path.join(server.root, "group")
    with open("/etc/group", encoding="utf-8") as lines:
        kept = [line for line in lines if not line.startswith(name + ":")]
    number = grp.getgrnam(name).gr_gid if name == WWW_USER else 65500
    with open(path, "w", encoding="utf-8") as out:
        out.write("%s%s:x:%d:%s\n" % ("".join(kept), name, number, member))
    return path


@ROOT_ONLY
@pytest.mark.parametrize("what, who", [
    ("group", "user daemon of group comet475"), ("its own group", None),
    ("empty group", None), ("owner", "user daemon"),
    ("everybody", "every local user"), ("acl", "access control list"),
    ("side file", "every local user"), ("closed folder", None)])
def test_475_16_others_may_write(make_server, what, who):
    """Everybody who may write to a store can make SQLite end the server's
    children.  So httpd -t warns if anybody but httpd's user and group may
    write, and names one such user."""
    server = make_server(start=False)
    make_database(server)
    server.comet = "load"
    os.chmod(server.data, 0o2775 if what == "acl" else 0o2770)
    wrapper = []
    if "group" in what:
        own = what == "its own group"
        groups = write_groups(server, WWW_USER if own else "comet475",
                              "daemon" if own or who else WWW_USER)
        wrapper = ["unshare", "-m", "sh", "-c",
                   'mount --bind "$0" /etc/group; exec "$@"', groups]
        if not own:
            os.chown(server.data, -1, 65500)
            os.chmod(server.data, 0o2770)   # (chown has removed the bit)
    elif what == "owner":
        os.chown(server.db, pwd.getpwnam("daemon").pw_uid, -1)
    elif what in ("everybody", "closed folder"):
        os.chmod(server.db, 0o666)
    elif what == "side file":
        with open(server.db + "-shm", "w", encoding="utf-8"):
            pass
        os.chmod(server.db + "-shm", 0o666)
    elif what == "acl":
        let_daemon_write(server.db)
    if what == "closed folder":
        os.chmod(server.data, 0o2700)
    code, text = configtest_by(server, wrapper, store(server.db))
    assert code == 0, text
    assert ("may be written by" in text) == (who is not None), text
    assert who is None or who in text, text
    assert not COMMAND.search(text), text


# -- configtest by a user without permission -----------------------------------

def as_user(name):
    user = pwd.getpwnam(name)
    return ["setpriv", "--reuid=%d" % user.pw_uid,
            "--regid=%d" % user.pw_gid, "--clear-groups"]


@ROOT_ONLY
@pytest.mark.parametrize("closed", ["above", "above/data"])
def test_475_20_configtest_without_permission(tester, closed):
    """If the user of httpd -t may not enter a folder, a warning says so, and
    everything else is checked."""
    nobody = as_user("nobody")
    data = os.path.join(tester.root, "above", "data")
    os.makedirs(data)
    give(data)
    os.chmod(data, 0o2755)
    os.chmod(os.path.join(tester.root, closed), 0o700)
    good = store(data + "/comet.db")
    code, text = configtest_by(tester, nobody, good)
    assert code == 0, text
    assert "may not enter" in text and data + "/comet.db" in text, text
    assert "does not exist" not in text, text
    code, text = configtest_by(
        tester, nobody, good + "<VirtualHost *>\nCometStore "
        "sqlite:{root}/nowhere/comet.db\nCometEndpoint /two\n</VirtualHost>\n")
    assert code != 0 and "nowhere/comet.db does not exist" in text, text
    code, text = configtest_by(
        tester, nobody, good + 'DocumentRoot "{root}/above"\n')
    assert code != 0 and "DocumentRoot" in text, text
    code, text = tester.configtest(good)
    assert "may not enter" in text or closed == "above/data", text


def write_key(server, folder):
    """Write a secret as the manual shows it, so that httpd's group may read
    it."""
    folder = os.path.join(server.root, folder)
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "comet.key")
    with open(path, "w", encoding="utf-8") as file:
        file.write("0123456789abcdef" * 4 + "\n")
    os.chown(path, 0, grp.getgrnam(WWW_USER).gr_gid)
    os.chmod(path, 0o640)
    return path


@ROOT_ONLY
@pytest.mark.parametrize("what", ["the file", "its folder"])
def test_475_22_configtest_without_the_keys(tester, what):
    """If the user of httpd -t may not read a key, a warning says so, and
    everything else is checked."""
    nobody = as_user("nobody")
    path = write_key(tester, "keys")
    if what == "its folder":
        os.chmod(path, 0o644)   # (root would be told to change this mode)
        os.chmod(os.path.dirname(path), 0o700)
    os.chmod(tester.data, 0o2755)
    with_key = store(tester.db) + (
        '<Location "/comet">\nCometTokenKey HS256 "%s"\n'
        "Require comet-token\n</Location>\n" % path)
    code, text = configtest_by(tester, nobody, with_key)
    assert code == 0 and "Syntax OK" in text, text
    assert "COMET0168" in text and path in text, text
    code, text = configtest_by(tester, nobody, with_key + "CometReplay -1\n")
    assert code != 0 and "CometReplay" in text, text
    code, text = configtest_by(tester, nobody, with_key.replace(
        "HS256", "HS255"))
    assert code != 0 and "HS255" in text, text
    code, text = configtest_by(tester, nobody, with_key.replace(
        "comet.key", "other.key"))
    assert (code != 0 and "No such file" in text) or what == "its folder", text
    code, text = tester.configtest(with_key)
    assert "COMET0168" not in text and (code == 0) == (what == "the file"), text


@ROOT_ONLY
def test_475_23_configtest_without_the_database(tester):
    """If the user of httpd -t may not read the database, no warning is given,
    and everything else is checked."""
    tester.comet = "demo"
    make_database(tester)
    tester.comet = "load"
    os.chmod(tester.db, 0o660)
    os.chmod(tester.data, 0o2755)
    code, text = configtest_by(tester, as_user("nobody"), store(tester.db))
    assert code == 0 and "CometStore" not in text, text
    code, text = configtest_by(tester, as_user("nobody"),
                               store(tester.db) + "CometReplay -1\n")
    assert code != 0 and "CometReplay" in text, text


@ROOT_ONLY
def test_475_21_configtest_by_an_ordinary_user(tester):
    """httpd -t warns of nothing if its user can see everything."""
    os.chmod(tester.data, 0o2755)
    code, text = configtest_by(tester, as_user("nobody"), store(tester.db))
    assert code == 0 and "CometStore" not in text, text


@ROOT_ONLY
def test_475_25_started_by_an_ordinary_user(tester):
    """If an ordinary user starts httpd, its children run as this user, who may
    write the database without a warning; another user may not."""
    conf = tester.config_text(store(tester.db))
    conf = re.sub(r"(?m)^(User|Group) .*\n", "", conf)
    path = tester.conf_path(conf, "test.conf")
    command = as_user("nobody") + tester.command("-t", "-f", path)
    for owner, warned in (("nobody", False), ("daemon", True)):
        shutil.chown(tester.data, owner, "nogroup")
        os.chmod(tester.data, 0o2775)
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.STDOUT, timeout=60,
                              env=tester.environment())
        text = IN_MEMORY.sub("", done.stdout)
        assert done.returncode == 0, text
        assert ("may be written by user daemon" in text) == warned, text
        assert ("let only user nobody" in text) == warned, text
        assert ("COMET0120" in text) == warned, text


# The C library needs this file where httpd's threads end.
LIBGCC = glob.glob("/lib/*/libgcc_s.so.1") + ["/lib64/libgcc_s.so.1"]


@ROOT_ONLY
@pytest.mark.skipif(SANITIZER != "none", reason="its files are outside")
def test_475_24_chroot(make_server):
    """With ChrootDir the database is named as the administrator sees it, and
    must lie in the folder that httpd's children cannot leave."""
    server = make_server(start=False, comet="load", parent=ORDINARY)
    jail = os.path.join(server.root, "jail")
    inside = os.path.join(jail, "data")
    link = os.path.join(server.root, "link")
    os.makedirs(inside)
    os.mkdir(jail + "data")
    give(inside)
    os.symlink(inside, link)
    conf = 'ChrootDir "%s"\nLoadFile "%s"\n' % (jail, LIBGCC[0])
    for path in (server.data, jail + "data"):
        code, text = server.configtest(conf + store(path + "/comet.db"))
        assert code != 0
        assert "outside %s, which httpd's children cannot leave (ChrootDir)" \
            % jail in text, text
    code, text = server.configtest(conf + 'Alias /files "/data"\n'
                                   + store(inside + "/comet.db"))
    assert code != 0 and "could be downloaded" in text, text
    server.conf = conf + store(link + "/comet.db")
    server.allow_log.append("AH01630")      # there is no DocumentRoot in it
    server.start()
    assert try_post(server).status == 201
    for _ in range(2):
        with Stream(server, "/comet/chat?since=0") as stream:
            stream.until(1)
            sqlite(inside + "/comet.db", "DELETE FROM message WHERE body = 'y';"
                   "INSERT INTO message(channel, body) VALUES('chat', 'y')")
            assert stream.until(2) == ["x", "y"]
        server.graceful()
    server.stop()
    assert os.listdir(inside) == ["comet.db"]
