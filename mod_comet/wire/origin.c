/* SPDX-License-Identifier: Apache-2.0 */
/* Checking origins, which must be written as browsers send them. */
#include "wire/origin.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <string.h>

#include "wire/params.h"

#define EXPECTED \
    "an origin as browsers send it, such as https://www.example.com or " \
    "http://localhost:3000; or * to allow any origin; or none to allow no " \
    "origin"

/* The length of a host's name.  Browsers send other characters as punycode. */
static apr_size_t host_length(const char *host)
{
    apr_size_t length;

    if (*host == '[') {
        length = 1 + strspn(host + 1, "0123456789abcdef:.");
        return host[length] == ']' ? length + 1 : 0;
    }
    return strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789-._~");
}

static int is_usual_port(const char *origin, const char *port)
{
    return (strncmp(origin, "http:", 5) == 0 && strcmp(port, "80") == 0)
           || (strncmp(origin, "https:", 6) == 0 && strcmp(port, "443") == 0);
}

const char *comet_origin_add(apr_array_header_t *origins, const char *value)
{
    char *origin = apr_pstrdup(origins->pool, value), *host, *port;
    apr_size_t length;
    apr_int64_t number;

    if (origins->nelts
        && strcmp(APR_ARRAY_IDX(origins, 0, char *), COMET_ORIGIN_ANY) == 0) {
        return EXPECTED;
    }
    for (host = origin; *host; host++) {
        *host = (char)apr_tolower(*host);
    }
    if (strcmp(value, COMET_ORIGIN_ANY) != 0) {
        host = strstr(origin, "://");
        length = host ? host_length(host + 3) : 0;
        if (!length || !apr_isalpha(*origin)
            || strspn(origin, "abcdefghijklmnopqrstuvwxyz0123456789+-.")
                   != (apr_size_t)(host - origin)) {
            return EXPECTED;
        }
        port = host + 3 + length;
        if (*port
            && (*port != ':'
                || comet_params_int(comet_text(port + 1), "", 1, 65535, &number,
                                    origins->pool))) {
            return EXPECTED;
        }
        if (*port && is_usual_port(origin, port + 1)) {
            *port = '\0'; /* browsers do not send a usual port */
        }
    }
    else if (origins->nelts) {
        return EXPECTED;
    }
    APR_ARRAY_PUSH(origins, const char *) = origin;
    return NULL;
}
