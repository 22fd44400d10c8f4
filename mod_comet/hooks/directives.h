/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hooks/directives.h
 * The directives.
 */
#ifndef MOD_COMET_DIRECTIVES_H
#define MOD_COMET_DIRECTIVES_H

#include "server/mod_comet.h"

/** For the module's record. */
extern const command_rec mod_comet_directives[];

#endif /* MOD_COMET_DIRECTIVES_H */
