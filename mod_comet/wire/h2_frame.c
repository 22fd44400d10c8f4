/* SPDX-License-Identifier: Apache-2.0 */
/* Making HTTP/2 frames. */
#include "wire/h2_frame.h"

static void write_number(unsigned char *out, apr_uint32_t number)
{
    out[0] = (unsigned char)(number >> 24);
    out[1] = (unsigned char)(number >> 16);
    out[2] = (unsigned char)(number >> 8);
    out[3] = (unsigned char)number;
}

void comet_h2_frame_write(unsigned char *out, const comet_h2_frame_t *frame)
{
    write_number(out, frame->length << 8); /* the type replaces the last byte */
    out[3] = frame->type;
    out[4] = frame->flags;
    write_number(out + 5, frame->stream);
}

static void add_frame(comet_buffer_t *out, comet_h2_frame_t frame,
                      const char *payload)
{
    unsigned char header[COMET_H2_HEADER_BYTES];

    comet_h2_frame_write(header, &frame);
    comet_buffer_add(out, (const char *)header, sizeof(header));
    comet_buffer_add(out, payload, frame.length);
}

/* Cut off as much of a text as one frame can hold. */
static comet_text_t cut(comet_text_t *rest, apr_uint32_t most)
{
    comet_text_t piece = *rest;

    if (piece.length > most) {
        piece.length = most;
    }
    if (piece.length) {
        rest->data += piece.length;
        rest->length -= piece.length;
    }
    return piece;
}

void comet_h2_frame_add_data(comet_buffer_t *out, apr_uint32_t stream,
                             comet_text_t text, apr_uint32_t most, int end)
{
    while (text.length || end) {
        comet_text_t piece = cut(&text, most);
        int last = end && !text.length;

        add_frame(out,
                  (comet_h2_frame_t){
                      .length = (apr_uint32_t)piece.length,
                      .type = COMET_H2_DATA,
                      .flags = last ? COMET_H2_FLAG_END_STREAM : 0,
                      .stream = stream,
                  },
                  piece.data);
        if (last) {
            return;
        }
    }
}

static void add_number(comet_buffer_t *out, comet_h2_type_e type,
                       apr_uint32_t stream, apr_uint32_t number)
{
    unsigned char payload[COMET_H2_NUMBER_BYTES];

    write_number(payload, number);
    add_frame(out,
              (comet_h2_frame_t){
                  .length = sizeof(payload),
                  .type = (unsigned char)type,
                  .stream = stream,
              },
              (const char *)payload);
}

void comet_h2_frame_add_reset(comet_buffer_t *out, apr_uint32_t stream,
                              comet_h2_error_e error)
{
    add_number(out, COMET_H2_RST_STREAM, stream, (apr_uint32_t)error);
}

void comet_h2_frame_add_update(comet_buffer_t *out, apr_uint32_t stream,
                               apr_uint32_t increment)
{
    add_number(out, COMET_H2_WINDOW_UPDATE, stream, increment);
}

void comet_h2_frame_add_overflow(comet_buffer_t *out)
{
    /* Two frames are needed: the window can be empty, and then one increment
     * alone does not exceed it. */
    comet_h2_frame_add_update(out, 0, COMET_H2_31_BITS);
    comet_h2_frame_add_update(out, 0, COMET_H2_31_BITS);
}
