/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file mod_comet_request.h
 * A request that is ours: which mapping it came by, and what it asks for.
 */
#ifndef MOD_COMET_REQUEST_H
#define MOD_COMET_REQUEST_H

#include "comet_params.h"
#include "comet_selection.h"
#include "comet_transport.h"
#include "mod_comet_config.h"

/** What a waiting client asked for; lives in the request's pool. */
typedef struct mod_comet_ask_t {
    const comet_transport_t *transport;
    comet_text_t channel;
    comet_selection_t *selection; /* a reference, of the request's pool */
    /** The client's cursor, or what it was resolved to. */
    comet_timestamp_t cursor;
    /** Nothing of the channel stands after the cursor up to here. */
    comet_timestamp_t seen;
    apr_size_t limit; /* messages in one answer */
    apr_interval_time_t hold; /* how long it may wait; 0: not at all */
    apr_interval_time_t tick; /* a clock's period; 0: not a clock */
    int gap; /* messages after the cursor were pruned */
    int escape; /* CometEscape */
} mod_comet_ask_t;

/** Kept in r->request_config from translate_name on. */
typedef struct mod_comet_request_t {
    const mod_comet_mapping_t *mapping;
    comet_params_t query;
    int publishes; /* whether the request would store a message */
} mod_comet_request_t;

/** The request's record; NULL when the request is not ours. */
const mod_comet_request_t *mod_comet_request(const request_rec *r);

/** The server whose Timeout and KeepAliveTimeout the MPM applies to the
 * request's connection. */
const server_rec *mod_comet_timeout_server(const request_rec *r);

/** translate_name hook: claim what is mapped. */
int mod_comet_translate_name(request_rec *r);

/** map_to_storage hook: what was claimed is not on disk. */
int mod_comet_map_to_storage(request_rec *r);

/** type_checker hook: no extension decides who handles it. */
int mod_comet_find_type(request_rec *r);

/** insert_error_filter hook: errors httpd makes late have our headers, too. */
void mod_comet_insert_error_filter(request_rec *r);

#endif /* MOD_COMET_REQUEST_H */
