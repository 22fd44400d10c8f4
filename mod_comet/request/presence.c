/* SPDX-License-Identifier: Apache-2.0 */
/* In which channels a reader is present, and as which member. */
#include "request/presence.h"

#include <apr_strings.h>

#include "base/name.h"
#include "wire/encode.h"
#include "server/child.h"
#include "request/token.h"

void mod_comet_presence_note(const request_rec *url, request_rec *r,
                             mod_comet_ask_t *ask, comet_text_t channel)
{
    apr_int64_t mode = mod_comet_config_presence(url);
    comet_room_t *room;

    if (mode == MOD_COMET_PRESENCE_OFF || !channel.data
        || comet_name_is_sibling(channel)) {
        return;
    }
    if (!ask->rooms) {
        ask->rooms = apr_array_make(r->pool, 1, sizeof(comet_room_t));
    }
    room = apr_array_push(ask->rooms);
    *room = (comet_room_t){
        .channel = { apr_pstrmemdup(r->pool, channel.data, channel.length),
                     channel.length },
        .most = mode == MOD_COMET_PRESENCE_COUNT
                    ? 0
                    : mod_comet_config_presence_most(url),
    };
}

static apr_status_t stand_up(void *place)
{
    mod_comet_place_stand_up(&((mod_comet_place_t *)place)->seat);
    return APR_SUCCESS;
}

comet_text_t mod_comet_presence_member(const request_rec *r)
{
    comet_text_t user = comet_text(r->user);

    return comet_encode_is_utf8(user) ? user : (comet_text_t){ NULL, 0 };
}

/* What the token of a request says about its user. */
static comet_text_t info_of(const request_rec *r)
{
    const mod_comet_token_t *token = mod_comet_request(r)->token;

    return comet_text(token && token->state == MOD_COMET_TOKEN_VALID
                          ? token->claims.info
                          : NULL);
}

void mod_comet_presence_enter(request_rec *r, const mod_comet_ask_t *ask)
{
    mod_comet_place_t *place = &mod_comet_request(r)->place;
    comet_presence_t *presence;

    if (!ask->rooms || place->seat) {
        return;
    }
    presence = comet_writer_presence(mod_comet_child_store(r)->writer);
    if (!presence) {
        return;
    }
    place->seat =
        comet_presence_enter(presence, (const comet_room_t *)ask->rooms->elts,
                             (apr_size_t)ask->rooms->nelts,
                             mod_comet_presence_member(r), info_of(r));
    if (place->seat) {
        apr_pool_cleanup_register(r->pool, place, stand_up,
                                  apr_pool_cleanup_null);
    }
}
