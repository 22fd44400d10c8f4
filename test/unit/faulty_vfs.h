/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file faulty_vfs.h
 * A file system for SQLite that fails on demand, and that knows what would be
 * left of each file if the power failed now.
 */
#ifndef FAULTY_VFS_H
#define FAULTY_VFS_H

#include <stdatomic.h>

typedef enum {
    FAULTY_NOTHING,
    FAULTY_FULL, /* no space for the log */
    FAULTY_WRITE, /* the log cannot be written */
    FAULTY_SYNC, /* the log cannot be synced */
    FAULTY_HANG /* syncing the log does not return */
} faulty_e;

extern atomic_int faulty_now; /* faulty_e: what fails at present */
extern atomic_int faulty_lies; /* a sync that is followed does nothing */
extern atomic_int faulty_tears; /* a write may spoil what is beside it */
extern atomic_int faulty_syncs; /* how often a log was synced */
extern atomic_int faulty_hanging; /* how many calls hang at present */

/** Make it SQLite's default. */
void faulty_install(void);

/** From now on follow what reaches the disk of the files opened anew: what is
 * there already is on the disk. */
void faulty_follow(void);

/** Called in the moment of a power failure: no file changes meanwhile. */
typedef void faulty_cut_cb(void *baton);

/** Let the power fail at the n-th write, sync or removal from now on.
 * @param operation  0: not any more */
void faulty_cut_at(long operation, faulty_cut_cb *callback, void *baton);

/**
 * Write what a power failure would leave of a file: all that was synced, and
 * any sectors of the rest, in any order.  A file that need not be there may be
 * missing.  A copy that is there already is replaced.
 * @param path  the file
 * @param copy  where to put it
 * @param seed  chooses the part
 */
void faulty_cut(const char *path, const char *copy, unsigned int seed);

/** Forget all files. */
void faulty_forget(void);

#endif /* FAULTY_VFS_H */
