# SPDX-License-Identifier: Apache-2.0
"""httpd before 2.4.63 parks connections in an older way.  The installed httpd
is used here, because a module built with older headers parks in this way on any
version.  Clients must see no difference, so tests of the new way run again."""

import json
import os
import re

import pytest

import httpd_env
from httpd_env import COMET_MODULE, thread_count, wait_until
from test_200_parking import (  # noqa: F401  (collected here once more)
    held_poll, test_200_03_pipelined,
    test_200_04b_pipelined_polls_to_one_who_does_not_read,
    test_200_08_gone, test_200_13_slow_reader_gets_all,
    test_200_14_slow_reader_of_a_late_answer, test_200_15_keepalive_expires,
    test_200_20_outlives_timeout_by_polling,
    test_200_24_slow_readers_hold_no_thread)
from test_205_takers import (  # noqa: F401
    takers, test_205_01_pipelined_polls,
    test_205_02_the_next_request_ends_a_poll,
    test_205_03_the_next_request_behind_a_long_answer,
    test_205_04_the_connection_breaks,
    test_205_05_more_bytes_behind_the_last_answer,
    test_205_06_another_client_needs_the_place)
from test_230_regressions import (  # noqa: F401
    test_230_05_half_an_answer_and_the_next_request,
    test_230_05b_half_an_answer_at_a_reload)
from test_341_resuming import (  # noqa: F401
    test_341_81_tls_slow_reader, test_341_84_slower_than_timeout)

pytestmark = pytest.mark.event

OLD = os.path.join(os.path.dirname(COMET_MODULE), "tools",
                   "mod_comet_old.so")


@pytest.fixture(scope="module", autouse=True)
def old_module():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpd_env, "COMET_MODULE", OLD)
        yield


@pytest.fixture
def mpm():
    return "event"


def connections(server):
    """Return how many connections each queue of the MPM has, according to the
    last log line that tells."""
    server.get("/static.txt")           # so that the listener logs
    found = re.findall(r"connections: \d+ \(([^)]*)\)", server.error_log())
    return dict(re.findall(r"([\w-]+): ?(\d+)", found[-1])) if found else {}


def test_600_01_parked_the_older_way(make_server):
    """Waiting clients hold no thread.  The MPM keeps them in its queue for
    write completion, because older versions have no other queue for them."""
    server = make_server(threads=8, conf="LogLevel mpm_event:trace8\n")
    server.publish("x")
    cursor = server.get("/chat/backend.php").json()["timestamp"]
    before = thread_count(server.children()[0])
    polls = [held_poll(server, cursor=cursor) for _ in range(30)]
    server.wait_waiting(30)
    assert thread_count(server.children()[0]) == before
    wait_until(lambda: connections(server).get("write-completion") == "30", 5,
               "the MPM to say where they are")
    server.publish("news")
    for poll in polls:
        assert json.loads(poll.body())["msg"] == "news"
