/* SPDX-License-Identifier: Apache-2.0 */
/* The message ids of the Mercure protocol. */
#include "wire/event_id.h"

#include <stdio.h>
#include <string.h>

#include "wire/encode.h"

/* What follows the timestamp in each UUID: the variant, and a constant by which
 * mod_comet recognises its own ids. */
static const char TAIL[] = "-8c6f-6d6574636f6d";

int comet_event_id_is_valid(comet_text_t id)
{
    apr_size_t i;

    for (i = 0; i < id.length; i++) {
        unsigned char c = (unsigned char)id.data[i];

        if (c < 0x20 || c == 0x7F) {
            return 0;
        }
    }
    return id.length && id.length <= COMET_EVENT_ID_MAX_BYTES
           && comet_encode_is_utf8(id);
}

comet_text_t comet_event_id_write(comet_timestamp_t timestamp, char *room)
{
    apr_uint64_t msec = (apr_uint64_t)timestamp / 1000;
    unsigned usec = (unsigned)((apr_uint64_t)timestamp % 1000);

    snprintf(room, COMET_EVENT_ID_BYTES + 1, "urn:uuid:%08x-%04x-7%03x%s",
             (unsigned)(msec >> 16 & 0xffffffff), (unsigned)(msec & 0xffff),
             usec, TAIL);
    return comet_text(room);
}

void comet_event_id_add(comet_buffer_t *out, const comet_message_t *message)
{
    char room[COMET_EVENT_ID_BYTES + 1];
    comet_text_t id = message->update.event;

    if (!id.data) {
        id = comet_event_id_write(message->timestamp, room);
    }
    comet_buffer_add(out, id.data, id.length);
}

int comet_event_id_read(comet_text_t id, comet_timestamp_t *timestamp)
{
    char text[COMET_EVENT_ID_BYTES + 1], same[COMET_EVENT_ID_BYTES + 1];
    comet_timestamp_t read;
    unsigned high, low, usec;

    if (id.length != COMET_EVENT_ID_BYTES) {
        return 0;
    }
    memcpy(text, id.data, id.length);
    text[id.length] = '\0';
    /* NOLINTNEXTLINE(cert-err34-c): the id is written again and compared */
    if (sscanf(text, "urn:uuid:%8x-%4x-7%3x", &high, &low, &usec) != 3
        || usec > 999) {
        return 0;
    }
    read = (comet_timestamp_t)(((apr_uint64_t)high << 16 | low) * 1000 + usec);
    if (read > COMET_TIMESTAMP_MAX
        || !comet_text_equal(comet_event_id_write(read, same), id)) {
        return 0;
    }
    *timestamp = read;
    return 1;
}
