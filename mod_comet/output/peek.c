/* SPDX-License-Identifier: Apache-2.0 */
/* Look at what a client has sent, without consuming it. */
#include "output/peek.h"

#include <sys/socket.h>
#include <util_filter.h>

/* Find mod_reqtimeout's filter.  Peeking must not start its clock.
 * @param before  OUT: the filter before it (mod_ssl's); NULL: it is the
 *                first */
static ap_filter_t *find_reqtimeout(conn_rec *c, ap_filter_t **before)
{
    ap_filter_t *filter = c->input_filters;

    for (*before = NULL; filter; *before = filter, filter = filter->next) {
        if (strcasecmp(filter->frec->name, "reqtimeout") == 0) {
            break;
        }
    }
    return filter;
}

/* At the end of the input, core's first answer is "0 bytes"; only the second is
 * EOF, so there are two tries. */
static mod_comet_peek_e peek_filters(conn_rec *c, apr_bucket_brigade *brigade)
{
    apr_status_t status = APR_SUCCESS;
    apr_off_t length = 0;
    int tries;

    for (tries = 0; tries < 2 && status == APR_SUCCESS && !length; tries++) {
        status = ap_get_brigade(c->input_filters, brigade, AP_MODE_SPECULATIVE,
                                APR_NONBLOCK_READ, 1);
        if (status == APR_SUCCESS) {
            apr_brigade_length(brigade, 0, &length);
        }
        apr_brigade_cleanup(brigade);
    }
    if (length > 0) {
        return MOD_COMET_PEEK_DATA;
    }
    return status == APR_SUCCESS || APR_STATUS_IS_EAGAIN(status)
               ? MOD_COMET_PEEK_NOTHING
               : MOD_COMET_PEEK_GONE;
}

/* Take mod_reqtimeout's filter out of the chain.
 * @param skipped  OUT: the filter; NULL: there is none
 * @return where unskip() puts it back */
static ap_filter_t **skip_reqtimeout(conn_rec *c, ap_filter_t **skipped)
{
    ap_filter_t *before;
    ap_filter_t **link;

    *skipped = find_reqtimeout(c, &before);
    link = before ? &before->next : &c->input_filters;
    if (*skipped) {
        *link = (*skipped)->next;
    }
    return link;
}

static void unskip(ap_filter_t **link, ap_filter_t *skipped)
{
    if (skipped) {
        *link = skipped;
    }
}

mod_comet_peek_e mod_comet_peek(conn_rec *c, apr_bucket_brigade *brigade)
{
    ap_filter_t *skipped;
    ap_filter_t **link = skip_reqtimeout(c, &skipped);
    mod_comet_peek_e found = peek_filters(c, brigade);

    unskip(link, skipped);
    return found;
}

apr_size_t mod_comet_peek_bytes(conn_rec *c, apr_bucket_brigade *brigade,
                                char *bytes, apr_size_t size)
{
    ap_filter_t *skipped;
    ap_filter_t **link = skip_reqtimeout(c, &skipped);
    apr_size_t length = 0;

    if (ap_get_brigade(c->input_filters, brigade, AP_MODE_SPECULATIVE,
                       APR_NONBLOCK_READ, (apr_off_t)size)
        == APR_SUCCESS) {
        length = size;
        if (apr_brigade_flatten(brigade, bytes, &length) != APR_SUCCESS) {
            length = 0;
        }
    }
    apr_brigade_cleanup(brigade);
    unskip(link, skipped);
    return length;
}

int mod_comet_peek_socket(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}
