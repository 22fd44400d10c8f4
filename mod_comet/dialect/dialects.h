/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file dialect/dialects.h
 * Declare the dialects that tables/dialects.def lists.
 */
#ifndef MOD_COMET_DIALECTS_H
#define MOD_COMET_DIALECTS_H

#include "request/dialect.h"

#define DIALECT(name, directive, help) \
    extern const mod_comet_dialect_t mod_comet_dialect_##name;
#include "tables/dialects.def"
#undef DIALECT

#endif /* MOD_COMET_DIALECTS_H */
