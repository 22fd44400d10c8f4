/* SPDX-License-Identifier: Apache-2.0 */
/* Check where requests come from: a page of another site, or a mere link, must
 * not publish. */
#include "request/access.h"

#include "request/cors.h"

static const char *header(const request_rec *r, const char *name)
{
    return apr_table_get(r->headers_in, name);
}

/* Split "host:port".  The host can be "[::1]", and the port can be missing.
 * @return the length of the host */
static apr_size_t split_port(const char *authority, const char **port)
{
    const char *end = strrchr(authority, ']');
    const char *colon = strchr(end ? end : authority, ':');

    *port = colon ? colon + 1 : "";
    return colon ? (apr_size_t)(colon - authority) : strlen(authority);
}

/*
 * Compare an Origin ("http://host:port") with Host. The scheme is not
 * compared, since TLS may end at a proxy; it only gives the default port. The
 * origin "null" has no host, so it never matches.
 */
static int is_same_origin(const request_rec *r, const char *origin)
{
    const char *host = strstr(origin, "://"), *own = header(r, "Host");
    const char *port, *own_port, *usual;
    apr_size_t length;

    if (!host || !own) {
        return 0;
    }
    usual = strncasecmp(origin, "https:", 6) == 0 ? "443" : "80";
    host += 3;
    length = split_port(host, &port);
    if (length != split_port(own, &own_port)
        || strncasecmp(host, own, length) != 0) {
        return 0;
    }
    return strcmp(*port ? port : usual, *own_port ? own_port : usual) == 0;
}

/* Whether a page of another site sent the request.  If the request has the
 * header Sec-Fetch-Site, only this header decides (W3C Fetch Metadata). */
static int is_cross_site(const request_rec *r)
{
    const char *site = header(r, "Sec-Fetch-Site");
    const char *origin = header(r, "Origin");

    if (site) {
        return strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0;
    }
    return origin && !is_same_origin(r, origin);
}

/* Whether any header shows that a browser sent the request. */
static int is_browser(const request_rec *r)
{
    static const char *const marks[] = {
        "Accept-Language", "Cookie",         "Referer",        "Origin",
        "Sec-Fetch-Site",  "Sec-Fetch-Mode", "Sec-Fetch-Dest", "Sec-Fetch-User",
    };
    apr_size_t i;

    for (i = 0; i < sizeof(marks) / sizeof(*marks); i++) {
        if (header(r, marks[i])) {
            return 1;
        }
    }
    return 0;
}

/* Whether a GET comes from a script of the site's own page, or from a program
 * that is not a browser.  It must not come from a link, an address that was
 * typed in, or an image that somebody has put into a page. */
static int is_script(const request_rec *r)
{
    const char *site = header(r, "Sec-Fetch-Site");
    const char *mode = header(r, "Sec-Fetch-Mode");
    const char *destination = header(r, "Sec-Fetch-Dest");

    return header(r, "X-Requested-With") || !is_browser(r)
           || (site && mode && strcmp(site, "same-origin") == 0
               && strcmp(mode, "navigate") != 0
               && (!destination || strcmp(destination, "empty") == 0));
}

const char *mod_comet_access_refuse_publish(const request_rec *r)
{
    if (is_cross_site(r) && !mod_comet_cors_may_publish(r)) {
        return "a page of another site may not publish here";
    }
    if (r->method_number == M_GET && !is_script(r)) {
        return "a browser may publish by GET only from a script of this site: "
               "send X-Requested-With, or use POST";
    }
    return NULL;
}

const char *mod_comet_access_refuse_socket(const request_rec *r)
{
    return is_cross_site(r) && !mod_comet_cors_may_publish(r)
               ? "a page of another site may not open a WebSocket here "
                 "(CometAllowOrigin)"
               : NULL;
}

int mod_comet_access_permits(const request_rec *sub)
{
    return mod_comet_request(sub)->publishes
               ? mod_comet_config_publish(sub)
                     && !mod_comet_access_refuse_publish(sub)
               : mod_comet_cors_permits(sub);
}
