/* SPDX-License-Identifier: Apache-2.0 */
/* Publishers and another child work on a store until the power fails. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "power_kit.h"

#include <apr_general.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/writer.h"
#include "faulty_vfs.h"

#define PUBLISHERS 3
#define GROUP_MAX 5

const char *const power_channels[POWER_CHANNELS] = { "a", "b", "room/1",
                                                     "\xc3\xa9" };
power_group_t power_sent[POWER_GROUPS_MAX];
unsigned power_sent_count;

static const char *const files[] = { "", "-wal", "-journal" };

/* Guards power_sent while the publishers run. */
static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_int cut_done;
static unsigned cut_seed;

static apr_pool_t *pool;
static comet_bus_t *bus;
static comet_writer_t *writer;

int power_begin(void **state)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
    scratch_make();
    faulty_install();
    return comet_bus_create(&bus, pool) != APR_SUCCESS;
}

/* --- Publishing ------------------------------------------------------- */

static int random_below(unsigned *seed, int limit)
{
    return rand_r(seed) % limit;
}

/* Add a random group to the list. @return its number; POWER_GROUPS_MAX: the
 * list is full */
static unsigned plan(unsigned *seed)
{
    static const size_t lengths[] = { 40, 40, 40, 40, 3000, 3000, 30000 };
    power_group_t planned = {
        .channel = (unsigned)random_below(seed, POWER_CHANNELS),
        .count = 1 + (unsigned)random_below(seed, GROUP_MAX),
        .keyed = (unsigned)random_below(seed, 2),
        .length = lengths[random_below(seed, 7)],
    };
    unsigned number;

    pthread_mutex_lock(&list_lock);
    number = power_sent_count < POWER_GROUPS_MAX ? power_sent_count++
                                                 : POWER_GROUPS_MAX;
    if (number < POWER_GROUPS_MAX) {
        power_sent[number] = planned;
    }
    pthread_mutex_unlock(&list_lock);
    return number;
}

static comet_message_t *make(unsigned number, unsigned index)
{
    const power_group_t *group = &power_sent[number];
    char body[32768];
    int head = snprintf(body, sizeof(body), "%u %u ", number, index);

    memset(body + head, 'x', group->length - (size_t)head);
    return comet_message_create(&(comet_message_fields_t){
        .channel = comet_text(power_channels[group->channel]),
        .body = { body, group->length } });
}

apr_status_t power_publish(unsigned number, comet_store_t *store)
{
    comet_message_t *messages[GROUP_MAX];
    char key[32];
    comet_store_group_t group = { .messages = messages,
                                  .count = power_sent[number].count };
    comet_store_group_t *const list[] = { &group };
    apr_status_t status;
    unsigned i;

    for (i = 0; i < group.count; i++) {
        messages[i] = make(number, i);
    }
    if (power_sent[number].keyed) {
        snprintf(key, sizeof(key), "%u", number);
        group.key.text = comet_text(key);
        group.key.channel =
            comet_text(power_channels[power_sent[number].channel]);
        comet_store_hash(&group);
    }
    status = store ? comet_store_append(store, list, 1)
                   : comet_writer_publish(writer, &group, 60 * SECOND);
    if (store && status == APR_SUCCESS) {
        status = group.result;
    }
    if (status == APR_SUCCESS) {
        pthread_mutex_lock(&list_lock);
        power_sent[number].last = messages[group.count - 1]->timestamp;
        pthread_mutex_unlock(&list_lock);
    }
    for (i = 0; i < group.count; i++) {
        comet_message_unref(messages[i]);
    }
    return status;
}

static void *run_publisher(void *baton)
{
    unsigned seed = *(const unsigned *)baton, number;

    while (!atomic_load(&cut_done)
           && (number = plan(&seed)) < POWER_GROUPS_MAX) {
        assert_int_equal(power_publish(number, NULL), APR_SUCCESS);
    }
    return NULL;
}

/* Do, at random, one of the things that another child does. */
static void work(comet_store_t *store, unsigned *seed)
{
    unsigned number;
    int more;

    comet_bus_lock(bus);
    switch (random_below(seed, 4)) {
    case 0:
        assert_int_equal(comet_store_prune(store, apr_time_now(), &more), 0);
        break;
    case 1:
        assert_int_equal(comet_store_tidy(store, &more), 0);
        break;
    case 2:
        assert_int_equal(comet_store_checkpoint(store), 0);
        break;
    default:
        number = plan(seed);
        if (number < POWER_GROUPS_MAX) {
            assert_int_equal(power_publish(number, store), APR_SUCCESS);
        }
    }
    comet_bus_unlock(bus);
}

static void *run_neighbour(void *baton)
{
    static const struct timespec moment = { 0, 300000 };
    unsigned seed = *(const unsigned *)baton;
    comet_store_t *store, *reader;
    comet_store_state_t state;
    int pages;

    comet_bus_lock(bus);
    store = kit_open_store(COMET_STORE_WRITE);
    comet_bus_unlock(bus);
    reader = kit_open_store(COMET_STORE_READ);
    while (!atomic_load(&cut_done)) {
        /* an open view holds back a checkpoint */
        assert_int_equal(comet_store_begin(reader, &state), 0);
        work(store, &seed);
        nanosleep(&moment, NULL);
        comet_store_end(reader);
        work(store, &seed);
        assert_int_equal(comet_store_copy(reader, &pages), 0);
    }
    comet_store_close(reader);
    comet_bus_lock(bus);
    comet_store_close(store);
    comet_bus_unlock(bus);
    return NULL;
}

/* --- The cut ---------------------------------------------------------- */

static const char *name_of(const char *what, const char *end)
{
    char name[32];

    snprintf(name, sizeof(name), "%s%s", what, end);
    return scratch_path(name);
}

static void on_cut(void *baton)
{
    unsigned i;

    pthread_mutex_lock(&list_lock);
    for (i = 0; i < power_sent_count; i++) {
        power_sent[i].known = power_sent[i].last != 0;
    }
    pthread_mutex_unlock(&list_lock);
    for (i = 0; i < 3; i++) {
        faulty_cut(name_of("comet.db", files[i]), name_of("cut.db", files[i]),
                   cut_seed + i);
    }
    atomic_store(&cut_done, 1);
}

void power_arm(unsigned *seed, int operations)
{
    atomic_store(&cut_done, 0);
    cut_seed = (unsigned)rand_r(seed);
    faulty_cut_at(1 + random_below(seed, operations), on_cut, NULL);
}

int power_failed(void)
{
    return atomic_load(&cut_done);
}

void power_run_until_cut(unsigned *seed, int operations)
{
    pthread_t threads[PUBLISHERS + 1];
    unsigned seeds[PUBLISHERS + 1];
    comet_writer_config_t config = { .store = &kit_config,
                                     .bus = bus,
                                     .places = PUBLISHERS };
    apr_pool_t *own;
    int i;

    apr_pool_create(&own, pool);
    faulty_follow();
    power_arm(seed, operations);
    assert_int_equal(comet_writer_create(&writer, &config, own), 0);
    for (i = 0; i <= PUBLISHERS; i++) {
        seeds[i] = (unsigned)rand_r(seed);
        pthread_create(&threads[i], NULL, i ? run_publisher : run_neighbour,
                       &seeds[i]);
    }
    for (i = 1; i <= PUBLISHERS; i++) {
        pthread_join(threads[i], NULL);
    }
    if (!atomic_load(&cut_done)) { /* the list is full */
        faulty_cut_at(0, NULL, NULL);
        on_cut(NULL);
    }
    pthread_join(threads[0], NULL);
    assert_int_equal(comet_writer_stop(writer, 60 * SECOND), 1);
    faulty_forget();
    apr_pool_destroy(own);
}

void power_restart(void)
{
    int i;

    unlink(name_of("comet.db", "-shm"));
    for (i = 0; i < 3; i++) {
        unlink(name_of("comet.db", files[i]));
        rename(name_of("cut.db", files[i]), name_of("comet.db", files[i]));
    }
}
