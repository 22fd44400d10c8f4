// SPDX-License-Identifier: Apache-2.0
// A WebSocket of npm `ws`: publishes messages, and prints what it gets.  The
// arguments are the URL and a count.  The client offers compression, which the
// server declines.
import WebSocket from 'ws';

const show = (value) => process.stdout.write(JSON.stringify(value) + '\n');
const [url, count] = process.argv.slice(2);
const socket = new WebSocket(url, ['comet'], { perMessageDeflate: true });
let waiting = 2 * count;
let heard = false;

socket.on('open', () => {
  socket.ping('are you there?');
  for (let number = 0; number < count; number++) {
    const text = JSON.stringify(
      { publish: { body: `m${number} \u20ac` }, ref: number });
    if (number % 3) {
      socket.send(text);
    } else { // in two fragments, with a ping between them
      socket.send(text.slice(0, 9), { fin: false });
      socket.ping();
      socket.send(text.slice(9), { fin: true });
    }
  }
});
socket.on('pong', () => { heard = true; });
socket.on('message', (data) => {
  const frame = JSON.parse(data);
  show(frame);
  if (!('open' in frame)) waiting -= 1;
  if (waiting === 0) socket.close(1000, 'done');
});
socket.on('close', (code) => {
  show({ closed: heard ? code : 'no pong', protocol: socket.protocol });
});
