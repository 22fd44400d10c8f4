/* SPDX-License-Identifier: Apache-2.0 */
/* What the MPM can hold and what it is doing. */
#include "server/mpm.h"

#include <ap_mpm.h>
#include <dirent.h>
#include <scoreboard.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "server/config.h"

/* The time between two checks of the listener, and how many checks are made.  A
 * listener that needs longer than a second is stuck. */
#define LISTENER_LOOK apr_time_from_msec(2)
#define LISTENER_LOOKS 500

static mod_comet_capacity_t capacity;

const mod_comet_capacity_t *mod_comet_mpm_capacity(void)
{
    return &capacity;
}

/* The MPM has no query for its AsyncRequestWorkerFactor, so the directive is
 * read. */
static double find_async_factor(void)
{
    const char *value =
        mod_comet_config_last_directive("AsyncRequestWorkerFactor");

    return value ? strtod(value, NULL) : 2;
}

/* How many clients a child may park.  A child accepts ThreadsPerChild + (idle -
 * 1) x AsyncRequestWorkerFactor connections (measured); a fifth of them stays
 * free for other requests. */
static apr_size_t parks_per_child(double factor)
{
    double connections = capacity.threads + (capacity.threads - 1) * factor;

    connections = connections * 0.8;
    if (connections > (double)capacity.descriptors) {
        return capacity.descriptors;
    }
    return connections < 1 ? 1 : (apr_size_t)connections;
}

/* How many descriptors this process has open, among them each virtual host's
 * logs and the listening sockets. */
static apr_size_t count_open(void)
{
    DIR *list = opendir("/proc/self/fd");
    apr_size_t count = 0;

    while (list && readdir(list)) {
        count++;
    }
    if (list) {
        closedir(list);
    }
    return count ? count : 64;
}

/* How many descriptors the hub and the stores will open.  A store needs one for
 * the shared memory of its log, and two for each connection, for its file and
 * its log.  The connections are the writer's, the hub's, those that readers
 * keep and those in use. */
static apr_size_t stores_need(apr_size_t stores)
{
    apr_size_t threads = (apr_size_t)capacity.threads;

    return stores ? 8 + stores * (5 + 2 * mod_comet_mpm_readers_kept(stores))
                        + 2 * threads
                  : 0;
}

/* How many descriptors clients may have.  Some stay free for requests that do
 * not wait: 200, or 4 for each thread if that is more, but at most half of what
 * is left. */
static apr_size_t find_descriptors(apr_size_t stores)
{
    struct rlimit files = { .rlim_cur = 1024 };
    apr_size_t used = count_open() + stores_need(stores);
    apr_size_t others = 4 * (apr_size_t)capacity.threads, rest;

    getrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur == RLIM_INFINITY) {
        return 1000000;
    }
    rest = files.rlim_cur > used ? files.rlim_cur - used : 2;
    others = others < 200 ? 200 : others;
    return rest - (others < rest / 2 ? others : rest / 2);
}

apr_size_t mod_comet_mpm_readers_kept(apr_size_t stores)
{
    apr_size_t share = (apr_size_t)capacity.threads / (stores ? stores : 1);

    return share ? share : 1;
}

int mod_comet_mpm_is_async(void)
{
    int async = 0;

    return ap_mpm_query(AP_MPMQ_IS_ASYNC, &async) == APR_SUCCESS && async > 0;
}

/* The oldest httpd whose HTTP/2 was tried (mod_http2 2.0.22).  Before httpd
 * 2.4.55, mod_http2 worked differently. */
#define HTTP2_MAJOR 2
#define HTTP2_MINOR 4
#define HTTP2_PATCH 58

int mod_comet_mpm_parks_http2(void)
{
    ap_version_t httpd;

    ap_get_server_revision(&httpd);
    return mod_comet_mpm_is_async() && httpd.major == HTTP2_MAJOR
           && httpd.minor == HTTP2_MINOR && httpd.patch >= HTTP2_PATCH;
}

void mod_comet_mpm_query(apr_size_t stores)
{
    static double factor = -1; /* copied in the parent: a child has no
                                * configuration tree */
    int threaded = 0, can_wait = 0;

    ap_mpm_query(AP_MPMQ_MAX_THREADS, &capacity.threads);
    ap_mpm_query(AP_MPMQ_MAX_DAEMONS, &capacity.children);
    ap_mpm_query(AP_MPMQ_HARD_LIMIT_DAEMONS, &capacity.children_limit);
    ap_mpm_query(AP_MPMQ_IS_THREADED, &threaded);
#ifdef AP_MPMQ_CAN_WAITIO
    if (ap_mpm_query(AP_MPMQ_CAN_WAITIO, &can_wait) != APR_SUCCESS) {
        can_wait = 0;
    }
#endif
    if (capacity.threads < 1) {
        capacity.threads = 1;
    }
    if (ap_conftree) {
        factor = find_async_factor();
    }
    capacity.prefork = threaded == AP_MPMQ_NOT_SUPPORTED;
    capacity.has_waitio = can_wait > 0;
    capacity.parks = capacity.has_waitio || mod_comet_mpm_is_async();
    capacity.descriptors = find_descriptors(stores);
    capacity.per_child = capacity.parks ? parks_per_child(factor) : 0;
    capacity.blocked = capacity.children * capacity.threads / 2;
    if (capacity.blocked < 1) {
        capacity.blocked = 1;
    }
}

int mod_comet_mpm_is_stopping(void)
{
    int state = AP_MPMQ_RUNNING;

    return ap_mpm_query(AP_MPMQ_MPM_STATE, &state) == APR_SUCCESS
           && state == AP_MPMQ_STOPPING;
}

int mod_comet_mpm_is_replaced(void)
{
    int own = 0;

    /* the parent counts the generations before it ends any child */
    return ap_scoreboard_image
           && ap_mpm_query(AP_MPMQ_GENERATION, &own) == APR_SUCCESS
           && ap_scoreboard_image->global->running_generation != own;
}

/* This child's process in the scoreboard.  @return NULL: this MPM cannot park,
 * or the child is not registered (yet) */
static const process_score *own_score(void)
{
    apr_proc_t self = { .pid = getpid() };
    int slot = capacity.parks ? ap_find_child_by_pid(&self) : -1;

    return slot >= 0 ? ap_get_scoreboard_process(slot) : NULL;
}

/*
 * Choose the entry of the scoreboard in which to count.  Each entry belongs to
 * a worker of this child; the last one is chosen.  If ThreadLimit is above
 * ThreadsPerChild, no worker uses that entry.  Otherwise a count is lost if the
 * worker counts at the same moment.  mod_status shows no bytes for an entry
 * without accesses, so bytes alone are counted in the last entry that has
 * accesses.
 */
static worker_score *own_counters(int has_accesses)
{
    static atomic_int child = -1; /* of this process; found once */
    apr_proc_t self = { .pid = getpid() };
    worker_score *found = NULL;
    int threads = 1, i;

    if (atomic_load(&child) < 0) {
        atomic_store(&child, ap_find_child_by_pid(&self));
    }
    if (atomic_load(&child) < 0) {
        return NULL;
    }
    ap_mpm_query(AP_MPMQ_HARD_LIMIT_THREADS, &threads);
    for (i = threads > 0 ? threads - 1 : 0; i >= 0; i--) {
        found = ap_get_scoreboard_worker_from_indexes(atomic_load(&child), i);
        if (has_accesses
            || (found
                && __atomic_load_n(&found->access_count, __ATOMIC_RELAXED))) {
            break;
        }
    }
    return found;
}

void mod_comet_mpm_count(unsigned long accesses, apr_off_t bytes)
{
    worker_score *score =
        ap_extended_status ? own_counters(accesses > 0) : NULL;

    if (score) {
        __atomic_fetch_add(&score->access_count, accesses, __ATOMIC_RELAXED);
        __atomic_fetch_add(&score->my_access_count, accesses, __ATOMIC_RELAXED);
        __atomic_fetch_add(&score->bytes_served, bytes, __ATOMIC_RELAXED);
        __atomic_fetch_add(&score->my_bytes_served, bytes, __ATOMIC_RELAXED);
    }
}

static void do_nothing(void *baton)
{
}

/*
 * When many parked clients wake the event MPM at once, the MPM can stop
 * accepting connections although its threads are idle again.  In httpd 2.4.71,
 * listener_thread disables the sockets in the same round in which threads
 * become free, and enables them only in a later round, but nothing starts that
 * round.  The callback of a timer starts one.
 */
void mod_comet_mpm_wake_listener(void *baton)
{
    const process_score *process = own_score();

    if (process && process->not_accepting && !process->quiescing) {
        ap_mpm_register_timed_callback(apr_time_from_msec(1), do_nothing, NULL);
    }
}

void mod_comet_mpm_await_listener(void)
{
    const process_score *process = own_score();
    int i;

    for (i = 0; process && !process->quiescing && i < LISTENER_LOOKS; i++) {
        apr_sleep(LISTENER_LOOK);
    }
}
