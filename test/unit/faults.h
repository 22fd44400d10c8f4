/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file faults.h
 * Makes each allocation, each call of SQLite and each access to its files fail
 * in turn, and sees that what was tried fails cleanly and then works.
 *
 * Programs named test_faults*.c are linked so that the core's calls of malloc
 * and of SQLite come here first (Makefile).
 */
#ifndef FAULTS_H
#define FAULTS_H

#include "store_kit.h"

/** What fails. */
typedef enum {
    FAULTS_MEMORY = 1, /* allocations: the core's, SQLite's, jansson's */
    FAULTS_CALL = 2, /* SQLite's functions, without having done anything */
    FAULTS_DISK = 4 /* reading, writing, locking … SQLite's files */
} faults_kind_e;

#define FAULTS_ALL (FAULTS_MEMORY | FAULTS_CALL | FAULTS_DISK)

/** Something that may fail, and succeeds when it is tried again. */
typedef struct faults_scenario_t {
    const char *name;
    long most; /* how many faults of a kind are tried; 0: FAULTS_SAMPLE */
    int concurrent; /* other threads hold memory, too: it is not compared */
    unsigned kinds; /* faults_kind_e that make a difference */
    /** Before each attempt with a fault; may be NULL. */
    void (*prepare)(void);
    /** @return APR_SUCCESS, or why it failed */
    apr_status_t (*act)(void);
    /** Whether all is as it must be after that; may be NULL. */
    void (*check)(apr_status_t status);
    /** Give back what prepare and act have made; may be NULL. */
    void (*finish)(void);
} faults_scenario_t;

/** Once, before anything uses SQLite. */
void faults_install(void);

/**
 * From now on the n-th thing of a kind fails, in any thread.
 * @param n        from 1; 0: none, they are only counted
 * @param lasting  all after it fail, too
 */
void faults_arm(faults_kind_e kind, long n, int lasting);

/** Whether there may be a fault. */
int faults_are_armed(void);

/** How many blocks the core and the tests hold. */
long faults_live(void);

/** No more faults. @return how many things were counted */
long faults_disarm(void);

/** Spare this thread: what it does neither counts nor fails. */
void faults_spare(int spared);

/**
 * Run a scenario once without a fault, then with each: once, and lasting.
 * Where there are very many of them, with some of them; with all when
 * COMET_FAULTS=all is in the environment (ten times as many where threads make
 * each one slow).
 */
void faults_run(const faults_scenario_t *scenario);

#define FAULTS_SAMPLE 30

/** Like assert_true(), and says which fault it was. */
#define faults_must(condition) \
    faults_judge((condition) != 0, #condition, __FILE__, __LINE__)
void faults_judge(int right, const char *what, const char *file, int line);

#endif /* FAULTS_H */
