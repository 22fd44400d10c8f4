/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/parked.h
 * A parked client: what it is sent, and how its waiting ends.  Only the owner
 * of the connection calls these functions: the hub's thread while the
 * subscriber is pinned, else the thread to which the MPM has given it.
 */
#ifndef MOD_COMET_PARKED_H
#define MOD_COMET_PARKED_H

#include "base/pulse.h"
#include "hub/subscriber.h"
#include "wait/ack.h"
#include "request/ask.h"
#include "wait/fast.h"
#include "output/outbox.h"
#include "output/slice.h"
#include "wait/talk.h"

typedef enum {
    MOD_COMET_PARKED_EMPTY, /* nothing waits; the next request reuses this */
    MOD_COMET_PARKED_PREPARED, /* suspended; the hub does not know it yet */
    MOD_COMET_PARKED_JOINED, /* the hub may serve it, the MPM may resume it */
    MOD_COMET_PARKED_RESUMED /* the MPM has given it to a worker */
} mod_comet_parked_state_e;

/* One for each connection that has ever waited, in the connection's pool. */
typedef struct mod_comet_parked_t {
    comet_subscriber_t subscriber; /* first: serve() gets its address */
    mod_comet_parked_state_e state; /* [owner thread] */
    conn_rec *c;
    request_rec *r; /* NULL: answered; the rest of the request is gone */
    const mod_comet_ask_t *ask; /* in r's pool */
    mod_comet_outbox_t outbox; /* the answer that the client is taking */
    mod_comet_slice_t slice; /* of a stream's message that is too long for it */
    int at_once; /* the outbox has the whole answer, which a worker sends */
    int by_worker; /* other modules may take their time over its answer or its
                    * end, so a worker does both, not the hub's thread */
    int real; /* its socket while the hub can wake the MPM; -1: in its place */
    int said_all; /* a WebSocket's Close was written: nothing follows */
    int over; /* a stream whose end is written; a worker ends the request */
    comet_selection_t *rests_on; /* a reference: joined at rest */
    mod_comet_fast_t *fast; /* NULL: CometFastPoll was never allowed here */
    int given_back; /* [owner thread] the hub had borrowed the socket */
    apr_bucket_brigade *brigade;
    int fd;
    int store;
    comet_metric_e gauge; /* counts the request while it waits or is sent */
    apr_interval_time_t keep_alive; /* how long it may rest once answered */
    mod_comet_ack_t ack; /* keeps it past the MPM's Timeout */
    apr_interval_time_t heartbeat; /* streams */
    comet_pulse_t pulse; /* streams */
    apr_time_t ends_at; /* of mod_comet_ask_end() */
    apr_time_t stops_at; /* the child ends, or the WebSocket's time is over:
                          * the limit for sending the rest; 0: neither */
    /** Streams: not 0 when the stream ends with what the outbox has; its client
     * is told to come back within this many milliseconds. */
    int retry_msec;
    int end_msec; /* a WebSocket's, as soon as its client is answered */
} mod_comet_parked_t;

/** The connection's park; NULL: the connection has never waited. */
mod_comet_parked_t *mod_comet_parked_find(const conn_rec *c);

/** Detach the park from its request, which is over or about to be. */
void mod_comet_parked_forget(mod_comet_parked_t *park);

/** A clean-up of the request's pool: detach the park, so that nothing points
 * into the pool, whatever ended the request.
 * @param data  the request */
apr_status_t mod_comet_parked_on_destroyed(void *data);

/** Make the MPM close the connection: shut its input down, so that the MPM
 * sees the end. */
void mod_comet_parked_make_mpm_close(const mod_comet_parked_t *park);

/**
 * The park is about to join the hub: let the hub wake a worker for its answer,
 * if it needs one.  The thread that owns the connection.
 */
void mod_comet_parked_lend(mod_comet_parked_t *park);

/** The park has left the hub: undo that. */
void mod_comet_parked_take_back(mod_comet_parked_t *park);

/** Have the hub wait until the socket takes data, if the filters hold any. */
void mod_comet_parked_note_blocked(mod_comet_parked_t *park);

/** Put an answer or a heartbeat into the outbox, and send what the client
 * takes now.
 * @param bytes  taken over
 * @return APR_SUCCESS, APR_ENOMEM, or why the client is lost */
apr_status_t mod_comet_parked_write(mod_comet_parked_t *park,
                                    comet_buffer_t *bytes);

/** Send a poll's answer in one piece with its headers, and end the request.
 * @param bytes  taken over
 * @return APR_SUCCESS, or why the client is lost */
apr_status_t mod_comet_parked_write_whole(mod_comet_parked_t *park,
                                          comet_buffer_t *bytes);

/** End the request; the connection stays open unless @a close.
 * @param complete  whether the answer is whole; if not, its body stays open
 * @return APR_SUCCESS, or why the client is lost */
apr_status_t mod_comet_parked_end(mod_comet_parked_t *park, int complete,
                                  int close);

/** End the wait without news: a stream ends, a poll gets its "no news" answer.
 * No part of an answer may have been sent yet.
 * @return APR_SUCCESS, or why the client is lost */
apr_status_t mod_comet_parked_dismiss(mod_comet_parked_t *park, int close);

/** Set when a waiting stream is served next, if nothing else happens. */
void mod_comet_parked_set_timer(mod_comet_parked_t *park);

/** A comet_serve_cb. */
comet_outcome_e mod_comet_parked_serve(comet_subscriber_t *subscriber,
                                       const comet_delivery_t *delivery);

#endif /* MOD_COMET_PARKED_H */
