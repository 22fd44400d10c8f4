/* SPDX-License-Identifier: Apache-2.0 */
/* The load generator's command line: a run on one server, printed as JSON. */
#include "load.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static const char USAGE[] =
    "usage: load MODE OPTION...\n"
    "MODE park|stream|poll|get|publish|history\n"
    "  --url=URL          of subscribers; {channel}, {cursor} in it\n"
    "  --publish=URL      of publishers; {channel} in it\n"
    "  --server=PID       whose CPU and memory are measured, and its children\n"
    "  --cursor=HOW       of polls: etag, header:NAME, json:NAME\n"
    "  --type=TYPE        Content-Type of what is published (text/plain)\n"
    "  --subscribers=N    (get: connections)     --channels=N  (1)\n"
    "  --publishers=N     connections (1)\n"
    "  --messages=N       to publish, or         --seconds=S\n"
    "  --rate=N           messages a second (0: as fast as acknowledged)\n"
    "  --size=BYTES       of a message (100)\n"
    "  --batch=N          messages in a request, as NDJSON (0: one, as text)\n"
    "  --settle=S         after the last connect (0.5)\n"
    "  --limit=S          of the whole run (120)\n";

static const char *const MODES[] = { "park", "stream",  "poll",
                                     "get",  "publish", "history" };

load_t load;

static double number(const char *name, const char *text, double least,
                     double most)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end != '\0' || !(value >= least) || value > most) {
        load_die("--%s=%s: %g to %g are allowed", name, text, least, most);
    }
    return value;
}

static void set_cursor(load_options_t *options, const char *how)
{
    if (strcmp(how, "etag") == 0) {
        options->cursor = LOAD_CURSOR_ETAG;
    }
    else if (strncmp(how, "header:", 7) == 0) {
        options->cursor = LOAD_CURSOR_HEADER;
        options->cursor_name = how + 7;
    }
    else if (strncmp(how, "json:", 5) == 0) {
        options->cursor = LOAD_CURSOR_JSON;
        options->cursor_name = how + 5;
    }
    else {
        load_die("--cursor=%s: etag, header:NAME, json:NAME are allowed", how);
    }
}

enum {
    URL,
    PUBLISH,
    SERVER,
    CURSOR,
    TYPE,
    SUBSCRIBERS,
    CHANNELS,
    PUBLISHERS,
    MESSAGES,
    SECONDS,
    RATE,
    SIZE,
    BATCH,
    SETTLE,
    LIMIT
};

static const struct option OPTIONS[] = {
    { "url", required_argument, NULL, URL },
    { "publish", required_argument, NULL, PUBLISH },
    { "server", required_argument, NULL, SERVER },
    { "cursor", required_argument, NULL, CURSOR },
    { "type", required_argument, NULL, TYPE },
    { "subscribers", required_argument, NULL, SUBSCRIBERS },
    { "channels", required_argument, NULL, CHANNELS },
    { "publishers", required_argument, NULL, PUBLISHERS },
    { "messages", required_argument, NULL, MESSAGES },
    { "seconds", required_argument, NULL, SECONDS },
    { "rate", required_argument, NULL, RATE },
    { "size", required_argument, NULL, SIZE },
    { "batch", required_argument, NULL, BATCH },
    { "settle", required_argument, NULL, SETTLE },
    { "limit", required_argument, NULL, LIMIT },
    { NULL, 0, NULL, 0 }
};

static void set_number(load_options_t *options, int option, const char *text)
{
    const char *name = OPTIONS[option].name;

    switch (option) {
    case SERVER:
        options->server = (pid_t)number(name, text, 1, 1e9);
        break;
    case SUBSCRIBERS:
        options->subscribers = (int)number(name, text, 1, 100000);
        break;
    case CHANNELS:
        options->channels = (int)number(name, text, 1, 100000);
        break;
    case PUBLISHERS:
        options->publishers = (int)number(name, text, 1, 1000);
        break;
    case MESSAGES:
        options->messages = (int64_t)number(name, text, 1, 1e9);
        break;
    case SECONDS:
        options->seconds = number(name, text, 0.01, 86400);
        break;
    case RATE:
        options->rate = number(name, text, 0, 1e6);
        break;
    case SIZE:
        options->size_bytes =
            (size_t)number(name, text, LOAD_MESSAGE_MIN, LOAD_MESSAGE_MAX / 2);
        break;
    case BATCH:
        options->batch = (int)number(name, text, 1, 1000);
        break;
    case SETTLE:
        options->settle_seconds = number(name, text, 0, 60);
        break;
    default:
        options->limit_seconds = number(name, text, 1, 86400);
    }
}

static void set_options(load_options_t *options, int argc, char **argv)
{
    int option;

    while ((option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1) {
        switch (option) {
        case '?':
            load_die("\n%s", USAGE);
        case URL:
            options->url = optarg;
            break;
        case PUBLISH:
            options->publish_url = optarg;
            break;
        case CURSOR:
            set_cursor(options, optarg);
            break;
        case TYPE:
            options->content_type = optarg;
            break;
        default:
            set_number(options, option, optarg);
        }
    }
}

static load_mode_e mode_named(const char *name)
{
    size_t i;

    for (i = 0; i < sizeof(MODES) / sizeof(*MODES); i++) {
        if (name && strcmp(name, MODES[i]) == 0) {
            return (load_mode_e)i;
        }
    }
    load_die("a mode is missing\n%s", USAGE);
}

static void check(const load_options_t *options)
{
    bool publishes = options->mode != LOAD_PARK && options->mode != LOAD_GET;

    if ((publishes && !options->publish_url)
        || (options->mode != LOAD_PUBLISH && !options->url)
        || (options->messages == 0 && options->seconds <= 0)
        || options->server == 0) {
        load_die("an option is missing\n%s", USAGE);
    }
}

static load_conn_t *make_conns(int count, bool publishers)
{
    load_conn_t *conns = calloc((size_t)count, sizeof(*conns));
    int i;

    for (i = 0; conns && i < count; i++) {
        conns[i].fd = -1;
        conns[i].index = i;
        conns[i].channel = i % load.options.channels;
        conns[i].publisher = publishers;
    }
    return conns ? conns : load_grow(NULL, 0);
}

/* Raise the limit of descriptors to the hard limit. */
static void raise_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    struct timespec now;
    size_t channels;

    load.options = (load_options_t){ .content_type = "text/plain",
                                     .subscribers = 1,
                                     .channels = 1,
                                     .publishers = 1,
                                     .size_bytes = 100,
                                     .settle_seconds = 0.5,
                                     .limit_seconds = 120 };
    load.options.mode = mode_named(argc > 1 ? argv[1] : NULL);
    set_options(&load.options, argc - 1, argv + 1);
    check(&load.options);
    signal(SIGPIPE, SIG_IGN);
    raise_limit();
    clock_gettime(CLOCK_REALTIME, &now);
    load.run = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    channels = (size_t)load.options.channels;
    load.sent_in = calloc(channels, sizeof(*load.sent_in));
    load.acknowledged_in = calloc(channels, sizeof(*load.acknowledged_in));
    load.subscribers = make_conns(load.options.subscribers, false);
    load.publishers = make_conns(load.options.publishers, true);
    if (!load.sent_in || !load.acknowledged_in) {
        load_die("out of memory");
    }
    if (load.options.url) {
        load_target(false, load.options.url);
    }
    if (load.options.publish_url) {
        load_target(true, load.options.publish_url);
    }
    load_loop_init();
    load_run();
    return 0;
}
