/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/sqlite/inotify.h
 * Watches a database's file and its log by inotify, and their names in the
 * folder, as store/watch.h promises.
 *
 * inotify reports that a file was touched, but *before* the commit can be seen.
 * So after an event the store is looked at again and again, at growing
 * distances (a ladder), until the writer must have given up.
 *
 * httpd's own commits touch the files, too, each a dozen times.  Only the first
 * event after a look is reported; the look begins the watch of the files again.
 * Other files of the folder wake nobody, so many stores may share one.
 *
 * All watches of a thread share one descriptor, and whichever of them is told
 * of an event reads it for all.
 *
 * Where inotify is refused, the store is looked at every 20 ms.
 */
#ifndef COMET_INOTIFY_H
#define COMET_INOTIFY_H

#include "store/watch.h"

/** A place's own is the path of the database. */
extern const comet_watch_engine_t comet_inotify_engine;

#endif /* COMET_INOTIFY_H */
