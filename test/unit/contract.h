/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file contract.h
 * What store/store.h promises, as tests that every engine must pass.  A program
 * for each engine (test_contract.c in its folder) runs them.
 */
#ifndef CONTRACT_H
#define CONTRACT_H

#include "scratch.h"

/** How the tests reach an engine. */
typedef struct contract_engine_t {
    /** Before the first test.  @return NULL, or why all are skipped */
    const char *(*begin)(void);
    void (*end)(void); /* after the last one */
    /** An empty store, as at the first start. */
    comet_place_t (*make)(void);
    /**
     * Another program runs SQL, in which the view is called "message".
     * @return "", or why it was refused
     */
    const char *(*run)(const char *sql);
} contract_engine_t;

/** Run the tests.  @return what main() returns */
int contract_run(const contract_engine_t *engine);

#endif /* CONTRACT_H */
