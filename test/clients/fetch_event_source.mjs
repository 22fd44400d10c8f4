// SPDX-License-Identifier: Apache-2.0
// npm `@microsoft/fetch-event-source`, used outside a browser.

import { createRequire } from 'node:module';
import { print, url } from './print.mjs';

globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {},
                        removeEventListener() {} };
const require = createRequire(import.meta.url);
const { fetchEventSource } = require('@microsoft/fetch-event-source');

fetchEventSource(url(), {
  openWhenHidden: true,
  // Called for every empty line, even after a comment or a lone `retry:`.
  onmessage({ id, event, data }) {
    if (data !== '') {
      print({ lastEventId: id, type: event || 'message', data });
    }
  },
  // When a stream ends, throw, so that the library reconnects: its README says
  // that this is needed.
  onclose() {
    throw new Error('closed');
  },
  // Return nothing, so that the library tries again after the time in `retry:`.
  onerror() {},
});
