/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file quota_kit.h
 * A table of limits, and what the processes that use it share.
 */
#ifndef QUOTA_KIT_H
#define QUOTA_KIT_H

#include "scratch.h"

#include <pthread.h>
#include <stdatomic.h>

#include "shared/quota.h"

/** The time at which every test begins. */
#define QUOTA_START apr_time_from_sec(1000)
/** How many threads quota_run_threads() runs, and how many times each repeats
 * its work. */
#define QUOTA_THREADS 8
#define QUOTA_ROUNDS 3000

/** What the tests share with all their processes. */
typedef struct quota_board_t {
    atomic_int ready;
    atomic_int go;
    atomic_int entered;
    atomic_int refused;
    atomic_int most;
    atomic_int failed;
} quota_board_t;

extern comet_quota_t *quota_table;
extern quota_board_t *quota_board;

/** Called before and after each test. */
int quota_setup(void **state);
int quota_teardown(void **state);

#define QUOTA_TEST(name) \
    cmocka_unit_test_setup_teardown(name, quota_setup, quota_teardown)

/** Make a table. */
void quota_make(int children, apr_uint32_t entries);

/** Make a table, and register this process as a child. */
void quota_join(int children, apr_uint32_t entries);

/** A limit that allows a client this many messages a second. */
comet_quota_limit_t quota_limit_of(const char *client, apr_int64_t amount);

/** Run a function in several threads, and wait for them. @return 0 */
int quota_run_threads(void *(*run)(void *));

#endif /* QUOTA_KIT_H */
