/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/watch.h
 * Notice that a process outside httpd has written to a store.
 *
 * A watch gives hints: a hint makes the hub look at the store soon.  If a hint
 * is lost, the hub only looks later.  A watch belongs to one thread.
 */
#ifndef COMET_WATCH_H
#define COMET_WATCH_H

#include "store/store.h"

typedef struct comet_watch_t comet_watch_t;

/** An engine's implementation of the functions below. */
typedef struct comet_watch_engine_t {
    comet_watch_t *(*open)(const comet_place_t *place, apr_time_t now);
    void (*close)(comet_watch_t *watch);
    int (*fd)(const comet_watch_t *watch);
    void (*event)(comet_watch_t *watch, apr_time_t now);
    apr_time_t (*due)(const comet_watch_t *watch);
    void (*look)(comet_watch_t *watch, apr_time_t now);
    void (*looked)(comet_watch_t *watch, int changed, apr_time_t now);
    void (*pause)(comet_watch_t *watch, apr_time_t now);
    void (*tell)(comet_watch_t *watch, apr_time_t now); /* or NULL */
    void (*announce)(comet_watch_t *watch, apr_time_t now); /* or NULL */
    int (*take_hint)(comet_watch_t *watch); /* or NULL */
    int (*take_announcement)(comet_watch_t *watch); /* or NULL */
} comet_watch_engine_t;

/** Every engine's watch begins with this struct. */
struct comet_watch_t {
    const comet_watch_engine_t *engine;
};

/**
 * Begin to watch a store.
 * @return NULL: no memory, or the store's engine cannot watch
 */
comet_watch_t *comet_watch_open(const comet_place_t *place, apr_time_t now);

/** Stop watching; NULL is ignored. */
void comet_watch_close(comet_watch_t *watch);

/** Get the descriptor that becomes readable when something may have happened.
 * The watch owns it, and may share it with other watches of its thread.
 * @return -1: there is none, and only comet_watch_due() says when to look */
int comet_watch_fd(const comet_watch_t *watch);

/** Call this each time the descriptor becomes readable, for only one of the
 * watches that share it.  Afterwards ask each of these watches when it is due.
 * The descriptor may be polled edge-triggered. */
void comet_watch_event(comet_watch_t *watch, apr_time_t now);

/** When to look at the store next; 0: not before an event. */
apr_time_t comet_watch_due(const comet_watch_t *watch);

/** Call this before each look at the store. */
void comet_watch_look(comet_watch_t *watch, apr_time_t now);

/**
 * Call this after each look at the store.
 * @param changed  whether the look found a commit
 */
void comet_watch_looked(comet_watch_t *watch, int changed, apr_time_t now);

/** Call this after comet_watch_looked() if the look has failed.  Then the next
 * look is due only after a pause, whatever events arrive. */
void comet_watch_pause(comet_watch_t *watch, apr_time_t now);

/** Call this when a child of this server has committed.  It tells the watches
 * of other servers that use the store, now or soon; it does nothing if the
 * engine cannot tell them. */
void comet_watch_tell(comet_watch_t *watch, apr_time_t now);

/** Call this when a child of this server has begun to commit after a rest.  It
 * announces the commit to the watches of other servers, if that can be done at
 * once. */
void comet_watch_announce(comet_watch_t *watch, apr_time_t now);

/** Whether another server has told this watch of a commit since the last
 * call. */
int comet_watch_take_hint(comet_watch_t *watch);

/** Whether another server has announced a commit since the last call. */
int comet_watch_take_announcement(comet_watch_t *watch);

#endif /* COMET_WATCH_H */
