/* SPDX-License-Identifier: Apache-2.0 */
/* End a child's threads. */
#include "hooks/stop.h"

#include "store/engine.h"
#include "output/log.h"
#include "wait/speaker.h"

/*
 * How long an ending child waits for the hub, which answers all waiting
 * clients, and then for all writers together.  The child does not wait for a
 * writer that is stuck: after a reload httpd accepts no connection until the
 * first old child has ended, or a second has passed.  Nothing is lost: no
 * publisher waits any more, and a store survives the end of a process in the
 * middle of a commit.
 */
#define HUB_STOP_LIMIT apr_time_from_sec(5)

#define WRITERS_STOP_LIMIT apr_time_from_msec(300)

/* How long one line of the access log may take at the end of a child. */
#define LOG_STOP_LIMIT apr_time_from_msec(300)

#define HUB_STOP_LIMIT_IN_SIGNAL_HANDLER apr_time_from_sec(1)

/* End a child's threads. The writer closes the store last, because only the
 * last connection copies the log into the file when it closes.
 * @param hub_limit, writers_limit  how long to wait, in microseconds */
static mod_comet_late_t stop_threads(mod_comet_child_t *made,
                                     apr_interval_time_t hub_limit,
                                     apr_interval_time_t writers_limit,
                                     int in_signal_handler)
{
    mod_comet_late_t late = { .thread = NULL };
    apr_time_t deadline;
    apr_size_t i;

    if (made->hub && !comet_hub_stop(made->hub, hub_limit)) {
        late.thread = "the hub";
    }
    if (!mod_comet_log_stop(made, LOG_STOP_LIMIT)) {
        late.thread = "the thread that writes log lines";
    }
    mod_comet_speaker_stop(made, 0); /* a speaker can be waiting for a writer */
    for (i = 0; i < made->store_count; i++) {
        if (!in_signal_handler) {
            comet_readers_close(made->stores[i].readers);
        }
        comet_writer_stop(made->stores[i].writer, 0); /* tell all writers before
                                                       * waiting for any */
    }
    deadline = comet_monotonic() + writers_limit;
    for (i = 0; i < made->store_count; i++) {
        comet_writer_t *writer = made->stores[i].writer;

        if (!comet_writer_stop(writer, comet_writer_is_stuck(writer)
                                           ? 0
                                           : deadline - comet_monotonic())) {
            late.store = made->stores[i].config;
        }
    }
    if (!mod_comet_speaker_stop(made,
                                late.store ? 0 : deadline - comet_monotonic())
        && !late.store) {
        late.thread = "the thread that speaks to WebSockets";
    }
    return late;
}

mod_comet_late_t mod_comet_stop(mod_comet_child_t *made, int in_signal_handler)
{
    return stop_threads(made,
                        in_signal_handler ? HUB_STOP_LIMIT_IN_SIGNAL_HANDLER
                                          : HUB_STOP_LIMIT,
                        WRITERS_STOP_LIMIT, in_signal_handler);
}

int mod_comet_stop_at_once(mod_comet_child_t *made)
{
    return !mod_comet_stop_is_late(stop_threads(made, 0, 0, 0));
}

int mod_comet_stop_is_late(mod_comet_late_t late)
{
    return late.thread || late.store;
}

void mod_comet_stop_log(mod_comet_late_t late, server_rec *server)
{
    if (late.thread) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, server,
                     "COMET0109: %s did not end in time", late.thread);
    }
    if (late.store) {
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, server,
                     "COMET0110: CometStore: %s: its %s, and nothing is lost",
                     late.store->place.name,
                     late.store->place.engine->is_remote
                         ? "database server is slow, so this child ends "
                           "before it has closed its connection"
                         : "disk is slow, so this child ends before it has "
                           "copied the log into the file; the next child "
                           "continues with the log");
    }
}
