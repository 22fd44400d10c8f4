/* SPDX-License-Identifier: Apache-2.0 */
/* URI templates (RFC 6570), compiled to automatons. */
#include "base/template.h"

#include <string.h>

/** How the expressions of one operator are written (RFC 6570, appendix A). */
typedef struct operator_t {
    char sign; /* after the brace; 0: none */
    char first; /* what precedes the first value; 0: nothing */
    char separator;
    unsigned set; /* bits of comet_step_set_e: the characters of a value */
} operator_t;

#define PLAIN (COMET_SET_UNRESERVED | COMET_SET_TRIPLET)
#define NAMED (PLAIN | COMET_SET_EQUALS)
#define RESERVED (PLAIN | COMET_SET_RESERVED)

static const operator_t operators[] = {
    { '+', 0, ',', RESERVED }, { '#', '#', ',', RESERVED },
    { '.', '.', '.', PLAIN },  { '/', '/', '/', PLAIN },
    { ';', ';', ';', NAMED },  { '?', '?', '&', NAMED },
    { '&', '&', '&', NAMED },  { 0, 0, ',', PLAIN }, /* the last has no sign */
};

static const operator_t *find_operator(char sign)
{
    const operator_t *found = operators;

    while (found->sign && found->sign != sign) {
        found++;
    }
    return found;
}

static int is_hex(char c)
{
    return (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')
           || (c >= '0' && c <= '9');
}

static int is_triplet(const char *at, const char *end)
{
    return end - at >= 3 && *at == '%' && is_hex(at[1]) && is_hex(at[2]);
}

static int is_name_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
           || (c >= '0' && c <= '9') || c == '_';
}

/* Read the name of a variable (RFC 6570, section 2.3).
 * @return its end; NULL: there is none */
static const char *read_name(const char *at, const char *end)
{
    int dot = 1; /* the name is empty or ends with a dot so far; neither a dot
                  * nor the name's end may follow */

    for (;;) {
        if (at < end && is_name_character(*at)) {
            at++;
            dot = 0;
        }
        else if (is_triplet(at, end)) {
            at += 3;
            dot = 0;
        }
        else if (at < end && *at == '.' && !dot) {
            at++;
            dot = 1;
        }
        else {
            return dot ? NULL : at;
        }
    }
}

/* Read what may follow a name: a star, or a colon and 1 to 9999.
 * @return its end; NULL: it is invalid */
static const char *read_modifier(const char *at, const char *end, int *explode)
{
    const char *start;

    *explode = at < end && *at == '*';
    if (*explode) {
        return at + 1;
    }
    if (at == end || *at != ':') {
        return at;
    }
    for (start = ++at; at < end && *at >= '0' && *at <= '9'; at++) {
    }
    return at == start || at - start > 4 || *start == '0' ? NULL : at;
}

/* Read the variables of an expression, up to the closing brace.
 * @return the brace; NULL: the expression is invalid */
static const char *read_variables(const char *at, const char *end,
                                  apr_size_t *count, int *explode)
{
    *count = 0;
    *explode = 0;
    for (;;) {
        int exploded;

        at = read_name(at, end);
        at = at ? read_modifier(at, end, &exploded) : NULL;
        if (!at || at == end || (*at != ',' && *at != '}')) {
            return NULL;
        }
        *explode |= exploded;
        ++*count;
        if (*at++ == '}') {
            return at - 1;
        }
    }
}

/* Append steps for an expression's values: one for each variable, or any number
 * if a variable has a star. */
static void add_values(comet_automaton_t *automaton, const operator_t *is,
                       apr_size_t count, int explode)
{
    unsigned set = explode ? is->set | COMET_SET_EQUALS : is->set;
    apr_size_t first = comet_automaton_add(automaton, COMET_STEP_MANY, set, 0);
    apr_size_t i;

    for (i = 1; i < (explode ? 2 : count); i++) {
        apr_size_t fork = comet_automaton_add(automaton, COMET_STEP_FORK, 0, 0);
        apr_size_t next =
            comet_automaton_add(automaton, COMET_STEP_BYTE, 0, is->separator);

        if (explode) {
            automaton->steps[next].next = (apr_uint16_t)first;
        }
        else {
            comet_automaton_add(automaton, COMET_STEP_MANY, set, 0);
        }
        automaton->steps[fork].other = (apr_uint16_t)automaton->count;
    }
}

/* Append steps for an expression.
 * @param variables  raised by the expression's number of variables
 * @return the byte after the expression; NULL: it is invalid */
static const char *add_expression(comet_automaton_t *automaton, const char *at,
                                  const char *end, apr_size_t *variables)
{
    const operator_t *is = find_operator((char)(at < end ? *at : '\0'));
    apr_size_t fork = comet_automaton_add(automaton, COMET_STEP_FORK, 0, 0);
    apr_size_t count;
    int explode;

    at = read_variables(at + (is->sign != 0), end, &count, &explode);
    if (!at) {
        return NULL;
    }
    if (is->first) {
        comet_automaton_add(automaton, COMET_STEP_BYTE, 0, is->first);
    }
    add_values(automaton, is, count, explode);
    automaton->steps[fork].other = (apr_uint16_t)automaton->count;
    *variables += count;
    return at + 1;
}

/* Whether a byte may stand outside expressions (RFC 6570, section 2.1). */
static int is_literal(const char *at, const char *end)
{
    unsigned char c = (unsigned char)*at;

    return c == '%' ? is_triplet(at, end)
                    : c > ' ' && c != 0x7F && !strchr("\"'<>\\^`{|}", c);
}

int comet_template_compile(comet_automaton_t *automaton, comet_text_t text,
                           apr_size_t *variables)
{
    const char *at = text.data, *end = text.data + text.length;

    automaton->count = 0;
    automaton->is_full = 0;
    *variables = 0;
    while (at && at < end) {
        if (*at == '{') {
            at = add_expression(automaton, at + 1, end, variables);
        }
        else if (is_literal(at, end)) {
            comet_automaton_add(automaton, COMET_STEP_BYTE, 0, *at++);
        }
        else {
            at = NULL;
        }
    }
    comet_automaton_add(automaton, COMET_STEP_END, 0, 0);
    return at && *variables && !automaton->is_full;
}
