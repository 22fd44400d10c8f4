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

// The only argument is the URL to subscribe to. To end a driver, the parent
// closes the driver's standard input.
export function url() {
  process.stdin.on('end', () => process.exit(0)).resume();
  return process.argv[2];
}
