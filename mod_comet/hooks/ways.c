/* SPDX-License-Identifier: Apache-2.0 */
/* The ways in which clients wait. */
#include "hooks/ways.h"

#include <apr_strings.h>

#include "server/mpm.h"
#include "transport/transport.h"
#include "hooks/scene.h"

/* How many hosts a line of the log lists. */
#define HOSTS_MOST 5

static mod_comet_way_t ways[] = {
#define WAY(name, help) { #name, help, 0 },
#include "tables/ways.def"
#undef WAY
};

const mod_comet_way_t *mod_comet_ways_get(mod_comet_ways_e way)
{
    return &ways[way];
}

apr_int64_t mod_comet_ways_count(mod_comet_ways_e way,
                                 const comet_metrics_total_t *total)
{
    const apr_int64_t *values = total->values;
    apr_int64_t parked = 0;
    int i;

    if (way != MOD_COMET_WAY_parked) {
        return values[way == MOD_COMET_WAY_adopted  ? COMET_METRIC_adopted
                      : way == MOD_COMET_WAY_ghosts ? COMET_METRIC_ghosts
                                                    : COMET_METRIC_blocked];
    }
    for (i = 0; i < COMET_TRANSPORT_COUNT; i++) {
        parked += values[comet_transport_gauges[i]];
    }
    parked -= values[COMET_METRIC_adopted] + values[COMET_METRIC_ghosts]
              + values[COMET_METRIC_blocked];
    return parked < 0 ? 0 : parked; /* a client may move to another way
                                     * meanwhile */
}

/* --- how many ------------------------------------------------------------- */

static void find_capacities(int can_log_later)
{
    const mod_comet_capacity_t *capacity = mod_comet_mpm_capacity();
    apr_int64_t children = capacity->children;
    apr_int64_t connections = (apr_int64_t)capacity->per_child * children;

    ways[MOD_COMET_WAY_adopted].capacity =
        can_log_later ? (apr_int64_t)capacity->descriptors * children : 0;
    ways[MOD_COMET_WAY_parked].capacity = connections;
    ways[MOD_COMET_WAY_ghosts].capacity = can_log_later ? connections : 0;
    ways[MOD_COMET_WAY_blocked].capacity = capacity->blocked;
}

/* Warn if CometMaxSubscribers is more than the number of clients that can
 * wait. */
static void check_caps(server_rec *main)
{
    apr_int64_t can = mod_comet_mpm_capacity()->parks
                          ? ways[MOD_COMET_WAY_parked].capacity
                          : ways[MOD_COMET_WAY_blocked].capacity;
    server_rec *s;

    for (s = main; s; s = s->next) {
        apr_int64_t wanted = mod_comet_config_server(s)->max_subscribers;

        if (wanted > can) {
            ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                         "COMET0103: CometMaxSubscribers %" APR_INT64_T_FMT
                         ": the MPM's settings hold only %" APR_INT64_T_FMT
                         "; raise ThreadsPerChild, ServerLimit, "
                         "AsyncRequestWorkerFactor (event MPM) or "
                         "ulimit -n (see conf/tuned.conf)",
                         wanted, can);
        }
    }
}

/* --- on which hosts ------------------------------------------------------- */

/* Hosts that have something in common. */
typedef struct hosts_t {
    const char *names; /* the first ones */
    int count;
} hosts_t;

static void add_host(hosts_t *hosts, const server_rec *s, apr_pool_t *p)
{
    unsigned port = s->addrs ? s->addrs->host_port : 0;

    if (!hosts->count++) {
        hosts->names = "";
    }
    if (hosts->count > HOSTS_MOST) {
        return;
    }
    port = port ? port : s->port;
    hosts->names =
        apr_pstrcat(p, hosts->names, hosts->count > 1 ? ", " : "",
                    s->server_hostname ? s->server_hostname : "the main server",
                    port ? apr_psprintf(p, ":%u", port) : "", NULL);
}

/* @return "", or " PREFIX HOST, HOST and N more SUFFIX" */
static const char *tell_hosts(const hosts_t *hosts, const char *prefix,
                              const char *suffix, apr_pool_t *p)
{
    int more = hosts->count - HOSTS_MOST;

    return hosts->count ? apr_pstrcat(
               p, prefix, hosts->names,
               more > 0 ? apr_psprintf(p, " and %d more", more) : "", suffix,
               NULL)
                        : "";
}

/* The hosts that speak HTTP/2, by how HTTP/2 requests wait on them. */
typedef struct http2_t {
    hosts_t ghosts;
    hosts_t off; /* requests could be parked, but CometParkHTTP2 is off */
    hosts_t never; /* requests cannot be parked */
} http2_t;

static void look_at(http2_t *http2, const mod_comet_scene_t *scene,
                    int can_log_later, apr_pool_t *p)
{
    const mod_comet_capacity_t *capacity = mod_comet_mpm_capacity();
    int tls = mod_comet_scene_has_tls(scene);
    hosts_t *hosts = &http2->never;

    if (!mod_comet_config_serves(scene->config) || capacity->prefork
        || !ap_find_linked_module("mod_http2.c")
        || !mod_comet_scene_speaks(scene, tls ? "h2" : "h2c")) {
        return; /* (mod_http2 does nothing under prefork) */
    }
    if (mod_comet_mpm_parks_http2() && can_log_later) {
        hosts = mod_comet_config_park_http2(scene->server) ? &http2->ghosts
                                                           : &http2->off;
    }
    add_host(hosts, scene->server, p);
}

static http2_t find_http2(server_rec *main, int can_log_later, apr_pool_t *p)
{
    http2_t http2 = { .ghosts = { .count = 0 } };
    const mod_comet_scene_t *outer = mod_comet_scene_make(main, NULL, p);
    apr_pool_t *scratch;
    server_rec *s;

    apr_pool_create(&scratch, p);
    for (s = main; s; s = s->next) {
        look_at(&http2,
                s == main ? outer : mod_comet_scene_make(s, outer, scratch),
                can_log_later, p);
        apr_pool_clear(scratch);
    }
    apr_pool_destroy(scratch);
    return http2;
}

static void tell(const server_rec *main, mod_comet_ways_e way,
                 const char *hosts)
{
    if (ways[way].capacity) {
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, main,
                     "COMET0102: %s: %s: at most %" APR_INT64_T_FMT
                     " at a time%s",
                     ways[way].name, ways[way].help, ways[way].capacity, hosts);
    }
}

void mod_comet_ways_begin(server_rec *main, int can_log_later, apr_pool_t *p)
{
    const http2_t http2 = find_http2(main, can_log_later, p);

    find_capacities(can_log_later);
    if (!http2.ghosts.count) {
        ways[MOD_COMET_WAY_ghosts].capacity = 0;
    }
    tell(main, MOD_COMET_WAY_adopted, "");
    tell(main, MOD_COMET_WAY_parked, "");
    tell(main, MOD_COMET_WAY_ghosts, tell_hosts(&http2.ghosts, ", on ", "", p));
    tell(main, MOD_COMET_WAY_blocked,
         apr_pstrcat(p,
                     tell_hosts(&http2.off,
                                "; an HTTP/2 request takes two threads on ",
                                ", where CometParkHTTP2 is off", p),
                     tell_hosts(&http2.never,
                                "; an HTTP/2 request takes two threads on ",
                                ", where it cannot be parked", p),
                     NULL));
    check_caps(main);
}
