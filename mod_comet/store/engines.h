/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/engines.h
 * Look up engines by name.  The main process calls these functions while it
 * reads its configuration.
 */
#ifndef COMET_ENGINES_H
#define COMET_ENGINES_H

#include "store/engine.h"

/** The engine that is linked into mod_comet. */
const comet_engine_t *comet_engines_own(void);

/**
 * Read CometStore's argument, NAME:TEXT.
 * @param place    OUT; the engine's locate() must still resolve it
 * @param engines  all registered engines (const comet_engine_t *)
 * @param root     the folder that relative names are relative to
 * @param p        the place's texts are allocated from it
 * @return NULL, or what is expected instead
 */
const char *comet_engines_parse(comet_place_t *place, const char *value,
                                const apr_array_header_t *engines,
                                const char *root, apr_pool_t *p);

/** How to write CometStore's argument: the usage of each engine, joined by
 * " or ". */
const char *comet_engines_usage(const apr_array_header_t *engines,
                                apr_pool_t *p);

#endif /* COMET_ENGINES_H */
