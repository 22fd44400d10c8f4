/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file dialect/mercure.h
 * What the files for the Mercure protocol (0.x and 1.0) share.  All functions
 * run in the request's thread.
 */
#ifndef MOD_COMET_MERCURE_H
#define MOD_COMET_MERCURE_H

#include "request/ask.h"
#include "request/token.h"

/** A request to a hub. */
typedef struct mod_comet_mercure_t {
    request_rec *r;
    const mod_comet_request_t *request;
    mod_comet_ask_t *ask;
    const mod_comet_token_t *token; /* a valid token; NULL: there is none */
    int is_v1; /* the client speaks 1.0 */
} mod_comet_mercure_t;

/** Refuse a request with a line of plain text.
 * @return what the handler returns */
int mod_comet_mercure_refuse(request_rec *r, int status, const char *text);

/**
 * Set the challenge of RFC 6750.  If the audience of a key of this location is
 * the hub's URL, the challenge also says where the hub's metadata is (Mercure
 * 1.0, RFC 9728).
 * @param error  as for mod_comet_token_challenge()
 */
void mod_comet_mercure_challenge(request_rec *r, const char *error,
                                 const char *text);

/** Answer 401: a token is needed, but there is none. */
int mod_comet_mercure_refuse_anonymous(request_rec *r, const char *text);

/**
 * Write a topic as a channel's name, with the prefix of the mapping's channels.
 * @param name  OUT: in the request's pool
 * @return NULL, or what is wrong with the topic
 */
const char *mod_comet_mercure_name(const mod_comet_mercure_t *mercure,
                                   comet_text_t topic, comet_text_t *name);

/** Whether the request's method is QUERY (Mercure 1.0). */
int mod_comet_mercure_is_query(const request_rec *r);

/**
 * Read the form of a QUERY, and add its parameters to those of the URL.
 * @return DECLINED: go on; or what the handler returns
 */
int mod_comet_mercure_read_query(mod_comet_mercure_t *mercure);

/**
 * Select what a subscriber asks for by `topic` (0.x), or by `match` and similar
 * parameters (1.0).  Sets ask->selection and is_v1.
 * @return DECLINED: go on; or what the handler returns
 */
int mod_comet_mercure_select(mod_comet_mercure_t *mercure);

/**
 * Find where a subscriber continues, by the id of the last update that it has
 * seen.  A header of the answer tells the subscriber whether that id is known.
 * @return DECLINED: go on; or what the handler returns
 */
int mod_comet_mercure_find_cursor(const mod_comet_mercure_t *mercure);

/** Store the update in the request's form.
 * @return what the handler returns */
int mod_comet_mercure_publish(mod_comet_mercure_t *mercure);

#endif /* MOD_COMET_MERCURE_H */
