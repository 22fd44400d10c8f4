/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hooks/advice_urls.h
 * Warnings about lines that name the wrong URL.  Parent only.
 */
#ifndef MOD_COMET_ADVICE_URLS_H
#define MOD_COMET_ADVICE_URLS_H

#include "hooks/scene.h"
#include "hooks/warning.h"

/** The directives of this module that stand in sections, and whether a mapping
 * uses those sections. */
typedef struct mod_comet_uses_t {
    apr_array_header_t *lines; /* mod_comet_line_t, each directive once */
    apr_hash_t *known; /* the set of the nodes that are in `lines` */
    apr_hash_t *used; /* the set of the nodes of the sections that concern a
                       * mapping */
    apr_hash_t *misspelt; /* the set of those that would if their paths were
                           * right */
    const char *urls; /* some of the mapped URLs, for messages */
    int count; /* how many URLs `urls` lists */
} mod_comet_uses_t;

/** Begin to note sections.
 * @return an empty record for mod_comet_advice_urls_note(), in @a p */
mod_comet_uses_t *mod_comet_advice_urls_begin(apr_pool_t *p);

/** Warn of lines of one server that have no effect, or that send clients away,
 * because a mapping names the same URL. */
void mod_comet_advice_urls_check(mod_comet_warnings_t *warnings,
                                 const mod_comet_scene_t *scene);

/** Note which sections with directives of this module concern a mapping of a
 * server. */
void mod_comet_advice_urls_note(mod_comet_uses_t *uses,
                                const mod_comet_scene_t *scene);

/** Warn of sections that concern no mapping.  Called after all servers were
 * noted. */
void mod_comet_advice_urls_end(mod_comet_warnings_t *warnings,
                               const mod_comet_uses_t *uses);

#endif /* MOD_COMET_ADVICE_URLS_H */
