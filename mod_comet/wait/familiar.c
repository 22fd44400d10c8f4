/* SPDX-License-Identifier: Apache-2.0 */
/* The POSTs that this child knows. */
#include "wait/familiar.h"

#include <apr_hash.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* What the table may hold. */
#define HEADS_MAX 4096
#define HEADS_BYTES ((apr_size_t)8 << 20)

#define KEY_MAX (COMET_HEAD_MAX + 512)

struct mod_comet_familiars_t {
    pthread_mutex_t lock;
    apr_hash_t *heads; /* [lock] mod_comet_familiar_t by ->key */
    TAILQ_HEAD(, mod_comet_familiar_t) list; /* [lock] the oldest first */
    apr_size_t count, bytes; /* [lock] */
};

mod_comet_familiars_t *mod_comet_familiars_create(apr_pool_t *pool)
{
    mod_comet_familiars_t *table = apr_pcalloc(pool, sizeof(*table));

    pthread_mutex_init(&table->lock, NULL);
    table->heads = apr_hash_make_custom(pool, comet_message_hash_key);
    TAILQ_INIT(&table->list);
    return table;
}

static char *add(char *end, comet_text_t text)
{
    if (text.length) {
        memcpy(end, text.data, text.length);
    }
    return end + text.length;
}

static apr_size_t key_length(comet_text_t peer, const comet_head_post_t *post)
{
    return peer.length + post->before.length + post->after.length;
}

static char *write_key(char *room, comet_text_t peer,
                       const comet_head_post_t *post)
{
    return add(add(add(room, peer), post->before), post->after);
}

mod_comet_familiar_t *mod_comet_familiar_create(
    comet_text_t peer, const comet_head_post_t *post,
    const comet_message_fields_t *fields, apr_size_t hidden)
{
    mod_comet_familiar_t *made;
    apr_size_t size = sizeof(*made) + key_length(peer, post)
                      + fields->channel.length + fields->type.length + 2;
    char *end;

    if (key_length(peer, post) > KEY_MAX) {
        return NULL;
    }
    made = calloc(1, size);
    if (!made) {
        return NULL;
    }
    atomic_init(&made->refs, 1);
    made->size = size;
    end = (char *)(made + 1);
    made->key = (comet_text_t){ end, key_length(peer, post) };
    end = write_key(end, peer, post);
    made->channel = comet_text_copy(fields->channel, &end);
    made->shown = (comet_text_t){ made->channel.data + hidden,
                                  made->channel.length - hidden };
    made->type = comet_text_copy(fields->type, &end);
    made->keep_sec = fields->keep_sec;
    made->length = post->length;
    return made;
}

static mod_comet_familiar_t *ref(mod_comet_familiar_t *familiar)
{
    atomic_fetch_add_explicit(&familiar->refs, 1, memory_order_relaxed);
    return familiar;
}

void mod_comet_familiar_unref(mod_comet_familiar_t *familiar)
{
    if (familiar
        && atomic_fetch_sub_explicit(&familiar->refs, 1, memory_order_acq_rel)
               == 1) {
        mod_comet_sample_forget(&familiar->answer);
        free(familiar);
    }
}

static mod_comet_familiar_t *get_locked(const mod_comet_familiars_t *table,
                                        comet_text_t key)
{
    return apr_hash_get(table->heads, key.data, (apr_ssize_t)key.length);
}

/* How much memory a familiar has taken since it was learnt. */
static apr_size_t size_of(const mod_comet_familiar_t *familiar)
{
    return familiar->size + familiar->answer.head.length;
}

static void drop_locked(mod_comet_familiars_t *table,
                        mod_comet_familiar_t *familiar)
{
    apr_hash_set(table->heads, familiar->key.data,
                 (apr_ssize_t)familiar->key.length, NULL);
    TAILQ_REMOVE(&table->list, familiar, link);
    table->count--;
    table->bytes -= size_of(familiar);
    mod_comet_familiar_unref(familiar);
}

static void insert_locked(mod_comet_familiars_t *table,
                          mod_comet_familiar_t *familiar)
{
    while (table->count
           && (table->count >= HEADS_MAX
               || table->bytes + size_of(familiar) > HEADS_BYTES)) {
        drop_locked(table, TAILQ_FIRST(&table->list));
    }
    apr_hash_set(table->heads, familiar->key.data,
                 (apr_ssize_t)familiar->key.length, familiar);
    TAILQ_INSERT_TAIL(&table->list, familiar, link);
    table->count++;
    table->bytes += size_of(familiar);
}

int mod_comet_familiars_learn(mod_comet_familiars_t *table,
                              mod_comet_familiar_t *lesson, comet_text_t head)
{
    mod_comet_familiar_t *last;
    int known;

    pthread_mutex_lock(&table->lock);
    last = get_locked(table, lesson->key);
    if (last) {
        mod_comet_sample_continue(&lesson->answer, &last->answer);
        drop_locked(table, last);
    }
    mod_comet_sample_learn(&lesson->answer, head,
                           (comet_timestamp_t)lesson->length);
    known = mod_comet_sample_is_known(&lesson->answer);
    if (lesson->answer.head.text) {
        insert_locked(table, ref(lesson));
    }
    pthread_mutex_unlock(&table->lock);
    return known;
}

mod_comet_familiar_t *mod_comet_familiars_find(mod_comet_familiars_t *table,
                                               comet_text_t peer,
                                               const comet_head_post_t *post)
{
    char room[KEY_MAX];
    comet_text_t key = { room, key_length(peer, post) };
    mod_comet_familiar_t *found = NULL;

    if (key.length > sizeof(room)) {
        return NULL;
    }
    write_key(room, peer, post);
    pthread_mutex_lock(&table->lock);
    found = get_locked(table, key);
    if (found) {
        found = comet_monotonic() < found->until
                        && mod_comet_sample_is_known(&found->answer)
                    ? ref(found)
                    : NULL;
    }
    pthread_mutex_unlock(&table->lock);
    return found;
}

void mod_comet_familiars_clear(mod_comet_familiars_t *table)
{
    pthread_mutex_lock(&table->lock);
    while (table->count) {
        drop_locked(table, TAILQ_FIRST(&table->list));
    }
    pthread_mutex_unlock(&table->lock);
}
