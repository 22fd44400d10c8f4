/* SPDX-License-Identifier: Apache-2.0 */
/* The digest of several texts. */
#include "token/digest.h"

#include <openssl/evp.h>

int comet_digest(const comet_text_t *texts, apr_size_t count,
                 unsigned char digest[COMET_DIGEST_BYTES])
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    int is_made = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL);
    apr_size_t i;

    for (i = 0; is_made && i < count; i++) {
        apr_uint64_t length = texts[i].data ? texts[i].length : UINT64_MAX;

        is_made = EVP_DigestUpdate(context, &length, sizeof(length))
                  && EVP_DigestUpdate(context, texts[i].data, texts[i].length);
    }
    is_made = is_made && EVP_DigestFinal_ex(context, digest, NULL);
    EVP_MD_CTX_free(context);
    return is_made;
}
