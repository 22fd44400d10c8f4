/* SPDX-License-Identifier: Apache-2.0 */
/* Memory shared with forks, and mutexes whose holders die or stop. */
#include "scratch.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "shared/memory.h"

/** Shared by all processes of a test. */
typedef struct board_t {
    pthread_mutex_t mutex;
    atomic_int held;
} board_t;

static board_t *board;

static int setup(void **state)
{
    board = scratch_shared(sizeof(*board));
    assert_int_equal(comet_memory_init_mutex(&board->mutex), 0);
    return 0;
}

static int teardown(void **state)
{
    comet_memory_unmap(board, sizeof(*board));
    return 0;
}

/* Lock the mutex in a child that never unlocks it. */
static int hold_in_child(void *baton)
{
    if (comet_memory_trylock(&board->mutex) != 0) {
        return 1;
    }
    atomic_store(&board->held, 1);
    while (pause()) {
    }
    return 0;
}

static int start_holder(void)
{
    int pid;

    atomic_store(&board->held, 0);
    pid = scratch_fork(hold_in_child, NULL);
    wait_until(atomic_load(&board->held));
    return pid;
}

static void kill_holder(int pid)
{
    kill(pid, SIGKILL);
    assert_int_equal(scratch_reap(pid), -SIGKILL);
}

static void unlock(void)
{
    assert_int_equal(pthread_mutex_unlock(&board->mutex), 0);
}

/* Mapping more than the address space fails cleanly. */
static void test_map_fails(void **state)
{
    void *memory = board;

    assert_int_equal(comet_memory_map(&memory, APR_SIZE_MAX / 2), ENOMEM);
    assert_null(memory);
}

/* Memory is zeroed, and the parent sees what a child writes. */
static void test_shared(void **state)
{
    int pid;

    assert_int_equal(atomic_load(&board->held), 0);
    pid = start_holder();
    assert_int_equal(atomic_load(&board->held), 1);
    kill_holder(pid);
}

static void test_lock(void **state)
{
    assert_int_equal(comet_memory_trylock(&board->mutex), 0);
    assert_int_equal(comet_memory_trylock(&board->mutex), EDEADLK);
    assert_int_equal(comet_memory_lock_within(&board->mutex, SECOND), EDEADLK);
    unlock();
    assert_int_equal(comet_memory_lock_within(&board->mutex, SECOND), 0);
    unlock();
    assert_true(comet_memory_is_locked(0));
    assert_true(comet_memory_is_locked(EOWNERDEAD));
    assert_false(comet_memory_is_locked(EBUSY));
    assert_false(comet_memory_is_locked(ETIMEDOUT));
    assert_false(comet_memory_is_locked(EDEADLK));
}

/* Waiting for the mutex ends on time while another process holds it. */
static void test_holder_lives(void **state)
{
    int pid = start_holder();
    int64_t began = scratch_usec();

    assert_int_equal(comet_memory_trylock(&board->mutex), EBUSY);
    assert_int_equal(comet_memory_lock_within(&board->mutex, 20 * MS),
                     ETIMEDOUT);
    assert_true(scratch_usec() - began >= 20 * MS);
    kill_holder(pid);
}

/* Only the first process that locks the mutex after its holder died is told so,
 * whichever way it locks. */
static void test_holder_dies(void **state)
{
    int i;

    for (i = 0; i < 4; i++) {
        kill_holder(start_holder());
        assert_int_equal(i % 2
                             ? comet_memory_trylock(&board->mutex)
                             : comet_memory_lock_within(&board->mutex, SECOND),
                         EOWNERDEAD);
        unlock();
        assert_int_equal(comet_memory_trylock(&board->mutex), 0);
        unlock();
    }
}

/* When the holder dies, a thread that already waits takes over. */
static void *wait_for_lock(void *baton)
{
    int *result = baton;

    *result = comet_memory_lock_within(&board->mutex, 30 * SECOND);
    if (comet_memory_is_locked(*result)) {
        pthread_mutex_unlock(&board->mutex);
    }
    return NULL;
}

static void test_holder_dies_while_waited_for(void **state)
{
    pthread_t thread;
    int result = -1, pid = start_holder();

    assert_int_equal(pthread_create(&thread, NULL, wait_for_lock, &result), 0);
    kill_holder(pid);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(result, EOWNERDEAD);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_map_fails),   TEST(test_shared),
        TEST(test_lock),        TEST(test_holder_lives),
        TEST(test_holder_dies), TEST(test_holder_dies_while_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
