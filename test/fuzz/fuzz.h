/* SPDX-License-Identifier: Apache-2.0 */
/** What all fuzzers share. */
#ifndef COMET_FUZZ_H
#define COMET_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Unlike assert(), this is checked in every build. */
#define MUST(condition) \
    do { \
        if (!(condition)) { \
            abort(); \
        } \
    } while (0)

#endif /* COMET_FUZZ_H */
