/* SPDX-License-Identifier: Apache-2.0 */
/* A table of limits, and what the processes that use it share. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "quota_kit.h"

#include "shared/memory.h"

comet_quota_t *quota_table;
quota_board_t *quota_board;

int quota_setup(void **state)
{
    quota_board = scratch_shared(sizeof(*quota_board));
    return 0;
}

int quota_teardown(void **state)
{
    comet_memory_unmap(quota_board, sizeof(*quota_board));
    return 0;
}

void quota_make(int children, apr_uint32_t entries)
{
    assert_int_equal(comet_quota_create(&quota_table, children, entries),
                     APR_SUCCESS);
}

void quota_join(int children, apr_uint32_t entries)
{
    quota_make(children, entries);
    assert_int_equal(comet_quota_attach(quota_table), 0);
}

comet_quota_limit_t quota_limit_of(const char *client, apr_int64_t amount)
{
    return (comet_quota_limit_t){
        .key = comet_quota_key(quota_table, 1, 'a', comet_text(client)),
        .amount = amount,
        .per = SECOND,
    };
}

int quota_run_threads(void *(*run)(void *))
{
    pthread_t threads[QUOTA_THREADS];
    int i;

    for (i = 0; i < QUOTA_THREADS; i++) {
        pthread_create(&threads[i], NULL, run, NULL);
    }
    for (i = 0; i < QUOTA_THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    return 0;
}
