/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gather jobs before a commit.
 *
 * When a commit ends, its publishers are answered, and those that publish all
 * the time soon have their next message.  If commits are slow, it pays to wait
 * for these publishers.  Otherwise half of all publishers share one commit, the
 * other half shares the next, and each message waits for both.
 */
#include "store/writer_priv.h"

#include <time.h>

/** Only after a commit that waited at least this long for its disk, the next one
 * waits. */
#define SLOW_USEC 1000
/** About how long a commit takes for each message, whatever the disk. */
#define MESSAGE_USEC 8
/** How often to count the jobs while waiting, and after how many counts without
 * a new job the wait ends. */
#define STEP_USEC 150
#define IDLE_STEPS 3
/** The longest wait.  It is also at most as long as the last commit waited for
 * its disk. */
#define MOST_USEC 2000
/** After a wait in vain, this many commits begin without one. */
#define PAUSE 16

void comet_writer_note_commit(comet_writer_t *writer, apr_size_t count,
                              apr_interval_time_t took)
{
    apr_interval_time_t work = 0;
    apr_size_t i;

    for (i = 0; i < writer->group_count; i++) {
        work += MESSAGE_USEC * (apr_interval_time_t)writer->groups[i]->count;
    }
    writer->commit_usec = took > work ? took - work : 0;
    if (writer->commit_usec >= SLOW_USEC) {
        writer->expected = count + comet_writer_count_jobs(writer);
    }
}

/* Wait until the expected jobs are queued, or no more come.
 * @param count  how many jobs are queued
 * @return how many are queued now */
static apr_size_t await_jobs(comet_writer_t *writer, apr_size_t count)
{
    const struct timespec step = { .tv_nsec = STEP_USEC * 1000L };
    apr_int64_t until =
        comet_monotonic()
        + (writer->commit_usec < MOST_USEC ? writer->commit_usec : MOST_USEC);
    int idle = 0;

    while (idle < IDLE_STEPS && count < writer->expected
           && comet_monotonic() < until) {
        apr_size_t before = count;

        nanosleep(&step, NULL);
        count = comet_writer_count_jobs(writer);
        idle = count > before ? 0 : idle + 1;
    }
    return count;
}

void comet_writer_gather(comet_writer_t *writer)
{
    apr_size_t count;

    if (writer->commit_usec < SLOW_USEC) {
        return;
    }
    count = comet_writer_count_jobs(writer);
    if (count >= writer->expected) {
        return;
    }
    if (writer->gather_pause) {
        writer->gather_pause--;
    }
    else if (await_jobs(writer, count) == count) {
        writer->gather_pause = PAUSE;
    }
}
