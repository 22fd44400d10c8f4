/* SPDX-License-Identifier: Apache-2.0 */
/* A small automaton that decides whether a text matches a sequence of steps. */
#include "base/automaton.h"

#include <string.h>

#define WORD_BITS 64
#define WORDS (COMET_AUTOMATON_STEPS / WORD_BITS)

/** The steps at which an automaton may be: one bit for each step. */
typedef struct places_t {
    apr_uint64_t at[WORDS];
    /** The steps at which one character of a %XX was taken, and those at which
     * two were. */
    apr_uint64_t after_percent[WORDS];
    apr_uint64_t after_digit[WORDS];
} places_t;

static void set(apr_uint64_t *words, apr_size_t i)
{
    words[i / WORD_BITS] |= APR_UINT64_C(1) << i % WORD_BITS;
}

static int is_set(const apr_uint64_t *words, apr_size_t i)
{
    return (int)(words[i / WORD_BITS] >> i % WORD_BITS & 1);
}

apr_size_t comet_automaton_add(comet_automaton_t *automaton, comet_step_e kind,
                               unsigned set_of, char byte)
{
    if (automaton->count == COMET_AUTOMATON_STEPS) {
        automaton->is_full = 1;
        return automaton->count - 1;
    }
    automaton->steps[automaton->count] = (comet_step_t){
        .set = (apr_uint16_t)set_of,
        .next = (apr_uint16_t)(automaton->count + 1),
        .kind = (unsigned char)kind,
        .byte = byte,
    };
    return automaton->count++;
}

void comet_automaton_add_text(comet_automaton_t *automaton, comet_text_t text)
{
    apr_size_t i;

    for (i = 0; i < text.length; i++) {
        comet_automaton_add(automaton, COMET_STEP_BYTE, 0, text.data[i]);
    }
}

static int is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
           || (c >= '0' && c <= '9');
}

static int is_hex(char c)
{
    return (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')
           || (c >= '0' && c <= '9');
}

static int is_one_of(char c, const char *list)
{
    return c && strchr(list, c);
}

/** A character and the sets that contain it, computed once for all steps. */
typedef struct character_t {
    char c;
    unsigned in; /* bits of comet_step_set_e: the sets that contain `c` */
    unsigned out; /* bits of comet_step_set_e that exclude `c` from
                   * COMET_SET_ANY */
} character_t;

static character_t classify(char c)
{
    character_t found = { .c = c };

    found.in |= is_alnum(c) || is_one_of(c, "-._~,") ? COMET_SET_UNRESERVED : 0;
    found.in |= c == '=' ? COMET_SET_EQUALS : 0;
    found.in |= is_one_of(c, ":/?#[]@!$&'()*+,;=") ? COMET_SET_RESERVED : 0;
    found.out |= c == '/' ? COMET_SET_NO_SLASH : 0;
    found.out |= c == '.' ? COMET_SET_NO_DOT : 0;
    found.out |= c == '?' || c == '#' ? COMET_SET_NO_QUERY : 0;
    found.out |= c == '#' ? COMET_SET_NO_HASH : 0;
    found.out |= c == ':' ? COMET_SET_NO_COLON : 0;
    return found;
}

static int is_in(const character_t *character, unsigned wanted)
{
    return (wanted & character->in)
           || ((wanted & COMET_SET_ANY) && !(wanted & character->out));
}

/* Take one character at step i, where the automaton may be. */
static void take(const comet_automaton_t *automaton, apr_size_t i,
                 const character_t *character, places_t *next)
{
    const comet_step_t *step = &automaton->steps[i];

    if (step->kind == COMET_STEP_BYTE ? step->byte == character->c
        : step->kind == COMET_STEP_ONE || step->kind == COMET_STEP_MANY
            ? is_in(character, step->set)
            : 0) {
        set(next->at, step->kind == COMET_STEP_MANY ? i : step->next);
    }
    if ((step->set & COMET_SET_TRIPLET) && character->c == '%') {
        set(next->after_percent, i);
    }
}

/* Add the steps that can be reached from step i without a character.
 * @return whether this reached an earlier step for the first time */
static int spread_from(const comet_automaton_t *automaton, apr_size_t i,
                       places_t *now)
{
    const comet_step_t *step = &automaton->steps[i];
    int back = 0;

    if (step->kind == COMET_STEP_FORK || step->kind == COMET_STEP_MANY) {
        set(now->at, step->next);
    }
    if (step->kind == COMET_STEP_FORK) {
        back = step->other < i && !is_set(now->at, step->other);
        set(now->at, step->other);
    }
    return back;
}

/* Add all steps that can be reached without a character.  Nearly all of them
 * are later steps, so one pass in order usually finds them. */
static void spread(const comet_automaton_t *automaton, places_t *now)
{
    apr_size_t i;
    int again = 1;

    while (again) {
        again = 0;
        for (i = 0; i < automaton->count; i++) {
            if (!now->at[i / WORD_BITS]) {
                i |= WORD_BITS - 1; /* no step of this word */
            }
            else if (is_set(now->at, i)) {
                again |= spread_from(automaton, i, now);
            }
        }
    }
}

/* Take one character.
 * @return 0: no step matches it, so the text does not match */
static int advance(const comet_automaton_t *automaton, const places_t *now,
                   char c, places_t *next)
{
    const character_t character = classify(c);
    apr_uint64_t any = 0;
    apr_size_t i;

    memset(next, 0, sizeof(*next));
    for (i = 0; i < automaton->count; i++) {
        apr_size_t word = i / WORD_BITS;

        if (!(now->at[word] | now->after_percent[word]
              | now->after_digit[word])) {
            i |= WORD_BITS - 1;
            continue;
        }
        if (is_set(now->at, i)) {
            take(automaton, i, &character, next);
        }
        if (is_set(now->after_percent, i) && is_hex(c)) {
            set(next->after_digit, i);
        }
        if (is_set(now->after_digit, i) && is_hex(c)) {
            set(next->at, automaton->steps[i].kind == COMET_STEP_MANY
                              ? i
                              : automaton->steps[i].next);
        }
    }
    for (i = 0; i < WORDS; i++) {
        any |= next->at[i] | next->after_percent[i] | next->after_digit[i];
    }
    return any != 0;
}

int comet_automaton_run(const comet_automaton_t *automaton, comet_text_t text)
{
    places_t now = { { 1 }, { 0 }, { 0 } }, next;
    apr_size_t i;

    if (automaton->is_full || !automaton->count) {
        return 0;
    }
    spread(automaton, &now);
    for (i = 0; i < text.length; i++) {
        if (!advance(automaton, &now, text.data[i], &next)) {
            return 0;
        }
        now = next;
        spread(automaton, &now);
    }
    for (i = 0; i < automaton->count; i++) {
        if (automaton->steps[i].kind == COMET_STEP_END && is_set(now.at, i)) {
            return 1;
        }
    }
    return 0;
}
