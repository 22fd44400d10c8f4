/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file token/digest.h
 * A digest of several texts.  Nobody can find two lists of texts with the same
 * digest.
 */
#ifndef COMET_DIGEST_H
#define COMET_DIGEST_H

#include "base/text.h"

#define COMET_DIGEST_BYTES 32

/**
 * SHA-256 over the texts and their lengths.
 * @param texts  a text with data NULL counts as different from an empty one
 * @return whether the digest was made; 0: no memory is left.  Any thread.
 */
int comet_digest(const comet_text_t *texts, apr_size_t count,
                 unsigned char digest[COMET_DIGEST_BYTES]);

#endif /* COMET_DIGEST_H */
