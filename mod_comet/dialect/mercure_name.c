/* SPDX-License-Identifier: Apache-2.0 */
/* Write a topic as the name of a channel. */
#include <apr_strings.h>

#include "base/topic.h"
#include "dialect/mercure.h"

const char *mod_comet_mercure_name(const mod_comet_mercure_t *mercure,
                                   comet_text_t topic, comet_text_t *name)
{
    const char *root = mercure->request->mapping->channel;
    apr_pool_t *pool = mercure->r->pool;
    char room[COMET_CHANNEL_MAX_BYTES];
    apr_size_t length = comet_topic_escape(topic, room);

    if (!topic.length) {
        return "topic: must not be empty";
    }
    if (!length || strlen(root) + length > COMET_CHANNEL_MAX_BYTES) {
        return apr_psprintf(pool,
                            "topic: must not be longer than %d bytes, where "
                            "each %% counts as %%25",
                            COMET_CHANNEL_MAX_BYTES - (int)strlen(root));
    }
    *name = comet_text(
        apr_pstrcat(pool, root, apr_pstrmemdup(pool, room, length), NULL));
    return comet_params_check_topic(topic);
}
