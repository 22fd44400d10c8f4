// SPDX-License-Identifier: Apache-2.0
// Messages as rows of a list.  The contents of a message are always shown as text.

const rowTemplate = document.querySelector('#row');
const noteTemplate = document.querySelector('#note');

/** Make the row of a message. The latency is in milliseconds, or undefined. */
export function makeRow({ timestamp, channel, type, author, body }, latency) {
    const row = rowTemplate.content.firstElementChild.cloneNode(true);
    const put = (name, text) => {
        row.querySelector(name).textContent = text;
    };
    const date = new Date(timestamp / 1000);
    const time = row.querySelector('time');
    const today = date.toDateString() === new Date().toDateString();

    time.dateTime = date.toISOString();
    time.title = `${date.toLocaleString([], { dateStyle: 'full', timeStyle: 'medium' })}\n${timestamp}`;
    time.textContent = date.toLocaleString([], {
        hour: '2-digit', minute: '2-digit', second: '2-digit',
        fractionalSecondDigits: 3,
        ...(today ? {} : { day: 'numeric', month: 'short', year: 'numeric' }),
    });
    row.dataset.timestamp = timestamp;
    row.dataset.channel = channel;
    put('.channel', channel);
    put('.type', type === 'message' ? '' : type);
    put('.author', author ?? '');
    row.querySelector('.by').hidden = !author;
    put('.body', body);
    put('.latency', latency === undefined ? '' : showDuration(latency));
    return row;
}

/** Make a row that is not a message. */
export function makeNote(text) {
    const note = noteTemplate.content.firstElementChild.cloneNode(true);
    note.textContent = text;
    return note;
}

/** A number of milliseconds, as people read it. */
export function showDuration(ms) {
    const size = Math.abs(ms);
    return size < 10 ? `${ms.toFixed(1)} ms`
        : size < 10_000 ? `${Math.round(ms)} ms`
        : `${(ms / 1000).toFixed(1)} s`;
}
