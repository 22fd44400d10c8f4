# SPDX-License-Identifier: Apache-2.0
"""The ways in which clients wait, how many may wait in each, and the sizes of
the stores, as the log, comet-status, mod_status and Prometheus report them."""

import contextlib
import os
import re

import pytest

from h2_client import H2, H2Tls
from httpd_env import ORDINARY, REPO, free_port, wait_until
from test_390_manual import complete, fragment, local, prepare

EVENTS = {"Accept": "text/event-stream"}
STATUS = ('<Location "/server-status">\nSetHandler server-status\n'
          "Require local\n</Location>\n")
OFF = ('<VirtualHost *:1>\nServerName off.example\nSSLEngine off\n'
       "CometParkHTTP2 off\n</VirtualHost>\n")


@pytest.fixture
def site(make_server):
    return make_server(tls=True, h2=True, threads=16, modules=("status",),
                       conf="CometReplay 0\n" + STATUS
                       + OFF)


def told(server):
    """Return {way: (capacity, rest of the line)} from the log of the start."""
    found = {}
    for line in server.error_log().splitlines():
        match = re.search(r"COMET0102: (\w+): .*?: at most (\d+) at a time(.*)",
                          line)
        if match:
            assert "comet:notice" in line, line
            found[match.group(1)] = (int(match.group(2)), match.group(3))
    return found


def samples(server):
    """Return the values of the Prometheus page by name and labels."""
    answer = server.get("/comet-status?format=prometheus")
    assert answer.status == 200
    return dict(line.rsplit(" ", 1) for line in
                answer.body.decode().splitlines() if line[0] != "#")


def auto(server):
    answer = server.get("/server-status?auto")
    return dict(re.findall(r"^Comet_(\w+): (-?\d+)$", answer.body.decode(),
                           re.M))


@pytest.mark.event
def test_961_01_every_way(site):
    """While a client waits in each way, comet-status, mod_status, Prometheus
    and the log all give the same numbers."""
    lines = told(site)
    assert sorted(lines) == ["adopted", "blocked", "ghosts", "parked"]
    assert lines["ghosts"][1] == ", on localhost, localhost:%d" % site.tls_port
    assert lines["blocked"][1] == (
        "; an HTTP/2 request takes two threads on off.example:1, where "
        "CometParkHTTP2 is off"), lines
    with contextlib.ExitStack() as stack:
        stream, poll = (stack.enter_context(site.raw()) for _ in range(2))
        stream.request("GET", "/comet/news", EVENTS)
        poll.request("GET", "/comet/news?transport=poll")
        clear = stack.enter_context(contextlib.closing(H2(site.port)))
        clear.request("GET", "/comet/news?transport=events", body=b"a body")
        clear.request("GET", "/comet/more?transport=events", body=b"a body")
        secure = stack.enter_context(H2Tls(site.tls_port, 65535, 1 << 20))
        secure.request("GET", "/comet/news?transport=events")
        wait_until(lambda: secure.pump(lambda: False, 0.01)
                   or site.waiting() == 5, 10, "five clients")
        ways = site.status()["ways"]
        assert {name: way["waiting"] for name, way in ways.items()} == {
            "adopted": 1, "parked": 1, "ghosts": 1, "blocked": 2}
        assert {name: way["capacity"] for name, way in ways.items()} == {
            name: line[0] for name, line in lines.items()}
        text, values = samples(site), auto(site)
        for name, way in ways.items():
            assert values["way_" + name] == str(way["waiting"])
            assert values["capacity_" + name] == str(way["capacity"])
            label = '{way="%s"}' % name
            assert text["comet_held_clients" + label] == str(way["waiting"])
            assert text["comet_held_clients_max" + label] \
                == str(way["capacity"])
        assert text['comet_waiting_clients{transport="events"}'] == "4"
    # the log says only once why such requests hold threads
    assert len(re.findall(r"occupies two threads while it waits at /comet/\w+: "
                          "it has a body", site.error_log())) == 1


def test_961_02_each_mpm(make_server, mpm):
    """A way that an MPM does not support has no capacity and no line in the
    log."""
    server = make_server(mpm=mpm, conf="CometParkHTTP2 on\n")
    ways, lines = server.status()["ways"], told(server)
    assert bool(ways["parked"]["capacity"]) == (mpm == "event")
    assert ways["ghosts"]["capacity"] == 0
    assert {name for name, way in ways.items() if way["capacity"]} \
        == set(lines)
    assert ways["blocked"]["capacity"] > 0 and lines["blocked"][1] == ""


@pytest.mark.event
def test_961_03_where_parking_is_off(make_server):
    """The log names some of the hosts where CometParkHTTP2 is off, and counts
    the others.  If a log format forbids adoption, no client is adopted."""
    hosts = "".join('<VirtualHost *:%d>\nServerName h%d\nSSLEngine on\n'
                    'SSLCertificateFile "{root}/conf/cert.pem"\n'
                    'SSLCertificateKeyFile "{root}/conf/key.pem"\n'
                    "</VirtualHost>\n" % (i, i) for i in range(1, 8))
    server = make_server(tls=True, h2=True, conf="CometParkHTTP2 off\n" + hosts)
    lines = told(server)
    assert re.search(r"on localhost, localhost:\d+(, h\d:\d){3} and 4 more, where "
                     r"CometParkHTTP2 is off", lines["blocked"][1]), lines
    assert "ghosts" not in lines
    server.conf = "CustomLog logs/live.log \"%f\" \"expr=-U '/x'\"\n"
    server.stop()
    server.start()
    assert "CometAdopt: off" in server.error_log()
    ways = server.status()["ways"]
    assert ways["adopted"]["capacity"] == 0 < ways["parked"]["capacity"]


@pytest.mark.event
def test_961_04_sizes(server):
    """comet-status shows the real sizes of a store's files."""
    before = server.status()["stores"][0]
    for number in range(30):
        server.post("a%d" % (number % 3), "x" * 10000)
    now = server.status()["stores"][0]
    assert now["channels"] == before["channels"] + 3
    assert now["log_bytes"] == os.path.getsize(server.db + "-wal") > 300000
    assert now["database_bytes"] > before["database_bytes"] + 300000
    assert now["cursor"] > before["cursor"]
    text = samples(server)
    for name, value in (("database_bytes", now["database_bytes"]),
                        ("channels", now["channels"]),
                        ("cursor", now["cursor"])):
        assert text['comet_store_%s{store="%s"}' % (name, server.db)] \
            == str(value)
    assert text['comet_build_info{version="%s"}' % server.status()["version"]] \
        == "1"


@pytest.mark.event
def test_961_05_tuned(make_server):
    """With conf/tuned.conf and its lines for HTTP/2, ten thousand clients of
    either protocol may wait, and there is no warning."""
    with open(os.path.join(REPO, "conf", "tuned.conf"),
              encoding="utf-8") as file:
        tuned = re.sub(r"(?m)^#(Protocols h2 )", r"\1",
                       file.read())
    server = make_server(
        tls=True, modules=("http2",), mpm_conf="", parent=ORDINARY,
        conf=tuned + "<LocationMatch \"^/(comet|chat|clock)\">\n"
        "Require all granted\n</LocationMatch>\n")
    lines = told(server)
    assert lines["ghosts"][0] == lines["parked"][0] == 10131
    assert lines["ghosts"][1] == ", on localhost:%d" % server.tls_port
    assert not re.search(r"\[comet:(warn|error|crit)", server.error_log()), \
        server.error_log()
    with H2Tls(server.tls_port, 65535, 1 << 20) as conn:
        conn.request("GET", "/comet/news?transport=events")
        wait_until(lambda: conn.pump(lambda: False, 0.01)
                   or server.status()["ghosts"] == 1, 10, "a ghost")


@pytest.mark.event
def test_961_06_recipe(make_server):
    """The virtual host of the recipe parks HTTP/2 requests."""
    part = fragment("tls-http2")
    server = make_server(comet="status", modules=part.modules, start=False)
    server.tls_port = free_port()
    prepare(server, part.needs)
    server.conf = local(complete(part.text), server) \
        + "\nListen 127.0.0.1:{tls_port}\n"
    server.start()
    assert told(server)["ghosts"][1] == ", on www.example.org:%d" \
        % server.tls_port
