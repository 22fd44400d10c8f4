/* SPDX-License-Identifier: Apache-2.0 */
/* Watch a store: each function calls the engine of the watch. */
#include "store/engine.h"

comet_watch_t *comet_watch_open(const comet_place_t *place, apr_time_t now)
{
    return place->engine->watch ? place->engine->watch->open(place, now) : NULL;
}

void comet_watch_close(comet_watch_t *watch)
{
    if (watch) {
        watch->engine->close(watch);
    }
}

int comet_watch_fd(const comet_watch_t *watch)
{
    return watch->engine->fd(watch);
}

void comet_watch_event(comet_watch_t *watch, apr_time_t now)
{
    watch->engine->event(watch, now);
}

apr_time_t comet_watch_due(const comet_watch_t *watch)
{
    return watch->engine->due(watch);
}

void comet_watch_look(comet_watch_t *watch, apr_time_t now)
{
    watch->engine->look(watch, now);
}

void comet_watch_looked(comet_watch_t *watch, int changed, apr_time_t now)
{
    watch->engine->looked(watch, changed, now);
}

void comet_watch_pause(comet_watch_t *watch, apr_time_t now)
{
    watch->engine->pause(watch, now);
}

void comet_watch_tell(comet_watch_t *watch, apr_time_t now)
{
    if (watch->engine->tell) {
        watch->engine->tell(watch, now);
    }
}

void comet_watch_announce(comet_watch_t *watch, apr_time_t now)
{
    if (watch->engine->announce) {
        watch->engine->announce(watch, now);
    }
}

int comet_watch_take_announcement(comet_watch_t *watch)
{
    return watch->engine->take_announcement
           && watch->engine->take_announcement(watch);
}

int comet_watch_take_hint(comet_watch_t *watch)
{
    return watch->engine->take_hint && watch->engine->take_hint(watch);
}
