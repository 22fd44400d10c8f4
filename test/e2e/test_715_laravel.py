# SPDX-License-Identifier: Apache-2.0
"""laravel.conf: Laravel's broadcasting and Laravel Echo with the driver and the
connector of conf/examples."""

import json
import os
import signal

import pytest

import php_fpm
import tokens
from httpd_env import Httpd, wait_until
from laravel import EXAMPLES, ILLUMINATE, Page, Worker, install

pytestmark = pytest.mark.skipif(
    not os.path.isdir(ILLUMINATE),
    reason="this Debian has no php-illuminate-broadcasting")


def read(name):
    with open(os.path.join(EXAMPLES, name), encoding="utf-8") as file:
        return file.read()


@pytest.fixture(scope="module")
def site():
    """Yield a server with laravel.conf and PHP-FPM, and a Laravel worker."""
    fpm = php_fpm.Fpm(extensions=("pdo", "pdo_sqlite", "posix", "mbstring"))
    server = Httpd(
        comet="status", modules=php_fpm.MODULES,
        conf='CometStore "sqlite:{data}/comet.db"\n' + fpm.conf
        + read("laravel.conf").replace("/etc/apache2/", "{root}/conf/"))
    # for a killed child
    server.allow_log.append("AH00051|AH00052")
    server.keep_port = True
    tokens.write_example(server)
    install(server)
    server.start()
    worker = Worker(server)
    yield server, worker
    worker.close()
    problems = server.close()
    fpm.close()
    assert not problems


def cookie(server, user):
    return server.get("/login.php?id=%d" % user).header("set-cookie") \
        .split(";")[0]


def test_715_01_exact_sequence(site):
    """Each event arrives once and in order, in spite of renewed tokens, a
    reload of httpd, a kill -9 of its child and a reload of the page."""
    server, worker = site

    def broadcast(numbers):
        for number in numbers:
            worker.broadcast(["private-orders.7", "news"], {"n": number})

    with Page(server, cookie(server, 7)) as page:
        page.follow("orders.7", "news")
        broadcast(range(5))
        server.graceful()
        broadcast(range(5, 10))
        old = server.children()
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: server.children()
                   and not set(old) & set(server.children()), 10, "a child")
        broadcast(range(10, 15))
        asked = len(server.access_lines("POST /broadcasting/auth.php"))
        wait_until(lambda: len(server.access_lines(
            "POST /broadcasting/auth.php")) > asked, 10, "the next token")
        broadcast(range(15, 20))
        page.until("orders.7", range(20))
        page.until("news", range(20))
        assert ["gap", "news"] not in page.said
    since = worker.cursor()
    broadcast(range(20, 23))            # before the new page's script runs
    with Page(server, cookie(server, 7), since) as page:
        page.follow("orders.7", "news")
        broadcast(range(23, 25))
        page.until("orders.7", range(20, 25))
        page.until("news", range(20, 25))


def test_715_02_refusals(site):
    """Another user's channel is refused, and the page's other channels go
    on."""
    server, worker = site
    mine = cookie(server, 7)
    with Page(server, mine) as page:
        page.command("private", "orders.8")
        page.follow("orders.7", "news")
        assert ["error", "orders.8", 403] in page.said
        worker.broadcast(["private-orders.8"], {"n": 1})
        worker.broadcast(["private-orders.7", "news"], {"n": 2})
        page.until("orders.7", [2])
        page.until("news", [2])
        assert page.events("orders.8") == []
        server.get("/login.php?id=8", {"Cookie": mine})     # now user 8
        page.wait(lambda: ["error", "orders.7", 403] in page.said, "a refusal")
        worker.broadcast(["private-orders.7", "news"], {"n": 3})
        page.until("news", [2, 3])
        assert page.events("orders.7") == [2]
    with Page(server, "") as page:          # nobody is logged in
        page.command("private", "orders.7")
        page.follow("news")
        assert ["error", "orders.7", 403] in page.said
    for target, status in (("/private/orders.7", 401), ("/public/news", 200),
                           ("?channel=private/orders.7", 401),
                           ("?channel=private/*", 401), ("?channel=*", 401)):
        mark = "&" if "?" in target else "?"
        assert server.get("/broadcast%s%swait=0" % (target, mark)) \
            .status == status, target
    assert server.request("POST", "/broadcast/public/news", b"x", {
        "Content-Type": "text/plain"}).status == 403


@pytest.mark.parametrize("name", [
    "private-*", "private-room.*", "private-room.a/*", "private-staff/x",
    "private-room.a\nb", "private-room.\u00e4", "staff", "news", "private-", "",
    None, ["private-staff"]])
def test_715_03_names_are_no_patterns(site, name):
    """Laravel signs a token for exactly the private channel in the request.  It
    refuses any name that httpd might take for several channels."""
    server, _ = site
    headers = {"Cookie": cookie(server, 7),
               "Content-Type": "application/json"}

    def ask(names):
        return server.request("POST", "/broadcasting/auth.php", json.dumps(
            {"channel_name": names}).encode(), headers)

    assert ask([name]).status == 403
    answer = ask([name, "private-staff"])
    assert answer.status == 200 and answer.json()["refused"] == [name]
    token = {"Authorization": "Bearer " + answer.json()["token"]}
    for channel, status in (("private/staff", 200), ("private/staff/x", 403),
                            ("private/orders.7", 403)):
        assert server.get("/broadcast/%s?wait=0" % channel,
                          token).status == status


def test_715_04_channels_come_and_go(site):
    """A page receives a channel's events from when it joins until it leaves.
    The page that caused an event does not receive it."""
    server, worker = site
    with Page(server, cookie(server, 7)) as page, \
            Page(server, cookie(server, 7)) as other:
        page.follow("orders.7")
        worker.broadcast(["news"], {"n": 1})
        page.follow("news")
        worker.broadcast(["news"], {"n": 2})
        page.until("news", [2])
        other.follow("orders.7")
        worker.broadcast(["private-orders.7"], {"n": 3}, page.socket)
        worker.broadcast(["private-orders.7"], {"n": 4})
        page.until("orders.7", [4])
        other.until("orders.7", [3, 4])
        page.command("leave", "news")
        streams = len(server.access_lines("GET /broadcast?"))
        wait_until(lambda: len(server.access_lines("GET /broadcast?"))
                   > streams, 10, "the next connection")
        worker.broadcast(["news"], {"n": 5})
        worker.broadcast(["private-orders.7"], {"n": 6})
        page.until("orders.7", [4, 6])
        assert page.events("news") == [2]
