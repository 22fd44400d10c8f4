/* SPDX-License-Identifier: Apache-2.0 */
/* Presence: the seats of clients, and the table of members made from them. */
#include "store/presence_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/rate.h"

#define FIRST_SIZE 64

/* --- the table ------------------------------------------------------------- */

static apr_uint32_t hash_of(comet_text_t channel, comet_text_t member)
{
    return comet_message_hash(channel) * 31 + comet_message_hash(member);
}

static comet_entry_t **place(const comet_presence_t *presence,
                             apr_uint32_t hash, comet_text_t channel,
                             comet_text_t member)
{
    comet_entry_t **link = &presence->buckets[hash & (presence->size - 1)];

    while (*link
           && ((*link)->hash != hash
               || !comet_text_equal((*link)->member, member)
               || !comet_text_equal((*link)->channel, channel))) {
        link = &(*link)->next;
    }
    return link;
}

/* Double the number of buckets.  If there is no memory, the chains just grow
 * longer. */
static void grow_locked(comet_presence_t *presence)
{
    apr_size_t size = presence->size * 2, i;
    comet_entry_t **buckets = calloc(size, sizeof(*buckets)), *entry;

    for (i = 0; i < presence->size && buckets; i++) {
        while ((entry = presence->buckets[i]) != NULL) {
            presence->buckets[i] = entry->next;
            entry->next = buckets[entry->hash & (size - 1)];
            buckets[entry->hash & (size - 1)] = entry;
        }
    }
    if (buckets) {
        free(presence->buckets);
        presence->buckets = buckets;
        presence->size = size;
    }
}

static comet_entry_t *make_entry(comet_text_t channel, comet_text_t member,
                                 comet_text_t info, apr_uint32_t hash)
{
    comet_entry_t *entry =
        malloc(sizeof(*entry) + channel.length + member.length + info.length);

    if (entry) {
        char *end = (char *)(entry + 1);

        *entry = (comet_entry_t){ .hash = hash, .since = apr_time_now() };
        entry->channel = comet_text_copy(channel, &end);
        entry->member = comet_text_copy(member, &end);
        entry->info = comet_text_copy(info, &end);
        LIST_INIT(&entry->sitting);
    }
    return entry;
}

comet_entry_t *comet_presence_find_locked(comet_presence_t *presence,
                                          comet_text_t channel,
                                          comet_text_t member,
                                          comet_text_t info, int make)
{
    apr_uint32_t hash = hash_of(channel, member);
    comet_entry_t **link = place(presence, hash, channel, member);

    if (!*link && make) {
        *link = make_entry(channel, member, info, hash);
        presence->count += *link != NULL;
        if (presence->count > presence->size) {
            grow_locked(presence);
            link = place(presence, hash, channel, member);
        }
    }
    return *link;
}

static void remove_locked(comet_presence_t *presence, comet_entry_t *entry)
{
    *place(presence, entry->hash, entry->channel, entry->member) = entry->next;
    presence->count--;
    comet_wheel_clear(&presence->wheel, &entry->grace);
    if (entry->dirty) {
        TAILQ_REMOVE(&presence->dirty, entry, link);
    }
    free(entry);
}

void comet_presence_touch_locked(comet_presence_t *presence,
                                 comet_entry_t *entry)
{
    int dirty =
        entry->wanted != entry->stored || entry->read_at > entry->read_stored;

    if (dirty && !entry->dirty) {
        TAILQ_INSERT_TAIL(&presence->dirty, entry, link);
    }
    else if (!dirty && entry->dirty) {
        TAILQ_REMOVE(&presence->dirty, entry, link);
    }
    entry->dirty = dirty;
    if (!dirty && !entry->stored && !entry->clients && !entry->in_flight) {
        remove_locked(presence, entry);
    }
}

/* --- coming and going ------------------------------------------------------ */

/* The value that the store should have for an entry: for a member, 1 if it has
 * a client here, otherwise 0; for clients without a name, their number. */
static apr_int64_t wanted_for(const comet_entry_t *entry)
{
    return entry->member.length ? entry->clients > 0 : entry->clients;
}

/* @return whether the writer's thread must be woken */
static int add_client_locked(comet_presence_t *presence, comet_entry_t *entry,
                             apr_int64_t most)
{
    entry->clients++;
    entry->most = most;
    if (wanted_for(entry) >= entry->wanted) {
        entry->wanted = wanted_for(entry);
        comet_wheel_clear(&presence->wheel, &entry->grace);
    }
    comet_presence_touch_locked(presence, entry);
    if (entry->dirty && entry->member.length && !presence->hurried) {
        presence->hurried = 1;
        return 1;
    }
    return 0;
}

static void lose_client_locked(comet_presence_t *presence, comet_entry_t *entry)
{
    entry->clients--;
    if (wanted_for(entry) < entry->wanted && !entry->grace.due) {
        comet_wheel_set(&presence->wheel, &entry->grace,
                        comet_monotonic() + presence->grace);
    }
}

void comet_presence_throw_out_locked(comet_presence_t *presence,
                                     comet_entry_t *entry)
{
    comet_sitting_t *sitting;

    while ((sitting = LIST_FIRST(&entry->sitting)) != NULL) {
        LIST_REMOVE(sitting, link);
        sitting->entry = NULL;
        atomic_store(&sitting->seat->revoked, 1);
    }
    remove_locked(presence, entry);
}

static int has_nul(comet_text_t text)
{
    return text.length && memchr(text.data, '\0', text.length);
}

static comet_text_t storable_info(comet_text_t info)
{
    return info.length > COMET_ONLINE_INFO_MAX_BYTES || has_nul(info)
               ? (comet_text_t){ NULL, 0 }
               : info;
}

static int is_storable(comet_text_t channel)
{
    return channel.length && channel.length <= COMET_ONLINE_CHANNEL_MAX_BYTES;
}

/* Copy a visitor, leaving out a name or an info that the store cannot hold. */
static comet_visitor_t storable_visitor(const comet_visitor_t *visitor)
{
    comet_visitor_t storable = *visitor;

    if (visitor->member.length > COMET_AUTHOR_MAX_BYTES
        || has_nul(visitor->member)) {
        storable.member.length = 0;
    }
    storable.info = storable.member.length ? storable_info(visitor->info)
                                           : (comet_text_t){ NULL, 0 };
    return storable;
}

/* Charge a client's allowance for one more channel.
 * @return whether the allowance permits it */
static int spend_locked(comet_presence_t *presence,
                        const comet_visitor_t *visitor)
{
    static const comet_rate_t rate = {
        .each = APR_USEC_PER_SEC / COMET_PRESENCE_RATE,
        .burst = COMET_PRESENCE_BURST,
    };
    comet_text_t who =
        visitor->member.length ? visitor->member : visitor->address;
    apr_time_t *due =
        &presence->due[comet_message_hash(who) % COMET_PRESENCE_CLIENTS];
    apr_time_t now = comet_monotonic();

    if (comet_rate_wait(&rate, *due, now)) {
        if (presence->config.on_limit) {
            presence->config.on_limit(presence->config.baton);
        }
        return 0;
    }
    comet_rate_spend(&rate, due, 1, now);
    return 1;
}

/* Find the entry of a client in a channel, or make it.
 * @param limited  OUT: whether the client has entered too many channels
 * @return NULL: there is no memory, or @a limited was set to 1 */
static comet_entry_t *find_or_make_locked(comet_presence_t *presence,
                                          const comet_room_t *room,
                                          const comet_visitor_t *visitor,
                                          int *limited)
{
    comet_entry_t *entry = comet_presence_find_locked(
        presence, room->channel, visitor->member, visitor->info, 0);

    *limited = !entry && !spend_locked(presence, visitor);
    return entry || *limited
               ? entry
               : comet_presence_find_locked(presence, room->channel,
                                            visitor->member, visitor->info, 1);
}

/* @return whether the writer's thread must be woken */
static int sit_down_locked(comet_presence_t *presence, comet_seat_t *seat,
                           const comet_room_t *room,
                           const comet_visitor_t *visitor)
{
    comet_sitting_t *sitting = &seat->sitting[seat->count];
    comet_entry_t *entry;
    int limited;

    if (!is_storable(room->channel)) {
        return 0;
    }
    entry = find_or_make_locked(presence, room, visitor, &limited);
    if (!entry) {
        return 0;
    }
    *sitting = (comet_sitting_t){ .entry = entry, .seat = seat };
    LIST_INSERT_HEAD(&entry->sitting, sitting, link);
    seat->count++;
    return add_client_locked(presence, entry, room->most);
}

comet_seat_t *comet_presence_enter(comet_presence_t *presence,
                                   const comet_room_t *rooms, apr_size_t count,
                                   const comet_visitor_t *visitor)
{
    const comet_visitor_t storable = storable_visitor(visitor);
    comet_seat_t *seat = malloc(sizeof(*seat) + count * sizeof(*seat->sitting));
    apr_size_t i;
    int hurry = 0;

    if (!seat) {
        return NULL;
    }
    atomic_init(&seat->revoked, 0);
    seat->presence = presence;
    seat->count = 0;
    pthread_mutex_lock(&presence->lock);
    for (i = 0; i < count; i++) {
        hurry |= sit_down_locked(presence, seat, &rooms[i], &storable);
    }
    pthread_mutex_unlock(&presence->lock);
    if (hurry) {
        presence->config.wake(presence->config.baton);
    }
    if (!seat->count) {
        free(seat);
        return NULL;
    }
    return seat;
}

void comet_presence_leave(comet_seat_t *seat)
{
    comet_presence_t *presence;
    apr_size_t i;

    if (!seat || atomic_load(seat->presence->config.stopping)) {
        return;
    }
    presence = seat->presence;
    pthread_mutex_lock(&presence->lock);
    for (i = 0; i < seat->count; i++) {
        comet_sitting_t *sitting = &seat->sitting[i];

        if (sitting->entry) {
            LIST_REMOVE(sitting, link);
            lose_client_locked(presence, sitting->entry);
        }
    }
    pthread_mutex_unlock(&presence->lock);
    free(seat);
}

const atomic_int *comet_presence_revoked(const comet_seat_t *seat)
{
    return seat ? &seat->revoked : NULL;
}

apr_status_t comet_presence_mark(comet_presence_t *presence,
                                 const comet_room_t *room,
                                 const comet_visitor_t *visitor,
                                 comet_timestamp_t read_at)
{
    const comet_visitor_t storable = storable_visitor(visitor);
    comet_entry_t *entry;
    int limited;

    if (!is_storable(room->channel) || !storable.member.length) {
        return COMET_EINVALID;
    }
    pthread_mutex_lock(&presence->lock);
    entry = find_or_make_locked(presence, room, &storable, &limited);
    if (entry) {
        entry->most = room->most;
        if (read_at > entry->read_at) {
            entry->read_at = read_at;
        }
        comet_presence_touch_locked(presence, entry);
    }
    pthread_mutex_unlock(&presence->lock);
    return entry ? APR_SUCCESS : limited ? COMET_EBUSY : APR_ENOMEM;
}

/* --- notices --------------------------------------------------------------- */

static int ends_with(comet_text_t text, comet_text_t end)
{
    return text.length > end.length
           && memcmp(text.data + text.length - end.length, end.data, end.length)
                  == 0;
}

static int begins_with(comet_text_t text, comet_text_t start)
{
    return text.length >= start.length
           && memcmp(text.data, start.data, start.length) == 0;
}

int comet_presence_is_notice(const comet_message_t *message)
{
    static const comet_text_t suffix = { COMET_ONLINE_SUFFIX,
                                         sizeof(COMET_ONLINE_SUFFIX) - 1 };

    return ends_with(message->channel, suffix)
           && begins_with(message->body, comet_text("{\"removed\": true"));
}

void comet_presence_notice(comet_presence_t *presence)
{
    atomic_store(&presence->noticed, 1);
    presence->config.wake(presence->config.baton);
}

/* --- life ------------------------------------------------------------------ */

comet_presence_t *comet_presence_create(const comet_presence_config_t *config)
{
    comet_presence_t *presence = calloc(1, sizeof(*presence));

    if (!presence) {
        return NULL;
    }
    presence->config = *config;
    presence->grace = config->store->presence_grace;
    presence->buckets = calloc(FIRST_SIZE, sizeof(*presence->buckets));
    presence->size = FIRST_SIZE;
    presence->due = calloc(COMET_PRESENCE_CLIENTS, sizeof(*presence->due));
    if (!presence->buckets || !presence->due) {
        free(presence->buckets);
        free(presence->due);
        free(presence);
        return NULL;
    }
    pthread_mutex_init(&presence->lock, NULL);
    TAILQ_INIT(&presence->dirty);
    comet_wheel_init(&presence->wheel, comet_monotonic());
    return presence;
}

void comet_presence_free(comet_presence_t *presence)
{
    apr_size_t i;

    if (!presence) {
        return;
    }
    for (i = 0; i < presence->size; i++) {
        while (presence->buckets[i]) {
            remove_locked(presence, presence->buckets[i]);
        }
    }
    pthread_mutex_destroy(&presence->lock);
    free(presence->buckets);
    free(presence->due);
    free(presence->leases);
    free(presence);
}
