/* SPDX-License-Identifier: Apache-2.0 */
/* The keys that CometTokenKey sets. */
#include "server/token_key.h"

#include <apr_lib.h>
#include <apr_strings.h>

#include "server/tree.h"

static const char *set_use(comet_key_t *key, const char *value)
{
    if (strcmp(value, "read") == 0) {
        key->uses = COMET_KEY_READ;
    }
    else if (strcmp(value, "publish") == 0) {
        key->uses = COMET_KEY_PUBLISH;
    }
    else {
        return "expected for=read or for=publish";
    }
    return NULL;
}

/* Read a word such as kid=2026. @return NULL, or what was expected */
static const char *set_option(comet_key_t *key, const char *word)
{
    static const char expected[] =
        "expected kid=NAME, issuer=NAME, audience=NAME, for=read or "
        "for=publish";
    const char *value = strchr(word, '=');

    if (!value || !value[1]) {
        return expected;
    }
    value++;
    if (strncmp(word, "kid=", 4) == 0) {
        key->kid = value;
    }
    else if (strncmp(word, "issuer=", 7) == 0) {
        key->issuer = value;
    }
    else if (strncmp(word, "audience=", 9) == 0) {
        key->audience = value;
    }
    else {
        return strncmp(word, "for=", 4) == 0 ? set_use(key, value) : expected;
    }
    return NULL;
}

/* Whether httpd only checks or shows its configuration.  Then it might run as a
 * user who may not read the files that httpd reads as root. */
static int is_check(void)
{
    int mode = ap_state_query(AP_SQ_RUN_MODE);

    return mode == AP_SQ_RM_CONFIG_TEST || mode == AP_SQ_RM_CONFIG_DUMP;
}

static void warn_of_hidden_key(const cmd_parms *cmd, const char *path)
{
    ap_log_error(APLOG_MARK, APLOG_WARNING, 0, cmd->server,
                 "COMET0168: %s: CometTokenKey: the user who runs this check "
                 "cannot read %s, so the key is not checked; run the check "
                 "as root",
                 mod_comet_tree_place(cmd->directive, cmd->temp_pool), path);
}

const char *mod_comet_token_key_add(cmd_parms *cmd,
                                    const apr_array_header_t **keys, int count,
                                    char *const words[])
{
    comet_key_t key = { .uses = COMET_KEY_READ | COMET_KEY_PUBLISH };
    apr_array_header_t *list;
    const char *path, *wrong = NULL;
    int i;

    if (count < 2) {
        return "CometTokenKey: expected an algorithm and a file, such as "
               "HS256 /etc/apache2/comet.key";
    }
    for (i = 2; i < count && !wrong; i++) {
        wrong = set_option(&key, words[i]);
        if (wrong) {
            return apr_psprintf(cmd->pool,
                                "CometTokenKey: \"%s\" is not allowed: %s",
                                words[i], wrong);
        }
    }
    path = ap_server_root_relative(cmd->pool, words[1]);
    wrong = comet_key_read(&key, words[0], path, cmd->pool);
    if (wrong && key.is_hidden && is_check()) {
        warn_of_hidden_key(cmd, path);
        wrong = NULL;
    }
    if (wrong) {
        return apr_pstrcat(cmd->pool, "CometTokenKey: ", wrong, NULL);
    }
    list = *keys ? apr_array_copy(cmd->pool, *keys)
                 : apr_array_make(cmd->pool, 2, sizeof(comet_key_t));
    APR_ARRAY_PUSH(list, comet_key_t) = key;
    *keys = list;
    return NULL;
}

const char *mod_comet_token_key_name(const cmd_parms *cmd, const char *value,
                                     const char **field)
{
    const char *at = value;

    while (apr_isalnum(*at) || *at == '_' || *at == '-' || *at == '.') {
        at++;
    }
    *field = strcasecmp(value, "off") == 0 ? "" : value;
    return *value && !*at
               ? NULL
               : apr_psprintf(cmd->pool,
                              "%s: \"%s\" is not allowed: expected off, or a "
                              "name such as comet_token",
                              cmd->cmd->name, value);
}
