/* SPDX-License-Identifier: Apache-2.0 */
/* Start and end the server and each of its children. */
#include "hooks/lifecycle.h"

#include <apr_strings.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "wire/ndjson.h"
#include "store/engine.h"
#include "server/child.h"
#include "server/config.h"
#include "server/mpm.h"
#include "server/pool.h"
#include "server/retained.h"
#include "request/limits.h"
#include "request/shortcut.h"
#include "output/log.h"
#include "wait/block.h"
#include "wait/speaker.h"
#include "wait/verdicts.h"
#include "wait/fast.h"
#include "wait/wait.h"
#include "hooks/advice.h"
#include "hooks/stop.h"
#include "hooks/stores.h"
#include "hooks/ways.h"

/* The shortest time between two attempts of a child to start its threads. */
#define START_EVERY apr_time_from_sec(1)

/* post_config sets this, and the children inherit it. */
static struct {
    const comet_store_config_t *const *stores;
    comet_bus_t *const *buses;
    apr_size_t count;
    server_rec *server; /* the main server, for the log */
} parent;

static int slot; /* this child's slot in the counters */

static atomic_int
    is_over; /* [atomic] httpd is destroying its pools: nothing may be logged */

/* A child that could not start its threads, for want of descriptors or memory,
 * tries again later, because httpd may keep the child for a long time. */
static struct {
    pthread_mutex_t lock;
    mod_comet_child_t *made; /* [lock] the last attempt, complete or not; NULL:
                              * none was made, or it was freed */
    apr_time_t due; /* [lock] when to try again, by comet_monotonic() */
} start = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* The bus outlives a reload: a message that an old child publishes must reach
 * the children of the new generation. */
static apr_status_t create_bus(void **thing, void *process_pool)
{
    comet_bus_t *bus;
    apr_status_t status = comet_bus_create(&bus, process_pool);

    *thing = bus;
    return status;
}

static apr_status_t create_metrics(void **thing, void *slots)
{
    comet_metrics_t *metrics;
    apr_status_t status = comet_metrics_create(&metrics, *(int *)slots);

    *thing = metrics;
    return status;
}

/* Make, or find, the shared memory of the counters, the limits and each
 * store. */
static apr_status_t share_memory(const apr_array_header_t *stores,
                                 apr_array_header_t *buses, server_rec *s,
                                 apr_pool_t *ptemp)
{
    int children = mod_comet_mpm_capacity()->children_limit + 8, i;
    void *thing = NULL;
    apr_status_t status =
        mod_comet_retained_get(&thing, "metrics", comet_metrics_layout(),
                               create_metrics, &children, ptemp);

    mod_comet_child_set_metrics(thing);
    if (status == APR_SUCCESS) {
        status = mod_comet_limits_create(children, ptemp);
    }
    for (i = 0; i < stores->nelts && status == APR_SUCCESS; i++) {
        const char *name = apr_pstrcat(
            ptemp, "bus:",
            APR_ARRAY_IDX(stores, i, comet_store_config_t *)->place.name, NULL);

        status = mod_comet_retained_get(&thing, name, comet_bus_layout(),
                                        create_bus, s->process->pool, ptemp);
        APR_ARRAY_PUSH(buses, comet_bus_t *) = thing;
    }
    return status;
}

/* List the versions of the libraries of all engines in use. */
static const char *versions(apr_pool_t *p)
{
    const char *text = "";
    apr_size_t i, j;

    for (i = 0; i < parent.count; i++) {
        const comet_engine_t *engine = parent.stores[i]->place.engine;

        for (j = 0; parent.stores[j]->place.engine != engine; j++) {
        }
        if (j == i) { /* the first store with this engine */
            text = apr_pstrcat(p, text, i ? ", " : "", engine->version(), NULL);
        }
    }
    return text;
}

/* @return whether an access-log line can be written after its request has
 *         ended */
static int check_log(server_rec *s, apr_pool_t *p)
{
    const char *obstacle = mod_comet_log_check(p);
    const char *waits = mod_comet_log_waits();

    if (obstacle) {
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, s,
                     "COMET0104: CometAdopt: off, since %s", obstacle);
    }
    if (waits) {
        ap_log_error(APLOG_MARK, APLOG_INFO, 0, s,
                     "COMET0105: each waiting poll ends on one of httpd's "
                     "threads and holds two descriptors, since %s",
                     waits);
    }
    return !obstacle;
}

int mod_comet_lifecycle_post_config(apr_pool_t *pconf, apr_pool_t *plog,
                                    apr_pool_t *ptemp, server_rec *s)
{
    apr_array_header_t *stores, *buses;
    apr_status_t status;

    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG) {
        return OK; /* this first pass only checks the configuration */
    }
    stores = apr_array_make(pconf, 1, sizeof(comet_store_config_t *));
    if (mod_comet_stores_find(stores, s) != OK) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    buses = apr_array_make(pconf, stores->nelts, sizeof(comet_bus_t *));
    mod_comet_mpm_query((apr_size_t)stores->nelts);
    ap_method_register(pconf, "QUERY"); /* HttpProtocolOptions RegisteredMethods
                                         * refuses methods that are not
                                         * registered */
    mod_comet_shortcut_prepare(s);
    status = share_memory(stores, buses, s, ptemp);
    if (status != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_EMERG, status, s,
                     "COMET0106: cannot get shared memory or a descriptor");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    mod_comet_stores_advise(stores, s, ptemp);
    mod_comet_advice_give(s, ptemp);
    mod_comet_stores_confine(stores, s);
    parent.stores = (const comet_store_config_t *const *)stores->elts;
    parent.buses = (comet_bus_t *const *)buses->elts;
    parent.count = (apr_size_t)stores->nelts;
    parent.server = s;
    if (parent.count) {
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, s,
                     "COMET0101: mod_comet %s (%s)", MOD_COMET_VERSION,
                     versions(ptemp));
        mod_comet_ways_begin(s, check_log(s, ptemp), ptemp);
    }
    return OK;
}

static void log_store(const comet_store_config_t *store, apr_status_t status,
                      const char *detail)
{
    char buffer[200];

    if (atomic_load(&is_over)) {
        return;
    }
    if (status == APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, parent.server,
                     "COMET0122: CometStore: %s works again",
                     store->place.name);
        return;
    }
    comet_metrics_add(COMET_METRIC_store_errors, 1);
    ap_log_error(APLOG_MARK, APLOG_ERR, 0, parent.server,
                 "COMET0121: CometStore: %s: %s%s%s", store->place.name,
                 comet_strerror(status, buffer, sizeof(buffer)),
                 detail ? ": " : "", detail ? detail : "");
}

static void on_writer_error(void *baton, apr_status_t status,
                            const char *detail)
{
    log_store(baton, status, detail);
}

static void on_writer_refusal(void *baton, const char *detail)
{
    const comet_store_config_t *store = baton;

    ap_log_error(APLOG_MARK, APLOG_INFO, 0, parent.server,
                 "COMET0124: CometStore: %s refused a change: %s",
                 store->place.name, detail);
}

static void on_hub_error(void *baton, const comet_store_config_t *store,
                         apr_status_t status, const char *detail)
{
    char text[450];

    snprintf(text, sizeof(text), "reading%s%s", *detail ? ": " : "", detail);
    log_store(store, status, text);
}

/* Members may have been thrown out: end their clients' streams, and judge the
 * clients again when they come back. */
static void on_removed(void *nothing)
{
    const mod_comet_child_t *made = mod_comet_child();

    if (made) {
        mod_comet_verdicts_forget(made->verdicts);
        comet_hub_review(made->hub);
    }
}

/* Messages that the hub has submitted are stored, or refused. */
static void on_answered(void *nothing)
{
    const mod_comet_child_t *made = mod_comet_child();

    if (made) {
        comet_hub_wake(made->hub);
    }
}

static void on_round(void *nothing)
{
    const mod_comet_child_t *made = mod_comet_child();

    if (made) {
        mod_comet_fast_take_answers(made);
    }
}

/* Let the writers begin with what the hub has submitted in this round. */
static void on_served(void *nothing)
{
    const mod_comet_child_t *made = mod_comet_child();
    apr_size_t i;

    for (i = 0; made && i < made->store_count; i++) {
        comet_writer_begin(made->stores[i].writer);
    }
}

static void on_message(void *nothing, apr_size_t store,
                       const comet_message_t *message)
{
    const mod_comet_child_t *made = mod_comet_child();
    comet_presence_t *presence =
        made ? comet_writer_presence(made->stores[store].writer) : NULL;

    if (presence && comet_presence_is_notice(message)) {
        comet_presence_notice(presence);
    }
}

static int has_presence(void)
{
    apr_size_t i = 0;

    while (i < parent.count && !parent.stores[i]->presence_grace) {
        i++;
    }
    return i < parent.count;
}

/* Whether a test runs this child without hints (test/README.md), to see that
 * nothing depends on them. */
static int is_deaf(void)
{
    const char *number = getenv("COMET_TEST_NO_HINTS");

    return number && strtol(number, NULL, 10) == slot;
}

/* Free what a child has, after its threads have ended. */
static void free_made(mod_comet_child_t *made)
{
    apr_size_t i;

    for (i = 0; i < made->store_count; i++) {
        comet_readers_close(made->stores[i].readers);
    }
    if (made->hub) {
        comet_hub_free(made->hub);
        mod_comet_wait_end(made);
    }
    apr_pool_destroy(made->pool);
}

/* Clean up after a failed attempt to start.
 * @return whether nothing is left; if a thread has not ended yet, call again */
static int clear_start(void)
{
    if (start.made && mod_comet_stop_at_once(start.made)) {
        free_made(start.made);
        start.made = NULL;
    }
    return !start.made;
}

/* A fork of a child ends without touching anything: the threads, the database
 * and the counters belong to the child. */
static apr_status_t end_child(void *nothing)
{
    int in_signal_handler = mod_comet_mpm_capacity()->prefork;
    mod_comet_late_t late = { .thread = NULL };

    if (comet_process_is_fork()) {
        return APR_SUCCESS;
    }
    if (start.made) {
        late = mod_comet_stop(start.made, in_signal_handler);
    }
    atomic_store(&is_over, 1);
    mod_comet_child_set(NULL);
    comet_metrics_detach();
    if (in_signal_handler) {
        return APR_SUCCESS; /* the process ends now, and a signal handler may
                             * free nothing */
    }
    if (mod_comet_stop_is_late(late)) {
        mod_comet_stop_log(late, parent.server);
    }
    else if (start.made) {
        free_made(start.made);
    }
    return APR_SUCCESS;
}

/* Publishers may hold a quarter of the child's threads, and readers a half.
 * The remaining threads can serve the site whatever the store does. */
static apr_status_t start_store(mod_comet_child_t *made, apr_size_t i,
                                comet_committed_t *committed)
{
    mod_comet_child_store_t *store = &made->stores[i];
    apr_size_t threads = (apr_size_t)mod_comet_mpm_capacity()->threads;
    comet_writer_config_t config = {
        .store = parent.stores[i],
        .bus = parent.buses[i],
        .committed = committed,
        .places = threads / 4 ? threads / 4 : 1,
        .waiting = &made->publishers,
        .on_error = on_writer_error,
        .on_refusal = on_writer_refusal,
        .on_removed = on_removed,
        .on_answered = on_answered,
        .baton = (void *)parent.stores[i],
    };
    apr_size_t places = threads / 2 ? threads / 2 : 1;
    apr_size_t kept = mod_comet_mpm_readers_kept(parent.count);
    apr_size_t limit = config.store->place.engine->reader_limit;
    apr_status_t status;

    if (limit) {
        places = limit < places ? limit : places;
        kept = places < kept ? places : kept;
    }
    store->config = parent.stores[i];
    status = comet_readers_create(&store->readers, store->config, kept, places,
                                  made->pool);
    return status == APR_SUCCESS
               ? comet_writer_create(&store->writer, &config, made->pool)
               : status;
}

static mod_comet_child_t *make_child(void)
{
    apr_pool_t *pool;
    mod_comet_child_t *made;

    apr_pool_create(&pool, parent.server->process->pconf);
    apr_pool_tag(pool, "comet_child");
    made = apr_pcalloc(pool, sizeof(*made));
    made->pool = pool;
    made->kept = mod_comet_pool_keep(pool);
    made->stores = apr_pcalloc(pool, parent.count * sizeof(*made->stores));
    return made;
}

/*
 * On prefork, a graceful reload or stop only sets a state: the child's thread
 * notices the state only after it has served its connection, which may take
 * minutes.  The hub checks the state itself, so that adopted streams end at
 * once.
 */
static void on_look(void *nothing)
{
    const mod_comet_child_t *made = mod_comet_child();

    mod_comet_mpm_wake_listener(nothing);
    if (made && mod_comet_mpm_capacity()->prefork && mod_comet_mpm_is_stopping()
        && !comet_hub_is_stopping(made->hub)) {
        comet_hub_begin_stop(made->hub);
    }
}

static void start_child(void)
{
    mod_comet_child_t *made = start.made = make_child();
    comet_committed_t **committed =
        apr_palloc(made->pool, parent.count * sizeof(comet_committed_t *));
    comet_hub_config_t config = {
        .stores = parent.stores,
        .buses = parent.buses,
        .committed = committed,
        .count = parent.count,
        .no_hints = is_deaf(),
        .on_error = on_hub_error,
        .on_look = on_look,
        .on_round = on_round,
        .on_served = on_served,
        .on_message = has_presence() ? on_message : NULL,
    };
    apr_status_t status = APR_SUCCESS;

    mod_comet_log_start(made, parent.server);
    mod_comet_wait_start(made);
    while (made->store_count < parent.count && status == APR_SUCCESS) {
        comet_committed_t *mine = comet_committed_create(made->pool);

        committed[made->store_count] = mine;
        status = start_store(made, made->store_count, mine);
        made->store_count += status == APR_SUCCESS;
    }
    if (status == APR_SUCCESS) {
        mod_comet_speaker_prepare(made);
        status = comet_hub_create(&made->hub, &config, made->pool);
    }
    if (status == APR_SUCCESS) {
        mod_comet_child_set(made);
        return;
    }
    ap_log_error(APLOG_MARK, APLOG_CRIT, status, parent.server,
                 "COMET0107: a child could not start its threads; it tries "
                 "again when the next request comes");
    start.due = comet_monotonic() + START_EVERY;
    clear_start();
}

void mod_comet_lifecycle_child_init(apr_pool_t *p, server_rec *s)
{
    if (!parent.count) {
        return;
    }
    mod_comet_mpm_query(parent.count);
    comet_process_begin();
    mod_comet_limits_attach();
    slot = comet_metrics_attach(mod_comet_child_metrics());
    comet_ndjson_init();
    apr_pool_pre_cleanup_register(p, NULL, end_child);
    start_child();
}

static void try_to_start(void)
{
    if (mod_comet_mpm_is_stopping()
        || pthread_mutex_trylock(&start.lock) != 0) {
        return;
    }
    if (!mod_comet_child() && comet_monotonic() >= start.due && clear_start()) {
        start_child();
    }
    pthread_mutex_unlock(&start.lock);
}

/* @return what to tell the client */
static const char *note_fork(const request_rec *r)
{
    static atomic_flag noted = ATOMIC_FLAG_INIT; /* in this fork of the child */

    if (!atomic_flag_test_and_set(&noted)) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                      "COMET0108: another module has forked process %d from a "
                      "child of httpd and serves requests in it; comet's "
                      "threads and its database exist in the child alone, so "
                      "these requests get 503; serve comet's URLs from an "
                      "httpd without that module",
                      (int)getpid());
    }
    return "another module serves this request in a process that it forked; "
           "see the server's error log";
}

const char *mod_comet_lifecycle_obstacle(const request_rec *r)
{
    if (comet_process_is_fork()) {
        return note_fork(r);
    }
    if (!mod_comet_child()) {
        try_to_start();
    }
    return mod_comet_child() ? NULL
                             : "this server could not start; see its error log";
}

void mod_comet_lifecycle_child_stopping(apr_pool_t *p, int graceful)
{
    if (mod_comet_child()) {
        if (!graceful) {
            mod_comet_child_note_end();
            mod_comet_stop_dismiss(mod_comet_child());
            mod_comet_mpm_await_listener();
        }
        comet_hub_begin_stop(mod_comet_child()->hub);
        if (!mod_comet_mpm_capacity()->prefork) { /* no signal handler */
            mod_comet_block_wake(mod_comet_child());
        }
    }
}
