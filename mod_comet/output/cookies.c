/* SPDX-License-Identifier: Apache-2.0 */
/* Keep cookies and sessions from before a wait out of the answer. */
#include "output/cookies.h"

#include <strings.h>

/* How old a session that is saved with an answer may be. */
#define LATE_USEC APR_USEC_PER_SEC

static void drop_cookies(apr_table_t *headers)
{
    apr_table_unset(headers, "Set-Cookie");
    apr_table_unset(headers, "Set-Cookie2");
}

apr_status_t mod_comet_cookies_filter(ap_filter_t *filter,
                                      apr_bucket_brigade *brigade)
{
    drop_cookies(filter->r->headers_out);
    drop_cookies(filter->r->err_headers_out);
    ap_remove_output_filter(filter);
    return ap_pass_brigade(filter->next, brigade);
}

/* mod_session offers no other way. */
void mod_comet_cookies_leave_session(request_rec *r)
{
    ap_filter_t *filter = r->output_filters;

    while (filter) {
        ap_filter_t *next = filter->next;

        if (strcasecmp(filter->frec->name, "MOD_SESSION_OUT") == 0) {
            ap_remove_output_filter(filter);
        }
        filter = next;
    }
}

static void withhold(request_rec *r, int cookies)
{
    mod_comet_cookies_leave_session(r);
    if (cookies) {
        ap_add_output_filter("COMET_COOKIES", NULL, r, r->connection);
    }
}

void mod_comet_cookies_withhold(request_rec *r, const mod_comet_ask_t *ask)
{
    withhold(r, ask->transport->whole);
}

void mod_comet_cookies_withhold_late(request_rec *r)
{
    if (apr_time_now() - r->request_time > LATE_USEC) {
        withhold(r, 1);
    }
}
