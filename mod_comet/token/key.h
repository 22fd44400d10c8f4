/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file token/key.h
 * A key with which the tokens of the site's application are verified
 * (CometTokenKey).  It is read from a file when httpd starts.
 */
#ifndef COMET_KEY_H
#define COMET_KEY_H

#include <apr_pools.h>

/** Bits: what the tokens of a key may be used for. */
typedef enum comet_key_use_e {
    COMET_KEY_READ = 1,
    COMET_KEY_PUBLISH = 2,
} comet_key_use_e;

/** A key.  It lives in the pool of the configuration, and never changes. */
typedef struct comet_key_t {
    const char *algorithm; /* the algorithm of the key, and of all tokens signed
                            * with it: "HS256" … */
    const char *kid; /* the key's name in tokens; NULL: it has none */
    const char *issuer; /* the issuer that each token must name; NULL: any */
    const char *audience; /* the audience that each token must name; NULL:
                           * tokens must not name any */
    unsigned uses; /* bits of comet_key_use_e */
    void *material; /* libcjose's key; NULL: the file could not be read */
    int is_hidden; /* the user of this process may not read the file */
} comet_key_t;

/**
 * Read a key from a file: for HS… the secret itself, without its line end; for
 * RS… and ES… a public key or a certificate in PEM.  Keys that are weak (RFC
 * 7518, sections 3.2, 3.3 and 3.4) are refused, and so are secrets that
 * everybody can read and keys that everybody can replace.
 * @param key  ->algorithm and ->material are set; the pool's clean-up frees the
 *             latter.  If ->is_hidden is set on an error, a process with more
 *             permissions might be able to read the file
 * @param algorithm  "HS256" …
 * @return NULL, or what is wrong and what to write instead, in @a pool.  Called
 *         in the parent while it reads its configuration.
 */
const char *comet_key_read(comet_key_t *key, const char *algorithm,
                           const char *path, apr_pool_t *pool);

#endif /* COMET_KEY_H */
