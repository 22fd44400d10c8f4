/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file faults.h
 * Makes each allocation, each call of SQLite and each access to its files fail
 * in turn, and checks that the code under test fails cleanly and works again
 * afterwards.
 *
 * Programs named test_faults*.c are linked so that the core's calls of malloc
 * and of SQLite come here first (see the Makefile).
 */
#ifndef FAULTS_H
#define FAULTS_H

#include "store_kit.h"

/** What can fail. */
typedef enum {
    FAULTS_MEMORY = 1, /* allocations of the core, SQLite and jansson */
    FAULTS_CALL = 2, /* calls of SQLite's functions, which fail without any
                      * effect */
    FAULTS_DISK = 4 /* reading, writing and locking SQLite's files */
} faults_kind_e;

#define FAULTS_ALL (FAULTS_MEMORY | FAULTS_CALL | FAULTS_DISK)

/** An action that can fail, but must succeed when it is tried again. */
typedef struct faults_scenario_t {
    const char *name;
    long most; /* how many faults of each kind are tried; 0: FAULTS_SAMPLE */
    int concurrent; /* do not look for leaks, since other threads hold memory,
                     * too */
    unsigned kinds; /* the bits of faults_kind_e that can affect the action */
    /** Called before each attempt with a fault; may be NULL. */
    void (*prepare)(void);
    /** @return APR_SUCCESS, or why it failed */
    apr_status_t (*act)(void);
    /** Checks the state after an attempt; may be NULL. */
    void (*check)(apr_status_t status);
    /** Releases what prepare and act have made; may be NULL. */
    void (*finish)(void);
} faults_scenario_t;

/** Must be called once, before SQLite is used. */
void faults_install(void);

/**
 * Make the n-th event of a kind from now on fail, whichever thread causes it.
 * @param n  counts from 1; 0: no event fails, but events are counted
 * @param lasting  whether all later events fail, too
 */
void faults_arm(faults_kind_e kind, long n, int lasting);

/** Whether an event can fail now. */
int faults_are_armed(void);

/** How many blocks of memory the core and the tests hold. */
long faults_live(void);

/** End all faults.  @return how many events were counted */
long faults_disarm(void);

/** Exempt this thread: its events neither count nor fail. */
void faults_spare(int spared);

/**
 * Run a scenario without a fault, then with each fault, first as a single one
 * and then as a lasting one.  If there are very many faults, a sample is
 * tried.  With COMET_FAULTS=all in the environment, all are tried; a scenario
 * that sets `most` then tries ten times as many.
 */
void faults_run(const faults_scenario_t *scenario);

#define FAULTS_SAMPLE 30

/** Like assert_true(), but the error message names the fault. */
#define faults_must(condition) \
    faults_judge((condition) != 0, #condition, __FILE__, __LINE__)
void faults_judge(int right, const char *what, const char *file, int line);

#endif /* FAULTS_H */
