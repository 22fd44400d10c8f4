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

DESTROYED = """==================
WARNING: ThreadSanitizer: destroy of a locked mutex (pid=7)
    #0 pthread_mutex_destroy <null> (libtsan.so.0+0x4)
    #1 apr_pool_destroy <null> (libapr-1.so.0+0x5)
    #2 comet_condition_wait mod_comet/base/comet.c:93 (mod_comet.so+0x6)

  and:
    #0 pthread_mutex_lock <null> (libtsan.so.0+0x7)
    #1 ap_process_async_request <null> (apache2+0x8)

  Mutex M2 (0x7b0400000020) created at:
    #0 pthread_mutex_init <null> (libtsan.so.0+0x9)
    #1 apr_thread_mutex_create <null> (libapr-1.so.0+0xa)
%s==================
"""


@pytest.mark.parametrize("writer, reader, counts", [
    ("mod_comet.so", "mod_comet.so", True),
    ("mod_comet_pg.so", "mod_comet_pg.so", True),
    ("mod_comet_pg.so", "mod_comet.so", True),
    ("libapr-1.so.0", "mod_comet_pg.so", False),
    ("libapr-1.so.0", "mod_mpm_event.so", False)])
def test_746_01_a_race_of_either_module_counts(writer, reader, counts):
    assert bool(judged_races(RACE % (writer, reader))) == counts


@pytest.mark.parametrize("creator, counts", [
    ("", False), ("    #2 watch <null> (mod_comet.so+0xb)\n", True)])
def test_746_02_httpds_own_mutexes_do_not_count(creator, counts):
    assert bool(judged_races(DESTROYED % creator)) == counts
