/* SPDX-License-Identifier: Apache-2.0 */
/* Followers: the command line, and the commands that tests send on standard
 * input. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "follow.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static const char USAGE[] =
    "usage: follow --port=N [OPTION...] KIND:COUNT:CHANNEL:PATH...\n"
    "Each of the COUNT followers of KIND (poll, classic, events, iframe,\n"
    "clock) reads PATH, and comes back by its cursor when it loses its\n"
    "connection.  All that name a CHANNEL must be given the same messages.\n"
    "  --pause=MS     between two polls (200)\n"
    "  --life=S       of a connection, on average (0: for ever)\n"
    "  --connects=N   at once (100)\n"
    "Lines on standard input, each answered by one of JSON: `report`;\n"
    "`anew` (maxima and times); `write PATH` (the channels, a message a\n"
    "line); `stay` (--life=0 from now on); `leave` (close all); `rest`\n"
    "(a follower that is cut off stays away) until `return`.  The end of the\n"
    "input ends the program.\n";

#define CHANNELS_MAX 64

follow_totals_t follow_totals;
follow_options_t follow_options = { .pause_ms = 200, .connects = 100 };

static follower_t *followers;
static size_t follower_count;
static follow_log_t logs[CHANNELS_MAX];
static size_t log_count;

int64_t follow_now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* --- The command line ----------------------------------------------------- */

static follow_log_t *log_named(char *channel)
{
    size_t i;

    for (i = 0; i < log_count; i++) {
        if (strcmp(logs[i].channel, channel) == 0) {
            return &logs[i];
        }
    }
    if (log_count == CHANNELS_MAX) {
        load_die("more than %d channels", CHANNELS_MAX);
    }
    logs[log_count].channel = channel;
    return &logs[log_count++];
}

static void add_group(char *text)
{
    follow_group_t *group = load_grow(NULL, sizeof(*group));
    char *kind = strsep(&text, ":"), *count = strsep(&text, ":");
    char *channel = strsep(&text, ":");
    size_t wanted, i;

    if (!text) {
        load_die("KIND:COUNT:CHANNEL:PATH was expected\n%s", USAGE);
    }
    group->kind = follow_kind_named(kind);
    group->path = text;
    group->log = log_named(channel);
    wanted = strtoul(count, NULL, 10);
    followers =
        load_grow(followers, (follower_count + wanted) * sizeof(*followers));
    for (i = 0; i < wanted; i++) {
        followers[follower_count++] = (follower_t){ .group = group };
    }
}

static void set_options(int argc, char **argv)
{
    static const struct option OPTIONS[] = {
        { "port", required_argument, NULL, 'p' },
        { "pause", required_argument, NULL, 'w' },
        { "life", required_argument, NULL, 'l' },
        { "connects", required_argument, NULL, 'c' },
        { NULL, 0, NULL, 0 }
    };
    int option;

    while ((option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1) {
        switch (option) {
        case 'p':
            follow_options.port = (int)strtol(optarg, NULL, 10);
            break;
        case 'w':
            follow_options.pause_ms = (int)strtol(optarg, NULL, 10);
            break;
        case 'l':
            follow_options.life_seconds = strtod(optarg, NULL);
            break;
        case 'c':
            follow_options.connects = (int)strtol(optarg, NULL, 10);
            break;
        default:
            load_die("\n%s", USAGE);
        }
    }
    if (follow_options.port <= 0 || optind == argc) {
        load_die("\n%s", USAGE);
    }
    for (; optind < argc; optind++) {
        add_group(argv[optind]);
    }
}

/* --- Commands ------------------------------------------------------------- */

static size_t behind(const follow_log_t *log)
{
    size_t i, count = 0;

    for (i = 0; i < follower_count; i++) {
        count += followers[i].group->log == log
                 && followers[i].position < log->count;
    }
    return count;
}

static void put_number(const char *name, uint64_t value)
{
    printf(", \"%s\": %" PRIu64, name, value);
}

static void put_text(const char *name, const char *text)
{
    printf(", \"%s\": \"", name);
    for (; *text; text++) {
        putchar(*text < ' ' || *text == '"' || *text == '\\' ? '.' : *text);
    }
    putchar('"');
}

static void report(void)
{
    size_t i;

    printf("{\"followers\": %zu, \"open\": %zu", follower_count,
           follow_open_count());
#define PUT(name) put_number(#name, follow_totals.name);
    FOLLOW_COUNTS(PUT)
#undef PUT
    put_number("last_refusal", (uint64_t)follow_totals.last_refusal);
    put_number("stall_us", (uint64_t)follow_totals.stall_us);
    put_number("catch_up_us", (uint64_t)follow_totals.catch_up_us);
    put_number("p99_us",
               (uint64_t)load_histogram_at(&follow_totals.on_its_way, 0.99));
    put_text("note", follow_totals.note);
    printf(", \"channels\": {");
    for (i = 0; i < log_count; i++) {
        printf("%s\"%s\": {\"messages\": %zu, \"last\": %" PRId64
               ", \"behind\": %zu}",
               i ? ", " : "", logs[i].channel, logs[i].count,
               logs[i].count ? logs[i].stamps[logs[i].count - 1] : 0,
               behind(&logs[i]));
    }
    printf("}}\n");
}

static void anew(void)
{
    follow_totals.stall_us = follow_totals.catch_up_us = 0;
    memset(&follow_totals.on_its_way, 0, sizeof(follow_totals.on_its_way));
}

static void write_logs(const char *path)
{
    FILE *out = fopen(path, "w");
    size_t i, j;

    if (!out) {
        load_die("%s: %s", path, strerror(errno));
    }
    for (i = 0; i < log_count; i++) {
        for (j = 0; j < logs[i].count; j++) {
            fprintf(out, "%s %" PRId64 " %s\n", logs[i].channel,
                    logs[i].stamps[j], logs[i].bodies[j]);
        }
    }
    if (fclose(out) != 0) {
        load_die("%s: %s", path, strerror(errno));
    }
}

static void command(char *line)
{
    if (strncmp(line, "write ", 6) == 0) {
        write_logs(line + 6);
    }
    else if (strcmp(line, "anew") == 0) {
        anew();
    }
    else if (strcmp(line, "stay") == 0) {
        follow_options.life_seconds = 0;
    }
    else if (strcmp(line, "rest") == 0 || strcmp(line, "return") == 0) {
        follow_options.resting = strcmp(line, "rest") == 0;
    }
    else if (strcmp(line, "leave") == 0) {
        follow_close_all();
    }
    else if (strcmp(line, "report") != 0) {
        load_die("%s?\n%s", line, USAGE);
    }
    report();
    fflush(stdout);
}

/* Take one command, if there is one.  Its sender waits for the answer before it
 * sends another. */
static bool take_command(void)
{
    char line[1024];
    ssize_t length = read(STDIN_FILENO, line, sizeof(line) - 1);

    if (length <= 0) {
        return false;
    }
    line[length] = '\0';
    line[strcspn(line, "\n")] = '\0';
    command(line);
    return true;
}

int main(int argc, char **argv)
{
    struct rlimit limit;

    set_options(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    follow_loop_init(followers, follower_count);
    while (!follow_loop_turn() || take_command()) {
    }
    return 0;
}
