/* SPDX-License-Identifier: Apache-2.0 */
/* The straight path of a request that is ours. */
#include "hooks/handler.h"

#include <apr_strings.h>

#include "request/dialect.h"
#include "output/answer.h"
#include "hooks/lifecycle.h"

/* Whether a method is in a list such as "GET, HEAD". */
static int is_listed(const char *method, const char *methods)
{
    const char *found = strstr(methods, method);
    apr_size_t length = strlen(method);

    while (found
           && ((found != methods && found[-1] != ' ')
               || (found[length] && found[length] != ','))) {
        found = strstr(found + 1, method);
    }
    return found != NULL;
}

static int answer_options(request_rec *r, const mod_comet_dialect_t *dialect)
{
    if (dialect->accepts) {
        apr_table_setn(r->headers_out, "Accept-Post", dialect->accepts);
    }
    return mod_comet_answer_options(r, dialect->methods);
}

int mod_comet_handler(request_rec *r)
{
    const mod_comet_request_t *request = mod_comet_request(r);
    const mod_comet_dialect_t *dialect;
    mod_comet_ask_t *ask;
    const char *wrong;

    if (!request || r->main) {
        return DECLINED; /* a sub-request cannot wait: it has no connection of
                          * its own */
    }
    wrong = mod_comet_lifecycle_obstacle(r);
    if (wrong) {
        return mod_comet_answer_error(r, HTTP_SERVICE_UNAVAILABLE, "%s", wrong);
    }
    if (request->query.too_many) {
        return mod_comet_answer_error(r, HTTP_BAD_REQUEST,
                                      "the query has too many parameters: at "
                                      "most %d are allowed",
                                      COMET_PARAMS_MAX);
    }
    dialect = request->mapping->dialect;
    ask = apr_pcalloc(r->pool, sizeof(*ask));
    wrong = dialect->find_channel(r, request->mapping, &ask->channel);
    if (wrong) {
        return mod_comet_answer_error(r, HTTP_BAD_REQUEST, "channel: %s",
                                      wrong);
    }
    if (r->method_number == M_OPTIONS) {
        return answer_options(r, dialect);
    }
    return is_listed(r->method, dialect->methods)
               ? dialect->handle(r, request, ask)
               : mod_comet_answer_not_allowed(r, dialect->methods);
}
