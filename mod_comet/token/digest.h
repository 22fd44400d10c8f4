/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file token/digest.h
 * The digest of several texts, by which they are told apart even from texts
 * that somebody has chosen for that.
 */
#ifndef COMET_DIGEST_H
#define COMET_DIGEST_H

#include "base/text.h"

#define COMET_DIGEST_BYTES 32

/**
 * SHA-256 over the texts and their lengths.
 * @param texts  data NULL differs from an empty text
 * @return whether it was made; not when there is no memory.  Any thread.
 */
int comet_digest(const comet_text_t *texts, apr_size_t count,
                 unsigned char digest[COMET_DIGEST_BYTES]);

#endif /* COMET_DIGEST_H */
