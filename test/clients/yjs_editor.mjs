// SPDX-License-Identifier: Apache-2.0
// Documents of npm `yjs` with the provider of conf/examples.  Its arguments: the
// folder of the provider, the site, the path at which the site gives tokens, and
// the headers of the user's session, in JSON.  Each line of standard
// input is a command in JSON: [command, document, …]; `open` says which post,
// and after how many updates a whole document is published.

import { createInterface } from 'node:readline';
import * as Y from 'yjs';

const [, , folder, site, path, headers] = process.argv;
const { connect } = await import(`${folder}/comet-yjs.js`);
const say = (...words) => process.stdout.write(`${JSON.stringify(words)}\n`);
const documents = {};

/** Does what wp.apiFetch() does: if the REST API answers with an error, the
 * promise is rejected with that error. */
async function ask(query) {
  const url = new URL(path, site);
  for (const [name, value] of Object.entries(query)) {
    url.searchParams.set(name, value);
  }
  const answer = await fetch(url, { headers: JSON.parse(headers) });
  if (!answer.ok) {
    throw { data: { status: answer.status } };
  }
  return answer.json();
}

async function open(name, id, stateAfter) {
  const ydoc = new Y.Doc();
  const provider = await connect({ objectType: 'postType/post', objectId: id,
    ydoc }, { Y, url: `${site}/comet`, ask, stateAfter });
  documents[name] = { ydoc, provider, text: ydoc.getText('content') };
  provider.on('status', ({ status }) => say('status', name, status));
  say('ready', name);
}

const commands = {
  append: ({ text }, words) => text.insert(text.length, words),
  remove: ({ text }, from, count) => text.delete(from, count),
  text: ({ text }, name) => say('text', name, text.toString()),
  load: ({ ydoc }, state) => Y.applyUpdate(ydoc, Buffer.from(state, 'base64')),
  destroy: ({ provider }) => provider.destroy(),
  save: ({ ydoc }, name) => say('saved', name, Buffer.from(
    Y.encodeStateAsUpdate(ydoc)).toString('base64')),
};

for await (const line of createInterface({ input: process.stdin })) {
  const [command, name, ...words] = JSON.parse(line);
  if (command === 'open') {
    await open(name, ...words);
  }
  else {
    commands[command](documents[name], ...words.length ? words : [name]);
  }
}
process.exit(0);
