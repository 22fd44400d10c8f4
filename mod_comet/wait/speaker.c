/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that publishes what the clients of WebSockets send. */
#include "wait/speaker.h"

#include <apr_strings.h>
#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <stdlib.h>

#include "wire/command.h"
#include "server/mpm.h"
#include "server/pool.h"
#include "request/reasons.h"
#include "wait/wait_priv.h"

/* The speaker commits when it has collected this many bytes.  While a commit is
 * written, other publishers wait. */
#define COMMIT_BYTES (512 * 1024)

typedef TAILQ_HEAD(talks_t, mod_comet_talk_t) talks_t;

/* One text message of a client, and what became of it. */
typedef struct utterance_t {
    mod_comet_talk_t *talk;
    apr_size_t bytes;
    comet_command_t command;
    comet_message_t *message;
    comet_store_group_t group;
    int status; /* the status of the answer, as in HTTP; 0: the message is yet
                 * to be published */
    const char *error;
    long retry_sec; /* when the client may try again; 0: not said */
} utterance_t;

typedef struct speaker_t {
    pthread_mutex_t lock;
    talks_t talks; /* [lock] talks whose clients have said something */
    int begun; /* [lock] the thread was started */
    sem_t called;
    pthread_t thread;
    comet_writer_t *writer;
    atomic_int running; /* [atomic] */
    atomic_int stopping; /* [atomic] */
    atomic_int ended; /* [atomic] */
    /* the fields below: [speaker's thread] */
    apr_pool_t *pool; /* for one round, with an allocator of its own */
    utterance_t *list; /* an array of COMET_WRITER_GROUPS */
    apr_size_t count;
    apr_size_t bytes; /* how long the texts in `list` are in all */
} speaker_t;

struct mod_comet_speakers_t {
    speaker_t *list; /* an array: one for each store of the child */
    atomic_int waiting; /* [atomic] threads that wait for answers */
};

/* --- understanding -------------------------------------------------------- */

static void refuse(utterance_t *said, int status, const char *error)
{
    said->status = status;
    said->error = error;
}

/* Find the channel's name in the store, and check that the client may publish
 * to the channel.
 * @return 0: it may not */
static int find_channel(utterance_t *said, comet_text_t *channel,
                        apr_pool_t *pool)
{
    const mod_comet_talk_t *talk = said->talk;
    const comet_command_t *command = &said->command;

    *channel = talk->channel;
    if (command->channel.data) {
        *channel = comet_text(
            apr_pstrcat(pool, talk->prefix.data, command->channel.data, NULL));
    }
    if (talk->mute) {
        refuse(said, HTTP_FORBIDDEN, talk->mute);
    }
    else if (!channel->data) {
        refuse(said, HTTP_BAD_REQUEST,
               "channel: the URL of this WebSocket does not name a single "
               "channel: name one");
    }
    else if (!mod_comet_talk_may_write(said->talk, *channel)) {
        refuse(said, HTTP_FORBIDDEN,
               "channel: publishing to it is not allowed here: a WebSocket may "
               "publish to a channel that its URL names, or that it has "
               "subscribed to by name, if a POST to this channel would be "
               "allowed");
    }
    return !said->status;
}

/* Refuse to change the channels of a WebSocket.  If this WebSocket can change
 * them, the command has reached the speaker only because the client has written
 * its verb with escapes. */
static void refuse_change(utterance_t *said)
{
    if (!said->talk->is_multi) {
        refuse(said, HTTP_FORBIDDEN,
               "subscribe: only the channels of the URL may be read here "
               "(CometMulti)");
    }
    else if (!said->talk->is_live) {
        refuse(said, HTTP_FORBIDDEN,
               "subscribe: this WebSocket cannot change its channels; open it "
               "with live=1");
    }
    else {
        refuse(said, HTTP_BAD_REQUEST,
               "subscribe: write the names of members without escapes");
    }
}

static void understand(utterance_t *said, comet_text_t text, apr_pool_t *pool)
{
    mod_comet_talk_t *talk = said->talk;
    comet_command_t *command = &said->command;
    const char *wrong = comet_command_parse(
        command, text, mod_comet_talk_most_bytes(talk), pool);
    comet_message_fields_t fields = { .author = talk->author };

    if (wrong) {
        refuse(said,
               command->no_memory  ? HTTP_SERVICE_UNAVAILABLE
               : command->too_long ? HTTP_REQUEST_ENTITY_TOO_LARGE
                                   : HTTP_BAD_REQUEST,
               wrong);
        return;
    }
    if (command->kind != COMET_COMMAND_PUBLISH) {
        refuse_change(said);
        return;
    }
    if (!find_channel(said, &fields.channel, pool)) {
        return;
    }
    wrong = talk->claims ? mod_comet_limits_spend(talk->claims, 1,
                                                  &said->retry_sec, pool)
                         : NULL;
    if (wrong) {
        refuse(said, HTTP_TOO_MANY_REQUESTS, wrong);
        return;
    }
    fields.type = command->type;
    fields.body = command->body;
    fields.keep_sec = command->keep_sec;
    said->message = comet_message_create(&fields);
    if (!said->message) {
        refuse(said, HTTP_SERVICE_UNAVAILABLE, "no memory is left");
        return;
    }
    said->group = (comet_store_group_t){
        .messages = &said->message,
        .count = 1,
        .key = { .text = command->key,
                 .channel = fields.channel,
                 .author = fields.author },
    };
    if (command->key.data) {
        comet_store_hash(&said->group);
    }
}

/* --- publishing ----------------------------------------------------------- */

static void note_result(utterance_t *said, apr_status_t status,
                        apr_pool_t *pool)
{
    if (status == APR_SUCCESS) {
        comet_metrics_add(COMET_METRIC_published, 1);
        said->status = HTTP_CREATED;
    }
    else if (status == COMET_EREPEATED) {
        comet_metrics_add(COMET_METRIC_repeated, 1);
        said->status = HTTP_OK;
    }
    else {
        refuse(said, mod_comet_reasons_store_code(status),
               mod_comet_reasons_store_text(status, pool));
    }
}

static void publish(speaker_t *speaker)
{
    comet_store_group_t *groups[COMET_WRITER_GROUPS];
    apr_interval_time_t timeout = 0;
    apr_status_t status;
    apr_size_t count = 0, i;

    for (i = 0; i < speaker->count; i++) {
        utterance_t *said = &speaker->list[i];

        if (!said->status) {
            groups[count++] = &said->group;
            if (timeout < mod_comet_talk_timeout(said->talk)) {
                timeout = mod_comet_talk_timeout(said->talk);
            }
        }
    }
    if (!count) {
        return;
    }
    status = comet_writer_publish_all(speaker->writer, groups, count, timeout);
    for (i = 0; i < speaker->count; i++) {
        utterance_t *said = &speaker->list[i];

        if (!said->status) {
            note_result(said,
                        status == APR_SUCCESS ? said->group.result : status,
                        speaker->pool);
        }
    }
}

/* Append {"stored": T} or {"error": "…", "status": N}, each with the command's
 * "ref". */
static void encode(const utterance_t *said, comet_buffer_t *out)
{
    apr_size_t begun = comet_websocket_begin_text(out);

    if (said->error) {
        comet_metrics_add(COMET_METRIC_publish_refused, 1);
        mod_comet_reasons_log_said(said->talk->server, said->talk->address,
                                   said->status, said->error);
        comet_command_add_error(out, said->error, said->status, said->retry_sec,
                                said->command.ref);
    }
    else {
        comet_buffer_puts(out, "{\"stored\":");
        comet_buffer_add_int(out, said->message->timestamp);
        comet_buffer_puts(out,
                          said->status == HTTP_OK ? ",\"repeated\":true" : "");
        comet_command_add_end(out, said->command.ref);
    }
    comet_websocket_end_text(out, begun);
}

/* Answer each talk once.  All messages of one client are next to each other in
 * the list. */
static void answer(speaker_t *speaker)
{
    comet_buffer_t words = { .data = NULL };
    apr_size_t i = 0;

    while (i < speaker->count) {
        mod_comet_talk_t *talk = speaker->list[i].talk;
        apr_size_t bytes = 0, from = i;

        for (; i < speaker->count && speaker->list[i].talk == talk; i++) {
            encode(&speaker->list[i], &words);
            bytes += speaker->list[i].bytes;
            comet_message_unref(speaker->list[i].message);
        }
        mod_comet_talk_answer(talk, &words, i - from, bytes);
        comet_buffer_clear(&words);
    }
    comet_buffer_free(&words);
}

static void flush(speaker_t *speaker)
{
    publish(speaker);
    answer(speaker);
    speaker->count = 0;
    speaker->bytes = 0;
    apr_pool_clear(speaker->pool);
}

/* --- the thread ----------------------------------------------------------- */

static void hear(speaker_t *speaker, mod_comet_talk_t *talk)
{
    mod_comet_said_t *next, *said = mod_comet_talk_take_said(talk);

    for (; said; said = next) {
        utterance_t *utterance = &speaker->list[speaker->count++];

        next = said->next;
        *utterance = (utterance_t){ .talk = talk, .bytes = said->text.length };
        understand(utterance, said->text, speaker->pool);
        speaker->bytes += said->text.length;
        free(said);
        if (speaker->count == COMET_WRITER_GROUPS
            || speaker->bytes >= COMMIT_BYTES) {
            flush(speaker);
        }
    }
}

static void take_talks(speaker_t *speaker, talks_t *talks)
{
    mod_comet_talk_t *talk;

    TAILQ_INIT(talks);
    pthread_mutex_lock(&speaker->lock);
    TAILQ_CONCAT(talks, &speaker->talks, link);
    pthread_mutex_unlock(&speaker->lock);
    TAILQ_FOREACH(talk, talks, link)
    {
        hear(speaker, talk);
    }
    flush(speaker);
}

/* Take the talks out of the list.  Until then a talk cannot be queued again; if
 * its client has said more meanwhile, this queues it again. */
static void release_talks(speaker_t *speaker, talks_t *talks)
{
    mod_comet_talk_t *talk;
    int more;

    while ((talk = TAILQ_FIRST(talks)) != NULL) {
        TAILQ_REMOVE(talks, talk, link);
        pthread_mutex_lock(&speaker->lock);
        more = mod_comet_talk_has_said(talk);
        talk->queued = more != 0;
        if (more) {
            TAILQ_INSERT_TAIL(&speaker->talks, talk, link);
            sem_post(&speaker->called);
        }
        pthread_mutex_unlock(&speaker->lock);
        if (!more) {
            mod_comet_talk_unref(talk);
        }
    }
}

/* Drop the queued talks when the child ends.  What their clients have said is
 * not stored. */
static void forget_talks(speaker_t *speaker)
{
    mod_comet_talk_t *talk;

    pthread_mutex_lock(&speaker->lock);
    while ((talk = TAILQ_FIRST(&speaker->talks)) != NULL) {
        TAILQ_REMOVE(&speaker->talks, talk, link);
        mod_comet_talk_unref(talk);
    }
    pthread_mutex_unlock(&speaker->lock);
}

static void *work(void *baton)
{
    speaker_t *speaker = baton;
    talks_t talks;

    while (!atomic_load(&speaker->stopping)) {
        while (sem_wait(&speaker->called) != 0 && errno == EINTR) {
        }
        take_talks(speaker, &talks);
        release_talks(speaker, &talks);
    }
    forget_talks(speaker);
    free(speaker->list);
    atomic_store(&speaker->ended, 1);
    return NULL;
}

/* Start the thread, unless it was started.  mod_comet_speaker_stop() takes no
 * lock.  So this function sets `running` before it reads `stopping`: then at
 * least one of the two functions sees what the other has set.
 * @return whether the thread runs */
static int begin_locked(speaker_t *speaker)
{
    if (!speaker->begun) {
        atomic_store(&speaker->running, 1);
        speaker->list = malloc(COMET_WRITER_GROUPS * sizeof(*speaker->list));
        speaker->begun =
            speaker->list && !atomic_load(&speaker->stopping)
            && comet_thread_start(&speaker->thread, work, speaker) == 0;
    }
    if (!speaker->begun) {
        free(speaker->list);
        speaker->list = NULL;
        atomic_store(&speaker->running, 0);
    }
    return speaker->begun && !atomic_load(&speaker->stopping);
}

void mod_comet_speaker_submit(const mod_comet_child_t *child,
                              mod_comet_talk_t *talk)
{
    speaker_t *speaker = &child->waiting->speakers->list[talk->store];
    int begun;

    pthread_mutex_lock(&speaker->lock);
    begun = begin_locked(speaker);
    if (begun && !talk->queued) {
        talk->queued = 1;
        mod_comet_talk_ref(talk); /* not in the macro below, which evaluates its
                                   * argument more than once */
        TAILQ_INSERT_TAIL(&speaker->talks, talk, link);
        sem_post(&speaker->called);
    }
    pthread_mutex_unlock(&speaker->lock);
    if (!begun) {
        mod_comet_talk_close(
            talk, COMET_WEBSOCKET_TRY_AGAIN,
            "retry=1000 the server is stopping or out of memory");
    }
}

/* --- the speakers of a child ---------------------------------------------- */

void mod_comet_speaker_prepare(mod_comet_child_t *child)
{
    mod_comet_speakers_t *speakers =
        apr_pcalloc(child->pool, sizeof(*speakers));
    apr_size_t i;

    speakers->list =
        apr_pcalloc(child->pool, child->store_count * sizeof(speaker_t));
    for (i = 0; i < child->store_count; i++) {
        speaker_t *speaker = &speakers->list[i];

        pthread_mutex_init(&speaker->lock, NULL);
        sem_init(&speaker->called, 0, 0);
        TAILQ_INIT(&speaker->talks);
        speaker->writer = child->stores[i].writer;
        speaker->pool = mod_comet_pool_create(child->pool, "comet_speaker");
        if (!speaker->pool) {
            abort(); /* as APR does if no memory is left */
        }
    }
    child->waiting->speakers = speakers;
}

int mod_comet_speaker_enter(mod_comet_child_t *child)
{
    atomic_int *waiting = &child->waiting->speakers->waiting;
    int most = mod_comet_mpm_capacity()->threads / 4;

    if (atomic_fetch_add(waiting, 1) < (most ? most : 1)) {
        return 1;
    }
    atomic_fetch_sub(waiting, 1);
    return 0;
}

void mod_comet_speaker_leave(mod_comet_child_t *child)
{
    atomic_fetch_sub(&child->waiting->speakers->waiting, 1);
}

int mod_comet_speaker_stop(mod_comet_child_t *child, apr_interval_time_t limit)
{
    mod_comet_speakers_t *speakers = child->waiting->speakers;
    apr_time_t until = comet_monotonic() + limit;
    apr_size_t i;

    for (i = 0; speakers && i < child->store_count; i++) {
        speaker_t *speaker = &speakers->list[i];

        atomic_store(&speaker->stopping, 1);
        sem_post(&speaker->called);
    }
    for (i = 0; speakers && i < child->store_count; i++) {
        speaker_t *speaker = &speakers->list[i];

        while (atomic_load(&speaker->running)
               && !atomic_load(&speaker->ended)) {
            if (comet_monotonic() >= until) {
                return 0;
            }
            poll(NULL, 0, 1);
        }
        if (atomic_exchange(&speaker->running, 0)) {
            pthread_join(speaker->thread, NULL);
        }
    }
    return 1;
}
