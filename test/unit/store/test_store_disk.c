/* SPDX-License-Identifier: Apache-2.0 */
/* The message log: full and failing disks, what is synced, and power
 * failures. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "store_kit.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "faulty_vfs.h"

static void test_full(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_timestamp_t before;

    kit_append_many(store, "chat", 2);
    before = kit_last_of(store);
    atomic_store(&faulty_now, FAULTY_FULL);
    assert_int_equal(kit_append(store, "chat", "x", NULL), APR_ENOSPC);
    assert_int_equal(kit_append(store, "chat", "x", NULL), APR_ENOSPC);
    assert_string_equal(kit_bodies(store, "chat", 0, 9), "0,1");
    assert_int_equal(kit_last_of(store), before);
    atomic_store(&faulty_now, FAULTY_NOTHING);
    assert_int_equal(kit_append(store, "chat", "y", NULL), APR_SUCCESS);
    assert_string_equal(kit_bodies(store, "chat", 0, 9), "0,1,y");
    comet_store_close(store);
}

/* Append until the kernel's limit on a file's size is reached.  The error text
 * must name this reason. */
static int hit_the_limit(void *baton)
{
    struct rlimit limit = { 200000, 200000 };
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    apr_status_t status = APR_SUCCESS;
    char body[2001];
    int i, stored;

    memset(body, 'x', sizeof(body) - 1);
    body[sizeof(body) - 1] = '\0';
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    for (i = 0; i < 200 && status == APR_SUCCESS; i++) {
        status = kit_append(store, "chat", body, NULL);
    }
    if (status != APR_ENOSPC
        || !strstr(comet_store_error(store), "File too large")) {
        fprintf(stderr, "%d: %s\n", status, comet_store_error(store));
        return 1;
    }
    stored = (int)kit_number("SELECT count(*) FROM message");
    comet_store_close(store);
    return stored == i - 1 ? 0 : 2;
}

static void test_full_for_real(void **state)
{
    assert_int_equal(scratch_reap(scratch_fork(hit_the_limit, NULL)), 0);
}

static void test_sync_fails(void **state)
{
    static const faulty_e faults[] = { FAULTY_SYNC, FAULTY_WRITE };
    size_t i;

    for (i = 0; i < 2; i++) {
        comet_store_t *store;
        comet_timestamp_t before;

        kit_setup(NULL);
        store = kit_open_store(COMET_STORE_WRITE);
        kit_append_many(store, "chat", 1);
        before = kit_last_of(store);
        atomic_store(&faulty_now, (int)faults[i]);
        assert_int_equal(kit_append(store, "chat", "x", NULL), COMET_EUNSURE);
        comet_store_close(store);
        atomic_store(&faulty_now, FAULTY_NOTHING);
        store = kit_open_store(COMET_STORE_WRITE);
        assert_int_equal(kit_append(store, "chat", "y", NULL), APR_SUCCESS);
        assert_true(kit_last_of(store) > before);
        kit_bodies(store, "chat", 0, 9);
        assert_string_equal(kit_list.messages[0]->body.data, "0");
        assert_string_equal(kit_list.messages[kit_list.count - 1]->body.data,
                            "y");
        assert_true(kit_list.count == 2 || kit_list.count == 3);
        comet_store_close(store);
    }
}

/* A batch is acknowledged only after at least one sync. */
static void test_syncs(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    int i, before;

    for (i = 0; i < 20; i++) {
        before = atomic_load(&faulty_syncs);
        assert_int_equal(kit_append(store, "chat", "x", NULL), APR_SUCCESS);
        assert_true(atomic_load(&faulty_syncs) > before);
    }
    comet_store_close(store);
}

/* Append messages, then make the power fail.  @return how many acknowledged
 * messages are lost */
static int cut_the_power(unsigned int seed, int size)
{
    int count = 1 + rand_r(&seed) % 300;
    static char body[8193];
    comet_store_t *store;
    int i, left;

    kit_setup(NULL);
    faulty_follow();
    memset(body, 'x', sizeof(body));
    body[size] = '\0';
    store = kit_open_store(COMET_STORE_WRITE);
    for (i = 0; i < count; i++) {
        assert_int_equal(kit_append(store, i % 2 ? "a" : "b", body, NULL), 0);
        assert_int_equal(comet_store_checkpoint(store), 0);
    }
    faulty_cut(kit_database, scratch_path("cut.db"), seed);
    faulty_cut(scratch_path("comet.db-wal"), scratch_path("cut.db-wal"),
               seed + 1);
    comet_store_close(store);
    faulty_forget();
    snprintf(kit_database, sizeof(kit_database), "%s", scratch_path("cut.db"));
    kit_assert_healthy();
    left = (int)kit_number("SELECT count(*) FROM message");
    assert_int_equal(kit_open_status(COMET_STORE_WRITE), 0);
    return count - left;
}

/* The power fails with short messages, and with messages of two pages each.
 * Checkpoints run in between. */
static void test_power_cut(void **state)
{
    unsigned int seed;

    for (seed = 1; seed <= 12; seed++) {
        assert_int_equal(cut_the_power(seed * 7919, 20), 0);
        assert_int_equal(cut_the_power(seed * 7919, 8192), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(test_full),       KIT_TEST(test_full_for_real),
        KIT_TEST(test_sync_fails), KIT_TEST(test_syncs),
        KIT_TEST(test_power_cut),
    };

    scratch_make();
    faulty_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
