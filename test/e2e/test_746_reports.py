# SPDX-License-Identifier: Apache-2.0
"""Which of ThreadSanitizer's reports fail a test."""

import pytest

from httpd_env import judged_races

RACE = """==================
WARNING: ThreadSanitizer: data race (pid=7)
  Write of size 4 at 0x7b0400000010 by thread T2:
    #0 memset <null> (libtsan.so.0+0x3)
    #1 turn_on <null> (%s+0x1a2b)

  Previous read of size 4 at 0x7b0400000010 by thread T1:
    #0 look <null> (%s+0x3c4d)
    #1 dummy_worker <null> (mod_mpm_event.so+0x5e6f)
==================
"""


@pytest.mark.parametrize("writer, reader, counts", [
    ("mod_comet.so", "mod_comet.so", True),
    ("mod_comet_pg.so", "mod_comet_pg.so", True),
    ("mod_comet_pg.so", "mod_comet.so", True),
    ("libapr-1.so.0", "mod_comet_pg.so", False),
    ("libapr-1.so.0", "mod_mpm_event.so", False)])
def test_746_01_a_race_of_either_module_counts(writer, reader, counts):
    assert bool(judged_races(RACE % (writer, reader))) == counts
