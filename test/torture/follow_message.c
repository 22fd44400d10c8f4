/* SPDX-License-Identifier: Apache-2.0 */
/* Followers: read the messages of each transport, and compare them with the
 * channel's log. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "follow.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const KINDS[] = { "poll", "classic", "events", "iframe",
                                     "clock" };

follow_kind_e follow_kind_named(const char *name)
{
    size_t i;

    for (i = 0; i < sizeof(KINDS) / sizeof(*KINDS); i++) {
        if (strcmp(name, KINDS[i]) == 0) {
            return (follow_kind_e)i;
        }
    }
    load_die("%s: poll, classic, events, iframe, clock are allowed", name);
}

bool follow_streams(const follower_t *follower)
{
    return follower->group->kind >= FOLLOW_EVENTS;
}

size_t follow_request(const follower_t *follower, char *to, size_t room)
{
    static const char *const TARGETS[] = { "%s?limit=1000&since=%" PRId64,
                                           "%s?timestamp=%" PRId64, "%s",
                                           "%s?transport=iframe&since=%" PRId64,
                                           "%s" };
    char target[512], extra[128] = "";
    follow_kind_e kind = follower->group->kind;
    int length;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(target, sizeof(target), TARGETS[kind], follower->group->path,
             follower->cursor);
#pragma GCC diagnostic pop
    if (kind == FOLLOW_EVENTS) {
        snprintf(extra, sizeof(extra),
                 "Accept: text/event-stream\r\nLast-Event-ID: %" PRId64 "\r\n",
                 follower->cursor);
    }
    length = snprintf(to, room, "GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n",
                      target, extra);
    return (size_t)length;
}

/* --- The log -------------------------------------------------------------- */

void follow_fault(uint64_t *count, const follower_t *follower, const char *what,
                  int64_t number)
{
    ++*count;
    if (follow_totals.note[0] == '\0') {
        snprintf(follow_totals.note, sizeof(follow_totals.note),
                 "%s on %s: %s %" PRId64 ", last %" PRId64 ", cursor %" PRId64,
                 KINDS[follower->group->kind], follower->group->log->channel,
                 what, number, follower->last, follower->cursor);
    }
}

static char *copy(const char *text)
{
    size_t size = strlen(text) + 1;

    return memcpy(load_grow(NULL, size), text, size);
}

static void append(follow_log_t *log, int64_t stamp, const char *body)
{
    if (log->count == log->room) {
        log->room = log->room ? 2 * log->room : 1024;
        log->stamps = load_grow(log->stamps, log->room * sizeof(*log->stamps));
        log->bodies = load_grow(log->bodies, log->room * sizeof(*log->bodies));
    }
    log->stamps[log->count] = stamp;
    log->bodies[log->count++] = copy(body);
}

/* Check that the message is the one after the follower's position in the log.
 * If the log ends there, append the message. */
static void compare(follower_t *follower, int64_t stamp, const char *body)
{
    follow_log_t *log = follower->group->log;
    size_t at = follower->position;

    while (at < log->count && log->stamps[at] < stamp) {
        at++;
    }
    if (at > follower->position) {
        follow_fault(&follow_totals.missed, follower, "missed what is before",
                     stamp);
    }
    if (at == log->count) {
        append(log, stamp, body);
    }
    else if (log->stamps[at] != stamp) {
        follow_fault(&follow_totals.strange, follower, "alone has", stamp);
        return;
    }
    else if (strcmp(log->bodies[at], body) != 0) {
        follow_fault(&follow_totals.malformed, follower, "another body of",
                     stamp);
    }
    follower->position = at + 1;
}

/* Note how long a message took to reach a follower that waited for it. */
static void measure(const follower_t *follower, int64_t stamp)
{
    int64_t from = stamp > follower->asked_us ? stamp : follower->asked_us;
    int64_t took = follow_now_us() - from;
    int64_t *longest = stamp > follower->opened_us ? &follow_totals.stall_us
                                                   : &follow_totals.catch_up_us;

    load_histogram_add(&follow_totals.on_its_way, took > 0 ? took : 0);
    *longest = took > *longest ? took : *longest;
}

static void deliver(follower_t *follower, int64_t stamp, const char *body)
{
    follow_totals.messages++;
    if (stamp <= follower->last) {
        follow_fault(&follow_totals.repeated, follower, "again", stamp);
        return;
    }
    compare(follower, stamp, body);
    measure(follower, stamp);
    follower->last = follower->cursor = stamp;
}

void follow_forget(follower_t *follower)
{
    const follow_log_t *log = follower->group->log;

    follower->position = log->count;
    follower->last = log->count ? log->stamps[log->count - 1] : 0;
    follower->cursor = follower->last;
}

/* --- The formats ---------------------------------------------------------- */

/* Skip this text if it is there. */
static bool skip(const char **at, const char *expected)
{
    size_t length = strlen(expected);

    if (strncmp(*at, expected, length) != 0) {
        return false;
    }
    *at += length;
    return true;
}

static bool take_number(const char **at, int64_t *number)
{
    char *end;

    *number = strtoll(*at, &end, 10);
    if (end == *at) {
        return false;
    }
    *at = end;
    return true;
}

/* Take a string without escapes: the tests' messages need none. */
static bool take_string(char **at, char **text)
{
    char *end = strchr(*at, '"');

    if (!end) {
        return false;
    }
    *text = *at;
    *end = '\0';
    *at = end + 1;
    return true;
}

/* Take {"timestamp":…,"channel":…,"type":…,"author":…,"body":…}. */
static bool take_object(follower_t *follower, char **at)
{
    const char *in = *at;
    int64_t stamp;
    char *body;

    if (!skip(&in, "{\"timestamp\":") || !take_number(&in, &stamp)
        || !skip(&in, ",\"channel\":\"") || !(in = strstr(in, "\"body\":\""))) {
        return false;
    }
    *at += in + strlen("\"body\":\"") - *at;
    if (!take_string(at, &body) || *(*at)++ != '}') {
        return false;
    }
    deliver(follower, stamp, body);
    return true;
}

static void set_cursor(follower_t *follower, int64_t cursor)
{
    if (cursor < follower->cursor) {
        follow_fault(&follow_totals.backwards, follower, "cursor", cursor);
    }
    follower->cursor = cursor;
}

static bool take_poll(follower_t *follower, char *at)
{
    const char *in;
    int64_t cursor;

    if (strncmp(at, "{\"messages\":[", 13) != 0) {
        return false;
    }
    at += 13;
    while (*at == '{') {
        if (!take_object(follower, &at)) {
            return false;
        }
        at += *at == ',';
    }
    in = at;
    if (!skip(&in, "],\"timestamp\":") || !take_number(&in, &cursor)) {
        return false;
    }
    set_cursor(follower, cursor);
    if (strcmp(in, ",\"gap\":false}") != 0) {
        follow_fault(&follow_totals.gaps, follower, "gap at", cursor);
    }
    return true;
}

/* Take {"msg":"…","timestamp":…}; if there is no news, msg is empty. */
static bool take_classic(follower_t *follower, char *at)
{
    const char *in = at;
    char *body;
    int64_t stamp;

    if (!skip(&in, "{\"msg\":\"")) {
        return false;
    }
    at += in - at;
    if (!take_string(&at, &body)) {
        return false;
    }
    in = at;
    if (!skip(&in, ",\"timestamp\":") || !take_number(&in, &stamp)
        || strcmp(in, "}") != 0) {
        return false;
    }
    if (*body) {
        deliver(follower, stamp, body);
    }
    else {
        set_cursor(follower, stamp);
    }
    return true;
}

/* Take a line of an event stream; the id is the last line of an event. */
static void take_event_line(follower_t *follower, char *line)
{
    const char *in = line;
    int64_t id;

    if (skip(&in, "data: ")) {
        free(follower->body);
        follower->body = copy(in);
    }
    else if (skip(&in, "id: ") && take_number(&in, &id)) {
        if (follower->body) {
            deliver(follower, id, follower->body);
            free(follower->body);
            follower->body = NULL;
        }
        else {
            set_cursor(follower, id);
        }
    }
    else if (strncmp(line, "event: gap", 10) == 0) {
        follow_fault(&follow_totals.gaps, follower, "gap", 0);
    }
    else if (*line && *line != ':' && strncmp(line, "retry: ", 7) != 0) {
        follow_fault(&follow_totals.malformed, follower, line, 0);
    }
}

static void take_iframe_line(follower_t *follower, char *line)
{
    char *at = line + strlen("<script>comet(");

    if (strncmp(line, "<script>comet(", strlen("<script>comet(")) == 0
        && (!take_object(follower, &at) || strcmp(at, ");</script>") != 0)) {
        follow_fault(&follow_totals.malformed, follower, line, 0);
    }
}

/* Take a tick of the clock, which ticks every second.  A young stream may skip
 * its second tick. */
static void take_tick(follower_t *follower, const char *line)
{
    const char *in = line;
    int64_t now_s;

    if (!skip(&in, "comet.printServerTime(") || !take_number(&in, &now_s)) {
        return;
    }
    follow_totals.ticks++;
    if (follower->ticked && now_s <= follower->last) {
        follow_fault(&follow_totals.repeated, follower, "tick", now_s);
    }
    else if (follower->ticked) {
        measure(follower, (follower->last + 1) * 1000000);
    }
    follower->ticked = now_s * 1000000 > follower->opened_us + 1000000;
    follower->last = now_s;
}

static void take_line(follower_t *follower, char *line)
{
    if (follower->group->kind == FOLLOW_EVENTS) {
        take_event_line(follower, line);
    }
    else if (follower->group->kind == FOLLOW_IFRAME) {
        take_iframe_line(follower, line);
    }
    else {
        take_tick(follower, line);
    }
}

/* --- Bytes ---------------------------------------------------------------- */

void follow_begin(follower_t *follower)
{
    follower->length = 0;
    follower->ticked = false;
    free(follower->body);
    follower->body = NULL;
}

static void keep(follower_t *follower, const char *data, size_t length)
{
    load_append(&follower->text, &follower->length, &follower->room, data,
                length);
}

void follow_take(follower_t *follower, const char *data, size_t length)
{
    /* The clock's output has no lines: each HTML element counts as a line. */
    int mark = follower->group->kind == FOLLOW_CLOCK ? '>' : '\n';
    const char *end;

    while (follow_streams(follower) && length > 0
           && (end = memchr(data, mark, length)) != NULL) {
        keep(follower, data, (size_t)(end - data));
        follower->length = 0;
        take_line(follower, follower->text);
        length -= (size_t)(end + 1 - data);
        data = end + 1;
    }
    keep(follower, data, length);
}

void follow_end(follower_t *follower)
{
    char *text = follower->text ? follower->text : (char[]){ "" };

    if (!follow_streams(follower)) {
        follow_totals.answers++;
        if (!(follower->group->kind == FOLLOW_POLL
                  ? take_poll(follower, text)
                  : take_classic(follower, text))) {
            follow_fault(&follow_totals.malformed, follower, text, 0);
        }
    }
    else {
        follow_totals.ended++;
    }
    follow_begin(follower);
}
