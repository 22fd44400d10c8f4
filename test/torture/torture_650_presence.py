# SPDX-License-Identifier: Apache-2.0
"""Who is here, at random: test/unit/store/test_presence_random.c, ten thousand
steps."""

import os
import subprocess

import pytest

from httpd_env import COMET_MODULE, REPO
from scale import scaled

PROGRAM = os.path.join(os.path.dirname(COMET_MODULE), "unit",
                       "store", "test_presence_random")


@pytest.mark.bound(900)
def test_650_90_random_steps(figure):
    """Connects, drops, kicks by SQL, stalls and deaths of children"""
    steps = scaled(10000, 600)
    done = subprocess.run(
        [PROGRAM], cwd=REPO, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=880,
        env={**os.environ, "PRESENCE_STEPS": str(steps)})
    assert done.returncode == 0, done.stdout.decode("utf-8", "replace")
    figure("%d random steps: joins and leaves always add up to the store"
           % steps)
