/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/parked.h
 * A parked client: what it is given, and how its waiting ends.  All of it is
 * done by whoever owns the connection: the hub's thread while the subscriber is
 * pinned, else the thread to which the MPM has given it.
 */
#ifndef MOD_COMET_PARKED_H
#define MOD_COMET_PARKED_H

#include "base/pulse.h"
#include "hub/subscriber.h"
#include "wait/ack.h"
#include "request/ask.h"
#include "wait/fast.h"
#include "output/outbox.h"

typedef enum {
    MOD_COMET_PARKED_EMPTY, /* nothing waits; the struct is kept for the connection's next */
    MOD_COMET_PARKED_PREPARED, /* the handler has suspended; the hub does not know yet */
    MOD_COMET_PARKED_JOINED, /* the hub may serve it, the MPM may resume it */
    MOD_COMET_PARKED_RESUMED /* the MPM has given it to a worker */
} mod_comet_parked_state_e;

/* One for each connection that ever waited, in the connection's pool. */
typedef struct mod_comet_parked_t {
    comet_subscriber_t subscriber; /* first: serve() gets its address */
    mod_comet_parked_state_e state; /* [owner thread] */
    conn_rec *c;
    request_rec *r; /* NULL: answered; the rest of the request is gone */
    const mod_comet_ask_t *ask; /* in r's pool */
    mod_comet_outbox_t outbox; /* of an answer the client is taking */
    int at_once; /* [owner thread] the outbox is the whole answer, to be sent
                  * when the handler has returned */
    comet_selection_t *rests_on; /* a reference: what it joins at rest */
    mod_comet_fast_t *fast; /* NULL: never allowed */
    int given_back; /* [owner thread] the hub has had the socket */
    apr_bucket_brigade *brigade;
    int fd;
    int store;
    comet_metric_e gauge; /* what it counts in while it lasts */
    apr_interval_time_t keep_alive; /* how long it may rest, answered */
    mod_comet_ack_t ack; /* keeps it past the MPM's Timeout */
    apr_interval_time_t heartbeat; /* streams */
    comet_pulse_t pulse; /* streams */
    apr_time_t ends_at; /* streams (CometMaxLifetime); 0: never */
    apr_time_t stops_at; /* the child ends: by then all is taken; 0: not yet */
    /** A stream that ends with what is in the outbox: within how many
     * milliseconds its client is to come back; 0: it does not end. */
    int retry_msec;
} mod_comet_parked_t;

/** The connection's; NULL: it never waited. */
mod_comet_parked_t *mod_comet_parked_find(const conn_rec *c);

/** The request is over, or about to be: the park is not about it any more. */
void mod_comet_parked_forget(mod_comet_parked_t *park);

/** A clean-up of the request's pool: nothing of the park points into it.
 * @param data  the request */
apr_status_t mod_comet_parked_on_destroyed(void *data);

/** The MPM is told by its own means: it sees the end of the input. */
void mod_comet_parked_make_mpm_close(const mod_comet_parked_t *park);

/** Have the hub wait for the socket if the filters hold something. */
void mod_comet_parked_note_blocked(mod_comet_parked_t *park);

/** An answer or a heartbeat: put it into the outbox, send what is taken now.
 * @param bytes  taken over
 * @return APR_SUCCESS, APR_ENOMEM, or why the client is lost */
apr_status_t mod_comet_parked_write(mod_comet_parked_t *park,
                                    comet_buffer_t *bytes);

/** The one answer of a poll, in one piece with its headers; ends the request.
 * @param bytes  taken over
 * @return APR_SUCCESS, or why the client is lost */
apr_status_t mod_comet_parked_write_whole(mod_comet_parked_t *park,
                                          comet_buffer_t *bytes);

/** End the request; the connection lives on if it may.
 * @return APR_SUCCESS, or why the client is lost */
apr_status_t mod_comet_parked_end(mod_comet_parked_t *park, int complete,
                                  int close);

/** Finish what the client waits for without news, as its kind is finished;
 * nothing of an answer is under way.
 * @return APR_SUCCESS, or why the client is lost */
apr_status_t mod_comet_parked_dismiss(mod_comet_parked_t *park, int close);

/** When a waiting stream is to be looked at next. */
void mod_comet_parked_set_timer(mod_comet_parked_t *park);

/** A comet_serve_cb. */
comet_outcome_e mod_comet_parked_serve(comet_subscriber_t *subscriber,
                                       const comet_delivery_t *delivery);

#endif /* MOD_COMET_PARKED_H */
