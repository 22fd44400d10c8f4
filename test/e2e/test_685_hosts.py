# SPDX-License-Identifier: Apache-2.0
"""Several web servers share a PostgreSQL database, for a short time; `make
torture` runs this for longer.  The mutants show that these tests can fail."""

import time

import pytest

import host_kills
from hosts import shared_log

pytestmark = pytest.mark.event

# Each mutant is the schema with one line changed.
SEQUENCE = """
CREATE SEQUENCE comet.mutant START %d INCREMENT 1000;
CREATE OR REPLACE FUNCTION comet.take_turn(wait_ms integer) RETURNS bigint
LANGUAGE plpgsql AS $$ BEGIN RETURN nextval('comet.mutant'); END $$;
"""
# The log is an hour ahead of the database's clock, so that only the log
# determines the next timestamp.
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
DECLARE
  f regprocedure;
BEGIN
  FOREACH f IN ARRAY ARRAY[
      'comet.move(xid8,integer,integer,boolean)'::regprocedure,
      'comet.inbox_low(xid8)'::regprocedure] LOOP
    EXECUTE replace(pg_get_functiondef(f), 'pg_snapshot_xmin',
                    'pg_snapshot_xmax');
  END LOOP;
END $$;
"""


@pytest.mark.heavy
@pytest.mark.bound(120)
def test_685_01_one_log(make_server, figure):
    """Two web servers and two applications write to one log. Every stream and
    poll gets all messages once and in order."""
    latest, text = shared_log(make_server, 2000, hosts=2, late=0.5,
                              applications=2)
    assert latest < 3, text     # else only the look every 5 s found a message
    figure(text)


@pytest.mark.long
@pytest.mark.bound(180)
def test_685_02_a_log_that_runs_ahead_of_the_clock(make_server, figure):
    """If the log is ahead of the database's clock, every stream and poll still
    gets all messages once and in order.  (This is the control for the second
    mutant.)"""
    _, text = shared_log(make_server, 4000, change=AHEAD, late=0.5)
    figure(text)


@pytest.mark.long
@pytest.mark.bound(180)
def test_685_03_mutant_sequence(make_server):
    """If timestamps come from a sequence, without taking turns, messages are
    missed."""
    with pytest.raises(AssertionError) as fault:
        shared_log(make_server, 40000, late=0.5, timeout=60,
                   change=SEQUENCE % (time.time() * 1e6))
    assert "to be published" not in str(fault.value)


@pytest.mark.long
@pytest.mark.bound(180)
def test_685_04_mutant_isolation(make_server):
    """Under REPEATABLE READ timestamps would be given twice, so the schema
    refuses this level. Without the check publishers get errors."""
    with pytest.raises(AssertionError) as fault:
        shared_log(make_server, 8000, late=0.5, timeout=60, change=NO_CHECK,
                   conninfo="options='-c jit=off'")
    assert "status" in str(fault.value)     # (this is the error)


@pytest.mark.long
@pytest.mark.bound(180)
def test_685_05_mutant_low(make_server):
    """If a look into the inbox goes beyond transactions that are still open,
    messages of these are found late, or after those of a later transaction."""
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
    """No message is lost when children, web servers, the database or its
    primary are killed."""
    figure(host_kills.children_killed(make_server, 4))
    figure(host_kills.servers_killed(make_server, 2))
    figure(host_kills.database_killed(make_server, 2))
    figure(host_kills.primaries_killed(make_server, 1))
