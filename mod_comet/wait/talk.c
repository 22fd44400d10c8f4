/* SPDX-License-Identifier: Apache-2.0 */
/* The conversation on one WebSocket, apart from the messages of its
 * channels. */
#include "wait/talk.h"

#include <stdlib.h>

#include "wire/command.h"
#include "server/config.h"
#include "wait/incoming.h"

/* Nothing is read from a client that waits for SAID_COUNT answers, or for
 * answers to SAID_BYTES of texts, or that has not taken WORDS_BYTES of
 * answers. */
#define SAID_COUNT 1024
#define SAID_BYTES (256 * 1024)
#define WORDS_BYTES (64 * 1024)

/* JSON can make a body six times as long: \u0001. */
#define ESCAPED 6
/* Room for the other members of a command. */
#define ENVELOPE_BYTES 4096

/* How often to check whether there is room for a client that waits for room. */
#define STARVED_EVERY apr_time_from_msec(250)

/* --- making --------------------------------------------------------------- */

static comet_text_t copy(comet_text_t text, char **end)
{
    comet_text_t made = { text.data ? *end : NULL, text.length };

    if (text.data) {
        memcpy(*end, text.data, text.length);
        (*end)[text.length] = '\0';
        *end += text.length + 1;
    }
    return made;
}

mod_comet_talk_t *mod_comet_talk_create(const request_rec *r,
                                        const mod_comet_ask_t *ask)
{
    comet_text_t prefix = { ask->prefix, ask->format.hidden_bytes };
    comet_text_t mute = comet_text(ask->mute);
    comet_text_t address = comet_text(r->useragent_ip);
    mod_comet_limits_claims_t claims;
    mod_comet_talk_t *talk;
    char *end;

    mod_comet_limits_note(r, &claims);
    talk = calloc(1, sizeof(*talk) + (claims.count ? sizeof(claims) : 0)
                         + ask->author.length + ask->channel.length
                         + prefix.length + mute.length + address.length + 5);
    if (!talk) {
        return NULL;
    }
    end = (char *)(talk + 1);
    if (claims.count) {
        talk->claims = memcpy(end, &claims, sizeof(claims));
        end += sizeof(claims);
    }
    pthread_mutex_init(&talk->lock, NULL);
    atomic_init(&talk->refs, 1);
    talk->author = copy(ask->author, &end);
    talk->channel = copy(ask->channel, &end);
    talk->prefix = copy(prefix, &end);
    talk->mute = copy(mute, &end).data;
    talk->address = copy(address, &end).data;
    talk->server = r->server;
    talk->is_live = ask->is_live != 0;
    talk->is_multi = mod_comet_config_multi(r) != 0;
    talk->writes = ask->writes ? comet_selection_ref(ask->writes) : NULL;
    talk->store = (apr_uint32_t)mod_comet_config_server(r->server)->store;
    return talk;
}

mod_comet_talk_t *mod_comet_talk_ref(mod_comet_talk_t *talk)
{
    atomic_fetch_add(&talk->refs, 1);
    return talk;
}

static void free_said(mod_comet_said_t *said)
{
    while (said) {
        mod_comet_said_t *next = said->next;

        free(said);
        said = next;
    }
}

void mod_comet_talk_unref(mod_comet_talk_t *talk)
{
    if (!talk || atomic_fetch_sub(&talk->refs, 1) > 1) {
        return;
    }
    mod_comet_incoming_release(talk);
    free_said(talk->first);
    free_said(talk->wishes);
    comet_buffer_free(&talk->words);
    comet_websocket_free(talk->reader);
    comet_selection_unref(talk->writes);
    pthread_mutex_destroy(&talk->lock);
    free(talk);
}

/* --- the hub -------------------------------------------------------------- */

static int has_words_locked(const mod_comet_talk_t *talk)
{
    return talk->words.length || talk->words.failed || talk->closed;
}

/* Wake the owner, which may wait in the hub or in mod_comet_talk_await(). */
static void call_locked(mod_comet_talk_t *talk)
{
    if (talk->waiter) {
        pthread_cond_signal(talk->waiter);
    }
    if (talk->subscriber) {
        comet_hub_call(talk->hub, talk->subscriber);
    }
}

void mod_comet_talk_attach(mod_comet_talk_t *talk, comet_hub_t *hub,
                           comet_subscriber_t *subscriber)
{
    pthread_mutex_lock(&talk->lock);
    talk->hub = hub;
    talk->subscriber = subscriber;
    if (has_words_locked(talk)) {
        call_locked(talk);
    }
    pthread_mutex_unlock(&talk->lock);
}

void mod_comet_talk_detach(mod_comet_talk_t *talk)
{
    pthread_mutex_lock(&talk->lock);
    talk->subscriber = NULL;
    pthread_mutex_unlock(&talk->lock);
}

/* --- the client's side (the owner's thread) ------------------------------- */

apr_size_t mod_comet_talk_most_bytes(const mod_comet_talk_t *talk)
{
    return (apr_size_t)mod_comet_config_max_message_bytes(talk->server);
}

apr_interval_time_t mod_comet_talk_timeout(const mod_comet_talk_t *talk)
{
    return mod_comet_config_publish_timeout(talk->server);
}

/* How many bytes a text of the client may have. */
static apr_size_t longest(const mod_comet_talk_t *talk)
{
    return ESCAPED * mod_comet_talk_most_bytes(talk) + ENVELOPE_BYTES;
}

/* Whether more of the client's input may be taken.  Input after a Close is
 * dropped and needs no room. */
static int room_locked(const mod_comet_talk_t *talk)
{
    return talk->closed
           || (talk->said_count < SAID_COUNT && talk->said_bytes < SAID_BYTES
               && talk->words.length < WORDS_BYTES && !talk->starved_since);
}

/* Disconnect a client that does not complete its message while others wait. */
static void close_late(void)
{
    mod_comet_talk_t *late = mod_comet_incoming_find_late();

    if (late) {
        mod_comet_talk_close(late, COMET_WEBSOCKET_TRY_AGAIN,
                             "retry=1000 a message takes too long to arrive");
        mod_comet_talk_unref(late);
    }
}

/* Reserve room for the message that the client has begun. */
static void reserve(mod_comet_talk_t *talk)
{
    apr_size_t bytes;

    if (mod_comet_talk_is_closed(talk)) {
        comet_websocket_free(talk->reader);
        talk->reader = NULL;
    }
    bytes = comet_websocket_unfinished(talk->reader, longest(talk));
    if (!bytes) {
        mod_comet_incoming_release(talk);
    }
    else if (!mod_comet_incoming_reserve(talk, bytes)) {
        close_late();
        if (mod_comet_incoming_is_hopeless(talk)) {
            mod_comet_talk_close(talk, COMET_WEBSOCKET_TRY_AGAIN,
                                 MOD_COMET_TALK_STARVED);
        }
    }
}

int mod_comet_talk_is_starved(const mod_comet_talk_t *talk)
{
    return talk->starved_since != 0;
}

apr_time_t mod_comet_talk_due(const mod_comet_talk_t *talk, apr_time_t due)
{
    apr_time_t soon;

    if (!talk || !talk->starved_since) {
        return due;
    }
    soon = comet_monotonic() + STARVED_EVERY;
    return !due || soon < due ? soon : due;
}

int mod_comet_talk_room(mod_comet_talk_t *talk)
{
    int room;

    if (talk->starved_since) {
        reserve(talk);
    }
    pthread_mutex_lock(&talk->lock);
    room = room_locked(talk);
    pthread_mutex_unlock(&talk->lock);
    return room;
}

/* Append a text to a list. */
static void append(mod_comet_said_t **first, mod_comet_said_t **last,
                   mod_comet_said_t *said)
{
    said->next = NULL;
    if (*first) {
        (*last)->next = said;
    }
    else {
        *first = said;
    }
    *last = said;
}

/* A comet_websocket_text_cb: keep the text for the speaker, or for the owner's
 * thread.  [talk->lock] */
static void keep(void *baton, comet_text_t text)
{
    mod_comet_talk_t *talk = baton;
    mod_comet_said_t *said = malloc(sizeof(*said) + text.length);

    if (!said) {
        talk->words.failed = 1; /* the WebSocket has to end: the client would
                                 * wait for an answer that never comes */
        return;
    }
    if (text.length) {
        memcpy(said + 1, text.data, text.length);
    }
    *said =
        (mod_comet_said_t){ .text = { (const char *)(said + 1), text.length } };
    if (talk->is_live && comet_command_is_live(said->text)) {
        append(&talk->wishes, &talk->last_wish, said);
    }
    else {
        append(&talk->first, &talk->last, said);
    }
    talk->said_count++;
    talk->said_bytes += (apr_uint32_t)text.length;
}

int mod_comet_talk_feed(mod_comet_talk_t *talk, comet_text_t bytes)
{
    comet_websocket_sink_t sink = {
        .text = keep,
        .baton = talk,
        .most_bytes = longest(talk),
        .replies = &talk->words,
    };
    int any;

    pthread_mutex_lock(&talk->lock);
    if (!talk->closed && !talk->words.failed) {
        apr_status_t status = comet_websocket_feed(&talk->reader, &sink, bytes);

        talk->closed = status == APR_EOF;
        talk->words.failed |= status == APR_ENOMEM;
    }
    any = talk->first != NULL;
    pthread_mutex_unlock(&talk->lock);
    reserve(talk);
    return any;
}

void mod_comet_talk_close(mod_comet_talk_t *talk, comet_websocket_code_e code,
                          const char *reason)
{
    pthread_mutex_lock(&talk->lock);
    if (!talk->closed) {
        comet_websocket_add_close(&talk->words, code, reason);
        talk->closed = 1;
        call_locked(talk);
    }
    pthread_mutex_unlock(&talk->lock);
}

void mod_comet_talk_end(mod_comet_talk_t *talk)
{
    pthread_mutex_lock(&talk->lock);
    talk->closed = 1;
    pthread_mutex_unlock(&talk->lock);
}

int mod_comet_talk_is_closed(mod_comet_talk_t *talk)
{
    int closed;

    pthread_mutex_lock(&talk->lock);
    closed = talk->closed;
    pthread_mutex_unlock(&talk->lock);
    return closed;
}

int mod_comet_talk_is_unanswered(mod_comet_talk_t *talk)
{
    int any;

    pthread_mutex_lock(&talk->lock);
    any = talk->said_count > 0;
    pthread_mutex_unlock(&talk->lock);
    return any;
}

int mod_comet_talk_take(mod_comet_talk_t *talk, comet_buffer_t *out)
{
    int closed;

    pthread_mutex_lock(&talk->lock);
    comet_buffer_add(out, talk->words.data, talk->words.length);
    out->failed |= talk->words.failed;
    comet_buffer_free(&talk->words);
    closed = talk->closed;
    pthread_mutex_unlock(&talk->lock);
    return closed;
}

int mod_comet_talk_has_words(mod_comet_talk_t *talk)
{
    int any;

    pthread_mutex_lock(&talk->lock);
    any = has_words_locked(talk);
    pthread_mutex_unlock(&talk->lock);
    return any;
}

static int may_go_on_locked(const mod_comet_talk_t *talk)
{
    return room_locked(talk) || has_words_locked(talk);
}

static int is_settled_locked(const mod_comet_talk_t *talk)
{
    return !talk->said_count;
}

/* Wait until a condition holds, or until a time.  Threads wait for few talks,
 * so a talk has a condition variable only during the wait. */
static void wait_for(mod_comet_talk_t *talk,
                     int (*holds_locked)(const mod_comet_talk_t *talk),
                     apr_time_t until)
{
    pthread_cond_t waiter;
    int over = comet_condition_init(&waiter) != 0;

    if (over) {
        return;
    }
    pthread_mutex_lock(&talk->lock);
    talk->waiter = &waiter;
    while (!holds_locked(talk) && !over) {
        over = comet_condition_wait(&waiter, &talk->lock, until) != 0;
    }
    talk->waiter = NULL;
    pthread_mutex_unlock(&talk->lock);
    pthread_cond_destroy(&waiter);
}

int mod_comet_talk_await(mod_comet_talk_t *talk, apr_interval_time_t limit)
{
    apr_time_t until = comet_monotonic() + limit;
    int is_right;

    do {
        wait_for(talk, may_go_on_locked, mod_comet_talk_due(talk, until));
        is_right = mod_comet_talk_room(talk) || mod_comet_talk_has_words(talk);
    } while (!is_right && comet_monotonic() < until);
    return is_right;
}

void mod_comet_talk_settle(mod_comet_talk_t *talk, apr_interval_time_t limit)
{
    wait_for(talk, is_settled_locked, comet_monotonic() + limit);
}

/* --- what changes the client's channels (the owner's thread) -------------- */

mod_comet_said_t *mod_comet_talk_take_wish(mod_comet_talk_t *talk)
{
    mod_comet_said_t *wish = talk->wishes;

    if (wish) {
        talk->wishes = wish->next;
    }
    return wish;
}

void mod_comet_talk_allow(mod_comet_talk_t *talk, comet_selection_t *writes)
{
    comet_selection_t *before;

    pthread_mutex_lock(&talk->lock);
    before = talk->writes;
    talk->writes = writes;
    pthread_mutex_unlock(&talk->lock);
    comet_selection_unref(before);
}

void mod_comet_talk_fail(mod_comet_talk_t *talk)
{
    pthread_mutex_lock(&talk->lock);
    talk->words.failed = 1;
    call_locked(talk);
    pthread_mutex_unlock(&talk->lock);
}

/* --- the speaker's thread ------------------------------------------------- */

int mod_comet_talk_may_write(mod_comet_talk_t *talk, comet_text_t channel)
{
    int may;

    pthread_mutex_lock(&talk->lock);
    may = talk->writes
          && comet_selection_match(talk->writes, channel,
                                   comet_message_hash(channel))
                 == COMET_SELECTION_NAMED;
    pthread_mutex_unlock(&talk->lock);
    return may;
}

mod_comet_said_t *mod_comet_talk_take_said(mod_comet_talk_t *talk)
{
    mod_comet_said_t *first;

    pthread_mutex_lock(&talk->lock);
    first = talk->first;
    talk->first = talk->last = NULL;
    pthread_mutex_unlock(&talk->lock);
    return first;
}

int mod_comet_talk_has_said(mod_comet_talk_t *talk)
{
    int any;

    pthread_mutex_lock(&talk->lock);
    any = talk->first != NULL;
    pthread_mutex_unlock(&talk->lock);
    return any;
}

void mod_comet_talk_answer(mod_comet_talk_t *talk, const comet_buffer_t *words,
                           apr_size_t count, apr_size_t bytes)
{
    pthread_mutex_lock(&talk->lock);
    talk->said_count -= (apr_uint32_t)count;
    talk->said_bytes -= (apr_uint32_t)bytes;
    if (!talk->closed) {
        comet_buffer_add(&talk->words, words->data, words->length);
        talk->words.failed |= words->failed;
    }
    call_locked(talk);
    pthread_mutex_unlock(&talk->lock);
}
