/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wire/head.h
 * Heads of HTTP/1.1 messages that are like one that is known, but for what
 * changes from poll to poll: of a request its cursor, of an answer its date,
 * its length and how many more the connection is good for.  No I/O.
 */
#ifndef COMET_HEAD_H
#define COMET_HEAD_H

#include "wire/encode.h"

/** The longest head that is looked at. */
#define COMET_HEAD_MAX 4096

/** A request's head, split at the digits of `since=` in its query. */
typedef struct comet_head_t {
    char *text; /* malloc'd; NULL: none is known */
    apr_size_t length;
    apr_size_t before, after; /* where the digits begin and end */
} comet_head_t;

/**
 * Learn a request's head, if polls like it can be told by their bytes.
 * @param bytes  exactly one head of a GET by HTTP/1.1, with CRLF at the end of
 *               each line, and one since= of decimal digits
 * @param head   what it held before is freed
 * @return whether it was learnt; else @a head is empty
 */
int comet_head_learn(comet_head_t *head, comet_text_t bytes);

/**
 * Whether bytes are exactly one head, equal to the known one but for the
 * cursor.
 * @param cursor  set when they are
 */
int comet_head_match(const comet_head_t *head, comet_text_t bytes,
                     comet_timestamp_t *cursor);

void comet_head_free(comet_head_t *head);

/** What changes in an answer's head. */
typedef enum {
    COMET_HEAD_DATE,
    COMET_HEAD_LENGTH,
    COMET_HEAD_LEFT, /* max= of Keep-Alive, where there is one */
    COMET_HEAD_SLOTS
} comet_head_slot_e;

#define COMET_HEAD_DATE_BYTES 29 /* Sat, 21 Nov 2026 11:12:08 GMT */

/** An answer's head, with what changes marked. */
typedef struct comet_head_answer_t {
    char *text; /* malloc'd; NULL: none is known */
    apr_size_t length;
    struct {
        apr_size_t at, length; /* length 0: it has none */
    } slots[COMET_HEAD_SLOTS];
} comet_head_answer_t;

/**
 * Learn the head of an answer that httpd made, if others can be made from it:
 * a 200 of known length on a connection that stays open, without a cookie or
 * another field that is for one answer alone.
 * @param head  what it held before is freed
 * @return whether it was learnt; else @a head is empty
 */
int comet_head_answer_learn(comet_head_answer_t *head, comet_text_t bytes);

/** Whether two heads are equal but for what changes. */
int comet_head_answer_equal(const comet_head_answer_t *a,
                            const comet_head_answer_t *b);

/**
 * Append the head of another answer.
 * @param date    COMET_HEAD_DATE_BYTES of it
 * @param length  of the body
 * @param left    how many more requests the connection takes
 */
void comet_head_answer_write(const comet_head_answer_t *head,
                             comet_buffer_t *out, const char *date,
                             apr_size_t length, int left);

void comet_head_answer_free(comet_head_answer_t *head);

#endif /* COMET_HEAD_H */
