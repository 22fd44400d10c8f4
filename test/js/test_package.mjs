// SPDX-License-Identifier: Apache-2.0
// The package has the files that it declares, and its types are correct.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import test from 'node:test';

import * as everything from '../../htdocs/comet/comet.js';

const FOLDER = new URL('../../htdocs/comet/', import.meta.url);
const read = (name) => readFileSync(new URL(name, FOLDER), 'utf8');
const names = (text, pattern) => [...text.matchAll(pattern)]
    .map(([, name]) => name).sort();
const types = read('comet.d.ts');
const manual = read('README.md');

test('package.json names files that there are', () => {
    const about = JSON.parse(read('package.json'));
    const { '.': main } = about.exports;
    assert.equal(about.name, 'mod-comet');
    for (const file of [...about.files, about.main, about.types,
                        ...Object.values(main)]) {
        assert.ok(existsSync(new URL(file, FOLDER)), file);
    }
    assert.deepEqual(Object.keys(about.dependencies ?? {}), []);
});

test('module and package have one version', () => {
    const header = readFileSync(new URL('../../mod_comet/server/mod_comet.h',
                                        FOLDER), 'utf8');
    const [, version] = header.match(/MOD_COMET_VERSION "([^"]+)"/);
    assert.equal(JSON.parse(read('package.json')).version, version);
});

test('what is exported is declared, and nothing else', () => {
    const { Comet, CometError, EventStreamParser } = everything;
    assert.deepEqual(names(types, /^export (?:class|function) (\w+)/gm),
                     Object.keys(everything).sort());
    for (const made of [Comet, CometError, EventStreamParser]) {
        const declared = types.split(`export class ${made.name} `)[1]
            .split('\n}')[0];
        for (const name of Object.getOwnPropertyNames(made.prototype)) {
            if (name === 'constructor') {
                continue;
            }
            assert.match(declared, new RegExp(`\\b${name}\\b`), name);
        }
    }
});

test('options and events are the same in code, declarations and README', () => {
    const code = read('comet.js');
    const defaults = code.split('const DEFAULTS = {')[1].split('};')[0];
    const options = names(defaults, /^ {4}(\w+):/gm);
    const declared = types.split('interface CometOptions {')[1].split('\n}')[0];
    const [, optionsTold] = manual.split('## Options');
    const [, eventsTold] = manual.split('## Events');
    const rows = (text) => names(text.split('\n## ')[0], /^\| `(\w+)`/gm);

    assert.ok(options.length >= 8);
    assert.deepEqual(names(declared, /^ {4}(\w+)\?:/gm), options);
    assert.deepEqual(rows(optionsTold), options);

    const events = names(code, /(?:CometEvent\(|#emit\(|return \[)'(\w+)'/g);
    const map = types.split('interface CometEventMap {')[1].split('\n}')[0];
    assert.deepEqual(names(map, /^ {4}(\w+):/gm), [...new Set(events)]);
    assert.deepEqual(rows(eventsTold), [...new Set(events)]);
});

test('a program that uses all of the types compiles', (t) => {
    const usage = new URL('usage.ts', import.meta.url).pathname;
    const { error, status, stdout } = spawnSync('tsc', [
        '--noEmit', '--strict', '--exactOptionalPropertyTypes',
        '--target', 'es2022', '--module', 'es2022',
        '--moduleResolution', 'node', '--lib', 'es2022,dom', usage,
    ], { encoding: 'utf8' });
    if (error?.code === 'ENOENT') {
        t.skip('no tsc here (Debian: node-typescript)');
        return;
    }
    assert.equal(status, 0, stdout);
});
