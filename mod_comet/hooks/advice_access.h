/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hooks/advice_access.h
 * Warnings about who may use the mapped URLs.  Parent only.
 */
#ifndef MOD_COMET_ADVICE_ACCESS_H
#define MOD_COMET_ADVICE_ACCESS_H

#include "hooks/scene.h"
#include "hooks/warning.h"

/** Warn of URLs that everybody may use because no rule applies to them, and of
 * rules that nobody can satisfy. */
void mod_comet_advice_access_check(mod_comet_warnings_t *warnings,
                                   const mod_comet_scene_t *scene);

#endif /* MOD_COMET_ADVICE_ACCESS_H */
