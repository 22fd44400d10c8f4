/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers and durations in the configuration. */
#include "hooks/value.h"

#include <apr_lib.h>
#include <apr_strings.h>

#include "wire/params.h"

/* The largest number of days that is converted.  It is more than any directive
 * takes, but small enough to be counted in microseconds. */
#define DAYS_MOST 10000000

const char *mod_comet_value_wrong(cmd_parms *cmd, const char *value,
                                  const char *allowed)
{
    /* a curly quotation mark in UTF-8, as word processors and blogs write it */
    int is_curly = strncmp(value, "\xe2\x80\x9c", 3) == 0
                   || strncmp(value, "\xe2\x80\x9d", 3) == 0;

    return apr_psprintf(cmd->pool, "%s: \"%s\" is not allowed: expected %s%s",
                        cmd->cmd->name, value, allowed,
                        is_curly ? ", in straight quotation marks" : "");
}

const char *mod_comet_value_number(cmd_parms *cmd, const char *value,
                                   apr_int64_t least, apr_int64_t most,
                                   apr_int64_t *field)
{
    if (comet_params_int(comet_text(value), "", least, most, field,
                         cmd->temp_pool)) {
        return mod_comet_value_wrong(
            cmd, value,
            apr_psprintf(cmd->temp_pool,
                         "a whole number from %" APR_INT64_T_FMT
                         " to %" APR_INT64_T_FMT,
                         least, most));
    }
    return NULL;
}

/* Read a duration in days or weeks, units that httpd does not know.
 * @return whether the value is such a duration */
static int read_days(const char *value, apr_interval_time_t *duration)
{
    char *unit;
    apr_int64_t count = apr_strtoi64(value, &unit, 10);
    apr_int64_t days = strcmp(unit, "d") == 0   ? 1
                       : strcmp(unit, "w") == 0 ? 7
                                                : 0;

    if (!days || count > DAYS_MOST / days) {
        return 0;
    }
    *duration = apr_time_from_sec(count * days * 86400);
    return 1;
}

int mod_comet_value_read_duration(const char *value,
                                  apr_interval_time_t *duration)
{
    return apr_isdigit(*value)
           && (read_days(value, duration)
               || ap_timeout_parameter_parse(value, duration, "s")
                      == APR_SUCCESS);
}

const char *mod_comet_value_duration(cmd_parms *cmd, const char *value,
                                     apr_interval_time_t least,
                                     apr_interval_time_t most,
                                     const char *allowed, apr_int64_t *field)
{
    apr_interval_time_t duration;

    if (!mod_comet_value_read_duration(value, &duration) || duration < least
        || duration > most) {
        return mod_comet_value_wrong(
            cmd, value,
            apr_pstrcat(cmd->temp_pool, allowed,
                        " (units: ms, s, min, h, d, w)", NULL));
    }
    *field = duration;
    return NULL;
}

const char *mod_comet_value_show_duration(apr_interval_time_t duration,
                                          apr_pool_t *p)
{
    apr_int64_t msec = apr_time_as_msec(duration);

    return !msec         ? "0s"
           : msec % 1000 ? apr_psprintf(p, "%" APR_INT64_T_FMT "ms", msec)
           : msec % 3600000
               ? apr_psprintf(p, "%" APR_INT64_T_FMT "s", msec / 1000)
               : apr_psprintf(p, "%" APR_INT64_T_FMT "h", msec / 3600000);
}
