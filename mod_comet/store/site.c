/* SPDX-License-Identifier: Apache-2.0 */
/* What a file's place must be checked against. */
#include "store/site.h"

#include <apr_strings.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

int comet_site_is_within(const char *path, const char *folder)
{
    apr_size_t length = folder[1] ? strlen(folder) : 0;

    return strncmp(path, folder, length) == 0
           && (path[length] == '/' || path[length] == '\0');
}

const char *comet_site_publishes(const comet_site_t *site, const char *path,
                                 apr_pool_t *p)
{
    char real[PATH_MAX];
    int i;

    for (i = 0; i < site->published_folders->nelts; i++) {
        const char *folder =
            APR_ARRAY_IDX(site->published_folders, i, const char *);

        if (!realpath(folder, real)) {
            if (errno != EACCES) {
                continue;
            }
            /* a folder that cannot be resolved is compared as it stands in the
             * configuration */
            apr_cpystrn(real, folder, sizeof(real));
        }
        if (comet_site_is_within(path, real)) {
            return apr_pstrdup(p, real);
        }
    }
    return NULL;
}
