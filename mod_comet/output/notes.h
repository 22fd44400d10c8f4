/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file output/notes.h
 * The notes of a request that a LogFormat can show: %{comet-channel}n and the
 * like.  They are set once, at the request's end, and only if a log shows one
 * of them.
 */
#ifndef MOD_COMET_NOTES_H
#define MOD_COMET_NOTES_H

#include "request/request.h"

/**
 * Set what is known while the request exists: comet-channel, comet-transport
 * and comet-way.  Called by the thread that owns the request.
 * @param request  the request's record
 * @param target  the request that gets the notes: @a r, or the last one of its
 *                internal redirects
 */
void mod_comet_notes_begin(request_rec *r, const mod_comet_request_t *request,
                           request_rec *target);

/**
 * Set what is known at the end: comet-messages, comet-cursor and comet-end.
 * Called by the thread that writes the log.
 * @param aborted  whether the client had left before the end
 */
void mod_comet_notes_end(request_rec *target, const mod_comet_story_t *story,
                         int aborted);

#endif /* MOD_COMET_NOTES_H */
