/* SPDX-License-Identifier: Apache-2.0 */
/* Replay the fuzzers' corpora, so that no fault that they have found
 * returns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>

/* The fuzzers' own sources; the function of each one gets a different name. */
#define LLVMFuzzerTestOneInput fuzz_params
#include "../../fuzz/fuzz_params.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_encode
#include "../../fuzz/fuzz_encode.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_lines
#include "../../fuzz/fuzz_ndjson.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_selection
#include "../../fuzz/fuzz_selection.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_head
#include "../../fuzz/fuzz_head.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_h2_scanner
#include "../../fuzz/fuzz_h2_scanner.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_h2_session
#include "../../fuzz/fuzz_h2_session.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_pattern
#include "../../fuzz/fuzz_pattern.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_websocket
#include "../../fuzz/fuzz_websocket.c"
#undef LLVMFuzzerTestOneInput

typedef int fuzz_fn(const uint8_t *data, size_t size);

#define LARGEST_BYTES (1024 * 1024)
/* The least number of files that a corpus must have: an empty corpus would
 * prove nothing. */
#define FEWEST_FILES 15

/* Run one file.  If the file is short, also run each prefix of it. */
static void replay_file(const char *path, fuzz_fn *fuzz)
{
    static uint8_t data[LARGEST_BYTES];
    FILE *file = fopen(path, "rb");
    size_t size, length;

    assert_non_null(file);
    size = fread(data, 1, sizeof(data), file);
    assert_int_equal(ferror(file), 0);
    assert_int_equal(fclose(file), 0);
    fuzz(data, size);
    for (length = size < 200 ? size : 0; length > 0; length--) {
        /* an exact copy, so that the sanitizer notices reads beyond its end */
        uint8_t *part = malloc(length);

        assert_non_null(part);
        memcpy(part, data, length);
        fuzz(part, length);
        free(part);
    }
}

/* Replay a corpus.  Its folder is found relative to this source file. */
static void replay(const char *name, fuzz_fn *fuzz)
{
    static const char here[] = __FILE__;
    const char *slash = strrchr(here, '/');
    int length = slash ? (int)(slash - here + 1) : 0;
    char folder[1000], path[1300];
    struct dirent *entry;
    DIR *list;
    int count = 0;

    snprintf(folder, sizeof(folder), "%.*s../../fuzz/corpus/%s", length, here,
             name);
    list = opendir(folder);
    if (!list) {
        fail_msg("%s: not found (run from the top of the tree)", folder);
        return;
    }
    while ((entry = readdir(list))) {
        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
            replay_file(path, fuzz);
            count++;
        }
    }
    closedir(list);
    assert_true(count >= FEWEST_FILES);
}

static void test_params_corpus(void **state)
{
    replay("params", fuzz_params);
}

static void test_encode_corpus(void **state)
{
    replay("encode", fuzz_encode);
}

static void test_lines_corpus(void **state)
{
    replay("ndjson", fuzz_lines);
}

static void test_selection_corpus(void **state)
{
    replay("selection", fuzz_selection);
}

static void test_head_corpus(void **state)
{
    replay("head", fuzz_head);
}

static void test_h2_scanner_corpus(void **state)
{
    replay("h2_scanner", fuzz_h2_scanner);
}

static void test_h2_session_corpus(void **state)
{
    replay("h2_session", fuzz_h2_session);
}

static void test_pattern_corpus(void **state)
{
    replay("pattern", fuzz_pattern);
}

static void test_websocket_corpus(void **state)
{
    replay("websocket", fuzz_websocket);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_params_corpus),
        cmocka_unit_test(test_encode_corpus),
        cmocka_unit_test(test_lines_corpus),
        cmocka_unit_test(test_selection_corpus),
        cmocka_unit_test(test_head_corpus),
        cmocka_unit_test(test_h2_scanner_corpus),
        cmocka_unit_test(test_h2_session_corpus),
        cmocka_unit_test(test_pattern_corpus),
        cmocka_unit_test(test_websocket_corpus),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
