/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/parked.h
 * Serve a parked client, and end its wait.  Only the owner of the connection
 * calls these functions: the hub's thread while the subscriber is pinned,
 * otherwise the thread to which the MPM has given the connection.
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
    MOD_COMET_PARKED_EMPTY, /* no request waits; the next one reuses the
                             * record */
    MOD_COMET_PARKED_PREPARED, /* suspended; the hub does not know of it yet */
    MOD_COMET_PARKED_JOINED, /* the hub may serve it, the MPM may resume it */
    MOD_COMET_PARKED_RESUMED /* the MPM has given it to a worker */
} mod_comet_parked_state_e;

/* The record of a connection on which a request waits or has waited.  It is in
 * the connection's pool. */
typedef struct mod_comet_parked_t {
    comet_subscriber_t subscriber; /* first, because serve() casts its address
                                    * to this struct */
    mod_comet_parked_state_e state; /* [owner thread] */
    conn_rec *c;
    request_rec *r; /* NULL: the request was answered, and no longer exists */
    const mod_comet_ask_t *ask; /* in r's pool */
    mod_comet_outbox_t outbox; /* bytes for the client that are not sent yet */
    mod_comet_slice_t slice; /* how much is sent of a message that is too long
                              * for the outbox */
    int at_once; /* the outbox has the whole answer, and a worker sends it */
    int by_worker; /* other modules may block while the request is answered or
                    * ended, so a worker does both, and not the hub's thread */
    int real; /* the socket's descriptor while it is lent (wait/lend.h); -1: it
               * is not lent */
    int said_all; /* a WebSocket's Close was written: nothing follows */
    int over; /* the end of the stream is written; a worker must end the
               * request */
    comet_selection_t *rests_on; /* a reference: the selection with which the
                                  * client joins the hub after its request was
                                  * answered */
    mod_comet_fast_t *fast; /* NULL: neither CometFastPoll nor
                             * CometFastPublish was ever allowed on this
                             * connection */
    int given_back; /* [owner thread] the hub has given back the socket, which
                     * it had borrowed */
    apr_bucket_brigade *brigade;
    int fd;
    int store;
    apr_interval_time_t keep_alive; /* how long the client may rest after its
                                     * answer */
    mod_comet_ack_t ack; /* keeps the connection beyond the MPM's Timeout */
    apr_interval_time_t heartbeat; /* only of a stream */
    comet_pulse_t pulse; /* of a stream, and of a poll whose connection ends */
    apr_time_t ends_at; /* from mod_comet_ask_end() */
    apr_time_t stops_at; /* when all bytes must be sent, once the child ends or
                          * the WebSocket's time is over; 0: neither */
    apr_interval_time_t lingered; /* the last wait of wait/parked_limit for the
                                   * client to take the end; 0: none */
    /** Streams: if not 0, the stream ends after the bytes in the outbox, and
     * its client is told to come back within this many milliseconds. */
    int retry_msec;
    int end_msec; /* as retry_msec, for a WebSocket that ends as soon as its
                   * client is answered */
} mod_comet_parked_t;

/** The connection's park; NULL: the connection has never waited. */
mod_comet_parked_t *mod_comet_parked_find(const conn_rec *c);

/** Detach the park from its request, which has ended or is about to end. */
void mod_comet_parked_forget(mod_comet_parked_t *park);

/** A clean-up of the request's pool: detach the park, so that nothing points
 * into the pool, whatever ended the request.
 * @param data  the request */
apr_status_t mod_comet_parked_on_destroyed(void *data);

/** Make the MPM close the connection: shut its input down, so that the MPM
 * sees the end. */
void mod_comet_parked_make_mpm_close(const mod_comet_parked_t *park);

/**
 * Called before the park joins the hub: if a worker must send its answer, lend
 * the socket, so that the hub can wake a worker.  Called by the thread that
 * owns the connection.
 */
void mod_comet_parked_lend(mod_comet_parked_t *park);

/** Called after the park has left the hub: undo mod_comet_parked_lend(). */
void mod_comet_parked_take_back(mod_comet_parked_t *park);

/** If the filters hold data, let the hub wait until the socket is writable. */
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
 * @param complete  whether the answer is whole; if not, its body is not ended
 * @return APR_SUCCESS, or why the client is lost */
apr_status_t mod_comet_parked_end(mod_comet_parked_t *park, int complete,
                                  int close);

/** End the wait without news: a stream ends, a poll gets its "no news" answer.
 * No part of an answer may have been sent yet.
 * @return APR_SUCCESS, or why the client is lost */
apr_status_t mod_comet_parked_dismiss(mod_comet_parked_t *park, int close);

/** Set the time at which a waiting stream is served next, if nothing else
 * happens before. */
void mod_comet_parked_set_timer(mod_comet_parked_t *park);

/** A comet_serve_cb: serve the park. */
comet_outcome_e mod_comet_parked_serve(comet_subscriber_t *subscriber,
                                       const comet_delivery_t *delivery);

#endif /* MOD_COMET_PARKED_H */
