// SPDX-License-Identifier: Apache-2.0
// The manual's search, and its contents, which wide screens show unfolded.  The
// search reads the pages themselves when it begins.

const PAGES = [['tutorial.html', 'Tutorial'], ['index.html', 'Reference'],
               ['recipes.html', 'Recipes'], ['security.html', 'Security']];
const MOST = 12;        // results that are shown
const AROUND = 60;      // characters of an excerpt on each side of a word

const form = document.querySelector('[role=search]');
const input = document.querySelector('#query');
const list = document.querySelector('#found');
const count = document.querySelector('#found-count');
const side = document.querySelector('.side');

// A text in lower case, with straight quotes, and with spaces for hyphens. Its
// length stays the same.
const plain = (text) => text.replace(/[‘’]/g, "'").replace(/-/g, ' ')
    .toLowerCase();

// The text of a heading, without the word after it that says what kind of entry
// follows.
const titleOf = (heading) =>
    (heading.querySelector('a') ?? heading).textContent.trim();

// The anchor of a heading: its own, or that of its section.
const anchorOf = (heading) =>
    heading.id || heading.closest('section[id], article[id], div[id]')?.id || 'main';

// Cuts a page at its headings into [{title, page, href, text}].
function partsOf(html, [page, name]) {
    const main = new DOMParser().parseFromString(html, 'text/html')
        .querySelector('main');
    const parts = [{ title: name, page: name, href: page, text: '' }];
    const walker = document.createTreeWalker(
        main, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);

    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        if (node.nodeType === Node.TEXT_NODE) {
            parts.at(-1).text += node.data;
        } else if (/^H[1-3]$/.test(node.tagName)) {
            parts.push({ title: titleOf(node), page: name,
                         href: `${page}#${anchorOf(node)}`, text: '' });
        } else if (/^(?:P|LI|TD|TH|DT|DD|PRE|DIV|TR)$/.test(node.tagName)) {
            parts.at(-1).text += ' ';
        }
    }
    for (const part of parts) {
        part.text = part.text.replace(/\s+/g, ' ');
        part.plain = plain(part.text);
        part.plainTitle = plain(part.title);
    }
    return parts;
}

let index;      // a promise of the parts of all pages

function readPages() {
    index ??= Promise.all(PAGES.map(async (page) => {
        const answer = await fetch(page[0]);
        if (!answer.ok) {
            throw new Error(`${page[0]}: ${answer.status}`);
        }
        return partsOf(await answer.text(), page);
    })).then((all) => all.flat());
    index.catch(() => { index = undefined; });      // the next search reads
                                                    // again
    return index;
}

// How well a part matches. Words side by side count most, and a title counts
// more than a text. 0: a word is missing.
function rank(part, words) {
    const phrase = words.join(' ');
    let sum = 0;

    for (const word of words) {
        const inTitle = part.plainTitle.includes(word);
        const times = part.plain.split(word).length - 1;
        if (!inTitle && !times) {
            return 0;
        }
        sum += (inTitle ? 20 : 0) + (part.plainTitle.startsWith(word) ? 20 : 0)
            + Math.min(times, 5);
    }
    return sum + (words.length > 1 && part.plain.includes(phrase) ? 30 : 0);
}

function excerptOf(part, words) {
    const first = [words.join(' '), ...words]
        .find((word) => part.plain.includes(word)) ?? '';
    const at = part.plain.indexOf(first);
    const begin = Math.max(0, at - AROUND);
    const text = part.text.slice(begin, at + first.length + AROUND).trim();

    return (begin ? '…' : '') + text + '…';
}

function rowOf(part, words) {
    const row = document.createElement('li');
    const link = document.createElement('a');
    const from = document.createElement('span');
    const text = document.createElement('p');

    link.href = part.href;
    link.textContent = part.title;
    from.textContent = part.page;
    from.className = 'kind';
    text.textContent = excerptOf(part, words);
    row.append(link, ' ', from, text);
    return row;
}

async function search() {
    const asked = input.value;
    const words = plain(asked).split(/\s+/).filter(Boolean);
    let found = [];

    try {
        found = (words.length ? await readPages() : [])
            .map((part) => [rank(part, words), part])
            .filter(([sum]) => sum)
            .sort(([a], [b]) => b - a);
    } catch {
        count.textContent = 'The manual could not be read. Try again.';
        return;
    }
    if (asked !== input.value) {
        return;         // another search has begun meanwhile
    }
    list.replaceChildren(...found.slice(0, MOST)
        .map(([, part]) => rowOf(part, words)));
    count.textContent = !words.length ? ''
        : found.length === 0 ? 'Nothing was found.'
        : found.length === 1 ? 'One place' : `${found.length} places`;
}

form.hidden = false;
form.addEventListener('submit', (event) => {
    event.preventDefault();
    list.querySelector('a')?.click();
});
input.addEventListener('input', search);
input.addEventListener('focus', () => readPages().catch(() => {}));
input.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') {
        input.value = '';
        search();
    }
});
// On a narrow screen the contents would cover the chosen section.
side.addEventListener('click', (event) => {
    if (event.target.closest('a') && !wide.matches) {
        side.open = false;
    }
});

const wide = matchMedia('(min-width: 64rem)');
const unfold = () => { side.open = wide.matches; };
wide.addEventListener('change', unfold);
unfold();
