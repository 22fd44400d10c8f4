/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file request/ask.h
 * What a reading client asks for: the transport, the cursor to begin at, how
 * much, and for how long.
 */
#ifndef MOD_COMET_ASK_H
#define MOD_COMET_ASK_H

#include "base/allowance.h"
#include "base/selection.h"
#include "transport/transport.h"
#include "request/request.h"

/** What is known from judging a client's channels, kept until the client comes
 * back.  All zero: only the request itself was judged. */
typedef struct mod_comet_judged_t {
    apr_uint64_t identity[2]; /* identifies the client for wait/verdicts.h;
                               * zeros: no verdicts are kept for this client */
    apr_interval_time_t took; /* the CPU time for authorising the client's
                               * channels, plus the time that a remote store
                               * took to list them */
} mod_comet_judged_t;

/** What a client asked for; lives in the request's pool. */
typedef struct mod_comet_ask_t {
    const comet_transport_t *transport;
    mod_comet_story_t *story; /* the request's */
    comet_format_t format;
    comet_text_t channel; /* the channel that the URL names; data NULL: none */
    comet_selection_t *selection; /* a reference that the request's pool
                                   * releases */
    /** The client's cursor, or the cursor that was chosen for it. */
    comet_timestamp_t cursor;
    int from_now; /* a client without a cursor is sent only what is published
                   * from now on, whatever CometReplay says */
    comet_timestamp_t before; /* page backwards from here; 0: read forwards */
    comet_text_t words; /* the words to search for; data NULL: no search */
    comet_timestamp_t rest; /* where a search that was cut short can go on; 0:
                             * the search is complete */
    /** No message of the selection is between the cursor and this timestamp. */
    comet_timestamp_t seen;
    comet_timestamp_t floor; /* retention removed messages up to this timestamp,
                              * and the client must be told; 0: none */
    comet_timestamp_t pruned; /* as `floor`, but also set if the client need not
                               * be told; a stream compares later values with
                               * this one to notice what retention has removed
                               * since */
    int is_new; /* the cursor was chosen for the client, which had none, or one
                 * that this store does not know: no gap is measured from it */
    int is_unknown; /* the cursor does not belong to this store, and the client
                     * must be told */
    comet_allowance_t reading; /* the budget of CPU time for reading;
                                * zero-initialised: the request has read nothing
                                * yet */
    apr_size_t limit; /* the most messages in one answer */
    apr_interval_time_t hold; /* how long a poll may wait; 0: not at all */
    apr_interval_time_t tick; /* a clock's period; 0: not a clock */
    apr_interval_time_t heartbeat; /* the heartbeat's period in a silent
                                    * stream */
    apr_interval_time_t lifetime; /* how long a stream may last; 0: no limit */
    apr_time_t until; /* when the permission to read ends, by
                       * comet_monotonic(); 0: never */
    int history; /* the client asks for history, and is answered at once */
    mod_comet_judged_t judged;
    /** The channels that the client of a WebSocket may publish to; NULL: none.
     * The request's pool releases this reference. */
    comet_selection_t *writes;
    const char *mute; /* why the client may not publish at all; or NULL */
    comet_text_t author; /* the author of what the client publishes; data NULL:
                          * nobody */
    const char *prefix; /* the prefix of the endpoint's channels */
    int is_live; /* the client may change its channels (wait/live.h) */
    comet_selection_t *asked; /* if is_live: the channels and wildcards that the
                               * client asked for; `selection` has the channels
                               * that they stand for. The request's pool
                               * releases it */
    struct mod_comet_live_t *live; /* the changes of the client's channels, in
                                    * the request's pool; NULL: the channels are
                                    * always those of the URL */
    struct mod_comet_talk_t *talk; /* what the client of a WebSocket sends; in
                                    * the request's pool */
    apr_array_header_t *rooms; /* comet_room_t each: the channels that the
                                * client is present in (request/presence.h);
                                * NULL: none */
    apr_pool_t *rooms_pool; /* the pool of `rooms`; NULL: the request's */
    int authenticated; /* a user was authenticated, for the URL or for one of
                        * the channels */
} mod_comet_ask_t;

/** The parameters of the query that may hold the cursor.  If a request has
 * several, the first one in this list counts.  The list ends with NULL. */
extern const char *const mod_comet_ask_cursors[];

/** How long a poll may wait: CometPollTimeout, but less than the MPM's Timeout,
 * which would cut the poll off. */
apr_interval_time_t mod_comet_ask_longest_hold(const request_rec *r);

/**
 * Read a cursor from a parameter of the query.
 * @param cursor  left as it is when the parameter is absent or empty
 * @return NULL, or what is wrong (400), in the request's pool
 */
const char *mod_comet_ask_parse_cursor(const request_rec *r,
                                       const mod_comet_request_t *request,
                                       const char *name,
                                       comet_timestamp_t *cursor);

/** Read a whole number between @a least and @a most from a parameter of the
 * query, as mod_comet_ask_parse_cursor() reads a cursor. */
const char *mod_comet_ask_parse_int(const request_rec *r,
                                    const mod_comet_request_t *request,
                                    const char *name, apr_int64_t least,
                                    apr_int64_t most, apr_int64_t *number);

/**
 * Whether a reader gives up for good after an HTTP error, but reconnects by
 * itself when its transport says so.  Such a reader names the transport's own
 * media type in Accept, as EventSource does, or it asks for a WebSocket with a
 * correct handshake.
 */
int mod_comet_ask_is_deaf(const request_rec *r,
                          const comet_transport_t *transport);

/** Whether the location allows the transport that was asked for
 * (CometTransports).  History is allowed with any transport. */
int mod_comet_ask_is_transport_allowed(const request_rec *r,
                                       const mod_comet_ask_t *ask);

/** Limit a stream's lifetime to CometMaxLifetime of this URL.  If the directive
 * is not set, an authenticated user's stream lasts an hour.  Let a reader wait
 * no longer than its permission lasts (that of a token, for example). */
void mod_comet_ask_limit_time(mod_comet_ask_t *ask, const request_rec *r);

/** When a reader that begins to wait now must stop waiting: at the end of its
 * permission or, if it is a stream, of its lifetime.
 * @return by comet_monotonic(); 0: never */
apr_time_t mod_comet_ask_end(const mod_comet_ask_t *ask);

#endif /* MOD_COMET_ASK_H */
