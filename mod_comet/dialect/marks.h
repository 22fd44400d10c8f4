/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file dialect/marks.h
 * Read marks, which say how far a user has read a channel: POST
 * …/CHANNEL?read=T and GET …/CHANNEL?unread.
 */
#ifndef MOD_COMET_MARKS_H
#define MOD_COMET_MARKS_H

#include "request/ask.h"

/** Note how far the user has read.
 * @return what the handler returns */
int mod_comet_marks_set(request_rec *r, const mod_comet_request_t *request,
                        mod_comet_ask_t *ask);

/** Answer with the user's mark, and with how many messages follow it.
 * @return what the handler returns */
int mod_comet_marks_answer(request_rec *r, mod_comet_ask_t *ask);

#endif /* MOD_COMET_MARKS_H */
