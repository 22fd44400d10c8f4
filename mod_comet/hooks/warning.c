/* SPDX-License-Identifier: Apache-2.0 */
/* Warnings about lines of the configuration. */
#include "hooks/warning.h"

#include <apr_strings.h>
#include <stdarg.h>

#include "server/tree.h"

void mod_comet_warning_say(mod_comet_warnings_t *warnings, const char *id,
                           const ap_directive_t *line, const char *format, ...)
{
    va_list arguments;
    const char *text;

    va_start(arguments, format);
    text = apr_pstrcat(warnings->pool, id, ": ",
                       mod_comet_tree_place(line, warnings->pool), ": ",
                       apr_pvsprintf(warnings->pool, format, arguments), NULL);
    va_end(arguments);
    if (!apr_hash_get(warnings->said, text, APR_HASH_KEY_STRING)) {
        apr_hash_set(warnings->said, text, APR_HASH_KEY_STRING, "");
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, warnings->main, "%s", text);
    }
}
