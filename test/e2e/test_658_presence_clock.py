# SPDX-License-Identifier: Apache-2.0
"""A jump of the system clock makes no member leave or join, and passing
messages still expire."""

from httpd_env import sqlite, wait_until
from members import MODULES, NAMES, await_online, enter, named, told
from shim import Shim


def beat(server):
    """Return how many times the children have renewed their leases."""
    return int(sqlite(server.db, "SELECT ifnull(sum(beat), 0)"
                      " FROM presence_holder")[0][0])


def say(server, text, query=""):
    answer = server.request("POST", "/comet/room" + query, text.encode(),
                            named("ann", **{"Content-Type": "text/plain"}))
    assert answer.status == 201, answer
    return answer.json()["timestamp"]


def bodies(server):
    answer = server.get("/comet/room?since=0&wait=0", named("ann"))
    return [m["body"] for m in answer.json()["messages"]]


def test_658_01_an_hour_back_and_a_year_ahead(make_server):
    """Leases depend on the steady clock.  Several are renewed after each jump,
    and only real joins and leaves are published."""
    server = make_server(start=False, conf=NAMES, modules=MODULES, children=2)
    shim = Shim(server)
    server.start()
    with enter(server, "room", "ann"):
        await_online(server, "room", "ann")
        say(server, "lasts")
        say(server, "typing before", "?keep=60")
        assert bodies(server) == ["lasts", "typing before"]
        for jump, name in ((-3600, "bob"), (365 * 86400, "cy"), (0, "dan")):
            shim.set_clock(jump)
            before = beat(server)
            wait_until(lambda: beat(server) >= before + 6, 30, "leases")
            with enter(server, "room", name):
                await_online(server, "room", "ann", name)
                # The message has expired, although by the new clock it would
                # last an hour more, or would have expired a year ago.
                if jump:
                    assert bodies(server) == ["lasts"]
                now = say(server, "typing", "?keep=3600")
                assert bodies(server)[-1] == "typing"
                sqlite(server.db, "DELETE FROM message_log WHERE id = %d" % now)
            await_online(server, "room", "ann", timeout=15)
    await_online(server, "room", timeout=15)
    assert told(server, "room") == [
        "join ann", "join bob", "leave bob", "join cy", "leave cy", "join dan",
        "leave dan", "leave ann"]
