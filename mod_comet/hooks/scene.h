/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hooks/scene.h
 * All lines of the configuration that can concern the mapped URLs of one
 * server, each with the section that it is in.  Parent only (see
 * server/tree.h).
 */
#ifndef MOD_COMET_SCENE_H
#define MOD_COMET_SCENE_H

#include "server/config.h"

/** A <Location> or a <LocationMatch>. */
typedef struct mod_comet_section_t {
    const ap_directive_t *node;
    const char *path; /* as the configuration spells it */
    const ap_regex_t *regex; /* NULL: the path is compared */
    int is_pattern; /* the path has wildcards */
} mod_comet_section_t;

/** A directive.  One inside <If>, <RequireAny> or the like counts as a line of
 * the <Location> around that. */
typedef struct mod_comet_line_t {
    const ap_directive_t *node;
    const mod_comet_section_t *section; /* NULL: the line is in no section */
    int is_limited; /* the line is in a <Limit>, so it applies only to some
                     * methods */
} mod_comet_line_t;

/** A server's lines, in the order of the configuration. */
typedef struct mod_comet_scene_t {
    server_rec *server;
    const mod_comet_server_config_t *config;
    const apr_array_header_t *lines; /* mod_comet_line_t: those of the main
                                      * server, then the host's own */
    apr_pool_t *pool;
} mod_comet_scene_t;

/**
 * Collect a server's lines.
 * @param main  the main server's scene; NULL: @a s is the main server
 * @param p     where the scene lives
 */
mod_comet_scene_t *mod_comet_scene_make(server_rec *s,
                                        const mod_comet_scene_t *main,
                                        apr_pool_t *p);

/** Get an argument of a directive; "" if the directive has fewer.
 * @param number  0: the first */
const char *mod_comet_scene_word(const ap_directive_t *node, int number,
                                 apr_pool_t *p);

/** Whether a line has this directive. */
int mod_comet_scene_is(const mod_comet_line_t *line, const char *directive);

/** Whether the server's connections are encrypted (SSLEngine). */
int mod_comet_scene_has_tls(const mod_comet_scene_t *scene);

/** Whether the server's Protocols lists a protocol. */
int mod_comet_scene_speaks(const mod_comet_scene_t *scene,
                           const char *protocol);

/** Whether a section has a plain path, so that it is known which URLs it
 * concerns. */
int mod_comet_scene_is_plain(const mod_comet_section_t *section);

/** Whether a section applies to a URL.
 * @param section  NULL: the section of all URLs */
int mod_comet_scene_applies(const mod_comet_section_t *section,
                            const char *url);

/** Whether a mapping serves the requests for a URL. */
int mod_comet_scene_maps(const mod_comet_mapping_t *mapping, const char *url);

/** Whether a section certainly applies to a mapping's URL or to one below it.
 * @param section  NULL: the section of all URLs */
int mod_comet_scene_concerns(const mod_comet_section_t *section,
                             const mod_comet_mapping_t *mapping, apr_pool_t *p);

/** Whether a section certainly concerns one of the server's mappings. */
int mod_comet_scene_concerns_any(const mod_comet_section_t *section,
                                 const mod_comet_scene_t *scene);

/** Whether some URL can be in both sections.
 * @param a, b  NULL: the section of all URLs */
int mod_comet_scene_overlap(const mod_comet_section_t *a,
                            const mod_comet_section_t *b);

#endif /* MOD_COMET_SCENE_H */
