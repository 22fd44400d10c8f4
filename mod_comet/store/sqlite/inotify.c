/* SPDX-License-Identifier: Apache-2.0 */
/* Watching a database's folder by inotify, and the ladder of looks that follows
 * an event. */
#include "store/sqlite/inotify.h"

#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

/* After a look that failed. */
#define PAUSE_USEC APR_INT64_C(50000)
#define FIRST_STEP_USEC APR_INT64_C(500)
#define LAST_STEP_USEC APR_INT64_C(16000)
#define POLL_USEC APR_INT64_C(20000)
/* On a slow disk it may take this long until a commit can be seen. */
#define LADDER_USEC APR_INT64_C(2000000)

#define TOUCHED \
    (IN_MODIFY | IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_TO \
     | IN_MOVED_FROM)

typedef struct inotify_t {
    comet_watch_t base; /* first: a comet_watch_t of this engine is one of us */
    int fd; /* inotify's; -1: polling */
    int touched; /* events are in the queue */
    apr_time_t due; /* when to look next; 0: not until an event */
    apr_time_t paused_until; /* not before this */
    apr_time_t give_up;
    apr_interval_time_t step;
} inotify_t;

/* @return inotify's descriptor; -1: it is refused */
static int watch_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char folder[4096];
    apr_size_t length = slash && slash != path ? (apr_size_t)(slash - path) : 1;
    int fd;

    if (length >= sizeof(folder)) {
        return -1;
    }
    memcpy(folder, path, length);
    folder[length] = '\0';
    fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (fd >= 0 && inotify_add_watch(fd, folder, TOUCHED) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static comet_watch_t *open_watch(const comet_place_t *place, apr_time_t now)
{
    inotify_t *made = calloc(1, sizeof(*made));

    if (!made) {
        return NULL;
    }
    made->base.engine = &comet_inotify_engine;
    made->fd = watch_folder(place->own);
    made->due = now; /* look at once, for what happened before the watch
                      * began */
    made->give_up = now;
    made->step = FIRST_STEP_USEC;
    return &made->base;
}

static void close_watch(comet_watch_t *base)
{
    inotify_t *watch = (inotify_t *)base;

    if (watch->fd >= 0) {
        close(watch->fd);
    }
    free(watch);
}

static int fd_of(const comet_watch_t *base)
{
    return ((const inotify_t *)base)->fd;
}

static apr_time_t due_of(const comet_watch_t *base)
{
    return ((const inotify_t *)base)->due;
}

static void note_event(comet_watch_t *base, apr_time_t now)
{
    inotify_t *watch = (inotify_t *)base;
    apr_time_t due = now + FIRST_STEP_USEC;

    watch->touched = 1;
    if (due < watch->paused_until) {
        due = watch->paused_until;
    }
    if (!watch->due || watch->due > due) {
        watch->due = due;
    }
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
    char events[16384];

    if (watch->touched && watch->due && watch->due <= now) {
        while (read(watch->fd, events, sizeof(events)) > 0) {
        }
        watch->touched = 0;
        watch->step = FIRST_STEP_USEC;
        watch->give_up = now + LADDER_USEC;
    }
}

static void after_look(comet_watch_t *base, int changed, apr_time_t now)
{
    inotify_t *watch = (inotify_t *)base;

    if (watch->fd < 0) {
        watch->due = now + POLL_USEC;
        return;
    }
    if (watch->touched) { /* this look came before the one that was due */
        watch->due = now + FIRST_STEP_USEC;
        return;
    }
    if (now >= watch->give_up) {
        watch->due = 0;
        return;
    }
    if (changed) {
        /* these events may already belong to the next commit, so continue to
         * look */
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
    .event = note_event,
    .due = due_of,
    .look = before_look,
    .looked = after_look,
    .pause = pause_watch,
};
