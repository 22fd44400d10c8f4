/* SPDX-License-Identifier: Apache-2.0 */
/* Check a WebSocket handshake. */
#include "output/handshake.h"

#include "wire/websocket.h"
#include "request/access.h"
#include "output/answer.h"

/* The only version of the protocol (RFC 6455). */
#define VERSION "13"

static const char *header(const request_rec *r, const char *name)
{
    return apr_table_get(r->headers_in, name);
}

static int has_token(const request_rec *r, const char *value, const char *token)
{
    return value && ap_find_token(r->pool, value, token);
}

int mod_comet_handshake_is_asked(const request_rec *r)
{
    return r->method_number == M_GET && !r->header_only
           && has_token(r, header(r, "Upgrade"), "websocket");
}

int mod_comet_handshake_demand(request_rec *r)
{
    apr_table_setn(r->headers_out, "Upgrade", "websocket");
    apr_table_setn(r->headers_out, "Connection", "Upgrade");
    return mod_comet_answer_error(r, HTTP_UPGRADE_REQUIRED,
                                  "transport: websocket needs a WebSocket "
                                  "handshake over HTTP/1.1 (Upgrade: "
                                  "websocket)");
}

static int refuse_version(request_rec *r)
{
    apr_table_setn(r->headers_out, "Sec-WebSocket-Version", VERSION);
    return mod_comet_answer_error(r, HTTP_UPGRADE_REQUIRED,
                                  "Sec-WebSocket-Version: expected " VERSION);
}

/* Over HTTP/2 a handshake is an extended CONNECT (RFC 8441). mod_http2 hands it
 * on as a GET with Upgrade, which no other HTTP/2 request has. mod_http2 also
 * says that the request has a body: the client's frames. */
static int is_http2(const request_rec *r)
{
    return r->connection->master != NULL;
}

static int has_body(const request_rec *r)
{
    const char *length = header(r, "Content-Length");

    return (header(r, "Transfer-Encoding") && !is_http2(r))
           || (length && strcmp(length, "0") != 0);
}

int mod_comet_handshake_check(request_rec *r)
{
    const char *version = header(r, "Sec-WebSocket-Version"), *wrong = NULL;

    if (r->proto_num < HTTP_VERSION(1, 1)) {
        return mod_comet_handshake_demand(r);
    }
    if (!version || strcmp(version, VERSION) != 0) {
        return refuse_version(r);
    }
    if (!is_http2(r) && !has_token(r, header(r, "Connection"), "upgrade")) {
        wrong = "Connection: expected Upgrade";
    }
    else if (!comet_websocket_accept(header(r, "Sec-WebSocket-Key"), r->pool)) {
        wrong = "Sec-WebSocket-Key: expected 16 bytes in base64";
    }
    else if (has_body(r)) {
        wrong = "Content-Length: a WebSocket handshake has no body";
    }
    if (wrong) {
        return mod_comet_answer_error(r, HTTP_BAD_REQUEST, "%s", wrong);
    }
    wrong = mod_comet_access_refuse_socket(r);
    return wrong
               ? mod_comet_answer_error(r, HTTP_FORBIDDEN, "Origin: %s", wrong)
               : DECLINED;
}
