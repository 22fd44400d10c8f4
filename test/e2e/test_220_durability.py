# SPDX-License-Identifier: Apache-2.0
"""With CometSync full a message is on the disk before its 201 is sent. strace
shows this."""

import os
import re
import shutil

import pytest

from comet_load import Load
from httpd_env import SANITIZER, SLOW, sqlite, wait_until

TRACE = ["strace", "-DDD", "-f", "-q", "-s", "400", "-e", "signal=none",
         "-e", "trace=fdatasync,fsync,read,recvfrom,recvmsg,readv,write,"
         "writev,sendto,sendmsg,sendfile", "-o", "{root}/strace.txt"]


def traced(make_server, **kwargs):
    """Return a server under strace, or skip the test if strace cannot run."""
    if SANITIZER != "none":
        pytest.skip("LeakSanitizer and strace exclude each other")
    if not shutil.which("strace"):
        pytest.skip("no strace")
    try:
        return make_server(wrapper=TRACE, **kwargs)
    except Exception as err:
        if "ptrace" in str(err) or "Operation not permitted" in str(err):
            pytest.skip("strace may not trace here: %s" % str(err)[:200])
        raise


def events(server):
    """Return what strace recorded, in order: ("got", text), ("sync+", None) and
    ("sync-", None) for the start and end of a sync, and ("201", timestamp)."""
    found = []
    with open(os.path.join(server.root, "strace.txt"),
              errors="replace") as trace:
        for line in trace:
            if re.search(r"\b(fdatasync|fsync)\(", line):
                found.append(("sync+", None))
                if "unfinished" not in line:
                    found.append(("sync-", None))
            elif re.search(r"<\.\.\. (fdatasync|fsync) resumed>", line):
                found.append(("sync-", None))
            elif "HTTP/1.1 201" in line:
                for stamp in re.findall(r'\\?"timestamp\\?":\s*(\d+)', line):
                    found.append(("201", int(stamp)))
            else:
                for text in re.findall(r"(seq|par)(\d+-\d+)END", line):
                    found.append(("got", "".join(text)))
    return found


def judge(found, acked):
    """Check each 201: after its request was read and before the 201 was
    written, a sync began and ended. Return the number of these 201s and of all
    syncs."""
    texts = dict(acked)
    read, clean = {}, 0
    begun, ended = [], []
    for index, (kind, value) in enumerate(found):
        if kind == "sync+":
            begun.append(index)
        elif kind == "sync-":
            ended.append(index)
        elif kind == "got":
            read.setdefault(value, index)
        elif kind == "201" and value in texts:
            start = read[texts[value].replace("END", "")]
            # Syncs may end in a different order from that in which they began.
            # But if more syncs have ended than had begun before `start`, then
            # one of them began after `start`.
            before = sum(1 for b in begun if b < start)
            assert len(ended) > before or any(
                b > start and e > b for b, e in zip(begun, ended)), \
                "201 for %s before its sync" % texts[value]
            clean += 1
    return clean, len(ended)


@pytest.mark.parametrize("sync", ["full", "normal"])
def test_220_01_sequential(make_server, sync):
    """With CometSync full each commit has an fdatasync before its 201. With
    CometSync normal there are far fewer, which proves that the count can tell
    the difference."""
    server = traced(make_server, conf="CometSync " + sync)
    acked = []
    with server.raw() as conn:
        for i in range(40):
            conn.request("POST", "/comet/disk",
                         {"Content-Type": "text/plain"},
                         b"seq0-%dEND" % i)
            answer = conn.answer()
            assert answer.status == 201
            acked.append((answer.json()["timestamp"], "seq0-%dEND" % i))
    wait_until(lambda: sum(1 for e in events(server) if e[0] == "201")
               >= 40, 5, "strace to write it all")
    found = events(server)
    if sync == "full":
        clean, syncs = judge(found, acked)
        assert clean == 40
        assert syncs >= 40
    else:
        at = [i for i, e in enumerate(found) if e[0] == "201"]
        inside = [e for e in found[at[0]:at[-1]] if e[0] == "sync-"]
        assert len(inside) < 20, "normal syncs like full"


def test_220_02_parallel(make_server):
    """With group commit each 201 still follows a sync of its own batch."""
    server = traced(make_server, threads=64)
    with Load(server.port) as load:
        pubs = load.publish(12, "/comet/disk", "par", each=15,
                            suffix="END")
        load.wait(lambda: all(p.stopped for p in pubs), 40 * SLOW,
                  "all published")
        acked = [a for p in pubs for a in p.acked]
        assert not any(p.errors for p in pubs)
    assert len(acked) == 12 * 15
    wait_until(lambda: sum(1 for e in events(server) if e[0] == "201")
               >= 12 * 15, 5, "strace to write it all")
    clean, syncs = judge(events(server), acked)
    assert clean == len(acked)
    assert syncs >= 15


def test_220_20_stop_leaves_one_file(make_server, mpm):
    """A stop closes the database last. SQLite then copies the log into the
    database file and deletes the log, so that the file alone is a complete
    copy."""
    server = make_server(mpm=mpm)
    for number in range(20):
        server.post("news", "message %d" % number)
    if mpm != "prefork":  # prefork's children can leave a reader's handle open
        server.get("/comet/news?since=0")
    server.stop()
    left = [name for name in os.listdir(server.data)
            if name.endswith(("-wal", "-shm"))]
    assert not left, left
    assert sqlite(server.db, "SELECT count(*) FROM message") == [["20"]]
