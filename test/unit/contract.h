/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file contract.h
 * What store/store.h promises, as tests that every engine must pass.  Each
 * engine has a program that runs them: test_contract.c in its folder.
 */
#ifndef CONTRACT_H
#define CONTRACT_H

#include "scratch.h"

/** How the tests reach an engine. */
typedef struct contract_engine_t {
    /** Called before the first test.  @return NULL, or why all tests are
     * skipped */
    const char *(*begin)(void);
    void (*end)(void); /* called after the last test */
    /** Make an empty store, as on the first start of a server. */
    comet_place_t (*make)(void);
    /**
     * Run SQL as another program.  In the SQL, the log's view is named
     * "message".
     * @return "", or why the SQL was refused
     */
    const char *(*run)(const char *sql);
} contract_engine_t;

/** Run the tests.  @return what main() returns */
int contract_run(const contract_engine_t *engine);

#endif /* CONTRACT_H */
