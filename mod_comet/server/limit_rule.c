/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the rules of the directives that limit clients. */
#include "server/limit_rule.h"

#include <apr_strings.h>

#include "wire/params.h"

/* Clients are counted separately for each section and each server that has a
 * directive of its own. */
apr_uint64_t mod_comet_limit_rule_scope(const cmd_parms *cmd)
{
    const server_rec *s = cmd->server;
    const ap_directive_t *directive = cmd->directive;

    return comet_quota_scope(comet_text(apr_psprintf(
        cmd->temp_pool, "%s:%u:%s:%s:%d", s->defn_name ? s->defn_name : "",
        s->defn_line_number, cmd->path ? cmd->path : "",
        directive && directive->filename ? directive->filename : "",
        directive ? directive->line_num : 0)));
}

/* Cut the period off "N/s" or "N/min".
 * @return 0: there is no such period */
static apr_interval_time_t cut_period(char *value)
{
    char *slash = strchr(value, '/');

    if (!slash) {
        return 0;
    }
    *slash++ = '\0';
    if (strcmp(slash, "s") == 0) {
        return apr_time_from_sec(1);
    }
    return strcmp(slash, "min") == 0 ? apr_time_from_sec(60) : 0;
}

/* @return NULL: the word sets neither limit */
static comet_quota_limit_t *limit_of(mod_comet_limit_rule_t *rule,
                                     const char *word)
{
    if (strncmp(word, "address=", 8) == 0) {
        return &rule->address;
    }
    return strncmp(word, "user=", 5) == 0 ? &rule->user : NULL;
}

const char *mod_comet_limit_rule_set(cmd_parms *cmd,
                                     mod_comet_limit_rule_t *rule,
                                     const char *word, int is_rate)
{
    comet_quota_limit_t *limit = limit_of(rule, word);
    const char *allowed =
        is_rate ? "address=N/s, user=N/s (or N/min; 1 to 10000), both, or off "
                  "alone"
                : "address=N, user=N (1 to 1000000), both, or off alone";
    char *value;

    if (!limit || limit->amount) {
        return allowed;
    }
    value = apr_pstrdup(cmd->temp_pool, strchr(word, '=') + 1);
    if (is_rate) {
        limit->per = cut_period(value);
        if (!limit->per) {
            return allowed;
        }
    }
    return comet_params_int(comet_text(value), "", 1, is_rate ? 10000 : 1000000,
                            &limit->amount, cmd->temp_pool)
               ? allowed
               : NULL;
}
