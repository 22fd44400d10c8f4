// SPDX-License-Identifier: Apache-2.0
// Every driver prints each event as a line of JSON.

export const TYPES = ['message', 'note', 'gap'];

export function print(event) {
  process.stdout.write(JSON.stringify({
    id: event.lastEventId,
    type: event.type,
    data: event.data,
  }) + '\n');
}

// The URL to subscribe to is the only argument; the parent ends a driver by
// closing its standard input.
export function url() {
  process.stdin.on('end', () => process.exit(0)).resume();
  return process.argv[2];
}
