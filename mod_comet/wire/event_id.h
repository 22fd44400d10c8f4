/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wire/event_id.h
 * The message ids of the Mercure protocol.  A publisher may choose an id.
 * Otherwise the id is a UUID of version 7 (RFC 9562), made from the message's
 * timestamp, so it need not be stored.
 */
#ifndef COMET_EVENT_ID_H
#define COMET_EVENT_ID_H

#include "base/buffer.h"
#include "base/message.h"

#define COMET_EVENT_ID_MAX_BYTES 255

/** Whether an id can be sent both in a stream and in a header: 1 to 255 bytes
 * of UTF-8 without C0 and DEL. */
int comet_event_id_is_valid(comet_text_t id);

/** The length of "urn:uuid:" and a UUID. */
#define COMET_EVENT_ID_BYTES 45

/** Write the id of a timestamp, and a NUL.
 * @param room  room for COMET_EVENT_ID_BYTES + 1
 * @return the id */
comet_text_t comet_event_id_write(comet_timestamp_t timestamp, char *room);

/** Append the id of a message. */
void comet_event_id_add(comet_buffer_t *out, const comet_message_t *message);

/**
 * Read an id that comet_event_id_write() has written.
 * @param timestamp  set on success
 * @return whether the id is such an id
 */
int comet_event_id_read(comet_text_t id, comet_timestamp_t *timestamp);

#endif /* COMET_EVENT_ID_H */
