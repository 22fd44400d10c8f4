# SPDX-License-Identifier: Apache-2.0
"""The module needs no temporary files: /tmp may be read-only or full."""

import subprocess
import tempfile

import pytest

from httpd_env import ORDINARY, is_root, sqlite, wait_until
from tmpfs import Tmpfs

# In its own mount namespace httpd cannot write to any folder for temporary
# files.
READ_ONLY = """
set -e
mount --make-rprivate /
mount --bind "$0" "$0"
for folder in /tmp /var/tmp /usr/tmp; do
    test -d $folder || continue
    mount --rbind $folder $folder
    mount -o remount,bind,ro $folder
done
cd /
exec "$@"
"""
NDJSON = {"Content-Type": "application/x-ndjson"}


def batch(count, size=2000):
    return "".join('{"body": "%d %s"}\n' % (i, "word " * (size // 5))
                   for i in range(count))


@pytest.fixture(params=["unwritable", "full"])
def without_temporary_room(request, make_server):
    """Yield a server that must make a search index for an old database, but
    cannot write any temporary file."""
    if not is_root():
        pytest.skip("needs root to mount")
    server = make_server(start=False, parent=ORDINARY, conf=(
        "CometRetain count=150\nCometMaxMessageSize 65536\n"))
    server.start()
    for _ in range(6):
        answer = server.request("POST", "/comet/old", batch(100, 9000),
                                NDJSON)
        assert answer.status == 201, answer
    server.stop()
    server.conf += "CometSearch on\n"
    disk = None
    if request.param == "full":
        folder = tempfile.mkdtemp(dir=server.root)
        disk = Tmpfs(folder, "64k")
        disk.fill()
        server.env.update({"TMPDIR": folder, "SQLITE_TMPDIR": folder})
    else:
        probe = subprocess.run(
            ["unshare", "-m", "sh", "-c", READ_ONLY, server.root, "true"],
            stderr=subprocess.PIPE, timeout=20)
        if probe.returncode:
            pytest.skip(probe.stderr.decode().strip())
        server.wrapper = ["unshare", "-m", "sh", "-c", READ_ONLY, server.root]
    try:
        yield server
        server.stop()
    finally:
        if disk:
            disk.close()


def page_count(server):
    return int(sqlite(server.db, "PRAGMA page_count;")[0][0])


def test_476_01_no_room_for_temporary_files(without_temporary_room):
    """No temporary file is needed to make the index of an old database, to
    store a batch with its statement journals, or for retention, which shrinks
    the file."""
    server = without_temporary_room
    pages = page_count(server)
    server.start()
    server.post("chat", "first")
    answer = server.request("POST", "/comet/chat", batch(150), NDJSON)
    assert answer.status == 201, (answer, server.tail())
    query = "/comet/old?q=word&limit=1&wait=0&since=0"
    wait_until(lambda: server.get(query).status == 200, 30,
               "the index to be built")
    wait_until(lambda: len(server.rows("chat")) == 150, 30, "retention")
    wait_until(lambda: page_count(server) < pages, 30, "the file to shrink")
    refused = server.request("POST", "/comet/chat",
                             batch(120) + '{"body": 1}\n', NDJSON)
    assert refused.status == 400, refused
    for word in ("temporary", "6410", "CometStore"):
        assert word not in server.error_log(), server.tail()
