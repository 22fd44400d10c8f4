/* SPDX-License-Identifier: Apache-2.0 */
/* Translate a topic to a channel's name and back. */
#include "base/topic.h"

#include <string.h>

#define MARK '%'

/* Whether a segment is forbidden in the name of a channel, or has a special
 * meaning there. */
static int is_special(const char *data, apr_size_t length)
{
    return length == 0 || data[0] == '@' || (length == 1 && data[0] == '.')
           || (length == 2 && data[0] == '.' && data[1] == '.');
}

/* The length of the segment that begins here. */
static apr_size_t segment_length(const char *at, const char *end)
{
    const char *slash = at < end ? memchr(at, '/', (apr_size_t)(end - at)) : 0;

    return (apr_size_t)((slash ? slash : end) - at);
}

/** A name being written. */
typedef struct writing_t {
    char *to;
    apr_size_t length;
} writing_t;

/* @return 0: there is no room */
static int put(writing_t *name, const char *bytes, apr_size_t count)
{
    if (count > COMET_CHANNEL_MAX_BYTES - name->length) {
        return 0;
    }
    if (count) {
        memcpy(name->to + name->length, bytes, count);
    }
    name->length += count;
    return 1;
}

static int put_segment(writing_t *name, const char *at, apr_size_t length)
{
    apr_size_t i;

    if (is_special(at, length) && !put(name, "%", 1)) {
        return 0;
    }
    for (i = 0; i < length; i++) {
        if (at[i] == MARK ? !put(name, "%25", 3) : !put(name, at + i, 1)) {
            return 0;
        }
    }
    return 1;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): `name` is written to */
apr_size_t comet_topic_escape(comet_text_t topic, char *name)
{
    writing_t written = { name, 0 };
    const char *at = topic.data, *end = topic.data + topic.length;

    if (!topic.length) {
        return 0;
    }
    for (;;) {
        apr_size_t length = segment_length(at, end);

        if (!put_segment(&written, at, length)) {
            return 0;
        }
        at += length;
        if (at == end) {
            return written.length;
        }
        if (!put(&written, at++, 1)) {
            return 0;
        }
    }
}

/* Whether comet_topic_escape() has put a mark in front of this segment. */
static int is_marked(const char *at, apr_size_t length)
{
    return length && *at == MARK && is_special(at + 1, length - 1);
}

apr_size_t comet_topic_unescape(comet_text_t name, char *topic)
{
    const char *at = name.data, *end = name.data + name.length;
    apr_size_t length = 0;
    int starts = 1; /* whether a segment begins at `at` */

    while (at < end) {
        if (starts && is_marked(at, segment_length(at, end))) {
            at++;
            starts = 0;
            continue;
        }
        starts = *at == '/';
        topic[length++] = *at;
        at += end - at >= 3 && memcmp(at, "%25", 3) == 0 ? 3 : 1;
    }
    return length;
}
