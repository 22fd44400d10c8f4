/* SPDX-License-Identifier: Apache-2.0 */
/* Change the channels of an open WebSocket, when its client asks for it. */
#include "wait/live.h"

#include <apr_strings.h>
#include <stdlib.h>

#include "base/selection_set.h"
#include "wire/command.h"
#include "server/pool.h"
#include "request/dialect.h"
#include "request/presence.h"
#include "request/reasons.h"
#include "wait/talk.h"

/* How many changes may wait for their turn.  If so many wait, the client must
 * wait for an answer before it asks for more. */
#define CHANGES_MOST 16

/* A change that was allowed.  All memory that it needs is allocated. */
typedef struct change_t change_t;
struct change_t {
    change_t *next;
    comet_selection_t *fresh; /* channels that are read only after the change;
                               * NULL: there are none */
    comet_selection_t *target; /* what is read after the change */
    comet_timestamp_t since; /* the cursor of the fresh channels */
    comet_timestamp_t pruned; /* as in mod_comet_ask_t */
    comet_buffer_t gap; /* `,"gap": …` for the answer; or empty */
    const char *verb; /* the answer's verb */
    char *ref; /* the client's name for it, in the same block; NULL: none */
};

struct mod_comet_live_t {
    request_rec *r;
    mod_comet_ask_t *ask;
    /* the state once all changes that wait are made: */
    comet_selection_t *asked; /* channels and wildcards, as the client names
                               * them */
    comet_selection_t *reads; /* the channels that they stand for */
    comet_selection_t *granted; /* the channels outside its URL that the client
                                 * may publish to */
    const apr_array_header_t *rooms; /* of comet_room_t; NULL: none */
    apr_pool_t *rooms_pool; /* the pool of `rooms`; NULL: the request's */
    /* the state now: */
    comet_selection_t *current; /* what the subscriber reads */
    comet_timestamp_t until; /* ->until of the subscriber; 0: no change has
                              * begun */
    comet_timestamp_t floor; /* ->floor of the subscriber before the change */
    change_t *first, *last;
    apr_size_t count;
};

typedef mod_comet_live_t live_t;

/* --- memory --------------------------------------------------------------- */

static void free_change(change_t *change)
{
    comet_selection_unref(change->fresh);
    comet_selection_unref(change->target);
    comet_buffer_free(&change->gap);
    free(change);
}

static change_t *make_change(const comet_command_t *command)
{
    apr_size_t length = command->ref ? strlen(command->ref) + 1 : 0;
    change_t *change = calloc(1, sizeof(*change) + length);

    if (change) {
        change->verb = command->kind == COMET_COMMAND_SUBSCRIBE
                           ? "subscribed"
                           : "unsubscribed";
        if (length) {
            change->ref = memcpy(change + 1, command->ref, length);
        }
    }
    return change;
}

/* Replace a selection by another one, whose reference the call takes over. */
static void replace(comet_selection_t **place, comet_selection_t *selection)
{
    comet_selection_unref(*place);
    *place = selection;
}

static apr_status_t end(void *baton)
{
    live_t *live = baton;
    change_t *next;

    for (; live->first; live->first = next) {
        next = live->first->next;
        free_change(live->first);
    }
    comet_selection_unref(live->asked);
    comet_selection_unref(live->reads);
    comet_selection_unref(live->granted);
    comet_selection_unref(live->current);
    return APR_SUCCESS;
}

int mod_comet_live_begin(request_rec *r, mod_comet_ask_t *ask)
{
    live_t *live = apr_pcalloc(r->pool, sizeof(*live));

    live->r = r;
    live->ask = ask;
    live->asked = comet_selection_ref(ask->asked);
    live->reads = comet_selection_ref(ask->selection);
    live->current = comet_selection_ref(ask->selection);
    live->granted = comet_selection_create(NULL, 0, NULL, 0);
    live->rooms = ask->rooms;
    apr_pool_cleanup_register(r->pool, live, end, apr_pool_cleanup_null);
    ask->live = live;
    return live->granted != NULL;
}

comet_selection_t *mod_comet_live_selection(const mod_comet_ask_t *ask)
{
    return ask->live ? ask->live->current : ask->selection;
}

void mod_comet_live_prepare(const mod_comet_ask_t *ask,
                            comet_subscriber_t *subscriber)
{
    subscriber->until = ask->live ? ask->live->until : 0;
}

/* --- making changes (the subscriber's owner) ------------------------------ */

static void tell(live_t *live, change_t *change, comet_timestamp_t cursor)
{
    comet_buffer_t words = { .data = NULL };
    apr_size_t begun = comet_websocket_begin_text(&words);

    comet_buffer_puts(&words, "{\"");
    comet_buffer_puts(&words, change->verb);
    comet_buffer_puts(&words, "\":");
    comet_buffer_add_int(&words, cursor);
    comet_buffer_add(&words, change->gap.data, change->gap.length);
    comet_command_add_end(&words, change->ref);
    comet_websocket_end_text(&words, begun);
    mod_comet_talk_answer(live->ask->talk, &words, 1, 0);
    comet_buffer_free(&words);
}

/* Finish the first change: all channels now have the same cursor. */
static void finish(live_t *live, comet_subscriber_t *subscriber)
{
    change_t *change = live->first;

    if (live->until) {
        subscriber->floor = live->floor;
        live->until = 0;
    }
    if (change->fresh && subscriber->floor < change->pruned) {
        subscriber->floor = change->pruned;
    }
    replace(&live->current, comet_selection_ref(change->target));
    tell(live, change, subscriber->seen);
    live->first = change->next;
    live->count--;
    free_change(change);
}

/* Begin the first change.  The channels that are behind are read first. */
static void begin(live_t *live, comet_subscriber_t *subscriber)
{
    const change_t *change = live->first;
    comet_timestamp_t cursor = subscriber->seen;

    if (!change->fresh || change->since == cursor) {
        finish(live, subscriber);
        return;
    }
    live->floor = subscriber->floor;
    if (change->since > cursor) {
        live->until = change->since;
        return;
    }
    live->until = cursor;
    replace(&live->current, comet_selection_ref(change->fresh));
    subscriber->seen = change->since;
    subscriber->floor = change->pruned;
}

int mod_comet_live_go_on(const mod_comet_ask_t *ask,
                         comet_subscriber_t *subscriber, unsigned reasons)
{
    live_t *live = ask->live;
    const comet_selection_t *before;

    if (!live) {
        return 0;
    }
    before = live->current;
    if (live->until && (reasons & COMET_REACHED)
        && subscriber->seen == live->until) {
        finish(live, subscriber);
    }
    while (live->first && !live->until) {
        begin(live, subscriber);
    }
    subscriber->until = live->until;
    return live->current != before;
}

void mod_comet_live_serve(const mod_comet_ask_t *ask,
                          comet_subscriber_t *subscriber, unsigned reasons)
{
    if (mod_comet_live_go_on(ask, subscriber, reasons)) {
        replace(&subscriber->moves_to, comet_selection_ref(ask->live->current));
    }
}

/* --- judging (the request's thread) --------------------------------------- */

static void refuse(live_t *live, const comet_command_t *command, int status,
                   const char *reason)
{
    comet_buffer_t words = { .data = NULL };
    apr_size_t begun = comet_websocket_begin_text(&words);

    mod_comet_reasons_log(live->r, status, reason);
    comet_command_add_error(&words, reason, status, status == 429 ? 1 : 0,
                            command->ref);
    comet_websocket_end_text(&words, begun);
    mod_comet_talk_answer(live->ask->talk, &words, 1, 0);
    comet_buffer_free(&words);
}

/* Keep the rooms that the client still names, and the new ones.
 * @param more  NULL: none */
static void change_rooms(live_t *live, const apr_array_header_t *more)
{
    const apr_array_header_t *lists[] = { live->rooms, more };
    apr_array_header_t *rooms;
    apr_pool_t *pool;
    apr_size_t list;
    int i;

    if (!live->rooms && !more) {
        return;
    }
    pool = mod_comet_pool_create(live->r->pool, "comet_rooms");
    if (!pool) {
        return;
    }
    rooms = apr_array_make(pool, 4, sizeof(comet_room_t));
    for (list = 0; list < 2; list++) {
        for (i = 0; lists[list] && i < lists[list]->nelts; i++) {
            comet_room_t room = APR_ARRAY_IDX(lists[list], i, comet_room_t);

            if (comet_selection_match(live->asked, room.channel,
                                      comet_message_hash(room.channel))
                == COMET_SELECTION_NAMED) {
                room.channel.data = apr_pstrmemdup(pool, room.channel.data,
                                                   room.channel.length);
                *(comet_room_t *)apr_array_push(rooms) = room;
            }
        }
    }
    mod_comet_presence_change(live->r, rooms);
    live->rooms = rooms;
    if (live->rooms_pool) {
        apr_pool_destroy(live->rooms_pool);
    }
    live->rooms_pool = pool;
}

/* Let the client publish to the channels of its URL, and to those that it was
 * granted and still asks for.
 * @param more  more channels that it was granted; NULL: none
 * @return 0: no memory is left */
static int change_writes(live_t *live, const comet_selection_t *more)
{
    comet_selection_t *all =
        more ? comet_selection_set_union(live->granted, more)
             : comet_selection_ref(live->granted);
    comet_selection_t *granted =
        all ? comet_selection_set_shared(all, live->asked) : NULL;
    comet_selection_t *writes =
        !granted ? NULL
        : live->ask->writes
            ? comet_selection_set_union(live->ask->writes, granted)
            : comet_selection_ref(granted);

    comet_selection_unref(all);
    if (!writes) {
        comet_selection_unref(granted);
        return 0;
    }
    replace(&live->granted, granted);
    mod_comet_talk_allow(live->ask->talk, writes);
    return 1;
}

/* Write the member "gap" of the answer if the client has missed messages of the
 * channels that are added. */
static void add_gap(change_t *change, const mod_comet_ask_t *more)
{
    const comet_answer_t answer = { .cursor = more->cursor,
                                    .floor = more->floor,
                                    .is_unknown = more->is_unknown };

    if (comet_transport_has_gap(&answer)) {
        comet_buffer_puts(&change->gap, ",\"gap\":{");
        comet_transport_add_gap(&change->gap, &answer);
        comet_buffer_puts(&change->gap, "}");
    }
}

/* Find the channels that the client will have asked for after a change, and
 * those that it will read.
 * @param asked, reads  OUT; NULL: no memory is left */
static void find_target(const live_t *live, const mod_comet_ask_t *more,
                        int adds, comet_selection_t **asked,
                        comet_selection_t **reads)
{
    *asked = adds ? comet_selection_set_union(live->asked, more->asked)
                  : comet_selection_set_minus(live->asked, more->asked);
    *reads = adds     ? comet_selection_set_union(live->reads, more->selection)
             : *asked ? comet_selection_set_within(live->reads, *asked)
                      : NULL;
}

/* Find the channels that are read only after the change.
 * @return 0: no memory is left */
static int find_fresh(const live_t *live, const mod_comet_ask_t *more,
                      change_t *change)
{
    comet_selection_t *fresh =
        comet_selection_set_new_names(more->selection, live->reads);

    if (fresh && !comet_selection_set_is_empty(fresh)) {
        change->fresh = comet_selection_ref(fresh);
        change->since = more->seen;
        change->pruned = more->pruned;
        add_gap(change, more);
    }
    comet_selection_unref(fresh);
    return fresh != NULL && !change->gap.failed;
}

/* Queue a change that was allowed.
 * @param change  taken over
 * @return 0: no memory is left */
static int queue(live_t *live, change_t *change, const mod_comet_ask_t *more,
                 int adds)
{
    comet_selection_t *asked, *reads;

    find_target(live, more, adds, &asked, &reads);
    if (!asked || !reads || (adds && !find_fresh(live, more, change))) {
        comet_selection_unref(asked);
        comet_selection_unref(reads);
        free_change(change);
        return 0;
    }
    replace(&live->asked, asked);
    replace(&live->reads, reads);
    change->target = comet_selection_ref(reads);
    if (live->first) {
        live->last->next = change;
    }
    else {
        live->first = change;
    }
    live->last = change;
    live->count++;
    change_rooms(live, adds ? more->rooms : NULL);
    return change_writes(live, adds ? more->writes : NULL);
}

/* Find out why a change cannot be queued.
 * @return NULL: it can be */
static const char *find_obstacle(const live_t *live,
                                 const mod_comet_ask_t *more, int adds,
                                 int *status)
{
    comet_selection_t *left;
    int is_last;

    *status = HTTP_TOO_MANY_REQUESTS;
    if (adds) {
        /* channels that appear before the change is made would be missed */
        return more->asked->prefix_count && live->first
                   ? "a wildcard cannot be added while another change waits: "
                     "wait for its answer"
                   : NULL;
    }
    left = comet_selection_set_minus(live->asked, more->asked);
    is_last = left && comet_selection_set_is_empty(left);
    comet_selection_unref(left);
    *status = HTTP_BAD_REQUEST;
    return is_last ? "unsubscribe: a WebSocket reads at least one channel; "
                     "close it instead"
                   : NULL;
}

/* Judge a change, and queue it or refuse it. */
static void judge(live_t *live, const comet_command_t *command,
                  apr_pool_t *pool, apr_time_t *ends_at)
{
    const mod_comet_dialect_t *dialect =
        mod_comet_request(live->r)->mapping->dialect;
    int adds = command->kind == COMET_COMMAND_SUBSCRIBE, status = 0;
    mod_comet_ask_t more = *live->ask;
    const char *reason =
        dialect->change(live->r, &more, command, live->reads, pool, &status);
    change_t *change;

    if (!reason) {
        reason = find_obstacle(live, &more, adds, &status);
    }
    if (reason) {
        refuse(live, command, status, reason);
    }
    else {
        apr_time_t end = mod_comet_ask_end(&more);

        *ends_at = end && (!*ends_at || end < *ends_at) ? end : *ends_at;
        live->ask->authenticated |= more.authenticated;
        change = make_change(command);
        if (!change || !queue(live, change, &more, adds)) {
            mod_comet_talk_fail(live->ask->talk);
        }
    }
    comet_selection_unref(more.asked);
    comet_selection_unref(more.selection);
    comet_selection_unref(more.writes);
}

/* Handle one text of the client.  Its bytes no longer count against the talk's
 * limit, because only few changes may wait. */
static void hear(live_t *live, const mod_comet_said_t *said, apr_pool_t *pool,
                 apr_time_t *ends_at)
{
    static const comet_buffer_t nothing = { .length = 0 };
    mod_comet_talk_t *talk = live->ask->talk;
    comet_command_t command;
    const char *wrong = comet_command_parse(
        &command, said->text, mod_comet_talk_most_bytes(talk), pool);

    mod_comet_talk_answer(talk, &nothing, 0, said->text.length);
    if (wrong) {
        refuse(live, &command,
               command.no_memory ? HTTP_SERVICE_UNAVAILABLE : HTTP_BAD_REQUEST,
               wrong);
    }
    else if (live->count >= CHANGES_MOST) {
        refuse(live, &command, HTTP_TOO_MANY_REQUESTS,
               "too many changes wait: wait for their answers");
    }
    else {
        judge(live, &command, pool, ends_at);
    }
}

void mod_comet_live_listen(const mod_comet_ask_t *ask,
                           comet_subscriber_t *subscriber, int begins,
                           apr_time_t *ends_at)
{
    live_t *live = ask->live;
    mod_comet_said_t *said;

    if (!live) {
        return;
    }
    while ((said = mod_comet_talk_take_wish(ask->talk)) != NULL) {
        apr_pool_t *pool = mod_comet_pool_create(live->r->pool, "comet_live");

        if (pool) {
            hear(live, said, pool, ends_at);
            apr_pool_destroy(pool);
        }
        else {
            mod_comet_talk_fail(ask->talk);
        }
        free(said);
        if (begins) {
            mod_comet_live_go_on(ask, subscriber, 0);
        }
    }
    subscriber->revoked =
        comet_presence_revoked(mod_comet_request(live->r)->place.seat);
}
