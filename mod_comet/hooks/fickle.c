/* SPDX-License-Identifier: Apache-2.0 */
/* Find rules whose decision may change from one request to the next. */
#include "hooks/fickle.h"

#include "server/tree.h"

/* Whether httpd's own provider of this name may decide differently. */
static int is_provider(const char *name)
{
    static const char *const words[] = { "expr", "env", "session" };
    apr_size_t i = 0;

    while (i < sizeof(words) / sizeof(*words)
           && strcasecmp(name, words[i]) != 0) {
        i++;
    }
    return i < sizeof(words) / sizeof(*words);
}

/* Whether <AuthzProviderAlias> gives such a provider this name. */
static int is_alias(const ap_directive_t *tree, const char *name,
                    apr_pool_t *pool)
{
    int found = 0;

    for (; tree && !found; tree = tree->next) {
        if (strcasecmp(tree->directive, "<AuthzProviderAlias") == 0) {
            const char *args = tree->args;

            found = is_provider(ap_getword_conf(pool, &args))
                    && strcasecmp(ap_getword_conf(pool, &args), name) == 0;
        }
        else {
            found = is_alias(tree->first_child, name, pool);
        }
    }
    return found;
}

/* Whether the arguments of a `Require` name such a provider. */
static int requires(const char *args, apr_pool_t *pool)
{
    const char *word;

    do {
        word = ap_getword_conf(pool, &args);
    } while (strcasecmp(word, "not") == 0
             || strcasecmp(word, "comet-publish") == 0);
    return is_provider(word) || is_alias(ap_conftree, word, pool);
}

/* Whether the arguments of an `Allow` or a `Deny` name a variable of the
 * request's environment ("from env=X"). */
static int reads_env(const char *args, apr_pool_t *pool)
{
    int found = 0;

    while (*args && !found) {
        found = mod_comet_tree_begins(ap_getword_conf(pool, &args), "env=");
    }
    return found;
}

static int is_fickle(const ap_directive_t *rule, apr_pool_t *pool)
{
    return strcasecmp(rule->directive, "Require") == 0
               ? requires(rule->args, pool)
           : strcasecmp(rule->directive, "Allow") == 0
                   || strcasecmp(rule->directive, "Deny") == 0
               ? reads_env(rule->args, pool)
               : 0;
}

const ap_directive_t *mod_comet_fickle_find(const ap_directive_t *tree,
                                            apr_pool_t *pool)
{
    const ap_directive_t *found = NULL;

    for (; tree && !found; tree = tree->next) {
        found = is_fickle(tree, pool)
                    ? tree
                    : mod_comet_fickle_find(tree->first_child, pool);
    }
    return found;
}
