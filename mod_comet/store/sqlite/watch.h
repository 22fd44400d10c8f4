/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/sqlite/watch.h
 * Noticing that a process outside httpd has written to the database.
 *
 * inotify tells that the folder's files were touched, but *before* the
 * commit can be seen; so after an event the store is looked at again and
 * again, at growing distances (a ladder), until the writer must have given up.
 * httpd's own commits touch the files, too, each a dozen times: what follows
 * an event is left in inotify's queue, where it becomes one with it and wakes
 * nobody, until the store is due to be looked at.  Where inotify is refused, the store is looked
 * at every 20 ms.  Owned by one thread.
 */
#ifndef COMET_WATCH_H
#define COMET_WATCH_H

#include "base/comet.h"

typedef struct comet_watch_t {
    int fd; /* inotify; -1: polling */
    int open;
    int touched; /* events are in the queue */
    apr_time_t due; /* when to look next; 0: not until an event */
    apr_time_t paused_until; /* not before this */
    apr_time_t give_up;
    apr_interval_time_t step;
} comet_watch_t;

/** Not watching. */
#define COMET_WATCH_CLOSED \
    { \
        .fd = -1 \
    }

/**
 * Begin to watch the folder of a database.
 * @return APR_SUCCESS, or why inotify is refused (it then polls)
 */
apr_status_t comet_watch_open(comet_watch_t *watch, const char *path,
                              apr_time_t now);

void comet_watch_close(comet_watch_t *watch);

/** The inotify descriptor has become readable (to be told once is enough). */
void comet_watch_event(comet_watch_t *watch, apr_time_t now);

/** Whether the store is to be looked at now. */
int comet_watch_due(const comet_watch_t *watch, apr_time_t now);

/** The store is about to be looked at: if that is due, take the events and
 * start the ladder. */
void comet_watch_look(comet_watch_t *watch, apr_time_t now);

/**
 * The store was looked at: climb.
 * @param changed  whether a commit was seen
 */
void comet_watch_looked(comet_watch_t *watch, int changed, apr_time_t now);

/**
 * The look has failed: not again for a while, whatever happens in the folder.
 * Opening a database that cannot be opened touches the folder, too.
 */
void comet_watch_pause(comet_watch_t *watch, apr_time_t now);

#endif /* COMET_WATCH_H */
