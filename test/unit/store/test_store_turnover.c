/* SPDX-License-Identifier: Apache-2.0 */
/* The message log: connections come and go at the same time, in threads and
 * processes, while no other program touches its files.  No connection may
 * report that the files were replaced. */
#include "store_kit.h"

#include <pthread.h>
#include <stdio.h>

#define PROCESSES 3

static int rounds; /* how many times each thread opens and closes the store */
static atomic_int wrong; /* [atomic] how many times files seemed to be
                          * replaced */

/* Open and close the store again and again.  Whenever the last writer closes
 * it, SQLite removes the log. */
static void *come_and_go(void *baton)
{
    comet_store_mode_e mode = *(const comet_store_mode_e *)baton;
    int i;

    for (i = 0; i < rounds; i++) {
        comet_store_t *store = NULL;
        apr_status_t status = comet_store_open(&store, &kit_config, mode, NULL);

        if (status == COMET_EMOVED
            || (store && !comet_store_is_usable(store, 0))) {
            atomic_fetch_add(&wrong, 1);
        }
        comet_store_close(store);
    }
    return NULL;
}

/* Run one process with a writer and two readers.
 * @return how many times files seemed to be replaced */
static int live(void *nothing)
{
    static comet_store_mode_e modes[] = { COMET_STORE_WRITE, COMET_STORE_READ,
                                          COMET_STORE_READ };
    pthread_t threads[3];
    int i;

    for (i = 0; i < 3; i++) {
        assert_int_equal(
            pthread_create(&threads[i], NULL, come_and_go, &modes[i]), 0);
    }
    for (i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    return atomic_load(&wrong);
}

static void test_threads(void **state)
{
    comet_store_close(kit_open_store(COMET_STORE_WRITE));
    rounds = 200;
    assert_int_equal(live(NULL), 0);
    kit_assert_healthy();
}

static void test_processes(void **state)
{
    int pids[PROCESSES], i;

    comet_store_close(kit_open_store(COMET_STORE_WRITE));
    rounds = 20;
    for (i = 0; i < PROCESSES; i++) {
        pids[i] = scratch_fork(live, NULL);
    }
    for (i = 0; i < PROCESSES; i++) {
        assert_int_equal(scratch_reap(pids[i]), 0);
    }
    kit_assert_healthy();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(test_processes),
        KIT_TEST(test_threads),
    };

    scratch_make();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
