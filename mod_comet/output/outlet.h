/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/outlet.h
 * The way to a client whose socket mod_comet writes to itself, without httpd's
 * filters; nothing here blocks.
 */
#ifndef MOD_COMET_OUTLET_H
#define MOD_COMET_OUTLET_H

#include "output/outbox.h"
#include "output/tls.h"

/** What the owner of a socket needs in order to write to it.  Most sockets take
 * everything at once; only one that does not has an outbox.  A zero-initialised
 * outlet sends bytes unencrypted. */
typedef struct mod_comet_outlet_t {
    mod_comet_tls_t *tls; /* encrypts what is sent; NULL: nothing is
                           * encrypted */
    mod_comet_outbox_t *rest; /* what the socket has not taken yet; NULL: it has
                               * taken everything */
} mod_comet_outlet_t;

/** Whether the socket has taken everything. */
int mod_comet_outlet_is_empty(const mod_comet_outlet_t *outlet);

/**
 * Send bytes to the socket after those that it has not taken yet, and keep what
 * it does not take.  Called by the socket's owner.
 * @return how many bytes the socket took; -1: the client is lost, or there is
 *         no memory for the rest
 */
apr_ssize_t mod_comet_outlet_write(mod_comet_outlet_t *outlet, int fd,
                                   comet_text_t bytes);

/** Send what the socket has not taken yet.
 * @return as mod_comet_outlet_write() */
apr_ssize_t mod_comet_outlet_flush(mod_comet_outlet_t *outlet, int fd);

/** Drop what the socket has not taken. */
void mod_comet_outlet_clear(mod_comet_outlet_t *outlet);

#endif /* MOD_COMET_OUTLET_H */
