/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file request/presence.h
 * CometPresence: the channels that a reader is present in, and the member that
 * the reader is.
 */
#ifndef MOD_COMET_PRESENCE_H
#define MOD_COMET_PRESENCE_H

#include "request/ask.h"

/** The values of CometPresence. */
typedef enum {
    MOD_COMET_PRESENCE_OFF,
    MOD_COMET_PRESENCE_COUNT, /* clients learn only the number of members */
    MOD_COMET_PRESENCE_ON
} mod_comet_presence_e;

/**
 * Note that a reader is present in a channel that it names, if CometPresence is
 * on for the channel's URL.  Nobody is present in a sibling channel such as
 * room/42/@online.
 * @param url  a request to the channel's own URL
 * @param r    the reader's request; its pool, or ask->rooms_pool, keeps a copy
 *             of the name
 * @param channel  with the endpoint's prefix
 */
void mod_comet_presence_note(const request_rec *url, request_rec *r,
                             mod_comet_ask_t *ask, comet_text_t channel);

/** Get the member as which a request's user is present; data NULL: none.  A
 * name that is not UTF-8 or too long for an author counts as none.  The
 * request's thread. */
comet_text_t mod_comet_presence_member(const request_rec *r);

/** What presence knows about a request's client. */
typedef struct mod_comet_presence_visitor_t {
    comet_visitor_t who;
    unsigned char address[8]; /* who.address can point here */
} mod_comet_presence_visitor_t;

/** Fill in what presence knows about a request's client.  The request's thread.
 * @param visitor  OUT; its texts live as long as the request */
void mod_comet_presence_visitor(const request_rec *r,
                                mod_comet_presence_visitor_t *visitor);

/**
 * Enter a reader as present in the channels that were noted, until its place is
 * given back or its request's pool is destroyed.  A second call does nothing.
 * The request's thread.
 */
void mod_comet_presence_enter(request_rec *r, const mod_comet_ask_t *ask);

/**
 * Change the channels in which a reader is present.  The reader enters the new
 * channels before it leaves the old ones.  No other thread may use its seat
 * meanwhile.  The request's thread.
 * @param rooms  comet_room_t each; copied
 */
void mod_comet_presence_change(request_rec *r, const apr_array_header_t *rooms);

#endif /* MOD_COMET_PRESENCE_H */
