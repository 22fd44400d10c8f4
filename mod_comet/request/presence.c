/* SPDX-License-Identifier: Apache-2.0 */
/* The channels that a reader is present in, and the member that the reader
 * is. */
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
    apr_pool_t *pool = ask->rooms_pool ? ask->rooms_pool : r->pool;
    comet_room_t *room;

    if (mode == MOD_COMET_PRESENCE_OFF || !channel.data
        || comet_name_is_sibling(channel)) {
        return;
    }
    if (!ask->rooms) {
        ask->rooms = apr_array_make(pool, 1, sizeof(comet_room_t));
    }
    room = apr_array_push(ask->rooms);
    *room = (comet_room_t){
        .channel = { apr_pstrmemdup(pool, channel.data, channel.length),
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

    return user.length <= COMET_AUTHOR_MAX_BYTES && comet_encode_is_utf8(user)
               ? user
               : (comet_text_t){ NULL, 0 };
}

void mod_comet_presence_visitor(const request_rec *r,
                                mod_comet_presence_visitor_t *visitor)
{
    const mod_comet_token_t *token = mod_comet_request(r)->token;

    visitor->who = (comet_visitor_t){
        .member = mod_comet_presence_member(r),
        .info = comet_text(token && token->state == MOD_COMET_TOKEN_VALID
                               ? token->claims.info
                               : NULL),
        .address = r->useragent_ip
                       ? comet_quota_address(r->useragent_ip, visitor->address)
                       : (comet_text_t){ NULL, 0 },
    };
}

/* @return NULL: there are no rooms, no memory or no presence */
static comet_seat_t *take_seat(const request_rec *r,
                               const apr_array_header_t *rooms)
{
    mod_comet_presence_visitor_t visitor;
    comet_presence_t *presence =
        rooms && rooms->nelts
            ? comet_writer_presence(mod_comet_child_store(r)->writer)
            : NULL;

    if (!presence) {
        return NULL;
    }
    mod_comet_presence_visitor(r, &visitor);
    return comet_presence_enter(presence, (const comet_room_t *)rooms->elts,
                                (apr_size_t)rooms->nelts, &visitor.who);
}

void mod_comet_presence_enter(request_rec *r, const mod_comet_ask_t *ask)
{
    mod_comet_place_t *place = &mod_comet_request(r)->place;

    if (place->seat) {
        return;
    }
    place->seat = take_seat(r, ask->rooms);
    if (place->seat) {
        apr_pool_cleanup_register(r->pool, place, stand_up,
                                  apr_pool_cleanup_null);
    }
}

void mod_comet_presence_change(request_rec *r, const apr_array_header_t *rooms)
{
    mod_comet_place_t *place = &mod_comet_request(r)->place;
    comet_seat_t *old = place->seat;

    place->seat = take_seat(r, rooms);
    mod_comet_place_stand_up(&old);
    apr_pool_cleanup_kill(r->pool, place, stand_up);
    apr_pool_cleanup_register(r->pool, place, stand_up, apr_pool_cleanup_null);
}
