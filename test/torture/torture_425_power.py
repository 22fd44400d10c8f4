# SPDX-License-Identifier: Apache-2.0
"""Power failures: test/unit/store/test_power.c, with a thousand of them."""

import os
import re
import subprocess

import pytest

from httpd_env import COMET_MODULE, REPO
from scale import scaled

PROGRAM = os.path.join(os.path.dirname(COMET_MODULE), "unit",
                       "store", "test_power")


@pytest.mark.bound(900)
def test_425_10_power_cuts(figure):
    """Power failures, with sync full and (a third as many) with sync normal"""
    done = subprocess.run(
        [PROGRAM], cwd=REPO, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=880,
        env={**os.environ, "CMOCKA_MESSAGE_OUTPUT": "TAP",
             "COMET_CUTS": str(scaled(1000, 24))})
    text = done.stdout.decode("utf-8", "replace")
    for line in re.findall(r"^# (.*cuts, .*)$", text, re.M):
        figure(line)
    assert done.returncode == 0, text
