# SPDX-License-Identifier: Apache-2.0
"""Several web servers on one PostgreSQL database, in small; `make torture` does it
in full size.  The mutants show that these tests can fail."""

import time

import pytest

import host_kills
from hosts import shared_log

pytestmark = pytest.mark.event

# As the schema's, but for one line each.
SEQUENCE = """
CREATE SEQUENCE comet.mutant START %d INCREMENT 1000;
CREATE OR REPLACE FUNCTION comet.take_turn(wait_ms integer) RETURNS bigint
LANGUAGE plpgsql AS $$ BEGIN RETURN nextval('comet.mutant'); END $$;
"""
# The database's clock is an hour behind, so that the log alone says what comes
# next.
AHEAD = "UPDATE comet.clock SET last = comet.now_us() + 3600000000;"
NO_CHECK = AHEAD + """
ALTER ROLE comet_httpd SET default_transaction_isolation = 'repeatable read';
DO $$
BEGIN
  EXECUTE replace(pg_get_functiondef('comet.take_turn(integer)'::regprocedure),
                  '<> ''read committed''', '= ''none''');
END $$;
"""
NO_LOW = """
DO $$
BEGIN
  EXECUTE replace(pg_get_functiondef(
                    'comet.move(xid8,integer,integer,boolean)'::regprocedure),
                  'pg_snapshot_xmin', 'pg_snapshot_xmax');
END $$;
"""


@pytest.mark.heavy
@pytest.mark.bound(120)
def test_685_01_one_log(make_server, figure):
    """Two web servers and two applications write to one log. Every stream and
    poll gets all messages once and in order."""
    latest, text = shared_log(make_server, 2000, hosts=2, late=0.5,
                              applications=2)
    assert latest < 3, text     # or the look every 5 s has found it
    figure(text)


@pytest.mark.long
@pytest.mark.bound(180)
def test_685_02_a_log_that_runs_ahead_of_the_clock(make_server, figure):
    """The same where the database's clock was set back: the control for the
    second mutant."""
    _, text = shared_log(make_server, 4000, change=AHEAD, late=0.5)
    figure(text)


@pytest.mark.long
@pytest.mark.bound(180)
def test_685_03_mutant_sequence(make_server):
    """Timestamps of a sequence, without the turn: messages are missed."""
    with pytest.raises(AssertionError) as fault:
        shared_log(make_server, 40000, late=0.5, timeout=60,
                   change=SEQUENCE % (time.time() * 1e6))
    assert "to be published" not in str(fault.value)


@pytest.mark.long
@pytest.mark.bound(180)
def test_685_04_mutant_isolation(make_server):
    """Under REPEATABLE READ, timestamps are given twice. The schema refuses
    that; without its check, publishers get errors."""
    with pytest.raises(AssertionError) as fault:
        shared_log(make_server, 8000, late=0.5, timeout=60, change=NO_CHECK,
                   conninfo="options='-c jit=off'")
    assert "status" in str(fault.value)     # publishers get errors


@pytest.mark.long
@pytest.mark.bound(180)
def test_685_05_mutant_low(make_server):
    """A look into the inbox that goes on behind transactions which are still
    open finds their messages late, or after those of a later transaction."""
    try:
        latest, text = shared_log(make_server, 400, hosts=2, late=2.0, batch=5,
                                  pause=0.4, change=NO_LOW)
    except AssertionError as fault:
        assert str(fault).startswith("app"), fault
    else:
        assert latest > 1.5, text


@pytest.mark.long
@pytest.mark.bound(180)
def test_685_06_kills(make_server, figure):
    """A few kill -9 of children, web servers, the database and the primary."""
    figure(host_kills.children_killed(make_server, 4))
    figure(host_kills.servers_killed(make_server, 2))
    figure(host_kills.database_killed(make_server, 2))
    figure(host_kills.primaries_killed(make_server, 1))
