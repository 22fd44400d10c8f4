// SPDX-License-Identifier: Apache-2.0
// npm `@microsoft/fetch-event-source`, outside the browser it is made for.

import { createRequire } from 'node:module';
import { print, url } from './print.mjs';

globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {},
                        removeEventListener() {} };
const require = createRequire(import.meta.url);
const { fetchEventSource } = require('@microsoft/fetch-event-source');

fetchEventSource(url(), {
  openWhenHidden: true,
  // It calls for every empty line, also after a comment or a mere `retry:`.
  onmessage({ id, event, data }) {
    if (data !== '') {
      print({ lastEventId: id, type: event || 'message', data });
    }
  },
  // The end of the stream is no reason to end, says its README by this.
  onclose() {
    throw new Error('closed');
  },
  // No answer: it tries again after the time that `retry:` gave.
  onerror() {},
});
