// SPDX-License-Identifier: Apache-2.0
// npm `event-source-polyfill`; it resumes with the parameter `lastEventId`.

import polyfill from 'event-source-polyfill';
import { print, TYPES, url } from './print.mjs';

const source = new polyfill.EventSourcePolyfill(url());
for (const type of TYPES) {
  source.addEventListener(type, print);
}
