/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of an engine: passing messages, the retention of each channel,
 * and moderators' removals. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "contract_kit.h"

#include <stdio.h>
#include <string.h>

/* --- Passing messages ----------------------------------------------------- */

static comet_timestamp_t pass(const char *channel, const char *body,
                              int keep_sec)
{
    comet_message_t *message = comet_message_create(
        &(comet_message_fields_t){ .channel = comet_text(channel),
                                   .body = comet_text(body),
                                   .keep_sec = keep_sec });
    apr_status_t result;
    comet_timestamp_t timestamp;

    assert_int_equal(scratch_append(contract_store, &message, &result, 1), 0);
    assert_int_equal(result, 0);
    timestamp = message->timestamp;
    comet_message_unref(message);
    return timestamp;
}

static comet_timestamp_t replay(const char *words, apr_int64_t count)
{
    comet_selection_t *selection = scratch_choose(words);
    comet_timestamp_t cursor;
    int any;

    assert_int_equal(
        comet_store_replay(contract_store, selection, count, &cursor, &any), 0);
    comet_selection_unref(selection);
    return cursor;
}

static int add_name(void *baton, comet_text_t name)
{
    char *names = baton;

    sprintf(names + strlen(names), "%.*s ", (int)name.length, name.data);
    return 1;
}

static const char *all_channels(void)
{
    static char names[200];

    names[0] = '\0';
    assert_int_equal(comet_store_channels(contract_store, comet_text(""), 9,
                                          add_name, names),
                     0);
    return names;
}

static void tidy_all(void)
{
    int more = 1;

    while (more) {
        assert_int_equal(comet_store_tidy(contract_store, &more), 0);
    }
}

/* Until it expires, a passing message is read at its place in the order;
 * afterwards it is not found in any way.  Replays do not count passing
 * messages. */
void contract_test_passing(void **state)
{
    comet_store_state_t before;
    comet_timestamp_t a, brief;

    UNLESS_SKIPPED();
    a = contract_append("chat", "a");
    pass("chat", "stays", 600);
    contract_must_run("INSERT INTO message(channel, body, keep)"
                      " VALUES('chat', 'row', 600)");
    contract_take_in();
    contract_append("chat", "b");
    contract_append_many("noise", 900); /* so many that a scan over them is
                                         * given up */
    brief = pass("alone", "brief", 1);
    assert_string_equal(contract_read_words("chat", 0, 9), "a,stays,row,b");
    assert_int_equal(contract_list.messages[1]->keep_sec, 600);
    assert_true(contract_list.messages[1]->expires
                > apr_time_now() + 500 * SECOND);
    assert_int_equal(contract_list.messages[2]->keep_sec, 600);
    assert_int_equal(contract_list.messages[0]->keep_sec, 0);
    assert_string_equal(contract_read_words("chat rare", 0, 9),
                        "a,stays,row,b");
    assert_string_equal(
        contract_page_words("chat alone", 0, COMET_TIMESTAMP_MAX, 9),
        "a,stays,row,b,brief");
    assert_string_equal(all_channels(), "alone chat noise ");
    assert_int_equal(replay("chat", 1), a);
    assert_int_equal(replay("chat alone", 1), a);
    before = contract_state_now();
    assert_int_equal(before.last, brief);
    while (*contract_read_words("alone", 0, 9)) {
        usleep(20000);
    }
    assert_string_equal(
        contract_page_words("chat alone", 0, COMET_TIMESTAMP_MAX, 9),
        "a,stays,row,b");
    assert_string_equal(contract_read_words("alone rare", 0, 9), "");
    contract_read_words("*", brief - 1, 9);
    assert_int_equal(contract_list.count, 0);
    tidy_all();
    assert_int_equal(contract_state_now().erased, before.erased);
    assert_int_equal(contract_state_now().last, brief);
    assert_true(contract_append("chat", "c") > brief);
}

/* A message with an invalid `keep` is not stored, however it is published. */
void contract_test_passing_refused(void **state)
{
    static const char *const refused[] = {
        "INSERT INTO message(channel, body, keep) VALUES('chat', 'x', 0)",
        "INSERT INTO message(channel, body, keep) VALUES('chat', 'x', 86401)",
        "INSERT INTO message(channel, body, private) VALUES('chat', 'x', 2)",
        "INSERT INTO message(channel, body, retry) VALUES('chat', 'x', -1)",
        "INSERT INTO message(channel, body, id) VALUES('chat', 'x', '')",
        "INSERT INTO message(channel, body, alternates)"
        " VALUES('chat', 'x', 'y')",
        "INSERT INTO channel_retention(pattern, keep_count) VALUES('a', 0)",
        "INSERT INTO channel_retention(pattern, keep_age) VALUES('a', 0)",
        "INSERT INTO channel_retention(pattern) VALUES('')",
    };
    size_t i;

    UNLESS_SKIPPED();
    for (i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
        if (!*contract_engine->run(refused[i])) {
            fail_msg("not refused: %s", refused[i]);
        }
    }
    contract_take_in();
    assert_string_equal(contract_read_words("*", 0, 9), "");
}

/* --- Retention of each channel -------------------------------------------- */

void contract_test_rules(void **state)
{
    comet_timestamp_t last;

    UNLESS_SKIPPED();
    contract_config.retain_count = 4;
    last = contract_append_many("log/x", 6);
    contract_append_many("log/audit", 6);
    contract_append_many("log/x/y", 6);
    contract_append_many("other", 6);
    contract_prune_all(apr_time_now());
    assert_string_equal(contract_read_words("log/x", 0, 9), "2,3,4,5");
    /* After a change of the rules, channels without new messages are pruned,
     * too.  A rule for the channel's name takes precedence; otherwise the rule
     * with the longest matching prefix applies.  Passing messages are not
     * counted. */
    pass("log/x", "p", 600);
    contract_append_many("log/audit", 2);
    contract_must_run("INSERT INTO channel_retention(pattern, keep_count)"
                      " VALUES('log/*', 1), ('log/audit', NULL),"
                      " ('log/x/*', 2), ('log/x/', 3), ('lo', 1)");
    contract_prune_all(apr_time_now());
    assert_string_equal(contract_read_words("log/x", 0, 9), "5,p");
    assert_int_equal(contract_floor_of("log/x"), last - 1);
    assert_string_equal(contract_read_words("log/x/y", 0, 9), "4,5");
    assert_string_equal(contract_read_words("log/audit", 0, 9), "2,3,4,5,0,1");
    assert_string_equal(contract_read_words("other", 0, 9), "2,3,4,5");
    contract_config.retain_count = 0;
    contract_must_run("DELETE FROM channel_retention WHERE pattern <> 'log/*'");
    contract_append_many("other", 3);
    contract_prune_all(apr_time_now());
    assert_string_equal(contract_read_words("log/x/y", 0, 9), "5");
    assert_string_equal(contract_read_words("log/audit", 0, 9), "1");
    assert_string_equal(contract_read_words("other", 0, 9), "2,3,4,5,0,1,2");
}

/* --- Deletions and moderators --------------------------------------------- */

static void open_again(int deletions)
{
    contract_config.deletions = deletions;
    comet_store_close(contract_store);
    contract_store = contract_open_store(COMET_STORE_WRITE);
}

/* The messages of a channel, each as "type:body". */
static const char *told(const char *channel)
{
    static char text[600];
    size_t i, end = 0;

    contract_take_in();
    contract_read_words(channel, 0, 99);
    text[0] = '\0';
    for (i = 0; i < contract_list.count; i++) {
        end +=
            (size_t)snprintf(text + end, sizeof(text) - end, "%s%s:%s",
                             i ? " " : "", contract_list.messages[i]->type.data,
                             contract_list.messages[i]->body.data);
        assert_true(end < sizeof(text));
    }
    return text;
}

static const char *notice(comet_timestamp_t timestamp)
{
    static char text[60];

    snprintf(text, sizeof(text), "@deleted:%lld", (long long)timestamp);
    return text;
}

/* While CometDeletions is on, clients are told which messages a program
 * deletes.  They are not told about passing or private messages, nor about
 * messages on sibling channels. */
void contract_test_deletions(void **state)
{
    comet_timestamp_t second;

    UNLESS_SKIPPED();
    contract_append("a", "1");
    second = contract_append("a", "2");
    contract_must_run("DELETE FROM message WHERE body = '1'");
    assert_string_equal(told("a"), "message:2");
    open_again(1);
    contract_must_run("DELETE FROM message WHERE body = '2'");
    assert_string_equal(told("a"), notice(second));
    assert_int_equal(contract_list.messages[0]->keep_sec, 86400);
    contract_must_run("INSERT INTO message(channel, body, private)"
                      " VALUES('a', 'secret', 1);"
                      "INSERT INTO message(channel, body)"
                      " VALUES('a/@online', 'x')");
    pass("a", "p", 60);
    contract_take_in();
    contract_must_run("DELETE FROM message");
    assert_string_equal(told("a"), "");
    assert_string_equal(told("a/@online"), "");
    open_again(0);
    contract_append("b", "3");
    contract_must_run("DELETE FROM message WHERE channel = 'b'");
    assert_string_equal(told("b"), "");
}

static apr_status_t remove_between(const char *channel,
                                   comet_timestamp_t timestamp)
{
    comet_message_t *before = contract_make("a", "before"),
                    *after = contract_make("a", "after");
    comet_store_group_t groups[] = {
        { .messages = &before, .count = 1 },
        { .removal = { .channel = comet_text(channel),
                       .timestamp = timestamp } },
        { .messages = &after, .count = 1 },
    };
    comet_store_group_t *const list[] = { &groups[0], &groups[1], &groups[2] };

    assert_int_equal(comet_store_append(contract_store, list, 3), APR_SUCCESS);
    assert_int_equal(groups[0].result, APR_SUCCESS);
    assert_int_equal(groups[2].result, APR_SUCCESS);
    assert_true(before->timestamp < after->timestamp);
    assert_int_equal(contract_state_now().last, after->timestamp);
    comet_message_unref(before);
    comet_message_unref(after);
    return groups[1].result;
}

/* A moderator's removal takes its turn among the groups of publishers.  It also
 * removes the edits of the removed message. */
void contract_test_removal(void **state)
{
    comet_timestamp_t target;
    char edit[200];

    UNLESS_SKIPPED();
    open_again(1);
    target = contract_append("a", "1");
    contract_append("a", "2");
    snprintf(edit, sizeof(edit),
             "INSERT INTO message(channel, type, body)"
             " VALUES('a', 'edit', '{\"of\": %lld}'), ('a', 'edit', 'no JSON'),"
             " ('a', 'edit', '{\"of\": 1}'), ('a', 'edit', '[]')",
             (long long)target);
    contract_must_run(edit);
    contract_take_in();
    assert_int_equal(remove_between("b", target), APR_NOTFOUND);
    assert_int_equal(remove_between("a", target + 1), APR_NOTFOUND);
    contract_must_run("DELETE FROM message WHERE body IN ('before', 'after')");
    contract_take_in();
    contract_must_run("DELETE FROM message WHERE type = '@deleted'");
    assert_int_equal(remove_between("a", target), APR_SUCCESS);
    told("a");
    assert_int_equal(contract_list.count, 8);
    assert_string_equal(contract_list.messages[0]->body.data, "2");
    assert_string_equal(contract_list.messages[3]->body.data, "[]");
    assert_string_equal(contract_list.messages[4]->body.data, "before");
    assert_string_equal(contract_list.messages[5]->body.data,
                        notice(target) + strlen("@deleted:"));
    assert_string_equal(contract_list.messages[6]->type.data, "@deleted");
    assert_string_equal(contract_list.messages[7]->body.data, "after");
    assert_int_equal(remove_between("a", target), APR_NOTFOUND);
}

/* --- Updates and topics --------------------------------------------------- */

static void publish_update(const char *channel, const char *body,
                           const comet_update_t *update)
{
    comet_message_t *message = comet_message_create(
        &(comet_message_fields_t){ .channel = comet_text(channel),
                                   .body = comet_text(body),
                                   .update = *update });
    apr_status_t result;

    assert_int_equal(scratch_append(contract_store, &message, &result, 1), 0);
    assert_int_equal(result, 0);
    comet_message_unref(message);
}

static comet_selection_t *choose_topics(const char *name, const char *pattern,
                                        const char *grant)
{
    comet_text_t names = comet_text(name);
    comet_pattern_t patterns = comet_pattern_read(comet_text(pattern)),
                    grants = comet_pattern_read(comet_text(grant));

    return comet_selection_by_topics(&(comet_topics_t){
        .names = &names,
        .name_count = name != NULL,
        .patterns = &patterns,
        .pattern_count = pattern != NULL,
        .grants = &grants,
        .grant_count = grant != NULL,
        .root = comet_text(""),
    });
}

/* @param back  whether to read backwards, as a page of history is */
static const char *read_topics(const char *name, const char *pattern,
                               const char *grant, int back, apr_size_t limit)
{
    comet_selection_t *selection = choose_topics(name, pattern, grant);

    contract_empty_list();
    assert_int_equal(back ? comet_store_page(contract_store, selection, 0,
                                             COMET_TIMESTAMP_MAX, limit,
                                             contract_collect, NULL)
                          : comet_store_read(contract_store, selection, 0,
                                             limit, contract_collect, NULL),
                     0);
    comet_selection_unref(selection);
    return contract_bodies();
}

static comet_timestamp_t replay_topics(const char *pattern, int count)
{
    comet_selection_t *selection = choose_topics(NULL, pattern, NULL);
    comet_timestamp_t cursor;
    int any;

    assert_int_equal(
        comet_store_replay(contract_store, selection, count, &cursor, &any), 0);
    comet_selection_unref(selection);
    return cursor;
}

/* A private message is returned only to readers with a grant that matches one
 * of its channels, whichever channel they read.  A rare message is found behind
 * many others. */
void contract_test_updates(void **state)
{
    static const comet_update_t hidden = { .is_private = 1 };
    const comet_update_t both = { .retry_msec = 7,
                                  .event = comet_text("urn:1"),
                                  .alternates = comet_text("b/2\nc/3") };
    const comet_update_t kept = { .is_private = 1,
                                  .alternates = comet_text("b/9") };
    comet_timestamp_t first, found;

    UNLESS_SKIPPED();
    publish_update("a/1", "both", &both);
    contract_read_words("a/1", 0, 9);
    first = contract_list.messages[0]->timestamp;
    assert_int_equal(contract_list.messages[0]->update.retry_msec, 7);
    assert_string_equal(contract_list.messages[0]->update.event.data, "urn:1");
    assert_string_equal(contract_list.messages[0]->update.alternates.data,
                        "b/2\nc/3");
    publish_update("a/1", "hidden", &hidden);
    publish_update("only/1", "kept", &kept);
    contract_append("a/1", "plain");
    assert_int_equal(replay_topics("{x}/1", 1), first);
    assert_int_equal(replay_topics("{x}/1", 9), 0);
    contract_append_many("noise", 900);
    assert_string_equal(contract_read_words("a/1", 0, 9), "both,plain");
    assert_string_equal(contract_read_words("a/* rare", 0, 9), "both,plain");
    assert_string_equal(
        contract_page_words("a/* only/1", 0, COMET_TIMESTAMP_MAX, 9),
        "both,plain");
    assert_string_equal(all_channels(), "a/1 noise ");
    assert_string_equal(read_topics("b/2", NULL, NULL, 0, 9), "both");
    assert_string_equal(read_topics(NULL, "c/{x}", NULL, 0, 9), "both");
    assert_string_equal(read_topics("a/1", NULL, "a/{x}", 0, 9),
                        "both,hidden,plain");
    assert_string_equal(read_topics("a/1", NULL, "other", 0, 9), "both,plain");
    assert_string_equal(read_topics("b/9", "a/{x}", "only/1", 1, 9),
                        "both,kept,plain");
    assert_string_equal(read_topics("b/9", "a/{x}", "only/1", 1, 2),
                        "kept,plain");
    contract_read_words("*", 0, 9);
    assert_string_equal(contract_list.messages[0]->body.data, "both");
    assert_int_equal(comet_store_find_event(contract_store, comet_text("urn:1"),
                                            COMET_TIMESTAMP_MAX + 1, &found),
                     0);
    assert_int_equal(found, first);
    assert_int_equal(comet_store_find_event(contract_store, comet_text("urn:1"),
                                            first, &found),
                     0);
    assert_int_equal(found, 0);
    contract_must_run("DELETE FROM message WHERE id = 'urn:1'");
    assert_string_equal(read_topics("b/2", NULL, NULL, 0, 9), "");
    assert_int_equal(comet_store_find_event(contract_store, comet_text("urn:1"),
                                            COMET_TIMESTAMP_MAX + 1, &found),
                     0);
    assert_int_equal(found, 0);
    contract_config.retain_count = 1;
    contract_prune_all(apr_time_now());
    assert_string_equal(read_topics("a/1", NULL, "a/1", 0, 9), "plain");
}
