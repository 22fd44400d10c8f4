/* SPDX-License-Identifier: Apache-2.0 */
/* End a child's threads. */
#include "hooks/stop.h"

#include "store/engine.h"
#include "server/mpm.h"
#include "output/log.h"
#include "wait/speaker.h"

/* How long an ending child waits for the hub, which answers all waiting
 * clients. */
#define HUB_STOP_LIMIT apr_time_from_sec(5)

/*
 * How long an ending child waits for all writers together.  It does not wait
 * for a writer that is stuck: after a reload httpd accepts no connection until
 * the first old child has ended, or a second has passed.  Nothing is lost: no
 * publisher waits any more, and a store survives the end of a process in the
 * middle of a commit.
 *
 * At a restart (SIGHUP) nobody is served until all children have ended.  Then
 * httpd checks for that after 16, 82 and 344 ms, so a child should need less
 * than 82.
 */
#define WRITERS_STOP_LIMIT apr_time_from_msec(300)
#define STUCK apr_time_from_msec(500)
#define WRITERS_RESTART_LIMIT apr_time_from_msec(40)
#define STUCK_AT_RESTART apr_time_from_msec(30)

/* How long one line of the access log may take at the end of a child. */
#define LOG_STOP_LIMIT apr_time_from_msec(300)

#define HUB_STOP_LIMIT_IN_SIGNAL_HANDLER apr_time_from_sec(1)

/* How long to wait for threads. */
typedef struct limits_t {
    apr_interval_time_t hub;
    apr_interval_time_t writers; /* for all of them together */
    apr_interval_time_t stuck; /* a writer that takes this long for one step is
                                * not waited for */
} limits_t;

/* @return whether the writer has ended by the deadline */
static int await_writer(comet_writer_t *writer, apr_time_t deadline,
                        apr_interval_time_t stuck)
{
    int ended = comet_writer_stop(writer, 0);

    while (!ended && comet_monotonic() < deadline
           && !comet_writer_is_stuck(writer, stuck)) {
        ended = comet_writer_stop(writer, apr_time_from_msec(1));
    }
    return ended;
}

/* End a child's threads.  The writer closes the store last, because only the
 * last connection copies the log into the file when it closes.  It does so when
 * httpd stops, so that the file alone is then complete.  At a restart the new
 * children continue with the log. */
static mod_comet_late_t stop_threads(mod_comet_child_t *made, limits_t limits,
                                     int in_signal_handler)
{
    mod_comet_late_t late = { .thread = NULL };
    apr_time_t deadline;
    apr_size_t i;

    if (made->hub && !comet_hub_stop(made->hub, limits.hub)) {
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
        if (mod_comet_mpm_is_replaced()) {
            comet_writer_keep_log(made->stores[i].writer);
        }
        comet_writer_stop(made->stores[i].writer, 0); /* tell all writers before
                                                       * waiting for any */
    }
    deadline = comet_monotonic() + limits.writers;
    for (i = 0; i < made->store_count; i++) {
        if (!await_writer(made->stores[i].writer, deadline, limits.stuck)) {
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
    int restarts = mod_comet_child_must_end() && mod_comet_mpm_is_replaced();
    limits_t limits = {
        .hub = in_signal_handler ? HUB_STOP_LIMIT_IN_SIGNAL_HANDLER
                                 : HUB_STOP_LIMIT,
        .writers = restarts ? WRITERS_RESTART_LIMIT : WRITERS_STOP_LIMIT,
        .stuck = restarts ? STUCK_AT_RESTART : STUCK,
    };

    return stop_threads(made, limits, in_signal_handler);
}

int mod_comet_stop_at_once(mod_comet_child_t *made)
{
    const limits_t none = { .hub = 0 };

    return !mod_comet_stop_is_late(stop_threads(made, none, 0));
}

void mod_comet_stop_dismiss(mod_comet_child_t *made)
{
    apr_size_t i;

    for (i = 0; i < made->store_count; i++) {
        comet_readers_dismiss(made->stores[i].readers);
        comet_writer_dismiss(made->stores[i].writer);
    }
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
                         : "disk is slow, so this child ends without "
                           "waiting for it; the next child continues with "
                           "the log");
    }
}
