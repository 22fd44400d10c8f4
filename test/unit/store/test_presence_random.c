/* SPDX-License-Identifier: Apache-2.0 */
/* Presence under random actions: what was published always adds up to what the
 * store has.  PRESENCE_STEPS=10000 makes the test longer, PRESENCE_SEED=N
 * chooses other actions. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "presence_kit.h"

#include <stdio.h>
#include <stdlib.h>

#include "reference.h"

static uint64_t seed = 20260;


static int pick(int count)
{
    return (int)(reference_random(&seed) % (uint64_t)count);
}

/* Once nothing changes any more, exactly those members must be online who have
 * a client that was not thrown out. */
static void check_clients(void)
{
    int channel, member, i;

    for (channel = 0; channel < HERE_CHANNELS; channel++) {
        for (member = 0; member < HERE_MEMBERS; member++) {
            char sql[300],
                *quoted = sqlite3_mprintf(
                    "SELECT count(*) FROM online WHERE channel = %Q AND member = %Q",
                    here_channel_of(channel), here_name_of(member));
            int wanted = 0;

            snprintf(sql, sizeof(sql), "%s", quoted);
            sqlite3_free(quoted);
            for (i = 0; i < HERE_SEATS; i++) {
                wanted |= here_clients[i].seat
                          && here_clients[i].channel == channel
                          && here_clients[i].member == member
                          && !here_is_revoked(&here_clients[i]);
            }
            here_await(sql, wanted);
        }
    }
}

static void act(void)
{
    int what = pick(100), child = pick(HERE_CHILDREN), i = pick(HERE_SEATS);
    char *sql;

    if (what < 45 && i < HERE_SEATS - 5) {
        for (i = 0; i < HERE_SEATS && here_clients[i].seat; i++) {
        }
        if (i < HERE_SEATS) {
            here_enter(child, pick(HERE_CHANNELS), pick(HERE_MEMBERS + 1) - 1);
        }
    }
    else if (what < 90 && here_clients[i].seat) {
        here_leave(&here_clients[i]);
    }
    else if (what < 94) {
        sql = sqlite3_mprintf("DELETE FROM online WHERE member = %Q",
                              here_name_of(pick(HERE_MEMBERS)));
        kit_must_run(here_outside, sql);
        sqlite3_free(sql);
        here_notice_all();
    }
    else if (what < 96) {
        here_children[child].stalled = !here_children[child].stalled;
    }
    else if (what < 98) {
        here_death(&here_children[child], pick(2));
        here_birth(&here_children[child]);
    }
    else {
        here_run_for(HERE_GRACE / 10 * pick(10));
    }
}

static void test_random(void **state)
{
    const char *many = getenv("PRESENCE_STEPS");
    const char *other = getenv("PRESENCE_SEED");
    int left = many ? (int)strtol(many, NULL, 10) : 600, i;

    seed = other ? (uint64_t)strtoll(other, NULL, 10) : seed;
    while (left > 0) {
        for (i = 0; i < 200; i++, left--) {
            act();
            here_steps();
            if (i % 4 == 0) {
                here_check_sum();
            }
        }
        here_check_order();
        for (i = 0; i < HERE_CHILDREN; i++) {
            here_children[i].stalled = 0;
        }
        here_run_for(3 * HERE_GRACE);
        check_clients();
        here_check_sum();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HERE_TEST(test_random),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, here_begin, here_end);
}
