// SPDX-License-Identifier: Apache-2.0
// npm `laravel-echo` with the connector of conf/examples.  Its arguments: the
// folder of the connector, the site, the session's cookie, the cursor or "".
// Each line of standard input is a command in JSON.  The program prints what
// happens.

import { createInterface } from 'node:readline';
import Echo from 'laravel-echo';

const [, , folder, site, cookie, since] = process.argv;
const { CometConnector } = await import(`${folder}/comet-echo.js`);
const say = (...words) => process.stdout.write(`${JSON.stringify(words)}\n`);

const echo = new Echo({
  broadcaster: CometConnector,
  host: `${site}/broadcast`,
  authEndpoint: `${site}/broadcasting/auth.php`,
  auth: { headers: { Cookie: cookie } },
  namespace: 'App.Events',
  since,
});
echo.connector.onConnectionChange((status) => say('status', status));
say('socket', echo.socketId());

const commands = {
  private: (name) => follow(name, echo.private(name)),
  channel: (name) => follow(name, echo.channel(name)),
  leave: (name) => echo.leave(name),
};

function follow(name, channel) {
  channel.listen('Shipped', (event) => say('event', name, event))
    .listen('.comet.gap', () => say('gap', name))
    .subscribed(() => say('subscribed', name))
    .error(({ status }) => say('error', name, status));
}

for await (const line of createInterface({ input: process.stdin })) {
  const [command, name] = JSON.parse(line);
  commands[command](name);
}
process.exit(0);
