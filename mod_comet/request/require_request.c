/* SPDX-License-Identifier: Apache-2.0 */
/* The provider of `Require comet-request`. */
#include "request/require_request.h"

#include <ap_provider.h>
#include <apr_strings.h>
#include <http_core.h>
#include <mod_auth.h>

#include "request/inquiry.h"
#include "request/reasons.h"

#define TIMEOUT_DEFAULT apr_time_from_sec(10)
#define TIMEOUT_MOST apr_time_from_sec(60)

static const char *parse(cmd_parms *cmd, const char *line, const void **parsed)
{
    mod_comet_inquiry_target_t *target =
        apr_pcalloc(cmd->pool, sizeof(*target));
    const char *word;

    target->url = ap_getword_conf(cmd->pool, &line);
    target->timeout = TIMEOUT_DEFAULT;
    word = ap_getword_conf(cmd->pool, &line);
    if (target->url[0] != '/' || target->url[1] == '/'
        || strpbrk(target->url, "# \t")) {
        return apr_psprintf(cmd->pool,
                            "Require comet-request: \"%s\" is not allowed: "
                            "expected a URL of this server, such as "
                            "/comet-may.php",
                            target->url);
    }
    if (*line
        || (*word
            && (strncasecmp(word, "timeout=", 8) != 0
                || ap_timeout_parameter_parse(word + 8, &target->timeout, "s")
                       != APR_SUCCESS
                || target->timeout < apr_time_from_msec(100)
                || target->timeout > TIMEOUT_MOST))) {
        return apr_psprintf(cmd->pool,
                            "Require comet-request: \"%s\" is not allowed: "
                            "expected timeout= with 100ms to 60s",
                            *line ? line : word);
    }
    *parsed = target;
    return NULL;
}

/* Find the channel's name for Comet-Channel.  A URL that ends in a slash stands
 * for all channels below it.
 * @return NULL: the URL names no valid channel */
static const char *name_channel(const request_rec *r)
{
    const char *channel = mod_comet_request_channel(r);
    comet_text_t name = comet_text(channel);

    if (!channel) {
        return "";
    }
    if (!name.length || channel[name.length - 1] == '/') {
        name.length -= name.length ? 1 : 0;
        return !name.length || !comet_params_check_channel(name)
                   ? apr_pstrcat(r->pool, channel, "*", NULL)
                   : NULL;
    }
    return comet_params_check_channel(name) ? NULL : channel;
}

/* Log that the application refuses a request.  @return AUTHZ_DENIED */
static authz_status refuse(request_rec *r, const char *wrong)
{
    mod_comet_request_t *request = mod_comet_request(r);

    if (!r->main && !request->is_refused) {
        request->is_refused = 1;
        mod_comet_reasons_log(
            r, HTTP_FORBIDDEN,
            apr_pstrcat(r->pool, "the site's application: ", wrong, NULL));
    }
    return AUTHZ_DENIED;
}

/* A request that could not be judged goes on to the handler, which answers 503,
 * or turns a stream away softly. httpd itself would answer 500. */
static authz_status check(request_rec *r, const char *line, const void *parsed)
{
    mod_comet_request_t *request = mod_comet_request(r);
    const mod_comet_inquiry_t *inquiry;
    const char *channel;

    if (mod_comet_inquiry_is_nested(r)) {
        ap_log_rerror(
            APLOG_MARK, APLOG_ERR, 0, r,
            "COMET0140: Require comet-request: %s may not ask again: the URL "
            "that is asked must not itself have this Require",
            r->uri);
        return AUTHZ_DENIED;
    }
    channel = request ? name_channel(r) : NULL;
    if (!channel) {
        return AUTHZ_DENIED;
    }
    inquiry = mod_comet_inquiry_make(r, parsed, channel);
    if (inquiry->status == HTTP_UNAUTHORIZED) {
        return AUTHZ_DENIED_NO_USER;
    }
    if (inquiry->status == HTTP_SERVICE_UNAVAILABLE) {
        request->obstacle = apr_pstrcat(
            r->pool, "the site's application cannot be asked: ", inquiry->wrong,
            NULL);
        return AUTHZ_GRANTED;
    }
    if (inquiry->wrong) {
        return refuse(r, inquiry->wrong);
    }
    if (inquiry->user) {
        r->user = apr_pstrdup(r->pool, inquiry->user);
        r->ap_auth_type = apr_pstrdup(r->pool, "comet-request");
    }
    mod_comet_request_grant(request, inquiry->until);
    return AUTHZ_GRANTED;
}

static const authz_provider provider = { check, parse };

void mod_comet_require_request_register(apr_pool_t *p)
{
    ap_register_auth_provider(p, AUTHZ_PROVIDER_GROUP, "comet-request",
                              AUTHZ_PROVIDER_VERSION, &provider,
                              AP_AUTH_INTERNAL_PER_CONF);
}
