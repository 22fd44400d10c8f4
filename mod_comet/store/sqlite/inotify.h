/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/sqlite/inotify.h
 * Use inotify to watch a database file, its log, and the folder that has their
 * names.  The contract is in store/watch.h.
 *
 * inotify reports that a file was written *before* the commit can be seen.  So
 * after an event the hub looks at the store repeatedly, at growing intervals
 * (the ladder), until even a slow commit must be visible.
 *
 * httpd's own commits write to the files, too, a dozen times each.  So only the
 * first event after a look is reported, and each look renews the watch on the
 * files.  Writing to other files of the folder wakes nobody, so many stores may
 * share a folder.
 *
 * All watches of a thread share one descriptor.  comet_watch_event(), called
 * for any one of them, reads the events for all.
 *
 * If inotify refuses a watch, the store is looked at every 20 ms, or less often
 * if there are many such watches.
 */
#ifndef COMET_INOTIFY_H
#define COMET_INOTIFY_H

#include "store/watch.h"

/** The SQLite engine's watch.  The place->own passed to open() is the path of
 * the database. */
extern const comet_watch_engine_t comet_inotify_engine;

#endif /* COMET_INOTIFY_H */
