# SPDX-License-Identifier: Apache-2.0
"""Hostile pages and messages in a real headless Chromium: what other sites can
make a browser send, what they can read, and what hostile messages can do to our
pages."""

import os
import sqlite3

import pytest

from browser import CONF, Browser, missing, stage, wait_until
from conftest import LIVE, shut
from httpd_env import Httpd, sqlite

pytestmark = [pytest.mark.browser, pytest.mark.bound(90)]

# Names of other sites, all of which resolve to this machine.  Over plain HTTP
# Chromium trusts none of them, so it sends them no Sec-Fetch-*.  All frames
# share one process, because what Chromium sends and lets a page read does not
# depend on the process.
FLAGS = ("--host-resolver-rules=MAP *.test 127.0.0.1",
         "--ignore-certificate-errors", "--disable-popup-blocking",
         "--disable-site-isolation-trials", "--renderer-process-limit=1",
         "--disable-features=IsolateOrigins,site-per-process,"
         "SpareRendererForSitePerProcess")

# The page of the other site.  `base` is the victim's URL.  Each way of sending
# a request puts the way's name into the request.
ATTACK = """<!DOCTYPE html><meta charset="utf-8">%s<title>attack</title>
<body><script>
const base = new URL(location).searchParams.get('base');
const classic = (way) => `${base}/c0/backend.php?msg=forged-${way}`;
const post = (way) => `${base}/comet/target?way=${way}`;
const add = (tag, fields, parent = document.body) => {
  const made = Object.assign(document.createElement(tag), fields);
  parent.append(made);
  return made;
};
const sink = (way) => add('iframe', { name: way }).name;
const form = (way, method, enctype, action = post(way), target = sink(way)) => {
  const made = add('form', { action, method, enctype, target });
  add('input', { name: 'msg', value: 'forged-' + way }, made);
  made.submit();
};
const send = (way, init, url = post(way)) => fetch(url, {
  method: 'POST', body: 'forged-' + way, ...init }).catch(() => {});
const WAYS = {
  img: (way) => { new Image().src = classic(way); },
  'img-cors': (way) => add('img', { crossOrigin: 'use-credentials',
                                    src: classic(way) }),
  'img-no-referrer': (way) => add('img', { referrerPolicy: 'no-referrer',
                                           src: classic(way) }),
  script: (way) => add('script', { src: classic(way) }),
  module: (way) => add('script', { type: 'module', src: classic(way) }),
  style: (way) => add('link', { rel: 'stylesheet', href: classic(way) }),
  css: (way) => { document.body.style.background = `url(${classic(way)})`; },
  video: (way) => add('video', { src: classic(way) }),
  object: (way) => add('object', { data: classic(way) }),
  frame: (way) => add('iframe', { src: classic(way) }),
  'frame-no-referrer': (way) => add('iframe', {
    referrerPolicy: 'no-referrer', src: classic(way) }),
  source: (way) => new EventSource(classic(way)),
  socket: (way) => new WebSocket(classic(way).replace('http', 'ws')),
  'get-form': (way) => form(way, 'get', '', `${base}/c0/backend.php`),
  'get-fetch': (way) => fetch(classic(way), { mode: 'no-cors' }),
  'get-fetch-cors': (way) => fetch(classic(way)).catch(() => {}),
  refresh: (way) => add('iframe', { srcdoc:
    `<meta http-equiv="refresh" content="0;url=${classic(way)}">` }),
  'post-classic': (way) => form(way, 'post', '', classic(way)),
  form: (way) => form(way, 'post', 'application/x-www-form-urlencoded'),
  'form-text': (way) => form(way, 'post', 'text/plain'),
  'form-multipart': (way) => form(way, 'post', 'multipart/form-data'),
  'form-no-referrer': (way) => {
    add('iframe', { srcdoc: `<meta name="referrer" content="no-referrer">
      <form method="post" action="${post(way)}"><input name="msg"
      value="forged-${way}"></form><script>document.forms[0].submit()</`
      + 'script>' });
  },
  sandboxed: (way) => {
    add('iframe', { sandbox: 'allow-scripts allow-forms', srcdoc:
      `<form method="post" action="${post(way)}"><input name="msg"
      value="forged-${way}"></form><script>document.forms[0].submit()</`
      + 'script>' });
  },
  fetch: (way) => send(way, { mode: 'no-cors' }),
  'fetch-no-referrer': (way) => send(way, { mode: 'no-cors',
    referrerPolicy: 'no-referrer', credentials: 'include' }),
  'fetch-cors': (way) => send(way, { credentials: 'include' }),
  'fetch-keepalive': (way) => send(way, { mode: 'no-cors', keepalive: true }),
  xhr: (way) => {
    const request = new XMLHttpRequest();
    request.open('POST', post(way));
    request.send('forged-' + way);
  },
  beacon: (way) => navigator.sendBeacon(post(way), 'forged-' + way),
  'beacon-form': (way) => navigator.sendBeacon(post(way),
    new URLSearchParams({ msg: 'forged-' + way })),
  ping: (way) => add('a', { ping: post(way), href: '#' }).click(),
  // these ask for leave first
  'asks-json': (way) => send(way, { headers: {
    'Content-Type': 'application/json' } }),
  'asks-xhr': (way) => fetch(classic(way), { headers: {
    'X-Requested-With': 'XMLHttpRequest' } }).catch(() => {}),
  'asks-key': (way) => send(way, { headers: { 'Idempotency-Key': String(Math.random()) } }),
  'asks-put': (way) => fetch(classic(way), { method: 'PUT' })
    .catch(() => {}),
};
window.ways = Object.keys(WAYS);
window.thrown = [];
for (const [way, act] of Object.entries(WAYS)) {
  try { act(way); } catch (error) { thrown.push(`${way}: ${error}`); }
}
</script>
"""

# The ways in which the victim's own page may publish: forms, scripts, and a GET
# that provably comes from a script.
OWN = {"form", "fetch", "fetch-no-referrer", "fetch-cors",
       "fetch-keepalive", "xhr", "beacon", "beacon-form", "asks-json",
       "asks-key", "asks-xhr", "asks-put", "post-classic"}
OWN_BY_FETCH_METADATA = {"get-fetch", "get-fetch-cors", "source",
                         "form-no-referrer"}

SITES = {
    # no Sec-Fetch-*: plain HTTP to a name other than localhost
    "http": ("http://evil.test:{port}", "http://victim.test:{port}", ""),
    "http-no-referrer": ("http://evil.test:{port}",
                         "http://victim.test:{port}",
                         '<meta name="referrer" content="no-referrer">'),
    "sub-domain": ("http://a.victim.test:{port}",
                   "http://victim.test:{port}", ""),
    # with Sec-Fetch-*
    "local": ("http://evil.test:{port}", "http://127.0.0.1:{port}", ""),
    "local-no-referrer": ("http://evil.test:{port}",
                          "http://127.0.0.1:{port}",
                          '<meta name="referrer" content="no-referrer">'),
    "https": ("https://evil.test:{tls_port}", "https://victim.test:{tls_port}",
              ""),
    "https-no-referrer": ("https://evil.test:{tls_port}",
                          "https://victim.test:{tls_port}",
                          '<meta name="referrer" content="no-referrer">'),
    "https-sub-domain": ("https://a.victim.test:{tls_port}",
                         "https://victim.test:{tls_port}", ""),
    "to-https": ("http://evil.test:{port}", "https://victim.test:{tls_port}",
                 ""),
}


@pytest.fixture(scope="module", autouse=True)
def tools():
    if os.environ.get("COMET_BROWSER") == "none":
        pytest.skip("COMET_BROWSER=none")
    assert not missing()


@pytest.fixture(autouse=True)
def tabs(chromium):
    """Close the pages after each test, before the server is checked."""
    yield
    chromium.reset()


@pytest.fixture(scope="module")
def shared_server():
    server = Httpd(conf="CometPollTimeout 1s\nCometMaxLifetime 2s\n"
                   "CometCallback leak.receive\n", classics=1, tls=True)
    LIVE.append(server)
    server.write("clean.html", "<!DOCTYPE html><title>clean</title>\n")
    try:
        server.start()
        yield server
    finally:
        shut(server)


@pytest.fixture(scope="module")
def chromium(shared_server):
    """Yield a Chromium that ends before the server, because each TLS connection
    that it has opened in advance holds a thread of the server."""
    browser = Browser(shared_server.port, FLAGS, windows=True)
    yield browser
    browser.close()


def open_page(browser, server, url):
    """Open a page of any site in a new tab."""
    driver = browser.driver
    driver.switch_to.new_window("tab")
    driver.get(url)
    return driver


def arrived(server, ways):
    """Return those of `ways` by which a request has arrived."""
    log = server.access_log()
    return {way for way in ways
            if "forged-%s " % way in log or "way=%s " % way in log}


def attack(browser, server, site, head):
    attacker, victim = (url.format(port=server.port, tls_port=server.tls_port)
                        for url in site)
    server.write("attack.html", ATTACK % head)
    with open(server.access_log_path, "w"):
        pass
    sqlite(server.db, "DELETE FROM message;")
    driver = open_page(browser, server,
                       "%s/attack.html?base=%s" % (attacker, victim))
    ways = wait_until(lambda: driver.execute_script(
        "return window.thrown && window.ways"), 10, "the page")
    # The requests of all ways must arrive, so that each way has been tested.
    wait_until(lambda: len(arrived(server, ways)) == len(ways), 15,
               "requests by all ways; missing: %s, thrown: %s"
               % (set(ways) - arrived(server, ways),
                  driver.execute_script("return window.thrown")))
    return driver, set(ways)


def stored(server):
    return {row[0] for row in sqlite(server.db,
                                     "SELECT body FROM message;")}


@pytest.mark.parametrize("name", list(SITES))
def test_466_50_forged(chromium, shared_server, name):
    """A page of another site makes the browser publish in thirty-five ways.
    Each request arrives, and nothing is stored."""
    attacker, victim, head = SITES[name]
    driver, _ = attack(chromium, shared_server, (attacker, victim), head)
    # Finally the page itself navigates to the victim, by a form and by a link.
    base = victim.format(port=shared_server.port,
                         tls_port=shared_server.tls_port)
    driver.execute_script("form('top-form', 'post', '', undefined, '_top')")
    wait_until(lambda: arrived(shared_server, ["top-form"]), 10, "the form")
    driver.get(attacker.format(port=shared_server.port,
                               tls_port=shared_server.tls_port)
               + "/clean.html")
    wait_until(lambda: driver.execute_script(
        "return document.title") == "clean", 10, "the page")
    driver.execute_script("location = arguments[0]",
                          base + "/c0/backend.php?msg=forged-top-link")
    wait_until(lambda: arrived(shared_server, ["top-link"]), 10, "the link")
    assert stored(shared_server) == set()


@pytest.mark.parametrize("own, more", [
    ("http://victim.test:{port}", set()),
    ("http://127.0.0.1:{port}", OWN_BY_FETCH_METADATA)])
def test_466_51_own(chromium, shared_server, own, more):
    """The victim's own page tries the same thirty-five ways.  Its scripts and
    forms publish, so these ways do work.  Images, frames and links, which a
    visitor might have put there, do not."""
    attack(chromium, shared_server, (own, own), "")
    want = {"forged-" + way for way in OWN | more} \
        | {"msg=forged-form-text\r\n", "PING"}
    wait_until(lambda: stored(shared_server) >= want, 5,
               "%s" % (want - stored(shared_server)))
    assert stored(shared_server) == want


# A page that tries to read the victim's answers.  `leaked` lists what it has
# read.
SPY = """<!DOCTYPE html><meta charset="utf-8"><title>spy</title>
<body><script>
const base = new URL(location).searchParams.get('base');
const url = (way, path) => `${base}${path}${path.includes('?') ? '&' : '?'}way=`
  + way;
const history = '/comet/private?since=0&wait=0';
window.leaked = [];
window.leak = new Proxy(() => {}, {
  get: (_, name) => name === 'receive' ? (...seen) => leaked.push(
    'called ' + JSON.stringify(seen)) : undefined,
  apply: (_, __, seen) => leaked.push('called ' + JSON.stringify(seen)) });
window.comet = leak;
const saw = (way) => (seen) => leaked.push(way + ' ' + seen);
const ended = new Set();
const end = (way) => ended.add(way);
window.onerror = (message) => { leaked.push('error ' + message); };
const add = (tag, fields) => {
  const made = document.createElement(tag);
  made.onload = made.onerror = () => end(fields.way);
  Object.assign(made, fields);
  document.body.append(made);
  return made;
};
const script = (path, more) => (way) => add('script', {
  way, src: url(way, path), ...more });
const read = (init, path = history) => (way) => fetch(url(way, path), init)
  .then((answer) => answer.text()).then(saw(way), () => {})
  .then(() => end(way));
const frame = (path) => (way) => {
  const made = add('iframe', { way, src: url(way, path) });
  made.onload = () => {
    try { saw(way)(made.contentDocument.documentElement.outerHTML); }
    catch { /* as it should be */ }
    try { saw(way)(JSON.stringify(made.contentWindow[0] ?? null)); }
    catch { /* as it should be */ }
    end(way);
  };
};
const WAYS = {
  'fetch': read({}), 'fetch-credentials': read({ credentials: 'include' }),
  'fetch-no-cors': read({ mode: 'no-cors' }),
  'fetch-header': read({ headers: { 'Last-Event-ID': '1' } }),
  'fetch-status': read({}, '/comet-status'),
  'fetch-classic': read({}, '/c0/backend.php?timestamp=0'),
  'fetch-error': read({}, '/comet/private?since=never'),
  'script': script(history), 'script-utf16': script(history, {
    charset: 'utf-16' }),
  'script-jsonp': script(history + '&callback=leak&jsonp=leak'),
  'script-classic': script('/c0/backend.php?timestamp=0&callback=leak'),
  'script-iframe': script('/comet/private?since=0&transport=iframe'),
  'script-events': script('/comet/private?since=0&transport=events'),
  'script-error': script('/comet/private?since=*/leak(1)/*'),
  'script-cors': script(history, { crossOrigin: 'anonymous' }),
  'script-module': script(history, { type: 'module' }),
  'style': (way) => add('link', { way, rel: 'stylesheet',
                                  href: url(way, history) }),
  'image': (way) => add('img', { way, src: url(way, history) }),
  'frame': frame('/comet/private?since=0&transport=iframe'),
  'frame-history': frame(history),
  'frame-clock': frame('/clock/backend.php?x=1'),
  'object': (way) => add('object', { way, data: url(way,
    '/comet/private?since=0&transport=iframe') }),
  'events': (way) => {
    const source = new EventSource(url(way,
      '/comet/private?since=0&transport=events'));
    source.onmessage = (event) => saw(way)(event.data);
    source.onerror = () => { source.close(); end(way); };
  },
  'socket': (way) => {
    const socket = new WebSocket(url(way, history).replace('http', 'ws'));
    socket.onmessage = (event) => saw(way)(event.data);
    socket.onerror = () => end(way);
  },
  'window': (way) => {
    const opened = open(url(way, '/comet/private?since=0&transport=iframe'));
    const look = () => {
      let seen = '';
      try { seen = opened.document.documentElement.outerHTML; }
      catch { end(way); return; }
      saw(way)(seen);
      setTimeout(look, 20);
    };
    look();
  },
};
window.ways = Object.keys(WAYS);
for (const [way, act] of Object.entries(WAYS)) { act(way); }
window.left = () => ways.filter((way) => !ended.has(way));
</script>
"""
SECRET = "a private word"


@pytest.mark.parametrize("name", ["http", "local", "https",
                                  "https-sub-domain"])
def test_466_52_read(chromium, shared_server, name):
    """A page of another site tries in twenty-five ways to read a public
    channel. It reads nothing, not even an error's text."""
    attacker, victim, _ = SITES[name]
    server = shared_server
    sqlite(server.db, "DELETE FROM message; INSERT INTO message(channel, "
           "body) VALUES('private', '%s'), ('c0', '%s');" % (SECRET, SECRET))
    server.write("spy.html", SPY)
    with open(server.access_log_path, "w"):
        pass
    ports = {"port": server.port, "tls_port": server.tls_port}
    driver = open_page(chromium, server, "%s/spy.html?base=%s" % (
        attacker.format(**ports), victim.format(**ports)))
    # (streams end after two seconds, by CometMaxLifetime)
    wait_until(lambda: driver.execute_script(
        "return window.left && window.left().length === 0"), 15,
        "all ways to end")
    ways = driver.execute_script("return window.ways")
    wait_until(lambda: all("way=%s " % way in server.access_log()
                           for way in ways if way != "fetch-header"), 5,
               "requests by all ways")
    leaked = driver.execute_script("return window.leaked")
    assert not [seen for seen in leaked if "private word" in seen
                or "called" in seen or "published" in seen
                or "expected" in seen], leaked
    # If an answer is not a script, the browser does not say why loading failed.
    assert {seen for seen in leaked if seen.startswith("error ")} \
        <= {"error Script error."}, leaked


def test_466_53_read_by_oneself(chromium, shared_server):
    """The victim's own page can read the messages in the same ways, so
    test_466_52 would notice if another site could."""
    own = "http://127.0.0.1:%d" % shared_server.port
    sqlite(shared_server.db, "DELETE FROM message; INSERT INTO message("
           "channel, body) VALUES('private', '%s'), ('c0', '%s');"
           % (SECRET, SECRET))
    shared_server.write("spy.html", SPY)
    driver = open_page(chromium, shared_server,
                       "%s/spy.html?base=%s" % (own, own))

    def seen():
        return {text.split(" ")[0] for text in driver.execute_script(
            "return window.leaked ?? []") if "private word" in text}

    wait_until(lambda: seen() >= {"fetch", "fetch-credentials", "events",
                                  "fetch-no-cors", "called",
                                  "frame-history"}, 10, "what can be seen")


# -- hostile messages in our own pages -----------------------------------------

HOSTILE = ["<img src=x onerror=hit=1>", "</script><script>hit=1</script>",
           "<svg onload=hit=1>", "\"><b onmouseover=hit=1>", "javascript:hit=1",
           "<!--", "]]>", "&lt;b&gt;", "{{hit=1}}", "${hit=1}", "\u2028hit=1",
           "\u202egnp.exe", "<iframe srcdoc='<script>parent.hit=1</script>'>",
           "a\nevent: gap\ndata: x", "<template><b>x</b></template>",
           "__proto__", "constructor", "error", "open"]


def hostile_rows(server, channel):
    """Insert rows whose columns all contain hostile text, ignoring the schema's
    checks."""
    with sqlite3.connect(server.db, timeout=10) as db:
        db.execute("PRAGMA ignore_check_constraints=ON")
        for text in HOSTILE:
            db.execute("INSERT INTO message(channel, type, author, body)"
                       " VALUES(?, ?, ?, ?)", (channel, text, text, text))


@pytest.mark.parametrize("page", ["/chat/", "/chat/original.html",
                                  "/console/"])
def test_466_54_our_pages(chromium, make_server, page):
    """The current chat, the original chat and the console show markup in a
    message as plain text, live and in the history."""
    server = make_server(start=False, conf="CometSearch on\n"
                         '<Location "/comet">\nCometMulti on\n</Location>\n'
                         + CONF)
    stage(server).start()
    server.post("ready", "the store is there")
    hostile_rows(server, "chat")
    driver = open_page(chromium, server,
                       "http://127.0.0.1:%d%s" % (server.port, page))

    def shown(count):
        return driver.execute_script(
            "return (document.body?.innerText ?? '').split(arguments[0])"
            ".length > arguments[1]", HOSTILE[0], count)

    if page == "/console/":
        wait_until(lambda: driver.execute_script(
            "return document.querySelector('#channels') && true"), 10,
            "the console")
        driver.execute_script(
            "document.querySelector('#channels').value = '*';"
            "document.querySelector('#channels').form.requestSubmit()")
    wait_until(lambda: shown(1), 15, "the replay")
    hostile_rows(server, "chat")
    wait_until(lambda: shown(2), 15, "the same, live")
    server.post("chat", "the end")
    wait_until(lambda: driver.execute_script(
        "return document.body.innerText.includes('the end')"), 15, "the end")
    assert driver.execute_script("return window.hit") is None
    assert driver.execute_script(
        "return [...document.querySelectorAll('[onerror], [onload],"
        " [onmouseover], iframe[srcdoc], #content b, #log b, #log img,"
        " .message img, .message b, #content script')]"
        ".map((found) => found.outerHTML)") == []
    chromium.reset()
