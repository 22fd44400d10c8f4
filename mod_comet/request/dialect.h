/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file request/dialect.h
 * A dialect is a protocol for using channels over HTTP, at the URLs that its
 * directive maps.  To add one, write dialect/NAME.c with its
 * mod_comet_dialect_t, and add a line to tables/dialects.def.
 */
#ifndef MOD_COMET_DIALECT_H
#define MOD_COMET_DIALECT_H

#include "wire/command.h"
#include "request/ask.h"

/** Whether a dialect's directive takes an argument after the URL. */
typedef enum {
    MOD_COMET_NO_ARGUMENT,
    MOD_COMET_OPTIONAL_ARGUMENT,
    MOD_COMET_ARGUMENT
} mod_comet_argument_e;

typedef struct mod_comet_dialect_t {
    const char *usage; /* the directive's arguments, for messages */
    mod_comet_argument_e takes;
    const char *methods; /* the methods that the dialect answers, as in Allow */
    const char *accepts; /* what may be posted (Accept-Post); NULL: nothing */
    int upgrades; /* a client may ask for a WebSocket at the dialect's URLs */
    int subtree; /* the URLs below a mapped one are mapped, too */
    /** The cookie and the parameter that may hold a token if CometTokenCookie
     * and CometTokenParameter are not set; NULL: none. */
    const char *token_cookie;
    const char *token_parameter;
    /** Tokens have the claims of the Mercure protocol.  The dialect itself
     * judges what they grant.  `Require comet-token` cannot, because the URL
     * names no channel. */
    int by_mercure;
    /** Errors are lines of plain text, and not JSON. */
    int errors_are_plain;
    /** If a cap is reached and the MPM can park the client, answer after a
     * second that there is no news, instead of with an error. */
    int holds_when_full;

    /**
     * Set a mapping's channel from the directive's argument, in the parent
     * process.
     * @param argument  NULL: there is none
     * @return NULL, or what argument was expected, in @a pool
     */
    const char *(*map)(mod_comet_mapping_t *mapping, const char *argument,
                       apr_pool_t *pool);
    /**
     * Find the channel that a request's URL names.
     * @param channel  OUT: data NULL: none
     * @return NULL, or what is wrong with the channel's name
     */
    const char *(*find_channel)(const request_rec *r,
                                const mod_comet_mapping_t *mapping,
                                comet_text_t *channel);
    /** Whether a request would store a message, whatever its method is. */
    int (*publishes)(const request_rec *r, const mod_comet_request_t *request);
    /** Find the transport that a reader's request asks for.
     * @return NULL: the request names a transport that does not exist */
    const comet_transport_t *(*find_transport)(
        const request_rec *r, const mod_comet_request_t *request);
    /**
     * Answer a request whose method is one of ->methods, except OPTIONS, or let
     * it wait.
     * @param ask  zero except for ->channel and ->transport
     * @return what the handler returns
     */
    int (*handle)(request_rec *r, const mod_comet_request_t *request,
                  mod_comet_ask_t *ask);
    /**
     * Judge a change of the channels of an open WebSocket, as if its URL named
     * them.  This pointer is NULL if the dialect does not allow such changes.
     * @param more  a copy of the WebSocket's ask.  OUT: ->asked.  If channels
     *              are added, also ->selection, ->writes (NULL: none) and
     *              ->rooms; and, for the command's cursor, ->cursor, ->seen,
     *              ->floor, ->pruned and ->is_unknown. ->rooms is in @a pool;
     *              the caller releases the selections
     * @param held  the channels that the WebSocket reads after all changes
     *              before this one
     * @param status  OUT: the HTTP status of a refusal
     * @return NULL, or the reason to refuse the change, in @a pool
     */
    const char *(*change)(request_rec *r, mod_comet_ask_t *more,
                          const comet_command_t *command,
                          const comet_selection_t *held, apr_pool_t *pool,
                          int *status);
} mod_comet_dialect_t;

#endif /* MOD_COMET_DIALECT_H */
