/* SPDX-License-Identifier: Apache-2.0 */
/* Until when a parked client must have taken its bytes. */
#include "wait/parked_limit.h"

#include <sys/socket.h>

#include "server/child.h"
#include "output/chain.h"
#include "output/news.h"

/* How long to wait before it is checked whether a client has taken the end of its
 * answer: at first, and at most. */
#define LINGER_LEAST apr_time_from_msec(2)
#define LINGER_MOST apr_time_from_msec(64)

apr_time_t mod_comet_parked_limit_close(mod_comet_parked_t *park)
{
    if (!park->stops_at) {
        park->stops_at = comet_monotonic() + MOD_COMET_CLOSING_LIMIT;
    }
    return park->stops_at;
}

int mod_comet_parked_limit_is_over(const mod_comet_parked_t *park)
{
    return park->stops_at && comet_monotonic() >= park->stops_at;
}

int mod_comet_parked_limit_may_finish(const mod_comet_parked_t *park)
{
    return comet_hub_is_stopping(mod_comet_child()->hub) && !park->stops_at
           && !mod_comet_child_must_end();
}

int mod_comet_parked_limit_finish(mod_comet_parked_t *park)
{
    if (!park->pulse.look_at) {
        comet_pulse_begin(&park->pulse, park->fd, MOD_COMET_CLOSING_LIMIT);
    }
    park->subscriber.timeout_at = comet_monotonic() + MOD_COMET_CLOSING_LIMIT;
    return !comet_pulse_is_lost(&park->pulse, park->fd,
                                MOD_COMET_CLOSING_LIMIT);
}

/* Tell a client whose connection ends behind its answer at once that nothing
 * follows: its kernel may delay the ACK for which the end is held back.  TLS
 * has to send its own end first, which httpd does when it closes. */
static void announce_end(const mod_comet_parked_t *park)
{
    if (!park->r && park->c->keepalive == AP_CONN_CLOSE
        && mod_comet_chain_is_clear(park->c)) {
        shutdown(park->fd, SHUT_WR);
    }
}

apr_interval_time_t mod_comet_parked_limit_step(apr_interval_time_t last)
{
    return !last                    ? LINGER_LEAST
           : last > LINGER_MOST / 2 ? LINGER_MOST
                                    : 2 * last;
}

int mod_comet_parked_limit_linger(mod_comet_parked_t *park)
{
    int stopping = comet_hub_is_stopping(mod_comet_child()->hub);
    int is_limited = stopping && !mod_comet_parked_limit_may_finish(park);

    if (park->c->aborted || !comet_pulse_is_behind(park->fd)
        || (is_limited
            && mod_comet_parked_limit_close(park) <= comet_monotonic())
        || !mod_comet_parked_limit_finish(park)) {
        return 0;
    }
    if (!park->lingered) {
        announce_end(park);
    }
    park->lingered = mod_comet_parked_limit_step(park->lingered);
    park->subscriber.timeout_at = comet_monotonic() + park->lingered;
    return 1;
}

int mod_comet_parked_limit_keep(mod_comet_parked_t *park, unsigned reasons)
{
    int streams = park->ask->transport->streams;
    int stopping = comet_hub_is_stopping(mod_comet_child()->hub);

    if (!streams && mod_comet_parked_limit_may_finish(park)) {
        return mod_comet_parked_limit_finish(park);
    }
    if (mod_comet_parked_limit_is_over(park)
        || ((reasons & COMET_TIMEOUT) && !streams && !stopping)) {
        return 0;
    }
    if (stopping) {
        park->subscriber.timeout_at = mod_comet_parked_limit_close(park);
    }
    else if (streams) {
        park->subscriber.timeout_at = comet_monotonic() + park->heartbeat;
    }
    else {
        park->subscriber.timeout_at = 0; /* the MPM's Timeout is the limit */
    }
    return 1;
}
