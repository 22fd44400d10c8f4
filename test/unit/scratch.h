/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file scratch.h
 * A temporary folder for a test, removed at the end; waiting for conditions;
 * forked children.
 */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "store/store.h"

#define MS APR_INT64_C(1000)
#define SECOND APR_INT64_C(1000000)

/** Make the folder, inside TMPDIR.  It is removed when the process exits. */
void scratch_make(void);

/** The selection of one channel.  It is kept until the process ends.  Any
 * thread. */
comet_selection_t *scratch_select(comet_text_t channel);

/**
 * Append messages as separate groups.
 * @param results  set to the result of each message
 */
apr_status_t scratch_append(comet_store_t *store,
                            comet_message_t *const *messages,
                            apr_status_t *results, apr_size_t count);

/** A selection made from words; a trailing star makes a prefix.  The caller
 * owns the reference. */
comet_selection_t *scratch_choose(const char *words);

/** The path of a name in the folder.  It stays valid until the eighth call
 * after this one. */
const char *scratch_path(const char *name);

/** The place of a database.
 * @param path  must outlive the place */
comet_place_t scratch_place(const char *path);

/** Remove the files in the folder. */
void scratch_clear(void);

/** Find two names, of at most 31 bytes, that share a comet_message_hash() in
 * this process. */
void scratch_twins(char one[32], char other[32]);

/** Compare two apr_int64_t, for qsort(). */
int scratch_ascending(const void *a, const void *b);

/** Microseconds of the monotonic clock. */
int64_t scratch_usec(void);

/** Wait until a condition holds, for at most 30 s (sanitizers are slow). */
#define wait_until(condition) \
    do { \
        int64_t wait_end = scratch_usec() + 30000000; \
        struct timespec wait_step = { 0, 1000000 }; \
        while (!(condition)) { \
            if (scratch_usec() > wait_end) { \
                fail_msg("in vain: %s", #condition); \
            } \
            nanosleep(&wait_step, NULL); \
        } \
    } while (0)

/** Wait, without sleeping, for a condition that must hold within `usec`. */
#define wait_at_most(usec, condition) \
    do { \
        int64_t at_most_end = scratch_usec() + (usec); \
        while (!(condition) && scratch_usec() < at_most_end) { \
            sched_yield(); \
        } \
        assert_true(condition); \
    } while (0)

/**
 * Fork a child that runs a function and exits with what it returns.
 * @return its process id
 */
int scratch_fork(int (*child)(void *baton), void *baton);

/**
 * Map zeroed memory that forks of this process share with it.
 * @return never NULL; it may be given to comet_memory_unmap()
 */
void *scratch_shared(size_t bytes);

/** Wait for a child's end.  @return its exit code, or -(signal) */
int scratch_reap(int pid);

#endif /* SCRATCH_H */
