/* SPDX-License-Identifier: Apache-2.0 */
/* What a reader asks for, read from the parameters and headers of its
 * request. */
#include "request/ask.h"

#include "wire/accept.h"

/* How long a stream lasts by default if its user was authenticated.  After that
 * the client comes back, and its rights are checked again. */
#define LIFETIME_AUTHENTICATED apr_time_from_sec(3600)

/* A poll waits for less than the MPM's Timeout, even if its client asked for
 * longer: otherwise the MPM would cut it off. */
apr_interval_time_t mod_comet_ask_longest_hold(const request_rec *r)
{
    apr_interval_time_t most =
        mod_comet_request_timeout_server(r)->timeout / 5 * 4;
    apr_interval_time_t hold = mod_comet_config_poll_timeout(r);

    return hold < most ? hold : most;
}

const char *mod_comet_ask_parse_cursor(const request_rec *r,
                                       const mod_comet_request_t *request,
                                       const char *name,
                                       comet_timestamp_t *cursor)
{
    comet_text_t text;

    return comet_params_get(&request->query, name, &text) && text.length
               ? comet_params_cursor(text, name, cursor, r->pool)
               : NULL;
}

const char *mod_comet_ask_parse_int(const request_rec *r,
                                    const mod_comet_request_t *request,
                                    const char *name, apr_int64_t least,
                                    apr_int64_t most, apr_int64_t *number)
{
    comet_text_t text;

    return comet_params_get(&request->query, name, &text) && text.length
               ? comet_params_int(text, name, least, most, number, r->pool)
               : NULL;
}

const char *const mod_comet_ask_cursors[] = { "last_event_id", "lastEventId",
                                              "lastEventID",   "Last-Event-ID",
                                              "since",         NULL };

int mod_comet_ask_is_deaf(const request_rec *r,
                          const comet_transport_t *transport)
{
    comet_text_t accept = comet_text(apr_table_get(r->headers_in, "Accept"));
    comet_accept_t found;

    if (!transport || !transport->close || r->method_number != M_GET
        || r->header_only) {
        return 0;
    }
    if (transport->upgrades) {
        return 1; /* browsers do not tell pages how a handshake was answered */
    }
    found = comet_accept_find(accept, transport->content_type);
    return found.range == COMET_ACCEPT_NAMED && found.quality > 0;
}

int mod_comet_ask_is_transport_allowed(const request_rec *r,
                                       const mod_comet_ask_t *ask)
{
    return ask->history
           || (mod_comet_config_transports(r)
               & comet_transport_bit(ask->transport))
                  != 0;
}

/* The earlier of two times; 0 means never. */
static apr_time_t earlier(apr_time_t a, apr_time_t b)
{
    return a && (!b || a < b) ? a : b;
}

void mod_comet_ask_limit_time(mod_comet_ask_t *ask, const request_rec *r)
{
    const mod_comet_request_t *request = mod_comet_request(r);
    apr_interval_time_t most = mod_comet_config_max_lifetime(r);

    ask->authenticated |= request->is_personal;
    ask->until = earlier(ask->until, request->granted_until);
    if (most == MOD_COMET_UNSET) {
        most = r->user || ask->authenticated ? LIFETIME_AUTHENTICATED : 0;
    }
    ask->lifetime = earlier(ask->lifetime, most);
}

apr_time_t mod_comet_ask_end(const mod_comet_ask_t *ask)
{
    return ask->transport->streams && ask->lifetime
               ? earlier(ask->until, comet_monotonic() + ask->lifetime)
               : ask->until;
}
