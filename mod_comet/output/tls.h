/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/tls.h
 * An SSL object that mod_comet keeps after mod_ssl has released it.  Nothing
 * here blocks.
 *
 * OpenSSL's functions are looked up in the process, since mod_comet is not
 * linked to libssl: mod_ssl has loaded it.
 */
#ifndef MOD_COMET_TLS_H
#define MOD_COMET_TLS_H

#include "wire/encode.h"

/** OpenSSL's SSL. */
typedef struct ssl_st mod_comet_tls_t;

/** Whether the process has the functions that are needed, and exactly one copy
 * of OpenSSL.  Any thread. */
int mod_comet_tls_is_there(void);

/** Keep an object that mod_ssl will free.  Called by the connection's owner. */
void mod_comet_tls_keep(mod_comet_tls_t *tls);

/**
 * Give the object a socket in place of httpd's filters.  From now on the object
 * uses nothing of httpd, neither the connection nor mod_ssl's callbacks, and a
 * TLS 1.2 client can no longer renegotiate.  Called once, after mod_ssl has
 * released the object.
 * @return 0: there is no memory
 */
int mod_comet_tls_begin(mod_comet_tls_t *tls, int fd);

/**
 * Send bytes.  The next call has to begin with the bytes that were not taken.
 * @return how many bytes were taken; -1: the client is gone.  The owner's
 *         thread
 */
apr_ssize_t mod_comet_tls_send(mod_comet_tls_t *tls, comet_text_t bytes);

typedef enum {
    MOD_COMET_TLS_SILENT,
    MOD_COMET_TLS_SPEAKS, /* the client has sent data, or a flood of other
                           * records */
    MOD_COMET_TLS_GONE
} mod_comet_tls_e;

/** Find out whether the client has sent something.  What is read is lost.  The
 * owner's thread. */
mod_comet_tls_e mod_comet_tls_listen(mod_comet_tls_t *tls);

/** How many bytes were written to the socket since mod_comet_tls_begin(). */
apr_int64_t mod_comet_tls_written(mod_comet_tls_t *tls);

/** Free the object.
 * @param politely  whether the client, which is still there, is told that
 *                  nothing follows (close_notify) */
void mod_comet_tls_end(mod_comet_tls_t *tls, int politely);

#endif /* MOD_COMET_TLS_H */
