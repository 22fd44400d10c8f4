# SPDX-License-Identifier: Apache-2.0
"""The files that the module makes, and what it keeps out of the log."""

import contextlib
import os
import sqlite3
import stat

import pytest

from http_client import Raw
from httpd_env import (ORDINARY, SANITIZER, give, is_root, sqlite,
                       wait_until)

SECRET = "s3cr3t"
# A secret of each kind.  None of them may be in the log.
BODY, COOKIE, PASSWORD, QUERY, KEY, AUTHOR = (
    "%s-%s" % (SECRET, what)
    for what in ("body", "cookie", "password", "query", "key", "author"))
HEADERS = {"Content-Type": "text/plain", "Cookie": "session=" + COOKIE,
           "Authorization": "Bearer " + PASSWORD, "Idempotency-Key": KEY}


def under(umask):
    """Return a command that starts the server with this umask."""
    return ["sh", "-c", 'umask %03o; exec "$@"' % umask, "sh"]


def modes(folder):
    """Return {name: (mode, owner, group)} for all files of a folder."""
    found = {}
    for name in sorted(os.listdir(folder)):
        info = os.lstat(os.path.join(folder, name))
        found[name] = (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid)
    return found


# -- files ---------------------------------------------------------------------

@pytest.mark.skipif(SANITIZER == "tsan", reason="libtsan ends the shell")
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o027, 0o077])
def test_470_01_modes(make_server, umask):
    """Whatever the umask is, the database's files have mode 0660, the
    children's user and the folder's group.  There are no other files."""
    server = make_server(children=2, wrapper=under(umask),
                         conf="CometSearch on\nCometRetain count=50\n")
    folder = os.stat(server.data)
    text = "".join('{"body": "%d %s"}\n' % (i, "x" * 3000)
                   for i in range(300))
    for _ in range(3):      # enough for a checkpoint and for retention
        answer = server.request("POST", "/comet/chat", text,
                                {"Content-Type": "application/x-ndjson"})
        assert answer.status == 201, answer
    server.history("chat")
    found = modes(server.data)
    assert set(found) == {"comet.db", "comet.db-wal", "comet.db-shm"}
    for name, (mode, owner, group) in found.items():
        assert mode == 0o660, (name, oct(mode))
        assert (owner, group) == (folder.st_uid, folder.st_gid), name
    server.stop()
    assert set(modes(server.data)) <= set(found)


def test_470_02_nothing_elsewhere(make_server):
    """The module makes no temporary files, and no files in httpd's run
    folder."""
    server = make_server(start=False)
    scratch = os.path.join(server.root, "tmp")
    os.mkdir(scratch)
    os.chmod(scratch, 0o777)
    server.env.update({"TMPDIR": scratch, "SQLITE_TMPDIR": scratch})
    server.start()
    server.post("chat", "x" * 60000)
    sqlite(server.db, "DELETE FROM message;")
    server.post("chat", "y")
    assert os.listdir(scratch) == []
    assert sorted(os.listdir(os.path.join(server.root, "run"))) \
        == ["httpd.pid"]


def check_folder_warning(server, mode, wanted):
    os.chmod(server.data, mode)
    code, text = server.configtest("", comet="demo")
    assert code == 0, text
    assert ("chmod g+s" in text and server.data in text) == wanted, \
        (oct(mode), text)


def test_470_03_configtest_folder(make_server):
    """httpd -t warns of a folder without the setgid bit if the group may write
    to it, and names the command that sets the bit.  A start warns, too."""
    server = make_server(start=False, parent=ORDINARY)
    for mode, wanted in ((0o770, True), (0o2770, False),
                         (0o700, False), (0o750, False), (0o755, False)):
        check_folder_warning(server, mode, wanted)
    os.chmod(server.data, 0o770)
    server.start()
    assert server.error_log().count("chmod g+s") == 1
    os.chmod(server.data, 0o2770)
    server.graceful()
    assert server.error_log().count("chmod g+s") == 1


# -- the log -------------------------------------------------------------------

def publish(server, text=BODY, **headers):
    return server.request(
        "POST", "/comet/%s?type=t&x=%s" % ("chat", QUERY), text,
        dict(HEADERS, Referer="http://127.0.0.1/?" + QUERY, **headers))


def read(server):
    return server.get("/comet/chat?since=0&wait=0&x=" + QUERY, HEADERS)


def stream(server):
    with server.raw() as conn:
        conn.request("GET", "/comet/chat?x=" + QUERY,
                     dict(HEADERS, Accept="text/event-stream"))
        return conn.head()


def bad_requests(server):
    """Send one request for each kind of fault that is refused."""
    for method, target, headers, body in (
            ("POST", "/comet/chat", {"Content-Type": "text/plain"},
             b"\xff" + BODY.encode()),
            ("POST", "/comet/chat", {"Content-Type": "application/x-ndjson"},
             ('{"body": "%s"' % BODY).encode()),
            ("POST", "/comet/chat", {"Content-Type": "image/png"},
             BODY.encode()),
            ("POST", "/comet/chat", {"Content-Type": "text/plain",
                                     "Sec-Fetch-Site": "cross-site",
                                     "Origin": "http://%s.example" % SECRET},
             BODY.encode()),
            ("POST", "/comet/chat", {"Content-Type": "text/plain"},
             BODY.encode() * 20000),
            ("POST", "/comet/chat", HEADERS, b"another " + BODY.encode()),
            ("GET", "/comet/chat?since=" + QUERY, {}, None),
            ("GET", "/comet/chat?q=%s&before=x" % QUERY, {}, None),
            ("GET", "/chat/backend.php?msg=" + BODY,
             {"Cookie": COOKIE}, None),
            ("PUT", "/comet/chat", HEADERS, BODY.encode())):
        answer = server.request(method, target, body,
                                dict(HEADERS, **headers))
        assert 400 <= answer.status < 500, (method, target, answer)
    with Raw(server.port) as conn:      # the connection ends within the body
        conn.send(b"POST /comet/chat HTTP/1.1\r\nHost: x\r\nContent-Type: "
                  b"text/plain\r\nContent-Length: 900\r\n\r\n" +
                  BODY.encode())


def faults(server):
    """Cause each fault of the store that is logged: the database is locked, is
    deleted, and is replaced by a text file."""
    lock = sqlite3.connect(server.db, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    for _ in range(4):
        assert publish(server, **{"Idempotency-Key": KEY + "2"}).status == 503
    lock.execute("ROLLBACK")
    lock.close()
    for end in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):    # removed by httpd
            os.unlink(server.db + end)
    with open(server.db, "w", encoding="utf-8") as out:
        out.write("no database, and %s" % BODY)
    give(server.db)
    wait_until(lambda: publish(server).status == 503, 5, "a refusal")
    wait_until(lambda: read(server).status == 503, 5, "a refusal to read")
    stream(server)
    os.unlink(server.db)
    wait_until(lambda: publish(server).status == 201, 5, "a new store")
    sqlite(server.db, "CREATE TRIGGER refuse BEFORE INSERT ON message_log "
           "WHEN NEW.body GLOB 'refused*' BEGIN "
           "SELECT RAISE(ABORT, 'not this one'); END;")
    assert publish(server, "refused " + BODY,
                   **{"Idempotency-Key": KEY + "3"}).status == 400
    server.graceful()


def test_470_10_no_secrets_in_the_log(make_server):
    """Whatever fails, the error log at LogLevel warn contains no part of a
    request or a message."""
    server = make_server(conf="CometPublishTimeout 200ms\nCometSearch on\n"
                         "LogLevel warn\nCometMulti on\n")
    server.allow_log.append("comet")
    assert publish(server).status == 201
    assert publish(server).status == 200
    assert read(server).status == 200
    assert stream(server) == 200
    bad_requests(server)
    faults(server)
    if is_root():
        os.chown(server.db, 0, 0)
        os.chmod(server.db, 0o600)
        server.graceful()
        publish(server)
        read(server)
    server.stop(timeout=10)
    log = server.error_log() + server.tail(1000)
    assert "CometStore" in log, "no fault was logged: the test shows nothing"
    assert SECRET not in log, [x for x in log.splitlines() if SECRET in x]
