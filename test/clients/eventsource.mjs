// SPDX-License-Identifier: Apache-2.0
// npm `eventsource`, as its README shows it.

import { EventSource } from 'eventsource';
import { print, TYPES, url } from './print.mjs';

const source = new EventSource(url());
for (const type of TYPES) {
  source.addEventListener(type, print);
}
