/* SPDX-License-Identifier: Apache-2.0 */
/* Followers: thousands of clients that know which messages they must
 * receive. */
#ifndef FOLLOW_H
#define FOLLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../bench/load_base.h"
#include "../bench/load_histogram.h"
#include "../bench/load_http.h"

/* All times are in microseconds of the wall clock.  So are the messages'
 * timestamps: server and followers run on one machine. */

typedef enum {
    FOLLOW_POLL,
    FOLLOW_CLASSIC,
    FOLLOW_EVENTS,
    FOLLOW_IFRAME,
    FOLLOW_CLOCK
} follow_kind_e;

/* What all followers of a channel together have received, in order.  Each
 * follower has received exactly its first `position` messages; so it has missed
 * none, and none was repeated.  The test that runs this program compares the
 * log with what was published. */
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
    FOLLOW_OPEN, /* waits for an answer, or can send a request */
    FOLLOW_PAUSING /* a poll between two requests */
} follow_state_e;

typedef struct follower_t {
    const follow_group_t *group;
    int fd;
    follow_state_e state;
    load_http_t http;
    char *text; /* of a poll: its answer so far; of a stream: its last line */
    size_t length, room;
    char *body; /* the body of the event that has begun */
    int64_t cursor; /* the cursor that the follower sends */
    int64_t last; /* the timestamp of the last message or tick */
    size_t position; /* how many of the log's messages have arrived */
    bool awaits; /* a request is under way */
    bool ticked; /* the clock has ticked on this connection */
    int64_t asked_us, opened_us, due_us, leaves_us;
} follower_t;

/* The counters.  The report uses the same names. */
#define FOLLOW_COUNTS(X) \
    X(messages) /* messages delivered */ \
    X(ticks) \
    X(requests) /* requests sent */ \
    X(unanswered) /* closed before the first byte of an answer */ \
    X(answers) /* complete answers of polls */ \
    X(ended) /* streams that ended properly */ \
    X(cut) /* connections lost within an answer */ \
    X(refused) /* failed connects */ \
    X(refusals) /* answers other than 200 */ \
    X(left) /* connections that followers left */ \
    /* These must stay 0: */ \
    X(repeated) \
    X(missed) \
    X(strange) /* messages that other followers missed */ \
    X(malformed) \
    X(gaps) /* answers that say that messages were removed */ \
    X(backwards) /* cursors that go back */

typedef struct follow_totals_t {
#define FOLLOW_FIELD(name) uint64_t name;
    FOLLOW_COUNTS(FOLLOW_FIELD)
#undef FOLLOW_FIELD
    int last_refusal;
    /* How long messages took to reach waiting clients.  Then the longest such
     * time on connections older than the message, and on younger ones. */
    load_histogram_t on_its_way;
    int64_t stall_us, catch_up_us;
    char note[256]; /* describes the first fault */
} follow_totals_t;

extern follow_totals_t follow_totals;

int64_t follow_now_us(void);

/* follow_message.c: the formats of the transports */

follow_kind_e follow_kind_named(const char *name);
/* Write the request for messages after the follower's cursor. */
size_t follow_request(const follower_t *follower, char *to, size_t room);
/* Handle a part of a body. */
void follow_take(follower_t *follower, const char *data, size_t length);
/* Handle the end of the answer. */
void follow_end(follower_t *follower);
/* Begin a new connection: forget incomplete data. */
void follow_begin(follower_t *follower);
/* Make the follower a new client, which reads from now on. */
void follow_forget(follower_t *follower);
bool follow_streams(const follower_t *follower);
/* Count a fault, and describe it if it is the first. */
void follow_fault(uint64_t *count, const follower_t *follower, const char *what,
                  int64_t number);

/* follow_conn.c: connections */

typedef struct follow_options_t {
    int port;
    int pause_ms; /* the pause between two polls */
    double life_seconds; /* the average lifetime of a connection; 0: for ever */
    int connects; /* how many connections may begin at once */
    bool resting; /* clients that are cut off stay away for now */
} follow_options_t;

extern follow_options_t follow_options;

void follow_loop_init(follower_t *followers, size_t count);
/* Wait for events, at most 5 ms, and handle them.  Returns true if a command
 * has arrived on standard input. */
bool follow_loop_turn(void);
/* How many followers wait for messages, or will do so after their pause. */
size_t follow_open_count(void);
void follow_close_all(void);

#endif
