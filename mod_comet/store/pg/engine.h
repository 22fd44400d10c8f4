/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/pg/engine.h
 * PostgreSQL as a storage engine: "CometStore postgresql:…".
 */
#ifndef COMET_PG_ENGINE_H
#define COMET_PG_ENGINE_H

#include "store/engine.h"

extern const comet_engine_t comet_engine_pg;

#endif /* COMET_PG_ENGINE_H */
