/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file faults_store.h
 * A store that stays open while calls fail, and another program that uses its
 * file.  For programs named test_faults*.c.
 */
#ifndef FAULTS_STORE_H
#define FAULTS_STORE_H

#include "faults.h"

extern comet_store_t *faults_store; /* NULL: it is closed */
extern sqlite3 *faults_store_outside; /* another program's connection */
extern comet_store_mode_e faults_store_mode; /* for faults_store_ensure() */

/** Called before and after each test. */
int faults_store_setup(void **state);
int faults_store_teardown(void **state);

#define FAULTS_STORE_TEST(name) \
    cmocka_unit_test_setup_teardown(name, faults_store_setup, \
                                    faults_store_teardown)

/** Open the store unless it is open. @return comet_store_open()'s status */
apr_status_t faults_store_ensure(void);

/** For `prepare`: open the store; this must succeed. */
void faults_store_open(void);

/** For `prepare` or `finish`: close the store. */
void faults_store_close(void);

/**
 * Check that a failure has an error text.  Close the store if the writer and
 * the readers would close theirs after such a failure.
 */
void faults_store_judge(apr_status_t status);

#endif /* FAULTS_STORE_H */
