/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/sqlite/inotify.h
 * Watches a database file's folder by inotify, as store/watch.h promises.
 *
 * inotify reports that a file of the folder was touched, but *before* the
 * commit can be seen.  So after an event the store is looked at again and
 * again, at growing distances (a ladder), until the writer must have given up.
 *
 * httpd's own commits touch the files, too, each a dozen times.  Until the
 * store is due to be looked at, further events are left in inotify's queue,
 * where they become one and wake nobody.
 *
 * Where inotify is refused, the store is looked at every 20 ms.
 */
#ifndef COMET_INOTIFY_H
#define COMET_INOTIFY_H

#include "store/watch.h"

/** A place's own is the path of the database. */
extern const comet_watch_engine_t comet_inotify_engine;

#endif /* COMET_INOTIFY_H */
