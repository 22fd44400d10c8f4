/* SPDX-License-Identifier: Apache-2.0 */
/* Append messages that the web server publishes. */
#include "store/pg/pg.h"

/* How long an append waits for its turn to write before its groups are queued
 * again. */
#define TURN_MSEC 500
/* How long the answer to an append may take in all. */
#define APPEND_USEC APR_INT64_C(5000000)
/* The advisory lock of an append, for which comet.next_news() waits.  The append
 * does not wait for the lock: while readers of the commit before still have it,
 * nobody can wait for this one.  In a FROM list the planner puts this function
 * first, since it returns a single row; otherwise only latency would be lost. */
#define ANNOUNCED_LOCK "pg_try_advisory_xact_lock(1668246885, 116)"

/* The outcomes that comet.publish() returns for a group. */
enum { STORED, REPEATED, DIFFERENT };

/* There is nothing to reserve: an append takes and ends its turn within one
 * statement.  But a lost connection is made again here, since no publisher's
 * message is under way yet. */
apr_status_t comet_pg_reserve(comet_store_t *store, apr_interval_time_t wait)
{
    return comet_pg_connect_again((comet_pg_t *)store);
}

static apr_size_t count_messages(comet_store_group_t *const *groups,
                                 apr_size_t count)
{
    apr_size_t total = 0, i;

    for (i = 0; i < count; i++) {
        total += groups[i]->count;
    }
    return total;
}

/* --- Arguments ------------------------------------------------------------ */

typedef comet_text_t column_cb(const comet_message_t *message);

static comet_text_t channel_of(const comet_message_t *message)
{
    return message->channel;
}

static comet_text_t type_of(const comet_message_t *message)
{
    return message->type;
}

/* The value of a column for an optional text: NULL if the text is empty. */
static comet_text_t or_null(comet_text_t text)
{
    return text.length ? text : (comet_text_t){ NULL, 0 };
}

static comet_text_t author_of(const comet_message_t *message)
{
    return or_null(message->author);
}

static comet_text_t body_of(const comet_message_t *message)
{
    return message->body.data ? message->body : comet_text("");
}

static void add_column(comet_pg_args_t *args,
                       comet_store_group_t *const *groups, apr_size_t count,
                       column_cb *column)
{
    apr_size_t i, j;

    comet_pg_add_texts(args, count_messages(groups, count));
    for (i = 0; i < count; i++) {
        for (j = 0; j < groups[i]->count; j++) {
            comet_pg_add_element(args, column(groups[i]->messages[j]));
        }
    }
}

static comet_text_t event_of(const comet_message_t *message)
{
    return or_null(message->update.event);
}

static comet_text_t alternates_of(const comet_message_t *message)
{
    return or_null(message->update.alternates);
}

static int private_of(const comet_message_t *message)
{
    return message->update.is_private != 0;
}

static int retry_of(const comet_message_t *message)
{
    return message->update.retry_msec;
}

static int keep_of(const comet_message_t *message)
{
    return message->keep_sec;
}

/* Add an array with a number for each message.
 * @param column  NULL: add the number of the message's group, counted from 1 */
static void add_numbers(comet_pg_args_t *args,
                        comet_store_group_t *const *groups, apr_size_t count,
                        int (*column)(const comet_message_t *message))
{
    apr_size_t i, j;

    comet_pg_add_ints(args, count_messages(groups, count));
    for (i = 0; i < count; i++) {
        for (j = 0; j < groups[i]->count; j++) {
            comet_pg_add_int_element(args, column
                                               ? column(groups[i]->messages[j])
                                               : (apr_int64_t)i + 1);
        }
    }
}

static void add_messages(comet_pg_args_t *args,
                         comet_store_group_t *const *groups, apr_size_t count)
{
    add_column(args, groups, count, channel_of);
    add_column(args, groups, count, type_of);
    add_column(args, groups, count, author_of);
    add_column(args, groups, count, body_of);
}

static apr_size_t count_keys(comet_store_group_t *const *groups,
                             apr_size_t count)
{
    apr_size_t keys = 0, i;

    for (i = 0; i < count; i++) {
        keys += groups[i]->key.text.data != NULL;
    }
    return keys;
}

typedef comet_text_t key_cb(const comet_store_key_t *key);

static comet_text_t key_channel(const comet_store_key_t *key)
{
    return key->channel;
}

static comet_text_t key_author(const comet_store_key_t *key)
{
    return key->author.data ? key->author : comet_text("");
}

static comet_text_t key_text(const comet_store_key_t *key)
{
    return key->text;
}

static comet_text_t key_hash(const comet_store_key_t *key)
{
    return (comet_text_t){ (const char *)key->hash, COMET_HASH_BYTES };
}

static void add_key_column(comet_pg_args_t *args,
                           comet_store_group_t *const *groups, apr_size_t count,
                           key_cb *column)
{
    apr_size_t i;

    for (i = 0; i < count; i++) {
        if (groups[i]->key.text.data) {
            comet_pg_add_element(args, column(&groups[i]->key));
        }
    }
}

/* Add the optional fields of the messages, which most messages do not have. */
static void add_updates(comet_pg_args_t *args,
                        comet_store_group_t *const *groups, apr_size_t count)
{
    add_numbers(args, groups, count, private_of);
    add_column(args, groups, count, event_of);
    add_numbers(args, groups, count, retry_of);
    add_column(args, groups, count, alternates_of);
    add_numbers(args, groups, count, keep_of);
}

/* Add for each message the number of its group, and then the groups' keys. */
static void add_keys(comet_pg_args_t *args, comet_store_group_t *const *groups,
                     apr_size_t count)
{
    apr_size_t keys = count_keys(groups, count), i;

    add_numbers(args, groups, count, NULL);
    comet_pg_add_ints(args, keys);
    for (i = 0; i < count; i++) {
        if (groups[i]->key.text.data) {
            comet_pg_add_int_element(args, (apr_int64_t)i + 1);
        }
    }
    comet_pg_add_texts(args, keys);
    add_key_column(args, groups, count, key_channel);
    comet_pg_add_texts(args, keys);
    add_key_column(args, groups, count, key_author);
    comet_pg_add_texts(args, keys);
    add_key_column(args, groups, count, key_text);
    comet_pg_add_blobs(args, keys);
    add_key_column(args, groups, count, key_hash);
}

/* --- Appending ------------------------------------------------------------ */

static comet_timestamp_t number(comet_store_group_t *group,
                                comet_timestamp_t first)
{
    apr_size_t i;

    for (i = 0; i < group->count; i++) {
        group->messages[i]->timestamp = first++;
    }
    return first;
}

/* Find the status of an append.  If no answer came, the append may have been
 * stored.  The same holds if the server has warned that it stopped waiting for
 * its standby.  An append that was cancelled before its commit was not stored,
 * and may be tried again. */
static apr_status_t judge(comet_pg_t *pg, apr_status_t status)
{
    if (status == COMET_ECOSTLY) {
        return COMET_ELOCKED;
    }
    if (status == APR_SUCCESS && pg->warned) {
        pg->lost = 1;
        return comet_pg_fail(pg, COMET_EUNSURE,
                             "the server warned that the commit may not have "
                             "reached its standby");
    }
    return pg->lost && (status == APR_TIMEUP || status == APR_ECONNRESET)
               ? COMET_EUNSURE
               : status;
}

/* Fail because the answer lacks timestamps, so that it is unknown what was
 * stored. */
static apr_status_t fail_unsure(comet_pg_t *pg)
{
    pg->lost = 1;
    return comet_pg_fail(pg, COMET_EUNSURE,
                         "the server's answer does not say what it has stored");
}

static apr_status_t append_plain(comet_pg_t *pg,
                                 comet_store_group_t *const *groups,
                                 apr_size_t count)
{
    comet_pg_args_t args = { .count = 0 };
    PGresult *result;
    comet_timestamp_t next;
    apr_status_t status;
    apr_size_t i;

    add_messages(&args, groups, count);
    comet_pg_add_int4(&args, TURN_MSEC);
    comet_pg_add_bool(&args, pg->config->sync_full);
    status = comet_pg_call(
        pg, "SELECT " ANNOUNCED_LOCK ", comet.append($1, $2, $3, $4, $5, $6)",
        &args, APPEND_USEC, &result);
    if (status == APR_SUCCESS) {
        next = PQntuples(result) == 1 ? comet_pg_int(result, 0, 1) : 0;
        PQclear(result);
        if (next <= 0) {
            return fail_unsure(pg);
        }
        for (i = 0; i < count; i++) {
            next = number(groups[i], next);
            groups[i]->result = APR_SUCCESS;
        }
    }
    return judge(pg, status);
}

/* Append groups of which some have keys, or messages with optional fields. */
static apr_status_t append_any(comet_pg_t *pg,
                               comet_store_group_t *const *groups,
                               apr_size_t count)
{
    static const apr_status_t results[] = { [STORED] = APR_SUCCESS,
                                            [REPEATED] = COMET_EREPEATED,
                                            [DIFFERENT] = COMET_EMISMATCH };
    comet_pg_args_t args = { .count = 0 };
    PGresult *result;
    apr_status_t status;
    apr_size_t unknown = count;
    int i;

    add_messages(&args, groups, count);
    add_updates(&args, groups, count);
    add_keys(&args, groups, count);
    comet_pg_add_int4(&args, TURN_MSEC);
    comet_pg_add_bool(&args, pg->config->sync_full);
    status = comet_pg_call(pg,
                           "SELECT p.* FROM " ANNOUNCED_LOCK
                           ", comet.publish($1, $2, $3, $4, $5, $6, $7, $8, "
                           "$9, $10, $11, $12, $13, $14, $15, $16, $17) AS p",
                           &args, APPEND_USEC, &result);
    for (i = 0; status == APR_SUCCESS && i < PQntuples(result); i++) {
        apr_size_t group = (apr_size_t)comet_pg_int(result, i, 0) - 1;
        apr_int64_t outcome = comet_pg_int(result, i, 1);

        if (group < count && outcome >= STORED && outcome <= DIFFERENT) {
            groups[group]->result = results[outcome];
            unknown--;
            if (outcome != DIFFERENT) {
                number(groups[group], comet_pg_int(result, i, 2));
            }
        }
    }
    if (status == APR_SUCCESS) {
        PQclear(result);
    }
    return status == APR_SUCCESS && unknown ? fail_unsure(pg)
                                            : judge(pg, status);
}

static int is_plain(const comet_store_group_t *group)
{
    apr_size_t i;

    for (i = 0; i < group->count; i++) {
        const comet_message_t *message = group->messages[i];

        if (message->keep_sec || message->update.is_private
            || message->update.retry_msec || message->update.event.length
            || message->update.alternates.length) {
            return 0;
        }
    }
    return !group->key.text.data;
}

static apr_status_t append_together(comet_pg_t *pg,
                                    comet_store_group_t *const *groups,
                                    apr_size_t count)
{
    apr_size_t plain = 0;

    while (plain < count && is_plain(groups[plain])) {
        plain++;
    }
    return plain == count ? append_plain(pg, groups, count)
                          : append_any(pg, groups, count);
}

static apr_status_t remove_message(comet_pg_t *pg,
                                   const comet_removal_t *removal,
                                   apr_int64_t *removed)
{
    comet_pg_args_t args = { .count = 0 };
    PGresult *result;
    apr_status_t status;

    comet_pg_add_text(&args, removal->channel);
    comet_pg_add_int(&args, removal->timestamp);
    comet_pg_add_int4(&args, TURN_MSEC);
    comet_pg_add_bool(&args, pg->config->sync_full);
    status = comet_pg_call(pg, "SELECT comet.remove_message($1, $2, $3, $4)",
                           &args, APPEND_USEC, &result);
    if (status == APR_SUCCESS) {
        *removed = comet_pg_int(result, 0, 0);
        PQclear(result);
    }
    return status;
}

/* Whether a group is a moderator's change.  Such a group has no messages. */
static int is_change(const comet_store_group_t *group)
{
    return group->removal.channel.data || group->rule.pattern.data;
}

static apr_status_t change_for(comet_pg_t *pg, comet_store_group_t *group)
{
    const comet_removal_t *removal = &group->removal;
    apr_int64_t changes = 0;
    apr_status_t status =
        group->rule.pattern.data ? comet_pg_set_rule(pg, &group->rule, &changes)
        : removal->member.data
            ? comet_pg_remove_member(&pg->base, removal, &changes)
            : remove_message(pg, removal, &changes);

    group->result = changes ? APR_SUCCESS : APR_NOTFOUND;
    return judge(pg, status);
}

/* Append each group in a transaction of its own, because one of the groups was
 * refused, or two have the same key.  After the first failure that is not a
 * refusal, the remaining groups are not tried.
 * @return COMET_ELOCKED: nothing was stored */
static apr_status_t append_apart(comet_pg_t *pg,
                                 comet_store_group_t *const *groups,
                                 apr_size_t count)
{
    apr_status_t status = APR_SUCCESS;
    apr_size_t i;

    for (i = 0; i < count; i++) {
        if (status == APR_SUCCESS || status == COMET_EINVALID) {
            status = append_together(pg, &groups[i], 1);
            groups[i]->result =
                status == APR_SUCCESS ? groups[i]->result : status;
        }
        else {
            groups[i]->result =
                status == COMET_EUNSURE ? COMET_ELOCKED : status;
        }
    }
    return status == COMET_ELOCKED && groups[0]->result == status ? status
                                                                  : APR_SUCCESS;
}

static apr_status_t append_messages(comet_pg_t *pg,
                                    comet_store_group_t *const *groups,
                                    apr_size_t count)
{
    apr_status_t status =
        count ? append_together(pg, groups, count) : APR_SUCCESS;

    return status == COMET_EINVALID ? append_apart(pg, groups, count) : status;
}

/* How many groups come before the first one that is a change. */
static apr_size_t count_run(comet_store_group_t *const *groups,
                            apr_size_t count)
{
    apr_size_t i = 0;

    while (i < count && !is_change(groups[i])) {
        i++;
    }
    return i;
}

static void append_run(comet_pg_t *pg, comet_store_group_t *const *groups,
                       apr_size_t count)
{
    apr_status_t status = append_messages(pg, groups, count);
    apr_size_t i;

    for (i = 0; i < count && status != APR_SUCCESS; i++) {
        groups[i]->result = status;
    }
}

/* Append messages and make changes, in the order of the groups.  A group that
 * may be tried again has the result COMET_ELOCKED: a change that would have to
 * wait for an application's transaction, and every group after the connection
 * was lost. */
static void append_and_change(comet_pg_t *pg,
                              comet_store_group_t *const *groups,
                              apr_size_t count)
{
    apr_size_t i = 0, run;
    apr_status_t status;

    for (; i < count && !pg->lost; i += run) {
        run = count_run(groups + i, count - i);
        if (run) {
            append_run(pg, groups + i, run);
            continue;
        }
        run = 1;
        status = change_for(pg, groups[i]);
        groups[i]->result = status == APR_SUCCESS ? groups[i]->result : status;
    }
    for (; i < count; i++) {
        groups[i]->result = COMET_ELOCKED;
    }
}

apr_status_t comet_pg_append(comet_store_t *store,
                             comet_store_group_t *const *groups,
                             apr_size_t count)
{
    comet_pg_t *pg = (comet_pg_t *)store;
    apr_size_t changes = 0, i;

    for (i = 0; i < count; i++) {
        changes += is_change(groups[i]) != 0;
    }
    if (!changes) {
        return append_messages(pg, groups, count);
    }
    append_and_change(pg, groups, count);
    return APR_SUCCESS;
}
