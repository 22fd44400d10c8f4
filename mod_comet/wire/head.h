/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wire/head.h
 * Recognises and makes heads of HTTP/1.1 messages that equal a known head,
 * except for the parts that change from request to request.  In a poll that is
 * the cursor, in a POST the length.  In a response it is the date, the length,
 * and how many more requests the connection allows.  No I/O.
 */
#ifndef COMET_HEAD_H
#define COMET_HEAD_H

#include "wire/encode.h"

/** The longest head that is considered, in bytes. */
#define COMET_HEAD_MAX 4096

/** A request's head, split at the digits of `since=` in its query.  There may be
 * no digits: the request has no cursor yet. */
typedef struct comet_head_t {
    char *text; /* malloc'd; NULL if no head is known */
    apr_size_t length;
    apr_size_t before, after; /* where the digits begin and end */
} comet_head_t;

/**
 * Learn a request's head, if its bytes are enough to recognise polls like it.
 * @param bytes  exactly one head of an HTTP/1.1 GET request, with CRLF at the
 *               end of each line and a single since=, whose value is empty or
 *               consists of decimal digits
 * @param head  its previous contents are freed
 * @return whether the head was learnt; if not, @a head is empty
 */
int comet_head_learn(comet_head_t *head, comet_text_t bytes);

/**
 * Whether bytes are exactly one head that has a cursor, and equals the known
 * one except for the cursor.
 * @param cursor  set if they are
 */
int comet_head_match(const comet_head_t *head, comet_text_t bytes,
                     comet_timestamp_t *cursor);

void comet_head_free(comet_head_t *head);

/** The head of a POST request, split at the digits of its Content-Length. */
typedef struct comet_head_post_t {
    comet_text_t before, after; /* what is around the digits; `after` ends with
                                 * the empty line */
    apr_size_t length; /* of the body, as Content-Length says; at most nine
                        * digits are accepted */
} comet_head_post_t;

/**
 * Split the head of an HTTP/1.1 POST request, with CRLF at the end of each
 * line, without folded lines, and with a single Content-Length of decimal
 * digits.
 * @param bytes  begins with the head; more may follow
 * @param post   OUT: points into @a bytes
 * @return whether the bytes begin with such a head
 */
int comet_head_split_post(comet_text_t bytes, comet_head_post_t *post);

/** The parts of a response's head that change. */
typedef enum {
    COMET_HEAD_DATE,
    COMET_HEAD_LENGTH,
    COMET_HEAD_LEFT, /* max= of Keep-Alive, if there is one */
    COMET_HEAD_SLOTS
} comet_head_slot_e;

#define COMET_HEAD_DATE_BYTES 29 /* Sat, 21 Nov 2026 11:12:08 GMT */

/** A response's head in which the changing parts are marked. */
typedef struct comet_head_answer_t {
    char *text; /* malloc'd; NULL if no head is known */
    apr_size_t length;
    struct {
        apr_size_t at, length; /* length 0: the head has no such part */
    } slots[COMET_HEAD_SLOTS];
} comet_head_answer_t;

/**
 * Learn the head of a response that httpd made, if other responses can be made
 * from it: a 200 or 201 of known length on a connection that stays open, without
 * a cookie or any other field that is meant for one response only.
 * @param head  its previous contents are freed
 * @return whether the head was learnt; if not, @a head is empty
 */
int comet_head_answer_learn(comet_head_answer_t *head, comet_text_t bytes);

/** Whether two heads are equal except for the changing parts. */
int comet_head_answer_equal(const comet_head_answer_t *a,
                            const comet_head_answer_t *b);

/**
 * Append the head of another response.
 * @param date  the date, COMET_HEAD_DATE_BYTES long
 * @param length  the length of the body, in bytes
 * @param left  how many more requests the connection allows
 */
void comet_head_answer_write(const comet_head_answer_t *head,
                             comet_buffer_t *out, const char *date,
                             apr_size_t length, int left);

void comet_head_answer_free(comet_head_answer_t *head);

#endif /* COMET_HEAD_H */
