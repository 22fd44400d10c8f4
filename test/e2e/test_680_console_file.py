# SPDX-License-Identifier: Apache-2.0
"""httpd starts with the configuration file of the package mod-comet-console,
whatever the site's own configuration is."""

import os
import re

import pytest

import httpd_env
from httpd_env import MODULES, REPO, wait_until
from pg_env import PG_MODULE
from test_960_configtest import GOOD, OPEN, STORE, warnings


def console():
    """Return the package's file, with the pages of this source tree."""
    with open(os.path.join(REPO, "conf", "mod-comet-console.conf"),
              encoding="utf-8") as file:
        text = file.read()
    for there, here in (("/usr/share/mod_comet/htdocs", REPO + "/htdocs"),
                        ("/usr/share/mod_comet/comet", REPO + "/htdocs/comet"),
                        ("/usr/share/mod_comet", REPO + "/htdocs")):
        text = text.replace(there, here)
    return text


def host(*lines):
    return "<VirtualHost *:1>\n%s\n</VirtualHost>\n" % "\n".join(lines)


OWN = host(STORE, "CometEndpoint /comet", OPEN)

# Sites with which httpd starts: (name, configuration, what the module warns of
# if the console's file is added, or None).
SITES = [
    ("no store", "", r"CometEndpoint /mod-comet/comet and all other optional .*"
     "since no CometStore is set for this server; add CometStore sqlite:"),
    ("a store of a virtual host", OWN, None),
    ("other settings of a virtual host",
     STORE + host("CometEndpoint /comet", "CometRetain age=1h",
                  "CometSync normal", "CometSearch on", OPEN), None),
    ("presence of a virtual host",
     GOOD + host("CometPresence on", "CometPresenceGrace 30s"), None),
    ("a store whose folder is gone",
     'CometStore "sqlite:{data}/no/comet.db"\n' + OWN,
     "since the folder of .*/no/comet.db does not exist"),
    ("a store that is not safe",
     'CometStore "sqlite:{docroot}/comet.db"\n', "below the DocumentRoot"),
    ("the same URL", GOOD + "CometClock /mod-comet/comet\n"
     '<Location "/mod-comet/comet">\nRequire local\n</Location>\n', None),
]


@pytest.fixture(scope="module")
def tester():
    server = httpd_env.Httpd(comet="load")
    yield server
    problems = server.close()
    assert not problems, problems


def compare(tester, site, words):
    """Check that the site passes a configtest alone, and with the console's
    file after or before its configuration."""
    code, text = tester.configtest(site)
    assert code == 0 and not warnings(text), text
    for conf in (site + console(), console() + site):
        code, text = tester.configtest(conf)
        said = warnings(text)
        assert code == 0 and len(said) == (1 if words else 0), text
        assert not words or re.search(words, said[0]), said


@pytest.mark.parametrize("case", SITES, ids=[case[0].replace(" ", "_")
                                             for case in SITES])
def test_680_01_httpd_starts(tester, case):
    compare(tester, *case[1:])


def test_680_02_beside_a_module_that_forks(make_server):
    """mpm_itk and mod_comet may be loaded together as long as mod_comet serves
    no URL. This is also true with the console's file."""
    itk = 'LoadModule mpm_itk_module "%s/mpm_itk.so"\n' % MODULES
    server = make_server(start=False, comet="load", mpm="prefork", before=itk)
    compare(server, STORE, "since mod_comet cannot be used together with mpm_itk")


@pytest.mark.skipif(not os.path.exists(PG_MODULE), reason="no mod_comet_pg.so")
def test_680_06_a_store_on_postgresql(make_server):
    compare(make_server(start=False, comet="load", before="LoadModule "
                        'comet_pg_module "%s"\n' % PG_MODULE),
            'CometStore "postgresql:host=/nowhere"\n'
            + host("CometEndpoint /comet", "CometRetain age=1h", OPEN), None)


@pytest.mark.parametrize("module", ("alias", "authz_host"))
def test_680_03_without_a_module_that_it_uses(make_server, monkeypatch, module):
    """If a module that the console's file uses is missing, the file does
    nothing."""
    monkeypatch.setattr(httpd_env, "BASE_MODULES", tuple(
        name for name in httpd_env.BASE_MODULES if name != module))
    compare(make_server(start=False, comet="load"), GOOD, None)


def test_680_04_lines_that_may_not_be_left_out(tester):
    """The word `optional` has no effect on other lines, and may be a channel's
    name."""
    code, text = tester.configtest("CometEndpoint /a\nCometEndpoint /b optional\n")
    assert code != 0 and "CometEndpoint /a: no CometStore is set" in text, text
    code, text = tester.configtest(GOOD + "CometClassic /a optional\n"
                                   '<Location "/a">\nRequire local\n</Location>\n')
    assert code == 0 and not warnings(text), text
    for line in ("CometClassic /a news perhaps", "CometClock /a perhaps",
                 "CometEndpoint /a b/ perhaps"):
        code, text = tester.configtest(GOOD + line)
        assert code != 0 and "takes the arguments URL" in text, text
    code, text = tester.configtest(STORE + host(GOOD, "CometRetain age=1h")
                                   + "CometEndpoint /comet\n" + console())
    assert code != 0 and "used by two servers with different" in text, text


HOSTS = """
<VirtualHost 127.0.0.1:{port}>
    ServerName with
    CometStore "sqlite:{data}/comet.db"
    CometRetain count=2
    CometEndpoint /comet
</VirtualHost>
<VirtualHost 127.0.0.1:{port}>
    ServerName without
</VirtualHost>
<VirtualHost 127.0.0.1:{port}>
    ServerName same
    CometStore "sqlite:{data}/comet.db"
</VirtualHost>
"""


def test_680_05_each_host_has_its_own(make_server):
    """Hosts with a store serve the console's channels from that store, with
    their own CometRetain. Other hosts answer 404 for the channels.  All hosts
    serve the pages."""
    server = make_server(comet="load", conf=console() + HOSTS)

    def ask(name, method, url, body=None):
        return server.request(method, "/mod-comet" + url, body,
                              {"Host": name, "Content-Type": "text/plain"})

    for name in ("with", "same"):
        for i in range(3):
            answer = ask(name, "POST", "/comet/news", "%s %d" % (name, i))
            assert answer.status == 201, answer

    def kept():
        answer = ask("same", "GET", "/comet/news?since=0&wait=0")
        return [message["body"] for message in answer.json()["messages"]]

    wait_until(lambda: kept() == ["same 1", "same 2"], 10, "CometRetain")
    for url in ("/comet/news?wait=0", "/chat/backend.php", "/clock/backend.php"):
        assert ask("without", "GET", url).status == 404, url
    for name in ("with", "without", "same"):
        assert b"<title>" in ask(name, "GET", "/console/").body
        assert ask(name, "GET", "/comet-status").status == 200
    assert "COMET0167" not in server.error_log()
