/* SPDX-License-Identifier: Apache-2.0 */
/* The provider of `Require comet-token`. */
#include "request/require_token.h"

#include <ap_provider.h>
#include <mod_auth.h>

#include "token/grant.h"
#include "request/dialect.h"
#include "request/token.h"

/* Whether a `Require` stands alone in its section: nothing else decides who may
 * use the section's URLs. */
static int is_alone(const ap_directive_t *require)
{
    static const char *const others[] = { "Require", "<", "AuthMerging",
                                          "Satisfy" };
    const ap_directive_t *directive =
        require->parent ? require->parent->first_child : NULL;
    apr_size_t i;

    if (!directive
        || strncasecmp(require->parent->directive, "<Location", 9) != 0) {
        return 0;
    }
    for (; directive; directive = directive->next) {
        for (i = 0; i < sizeof(others) / sizeof(*others); i++) {
            if (directive != require
                && strncasecmp(directive->directive, others[i],
                               strlen(others[i]))
                       == 0) {
                return 0;
            }
        }
    }
    return 1;
}

/* @param parsed  OUT: not NULL if the line stands alone */
static const char *parse(cmd_parms *cmd, const char *line, const void **parsed)
{
    *parsed = is_alone(cmd->directive) ? cmd->directive : NULL;
    return *line ? "Require comet-token takes no arguments: the token says "
                   "which channels it grants"
                 : NULL;
}

/* Whether a token grants what a request wants.  The endpoint's own URL reaches
 * no channel, so any token will do. */
static int is_granted(const request_rec *r, const comet_token_t *claims)
{
    const char *channel = mod_comet_request_channel(r);

    return !channel || mod_comet_request(r)->mapping->dialect->by_mercure
           || comet_grant_covers(mod_comet_request(r)->publishes ? claims->write
                                                                 : claims->read,
                                 channel);
}

/* If there is no user yet, or the token is invalid, httpd has to run the
 * check_user_id hooks first: they name the user or answer with a challenge. */
static authz_status check(request_rec *r, const char *line, const void *parsed)
{
    mod_comet_request_t *request = mod_comet_request(r);
    const mod_comet_token_t *token;

    if (!request) {
        return AUTHZ_DENIED;
    }
    if (!mod_comet_config_token_keys(r)) {
        ap_log_rerror(
            APLOG_MARK, APLOG_ERR, 0, r,
            "COMET0142: Require comet-token: no CometTokenKey applies to %s",
            r->uri);
        return AUTHZ_DENIED;
    }
    token = mod_comet_token_find(r);
    if (token->state != MOD_COMET_TOKEN_VALID
        || (token->claims.user && !r->user)) {
        return AUTHZ_DENIED_NO_USER;
    }
    if (!is_granted(r, &token->claims)) {
        mod_comet_token_tell_insufficient(r);
        return AUTHZ_DENIED;
    }
    request->is_by_token_alone = parsed != NULL;
    mod_comet_request_grant(request, token->until);
    return AUTHZ_GRANTED;
}

static const authz_provider provider = { check, parse };

void mod_comet_require_token_register(apr_pool_t *p)
{
    ap_register_auth_provider(p, AUTHZ_PROVIDER_GROUP, "comet-token",
                              AUTHZ_PROVIDER_VERSION, &provider,
                              AP_AUTH_INTERNAL_PER_CONF);
}
