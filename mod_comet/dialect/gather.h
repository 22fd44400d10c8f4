/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file dialect/gather.h
 * Gather the channels that a client names.  Each channel is authorised like a
 * request to its own URL.  The thread that owns the request makes all calls.  A
 * function that gathers or checks returns DECLINED, or the status of a refusal,
 * whose reason is then in the gathering.
 */
#ifndef MOD_COMET_GATHER_H
#define MOD_COMET_GATHER_H

#include <apr_hash.h>

#include "request/ask.h"

typedef struct mod_comet_gathering_t {
    request_rec *r;
    apr_pool_t *pool; /* for the gathering's data; it can be destroyed before
                       * the request begins to wait */
    const mod_comet_request_t *request;
    mod_comet_ask_t *ask;
    apr_array_header_t *names; /* comet_text_t each, with the endpoint's
                                * prefix */
    apr_array_header_t *prefixes; /* the same */
    apr_hash_t *named; /* the values of the parameters `channel` so far */
    int status; /* the HTTP status of the refusal; 0: there is none */
    const char *reason; /* the reason of the refusal; in the pool */
    apr_interval_time_t waited; /* how long a remote store took to list
                                 * channels */
    comet_selection_t *known; /* the channels that the client was allowed to
                               * read a moment ago (wait/verdicts.h); NULL: none
                               * are known */
} mod_comet_gathering_t;

/**
 * Begin a gathering.  If the URL names a channel, the gathering begins with it.
 * @param ask  the reader's ask; its ->authenticated, ->lifetime and ->until
 *             become those of the strictest channel
 */
mod_comet_gathering_t mod_comet_gather_begin(request_rec *r,
                                             const mod_comet_request_t *request,
                                             mod_comet_ask_t *ask,
                                             apr_pool_t *pool);

/** Set the status and the reason of a refusal.
 * @return @a status */
int mod_comet_gather_refuse(mod_comet_gathering_t *gathering, int status,
                            const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** Refuse a request because a reading failed (mod_comet_reading_reason()).
 * @return 503 */
int mod_comet_gather_refuse_reading(mod_comet_gathering_t *gathering,
                                    apr_status_t status, const char *what);

/** Whether a name is a wildcard: a star alone, or a prefix such as "room/"
 * followed by a star. */
int mod_comet_gather_is_wildcard(comet_text_t name);

/** Make the name that a channel has in the store, in the gathering's pool.
 * @param name  without the endpoint's prefix */
comet_text_t mod_comet_gather_stored_name(
    const mod_comet_gathering_t *gathering, comet_text_t name);

/**
 * Check that a name stays below its endpoint.  Under the prefix room/, for
 * example, the name @online would mean a sibling of the channel room, which is
 * outside the endpoint.
 * @param name  without the endpoint's prefix
 * @return NULL, or what is wrong
 */
const char *mod_comet_gather_check_root(const mod_comet_mapping_t *mapping,
                                        comet_text_t name);

/**
 * Check a name.
 * @param wildcard  whether the name is a wildcard; then the part before its
 *                  last slash must be the name of a channel
 * @return NULL, or what is wrong
 */
const char *mod_comet_gather_check_name(const mod_comet_gathering_t *gathering,
                                        comet_text_t name, int wildcard);

/** Add a channel or a wildcard.  A wildcard is expanded to the channels that
 * exist.
 * @param name  without the endpoint's prefix */
int mod_comet_gather_add(mod_comet_gathering_t *gathering, comet_text_t name);

/** Add a channel if the client may publish to it.
 * @param name  without the endpoint's prefix */
int mod_comet_gather_add_writable(mod_comet_gathering_t *gathering,
                                  comet_text_t name);

/** Check the number of channels (CometLimitChannels), since each costs a
 * sub-request and an entry in the hub.
 * @param more  the number of channels in addition to those gathered */
int mod_comet_gather_check_count(mod_comet_gathering_t *gathering,
                                 apr_size_t more);

#endif /* MOD_COMET_GATHER_H */
