# SPDX-License-Identifier: Apache-2.0
"""Graceful reloads and stops with many clients of every transport."""

import re
import time

from comet_load import Load
from followers import CROWD, Followers, limit
from httpd_env import alive, wait_until
from ledger import acknowledged, longest_wait, settle, wait_more

# At a graceful stop httpd's event MPM may lose a connection or count it twice,
# and the old child may crash (mod_comet/ARCHITECTURE.md, "Streams, slow
# clients, MPMs"). Crashes of this kind are recognised by this pattern and
# counted. They must be rare.
CRASH = re.compile(r"child pid \d+ exit signal (?!Killed)")


def every_transport(count):
    """`count` followers. Those of the original chat get one message in each
    answer, so they use a channel of their own."""
    part = count // 20
    return [("iframe", 3 * part, "chat", "/comet/chat"),
            ("poll", 3 * part, "chat", "/comet/chat"),
            ("poll", 2 * part, "chat", "/fast/chat"),
            ("classic", 3 * part, "c0", "/c0/backend.php"),
            ("clock", 2 * part, "clock", "/clock/backend.php"),
            ("events", 3 * part, "chat", "/parked/chat"),
            ("events", count - 16 * part, "chat", "/comet/chat")]


def publishers(load, rate, count=10):
    """Start publishers: `rate` messages a second, four of them on c0.  The hub
    publishes those of half of the clients (CometFastPublish)."""
    pause = count / (rate - 4)
    return {"chat": load.publish(count // 2, "/comet/chat", "p", pause=pause)
            + load.publish(count - count // 2, "/fast/chat", "f", pause=pause),
            "c0": load.publish(1, "/comet/c0", "c", pause=0.25)}


def crashes(server):
    """How many children crashed in the known way (see CRASH)."""
    return len(CRASH.findall(server.error_log()))


def reload_once(server):
    """Reload gracefully; return how many seconds the old children took to
    end."""
    begin = time.monotonic()
    old = server.graceful()
    wait_until(lambda: not any(alive(p) for p in old), 10,
               "the old children to be gone")
    return time.monotonic() - begin


def graceful_reloads(make_server, times, clients=1000, rate=200):
    """The server is reloaded again and again while clients of every transport
    listen. Each client gets the exact sequence, each answer ends properly, no
    publish fails, the old children soon end, and each request
    that the hub does not answer is logged."""
    server = make_server(mpm="event", children=2, threads=64, classics=1,
                         conf=CROWD)
    server.allow_log += [CRASH.pattern]
    gone = []
    with Followers(server, every_transport(clients)) as followers, \
            Load(server.port) as load:
        followers.wait_open()
        pubs = publishers(load, rate)
        for _ in range(times):
            wait_more(pubs["chat"], rate // 2)
            followers.wait_open()
            gone.append(reload_once(server))
        wait_more(pubs["chat"], rate // 2)
        untold = settle(server, load, followers, pubs)["stored_untold"]
        server.wait_waiting(clients, timeout=10)
        said = followers.judged()
        unlogged = server.status()["fast_polls"]
        by_hub = server.status()["fast_publishes"]
        followers.tell("leave")
        server.wait_waiting(0, timeout=20)
    server.stop()
    lines = [line for line in server.access_lines('"GET /')
             if "/comet-status" not in line and "/static.txt" not in line
             and "/comet/none" not in line]     # by Httpd.start()
    everybody = pubs["chat"] + pubs["c0"]
    crashed = crashes(server)
    text = ("%d reloads under %d/s and %d clients; %d messages, %d "
            "deliveries, %d ticks, every sequence exact; old children gone "
            "in max %.2f s; longest stall %.0f ms, of a publisher %.0f ms; "
            "%d polls and %d POSTs answered by the hub; %d cut off, %d children "
            "lost to httpd's own fault"
            % (times, rate, clients, acknowledged(everybody),
               said["messages"], said["ticks"], max(gone),
               max(said["stall_us"], said["catch_up_us"]) / 1000,
               longest_wait(everybody) * 1000, unlogged, by_hub, said["cut"],
               crashed))
    assert max(gone) < limit(3), text
    assert by_hub > 0, text
    assert said["refused"] == said["refusals"] == 0, said
    assert crashed <= 1, text
    assert crashed or said["cut"] == 0, text
    assert crashed or untold == 0, text
    assert crashed or len(lines) + unlogged \
        == said["requests"] - said["unanswered"], (len(lines), unlogged, said)
    return text


def stop_with_streams(make_server, streams, times):
    """SIGTERM stops a server with many open streams. The streams end properly,
    and httpd stops within seconds without killing a child."""
    server = make_server(mpm="event", children=2, threads=32, conf=CROWD)
    server.keep_port = True
    part, took = streams // 4, []
    with Followers(server, [("events", part, "chat", "/parked/chat"),
                            ("iframe", part, "chat", "/comet/chat"),
                            ("events", streams - 2 * part, "chat",
                             "/comet/chat")]) as followers:
        for turn in range(times):
            followers.wait_open()
            followers.wait_all({"chat": server.post("chat", "m%d" % turn)})
            followers.tell("rest")      # otherwise some followers reconnect
                                        # while the server stops
            took.append(server.stop())
            said = followers.wait(lambda said: said["open"] == 0, "no stream")
            if turn < times - 1:
                server.start()
                followers.tell("return")
    text = ("%d streams, %d times; stopped in max %.2f s; %d ended, %d cut off"
            % (streams, times, max(took), said["ended"], said["cut"]))
    assert max(took) < limit(5), text
    assert not re.search(r"SIGKILL|AH0004[5-7]", server.error_log())
    assert said["ended"] == streams * times and said["cut"] == 0, text
    return text
