# SPDX-License-Identifier: Apache-2.0
"""The manual's runbook: each of its commands does what the text says."""

import os
import re
import subprocess
import threading

import pytest

from httpd_env import HTTPD, WWW_USER, is_root, sqlite, wait_until
from test_390_manual import fragment, local, run, run_shell

SERVER = {"comet": "demo", "conf": "CometPublishTimeout 300ms\n"}
TEXT = {"Content-Type": "text/plain"}


def try_post(server, text="x"):
    return server.request("POST", "/comet/chat", text, TEXT).status


def log_of(server):
    """Return what the first command of the runbook finds in the log."""
    part = fragment("run-log")
    return run(["sh", "-eu", "-c", local(part.text, server).replace(
        "/var/log/apache2/error.log", server.error_log_path)], server)


def hold(server):
    """Start another program that holds the write lock."""
    other = subprocess.Popen(["sqlite3", "-batch", server.db],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    other.stdin.write(b"BEGIN IMMEDIATE;\nSELECT 'held';\n")
    other.stdin.flush()
    assert other.stdout.readline() == b"held\n"
    return other


def test_963_01_locked_and_slow(server):
    """The runbook's commands find the process that holds the lock, find the
    messages in the error log, and merge the write-ahead log into the
    database."""
    assert try_post(server) == 201
    other = hold(server)
    try:
        assert try_post(server, "locked") == 503
        shown = run_shell(fragment("run-locked-sh"), server)
        assert re.search(r"^ *%d +\S+ +sqlite3 " % other.pid, shown, re.M)
        assert str(server.children()[0]) in shown
    finally:
        other.communicate(timeout=20)
    assert try_post(server) == 201
    shown = log_of(server)
    assert re.search(r"1 COMET0011: POST /comet/chat is refused: .*locked",
                     shown), shown
    assert '"log_bytes"' in shown
    assert os.path.getsize(server.db + "-wal") > 0
    run_shell(fragment("run-slow-sh"), server)
    assert os.path.getsize(server.db + "-wal") == 0
    assert try_post(server) == 201


def test_963_02_versions_and_backups(server):
    """The runbook's commands check a restored database, show its version, and
    make the backup before an upgrade."""
    try_post(server)
    shown = run_shell(fragment("run-restored-sh"), server).split()
    assert shown[:2] == ["ok", "1129270612"]
    assert run_shell(fragment("run-upgrade-sh"), server).split() == shown[2:]
    copy = os.path.join(server.root, "comet-before.db")
    assert sqlite(copy, "SELECT count(*) FROM message;") \
        == sqlite(server.db, "SELECT count(*) FROM message;")
    assert sqlite(copy, "PRAGMA user_version;") == [[shown[2]]]


@pytest.mark.long
def test_963_03_full(small_disk):
    """When the disk is full, the log says so.  Once old messages are removed,
    the server goes on without a restart."""
    server, disk = small_disk
    assert try_post(server, "new") == 201
    sqlite(server.db, "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL "
           "SELECT i + 1 FROM n WHERE i < 20) "
           "INSERT INTO message_log(id, channel_id, body) SELECT i, id, "
           "printf('%.20000c', 'x') FROM channel, n WHERE name = 'chat';")
    filler = disk.fill()
    wait_until(lambda: try_post(server, "y" * 20000) == 507, 10, "a full disk")
    shown = log_of(server)
    assert "COMET0012" in shown and "COMET0121" in shown, shown
    os.unlink(filler)
    run_shell(fragment("run-full-sh"), server)
    assert "new" in server.rows("chat")
    assert sqlite(server.db, "SELECT count(*) FROM message "
                  "WHERE timestamp < 100;") == [["0"]]
    wait_until(lambda: try_post(server) == 201, 10, "room")
    assert server.status()["stores"][0]["log_bytes"] < 100000


@pytest.mark.long
def test_963_08_full_with_little_room(small_disk):
    """The runbook's steps remove two years of messages even if there is less
    room than these messages took: a deletion's size is that of one step."""
    server, disk = small_disk
    disk.remount("size=8m")
    assert try_post(server, "new") == 201
    sqlite(server.db, "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL "
           "SELECT i + 1 FROM n WHERE i < 50) "
           "INSERT INTO message_log(id, channel_id, body) SELECT "
           "(strftime('%s', 'now') - (35 + 15 * i) * 86400) * 1000000, id, "
           "printf('%.20000c', 'x') FROM channel, n WHERE name = 'chat';")
    sqlite(server.db, "PRAGMA wal_checkpoint(TRUNCATE);")
    used = os.statvfs(server.data)
    used = (used.f_blocks - used.f_bfree) * used.f_frsize
    disk.remount("size=%d" % (used + 700000))
    filler = disk.fill()
    wait_until(lambda: try_post(server, "y" * 20000) == 507, 10, "a full disk")
    os.unlink(filler)
    run_shell(fragment("run-full-sh"), server)
    assert sqlite(server.db, "SELECT count(*) FROM message WHERE timestamp < "
                  "(strftime('%s', 'now') - 31 * 86400) * 1000000;") == [["0"]]
    assert "new" in server.rows("chat")
    wait_until(lambda: try_post(server) == 201, 10, "room")
    assert os.path.getsize(server.db) < 500000


@pytest.mark.long
@pytest.mark.skipif(not is_root(), reason="needs root to give files away")
def test_963_04_move(make_server):
    """After the database has been moved, clients go on from their cursors."""
    folder = os.path.join("{root}", "conf", "conf-available")
    server = make_server(comet="status", start=False,
                         conf="Include %s/*.conf\nCometEndpoint /comet\n"
                         % folder)
    os.mkdir(server.fill(folder))
    for name in ("comet", "push"):      # (the last CometStore counts)
        with open("%s/%s.conf" % (server.fill(folder), name), "w",
                  encoding="ascii") as file:
            file.write('CometStore "sqlite:%s/comet.db"\n' % server.data)
    server.start()
    cursor = server.post("chat", "before")
    server.stop()
    text = local(fragment("run-move-sh").text, server)
    for there, here in (("/srv/comet", server.root + "/moved"),
                        ("-g comet", "-g " + WWW_USER),
                        ("apache2ctl configtest", "%s -t -f %s/conf/httpd.conf"
                         % (HTTPD, server.root))):
        assert there in text
        text = text.replace(there, here)
    assert "Syntax OK" in run(["sh", "-eu", "-c", text], server)
    server.start()
    assert server.status()["stores"][0]["path"] \
        == server.root + "/moved/comet.db"
    assert server.post("chat", "after") > cursor
    assert [m["body"] for m in server.history(
        "chat", "since=%d&wait=0" % cursor)] == ["after"]
    # these commands need systemd
    for name in ("run-move-stop", "run-move-start"):
        assert re.fullmatch("systemctl (stop|start) apache2",
                            fragment(name).text)


@pytest.mark.long
def test_963_05_downgrade(make_server):
    """A database of a newer version is refused with the id that the runbook
    names, and is not changed.  The backup from before the upgrade works."""
    server = make_server()
    assert try_post(server, "before") == 201
    run_shell(fragment("run-upgrade-sh"), server)
    server.stop()
    sqlite(server.db, "PRAGMA user_version = 99;")
    server.start()
    assert try_post(server) == 503
    wait_until(lambda: re.search("COMET0121: .*made by a newer mod_comet",
                                 server.error_log()), 5, "the log")
    server.stop()
    assert sqlite(server.db, "PRAGMA user_version; SELECT body FROM message;") \
        == [["99"], ["before"]]
    os.replace(os.path.join(server.root, "comet-before.db"), server.db)
    if is_root():
        subprocess.run(["chown", WWW_USER, server.db], check=True)
    server.start()
    assert try_post(server, "after") == 201
    assert server.rows("chat") == ["before", "after"]


@pytest.mark.long
@pytest.mark.skipif(not is_root(), reason="needs root to mount")
def test_963_06_hardening(make_server, tmp_path):
    """systemd accepts the hardening lines.  httpd runs where it can write only
    to the named folders and cannot gain privileges."""
    text = fragment("hardening", lang="ini").text
    unit = tmp_path / "apache2.service"
    unit.write_text("[Unit]\nDescription=httpd\n" + text
                    + "\nType=forking\nExecStart=/bin/true\n")
    if os.path.exists("/usr/bin/systemd-analyze"):
        done = subprocess.run(["systemd-analyze", "--man=no", "verify", unit],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=60, check=False)
        assert done.returncode == 0 and b"apache2.service" not in done.stdout, \
            done.stdout
    assert re.findall("^ReadWritePaths=(.*)$", text, re.M) \
        == ["/var/lib/apache2/comet /var/log/apache2 /run /var/cache/apache2"]
    mounts = "".join("mount --bind $0/%s $0/%s; " % (name, name)
                     for name in ("data", "logs", "run", "reports"))
    server = make_server(start=False, wrapper=(
        "unshare", "-m", "sh", "-ec", mounts
        + "mount -o remount,bind,ro /; exec setpriv --no-new-privs \"$@\"",
        "{root}"))
    done = subprocess.run(["unshare", "-m", "mount", "-o", "remount,bind,ro",
                           "/"], stderr=subprocess.PIPE, timeout=20,
                          check=False)
    if done.returncode:
        pytest.skip("no read-only mount: " + done.stderr.decode())
    server.start()
    assert try_post(server) == 201
    server.graceful()
    assert server.rows("chat") == ["x"]


class Publishers:
    """Threads that publish 0, 1, 2 …, each to a channel of its own, until
    stop()."""

    def __init__(self, server, channels):
        self.server, self.over = server, False
        self.stored = {channel: 0 for channel in channels}
        self.failed = []
        self.threads = [threading.Thread(target=self.run, args=(channel,))
                        for channel in channels]
        for thread in self.threads:
            thread.start()

    def run(self, channel):
        while not self.over and not self.failed:
            text = "%d " % self.stored[channel] + "x" * 2000
            answer = self.server.request("POST", "/comet/" + channel, text,
                                         TEXT)
            if answer.status != 201:
                self.failed.append(answer)
                break
            self.stored[channel] += 1

    def stop(self):
        self.over = True
        for thread in self.threads:
            thread.join()
        assert not self.failed, self.failed


def check_copy(path, before):
    """Check that a copy has each channel from its first message on, without a
    hole, and all messages acknowledged before the copy began."""
    for channel, count in before.items():
        rows = [int(row[0].split()[0]) for row in sqlite(
            path, "SELECT body FROM message WHERE channel = '%s' "
            "ORDER BY timestamp;" % channel)]
        assert rows == list(range(len(rows))), channel
        assert len(rows) >= count, channel
    assert sqlite(path, "PRAGMA quick_check;") == [["ok"]]


@pytest.mark.long
def test_963_07_copies_under_load(make_server):
    """A backup and a .dump under load are complete, and publishing goes on.  A
    server works with the restored dump."""
    server = make_server()
    load = Publishers(server, ("a", "b", "c"))
    try:
        wait_until(lambda: min(load.stored.values()) >= 50, 30, "some load")
        for _ in range(3):
            before = dict(load.stored)
            assert run_shell(fragment("backup"), server).split() == ["ok"]
            check_copy(server.root + "/comet.db", before)
        before = dict(load.stored)
        run_shell(fragment("dump"), server)
        check_copy(server.root + "/restored.db", before)
        after = dict(load.stored)
        wait_until(lambda: load.failed or all(
            load.stored[c] > after[c] for c in after), 30, "more load")
    finally:
        load.stop()
    server.stop()
    for name in ("-wal", "-shm"):
        if os.path.exists(server.db + name):
            os.unlink(server.db + name)
    os.replace(server.root + "/restored.db", server.db)
    if is_root():
        subprocess.run(["chown", WWW_USER, server.db], check=True)
    server.start()
    assert try_post(server, "after") == 201
    answer = server.get("/comet/a?since=0&limit=20&wait=0").json()
    assert [m["body"].split()[0] for m in answer["messages"]] \
        == [str(number) for number in range(20)]
    assert server.rows("chat") == ["after"]
