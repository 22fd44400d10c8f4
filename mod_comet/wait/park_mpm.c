/* SPDX-License-Identifier: Apache-2.0 */
/* Hand a connection back to the event MPM. */
#include "wait/park_mpm.h"

#include <http_connection.h>

#include "output/peek.h"
#include "server/child.h"
#include "server/mpm.h"

/*
 * The state in which the event MPM waits for input.  Since httpd 2.4.63 the MPM
 * has a state for this.  Before 2.4.63 this file does the same as mod_http2: a
 * connection in the state WRITE_COMPLETION with CONN_SENSE_WANT_READ waits for
 * input with Timeout.  If the connection's input filters "clog", the MPM then
 * calls process_connection instead of its keep-alive code.
 */
#if AP_MODULE_MAGIC_AT_LEAST(20120211, 137)
#define WAITIO CONN_STATE_ASYNC_WAITIO
#else
#define WAITIO CONN_STATE_WRITE_COMPLETION
#endif

conn_state_e mod_comet_park_mpm_state(void)
{
    return mod_comet_mpm_capacity()->has_waitio ? WAITIO
                                                : CONN_STATE_WRITE_COMPLETION;
}

void mod_comet_park_mpm_unclog(conn_rec *c)
{
    if (!mod_comet_mpm_capacity()->has_waitio) {
        c->clogging_input_filters = 0;
        c->cs->sense = CONN_SENSE_DEFAULT;
        c->cs->state = CONN_STATE_READ_REQUEST_LINE;
    }
}

/* A lingering close would hold a thread for 2 s if the client does not read the
 * rest, and after a fan-out there are many such clients at once. */
void mod_comet_park_mpm_close(conn_rec *c)
{
    if (c->data_in_output_filters) {
        c->aborted = 1;
    }
    c->cs->state = CONN_STATE_LINGER;
}

/* Whether the MPM needs to wait only for input: the hub sends what the filters
 * hold.  But nothing is read from a WebSocket while the filters hold bytes. */
static int is_sent(const mod_comet_parked_t *park)
{
    return mod_comet_outbox_is_empty(&park->outbox)
           && !(park->r && park->ask->talk && park->c->data_in_output_filters);
}

void mod_comet_park_mpm_await_input(conn_rec *c)
{
    c->cs->state = mod_comet_park_mpm_state();
    c->cs->sense = CONN_SENSE_WANT_READ;
    c->clogging_input_filters |= !mod_comet_mpm_capacity()->has_waitio;
}

int mod_comet_park_mpm_can_await_output(const conn_rec *c)
{
    return mod_comet_mpm_capacity()->has_waitio
           || (c->data_in_output_filters && c->keepalive == AP_CONN_KEEPALIVE);
}

/* Before httpd 2.4.63 the MPM first tries to send what the filters hold.  If it is
 * to wait for output, and the client takes all of it now, the MPM does not wait.
 * Because of data_in_input_filters it then calls process_connection at once. */
void mod_comet_park_mpm_wait(mod_comet_parked_t *park)
{
    conn_rec *c = park->c;
    int waitio = mod_comet_mpm_capacity()->has_waitio;
    int writes = !is_sent(park) && mod_comet_park_mpm_can_await_output(c);

    park->state = MOD_COMET_PARKED_PREPARED;
    c->cs->state = mod_comet_park_mpm_state();
    c->cs->sense = writes ? CONN_SENSE_WANT_WRITE : CONN_SENSE_WANT_READ;
    if (!waitio) {
        c->clogging_input_filters = 1;
        c->data_in_input_filters = writes;
    }
}

/* Reading first would hold a thread, perhaps for a client that still waits for
 * the rest of its answer. */
void mod_comet_park_mpm_hand_on(conn_rec *c, mod_comet_peek_e found)
{
    c->data_in_input_filters = found != MOD_COMET_PEEK_NOTHING;
    c->cs->state = CONN_STATE_WRITE_COMPLETION;
}

int mod_comet_park_mpm_is_left(const mod_comet_parked_t *park)
{
    conn_rec *c = park->c;

    if (c->data_in_output_filters && !c->aborted && !park->stops_at
        && !mod_comet_child_must_end()) {
        mod_comet_park_mpm_hand_on(c, mod_comet_peek(c, park->brigade));
        return 1;
    }
    if (c->keepalive != AP_CONN_KEEPALIVE || c->aborted) {
        mod_comet_park_mpm_close(c);
        return 1;
    }
    return 0;
}

int mod_comet_park_mpm_may_wait(const conn_rec *c, int rv)
{
    return (rv == OK || rv == DONE) && c->keepalive == AP_CONN_KEEPALIVE
           && (c->cs->state == CONN_STATE_WRITE_COMPLETION
               || c->cs->state == CONN_STATE_CHECK_REQUEST_LINE_READABLE
               || c->cs->state == WAITIO);
}
