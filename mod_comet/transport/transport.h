/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file transport/transport.h
 * A transport turns messages into the bytes of one wire format.  It does no I/O
 * and has no state.
 *
 * To add one, write transport/NAME.c with its comet_transport_t, and add a line
 * to tables/transports.def.
 */
#ifndef COMET_TRANSPORT_H
#define COMET_TRANSPORT_H

#include "wire/encode.h"
#include "shared/metrics.h"

/** How a client wants its messages; constant while it waits. */
typedef struct comet_format_t {
    const char *callback; /* iframe: the parent page's function to call */
    apr_uint32_t hidden_bytes; /* the length of the endpoint's prefix; channel
                                * names are sent without it */
    apr_byte_t escape; /* CometEscape: the classic page inserts bodies as
                        * HTML */
    apr_byte_t json; /* events: data is the whole message, not just its body */
} comet_format_t;

/** What a client is sent in one go. */
typedef struct comet_answer_t {
    const comet_format_t *format;
    comet_message_t *const *messages; /* oldest first */
    apr_size_t count; /* 0 if there is no news */
    /** The client's new cursor: the timestamp of the last message, or the
     * cursor it had. */
    comet_timestamp_t cursor;
    /** Retention has removed messages after the client's cursor, up to this
     * timestamp; 0: it has removed none. */
    comet_timestamp_t floor;
    /** The client's cursor did not belong to this store.  What the client has
     * missed is unknown; the client starts at `cursor` instead. */
    int is_unknown;
    /** In a page of history: messages before this timestamp were not searched
     * yet; 0 if all were, or if the page is full. */
    comet_timestamp_t rest;
} comet_answer_t;

typedef struct comet_transport_t {
    const char *name; /* the name in requests and in CometTransports; NULL if
                       * the transport cannot be chosen */
    comet_metric_e gauge; /* counts the transport's waiting clients */
    const char *content_type; /* NULL: the transport has none, see `upgrades` */
    /** The protocol to which the connection is upgraded (HTTP's Upgrade).  The
     * client of such a transport may send messages, too.  CometTransports must
     * name it, because "all" does not include it.  NULL: the transport's bytes
     * are the body of an answer. */
    const char *upgrades;
    const char *policy; /* Content-Security-Policy; NULL if none */
    const char *cache_control; /* NULL for the value that all streams, or all
                                * polls, have */
    const char *expires; /* NULL if none */
    /** Whether the transport sends answers until the client leaves.  If not,
     * the request ends after one answer. */
    int streams;
    /** Whether the headers are sent together with the only answer, so that they
     * can state the answer's length.  If not, they are sent before the client
     * waits. */
    int whole;
    /** The most messages in one answer; 0: as many as the client asked for. */
    apr_size_t limit;
    /** Append the beginning of a stream, before any message.  `cursor` and
     * `floor` describe where it starts.  NULL if it has no beginning. */
    void (*open)(comet_buffer_t *out, const comet_answer_t *answer);
    /** Append one answer. */
    void (*encode)(comet_buffer_t *out, const comet_answer_t *answer);
    /**
     * Append the end of a stream whose client should come back after
     * @a retry_msec.  A transport with this function can turn a client away
     * without an HTTP error.  NULL: its streams just end, and an HTTP error
     * does no harm to its clients.
     * @param reason  why the client cannot be served now; NULL: its stream has
     *                come to its normal end
     */
    void (*close)(comet_buffer_t *out, const char *reason, int retry_msec);
    /** Bytes without a meaning that keep a silent stream alive; NULL if the
     * transport does not stream. */
    const char *heartbeat;
} comet_transport_t;

/** Append a message as the JSON object that all current transports use. */
void comet_transport_add_message(comet_buffer_t *out,
                                 const comet_message_t *message,
                                 const comet_format_t *format);

/** Whether a client has to be told that it may have missed messages. */
int comet_transport_has_gap(const comet_answer_t *answer);

/** Append the two members of a gap, "since" and "floor".  If the client's
 * cursor was unknown, "since" is null. */
void comet_transport_add_gap(comet_buffer_t *out, const comet_answer_t *answer);

/** The number of transports. */
enum {
#define TRANSPORT(name, help) COMET_TRANSPORT_INDEX_##name,
#include "tables/transports.def"
#undef TRANSPORT
    COMET_TRANSPORT_COUNT
};

#define TRANSPORT(name, help) \
    extern const comet_transport_t comet_transport_##name;
#include "tables/transports.def"
#undef TRANSPORT

/** All transports.  Those that clients may choose (they have a name) come
 * first. */
extern const comet_transport_t *const comet_transports[COMET_TRANSPORT_COUNT];

/** The gauges that count the waiting clients of the transports. */
extern const comet_metric_e comet_transport_gauges[COMET_TRANSPORT_COUNT];

/**
 * Find a transport by the name that clients and CometTransports use.
 * @param name  case matters
 * @return NULL if there is none
 */
const comet_transport_t *comet_transport_find(comet_text_t name);

/** The name of a transport, for people to read.  Transports that clients cannot
 * choose have one too, for the log.  Any thread. */
const char *comet_transport_label(const comet_transport_t *transport);

/** A transport's bit in the value of CometTransports. */
apr_int64_t comet_transport_bit(const comet_transport_t *transport);

/** The bits of the transports that "all" stands for. */
apr_int64_t comet_transport_usual(void);

/**
 * The names that clients may choose from, for error texts: "poll, events or
 * iframe".
 * @param conjunction  the word before the last name: "or"
 * @return allocated from @a pool
 */
const char *comet_transport_names(const char *conjunction, apr_pool_t *pool);

#endif /* COMET_TRANSPORT_H */
