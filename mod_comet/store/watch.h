/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/watch.h
 * Noticing that a process outside httpd has written to a store.
 *
 * A watch is a hint: it makes the hub look at the store soon, and one that is
 * lost only makes the look late.  A watch belongs to one thread.
 */
#ifndef COMET_WATCH_H
#define COMET_WATCH_H

#include "store/store.h"

typedef struct comet_watch_t comet_watch_t;

/** How an engine watches; the functions are those below. */
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
} comet_watch_engine_t;

/** What the watches of all engines begin with. */
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

/** The descriptor that becomes readable when something may have happened; the
 * watch owns it, perhaps together with other watches of its thread.  -1: there
 * is none, and comet_watch_due() alone says when to look. */
int comet_watch_fd(const comet_watch_t *watch);

/** Call this when the descriptor has become readable: once each time, and for
 * one of the watches that share it, so an edge-triggered epoll is enough.  Then
 * ask each watch when it is due. */
void comet_watch_event(comet_watch_t *watch, apr_time_t now);

/** When to look at the store next; 0: not before an event. */
apr_time_t comet_watch_due(const comet_watch_t *watch);

/** The store is about to be looked at.  Call before each look. */
void comet_watch_look(comet_watch_t *watch, apr_time_t now);

/**
 * The store was looked at.
 * @param changed  whether the look saw a commit
 */
void comet_watch_looked(comet_watch_t *watch, int changed, apr_time_t now);

/** The look has failed: let some time pass before the next one, whatever
 * happens.  Call after comet_watch_looked(). */
void comet_watch_pause(comet_watch_t *watch, apr_time_t now);

/** A child of this server has committed: tell the watches of other servers that
 * use the store, now or soon.  Does nothing if the engine cannot tell them. */
void comet_watch_tell(comet_watch_t *watch, apr_time_t now);

#endif /* COMET_WATCH_H */
