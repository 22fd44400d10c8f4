/* SPDX-License-Identifier: Apache-2.0 */
/* inotify on the database's folder, and the ladder of looks after it. */
#include "store/sqlite/watch.h"

#include <errno.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

/* After a look that failed. */
#define PAUSE_USEC APR_INT64_C(50000)
#define FIRST_STEP_USEC APR_INT64_C(500)
#define LAST_STEP_USEC APR_INT64_C(16000)
#define POLL_USEC APR_INT64_C(20000)
/* A slow disk can keep a commit from being seen for this long. */
#define LADDER_USEC APR_INT64_C(2000000)

#define TOUCHED \
    (IN_MODIFY | IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_TO \
     | IN_MOVED_FROM)

static apr_status_t watch_folder(comet_watch_t *watch, const char *path)
{
    const char *slash = strrchr(path, '/');
    char folder[4096];
    apr_size_t length = slash && slash != path ? (apr_size_t)(slash - path) : 1;

    if (length >= sizeof(folder)) {
        return ENAMETOOLONG;
    }
    memcpy(folder, path, length);
    folder[length] = '\0';
    watch->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (watch->fd < 0) {
        return errno;
    }
    if (inotify_add_watch(watch->fd, folder, TOUCHED) < 0) {
        apr_status_t status = errno;

        close(watch->fd);
        watch->fd = -1;
        return status;
    }
    return APR_SUCCESS;
}

apr_status_t comet_watch_open(comet_watch_t *watch, const char *path,
                              apr_time_t now)
{
    apr_status_t status = watch_folder(watch, path);

    watch->open = 1;
    watch->due = now; /* what happened before it watched */
    watch->give_up = now;
    watch->step = FIRST_STEP_USEC;
    return status;
}

void comet_watch_close(comet_watch_t *watch)
{
    if (watch->fd >= 0) {
        close(watch->fd);
    }
    *watch = (comet_watch_t)COMET_WATCH_CLOSED;
}

void comet_watch_event(comet_watch_t *watch, apr_time_t now)
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

void comet_watch_pause(comet_watch_t *watch, apr_time_t now)
{
    watch->paused_until = now + PAUSE_USEC;
    if (watch->due && watch->due < watch->paused_until) {
        watch->due = watch->paused_until;
    }
}

int comet_watch_due(const comet_watch_t *watch, apr_time_t now)
{
    return watch->due != 0 && watch->due <= now;
}

void comet_watch_look(comet_watch_t *watch, apr_time_t now)
{
    char events[16384];

    if (watch->touched && comet_watch_due(watch, now)) {
        while (read(watch->fd, events, sizeof(events)) > 0) {
        }
        watch->touched = 0;
        watch->step = FIRST_STEP_USEC;
        watch->give_up = now + LADDER_USEC;
    }
}

void comet_watch_looked(comet_watch_t *watch, int changed, apr_time_t now)
{
    if (!watch->open) {
        return;
    }
    if (watch->fd < 0) {
        watch->due = now + POLL_USEC;
        return;
    }
    if (watch->touched) { /* it was before that was due */
        watch->due = now + FIRST_STEP_USEC;
        return;
    }
    if (now >= watch->give_up) {
        watch->due = 0;
        return;
    }
    if (changed) {
        /* the events may have been of the next commit already: look on */
        watch->step = FIRST_STEP_USEC;
    }
    watch->due = now + watch->step;
    watch->step =
        watch->step * 2 > LAST_STEP_USEC ? LAST_STEP_USEC : watch->step * 2;
}
