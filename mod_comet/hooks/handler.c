/* SPDX-License-Identifier: Apache-2.0 */
/* Handle a mapped request. */
#include "hooks/handler.h"

#include <apr_strings.h>
#include <http_protocol.h>

#include "request/dialect.h"
#include "output/answer.h"
#include "output/chain.h"
#include "output/handshake.h"
#include "hooks/lifecycle.h"

/* Whether a method is in a list such as "GET, HEAD". */
static int is_listed(const char *method, const char *methods)
{
    const char *found = strstr(methods, method);
    apr_size_t length = strlen(method);

    while (found
           && ((found != methods && found[-1] != ' ')
               || (found[length] && found[length] != ','))) {
        found = strstr(found + 1, method);
    }
    return found != NULL;
}

static int answer_options(request_rec *r, const mod_comet_dialect_t *dialect)
{
    if (dialect->accepts) {
        apr_table_setn(r->headers_out, "Accept-Post", dialect->accepts);
    }
    return mod_comet_answer_options(r, dialect->methods);
}

/* Find the protocol of a request.  The conn_rec of an HTTP/2 stream does not
 * hold the protocol; that of the connection does. */
static const char *find_protocol(const request_rec *r)
{
    conn_rec *c = r->connection;

    return ap_get_protocol(c->master ? c->master : c);
}

/*
 * Whether a request came over a protocol that its virtual host does not speak.
 * A browser sends the requests for all names of a certificate over one HTTP/2
 * connection.  After 421 it opens a separate connection to this host, which may
 * have "Protocols http/1.1".  (httpd speaks HTTP/1.1 even if Protocols does not
 * list it.)
 */
static int is_misdirected(request_rec *r)
{
    const char *protocol = find_protocol(r);

    return strcmp(protocol, AP_PROTOCOL_HTTP1) != 0
           && !ap_is_allowed_protocol(r->connection, r, r->server, protocol);
}

/* Refuse a request of a protocol that the host or the dialect does not speak.
 * @return DECLINED: the dialect can answer it as a plain request */
static int refuse_protocol(request_rec *r, const mod_comet_dialect_t *dialect)
{
    if (is_misdirected(r)) {
        return mod_comet_answer_error(
            r, HTTP_MISDIRECTED_REQUEST,
            "this host does not speak %s (Protocols): "
            "open a separate connection to it",
            find_protocol(r));
    }
    if (!mod_comet_handshake_is_asked(r)) {
        return DECLINED;
    }
    /* a handshake that is handled as a plain GET would be answered only when
     * there is news */
    return dialect->upgrades
               ? mod_comet_handshake_check(r)
               : mod_comet_answer_error(r, HTTP_BAD_REQUEST,
                                        "Upgrade: there is no WebSocket here: "
                                        "read with a plain GET");
}

int mod_comet_handler(request_rec *r)
{
    mod_comet_request_t *request = mod_comet_request(r);
    const mod_comet_dialect_t *dialect;
    mod_comet_ask_t *ask;
    const char *wrong;
    int rv;

    if (!request || r->main) {
        return DECLINED; /* a sub-request cannot wait: it has no connection of
                          * its own */
    }
    mod_comet_chain_keep_text(r);
    dialect = request->mapping->dialect;
    rv = refuse_protocol(r, dialect);
    if (rv != DECLINED) {
        return rv;
    }
    ask = apr_pcalloc(r->pool, sizeof(*ask));
    ask->story = &request->story;
    ask->transport = dialect->find_transport(r, request);
    if (ask->transport && ask->transport->upgrades
        && mod_comet_ask_is_deaf(r, ask->transport)
        && mod_comet_handshake_is_asked(r)
        && mod_comet_ask_is_transport_allowed(r, ask)) {
        request->softly = ask->transport;
    }
    wrong =
        request->obstacle ? request->obstacle : mod_comet_lifecycle_obstacle(r);
    if (wrong) {
        return mod_comet_answer_error(r, HTTP_SERVICE_UNAVAILABLE, "%s", wrong);
    }
    if (request->query.too_many) {
        return mod_comet_answer_error(r, HTTP_BAD_REQUEST,
                                      "the query has too many parameters: at "
                                      "most %d are allowed",
                                      COMET_PARAMS_MAX);
    }
    wrong = dialect->find_channel(r, request->mapping, &ask->channel);
    if (wrong) {
        return mod_comet_answer_error(r, HTTP_BAD_REQUEST, "channel: %s",
                                      wrong);
    }
    if (r->method_number == M_OPTIONS) {
        return answer_options(r, dialect);
    }
    return is_listed(r->method, dialect->methods)
               ? dialect->handle(r, request, ask)
               : mod_comet_answer_not_allowed(r, dialect->methods);
}
