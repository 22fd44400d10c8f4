// SPDX-License-Identifier: Apache-2.0
// A document of npm `yjs` with the provider of conf/examples.  Its arguments: the
// folder of the provider, the site, the session's cookie, the post's id, and
// after how many updates a whole document is published.  Each line of standard
// input is a command in JSON; `text` prints the document.

import { createInterface } from 'node:readline';
import * as Y from 'yjs';

const [, , folder, site, cookie, id, stateAfter] = process.argv;
const { connect } = await import(`${folder}/comet-yjs.js`);
const say = (...words) => process.stdout.write(`${JSON.stringify(words)}\n`);
const ydoc = new Y.Doc();
const text = ydoc.getText('content');

/** As wp.apiFetch(): rejects with what the REST API says. */
async function ask(query) {
  const answer = await fetch(`${site}/wp-json.php?${new URLSearchParams(query)}`,
    { headers: { Cookie: cookie } });
  if (!answer.ok) {
    throw { data: { status: answer.status } };
  }
  return answer.json();
}

const commands = {
  insert: (words) => text.insert(
    Math.floor(Math.random() * (text.length + 1)), words),
  append: (words) => text.insert(text.length, words),
  remove: (from, count) => text.delete(from, count),
  text: () => say('text', text.toString()),
  load: (state) => Y.applyUpdate(ydoc, Buffer.from(state, 'base64')),
  destroy: () => provider.destroy(),
  save: () => say('saved', Buffer.from(Y.encodeStateAsUpdate(ydoc))
    .toString('base64')),
};

const provider = await connect({ objectType: 'postType/post', objectId: id,
  ydoc }, { Y, url: `${site}/comet`, ask, stateAfter: Number(stateAfter) });
provider.on('status', ({ status }) => say('status', status));
say('ready');
for await (const line of createInterface({ input: process.stdin })) {
  const [command, ...words] = JSON.parse(line);
  commands[command](...words);
}
process.exit(0);
