/* SPDX-License-Identifier: Apache-2.0 */
/* Turn a connection over to a WebSocket. */
#include "output/upgrade.h"

#include "wire/websocket.h"
#include "output/filters.h"

/* The subprotocol for clients that must name one. */
#define SUBPROTOCOL "comet"

/* mod_reqtimeout would end the connection when a request's body is due. */
static void remove_timeout(conn_rec *c)
{
    ap_filter_t *filter, *next;

    for (filter = c->input_filters; filter; filter = next) {
        next = filter->next;
        if (strcasecmp(filter->frec->name, "reqtimeout") == 0) {
            ap_remove_input_filter(filter);
        }
    }
}

void mod_comet_upgrade_begin(request_rec *r)
{
    conn_rec *c = r->connection;

    if (r->status == HTTP_SWITCHING_PROTOCOLS) {
        return;
    }
    remove_timeout(c);
    r->status = HTTP_SWITCHING_PROTOCOLS;
    r->output_filters = r->proto_output_filters = c->output_filters;
    r->input_filters = r->proto_input_filters = c->input_filters;
    c->keepalive = AP_CONN_CLOSE;
}

void mod_comet_upgrade_accept(request_rec *r)
{
    const char *key = apr_table_get(r->headers_in, "Sec-WebSocket-Key");
    const char *offered =
        apr_table_get(r->headers_in, "Sec-WebSocket-Protocol");
    conn_rec *c = r->connection;
    apr_bucket_brigade *brigade = apr_brigade_create(r->pool, c->bucket_alloc);

    mod_comet_upgrade_begin(r);
    apr_brigade_printf(brigade, NULL, NULL,
                       "HTTP/1.1 101 Switching Protocols\r\n"
                       "Upgrade: websocket\r\n"
                       "Connection: Upgrade\r\n"
                       "Sec-WebSocket-Accept: %s\r\n%s\r\n",
                       comet_websocket_accept(key, r->pool),
                       offered && ap_find_token(r->pool, offered, SUBPROTOCOL)
                           ? "Sec-WebSocket-Protocol: " SUBPROTOCOL "\r\n"
                           : "");
    r->sent_bodyct = 1;
    if (mod_comet_filters_pass(c, brigade) != APR_SUCCESS) {
        c->aborted = 1;
    }
}
