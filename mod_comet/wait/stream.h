/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/stream.h
 * A stream or WebSocket on a socket that the hub owns (wait/adopt.h).  The hub
 * writes to the socket and reads from it.
 */
#ifndef MOD_COMET_STREAM_H
#define MOD_COMET_STREAM_H

#include "transport/transport.h"
#include "base/pulse.h"
#include "hub/subscriber.h"
#include "server/child.h"
#include "request/limits.h"
#include "output/log.h"
#include "output/outlet.h"
#include "output/slice.h"
#include "wait/talk.h"

/** An adopted stream.  The request's thread makes it; the hub owns it once it
 * has joined.  Thousands of streams wait, so flags are bytes, and fields that
 * only WebSockets need are in the talk.  The fields for sending a message are
 * next to each other, and follow those of the subscriber. */
typedef struct mod_comet_stream_t {
    comet_subscriber_t subscriber; /* first, because serve() casts its address
                                    * to this struct */
    const mod_comet_child_t *child;
    const comet_transport_t *transport;
    comet_format_t format;
    apr_interval_time_t heartbeat;
    apr_time_t ends_at; /* from mod_comet_ask_end() */
    apr_time_t stops_at; /* when all bytes must be sent, once the child ends or
                          * the WebSocket's time is over; 0: neither */
    apr_byte_t chunked; /* the body is framed in chunks (HTTP/1.1) */
    apr_byte_t over; /* the stream ends once everything is sent */
    apr_byte_t aborted; /* the client is gone */
    apr_byte_t authenticated; /* as in mod_comet_ask_t */
    apr_byte_t has_judged; /* the record has room for `judged` */
    mod_comet_talk_t *talk; /* a reference; NULL: not a WebSocket */
    mod_comet_outlet_t outlet; /* the way to the client */
    mod_comet_slice_t slice; /* how much is sent of a message that is too long
                              * for an outbox */
    mod_comet_story_t story;
    apr_off_t body_bytes, sent_bytes; /* as in mod_comet_log_end_t */
    comet_pulse_t pulse;

    /* needed when the stream ends */
    apr_off_t counted_bytes; /* how much of the body httpd itself has counted */
    mod_comet_place_t place;
    mod_comet_log_t *log;

    mod_comet_judged_t judged[]; /* one, or none if all its fields would be
                                  * zero */
} mod_comet_stream_t;

/** The callbacks of a stream's subscriber. */
comet_outcome_e mod_comet_stream_serve(comet_subscriber_t *subscriber,
                                       const comet_delivery_t *delivery);
void mod_comet_stream_left(comet_subscriber_t *subscriber);

/** Free a stream that has not joined the hub, or has left it. */
void mod_comet_stream_free(mod_comet_stream_t *stream);

#endif /* MOD_COMET_STREAM_H */
