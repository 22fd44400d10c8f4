/* SPDX-License-Identifier: Apache-2.0 */
/* The hub with a remote store when memory runs out while messages are
 * fetched. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "hub_kit.h"

#include "faults.h"
#include "remote_kit.h"

#define MANY 1100 /* more messages than the ring holds */
#define FAULTS \
    4 /* the first allocations: those of the question, and of the read that
       * answers it */
#define LIMIT_USEC \
    15000000 /* less than the 30 s that a fetcher sleeps if
                             * nothing wakes it */

static int setup(void **state)
{
    hub_setup_bare(state);
    remote_open_gate();
    ((comet_store_config_t *)hub_configs[0])->place.engine = remote_engine();
    hub_open_writer(0);
    return 0;
}

/* A client gets what it has missed, whichever allocation of the hub's threads
 * fails: a question or a read that has failed is soon repeated. */
static void test_asks_again(void **state)
{
    comet_timestamp_t sent[2];
    int64_t began;
    int i;

    sent[0] = hub_append("rare");
    for (i = 0; i < MANY; i++) {
        hub_append("other");
    }
    sent[1] = hub_append("rare");
    hub_start();
    wait_until(hub_in_step());
    faults_spare(1);
    for (i = 1; i <= FAULTS; i++) {
        client_t *client;

        began = scratch_usec();
        faults_arm(FAULTS_MEMORY, i, 0);
        client = client_joined("rare", 0);
        wait_until(client_got(client) == 2);
        assert_true(faults_disarm() >= i);
        assert_true(scratch_usec() - began < LIMIT_USEC);
        client_leave(client);
        client_check(client, sent, 2);
        client_free(client);
    }
    faults_spare(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_asks_again, setup, hub_teardown),
    };

    faults_install();
    return cmocka_run_group_tests(tests, hub_begin, hub_end);
}
