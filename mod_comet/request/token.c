/* SPDX-License-Identifier: Apache-2.0 */
/* The token that a request bears. */
#include "request/token.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <http_core.h>
#include <scoreboard.h>

#include "request/dialect.h"
#include "request/reasons.h"

static const char CHALLENGE[] = "WWW-Authenticate";

/* --- where the token is -------------------------------------------------- */

/* @return "": none */
static const char *cookie_name(const request_rec *r)
{
    const char *set = mod_comet_config_token_cookie(r);
    const char *usual = mod_comet_request(r)->mapping->dialect->token_cookie;

    return set ? set : usual ? usual : "";
}

static const char *parameter_name(const request_rec *r)
{
    const char *set = mod_comet_config_token_parameter(r);
    const char *usual = mod_comet_request(r)->mapping->dialect->token_parameter;

    return set ? set : usual ? usual : "";
}

/* What one part of a request has: a token, or an error. */
typedef struct found_t {
    comet_text_t text; /* data NULL: nothing */
    const char *wrong; /* NULL: nothing */
} found_t;

/* Find the token in Authorization. httpd joins header fields of the same name
 * with commas.  A token contains no comma. */
static found_t find_in_header(const request_rec *r)
{
    static const char scheme[] = "Bearer ";
    const char *header = apr_table_get(r->headers_in, "Authorization");
    found_t found = { .wrong = NULL };
    const char *at;

    if (!header) {
        return found;
    }
    for (at = strchr(header, ','); at; at = strchr(at + 1, ',')) {
        if (strncasecmp(at + 1 + strspn(at + 1, " \t"), scheme,
                        sizeof(scheme) - 1)
            == 0) {
            found.wrong = "Authorization: expected a single field";
        }
    }
    if (strncasecmp(header, scheme, sizeof(scheme) - 1) == 0) {
        header += sizeof(scheme) - 1;
        found.text = comet_text(header + strspn(header, " "));
    }
    return found;
}

/* Find the value of a cookie, wherever it stands among other cookies. */
static found_t find_in_cookies(const request_rec *r, const char *name)
{
    const char *at = apr_table_get(r->headers_in, "Cookie");
    apr_size_t length = strlen(name);
    found_t found = { .wrong = NULL };

    while (at && length) {
        const char *end = strchr(at, ';');

        at += strspn(at, " \t");
        if (strncmp(at, name, length) == 0 && at[length] == '=') {
            if (found.text.data) {
                found.wrong = "Cookie: the token's cookie occurs twice";
            }
            at += length + 1;
            found.text = comet_text(at);
            found.text.length =
                end ? (apr_size_t)(end - at) : found.text.length;
            while (found.text.length
                   && apr_isspace(at[found.text.length - 1])) {
                found.text.length--;
            }
        }
        at = end ? end + 1 : NULL;
    }
    return found;
}

static found_t find_in_query(const mod_comet_request_t *request,
                             const char *name)
{
    const comet_params_t *query = &request->query;
    found_t found = { .wrong = NULL };
    apr_size_t i;

    for (i = 0; *name && i < query->count; i++) {
        if (comet_text_equal(query->list[i].name, comet_text(name))) {
            if (found.text.data) {
                found.wrong = "the token's parameter occurs twice";
            }
            found.text = query->list[i].value;
        }
    }
    return found;
}

/* Find the token.  An empty token counts as absent: a client that signs out may
 * send one. */
static found_t find(const request_rec *r)
{
    const mod_comet_request_t *request = mod_comet_request(r);
    found_t found = find_in_header(r);

    if (!found.text.length && !found.wrong) {
        found = find_in_query(request, parameter_name(r));
    }
    if (!found.text.length && !found.wrong) {
        found = find_in_cookies(r, cookie_name(r));
    }
    return found;
}

/* --- verifying ------------------------------------------------------------ */

/* Find the token of a request.  A sub-request has the headers of its main
 * request, but not the query, so the main request is searched, too. */
static found_t find_of_main(const request_rec *r)
{
    found_t found = find(r);

    while (!found.text.length && !found.wrong && r->main) {
        r = r->main;
        if (mod_comet_request(r)) {
            found = find(r);
        }
    }
    return found;
}

static mod_comet_token_t *verify(const request_rec *r,
                                 const apr_array_header_t *keys, unsigned use)
{
    mod_comet_token_t *token = apr_pcalloc(r->pool, sizeof(*token));
    found_t found = find_of_main(r);
    comet_token_judge_t judge = {
        .keys = (const comet_key_t *)keys->elts,
        .count = (apr_size_t)keys->nelts,
        .use = use,
        .now = apr_time_now(),
        .skew = mod_comet_config_token_skew(r),
        .by_mercure = mod_comet_request(r)->mapping->dialect->by_mercure,
    };

    token->keys = keys;
    token->use = use;
    token->wrong = found.wrong;
    if (found.wrong) {
        token->state = MOD_COMET_TOKEN_MALFORMED;
        return token;
    }
    if (!found.text.length) {
        token->wrong = "there is no token";
        return token;
    }
    token->wrong =
        comet_token_read(&token->claims, found.text, &judge, r->pool);
    token->state =
        token->wrong ? MOD_COMET_TOKEN_INVALID : MOD_COMET_TOKEN_VALID;
    if (!token->wrong && token->claims.ends_at) {
        token->until = comet_monotonic() + (token->claims.ends_at - judge.now);
    }
    return token;
}

/* Find a token that was already verified with the same keys and for the same
 * use, for this request or for a request above it. */
static const mod_comet_token_t *find_judged(const request_rec *r,
                                            const apr_array_header_t *keys,
                                            unsigned use)
{
    for (; r; r = r->main) {
        const mod_comet_request_t *request = mod_comet_request(r);

        if (request && request->token && request->token->keys == keys
            && request->token->use == use) {
            return request->token;
        }
    }
    return NULL;
}

const mod_comet_token_t *mod_comet_token_find(request_rec *r)
{
    static const apr_array_header_t no_keys = { .nelts = 0 };
    mod_comet_request_t *request = mod_comet_request(r);
    const apr_array_header_t *keys = mod_comet_config_token_keys(r);
    unsigned use = request->publishes ? COMET_KEY_PUBLISH : COMET_KEY_READ;

    keys = keys ? keys : &no_keys;
    request->token = find_judged(r, keys, use);
    if (!request->token) {
        request->token = verify(r, keys, use);
    }
    return request->token;
}

/* --- answering ------------------------------------------------------------ */

/* Add a parameter to a challenge, unless it has no value. */
static void add_parameter(apr_array_header_t *parts, const char *name,
                          const char *value)
{
    if (value) {
        APR_ARRAY_PUSH(parts, const char *) =
            apr_psprintf(parts->pool, " %s=\"%s\"", name,
                         ap_escape_quotes(parts->pool, value));
    }
}

void mod_comet_token_challenge(request_rec *r, const char *error,
                               const char *wrong, const char *metadata)
{
    apr_array_header_t *parts = apr_array_make(r->pool, 4, sizeof(char *));
    char *said = apr_pstrdup(r->pool, wrong);
    char *at;

    for (at = said; *at; at++) {
        if (*at == '"' || *at == '\\') {
            *at = '\'';
        }
    }
    add_parameter(parts, "realm", ap_auth_name(r));
    add_parameter(parts, "error", error);
    add_parameter(parts, "error_description", error ? said : NULL);
    add_parameter(parts, "resource_metadata", metadata);
    apr_table_setn(r->err_headers_out, CHALLENGE,
                   apr_pstrcat(r->pool, "Bearer",
                               apr_array_pstrcat(r->pool, parts, ','), NULL));
}

/* Log a refusal.  A sub-request's refusal is logged by the request that made
 * the sub-request. */
static void tell(request_rec *r, int status, const char *wrong)
{
    if (!r->main) {
        mod_comet_reasons_log(r, status,
                              apr_pstrcat(r->pool, "token: ", wrong, NULL));
    }
}

/* @param error  as for mod_comet_token_challenge() */
static int refuse(request_rec *r, int status, const char *error,
                  const char *wrong)
{
    mod_comet_token_challenge(r, error, wrong, NULL);
    tell(r, status, wrong);
    return status;
}

int mod_comet_token_authenticate(request_rec *r)
{
    const mod_comet_token_t *token;

    if (!mod_comet_request(r) || !mod_comet_config_token_keys(r)) {
        return DECLINED;
    }
    token = mod_comet_token_find(r);
    switch (token->state) {
    case MOD_COMET_TOKEN_ABSENT:
        return ap_auth_type(r)
                   ? DECLINED
                   : refuse(r, HTTP_UNAUTHORIZED, NULL, token->wrong);
    case MOD_COMET_TOKEN_MALFORMED:
        return refuse(r, HTTP_BAD_REQUEST, "invalid_request", token->wrong);
    case MOD_COMET_TOKEN_INVALID:
        return refuse(r, HTTP_UNAUTHORIZED, "invalid_token", token->wrong);
    default:
        break;
    }
    if (!token->claims.user) { /* httpd does not accept an authentication
                                * without a user's name */
        return refuse(r, HTTP_UNAUTHORIZED, "invalid_token",
                      "sub: the token names no user, but one is required");
    }
    r->user = apr_pstrdup(r->pool, token->claims.user);
    r->ap_auth_type = apr_pstrdup(r->pool, "Bearer");
    return OK;
}

void mod_comet_token_tell_insufficient(request_rec *r)
{
    mod_comet_request_t *request = mod_comet_request(r);
    const char *wrong = request->publishes
                            ? "it does not grant publishing to this channel"
                            : "it does not grant reading this channel";

    if (!request->is_told) {
        request->is_told = 1;
        mod_comet_token_challenge(r, "insufficient_scope", wrong, NULL);
        tell(r, HTTP_FORBIDDEN, wrong);
    }
}

void mod_comet_token_untell(request_rec *r)
{
    if (mod_comet_request(r)->is_told) {
        apr_table_unset(r->err_headers_out, CHALLENGE);
    }
}

/* --- hiding --------------------------------------------------------------- */

/* Hide the values of a parameter in a URL or a request line.  The query begins
 * at the first question mark. */
static char *hide(const request_rec *r, const char *text, const char *name)
{
    const char *query = text ? strchr(text, '?') : NULL;

    return query ? apr_pstrcat(
               r->pool,
               apr_pstrmemdup(r->pool, text, (apr_size_t)(query + 1 - text)),
               comet_params_hide(query + 1, name, r->pool), NULL)
                 : (char *)text;
}

int mod_comet_token_hide(request_rec *r)
{
    const mod_comet_request_t *request = mod_comet_request(r);
    const char *name = request ? parameter_name(r) : "";
    comet_text_t value;

    if (!*name || !r->args
        || (!request->query.too_many
            && !comet_params_get(&request->query, name, &value))) {
        return DECLINED;
    }
    r->args = comet_params_hide(r->args, name, r->pool);
    r->parsed_uri.query = r->args;
    r->unparsed_uri = hide(r, r->unparsed_uri, name);
    r->the_request = hide(r, r->the_request, name);
    /* a page whose URL contains a token must not send this URL to other sites
     * as Referer */
    apr_table_setn(r->err_headers_out, "Referrer-Policy", "no-referrer");
    ap_update_child_status(r->connection->sbh, SERVER_BUSY_WRITE, r);
    return DECLINED;
}
