// SPDX-License-Identifier: Apache-2.0
// What single channels keep: the rules as a list, and a form that sets one.

import { listRules, setRule } from './server.js';

const UNITS = [['d', 86400, 'day'], ['h', 3600, 'hour'], ['min', 60, 'minute'],
               ['s', 1, 'second']];

const plural = (number, word) =>
    `${number.toLocaleString()} ${word}${number === 1 ? '' : 's'}`;

/** An age in the largest unit in which it is a whole number: [number, unit,
 * word]. */
function split(seconds) {
    const [unit, size, word] = UNITS.find(([, each]) => seconds % each === 0);
    return [seconds / size, unit, word];
}

/** What is kept, in words. */
function describe({ count, age }) {
    const messages = count ? `at most ${plural(count, 'message')}` : 'messages';
    if (!age) {
        return count ? messages : 'everything';
    }
    const [number, , word] = split(age);
    return `${messages} up to ${plural(number, word)} old`;
}

/**
 * Runs the section with the rules of retention.
 * @param patterns  returns the channels and wildcards in the page's form
 */
export function watchRules(section, endpoint, patterns) {
    const $ = (selector) => section.querySelector(selector);
    const list = $('ul');
    const note = $('[role=status]');
    const form = $('form');
    const { pattern, count, age, unit } = form.elements;
    const say = (text) => {
        note.textContent = text;
    };

    function edit(rule) {
        const [number, name] = rule.age ? split(rule.age) : ['', 'd'];
        pattern.value = rule.pattern;
        count.value = rule.count ?? '';
        age.value = number;
        unit.value = name;
        count.focus();
    }

    /** Changes a rule and shows the list that results. */
    async function change(name, what, done) {
        try {
            await setRule(endpoint, name, what);
        }
        catch (error) {
            say(`Not changed. ${error.message}`);
            return;
        }
        await show(done);
    }

    function makeRule(rule) {
        const item = document.querySelector('#rule').content
            .firstElementChild.cloneNode(true);
        const [editing, removing] = item.querySelectorAll('button');
        item.querySelector('.name').textContent = rule.pattern;
        item.querySelector('.keeps').textContent = `keeps ${describe(rule)}`;
        editing.setAttribute('aria-label', `Edit the rule for ${rule.pattern}`);
        removing.setAttribute('aria-label', `Remove the rule for ${rule.pattern}`);
        editing.addEventListener('click', () => edit(rule));
        removing.addEventListener('click', async () => {
            await change(rule.pattern, { default: '' },
                         `The rule for ${rule.pattern} was removed.`);
            $('button').focus();
        });
        return item;
    }

    async function show(done = '') {
        try {
            const { rules, others } = await listRules(endpoint, patterns());
            list.replaceChildren(...rules.map(makeRule));
            say(`${done} ${rules.length ? 'All other channels keep'
                : 'There is no rule; all channels keep'} ${
                describe(others)}.`.trim());
        }
        catch (error) {
            list.replaceChildren();
            say(`${done} ${error.message}`.trim());
        }
    }

    $('button').addEventListener('click', () => show());
    form.addEventListener('submit', (event) => {
        event.preventDefault();
        const name = pattern.value.trim();
        const what = {
            ...(count.value && { count: count.value }),
            ...(age.value && { age: age.value + unit.value }),
        };
        change(name, Object.keys(what).length ? what : { all: '' },
               `The rule for ${name} was set.`);
    });
}
