/* SPDX-License-Identifier: Apache-2.0 */
/* Whether the access logs can write a line after its request has ended. */
#include "output/log_check.h"

#include <apr_strings.h>
#include <http_config.h>
#include <http_protocol.h>

#include "wire/logline.h"
#include "server/config.h"
#include "server/mpm.h"

static const char *find_stranger(ap_HOOK_log_transaction_t *ours, apr_pool_t *p)
{
    const apr_array_header_t *hooks = ap_hook_get_log_transaction();
    int i;

    for (i = 0; i < hooks->nelts; i++) {
        const ap_LINK_log_transaction_t *hook =
            &APR_ARRAY_IDX(hooks, i, ap_LINK_log_transaction_t);

        if (hook->pFunc != ours && strcmp(hook->szName, "mod_log_config.c") != 0
            && strcmp(hook->szName, "mod_logio.c") != 0) {
            return apr_pstrcat(p, hook->szName,
                               " handles the end of each request", NULL);
        }
    }
    return NULL;
}

/* mod_log_config locks its buffers only if the MPM has threads. */
static const char *find_buffer(void)
{
    const char *value = mod_comet_config_last_directive("BufferedLogs");

    return value && strcasecmp(value, "on") == 0
                   && mod_comet_mpm_capacity()->prefork
               ? "BufferedLogs has no lock under prefork"
               : NULL;
}

/* --- the configuration's logs ----------------------------------------- */

typedef struct look_t {
    apr_pool_t *pool;
    apr_table_t *formats; /* the names that logs use */
    unsigned *needs;
    const char *obstacle; /* the first; NULL: none yet */
} look_t;

/* Look at one directive. */
typedef void look_cb(look_t *look, const ap_directive_t *directive);

static void walk(look_t *look, const ap_directive_t *directive, look_cb *cb)
{
    for (; directive && !look->obstacle; directive = directive->next) {
        if (directive->first_child) {
            walk(look, directive->first_child, cb);
        }
        else {
            cb(look, directive);
        }
    }
}

static int is_named(const ap_directive_t *directive, const char *name)
{
    return strcasecmp(directive->directive, name) == 0;
}

static void report(look_t *look, const ap_directive_t *directive,
                   comet_text_t word)
{
    if (word.data) {
        look->obstacle = apr_psprintf(
            look->pool, "\"%.*s\" in %s (%s line %d) needs a live request",
            (int)word.length, word.data, directive->directive,
            directive->filename, directive->line_num);
    }
}

/* Look at a directive with the arguments "file format condition". The format
 * may be the name of a LogFormat. */
static void look_at_log(look_t *look, const ap_directive_t *directive)
{
    const char *args = directive->args, *format, *condition;

    if (is_named(directive, "IdentityCheck") && strcasecmp(args, "on") == 0) {
        look->obstacle = "IdentityCheck asks each client's host when its line "
                         "is written";
    }
    if (!is_named(directive, "CustomLog")
        && !is_named(directive, "GlobalLog")) {
        return;
    }
    ap_getword_conf(look->pool, &args);
    format = ap_getword_conf(look->pool, &args);
    condition = ap_getword_conf(look->pool, &args);
    apr_table_setn(look->formats, format, "");
    report(look, directive, comet_logline_check_format(format, look->needs));
    if (!look->obstacle && strncasecmp(condition, "expr=", 5) == 0) {
        report(look, directive,
               comet_logline_check_condition(condition + 5, look->needs));
    }
}

/* Look at a directive with the arguments "format name". Without a name the
 * format is that of TransferLog. */
static void look_at_format(look_t *look, const ap_directive_t *directive)
{
    const char *args = directive->args, *format, *name;

    if (!is_named(directive, "LogFormat")) {
        return;
    }
    format = ap_getword_conf(look->pool, &args);
    name = ap_getword_conf(look->pool, &args);
    if (!*name || apr_table_get(look->formats, name)) {
        report(look, directive,
               comet_logline_check_format(format, look->needs));
    }
}

/* Whether a log is not a regular file but a named pipe or a device.  Pipes and
 * devices take lines only as fast as somebody reads them.  (In a container,
 * /dev/stdout is a pipe.) */
static int is_pipe(const char *name, apr_pool_t *p)
{
    const char *path = ap_server_root_relative(p, name);
    apr_finfo_t info;

    return path && strcmp(path, "/dev/null") != 0
           && apr_stat(&info, path, APR_FINFO_TYPE, p) == APR_SUCCESS
           && info.filetype != APR_REG;
}

static void look_for_pipe(look_t *look, const ap_directive_t *directive)
{
    const char *args = directive->args, *name;

    if (!is_named(directive, "CustomLog") && !is_named(directive, "GlobalLog")
        && !is_named(directive, "TransferLog")) {
        return;
    }
    name = ap_getword_conf(look->pool, &args);
    if (*name == '|' || is_pipe(name, look->pool)) {
        look->obstacle = apr_psprintf(
            look->pool, "%s (%s line %d) writes to a %s", directive->directive,
            directive->filename, directive->line_num,
            *name == '|' ? "program" : "pipe or device");
    }
}

const char *mod_comet_log_check_waits(ap_HOOK_log_transaction_t *ours,
                                      apr_pool_t *p)
{
    unsigned needs = 0;
    look_t look = {
        .pool = p,
        .formats = apr_table_make(p, 4),
        .needs = &needs,
        .obstacle = find_stranger(ours, p),
    };

    walk(&look, ap_conftree, look_for_pipe);
    /* a format that needs a live request runs code that may wait: another
     * module's, or a sub-request */
    walk(&look, ap_conftree, look_at_log);
    walk(&look, ap_conftree, look_at_format);
    return look.obstacle;
}

const char *mod_comet_log_check_config(ap_HOOK_log_transaction_t *ours,
                                       unsigned *needs, apr_pool_t *p)
{
    look_t look = {
        .pool = p,
        .formats = apr_table_make(p, 4),
        .needs = needs,
        .obstacle = find_stranger(ours, p),
    };

    *needs = 0;
    if (!look.obstacle) {
        look.obstacle = find_buffer();
    }
    walk(&look, ap_conftree, look_at_log);
    walk(&look, ap_conftree, look_at_format);
    return look.obstacle;
}
