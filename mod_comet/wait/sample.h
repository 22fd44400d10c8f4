/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/sample.h
 * The head of an answer that httpd has made, as a sample for further answers.
 *
 * Equal heads of two answers show that answers differ only in what the hub can
 * write itself.  If all fields of the head are mod_comet's or httpd's own, one
 * answer is enough.
 */
#ifndef MOD_COMET_SAMPLE_H
#define MOD_COMET_SAMPLE_H

#include "wire/head.h"

/** All zero: no answer was seen yet. */
typedef struct mod_comet_sample_t {
    comet_head_answer_t head; /* the head of the last answer */
    int seen; /* how many equal heads were seen */
    int enough; /* how many are needed: 1 or 2 */
    int computed; /* another module computes headers for each answer */
    comet_timestamp_t counted; /* what the last answer that was counted was
                                * about */
    apr_time_t counted_at;
} mod_comet_sample_t;

/** Note, before an answer is made, how its head is to be judged.
 * @param is_ours  all header fields are mod_comet's own or httpd's
 * @param computed  mod_headers computes headers for each answer */
void mod_comet_sample_begin(mod_comet_sample_t *sample, int is_ours,
                            int computed);

/**
 * Compare an answer's head with the previous one, and remember it.
 * @param bytes  the head; not a head: nothing can be repeated
 * @param about  what such requests differ in: the cursor, or the length of the
 *               body; -1: nothing
 */
void mod_comet_sample_learn(mod_comet_sample_t *sample, comet_text_t bytes,
                            comet_timestamp_t about);

/** Continue from the last sample of equal requests.
 * @param sample  no answer was seen yet
 * @return 0: no memory is left */
int mod_comet_sample_continue(mod_comet_sample_t *sample,
                              const mod_comet_sample_t *last);

/** Whether the head may be repeated. */
int mod_comet_sample_is_known(const mod_comet_sample_t *sample);

/** Free the head.  What mod_comet_sample_begin() noted stays. */
void mod_comet_sample_forget(mod_comet_sample_t *sample);

#endif /* MOD_COMET_SAMPLE_H */
