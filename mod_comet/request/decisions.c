/* SPDX-License-Identifier: Apache-2.0 */
/* Decisions of the site's application, kept for a while. */
#include "request/decisions.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* How many decisions a child can keep.  The first decision allocates the table
 * of 300 KB. */
#define PLACES 1024

typedef struct place_t {
    unsigned char key[COMET_DIGEST_BYTES];
    mod_comet_decision_t decision; /* ->until 0: the place is free */
} place_t;

static struct {
    pthread_mutex_t lock;
    place_t *places; /* [lock] NULL: nothing was kept yet */
} table = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Find the only place where a key can be.  The first two bytes of the digest
 * choose the place. */
static place_t *place_of(const unsigned char *key)
{
    return &table.places[(key[0] << 8 | key[1]) % PLACES];
}

int mod_comet_decisions_find(const unsigned char key[COMET_DIGEST_BYTES],
                             mod_comet_decision_t *decision)
{
    int is_found = 0;

    pthread_mutex_lock(&table.lock);
    if (table.places) {
        const place_t *place = place_of(key);

        is_found = place->decision.until > comet_monotonic()
                   && memcmp(place->key, key, sizeof(place->key)) == 0;
        if (is_found) {
            *decision = place->decision;
        }
    }
    pthread_mutex_unlock(&table.lock);
    return is_found;
}

void mod_comet_decisions_keep(const unsigned char key[COMET_DIGEST_BYTES],
                              const mod_comet_decision_t *decision)
{
    pthread_mutex_lock(&table.lock);
    if (!table.places) {
        table.places = calloc(PLACES, sizeof(*table.places));
    }
    if (table.places) {
        place_t *place = place_of(key);

        memcpy(place->key, key, sizeof(place->key));
        place->decision = *decision;
    }
    pthread_mutex_unlock(&table.lock);
}
