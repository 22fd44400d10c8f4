# SPDX-License-Identifier: Apache-2.0
"""Fixtures: private servers, which are checked and stopped after each test."""

import itertools
import os
import signal
import sys
import zlib

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
TEST = os.path.dirname(HERE)
sys.path[:0] = [HERE, os.path.join(TEST, "tools"),
                os.path.join(TEST, "torture")]

import httpd_env  # noqa: E402  (after sys.path is set)
import pg_env  # noqa: E402
import sqlite_only  # noqa: E402
from browser import Browser, missing  # noqa: E402
from httpd_env import MPMS, SANITIZER, SLOW, Httpd  # noqa: E402
from tmpfs import Tmpfs  # noqa: E402

LIVE = []
DATABASES = itertools.count()

# The files that take longest.  Parallel runs start with them.  Files with a
# browser keep a core busy, so other files run at the same time.
LONGEST = ("test_310", "test_341", "test_300", "test_271", "test_255",
           "test_250", "test_390", "test_345", "test_380", "test_330",
           "test_466", "test_200", "test_350", "test_190", "test_500")


CLUSTERS = []       # the cluster for COMET_STORE=postgresql, once it is started


def pytest_configure(config):
    httpd_env.raise_nofile()
    if httpd_env.STORE == "postgresql":
        httpd_env.NEW_DATABASE = default_database


def default_database():
    """Make a database for a server that names no store."""
    if not CLUSTERS:
        CLUSTERS.append(pg_env.Cluster(settings=["max_connections=400"]))
        CLUSTERS[0].lay("search.sql")
        CLUSTERS[0].psql(pg_env.FUNCTIONS)
    return CLUSTERS[0].database("e%d" % next(DATABASES))


def pytest_unconfigure(config):
    for cluster in CLUSTERS:
        cluster.close()


def pytest_collection_modifyitems(items):
    """Skip tests that need the event MPM if it is not chosen, and tests of
    SQLite's own files if COMET_STORE=postgresql. Sort the tests of parallel
    runs."""
    for item in items:
        if httpd_env.STORE != "sqlite" and sqlite_only.reason(item):
            item.add_marker(pytest.mark.skip(
                reason="SQLite's: " + sqlite_only.reason(item)))
        if item.get_closest_marker("event") and "event" not in MPMS:
            item.add_marker(pytest.mark.skip(reason="event MPM not chosen"))
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=turn)


def turn(item):
    """Return the sort key of a test.  Slow files start first, so that all
    processes end at about the same time.  Heavy tests of different files are
    mixed: those of one file either all wait or all compute, so a mixture takes
    less time."""
    if item.get_closest_marker("heavy"):
        return len(LONGEST), zlib.crc32(item.name.encode())
    name = item.path.name[:len("test_000")]
    return LONGEST.index(name) if name in LONGEST else len(LONGEST), 0


class TookTooLong(BaseException):
    """A test has exceeded its deadline.  This is not an Exception, so that no
    client code swallows it."""


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    """Give each test a deadline: SIGALRM raises in the main thread."""
    mark = item.get_closest_marker("bound")
    seconds = (mark.args[0] if mark else 60) * SLOW

    def ring(_signum, _frame):
        raise TookTooLong("%s took more than %d s" % (item.name, seconds))

    old = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Append the end of the servers' error logs to a failed test's report."""
    outcome = yield
    report = outcome.get_result()
    if report.failed and SANITIZER == "memcheck" \
            and "== memcheck." not in report.longreprtext:
        # Under valgrind httpd runs at a twentieth of its speed.  Tests that
        # judge deadlines, server time-outs or httpd's own patience would fail.
        # The end-to-end tests without valgrind judge these.
        report.outcome = "skipped"
        report.wasxfail = "valgrind has nothing to report"
    if report.failed:
        for server in LIVE:
            if not server.removed:
                report.sections.append(
                    ("error log of port %d" % server.port, server.tail()))


def shut(server):
    problems = server.close()
    LIVE.remove(server)
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


@pytest.fixture
def make_server(request):
    """Return a function that starts servers. All of them are checked, stopped
    and removed after the test."""
    made = []

    def make(start=True, **kwargs):
        server = Httpd(**kwargs)
        LIVE.append(server)
        made.append(server)
        return server.start() if start else server

    yield make
    problems = []
    for server in reversed(made):
        found = server.close()
        LIVE.remove(server)
        problems += found
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


@pytest.fixture
def small_disk(make_server):
    """Yield a server and its disk, a file system of 2 MB that holds the data
    folder."""
    server = make_server(start=False)
    disk = Tmpfs(server.data)
    try:
        yield server.start(), disk
        problems = server.verify()
        server.stop()
        assert not problems, problems
    finally:
        if server.proc is not None:
            server.kill()
        disk.close()


def run_for_file(request, **changes):
    """Start a server that the test file's SERVER dict configures. Stop it after
    the file's tests."""
    server = Httpd(**{**getattr(request.module, "SERVER", {}), **changes})
    LIVE.append(server)
    try:
        server.start()
        yield server
    finally:
        shut(server)


@pytest.fixture(scope="session")
def pg_cluster():
    """Yield a PostgreSQL server, shared by all test files that need none of
    their own."""
    cluster = pg_env.Cluster()
    cluster.lay("search.sql")
    yield cluster
    cluster.close()


def pytest_generate_tests(metafunc):
    """Run a file that has STORES = ("sqlite", "postgresql") on each of these
    stores."""
    stores = getattr(metafunc.module, "STORES", None)
    if stores and "shared_server" in metafunc.fixturenames:
        metafunc.parametrize("shared_server", stores, indirect=True,
                             scope="module")
    if stores and "any_server" in metafunc.fixturenames:
        metafunc.parametrize("any_server", stores, indirect=True)


def new_database(request):
    """Make a database on the store that the fixture's parameter names. Return
    it as the `database` of Httpd (None: SQLite)."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return None
    return request.getfixturevalue("pg_cluster").database(
        "d%d" % next(DATABASES))


def await_database(server):
    httpd_env.wait_until(
        lambda: server.get("/comet/none?wait=0").status != 503, 15,
        "the database")


@pytest.fixture
def any_server(request, make_server):
    """Return a function that starts servers as make_server does.  The test runs
    on each store that its file names."""
    def make(**kwargs):
        server = make_server(database=new_database(request),
                             **kwargs)
        await_database(server)
        return server

    return make


@pytest.fixture(scope="module")
def shared_server(request):
    """Yield one server for a test file, or one for each store that the file
    names."""
    database = new_database(request)
    for server in run_for_file(request, database=database):
        if database:
            await_database(server)
        yield server


@pytest.fixture(scope="module")
def thread_server(request):
    """Yield a second server for a test file, on the worker MPM, where a client
    that cannot be adopted holds a thread."""
    yield from run_for_file(request, mpm="worker")


@pytest.fixture(scope="module")
def chromium():
    """Yield one Chromium for a test file."""
    if os.environ.get("COMET_BROWSER") == "none":
        pytest.skip("COMET_BROWSER=none")
    assert not missing()
    browser = Browser(0)
    yield browser
    browser.close()


@pytest.fixture
def server(shared_server):
    """Yield the test file's server, which is checked after each test."""
    seen = len(shared_server.complaints())
    reports = len(shared_server.sanitizer_reports())
    yield shared_server
    problems = shared_server.verify()
    old = shared_server.complaints()[:seen] \
        + shared_server.sanitizer_reports()[:reports]
    problems = [p for p in problems if p not in old]
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


@pytest.fixture
def figure(record_property):
    """Return a function that reports a figure; test/run prints the figures
    after the suite."""
    return lambda text: record_property("figure", text)


@pytest.fixture(params=MPMS)
def mpm(request):
    """Run the test on each chosen MPM in turn."""
    return request.param
