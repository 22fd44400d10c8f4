/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file faulty_vfs.h
 * A file system for SQLite that fails on demand.  It knows what would be left
 * of each file if the power failed now.
 */
#ifndef FAULTY_VFS_H
#define FAULTY_VFS_H

#include <stdatomic.h>

typedef enum {
    FAULTY_NOTHING,
    FAULTY_FULL, /* no space for the log */
    FAULTY_WRITE, /* the log cannot be written */
    FAULTY_SYNC, /* the log cannot be synced */
    FAULTY_HANG, /* a sync of the log does not return */
    FAULTY_SLOW /* a sync of the log takes 5 ms longer */
} faulty_e;

extern atomic_int faulty_now; /* faulty_e: what fails now */
extern atomic_int faulty_lies; /* whether syncs of followed files do nothing */
extern atomic_int faulty_tears; /* whether a write can damage neighbouring
                                 * bytes */
extern atomic_int faulty_syncs; /* how many times logs were synced */
extern atomic_int faulty_hanging; /* how many syncs hang now */

/** Make SQLite use this file system by default. */
void faulty_install(void);

/**
 * Record which changes of a file reach the disk, for every file that is opened
 * after this call.  What such a file contains now counts as synced.
 */
void faulty_follow(void);

/** Called at the moment of a power failure; no file changes during the call. */
typedef void faulty_cut_cb(void *baton);

/**
 * Make the power fail at the n-th write, sync or removal from now on.
 * @param operation  n; 0: the power does not fail
 */
void faulty_cut_at(long operation, faulty_cut_cb *callback, void *baton);

/**
 * Write what a power failure would leave of a file: everything that was synced,
 * and any sectors of the unsynced changes, in any order.  If the file's entry
 * in its folder was not synced, the copy may be missing.  An existing copy is
 * replaced.
 * @param path  the file
 * @param copy  where to write what is left
 * @param seed  determines which sectors are left
 */
void faulty_cut(const char *path, const char *copy, unsigned int seed);

/** Forget all files. */
void faulty_forget(void);

#endif /* FAULTY_VFS_H */
