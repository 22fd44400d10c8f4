/* SPDX-License-Identifier: Apache-2.0 */
/* Why requests are refused, in httpd's error log. */
#include "request/reasons.h"

#include <apr_strings.h>
#include <stdatomic.h>

/* After a line about a shortage, no other line about the same shortage is
 * logged for this long. */
#define SILENCE apr_time_from_sec(60)

enum { EACH, MINUTE };

/* A status with which requests are refused. */
typedef struct refusal_t {
    const char *id;
    int status;
    int level;
} refusal_t;

#define REFUSAL(id, status, level, help) { "COMET" #id, status, level },
static const refusal_t refusals[] = {
#include "tables/refusals.def"
};
#undef REFUSAL

#define COUNT (sizeof(refusals) / sizeof(*refusals))

/* What this child has logged about each refusal of the table. */
static struct {
    _Atomic apr_time_t quiet_until; /* [atomic] the refusal is not logged before
                                     * this time, by comet_monotonic() */
    atomic_int unsaid; /* [atomic] how many refusals were not logged since the
                        * last one that was */
} said[COUNT];

/* Decide whether a refusal is logged.
 * @return how many refusals were not logged before it; -1: this one is not
 *         logged either */
static int take_turn(apr_size_t which)
{
    apr_time_t now = comet_monotonic();
    apr_time_t until = atomic_load(&said[which].quiet_until);

    if (now >= until
        && atomic_compare_exchange_strong(&said[which].quiet_until, &until,
                                          now + SILENCE)) {
        return atomic_exchange(&said[which].unsaid, 0);
    }
    atomic_fetch_add(&said[which].unsaid, 1);
    return -1;
}

/* What a line of the log needs. */
typedef struct line_t {
    const char *id;
    int level; /* APLOG_… */
    char end[60]; /* what follows the reason */
} line_t;

/* @return whether a refusal is logged */
static int begin_line(line_t *line, int status)
{
    apr_size_t i = 0;
    int before;

    while (i < COUNT && refusals[i].status != status) {
        i++;
    }
    if (i == COUNT) {
        return 0;
    }
    *line = (line_t){ .id = refusals[i].id, .level = APLOG_INFO };
    if (refusals[i].level == EACH) {
        return 1;
    }
    before = take_turn(i);
    line->level = APLOG_WARNING;
    if (before > 0) {
        apr_snprintf(line->end, sizeof(line->end),
                     " (%d more since this was last logged)", before);
    }
    return before >= 0;
}

void mod_comet_reasons_log(request_rec *r, int status, const char *reason)
{
    line_t line;

    /* log the connection, not the request: httpd would add the request's
     * Referer, which may be secret */
    if (begin_line(&line, status)) {
        ap_log_cerror(APLOG_MARK, line.level, 0, r->connection,
                      "%s: %s %s is refused: %s%s", line.id, r->method, r->uri,
                      reason, line.end);
    }
}

void mod_comet_reasons_log_said(const server_rec *s, const char *address,
                                int status, const char *reason)
{
    line_t line;

    if (begin_line(&line, status)) {
        ap_log_error(APLOG_MARK, line.level, 0, s,
                     "%s: [client %s] a message on a WebSocket is refused: "
                     "%s%s",
                     line.id, address, reason, line.end);
    }
}

int mod_comet_reasons_store_code(apr_status_t status)
{
    return APR_STATUS_IS_ENOSPC(status) ? HTTP_INSUFFICIENT_STORAGE
           : status == COMET_EINVALID   ? HTTP_BAD_REQUEST
           : status == COMET_EMISMATCH  ? HTTP_UNPROCESSABLE_ENTITY
                                        : HTTP_SERVICE_UNAVAILABLE;
}

const char *mod_comet_reasons_store_text(apr_status_t status, apr_pool_t *pool)
{
    char buffer[200];

    if (status == COMET_EMISMATCH) {
        return "Idempotency-Key: something else was published under this key";
    }
    return apr_psprintf(pool, "%s: %s",
                        status == COMET_EUNSURE
                            ? "it is not known whether the message was stored"
                            : "the message was not stored",
                        comet_strerror(status, buffer, sizeof(buffer)));
}
