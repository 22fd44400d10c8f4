# SPDX-License-Identifier: Apache-2.0
"""Children are reloaded, restarted and killed, whatever state the store is in.
Meanwhile the times that static files take are compared with those of an httpd
without mod_comet."""

import contextlib
import os
import signal
import sqlite3

from comet_load import quantile
from httpd_env import alive, wait_until
from listeners import static_files
from shim import Shim
from tmpfs import Tmpfs

TEXT = {"Content-Type": "text/plain"}
EVENTS = (signal.SIGUSR1, signal.SIGHUP, signal.SIGKILL)
LATER = 0.05        # how much later, in seconds, a file may arrive


@contextlib.contextmanager
def stalled(server):
    """The disk answers only after 25 s."""
    shim = Shim(server)
    server.start()
    server.post("chat", "stored")
    shim.set_sync(25)
    server.request("POST", "/comet/chat", "hangs", TEXT, timeout=20)
    yield
    shim.set_sync(0)


@contextlib.contextmanager
def locked(server):
    """Another program has locked the whole file."""
    server.start()
    server.post("chat", "stored")
    server.stop()
    lock = sqlite3.connect(server.db, isolation_level=None)
    lock.execute("PRAGMA locking_mode = EXCLUSIVE")
    lock.execute("BEGIN IMMEDIATE")
    server.start()
    yield
    lock.close()


@contextlib.contextmanager
def full(server):
    """The disk is full."""
    disk = Tmpfs(server.data)
    try:
        server.start()
        server.post("chat", "stored")
        disk.fill()
        yield
        server.kill()
    finally:
        disk.close()


@contextlib.contextmanager
def holder_stopped(server):
    """A child holds the write lock and is stopped (SIGSTOP)."""
    shim = Shim(server)
    server.start()
    server.post("chat", "stored")
    kids = server.children()
    shim.set_sync(2)
    server.request("POST", "/comet/chat", "hangs", TEXT, timeout=20)
    holder = next(pid for pid in kids if holds_lock(server, pid))
    os.kill(holder, signal.SIGSTOP)
    shim.set_sync(0)
    yield
    os.kill(holder, signal.SIGKILL)


def holds_lock(server, pid):
    """Whether a process has a write lock on the database's shared memory."""
    inode = str(os.stat(server.db + "-shm").st_ino)
    with open("/proc/locks", encoding="utf-8") as lines:
        return any(field[3] == "WRITE" and field[4] == str(pid)
                   and field[5].endswith(":" + inode)
                   for field in map(str.split, lines))


@contextlib.contextmanager
def no_comet(server):
    """httpd without mod_comet."""
    server.comet = ""
    server.start()
    yield


@contextlib.contextmanager
def no_comet_stopped(server):
    """httpd without mod_comet, and with one child stopped. On the worker MPM
    a file waits until another child takes the stopped one's place."""
    server.comet = ""
    server.start()
    child = server.children()[0]
    os.kill(child, signal.SIGSTOP)
    yield
    with contextlib.suppress(ProcessLookupError):   # httpd has killed it
        os.kill(child, signal.SIGKILL)


# At a restart httpd waits 10 s for a stopped child, whatever modules it has.
WITHOUT_RESTART = (holder_stopped, no_comet_stopped)
# name: (fault of the store, httpd without mod_comet to compare it with)
FAULTS = {"the disk stalls for 25 s": (stalled, no_comet),
          "the file is locked": (locked, no_comet),
          "the disk is full": (full, no_comet),
          "the lock's holder is stopped": (holder_stopped, no_comet_stopped)}


def replace(server, sign):
    """Replace children; return once the new ones answer."""
    if sign == signal.SIGKILL:
        victim = server.children()[-1]
        with contextlib.suppress(ProcessLookupError):   # it has just ended
            os.kill(victim, sign)
        wait_until(lambda: not alive(victim), 5, "the end of a killed child")
        wait_until(server.answers, 15, "an answer")
    else:
        server.graceful(sign=sign)


def waits(make_server, mpm, fault, rounds):
    """How long the slowest static file took around each event.
    @return {event: [seconds]}"""
    server = make_server(mpm=mpm, children=2, threads=16, start=False,
                         conf="" if fault in (no_comet, no_comet_stopped)
                         else "CometPublishTimeout 500ms\n")
    server.allow_log += ["."]       # children are killed all the time
    server.check_waiting = False
    events = [sign for sign in EVENTS
              if sign != signal.SIGHUP or fault not in WITHOUT_RESTART]
    slowest = {sign: [] for sign in events}
    with fault(server):
        for _ in range(rounds):
            for sign in events:
                with static_files(server.port) as files:
                    replace(server, sign)
                    seen = len(files.answers)
                    wait_until(lambda f=files, n=seen: len(f.answers)
                               > n + 20, 30, "files after it")
                assert files.statuses() <= {200, 0}, files.statuses()
                slowest[sign].append(files.slowest())
    if server.proc is not None:
        server.kill()
    return slowest


def medians(make_server, mpm, fault, rounds):
    """The median time of the slowest file around each event.
    @return {event's name: seconds}"""
    return {sign.name: quantile(found, 0.5) for sign, found
            in waits(make_server, mpm, fault, rounds).items()}


def site_lives_on(make_server, mpm, rounds):
    """For each fault of the store, the slowest file around an event takes at
    most 50 ms more than without mod_comet. These are medians over all
    rounds."""
    alone = {base: medians(make_server, mpm, base, rounds)
             for base in (no_comet, no_comet_stopped)}
    figures = {"httpd alone": alone[no_comet],
               "httpd alone, a child stopped": alone[no_comet_stopped]}
    late = []
    for name, (fault, base) in FAULTS.items():
        figures[name] = medians(make_server, mpm, fault, rounds)
        late += ["%s at %s" % (name, sign)
                 for sign, took in figures[name].items()
                 if took > alone[base][sign] + LATER]
    text = ("%s, %d rounds, slowest file around each event, median in ms: %s"
            % (mpm, rounds, "; ".join(
                name + ": " + ", ".join("%s %.0f" % (sign, 1000 * took)
                                        for sign, took in found.items())
                for name, found in figures.items())))
    assert not late, (late, text)
    return text
