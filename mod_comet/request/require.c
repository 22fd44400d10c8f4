/* SPDX-License-Identifier: Apache-2.0 */
/* The providers of `Require comet-publish` and `Require comet-channel`. */
#include "request/require.h"

#include "base/name.h"
#include "request/dialect.h"

#include <ap_expr.h>
#include <ap_provider.h>
#include <apr_strings.h>
#include <mod_auth.h>

/* --- Require comet-publish ----------------------------------------------- */

typedef struct requirement_t {
    const authz_provider *provider; /* authorises publishers */
    const char *name;
    const char *line;
    const void *parsed;
} requirement_t;

static const char *parse_requirement(cmd_parms *cmd, const char *line,
                                     const void **parsed)
{
    requirement_t *requirement = apr_pcalloc(cmd->pool, sizeof(*requirement));
    const char *rest = line;
    const char *name = ap_getword_conf(cmd->pool, &rest);

    requirement->provider = *name
                                ? ap_lookup_provider(AUTHZ_PROVIDER_GROUP, name,
                                                     AUTHZ_PROVIDER_VERSION)
                                : NULL;
    if (!requirement->provider) {
        return apr_psprintf(
            cmd->pool,
            "Require comet-publish: \"%s\" is not allowed: "
            "expected an argument of Require, such as valid-user "
            "or user anna",
            name);
    }
    requirement->name = name;
    requirement->line = apr_pstrdup(cmd->pool, rest);
    *parsed = requirement;
    return requirement->provider->parse_require_line
               ? requirement->provider->parse_require_line(
                   cmd, requirement->line, &requirement->parsed)
               : NULL;
}

/* Grant reading; let the named provider authorise publishing.  The note
 * AUTHZ_PROVIDER_NAME_NOTE is for an AuthzProviderAlias, which looks up its own
 * name in it. */
static authz_status check_requirement(request_rec *r, const char *line,
                                      const void *parsed)
{
    const mod_comet_request_t *request = mod_comet_request(r);
    const requirement_t *requirement = parsed;
    const char *ours = apr_table_get(r->notes, AUTHZ_PROVIDER_NAME_NOTE);
    authz_status status;

    if (!request || !request->publishes) {
        return AUTHZ_GRANTED;
    }
    apr_table_setn(r->notes, AUTHZ_PROVIDER_NAME_NOTE, requirement->name);
    status = requirement->provider->check_authorization(r, requirement->line,
                                                        requirement->parsed);
    if (ours) {
        apr_table_setn(r->notes, AUTHZ_PROVIDER_NAME_NOTE, ours);
    }
    return status;
}

static const authz_provider publish_provider = { check_requirement,
                                                 parse_requirement };

/* --- Require comet-channel ----------------------------------------------- */

/*
 * A pattern, split at its slashes.  Each segment is an expression whose result
 * is matched literally.  So a user named ".*" matches only a channel of that
 * name, and a user named "a/b" matches none.  A regular expression over the
 * whole path could not guarantee that.
 */
typedef struct pattern_t {
    apr_array_header_t *segments; /* of ap_expr_info_t pointers */
    int below; /* the pattern ends in a star, and matches every channel below
                * the segments */
} pattern_t;

typedef struct channels_t {
    apr_array_header_t *patterns; /* pattern_t */
    int want_user; /* a pattern names the user, so no request matches before
                    * its user is known */
} channels_t;

/* Find the length of a segment.  A slash within %{…} does not end a segment. */
static apr_size_t segment_length(const char *text)
{
    apr_size_t i;
    int depth = 0;

    for (i = 0; text[i] && (text[i] != '/' || depth); i++) {
        if (text[i] == '%' && text[i + 1] == '{') {
            depth++;
        }
        else if (text[i] == '}' && depth) {
            depth--;
        }
    }
    return i;
}

static const char *refuse_pattern(const cmd_parms *cmd, const char *word,
                                  const char *why)
{
    return apr_psprintf(cmd->pool,
                        "Require comet-channel: \"%s\" is not allowed: %s",
                        word, why);
}

static const char *parse_pattern(cmd_parms *cmd, const char *word,
                                 pattern_t *pattern)
{
    const char *rest = word, *error = NULL;

    pattern->below = 0;
    pattern->segments = apr_array_make(cmd->pool, 4, sizeof(ap_expr_info_t *));
    for (;;) {
        apr_size_t length = segment_length(rest);

        if (strcmp(rest, "*") == 0) {
            pattern->below = 1;
            return NULL;
        }
        if (!length || memchr(rest, '*', length)) {
            return refuse_pattern(
                cmd, word,
                "expected a channel, such as "
                "user/%{REMOTE_USER}, or all channels below one, "
                "such as user/%{REMOTE_USER}/*");
        }
        APR_ARRAY_PUSH(pattern->segments, ap_expr_info_t *) = ap_expr_parse_cmd(
            cmd, apr_pstrmemdup(cmd->pool, rest, length),
            AP_EXPR_FLAG_STRING_RESULT | AP_EXPR_FLAG_DONT_VARY, &error, NULL);
        if (error) {
            return refuse_pattern(cmd, word, error);
        }
        if (!rest[length]) {
            return NULL;
        }
        rest += length + 1;
    }
}

static const char *parse_channels(cmd_parms *cmd, const char *line,
                                  const void **parsed)
{
    channels_t *channels = apr_pcalloc(cmd->pool, sizeof(*channels));
    const char *word, *error = NULL;

    channels->patterns = apr_array_make(cmd->pool, 2, sizeof(pattern_t));
    channels->want_user = strstr(line, "REMOTE_USER") != NULL;
    while (!error && *(word = ap_getword_conf(cmd->pool, &line))) {
        error = parse_pattern(cmd, word, apr_array_push(channels->patterns));
    }
    *parsed = channels;
    return !error && !channels->patterns->nelts
               ? refuse_pattern(cmd, "", "expected at least one channel")
               : error;
}

static comet_cover_e match(request_rec *r, const pattern_t *pattern,
                           comet_text_t rest)
{
    int i;

    for (i = 0; i < pattern->segments->nelts; i++) {
        const char *error = NULL;
        const char *value = ap_expr_str_exec(
            r, APR_ARRAY_IDX(pattern->segments, i, ap_expr_info_t *), &error);
        apr_size_t length = error || !value ? 0 : strlen(value);

        if (!length || strchr(value, '/') || rest.length < length
            || memcmp(rest.data, value, length) != 0) {
            return COMET_COVER_NOT;
        }
        rest.data += length;
        rest.length -= length;
        if (i + 1 == pattern->segments->nelts && !pattern->below) {
            return rest.length ? COMET_COVER_NOT : COMET_COVER_EXACTLY;
        }
        if (!rest.length || *rest.data != '/') {
            return COMET_COVER_NOT;
        }
        rest.data++;
        rest.length--;
    }
    return COMET_COVER_BELOW;
}

/* What is compared with a channel. */
typedef struct comparison_t {
    request_rec *r;
    const apr_array_header_t *patterns;
} comparison_t;

/* @param baton  a comparison_t */
static comet_cover_e cover(const void *baton, comet_text_t channel)
{
    const comparison_t *comparison = baton;
    const apr_array_header_t *patterns = comparison->patterns;
    comet_cover_e best = COMET_COVER_NOT;
    int i;

    for (i = 0; i < patterns->nelts && best != COMET_COVER_EXACTLY; i++) {
        comet_cover_e how = match(
            comparison->r, &APR_ARRAY_IDX(patterns, i, pattern_t), channel);

        best = how > best ? how : best;
    }
    return best;
}

static int grants(request_rec *r, const channels_t *channels,
                  const char *channel)
{
    comparison_t comparison = { r, channels->patterns };

    return comet_name_is_granted(comet_text(channel), cover, &comparison);
}

/* Authorise a request by its channel.  The endpoint's own URL reaches no
 * channel.  Channels that a parameter names are authorised by sub-requests to
 * their own URLs. */
static authz_status check_channel(request_rec *r, const char *line,
                                  const void *parsed)
{
    const mod_comet_request_t *request = mod_comet_request(r);
    const channels_t *channels = parsed;
    const char *channel;
    int granted;

    if (!request) {
        return AUTHZ_DENIED;
    }
    channel = mod_comet_request_channel(r);
    granted = !channel && (r->user || !channels->want_user);
    granted = granted || (channel && grants(r, channels, channel));
    return granted                           ? AUTHZ_GRANTED
           : r->user || !channels->want_user ? AUTHZ_DENIED
                                             : AUTHZ_DENIED_NO_USER;
}

static const authz_provider channel_provider = { check_channel,
                                                 parse_channels };

void mod_comet_require_register(apr_pool_t *p)
{
    ap_register_auth_provider(p, AUTHZ_PROVIDER_GROUP, "comet-publish",
                              AUTHZ_PROVIDER_VERSION, &publish_provider,
                              AP_AUTH_INTERNAL_PER_CONF);
    ap_register_auth_provider(p, AUTHZ_PROVIDER_GROUP, "comet-channel",
                              AUTHZ_PROVIDER_VERSION, &channel_provider,
                              AP_AUTH_INTERNAL_PER_CONF);
}
