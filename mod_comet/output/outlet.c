/* SPDX-License-Identifier: Apache-2.0 */
/* The way to a client whose socket mod_comet writes to itself. */
#include "output/outlet.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

int mod_comet_outlet_is_empty(const mod_comet_outlet_t *outlet)
{
    return !outlet->rest;
}

void mod_comet_outlet_clear(mod_comet_outlet_t *outlet)
{
    if (outlet->rest) {
        mod_comet_outbox_clear(outlet->rest);
        free(outlet->rest);
        outlet->rest = NULL;
    }
}

/* @return how many bytes the socket took; -1: the client is gone */
static apr_ssize_t send_now(const mod_comet_outlet_t *outlet, int fd,
                            comet_text_t bytes)
{
    ssize_t sent;

    if (outlet->tls) {
        return mod_comet_tls_send(outlet->tls, bytes);
    }
    do {
        sent = send(fd, bytes.data, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 && (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM)
               ? 0
               : sent;
}

/* @return 0: there is no memory, and nothing is kept any more */
static int keep(mod_comet_outlet_t *outlet, comet_text_t bytes)
{
    if (!outlet->rest) {
        outlet->rest = calloc(1, sizeof(*outlet->rest));
    }
    if (!outlet->rest) {
        return 0;
    }
    comet_buffer_add(&outlet->rest->bytes, bytes.data, bytes.length);
    if (outlet->rest->bytes.failed) {
        mod_comet_outlet_clear(outlet);
        return 0;
    }
    mod_comet_outbox_count(&outlet->rest->counted, outlet->rest->bytes.length);
    return 1;
}

apr_ssize_t mod_comet_outlet_write(mod_comet_outlet_t *outlet, int fd,
                                   comet_text_t bytes)
{
    apr_ssize_t sent = outlet->rest ? 0 : send_now(outlet, fd, bytes);
    comet_text_t rest;

    if (sent < 0 || (apr_size_t)sent == bytes.length) {
        return sent;
    }
    rest = (comet_text_t){ bytes.data + sent, bytes.length - (apr_size_t)sent };
    return keep(outlet, rest) ? sent : -1;
}

apr_ssize_t mod_comet_outlet_flush(mod_comet_outlet_t *outlet, int fd)
{
    mod_comet_outbox_t *rest = outlet->rest;
    apr_ssize_t sent;

    if (!rest) {
        return 0;
    }
    sent = send_now(outlet, fd,
                    (comet_text_t){ rest->bytes.data + rest->sent,
                                    rest->bytes.length - rest->sent });
    if (sent > 0) {
        rest->sent += (apr_size_t)sent;
    }
    if (mod_comet_outbox_is_empty(rest)) {
        mod_comet_outlet_clear(outlet);
    }
    return sent;
}
