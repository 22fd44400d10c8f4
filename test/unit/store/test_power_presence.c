/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The power fails while members come and go.  Afterwards the file is
 * consistent: the published joins and leaves add up to the rows.  The rows of
 * the children that are gone are then removed, each with one leave.
 *
 * COMET_CUTS is how many times the power fails.  Each power failure happens to
 * a new database.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "power_kit.h"
#include "presence_kit.h"

#include <stdio.h>
#include <stdlib.h>

#include "faulty_vfs.h"

#define CUTS 4

static unsigned seed;

static int pick(int count)
{
    return rand_r(&seed) % count;
}

static void act(void)
{
    here_client_t *client = &here_clients[pick(HERE_SEATS / 2)];
    char *sql;

    if (pick(40) == 0) {
        sql = sqlite3_mprintf("DELETE FROM online WHERE member = %Q",
                              here_name_of(pick(HERE_MEMBERS)));
        kit_must_run(here_outside, sql);
        sqlite3_free(sql);
        here_notice_all();
    }
    else if (client->seat) {
        here_leave(client);
    }
    else {
        here_enter(pick(HERE_CHILDREN), pick(HERE_CHANNELS),
                   pick(HERE_MEMBERS + 1) - 1);
    }
}

static void live_until_cut(void **state, int operations)
{
    int i;

    faulty_follow();
    here_setup(state);
    power_arm(&seed, operations);
    while (!power_failed()) {
        act();
        here_run_for(2000);
    }
    for (i = 0; i < HERE_CHILDREN; i++) {
        here_death(&here_children[i], 0);
    }
    sqlite3_close(here_outside);
    faulty_forget();
    power_restart();
}

/* Start the children again.  @return how many members are still in the file */
static int come_back(void)
{
    here_client_t *client;
    int i, left;

    for (i = 0; i < HERE_CHILDREN; i++) {
        here_birth(&here_children[i]);
    }
    here_outside = kit_outsider();
    assert_int_equal(kit_number_in(here_outside,
                                   "SELECT count(*) FROM pragma_integrity_check"
                                   " WHERE integrity_check = 'ok'"),
                     1);
    left = (int)kit_number_in(here_outside, HERE_ONLINE);
    here_check_sum();
    here_check_order();
    here_await("SELECT count(*) FROM presence_holder", 0);
    assert_int_equal(kit_number_in(here_outside, HERE_ONLINE), 0);
    here_check_sum();
    here_check_order();
    client = here_enter(0, 0, 0);
    here_await(HERE_ONLINE, 1);
    here_check_order();
    here_leave(client);
    return left;
}

static void test_cuts(void **state)
{
    const char *said = getenv("COMET_CUTS");
    int cuts = said ? atoi(said) : CUTS, left = 0, i;

    for (i = 0; i < cuts; i++) {
        seed = (unsigned)i + 1;
        here_sync_full = i % 3 > 0; /* with CometSync normal the newest changes
                                     * may be lost, but each only as a whole */
        live_until_cut(state, 600);
        left += come_back();
        here_teardown(state);
    }
    printf("# %d cuts of power: %d members left over, each has left once\n",
           cuts, left);
    assert_true(left > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuts),
    };

    return cmocka_run_group_tests(tests, power_begin, NULL);
}
