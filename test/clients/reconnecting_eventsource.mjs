// SPDX-License-Identifier: Apache-2.0
// npm `reconnecting-eventsource` around npm `eventsource`; after an error
// status it resumes with the parameter `lastEventId`.

import { EventSource } from 'eventsource';
import { createRequire } from 'node:module';
import { print, TYPES, url } from './print.mjs';

// The package's ES module lacks the suffix .mjs, which node requires.
const require = createRequire(import.meta.url);
const { default: ReconnectingEventSource } = require('reconnecting-eventsource');

const source = new ReconnectingEventSource(url(), {
  eventSourceClass: EventSource,
  max_retry_time: 1000,
});
for (const type of TYPES) {
  source.addEventListener(type, print);
}
