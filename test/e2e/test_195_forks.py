# SPDX-License-Identifier: Apache-2.0
"""Modules that fork httpd's children. A fork must not use mod_comet's threads
and database handles."""

import os

import pytest

from httpd_env import (COMET_MODULE, MODULES, MPMS, SANITIZER, SLOW, sqlite,
                       wait_until)

FORKING = os.path.join(os.path.dirname(COMET_MODULE), "tools",
                       "mod_forking.so")
TEXT = {"Content-Type": "text/plain"}

pytestmark = pytest.mark.skipif(
    SANITIZER != "none", reason="a sanitizer's runtime does not like forks of "
    "a process with threads")


@pytest.fixture
def forked(make_server, mpm):
    """Return a server with a module that forks on request."""
    if mpm == "event":
        pytest.skip("who forks asks for a thread of its own: worker, prefork")
    return make_server(
        mpm=mpm, threads=8, before='LoadModule comet_forking_module "%s"\n'
        % FORKING)


@pytest.mark.skipif("prefork" not in MPMS, reason="prefork not chosen")
def test_195_01_itk_is_refused(make_server):
    """mpm_itk forks for each connection. If mod_comet serves a URL, configtest
    and start refuse mpm_itk by name."""
    itk = 'LoadModule mpm_itk_module "%s/mpm_itk.so"\n' % MODULES
    server = make_server(start=False, mpm="prefork", before=itk)
    store = 'CometStore "sqlite:{data}/comet.db"\n'
    code, text = server.configtest(store + "CometEndpoint /comet\n")
    assert code != 0 and "mpm_itk.c" in text and "comet" in text, text
    code, text = server.configtest(store)
    assert code == 0, text
    server.start(wait=False)
    assert server.proc.wait(20 * SLOW) != 0
    server.proc = None
    assert "mpm_itk.c" in server.tail()
    server.allow_log.append(r":emerg\]")


def test_195_02_a_fork_serves(forked):
    """A request in a forked process gets an immediate 503. An EventSource gets
    a stream that ends. The child continues as before, and no gauge still counts
    the fork's requests."""
    first = forked.post("chat", "one")
    for method, target, body, headers in (
            ("POST", "/comet/chat", b"lost", TEXT),
            ("GET", "/comet/chat?wait=4", None, {}),
            ("GET", "/comet/chat?since=0&wait=0", None, {}),
            ("GET", "/comet/chat", None, {"Accept": "text/event-stream"}),
            ("GET", "/chat/backend.php?timestamp=%d" % first, None, {}),
            ("GET", "/clock/backend.php", None, {})):
        answer = forked.request(method, target, body,
                                {"X-Fork": "serve", **headers}, timeout=5)
        softly = "Accept" in headers  # a stream makes an EventSource reconnect
        assert answer.status == (200 if softly else 503), answer
        assert b"forked" in answer.body, answer
        assert not softly or answer.body.startswith(b": another"), answer
        assert answer.took < 2 * SLOW, answer
    assert "has forked process" in forked.error_log()
    assert forked.get("/static.txt", {"X-Fork": "serve"}).status == 200
    forked.wait_waiting(0)
    forked.post("chat", "two")
    assert [m["body"] for m in forked.history("chat")] == ["one", "two"]


def test_195_03_a_fork_ends(forked):
    """A forked process ends by exit(), as in PHP after pcntl_fork(). This
    changes neither the counters nor the store's files and locks, and the
    child's clients stay connected."""
    forked.post("chat", "one")
    with forked.raw() as stream:
        stream.request("GET", "/comet/chat?since=0",
                       {"Accept": "text/event-stream"})
        assert stream.head() == 200
        text = stream.chunk()
        while b"data: one" not in text:
            text += stream.chunk()
        forked.wait_waiting(1)
        children = forked.status()["children"]
        for i in range(10):
            answer = forked.request("POST", "/comet/chat", b"%d" % i,
                                    {"X-Fork": "exit", **TEXT}, timeout=5)
            assert answer.status == 201 and answer.took < 2 * SLOW, answer
            assert forked.waiting() == 1
        # Prefork may have started more children meanwhile.
        assert forked.status()["children"] >= children
        text = b""
        while b"data: 9" not in text:
            text += stream.chunk()
    forked.wait_waiting(0)
    assert forked.rows("chat") == ["one"] + ["%d" % i for i in range(10)]
    assert sqlite(forked.db, "PRAGMA integrity_check") == [["ok"]]
    wait_until(lambda: forked.get("/comet/chat?since=0&wait=0").status == 200,
               2, "reading")
