/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file request/story.h
 * What became of a request, for the access log (output/notes.h): how many
 * messages its client received, the client's cursor, and why the request ended.
 * The owner of the request, or of its stream, owns the story.
 */
#ifndef MOD_COMET_STORY_H
#define MOD_COMET_STORY_H

#include "base/message.h"

/** Why a request ended (see tables/ends.def). */
typedef enum {
    MOD_COMET_END_UNTOLD, /* no reason is known yet */
#define END(name, text, help) MOD_COMET_END_##name,
#include "tables/ends.def"
#undef END
} mod_comet_end_e;

/** Zero-initialised: nothing has happened yet. */
typedef struct mod_comet_story_t {
    apr_int64_t messages; /* how many messages the client received, or
                           * published */
    comet_timestamp_t cursor; /* the timestamp of the last of them, or the
                               * cursor that the client began with; 0: none */
    const char *way; /* how the request waits, as in tables/ways.def; NULL: it
                      * did not wait */
    mod_comet_end_e end;
} mod_comet_story_t;

/**
 * Count messages that a client receives, here and in comet-status.
 * @param last  the timestamp of the last one
 */
void mod_comet_story_deliver(mod_comet_story_t *story, apr_size_t count,
                             comet_timestamp_t last);

/** Undo what was counted since @a before was copied: those messages are not
 * sent after all. */
void mod_comet_story_take_back(mod_comet_story_t *story,
                               const mod_comet_story_t *before);

/** Say why the request ends.  Only the first reason counts. */
void mod_comet_story_end(mod_comet_story_t *story, mod_comet_end_e end);

/**
 * Say why a waiting client's request ends.
 * @param reasons  the values of comet_reason_e with which the hub served the
 *                 client, as bits; those that end no request are ignored
 * @param is_over  whether the client's time is over (mod_comet_ask_end())
 */
void mod_comet_story_end_by(mod_comet_story_t *story, unsigned reasons,
                            int is_over);

/** The text of a reason.  @return NULL for MOD_COMET_END_UNTOLD.  Any
 * thread. */
const char *mod_comet_story_end_text(mod_comet_end_e end);

#endif /* MOD_COMET_STORY_H */
