/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base/automaton.h
 * A small automaton that decides whether a text matches its steps.  It follows
 * all paths through the steps at once, so its time is bounded by the length of
 * the text times the number of steps.
 */
#ifndef COMET_AUTOMATON_H
#define COMET_AUTOMATON_H

#include "base/text.h"

#define COMET_AUTOMATON_STEPS 1088

/** Bits that say which characters a step matches. */
typedef enum comet_step_set_e {
    COMET_SET_UNRESERVED = 1, /* letters, digits, - . _ ~ (RFC 3986), comma */
    COMET_SET_EQUALS = 2,
    COMET_SET_RESERVED = 4, /* RFC 3986: : / ? # [ ] @ ! $ & ' ( ) * + , ; = */
    COMET_SET_TRIPLET = 8, /* %XX, as one character */
    COMET_SET_ANY = 16, /* any byte that none of the bits below excludes */
    COMET_SET_NO_SLASH = 32,
    COMET_SET_NO_DOT = 64,
    COMET_SET_NO_QUERY = 128, /* neither ? nor # */
    COMET_SET_NO_HASH = 256,
    COMET_SET_NO_COLON = 512
} comet_step_set_e;

typedef enum comet_step_e {
    COMET_STEP_BYTE, /* the step's `byte` */
    COMET_STEP_ONE, /* one character of the set */
    COMET_STEP_MANY, /* any number of characters of the set */
    COMET_STEP_FORK, /* no character; go on at both `next` and `other` */
    COMET_STEP_END /* the text matches if it ends here */
} comet_step_e;

typedef struct comet_step_t {
    apr_uint16_t set; /* bits of comet_step_set_e */
    /** The step that follows.  After a FORK or a MANY it is always a later
     * step. */
    apr_uint16_t next;
    apr_uint16_t other; /* of a FORK: follows, too; can be an earlier step */
    unsigned char kind; /* comet_step_e */
    char byte;
} comet_step_t;

/** An automaton; { .count = 0 } is one without steps.  If there is no room for
 * a step, `is_full` is set, and the automaton matches nothing. */
typedef struct comet_automaton_t {
    apr_size_t count;
    int is_full;
    comet_step_t steps[COMET_AUTOMATON_STEPS];
} comet_automaton_t;

/**
 * Append a step.  Its `next` is the following step until the caller changes it.
 * @return the step's index; the index of the last step if there is no room
 */
apr_size_t comet_automaton_add(comet_automaton_t *automaton, comet_step_e kind,
                               unsigned set, char byte);

/** Append a BYTE step for each byte. */
void comet_automaton_add_text(comet_automaton_t *automaton, comet_text_t text);

/** Whether the whole text matches.  Any thread. */
int comet_automaton_run(const comet_automaton_t *automaton, comet_text_t text);

#endif /* COMET_AUTOMATON_H */
