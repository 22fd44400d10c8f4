# SPDX-License-Identifier: Apache-2.0
"""A page of another site cannot make a browser publish anything."""

import pytest

from httpd_env import SLOW

SERVER = {"classics": 60, "conf": "CometPollTimeout 1s"}

LANG = {"Accept-Language": "de"}
XHR = {"X-Requested-With": "XMLHttpRequest"}


def site(value, mode="cors", dest="empty", **more):
    headers = dict(LANG, **{"Sec-Fetch-Site": value, "Sec-Fetch-Mode": mode,
                            "Sec-Fetch-Dest": dest})
    headers.update(more)
    return headers


def headers_for(server, headers):
    """Return the headers, with HOST replaced by this server's host and port."""
    host = "127.0.0.1:%d" % server.port
    return dict({"Host": host},
                **{k: v.replace("HOST", host) for k, v in headers.items()})


GET_CASES = [
    # a program, whose requests do not look like a browser's
    ("curl", {"User-Agent": "curl/7.88", "Accept": "*/*"}, 200),
    ("bare", {}, 200),
    # the original page in old and new browsers
    ("xhr-old", dict(LANG, **XHR), 200),
    ("xhr-old-referer", dict(LANG, Referer="http://HOST/chat/", **XHR), 200),
    ("xhr-new", dict(site("same-origin"), **XHR), 200),
    ("fetch-same-origin", site("same-origin"), 200),
    ("fetch-same-origin-nocors", site("same-origin", "no-cors"), 200),
    # the URL of an image or a script that a visitor has put into one of our
    # pages
    ("own-img", site("same-origin", "no-cors", "image"), 403),
    ("own-img-cors", site("same-origin", "cors", "image"), 403),
    ("own-script", site("same-origin", "no-cors", "script"), 403),
    ("own-no-dest", dict(LANG, **{"Sec-Fetch-Site": "same-origin",
                                  "Sec-Fetch-Mode": "cors"}), 200),
    # an <img>, link, form or frame on a page of another site
    ("img-cross", site("cross-site", "no-cors", "image"), 403),
    ("img-same-site", site("same-site", "no-cors", "image"), 403),
    ("link-cross", site("cross-site", "navigate", "document"), 403),
    ("frame-cross", site("cross-site", "navigate", "iframe"), 403),
    ("fetch-cross", site("cross-site", "no-cors"), 403),
    ("fetch-cross-xhr", dict(site("cross-site"), **XHR), 403),
    ("fetch-same-site-xhr", dict(site("same-site"), **XHR), 403),
    # a link in a mail, a typed URL, a link on the same site
    ("typed", site("none", "navigate", "document"), 403),
    ("own-link", site("same-origin", "navigate", "document"), 403),
    # old browsers send no Sec-Fetch, but other headers show that they are
    # browsers
    ("old-img", dict(LANG, Referer="http://evil.example/"), 403),
    ("old-lang-only", LANG, 403),
    ("old-cookie-only", {"Cookie": "a=b"}, 403),
    ("old-referer-only", {"Referer": "http://HOST/"}, 403),
    ("old-origin-only", {"Origin": "http://HOST"}, 403),
    ("old-dest-only", {"Sec-Fetch-Dest": "image"}, 403),
    # an XHR header with a foreign origin (because of a proxy or a bug)
    ("origin-foreign-xhr", dict(LANG, Origin="http://evil.example", **XHR),
     403),
    ("origin-null-xhr", dict(LANG, Origin="null", **XHR), 403),
    ("origin-own-xhr", dict(LANG, Origin="http://HOST", **XHR), 200),
    ("origin-own-https-xhr", dict(LANG, Origin="https://HOST", **XHR), 200),
]


@pytest.mark.parametrize("name, headers, status", GET_CASES,
                         ids=[c[0] for c in GET_CASES])
def test_160_01_get(server, name, headers, status):
    """A GET with msg publishes if it comes from a program, or from an XHR or
    fetch() of a page of this site. Others get 403, and nothing is stored."""
    url, channel = server.next_classic()
    answer = server.get(url + "?msg=x", headers_for(server, headers))
    assert answer.status == status, answer
    assert server.rows(channel) == (["x"] if status == 200 else [])
    if status == 403:
        assert answer.header("content-type").startswith("application/json")
        assert answer.json()["error"]


POST_CASES = [
    ("curl", {}, 201),
    ("same-origin", site("same-origin", Origin="http://HOST"), 201),
    ("none", site("none"), 201),
    ("form-cross", site("cross-site", "navigate", "document",
                        Origin="http://evil.example"), 403),
    ("form-same-site", site("same-site", "navigate", "document",
                            Origin="http://sub.example"), 403),
    ("fetch-nocors-cross", site("cross-site", "no-cors",
                                Origin="http://evil.example"), 403),
    ("sec-fetch-decides", site("cross-site", Origin="http://HOST"), 403),
    ("unknown-value", site("something-new"), 403),
    ("old-form-cross", dict(LANG, Origin="http://evil.example"), 403),
    ("old-null", dict(LANG, Origin="null"), 403),
    ("old-own", dict(LANG, Origin="http://HOST"), 201),
    ("old-own-https", dict(LANG, Origin="https://HOST"), 201),
    ("old-other-port", dict(LANG, Origin="http://127.0.0.1:1"), 403),
    ("old-prefix", dict(LANG, Origin="http://HOST.evil.example"), 403),
    ("old-suffix", dict(LANG, Origin="http://evil.example@HOST"), 403),
    ("garbage", dict(LANG, Origin="HOST"), 403),
]


@pytest.mark.parametrize("form", [False, True], ids=["text", "form"])
@pytest.mark.parametrize("name, headers, status", POST_CASES,
                         ids=[c[0] for c in POST_CASES])
def test_160_02_post(server, name, headers, status, form):
    """A POST to the endpoint is judged by the same rules as a GET, whether its
    body is text or a form."""
    channel = "post-%s-%s" % (name, form)
    answer = server.request(
        "POST", "/comet/" + channel, b"msg=x" if form else b"x",
        dict(headers_for(server, headers), **{
            "Content-Type": "application/x-www-form-urlencoded" if form
            else "text/plain"}))
    assert answer.status == status, answer
    assert server.rows(channel) == (["x"] if status == 201 else [])
    if status == 403:
        assert answer.json()["error"]


@pytest.mark.parametrize("name, headers", [
    (c[0], c[1]) for c in POST_CASES if c[2] == 403],
    ids=[c[0] for c in POST_CASES if c[2] == 403])
def test_160_03_classic_post(server, name, headers):
    """A cross-site POST with msg to the classic backend is refused with 403."""
    url, channel = server.next_classic()
    answer = server.request("POST", url + "?msg=x", b"",
                            headers_for(server, headers))
    assert answer.status == 403, answer
    assert server.rows(channel) == []


def test_160_04_reading_is_not_publishing(server):
    """A poll is answered whichever page sends it, but CORS permits no page of
    another site to read the answer."""
    url, channel = server.next_classic()
    server.publish("x", url)
    answer = server.get(url + "?timestamp=0", LANG, timeout=3 * SLOW)
    assert answer.status == 200 and answer.json()["msg"] == "x"
    for headers in (site("cross-site"), {"Origin": "http://evil.example"}):
        answer = server.get("/comet/%s?since=0&wait=0" % channel, headers)
        assert answer.status == 200, answer
        assert [m["body"] for m in answer.json()["messages"]] == ["x"]
        assert answer.header("access-control-allow-origin") is None
        answer = server.get(url + "?timestamp=0", headers)
        assert answer.status == 200 and answer.json()["msg"] == "x", answer
        assert answer.header("access-control-allow-origin") is None


def test_160_05_head_never_publishes(server):
    """HEAD never publishes, no matter who sends it."""
    url, channel = server.next_classic()
    for headers in ({}, XHR, site("same-origin")):
        assert server.request("HEAD", url + "?msg=x", None,
                              headers).status == 405
    assert server.rows(channel) == []


def test_160_06_preflight(server):
    """A preflight from another origin gets no permission."""
    answer = server.request("OPTIONS", "/comet/x", None, {
        "Origin": "http://evil.example",
        "Access-Control-Request-Method": "POST"})
    assert answer.header("access-control-allow-origin") is None
