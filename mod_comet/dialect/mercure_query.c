/* SPDX-License-Identifier: Apache-2.0 */
/* QUERY subscribes like GET.  A form in its body has parameters that would be
 * too long for a URL. */
#include <apr_strings.h>

#include "dialect/mercure.h"
#include "dialect/post.h"
#include "request/body.h"

/* The longest form. */
#define FORM_MAX_BYTES (256 * 1024)

static int refuse_body(request_rec *r, int status)
{
    switch (status) {
    case AP_FILTER_ERROR: /* it was answered already */
        return status;
    case HTTP_REQUEST_ENTITY_TOO_LARGE:
        return mod_comet_mercure_refuse(
            r, status,
            "the form is too long: at most " APR_STRINGIFY(
                FORM_MAX_BYTES) " bytes are allowed");
    case HTTP_UNSUPPORTED_MEDIA_TYPE:
        return mod_comet_mercure_refuse(
            r, status, "Content-Encoding: send the form without an encoding");
    default:
        return mod_comet_mercure_refuse(r, status,
                                        "the request's body could not be read");
    }
}

int mod_comet_mercure_is_query(const request_rec *r)
{
    return strcmp(r->method, "QUERY") == 0;
}

int mod_comet_mercure_read_query(mod_comet_mercure_t *mercure)
{
    request_rec *r = mercure->r;
    comet_params_t *params = &mod_comet_request(r)->query;
    comet_text_t form;
    int rv;

    if (strcmp(mod_comet_body_type(r), MOD_COMET_POST_FORM) != 0) {
        return mod_comet_mercure_refuse(
            r, HTTP_UNSUPPORTED_MEDIA_TYPE,
            "Content-Type: expected " MOD_COMET_POST_FORM);
    }
    rv = mod_comet_body_read(r, FORM_MAX_BYTES, &form);
    if (rv != OK) {
        return refuse_body(r, rv);
    }
    comet_params_parse(
        params,
        comet_text(apr_pstrcat(r->pool, r->args ? r->args : "", "&",
                               apr_pstrmemdup(r->pool, form.data, form.length),
                               NULL)),
        r->pool);
    return params->too_many ? mod_comet_mercure_refuse(
               r, HTTP_BAD_REQUEST,
               "the query and the form have too many parameters: at most " APR_STRINGIFY(
                   COMET_PARAMS_MAX) " are allowed")
                            : DECLINED;
}
