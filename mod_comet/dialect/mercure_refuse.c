/* SPDX-License-Identifier: Apache-2.0 */
/* Refuse requests as a hub of the Mercure protocol does: with a line of plain
 * text. */
#include <apr_strings.h>

#include "dialect/mercure.h"
#include "output/answer.h"

int mod_comet_mercure_refuse(request_rec *r, int status, const char *text)
{
    return mod_comet_answer_error(r, status, "%s", text);
}

/* Find the URL of a protected resource's metadata (RFC 9728, section 3.1): the
 * well-known path is inserted between the host and the path of the resource's
 * URL.
 * @return NULL: the resource is not an HTTP URL */
static const char *find_metadata(const char *resource, apr_pool_t *pool)
{
    const char *host = resource ? strstr(resource, "://") : NULL;
    const char *path;

    if (!host || strncmp(resource, "http", 4) != 0) {
        return NULL;
    }
    path = strchr(host + 3, '/');
    path = path ? path : host + strlen(host);
    return apr_pstrcat(
        pool, apr_pstrmemdup(pool, resource, (apr_size_t)(path - resource)),
        "/.well-known/oauth-protected-resource", path[0] && path[1] ? path : "",
        NULL);
}

void mod_comet_mercure_challenge(request_rec *r, const char *error,
                                 const char *text)
{
    const apr_array_header_t *keys = mod_comet_config_token_keys(r);
    const char *metadata = NULL;
    int i;

    for (i = 0; keys && i < keys->nelts && !metadata; i++) {
        metadata = find_metadata(APR_ARRAY_IDX(keys, i, comet_key_t).audience,
                                 r->pool);
    }
    mod_comet_token_challenge(r, error, text, metadata);
}

int mod_comet_mercure_refuse_anonymous(request_rec *r, const char *text)
{
    mod_comet_mercure_challenge(r, NULL, text);
    return mod_comet_mercure_refuse(
        r, HTTP_UNAUTHORIZED,
        apr_pstrcat(r->pool, "Unauthorized: ", text, NULL));
}
