/* SPDX-License-Identifier: Apache-2.0 */
/* Watch a database's files by inotify, and make the ladder of looks that
 * follows an event. */
#include "store/sqlite/inotify.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

/* How long to wait after a look that failed. */
#define PAUSE_USEC APR_INT64_C(50000)
#define FIRST_STEP_USEC APR_INT64_C(500)
#define LAST_STEP_USEC APR_INT64_C(16000)
/* How often a store is looked at if inotify has refused to watch it.  If a
 * thread has many such stores, it looks at one of them every POLL_TOGETHER_USEC,
 * and at each of them at least once in POLL_MOST_USEC. */
#define POLL_USEC APR_INT64_C(20000)
#define POLL_TOGETHER_USEC APR_INT64_C(5000)
#define POLL_MOST_USEC APR_INT64_C(500000)
/* How long to keep looking after an event.  On a slow disk, a commit can take
 * this long to become visible. */
#define LADDER_USEC APR_INT64_C(2000000)

/* The events about names in a folder. */
#define RENAMED (IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM)
/* The events about a file. */
#define TOUCHED (IN_MODIFY | IN_CLOSE_WRITE)
/* Instead of these, once a file was touched.  So a busy writer wakes nobody
 * again before the next look at the store.  IN_ONESHOT would do the same, but
 * the writer that touches the file would have to remove the watch in the
 * kernel, which takes it 20 us. */
#define UNTOUCHED IN_DELETE_SELF

/* The largest size of an event, see inotify(7). */
#define EVENT_BYTES_MOST (sizeof(struct inotify_event) + NAME_MAX + 1)

enum { DATABASE, LOG, FILES };

static const char *const suffixes[FILES] = { "", "-wal" };

typedef struct inotify_t inotify_t;
struct inotify_t {
    comet_watch_t base; /* first, so that a comet_watch_t of this engine can be
                         * cast to an inotify_t */
    inotify_t *next; /* in the list of all watches of the thread */
    const char *path; /* the database's path, which belongs to the place */
    const char *name; /* the last part of `path` */
    int refused; /* inotify has refused this watch: look at fixed intervals */
    int folder; /* inotify's watch descriptor for the folder */
    int files[FILES]; /* inotify's watch descriptor for each file; -1: not
                       * watched */
    int quiet[FILES]; /* whether each file is not watched for writing */
    int touched; /* whether an event has come since the last look that was
                  * due */
    apr_time_t due; /* when to look next; 0: not before an event */
    apr_time_t paused_until; /* no look before this time */
    apr_time_t give_up; /* when the ladder of looks ends */
    apr_interval_time_t step; /* how long to wait before the next look of the
                               * ladder */
};

/* A user may have 128 instances of inotify, so the watches of a thread share
 * one. */
static __thread struct {
    int fd; /* the instance of inotify, while there are watches; -1: none could
             * be created */
    inotify_t *watches;
    int left; /* a watch on a file was removed, which inotify reports */
} shared;

/* @return inotify's watch descriptor for the folder; -1: the watch was refused
 *         */
static int watch_folder(const inotify_t *watch)
{
    char folder[4096];
    apr_size_t length = watch->name > watch->path + 1
                            ? (apr_size_t)(watch->name - watch->path) - 1
                            : 1;

    if (length >= sizeof(folder)) {
        return -1;
    }
    memcpy(folder, watch->path, length);
    folder[length] = '\0';
    return inotify_add_watch(shared.fd, folder, RENAMED);
}

/* Watch a file, if it exists, or change what it is watched for.
 * @param events  TOUCHED or UNTOUCHED */
static void watch_file(inotify_t *watch, int i, apr_uint32_t events)
{
    int before = watch->files[i];
    char file[4096];

    snprintf(file, sizeof(file), "%s%s", watch->path, suffixes[i]);
    watch->files[i] = inotify_add_watch(shared.fd, file, events);
    watch->quiet[i] = events == UNTOUCHED;
    watch->refused |= watch->files[i] < 0 && errno != ENOENT;
    if (before >= 0 && before != watch->files[i]) { /* the name belongs to
                                                     * another file now */
        inotify_rm_watch(shared.fd, before);
    }
}

/* Watch the files that exist now and are not watched for writing. */
static void watch_files(inotify_t *watch)
{
    int i;

    for (i = 0; i < FILES && !watch->refused; i++) {
        if (watch->files[i] < 0 || watch->quiet[i]) {
            watch_file(watch, i, TOUCHED);
        }
    }
}

static comet_watch_t *open_watch(const comet_place_t *place, apr_time_t now)
{
    inotify_t *made = calloc(1, sizeof(*made));
    const char *slash = strrchr(place->own, '/');

    if (!made) {
        return NULL;
    }
    if (!shared.watches) {
        shared.fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    }
    *made = (inotify_t){
        .base.engine = &comet_inotify_engine,
        .next = shared.watches,
        .path = place->own,
        .name = slash ? slash + 1 : place->own,
        .files = { -1, -1 },
        .due = now, /* look at once: the watch has missed all earlier events */
        .give_up = now,
        .step = FIRST_STEP_USEC,
    };
    shared.watches = made;
    made->folder = watch_folder(made);
    made->refused = made->folder < 0;
    watch_files(made);
    return &made->base;
}

/* Stop watching the files, whose names may belong to other files now. */
static void leave_files(inotify_t *watch)
{
    int i;

    for (i = 0; i < FILES; i++) {
        if (watch->files[i] >= 0) {
            inotify_rm_watch(shared.fd, watch->files[i]);
            watch->files[i] = -1;
            shared.left = 1;
        }
    }
}

/* Close the instance of inotify, whose last watch has just been removed.
 * Without the pause, about half of these calls take 13 ms, since the kernel
 * waits until no processor can see the removed watches.  When httpd restarts,
 * it looks for ended children after 16 ms and next after 82 ms, so the restart
 * would take 66 ms longer. */
static void close_instance(void)
{
    poll(NULL, 0, 1);
    close(shared.fd);
}

/* inotify's watch on the folder stays, since other stores may be in that
 * folder, until the last watch of the thread is closed. */
static void close_watch(comet_watch_t *base)
{
    inotify_t *watch = (inotify_t *)base, **link = &shared.watches;

    while (*link != watch) {
        link = &(*link)->next;
    }
    *link = watch->next;
    leave_files(watch);
    if (!shared.watches && shared.fd >= 0) {
        inotify_rm_watch(shared.fd, watch->folder);
        close_instance();
    }
    free(watch);
}

static int fd_of(const comet_watch_t *base)
{
    return ((const inotify_t *)base)->refused ? -1 : shared.fd;
}

static apr_time_t due_of(const comet_watch_t *base)
{
    return ((const inotify_t *)base)->due;
}

/* @return whether a name is the database's, or that of one of its side files */
static int is_own_name(const inotify_t *watch, const char *name)
{
    apr_size_t length = strlen(watch->name);

    return strncmp(name, watch->name, length) == 0
           && (!name[length] || name[length] == '-');
}

/* Note what inotify reports: names have changed, a file was touched, or
 * (IN_IGNORED) a watch has ended.  A file that has lost its name may report one
 * last event, which concerns no watch.
 * @return whether there may be something new in this database */
static int take_event(inotify_t *watch, const struct inotify_event *event)
{
    int i = 0;

    if ((event->mask & IN_Q_OVERFLOW)
        || (event->wd == watch->folder && event->len
            && is_own_name(watch, event->name))) {
        leave_files(watch);
        return 1;
    }
    while (i < FILES && event->wd != watch->files[i]) {
        i++;
    }
    if (i < FILES && (event->mask & IN_IGNORED)) {
        watch->files[i] = -1;
    }
    else if (i < FILES && !watch->quiet[i]) {
        watch_file(watch, i, UNTOUCHED);
    }
    return i < FILES && !(event->mask & IN_IGNORED);
}

static void note_touched(inotify_t *watch, apr_time_t now)
{
    apr_time_t due = now + FIRST_STEP_USEC;

    watch->touched = 1;
    if (due < watch->paused_until) {
        due = watch->paused_until;
    }
    if (!watch->due || watch->due > due) {
        watch->due = due;
    }
}

/* Read the events for all watches of the thread, not only for @a base. */
static void take_events(comet_watch_t *base, apr_time_t now)
{
    char bytes[16384]
        __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t length;

    do { /* if a read leaves room for one more event, it has read them all */
        const char *at = bytes;

        shared.left = 0;
        length = read(shared.fd, bytes, sizeof(bytes));
        while (at < bytes + length) {
            const struct inotify_event *event =
                (const struct inotify_event *)(const void *)at;
            inotify_t *watch;

            for (watch = shared.watches; watch; watch = watch->next) {
                if (take_event(watch, event)) {
                    note_touched(watch, now);
                }
            }
            at += sizeof(*event) + event->len;
        }
    } while (shared.left
             || length > (ssize_t)(sizeof(bytes) - EVENT_BYTES_MOST));
}

static void pause_watch(comet_watch_t *base, apr_time_t now)
{
    inotify_t *watch = (inotify_t *)base;

    watch->paused_until = now + PAUSE_USEC;
    if (watch->due && watch->due < watch->paused_until) {
        watch->due = watch->paused_until;
    }
}

static void before_look(comet_watch_t *base, apr_time_t now)
{
    inotify_t *watch = (inotify_t *)base;

    if (watch->touched && watch->due && watch->due <= now) {
        watch_files(watch); /* so that the next write is reported again */
        watch->touched = 0;
        watch->step = FIRST_STEP_USEC;
        watch->give_up = now + LADDER_USEC;
    }
}

/* How long a watch without inotify waits for its next look.  The interval grows
 * with the number of such watches, since a thread may have hundreds. */
static apr_interval_time_t poll_interval(void)
{
    const inotify_t *watch;
    apr_interval_time_t interval = 0;

    for (watch = shared.watches; watch; watch = watch->next) {
        interval += watch->refused ? POLL_TOGETHER_USEC : 0;
    }
    return interval < POLL_USEC        ? POLL_USEC
           : interval < POLL_MOST_USEC ? interval
                                       : POLL_MOST_USEC;
}

static void after_look(comet_watch_t *base, int changed, apr_time_t now)
{
    inotify_t *watch = (inotify_t *)base;

    if (watch->refused) {
        watch->due = now + poll_interval();
        return;
    }
    if (watch->touched) { /* an event came after the look began: look again */
        watch->due = now + FIRST_STEP_USEC;
        return;
    }
    if (now >= watch->give_up) {
        watch->due = 0;
        return;
    }
    if (changed) {
        /* start the ladder again: the events may belong to the next commit */
        watch->step = FIRST_STEP_USEC;
    }
    watch->due = now + watch->step;
    watch->step =
        watch->step * 2 > LAST_STEP_USEC ? LAST_STEP_USEC : watch->step * 2;
}

const comet_watch_engine_t comet_inotify_engine = {
    .open = open_watch,
    .close = close_watch,
    .fd = fd_of,
    .event = take_events,
    .due = due_of,
    .look = before_look,
    .looked = after_look,
    .pause = pause_watch,
};
