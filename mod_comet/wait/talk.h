/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/talk.h
 * The conversation on one WebSocket, apart from the messages of its channels.
 * A talk holds what the client has said and the speaker (wait/speaker.h) has
 * not answered yet, and the answers that were not sent to the client yet.
 *
 * A talk is shared by the owner of the connection and the speaker's thread.
 * Nothing is read from the client while too much of what it has said is
 * unanswered, or while it takes no answers.
 *
 * A thread that needs the talk's lock and the hub's takes the talk's first.
 */
#ifndef MOD_COMET_TALK_H
#define MOD_COMET_TALK_H

#include <sys/queue.h>

#include "wire/websocket.h"
#include "hub/hub.h"
#include "request/ask.h"
#include "request/limits.h"

/** A text message of a client. */
typedef struct mod_comet_said_t mod_comet_said_t;
struct mod_comet_said_t {
    mod_comet_said_t *next;
    comet_text_t text; /* its bytes are in the same block */
};

/** A talk.  Thousands of clients have one and say nothing, so flags are bytes,
 * to save memory. */
typedef struct mod_comet_talk_t {
    atomic_int refs; /* [atomic] */
    apr_byte_t queued; /* [speaker->lock] */
    apr_byte_t is_late; /* [incoming->lock] mod_comet_incoming_find_late() has
                         * returned this talk */
    apr_byte_t closed; /* [lock] `words` end with a Close frame, or a Close was
                        * sent */

    /* what the client may publish; these fields are constant */
    apr_byte_t is_live; /* the client may change its channels; the owner's
                         * thread handles such texts (wait/live.h) */
    apr_byte_t is_multi; /* CometMulti */
    apr_uint32_t store;
    server_rec *server; /* its configuration limits what the client publishes;
                         * refusals are written to its log */
    const char *address; /* the client's address */
    const char *mute; /* why the client may not publish; NULL: it may */
    comet_text_t author; /* the client's user; data NULL: none */
    comet_text_t channel; /* the channel of its URL; data NULL: none */
    comet_text_t prefix; /* the prefix of the endpoint's channels */
    const mod_comet_limits_claims_t *claims; /* in the same block; NULL: none */

    TAILQ_ENTRY(mod_comet_talk_t) link; /* [speaker->lock] */
    comet_websocket_reader_t *reader; /* [owner thread] */
    /* used by wait/incoming.h: */
    TAILQ_ENTRY(mod_comet_talk_t) holder_link; /* [incoming->lock] */
    apr_size_t reserved; /* [owner thread, with incoming->lock] how many bytes
                          * are reserved for the talk */
    apr_time_t reserved_at; /* [incoming->lock] */
    apr_time_t starved_since; /* [owner thread, with incoming->lock] since when
                               * the talk has waited for room; 0: it does not
                               * wait */
    /* used for an adopted WebSocket (wait/stream.h): */
    apr_time_t lingers_until; /* [owner thread] when the client must have closed
                               * its side, once the end of the WebSocket was
                               * sent; 0: the end was not sent yet */
    int retry_msec; /* [owner thread] the WebSocket is ending, and its client is
                     * told to come back within this time; 0: it does not
                     * end */
    apr_byte_t readable; /* [owner thread] there may be input */
    mod_comet_said_t *wishes, *last_wish; /* [owner thread] texts of the client
                                           * that may ask to change its
                                           * channels */
    pthread_mutex_t lock;
    pthread_cond_t *waiter; /* [lock] the owner's thread waits for this
                             * condition, with `lock`; NULL: it does not
                             * wait */
    comet_hub_t *hub; /* [lock] */
    comet_subscriber_t *subscriber; /* [lock] the hub calls it when there are
                                     * words; or NULL */
    comet_selection_t *writes; /* [lock] the channels that the client may
                                * publish to; NULL: none */
    mod_comet_said_t *first, *last; /* [lock] what the client has said, for the
                                     * speaker */
    apr_uint32_t said_count; /* [lock] how many texts are not yet answered */
    apr_uint32_t said_bytes; /* [lock] how many bytes these texts have */
    comet_buffer_t words; /* [lock] whole frames for the client */
} mod_comet_talk_t;

/**
 * Begin a talk.  Called by the request's thread.
 * @return one reference; NULL: no memory is left
 */
mod_comet_talk_t *mod_comet_talk_create(const request_rec *r,
                                        const mod_comet_ask_t *ask);

/** The most bytes that a message of the client may have (CometMaxMessageSize).
 * Any thread. */
apr_size_t mod_comet_talk_most_bytes(const mod_comet_talk_t *talk);

/** How long a message of the client may wait to be stored
 * (CometPublishTimeout).  Any thread. */
apr_interval_time_t mod_comet_talk_timeout(const mod_comet_talk_t *talk);

/** Take one more reference.  @return @a talk.  Any thread. */
mod_comet_talk_t *mod_comet_talk_ref(mod_comet_talk_t *talk);

/** Release a reference; NULL is ignored.  Any thread. */
void mod_comet_talk_unref(mod_comet_talk_t *talk);

/** Let the hub call a subscriber (comet_hub_call()) when there are words for
 * its client, now or later.  Called before the subscriber joins, by its owner's
 * thread. */
void mod_comet_talk_attach(mod_comet_talk_t *talk, comet_hub_t *hub,
                           comet_subscriber_t *subscriber);

/** Undo mod_comet_talk_attach().  Called after the subscriber has left the hub,
 * by its owner's thread. */
void mod_comet_talk_detach(mod_comet_talk_t *talk);

/** Whether more of the client's input may be taken now.  Called by the owner's
 * thread. */
int mod_comet_talk_room(mod_comet_talk_t *talk);

/** The reason of a Close for a client that has found no room for its
 * message. */
#define MOD_COMET_TALK_STARVED "retry=1000 too many long messages arrive"

/** Whether nothing is read from the client because there is no room for its
 * message.  If so, mod_comet_talk_room() must be called again soon.  Called by
 * the owner's thread. */
int mod_comet_talk_is_starved(const mod_comet_talk_t *talk);

/** When to serve a subscriber next if nothing else happens: @a due, or earlier
 * if its client is starved.  Called by the owner's thread.
 * @param talk  NULL: not a WebSocket */
apr_time_t mod_comet_talk_due(const mod_comet_talk_t *talk, apr_time_t due);

/** Take bytes that the client has sent.  They are dropped after a Close.
 * Called by the owner's thread.
 * @return whether there is something for the speaker */
int mod_comet_talk_feed(mod_comet_talk_t *talk, comet_text_t bytes);

/** Close the WebSocket: append a Close frame, which ends the words for the
 * client.  Any thread. */
void mod_comet_talk_close(mod_comet_talk_t *talk, comet_websocket_code_e code,
                          const char *reason);

/** Note that a Close was sent to the client: from now on, what the client says
 * is dropped and not answered.  Called by the owner's thread. */
void mod_comet_talk_end(mod_comet_talk_t *talk);

/** Whether the words for the client end with a Close frame, or a Close was
 * sent.  Any thread. */
int mod_comet_talk_is_closed(mod_comet_talk_t *talk);

/** Whether something that the client has said is not answered yet.  Any
 * thread. */
int mod_comet_talk_is_unanswered(mod_comet_talk_t *talk);

/** Take the words for the client.
 * @param out  appended to
 * @return whether nothing may follow the words, since they end with a Close
 *         frame or a Close was sent */
int mod_comet_talk_take(mod_comet_talk_t *talk, comet_buffer_t *out);

/** Whether there are words for the client, or a Close has ended them. */
int mod_comet_talk_has_words(mod_comet_talk_t *talk);

/** Wait until there is room for more input, or words for the client.
 * @param limit  how long
 * @return 0: neither came within the limit */
int mod_comet_talk_await(mod_comet_talk_t *talk, apr_interval_time_t limit);

/** Wait until all that the client has said is answered.  Called by the owner's
 * thread.
 * @param limit  how long */
void mod_comet_talk_settle(mod_comet_talk_t *talk, apr_interval_time_t limit);

/** Take the next text that may change the client's channels.  Answer it by
 * mod_comet_talk_answer().  Called by the owner's thread.
 * @return the text, which the caller frees; NULL: there is none */
mod_comet_said_t *mod_comet_talk_take_wish(mod_comet_talk_t *talk);

/** Change the channels that the client may publish to.  Called by the owner's
 * thread.
 * @param writes  the call takes over the caller's reference */
void mod_comet_talk_allow(mod_comet_talk_t *talk, comet_selection_t *writes);

/** Whether the client may publish to a channel.  Any thread. */
int mod_comet_talk_may_write(mod_comet_talk_t *talk, comet_text_t channel);

/** End the WebSocket, because no memory is left.  Any thread. */
void mod_comet_talk_fail(mod_comet_talk_t *talk);

/** Take what the client has said.  Called by the speaker's thread.
 * @return a list, which the caller frees */
mod_comet_said_t *mod_comet_talk_take_said(mod_comet_talk_t *talk);

/** Whether the client has said something that mod_comet_talk_take_said() has
 * not taken yet.  Any thread. */
int mod_comet_talk_has_said(mod_comet_talk_t *talk);

/**
 * Answer the client.  Called by the speaker's thread, or by the owner's.
 * @param words  whole frames; still belongs to the caller
 * @param count  how many of the client's messages are answered
 * @param bytes  how many bytes these messages had
 */
void mod_comet_talk_answer(mod_comet_talk_t *talk, const comet_buffer_t *words,
                           apr_size_t count, apr_size_t bytes);

#endif /* MOD_COMET_TALK_H */
