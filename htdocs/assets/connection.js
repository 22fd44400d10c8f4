// SPDX-License-Identifier: Apache-2.0
// Helps the pages stay connected: the words for a state, the pause before the
// next attempt, and the events after which an attempt is worth making at once.

const WORDS = {
    connecting: 'Connecting…',
    connected: 'Connected',
    reconnecting: 'Reconnecting…',
    offline: 'Offline',
    closed: 'Not connected',
};

/** Shows a state and its reason in an element with a .word and a .why. */
export function showState(element, state, why = '') {
    element.dataset.state = state;
    say(element.querySelector('.word'), WORDS[state]);
    say(element.querySelector('.why'), why);
}

/** Sets a text only if it has changed, since a screen reader repeats each text
 * that is set. */
export function say(element, text) {
    if (element.textContent !== text) {
        element.textContent = text;
    }
}

/** The state to show after a failure. */
export const lostState = () => (navigator.onLine ? 'reconnecting' : 'offline');

/**
 * How long to pause after the n-th failure in a row (from 0), in milliseconds:
 * a random part of half a second, doubled each time up to 30 s. So a thousand
 * pages do not come back at the same instant.
 */
export function backoff(failures) {
    const most = Math.min(30_000, 500 * 2 ** failures);
    return most * (0.5 + Math.random() / 2);
}

/** Calls back when the network comes or goes, or the page is hidden or shown
 * again. */
export function onChange(callback) {
    addEventListener('online', callback);
    addEventListener('offline', callback);
    document.addEventListener('visibilitychange', callback);
    addEventListener('pageshow', (event) => event.persisted && callback());
}
