/* SPDX-License-Identifier: Apache-2.0 */
/* A run of the load generator: its phases, and its figures as JSON. */
#include "load.h"
#include "load_server.h"

#include <stdio.h>
#include <stdlib.h>

#define CONNECTS_AT_ONCE 200
#define STALLED_NS INT64_C(8000000000)
#define QUIET_NS INT64_C(3000000000)
#define HISTORY_NS INT64_C(10000000000)

/* What the server and the generator have used so far. */
typedef struct usage_t {
    int64_t time_ns;
    double server_seconds, own_seconds;
} usage_t;

static int64_t limit_ns;

static usage_t usage_now(void)
{
    usage_t usage = { load_now_ns(),
                      load_server_cpu_seconds(load.options.server),
                      load_own_cpu_seconds() };

    return usage;
}

/* --- The result ----------------------------------------------------------- */

static void put(const char *name, double value)
{
    static bool further;

    printf("%s\"%s\": %.*f", further ? ", " : "{", name,
           value == (double)(int64_t)value ? 0 : 4, value);
    further = true;
}

static void put_totals(void)
{
    const load_totals_t *totals = &load.totals;

    put("ready", totals->ready);
    put("connect_errors", (double)totals->connect_errors);
    put("http_errors", (double)totals->http_errors);
    put("last_refusal", totals->last_refusal);
    put("closed", (double)totals->closed);
    put("reopened", (double)totals->reopened);
    put("sent", (double)totals->sent);
    put("acknowledged", (double)totals->acknowledged);
    put("refused", (double)totals->refused);
    put("answers", (double)totals->answers);
    put("delivered", (double)totals->delivered);
    put("duplicates", (double)totals->duplicates);
    put("disordered", (double)totals->disordered);
    put("strangers", (double)totals->strangers);
    put("malformed", (double)totals->malformed);
}

static void put_quantiles(const char *name, const load_histogram_t *times)
{
    char text[64];

    snprintf(text, sizeof(text), "%s_p50_us", name);
    put(text, load_histogram_at(times, 0.50) / 1e3);
    snprintf(text, sizeof(text), "%s_p99_us", name);
    put(text, load_histogram_at(times, 0.99) / 1e3);
    snprintf(text, sizeof(text), "%s_max_us", name);
    put(text, (double)times->max / 1e3);
}

static void put_usage(const usage_t *from, const usage_t *to, double count)
{
    double wall = (double)(to->time_ns - from->time_ns) / 1e9;
    double server = to->server_seconds - from->server_seconds;

    put("wall_seconds", wall);
    put("server_seconds", server);
    put("server_percent", 100 * server / wall);
    put("per_cpu_second", server > 0 ? count / server : 0);
    put("generator_share", (to->own_seconds - from->own_seconds) / wall);
    put("rate_per_second", count / wall);
}

/* --- Phases --------------------------------------------------------------- */

static bool time_is_over(void)
{
    return load_now_ns() > limit_ns;
}

/* Publishers connect first, so that the growth of memory measured afterwards is
 * due to subscribers alone. */
static void open_publishers(void)
{
    int i;

    for (i = 0; i < load.options.publishers; i++) {
        load_conn_open(&load.publishers[i]);
    }
    while (load.totals.connecting > 0 && !time_is_over()) {
        load_loop_turn(10);
    }
}

static void open_subscribers(void)
{
    int64_t moved = load_now_ns();
    int next = 0, before = 0;

    while (load.totals.ready < load.options.subscribers && !time_is_over()
           && load_now_ns() - moved < STALLED_NS) {
        while (next < load.options.subscribers
               && next - load.totals.ready < CONNECTS_AT_ONCE) {
            load_conn_open(&load.subscribers[next++]);
        }
        load_loop_turn(50);
        if (load.totals.ready != before) {
            before = load.totals.ready;
            moved = load_now_ns();
        }
    }
    load_loop_for(load.options.settle_seconds);
}

/* How many deliveries the acknowledged messages must lead to. */
static uint64_t expected(void)
{
    uint64_t sum = 0;
    int i;

    for (i = 0; i < load.options.subscribers; i++) {
        if (load.subscribers[i].ready) {
            sum += load.acknowledged_in[load.subscribers[i].channel];
        }
    }
    return sum;
}

/* Publish, then wait until everything has arrived, or until nothing has arrived
 * for a while. */
static void publish_all(void)
{
    const load_options_t *options = &load.options;
    int64_t moved = load_now_ns();
    uint64_t before = 0;
    bool listened = options->mode == LOAD_STREAM || options->mode == LOAD_POLL;

    load_publisher_start(options->messages, options->rate, options->seconds);
    while (!time_is_over()) {
        load_loop_turn(20);
        if (load_publisher_done()
            && (!listened || load.totals.delivered >= expected())) {
            return;
        }
        if (load.totals.delivered != before || load.publishing) {
            before = load.totals.delivered;
            moved = load_now_ns();
        }
        if (load_now_ns() - moved > QUIET_NS) {
            return;
        }
    }
    load.publishing = false;
}

/* --- Modes ---------------------------------------------------------------- */

static void run_park(void)
{
    long before = load_server_pss_kib(load.options.server), after;
    usage_t from, to;
    int i, open = 0;

    open_subscribers();
    after = load_server_pss_kib(load.options.server);
    from = usage_now();
    load_loop_for(load.options.seconds);
    to = usage_now();
    for (i = 0; i < load.options.subscribers; i++) {
        open += load.subscribers[i].state == LOAD_OPEN;
    }
    put_totals();
    put("open", open);
    put("pss_kib", (double)after);
    put("pss_per_subscriber_kib",
        (double)(after - before) / load.options.subscribers);
    put_usage(&from, &to, 0);
}

static void run_publish(void)
{
    long before, after;
    usage_t from, to;
    uint64_t wanted;
    bool listened = load.options.mode != LOAD_PUBLISH;

    open_publishers();
    before = load_server_pss_kib(load.options.server);
    if (listened) {
        open_subscribers();
    }
    after = load_server_pss_kib(load.options.server);
    from = usage_now();
    publish_all();
    to = usage_now();
    load.stopping = true;
    load_loop_for(0.05); /* a duplicate would come soon */
    wanted = listened ? expected() : 0;
    put_totals();
    put("expected", (double)wanted);
    put("pss_per_subscriber_kib",
        listened ? (double)(after - before) / load.options.subscribers : 0);
    put_quantiles("latency", &load.latency);
    put_quantiles("acknowledge", &load.acknowledge);
    put_usage(
        &from, &to,
        (double)(listened ? load.totals.delivered : load.totals.acknowledged));
    put("published_per_second",
        (double)load.totals.acknowledged * 1e9
            / (double)(load.totals.last_acknowledged_ns
                       - load.totals.first_sent_ns + 1));
}

static void run_get(void)
{
    usage_t from = usage_now(), to;

    load.until_ns = from.time_ns + (int64_t)(load.options.seconds * 1e9);
    load.asking = true;
    load_subscriber_tick();
    while (load_now_ns() < load.until_ns) {
        load_loop_turn(5);
    }
    to = usage_now();
    load.asking = false;
    put_totals();
    put_quantiles("request", &load.request);
    put_usage(&from, &to, (double)load.totals.answers);
}

/* Time one new stream until it has received the whole history. */
static bool read_history(load_conn_t *conn, uint64_t count)
{
    int64_t start = load_now_ns();

    load_conn_open(conn);
    while (conn->seen.count < count && conn->state != LOAD_DEAD
           && load_now_ns() - start < HISTORY_NS && !time_is_over()) {
        load_loop_turn(10);
    }
    if (conn->seen.count >= count) {
        load_histogram_add(&load.request, load_now_ns() - start);
    }
    load_conn_close(conn, LOAD_DEAD);
    return conn->seen.count >= count;
}

static void run_history(void)
{
    usage_t from, to;
    int i, complete = 0;

    open_publishers();
    publish_all();
    load_loop_for(load.options.settle_seconds);
    from = usage_now();
    for (i = 0; i < load.options.subscribers; i++) {
        complete +=
            read_history(&load.subscribers[i], load.totals.acknowledged);
    }
    to = usage_now();
    put_totals();
    put("complete", complete);
    put_quantiles("history", &load.request);
    put_usage(&from, &to, (double)load.totals.delivered);
}

void load_run(void)
{
    limit_ns = load_now_ns() + (int64_t)(load.options.limit_seconds * 1e9);
    switch (load.options.mode) {
    case LOAD_PARK:
        run_park();
        break;
    case LOAD_STREAM:
    case LOAD_POLL:
    case LOAD_PUBLISH:
        run_publish();
        break;
    case LOAD_GET:
        run_get();
        break;
    case LOAD_HISTORY:
        run_history();
        break;
    }
    printf("}\n");
}
