/* SPDX-License-Identifier: Apache-2.0 */
/* Followers: thousands of clients that know what they must be given. */
#ifndef FOLLOW_H
#define FOLLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../bench/load_base.h"
#include "../bench/load_histogram.h"
#include "../bench/load_http.h"

/* All times are microseconds of the wall clock, which stamps the messages,
 * too: server and followers are on one machine. */

typedef enum {
    FOLLOW_POLL,
    FOLLOW_CLASSIC,
    FOLLOW_EVENTS,
    FOLLOW_IFRAME,
    FOLLOW_CLOCK
} follow_kind_e;

/* What all followers of a channel together have been given, in order.  Each
 * of them has had its first `position` messages: then nothing is missing and
 * nothing came twice.  Whoever started the program compares it with what was
 * published. */
typedef struct follow_log_t {
    char *channel;
    int64_t *stamps;
    char **bodies;
    size_t count, room;
} follow_log_t;

typedef struct follow_group_t {
    follow_kind_e kind;
    const char *path;
    follow_log_t *log;
} follow_group_t;

typedef enum {
    FOLLOW_CLOSED,
    FOLLOW_CONNECTING,
    FOLLOW_OPEN, /* asks */
    FOLLOW_PAUSING /* a poll between two requests */
} follow_state_e;

typedef struct follower_t {
    const follow_group_t *group;
    int fd;
    follow_state_e state;
    load_http_t http;
    char *text; /* the answer of a poll, a stream's last line so far */
    size_t length, room;
    char *body; /* of the event that has begun */
    int64_t cursor; /* what it asks with */
    int64_t last; /* the last message or tick */
    size_t position; /* in the log */
    bool awaits; /* has asked, and the answer is not complete */
    bool ticked; /* a clock, on this connection */
    int64_t asked_us, opened_us, due_us, leaves_us;
} follower_t;

/* A counter, and its name in the report. */
#define FOLLOW_COUNTS(X) \
    X(messages) /* delivered */ \
    X(ticks) \
    X(requests) /* sent */ \
    X(unanswered) /* closed before the first byte of an answer */ \
    X(answers) /* complete ones of polls */ \
    X(ended) /* streams, in the proper way */ \
    X(cut) /* connections lost in the middle of an answer */ \
    X(refused) /* connects */ \
    X(refusals) /* answers other than 200 */ \
    X(left) /* connections that churn ended */ \
    /* What must never be: */ \
    X(repeated) \
    X(missed) \
    X(strange) /* messages that others should have had, too */ \
    X(malformed) \
    X(gaps) /* said to be pruned */ \
    X(backwards) /* cursors */

typedef struct follow_totals_t {
#define FOLLOW_FIELD(name) uint64_t name;
    FOLLOW_COUNTS(FOLLOW_FIELD)
#undef FOLLOW_FIELD
    int last_refusal;
    /* How long a message was on its way to who had asked for it: on
     * connections older than the message, and on younger ones. */
    load_histogram_t on_its_way;
    int64_t stall_us, catch_up_us;
    char note[256]; /* the first fault, in words */
} follow_totals_t;

extern follow_totals_t follow_totals;

int64_t follow_now_us(void);

/* follow_message.c: what the transports send */

follow_kind_e follow_kind_named(const char *name);
/* Write the request for what comes after the follower's cursor. */
size_t follow_request(const follower_t *follower, char *to, size_t room);
/* A piece of a body. */
void follow_take(follower_t *follower, const char *data, size_t length);
/* The answer is complete. */
void follow_end(follower_t *follower);
/* A new connection: forget what was not complete. */
void follow_begin(follower_t *follower);
/* As a new client, which wants what comes from now on. */
void follow_forget(follower_t *follower);
bool follow_streams(const follower_t *follower);
/* Count a fault; the first one is described. */
void follow_fault(uint64_t *count, const follower_t *follower, const char *what,
                  int64_t number);

/* follow_conn.c: connections */

typedef struct follow_options_t {
    int port;
    int pause_ms; /* between two polls */
    double life_seconds; /* of a connection, on average; 0: for ever */
    int connects; /* at once */
    bool resting; /* who loses his connection does not come back for now */
} follow_options_t;

extern follow_options_t follow_options;

void follow_loop_init(follower_t *followers, size_t count);
/* Wait for events, at most 5 ms, and do what they ask for; true: there is a
 * command on standard input. */
bool follow_loop_turn(void);
/* Followers that wait for news now, or will ask again after their pause. */
size_t follow_open_count(void);
void follow_close_all(void);

#endif
