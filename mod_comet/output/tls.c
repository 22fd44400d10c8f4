/* SPDX-License-Identifier: Apache-2.0 */
/* An SSL object that outlives its connection in httpd. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "output/tls.h"

#include <dlfcn.h>
#include <link.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <string.h>

/* The functions of libssl that are looked up.  Those of libcrypto are
 * linked. */
#define FUNCTIONS(F) \
    F(SSL_up_ref) \
    F(SSL_free) \
    F(SSL_set_bio) \
    F(SSL_get_wbio) \
    F(SSL_set_info_callback) \
    F(SSL_set_ex_data) \
    F(SSL_set_options) \
    F(SSL_set_shutdown) \
    F(SSL_shutdown) \
    F(SSL_ctrl) \
    F(SSL_read) \
    F(SSL_write) \
    F(SSL_get_error)

/* How many records without data a client may send at once.  Few clients ever
 * send one: it changes a key. */
#define RECORDS_MOST 32

#define DECLARE(name) __typeof__(&(name)) name##_;
static struct {
    int found;
    FUNCTIONS(DECLARE)
} ssl;
#undef DECLARE

typedef struct copies_t {
    int ssl, crypto;
} copies_t;

static int count_copy(struct dl_phdr_info *info, size_t size, void *baton)
{
    copies_t *copies = baton;
    const char *base = strrchr(info->dlpi_name, '/');

    base = base ? base + 1 : info->dlpi_name;
    copies->ssl += strncmp(base, "libssl.", strlen("libssl.")) == 0;
    copies->crypto += strncmp(base, "libcrypto.", strlen("libcrypto.")) == 0;
    return 0;
}

/* One copy of OpenSSL cannot use the objects of another.  If there are several,
 * it is not known which of them mod_ssl uses. */
static int has_one_copy(void)
{
    copies_t copies = { .ssl = 0 };

    dl_iterate_phdr(count_copy, &copies);
    return copies.ssl == 1 && copies.crypto == 1;
}

static void look_up(void)
{
    void *found;

    ssl.found = has_one_copy();
#define LOOK_UP(name) \
    found = dlsym(RTLD_DEFAULT, #name); \
    ssl.found &= found != NULL; \
    memcpy(&ssl.name##_, &found, sizeof(found));
    FUNCTIONS(LOOK_UP)
#undef LOOK_UP
}

int mod_comet_tls_is_there(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, look_up);
    return ssl.found;
}

void mod_comet_tls_keep(mod_comet_tls_t *tls)
{
    ssl.SSL_up_ref_(tls);
}

/* Replaces mod_ssl's callback, which would use httpd's connection. */
static void ignore(const SSL *tls, int where, int value)
{
}

int mod_comet_tls_begin(mod_comet_tls_t *tls, int fd)
{
    BIO *bio = BIO_new_socket(fd, BIO_NOCLOSE);

    ssl.SSL_set_info_callback_(tls, ignore);
    if (!bio) {
        return 0;
    }
    ssl.SSL_set_bio_(tls, bio, bio); /* frees mod_ssl's BIOs */
    ssl.SSL_set_ex_data_(tls, 0, NULL); /* the conn_rec */
    ssl.SSL_set_options_(tls, SSL_OP_NO_RENEGOTIATION);
    ssl.SSL_ctrl_(tls, SSL_CTRL_MODE,
                  SSL_MODE_ENABLE_PARTIAL_WRITE
                      | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                      | SSL_MODE_RELEASE_BUFFERS,
                  NULL);
    ssl.SSL_set_shutdown_(tls, 0);
    return 1;
}

/* @return whether the call failed only because the socket was not ready */
static int must_wait(const SSL *tls, int result)
{
    int error = ssl.SSL_get_error_(tls, result);

    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

apr_ssize_t mod_comet_tls_send(mod_comet_tls_t *tls, comet_text_t bytes)
{
    apr_size_t sent = 0;

    while (sent < bytes.length) {
        int result;

        ERR_clear_error(); /* SSL_get_error() looks at all errors of the
                            * thread */
        result =
            ssl.SSL_write_(tls, bytes.data + sent, (int)(bytes.length - sent));
        if (result <= 0) {
            return must_wait(tls, result) ? (apr_ssize_t)sent : -1;
        }
        sent += (apr_size_t)result;
    }
    return (apr_ssize_t)sent;
}

/* mod_ssl has told OpenSSL to read at most one record without data in a call.
 * The socket may hold more, and is reported only once, so read on. */
mod_comet_tls_e mod_comet_tls_listen(mod_comet_tls_t *tls)
{
    BIO *bio = ssl.SSL_get_wbio_(tls); /* it is also the one that is read */
    char byte;
    int i, result;

    for (i = 0; i < RECORDS_MOST; i++) {
        apr_uint64_t before = BIO_number_read(bio);

        ERR_clear_error();
        result = ssl.SSL_read_(tls, &byte, 1);
        if (result > 0) {
            return MOD_COMET_TLS_SPEAKS;
        }
        if (!must_wait(tls, result)) {
            return MOD_COMET_TLS_GONE;
        }
        if (BIO_number_read(bio) == before) {
            return MOD_COMET_TLS_SILENT;
        }
    }
    return MOD_COMET_TLS_SPEAKS;
}

apr_int64_t mod_comet_tls_written(mod_comet_tls_t *tls)
{
    BIO *bio = ssl.SSL_get_wbio_(tls);

    return bio ? (apr_int64_t)BIO_number_written(bio) : 0;
}

void mod_comet_tls_end(mod_comet_tls_t *tls, int politely)
{
    ERR_clear_error();
    if (politely) {
        ssl.SSL_shutdown_(tls);
    }
    /* otherwise OpenSSL would take the session for a bad one and have mod_ssl
     * forget it */
    ssl.SSL_set_shutdown_(tls, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    ssl.SSL_free_(tls);
    ERR_clear_error();
}
