/* SPDX-License-Identifier: Apache-2.0 */
/* A store that stays open while calls fail, and another program that uses its
 * file. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults_store.h"

#include <sqlite3.h>

comet_store_t *faults_store;
sqlite3 *faults_store_outside;
comet_store_mode_e faults_store_mode;

void faults_store_close(void)
{
    comet_store_close(faults_store);
    faults_store = NULL;
}

int faults_store_setup(void **state)
{
    kit_setup(state);
    kit_config.sync_full = 0;
    faults_store_mode = COMET_STORE_WRITE;
    faults_store = kit_open_store(faults_store_mode);
    faults_store_outside = kit_outsider();
    return 0;
}

int faults_store_teardown(void **state)
{
    faults_store_close();
    sqlite3_close(faults_store_outside);
    faults_store_outside = NULL;
    kit_assert_healthy();
    return kit_teardown(state);
}

/* Open the store again, as the writer and the readers do: most failures end a
 * connection. */
apr_status_t faults_store_ensure(void)
{
    return faults_store ? APR_SUCCESS
                        : comet_store_open(&faults_store, &kit_config,
                                           faults_store_mode, NULL);
}

void faults_store_judge(apr_status_t status)
{
    if (status != APR_SUCCESS) {
        faults_must(*comet_store_error(faults_store));
    }
    if (status != APR_SUCCESS && status != APR_ENOMEM && status != APR_ENOSPC
        && status != COMET_ELOCKED) {
        faults_store_close();
    }
}

void faults_store_open(void)
{
    faults_must(faults_store_ensure() == APR_SUCCESS);
}
