/* SPDX-License-Identifier: Apache-2.0 */
/* How a hub of the Mercure protocol refuses: by a line of plain text. */
#include <apr_strings.h>

#include "dialect/mercure.h"
#include "output/answer.h"
#include "request/reasons.h"

int mod_comet_mercure_refuse(request_rec *r, int status, const char *text)
{
    comet_buffer_t body = { .data = NULL };
    int rv;

    mod_comet_reasons_log(r, status, text);
    comet_buffer_puts(&body, text);
    comet_buffer_puts(&body, "\n");
    rv = mod_comet_answer_body(r, status, "text/plain; charset=utf-8", &body);
    comet_buffer_free(&body);
    return rv;
}

int mod_comet_mercure_refuse_anonymous(request_rec *r, const char *text)
{
    mod_comet_token_challenge(r, NULL, text);
    return mod_comet_mercure_refuse(
        r, HTTP_UNAUTHORIZED,
        apr_pstrcat(r->pool, "Unauthorized: ", text, NULL));
}
