# SPDX-License-Identifier: Apache-2.0
"""Random requests, compared with a reference; `make torture` tries more.  One
test is about a request body for which there is not enough memory."""

import subprocess

import pytest

from httpd_env import SANITIZER
from parsing import COMPARED, CONF, FORM, LINES

SERVER = {"conf": CONF}


@pytest.mark.parametrize("compare", COMPARED, ids=lambda c: c.__name__)
def test_464_60_parsing(server, compare):
    """The server accepts and refuses the same requests as the reference, and
    stores or reads the same."""
    compare(server, 1000)


# -- when memory runs out ------------------------------------------------------

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

/* There is no memory for a body of more than half a mebibyte. */
void *realloc(void *old, size_t size)
{
    static void *(*real)(void *, size_t);

    if (!real) {
        real = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
    }
    return size > 600000 && size < 2000000 ? NULL : real(old, size);
}
"""


@pytest.mark.skipif(SANITIZER != "none",
                    reason="a sanitizer's runtime wants these calls itself")
def test_464_65_no_memory_for_a_body(make_server, tmp_path):
    """If there is no memory for a body, the answer is 503 with Retry-After, and
    nothing is stored."""
    source, shim = tmp_path / "shim.c", tmp_path / "shim.so"
    source.write_text(SHIM)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(shim),
                    str(source)], check=True, timeout=60)
    tmp_path.chmod(0o755)
    server = make_server(env={"LD_PRELOAD": str(shim)},
                         conf="CometMaxMessageSize 1048576\n")
    for headers, body in ((LINES, b'{"body":"x"}\n' * 55000),
                          ({"Content-Type": "text/plain"}, b"x" * 700000),
                          (FORM, b"msg=" + b"x" * 700000)):
        answer = server.request("POST", "/comet/memory", body, headers)
        assert answer.status == 503, answer
        assert answer.header("retry-after") and answer.json()["error"]
    assert server.rows("memory") == []
    server.post("memory", "x")
