/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file request/decisions.h
 * Decisions of the site's application, kept for as long as the application
 * allows (Comet-Lifetime).  Each child has a table of its own.
 */
#ifndef MOD_COMET_DECISIONS_H
#define MOD_COMET_DECISIONS_H

#include "token/digest.h"
#include "server/mod_comet.h"

/** A decision. */
typedef struct mod_comet_decision_t {
    int status; /* an HTTP status */
    char user[COMET_AUTHOR_MAX_BYTES + 1]; /* "": nobody */
    apr_time_t until; /* when the decision expires, by comet_monotonic() */
} mod_comet_decision_t;

/**
 * Find a decision that still holds.
 * @param key  a comet_digest() of everything that the decision can depend on
 * @param decision  OUT
 * @return whether there is one.  Any thread.
 */
int mod_comet_decisions_find(const unsigned char key[COMET_DIGEST_BYTES],
                             mod_comet_decision_t *decision);

/** Keep a decision.  It can displace another one.  Any thread. */
void mod_comet_decisions_keep(const unsigned char key[COMET_DIGEST_BYTES],
                              const mod_comet_decision_t *decision);

#endif /* MOD_COMET_DECISIONS_H */
