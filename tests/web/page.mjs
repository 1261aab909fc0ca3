// The page in a real browser against a real server with a tiny model, which thinks and answers at random.
import assert from 'node:assert/strict';
import {execFileSync, spawnSync} from 'node:child_process';
import {once} from 'node:events';
import {appendFile, cp, mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile} from 'node:fs/promises';
import {createServer} from 'node:http';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {ask, axePath, choose, conversation, ended, exported, importFile, openBrowser, openPage, ready, run, Server, violations, watch} from './common.mjs';
import {payloads, rich} from './texts.mjs';

/** A short answer after a short thought. */
const short = {effort: 'budget', budget: 16, max_tokens: 40, seed: 7};
/** One that does not end by itself while a test looks at it. */
const long = {effort: 'budget', budget: 16, max_tokens: 16000, seed: 7};
const endless = {effort: 'max', max_tokens: 16000, seed: 7};

const text = (page, selector) => page.locator(selector).innerText();
const count = (page, selector) => page.locator(selector).count();
const answerOf = (page) => text(page, '.answer.last .prose');

/** The token that is U+0000, which no request can send back as it is. */
const nul = JSON.parse(await readFile('recipes/tokenizer-4k.json', 'utf8')).model.vocab['Ā'];

/** Whether the server has this route. */
async function knows(server, route) {
    const described = await (await fetch(server.url + '/openapi.json')).json();
    return Object.keys(described.paths).some((p) => p.replace(/\{.*\}/, '*').endsWith(route));
}

async function opened(server, settings = short, options = {}) {
    const page = await openPage(server.url, options);
    await ready(page);
    await choose(page, settings);
    // An answer shall not end by chance while a test looks at it, nor when it is computed again.
    const altered = (alter) => (route) => route.continue({postData: JSON.stringify(alter(route.request().postDataJSON()))});
    const endless = (body) => ({...body, ignore_eos: true, logit_bias: {[nul]: -100}});
    await page.route('**/chat/completions', altered(endless));
    await page.route('**/verify', altered((body) => ({...body, request: endless(body.request)})));
    return page;
}

/** A PDF of one page, by hand; readers rebuild its table of objects. */
const shows = 'BT /F 12 Tf 72 700 Td (The impeller turns left.) Tj ET';
const pdf = Buffer.from(`%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Count 1/Kids[4 0 R]>>endobj
3 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj
4 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 5 0 R/Resources<</Font<</F 3 0 R>>>>>>endobj
5 0 obj<</Length ${shows.length}>>stream
${shows}
endstream endobj
trailer<</Size 6/Root 1 0 R>>
%%EOF
`);
const readsPdf = !spawnSync('pdftotext', ['-v']).error;

/** A folder with two runs, one of which has names and texts that mean harm. */
const hostile = '<img src=x onerror=alert(1)>\u202e $(id)';
const line = (step, more = {}) => JSON.stringify({step, targets: step * 100, loss: 5 / step, grad_norm: 2, lr: 0.001, max_vio: [1, 2], seconds: 0.5, tokens_per_s: 200, ...more}) + '\n';

async function runsFolder() {
    const folder = await mkdtemp(join(tmpdir(), 'lisao-runs-'));
    const some = (from, to) => Array.from({length: to - from + 1}, (_, i) => line(from + i)).join('');
    for (const name of ['plain', hostile]) await mkdir(join(folder, name, 'step-000000020'), {recursive: true});
    await writeFile(join(folder, 'plain', 'metrics.jsonl'), some(1, 30) + line(30, {valid_loss: 0.25, bits_per_byte: 1.5}));
    const bad = join(folder, hostile);
    await writeFile(join(bad, 'step-000000020', 'state.json'), JSON.stringify({recipe: {objective: '<b>grpo', 'optim.steps': '50'}}));
    await writeFile(join(bad, 'metrics.jsonl'), '<script>\n' + some(1, 19) + line(20, {reward: 0.5, pass_rate: 0.25, entropy: 1,
        '<i>odd key': 3, expert_load: [[1, 2, 3, 4], [4, 3, 2, 1]]}) + JSON.stringify({step: 20, prompt: '<h1>', sample: '</script><script>alert(2)</script>\u202e', ended: true}) + '\n');
    await writeFile(join(bad, 'rollouts.jsonl'), JSON.stringify({step: 20, task: '<u>', stratum: '', prompt: '[x](javascript:alert(3))', reasoning: '<svg onload=alert(4)>',
        answer: '<iframe srcdoc="<script>alert(5)</script>">', right: false, reward: -1}) + '\n');
    return folder;
}

/** A folder with two keys, 1 of ann and 2 of an owner; `lisao keys` of it, and the token of a new link. */
async function tenants() {
    const data = await mkdtemp(join(tmpdir(), 'lisao-page-'));
    const keys = (...words) => {
        const said = execFileSync(process.env.LISAO, ['keys', ...words, '--data', data], {encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore']});
        return words.includes('--json') ? JSON.parse(said) : said;
    };
    keys('create', 'ann', '--tenant', 'ann');
    keys('create', 'owner', '--tenant', 'owner', '--scopes', 'chat,admin');
    return {data, keys, link: (name) => /#t=(\S+)/.exec(keys('link', name))[1]};
}

const cases = {
    // ---- asking -----------------------------------------------------------------------------------

    async a_question_is_answered(server) {
        const page = await opened(server);
        await ask(page, 'The river');
        await ended(page);
        assert.ok((await answerOf(page)).length > 20);
        assert.match(await text(page, '.answer.last .info'), /40 tokens · [\d.,]+ tokens\/s · first after/);
        assert.equal(await text(page, '.row.here .title'), 'The river');
        assert.match(page.url(), /#\/c\/[\w-]+$/);
        assert.match(await page.title(), /^The river/);
        await page.click('.answer.last .info');
        assert.match(await text(page, '.facts'), /Seed\s*7\b/);
        assert.match(await text(page, '.facts'), /Fingerprint\s*[0-9a-f]{16}/);
        await page.keyboard.press('Escape');
        await page.click('.composer .ring');
        assert.match(await text(page, '.context'), /of 16,384 tokens/);
    },

    async the_same_seed_gives_the_same_answer(server) {
        const page = await opened(server);
        await ask(page, 'The river');
        await ended(page);
        const first = await answerOf(page);
        await page.click('.answer.last [aria-label="Answer again"]');
        await page.waitForSelector('.answer.last .versions');
        await ended(page);
        assert.equal(await answerOf(page), first);
    },

    async a_thought_is_seen_while_it_comes_and_folded_away(server) {
        const page = await opened(server, endless);
        await ask(page, 'The sea');
        await page.waitForSelector('.thought.live .tail');
        await page.waitForFunction(() => /Thinking[\s\S]*\d s · [\d,]+ tokens/.test(document.querySelector('.thought-head').innerText));
        await page.click('.thought-head [aria-expanded]');
        await page.waitForSelector('.thought-text');
        await page.getByRole('button', {name: 'Answer now'}).click();
        await page.waitForSelector('.answer.last .prose:not(.thought-text)');
        await page.click('[aria-label="Stop"]');
        await ended(page);
        assert.match(await text(page, '.thought-head'), /Thought for [\d.]+ s[\s\S]*tokens/);
    },

    async effort_and_budget_are_asked_for(server) {
        const page = await opened(server, {max_tokens: 60});
        const bodies = [];
        page.on('request', (r) => r.url().endsWith('/chat/completions') && bodies.push(r.postDataJSON()));
        await page.click('.pill');
        await page.getByLabel('Tokens of thought').fill('12');
        await page.keyboard.press('Escape');
        await ask(page, 'The sea');
        await ended(page);
        await page.click('.pill');
        await page.getByLabel('Off').check();
        await page.keyboard.press('Escape');
        await ask(page, 'And now');
        await ended(page);
        assert.deepEqual(bodies[0].thinking, {type: 'enabled', budget_tokens: 12});
        assert.equal(bodies[1].reasoning_effort, 'none');
        assert.equal(bodies[1].messages.length, 3);
        assert.equal(await count(page, '.answer .thought'), 1);
    },

    async an_answer_is_stopped_and_goes_on(server) {
        const page = await opened(server, long);
        await ask(page, 'The river');
        await page.waitForSelector('.answer.last .prose');
        await page.keyboard.press('Escape');
        await ended(page);
        assert.match(await text(page, '.ended'), /You stopped/);
        const before = await answerOf(page);
        await page.getByRole('button', {name: 'Continue'}).click();
        await page.waitForFunction((n) => document.querySelector('.answer.last .prose').innerText.length > n + 40, before.length);
        await page.click('[aria-label="Stop"]');
        await ended(page);
        assert.ok((await answerOf(page)).startsWith(before.slice(0, -1)));
        assert.equal(await count(page, '.answer'), 1);
    },

    async questions_are_edited_and_branches_kept(server) {
        const page = await opened(server);
        await ask(page, 'First');
        await ended(page);
        await ask(page, 'Second');
        await ended(page);
        await page.hover('.question >> nth=0');
        await page.click('.question >> nth=0 >> [aria-label="Edit"]');
        await page.fill('.edit textarea', 'First, in other words');
        await page.keyboard.press('Enter');
        await page.waitForSelector('.bubble:has-text("other words")');
        await ended(page);
        assert.equal(await count(page, '.question'), 1);
        assert.equal(await text(page, '.question .versions'), '2/2');
        await page.click('.question [aria-label="Previous version"]');
        await page.waitForSelector('.bubble:has-text("Second")');
        assert.equal(await count(page, '.question'), 2);
        await page.reload();
        await page.waitForSelector('.bubble:has-text("Second")');
    },

    // ---- keeping ----------------------------------------------------------------------------------

    async a_reload_keeps_the_conversation(server) {
        const page = await opened(server);
        await ask(page, 'The river');
        await ended(page);
        const before = await text(page, '.thread');
        await page.reload();
        await ready(page);
        assert.equal(await text(page, '.thread'), before);
    },

    async a_reload_in_midstream_keeps_what_came(server) {
        const page = await opened(server, long);
        await ask(page, 'The river');
        await page.waitForSelector('.answer.last .prose');
        await page.waitForTimeout(1500);
        const before = await answerOf(page);
        await page.reload();
        if (await knows(server, '/streams/*')) { // the answer goes on where it was
            await page.waitForFunction((n) => document.querySelector('.answer.last[aria-busy=true] .prose')?.innerText.length > n + 100, before.length);
            await page.waitForSelector('.pace');
            await page.click('[aria-label="Stop"]');
            await page.waitForSelector('.ended');
            assert.match(await text(page, '.ended'), /You stopped/);
            assert.ok((await answerOf(page)).startsWith(before.slice(0, -8)));
            return;
        }
        await page.waitForSelector('.ended');
        assert.match(await text(page, '.ended'), /was interrupted/);
        assert.ok((await answerOf(page)).length > 0);
        await page.getByRole('button', {name: 'Continue'}).click();
        await page.waitForSelector('.answer.last[aria-busy=true]');
        await page.click('[aria-label="Stop"]');
        await ended(page);
    },

    async an_answer_that_was_read_twice_is_the_same(server) {
        if (!(await knows(server, '/streams/*'))) return 'no-streams';
        const page = await opened(server, {...short, max_tokens: 300});
        await ask(page, 'The river');
        await page.waitForSelector('.answer.last .prose');
        await page.reload();
        await ready(page);
        await ended(page);
        await page.click('.answer.last [aria-label="Answer again"]');
        await page.waitForSelector('.answer.last .versions');
        await ended(page);
        const again = await answerOf(page);
        assert.match(await text(page, '.answer.last .info'), /300 tokens/);
        await page.click('.answer.last [aria-label="Previous version"]');
        await page.waitForSelector('.answer.last .versions:has-text("1/2")');
        assert.equal(await answerOf(page), again);
        assert.match(await text(page, '.answer.last .info'), /300 tokens · [\d.,]+ tokens\/s · first after/);
    },

    async an_answer_is_verified_and_taken_apart(server) {
        if (!(await knows(server, '/verify'))) return 'no-verify';
        const page = await opened(server, {...short, temperature: 1, seed: null});
        await ask(page, 'First');
        await ended(page);
        await ask(page, 'The river');
        await ended(page);
        await page.click('.answer.last [aria-label="Verify"]');
        await page.waitForSelector('.verdict.same');
        assert.match(await text(page, '.verdict'), /all 40 tokens and log-probabilities are the same, to the bit/);
        await page.click('.answer.last [aria-label="Tokens"]');
        await page.waitForSelector('.token');
        const before = (await page.locator('.token').allInnerTexts()).slice(0, 5).join('');
        await page.click('.token >> nth=5');
        assert.equal(await count(page, '.alternatives li'), 6);
        const other = await page.getAttribute('.alternatives .icon >> nth=0', 'aria-label');
        await page.click('.alternatives .icon >> nth=0');
        await page.waitForSelector('.versions:has-text("2/2")');
        await ended(page);
        // Letters alone: other signs may be Markdown's, or parts of a character.
        const letters = (s) => s.replace(/[^A-Za-z]/g, '');
        const now = letters(await answerOf(page)), expected = letters(before + /“(.*)”/.exec(other)[1]);
        assert.ok(now.startsWith(expected), `${now} does not begin with ${expected}`);
        // Whoever alters what was said is found out.
        await page.click('.answer.last [aria-label="Previous version"]');
        const whole = await page.evaluate(() => new Promise((resolve) => {
            indexedDB.open('lisao').onsuccess = (e) => {
                const store = e.target.result.transaction('messages', 'readwrite').objectStore('messages');
                store.getAll().onsuccess = (all) => {
                    const m = all.target.result.find((m) => m.asked?.lisao && m.text && all.target.result.some((q) => q.id === m.parent && q.text === 'The river'));
                    store.put({...m, text: m.text + '!'}).onsuccess = () => resolve(m.text);
                };
            };
        }));
        assert.ok(whole.length > 5);
        await page.reload();
        await page.waitForSelector('.answer.last');
        await page.click('.answer.last [aria-label="Verify"]');
        await page.waitForSelector('.verdict.other');
        assert.match(await text(page, '.verdict'), /not the same: choices\[0\]\.message\.content/);
    },

    async another_tab_sees_what_is_written(server) {
        const page = await opened(server, long);
        const other = await page.context().newPage();
        other.faults = [];
        watch(other, server.url);
        await other.goto(server.url);
        await ready(other);
        await ask(page, 'The river');
        await other.click('.row .title:has-text("The river")');
        await other.waitForSelector('.answer.last .prose');
        await page.click('[aria-label="Stop"]');
        await ended(page);
        await other.waitForSelector('.answer.last[aria-busy=false]');
        assert.equal(await answerOf(other), await answerOf(page));
    },

    async conversations_are_found_renamed_pinned_deleted(server) {
        const page = await opened(server);
        await importFile(page, exported(conversation({title: 'On rivers', answer: 'The Yangtze is long.'}),
                                        conversation({title: '诗', answer: '路漫漫其修远兮，吾将上下而求索。'}),
                                        conversation({title: 'Old', question: 'Nothing'})));
        assert.equal(await count(page, '.row'), 3);
        await page.keyboard.press('Control+k');
        await page.keyboard.type('yangtze long');
        await page.waitForFunction(() => document.querySelectorAll('.row').length === 1);
        assert.match(await text(page, '.row'), /On rivers\s+The Yangtze/);
        await page.fill('#search', '求索');
        await page.waitForSelector('.row .title:text-is("诗")');
        assert.equal(await count(page, '.row'), 1);
        await page.fill('#search', 'not to be found');
        await page.waitForSelector('.none');
        await page.fill('#search', '');
        const menu = async (title, item) => {
            await page.hover(`.row:has-text("${title}")`);
            await page.getByRole('button', {name: `More for “${title}”`}).click();
            await page.getByRole('menuitem', {name: item, exact: true}).click();
        };
        await menu('Old', 'Pin');
        await page.waitForSelector('section[aria-label="Pinned"] .title:text-is("Old")');
        await menu('Old', 'Rename');
        await page.keyboard.type('New name');
        await page.keyboard.press('Enter');
        await page.waitForSelector('.title:text-is("New name")');
        await menu('诗', 'Delete');
        await page.getByRole('dialog').getByRole('button', {name: 'Delete'}).click();
        await page.waitForFunction(() => document.querySelectorAll('.row').length === 2);
        await page.reload();
        await ready(page);
        assert.deepEqual(await page.locator('.row .title').allInnerTexts(), ['New name', 'On rivers']);
    },

    async an_export_comes_back_equal(server) {
        const page = await opened(server);
        await ask(page, 'The river');
        await ended(page);
        await importFile(page, exported(conversation({title: 'Rich', answer: rich, thought: 'Hm.', files: [{name: 'a.txt', text: 'A\nB'}]})));
        const save = async () => {
            await page.getByRole('button', {name: 'Settings'}).click();
            const [file] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', {name: 'Export all'}).click()]);
            await page.keyboard.press('Escape');
            return readFile(await file.path(), 'utf8');
        };
        const sorted = (s) => JSON.parse(s).conversations.sort((a, b) => (a.id < b.id ? -1 : 1));
        const before = await save();
        await page.getByRole('button', {name: 'Settings'}).click();
        await page.getByRole('button', {name: 'Delete all conversations'}).click();
        await page.getByRole('dialog').getByRole('button', {name: 'Delete all conversations'}).click();
        await page.waitForFunction(() => !document.querySelector('.row'));
        await importFile(page, before);
        assert.equal(await count(page, '.row'), 2);
        assert.deepEqual(sorted(await save()), sorted(before));
        await importFile(page, '{"format": "lisao-conversations", "conversations": [{"id": "x"}]}');
        assert.match(await text(page, '.toast'), /no export of conversations/);
        assert.equal(await count(page, '.row'), 2);
    },

    // ---- what goes along --------------------------------------------------------------------------

    async files_go_along_as_text(server) {
        const page = await opened(server);
        let body;
        page.on('request', (r) => r.url().endsWith('/chat/completions') && (body = r.postDataJSON()));
        await page.setInputFiles('#attach', [{name: 'notes.md', mimeType: 'text/markdown', buffer: Buffer.from('# Notes\n山鬼')},
                                             {name: 'raw.bin', mimeType: 'application/octet-stream', buffer: Buffer.from([0xff, 0, 1])}]);
        await page.waitForSelector('.chip');
        assert.match(await text(page, '.toast'), /raw\.bin is not a text file/);
        await page.click('.composer .chip button');
        assert.equal(await text(page, '.file'), '# Notes\n山鬼');
        await page.keyboard.press('Escape');
        await ask(page, 'What is in it?');
        await ended(page);
        assert.equal(body.messages[0].content, '<file name="notes.md">\n# Notes\n山鬼\n</file>\n\nWhat is in it?');
        assert.equal(await count(page, '.question .chip'), 1);
    },

    async pdf_and_html_go_along_as_text(server) {
        const page = await opened(server);
        let body;
        page.on('request', (r) => r.url().endsWith('/chat/completions') && (body = r.postDataJSON()));
        const html = {name: 'pump.html', mimeType: 'text/html', buffer: Buffer.from('<h1>Seals</h1><p>Change the <b>gasket</b> &amp; ring.<script>alert(1)</script>')};
        const broken = {name: 'broken.pdf', mimeType: 'application/pdf', buffer: Buffer.from('%PDF-1.4 and then nothing')};
        const files = {'pump.html': '# Seals\n\nChange the gasket & ring.\n', 'manual.pdf': '# page 1\n\nThe impeller turns left.\n\n'};
        if (!readsPdf) delete files['manual.pdf'];
        await page.setInputFiles('#attach', [html]);
        if (readsPdf) await page.setInputFiles('#attach', [{name: 'manual.pdf', mimeType: 'application/pdf', buffer: pdf}]);
        await page.waitForFunction((n) => [...document.querySelectorAll('.chip small')].filter((x) => /^\d+ tokens$/.test(x.textContent)).length === n, Object.keys(files).length);
        await page.setInputFiles('#attach', [broken]);
        await page.waitForSelector('.toast');
        assert.match(await text(page, '.toast'), readsPdf ? /broken\.pdf was not read: .*pdftotext ended with status/ : /broken\.pdf: the server reads no PDF/);
        assert.equal(await count(page, '.composer .chip'), Object.keys(files).length);
        await ask(page, 'What is in them?');
        await ended(page);
        const said = Object.entries(files).map(([name, of]) => `<file name="${name}">\n${of}\n</file>\n\n`).join('');
        assert.equal(body.messages[0].content, said + 'What is in them?');
        assert.equal(await count(page, '.question .chip'), Object.keys(files).length);
    },

    async files_that_are_read_show_it_and_can_be_left(server) {
        const page = await opened(server);
        let go;
        const may = new Promise((resolve) => (go = resolve));
        await page.route('**/extract', async (route) => (await may, route.continue().catch(() => {})));
        const dropped = (type, name) => page.evaluate(([type, name]) => {
            const data = new DataTransfer();
            data.items.add(new File(['<p>words'], name, {type: 'text/html'}));
            const event = type === 'paste' ? new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true})
                                           : new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true});
            document.querySelector('#ask').dispatchEvent(event);
        }, [type, name]);
        await dropped('drop', 'a.html');
        await dropped('paste', 'b.html');
        await page.waitForFunction(() => document.querySelectorAll('.chip.reading').length === 2);
        await page.fill('#ask', 'Now?');
        await page.press('#ask', 'Enter');
        assert.match(await text(page, '.toast'), /still being read/);
        assert.equal(await count(page, '.question'), 0);
        await page.getByRole('button', {name: 'Remove a.html'}).click();
        await page.waitForFunction(() => document.querySelectorAll('.chip.reading').length === 1);
        go();
        await page.waitForFunction(() => !document.querySelector('.chip.reading'));
        assert.equal(await text(page, '.composer .chip b'), 'b.html');
        assert.equal(await count(page, '.composer .chip'), 1);
    },

    async a_file_that_is_too_long_says_so(server) {
        const page = await opened(server);
        await page.setInputFiles('#attach', [{name: 'long.txt', mimeType: 'text/plain', buffer: Buffer.from('xyz '.repeat(30_000))}]);
        await page.waitForSelector('.chip.over');
        assert.match(await text(page, '.chip.over small'), /^[\d,]+ tokens: more than the 16,384 tokens that fit$/);
        await page.setInputFiles('#attach', [{name: 'huge.pdf', mimeType: 'application/pdf', buffer: Buffer.alloc((16 << 20) + 1)}]);
        await page.waitForSelector('.toast');
        assert.match(await text(page, '.toast'), /huge\.pdf is larger than 16 MB/);
    },

    async a_narrow_window_hides_the_list(server) {
        const page = await opened(server);
        const list = () => count(page, '.app.open');
        assert.equal(await list(), 1);
        await page.setViewportSize({width: 600, height: 820});
        await page.waitForFunction(() => !document.querySelector('.app.open'));
        await page.setViewportSize({width: 1280, height: 820});
        await page.waitForFunction(() => document.querySelector('.app.open'));
    },

    async settings_are_kept_and_asked_for(server) {
        const page = await opened(server);
        await page.getByRole('button', {name: 'Settings'}).click();
        await page.getByLabel('For new conversations').fill('Answer in verse.');
        await page.getByLabel('Temperature').fill('0.7');
        await page.getByLabel('Top k').fill('5');
        await page.getByText('Dark', {exact: true}).click();
        await page.getByText('中文', {exact: true}).click();
        await page.keyboard.press('Escape');
        await page.reload();
        await ready(page);
        assert.equal(await page.getAttribute('html', 'lang'), 'zh-CN');
        assert.equal(await page.getAttribute('html', 'data-theme'), 'dark');
        assert.match(await text(page, '.welcome h1'), /想知道什么/);
        let body;
        page.on('request', (r) => r.url().endsWith('/chat/completions') && (body = r.postDataJSON()));
        await ask(page, '你好');
        await ended(page);
        assert.deepEqual(body.messages[0], {role: 'system', content: 'Answer in verse.'});
        assert.equal(body.temperature, 0.7);
        assert.equal(body.top_k, 5);
        assert.match(await text(page, '.answer.last .info'), /词元/);
    },

    async a_key_is_asked_for_and_taken_from_a_link() {
        const server = await Server.start({key: 'the-right-key'});
        const page = await openPage(server.url);
        await page.fill('input[type=password]', 'a-wrong-one');
        await page.keyboard.press('Enter');
        await page.waitForSelector('.hint.wrong');
        await page.fill('input[type=password]', 'the-right-key');
        await page.keyboard.press('Enter');
        await ready(page);
        assert.equal(await count(page, 'dialog'), 0);
        assert.equal(await page.evaluate(() => localStorage.getItem('lisao.key')), null);
        const linked = await openPage(server.url, {path: '#key=the-right-key'});
        await ready(linked);
        assert.equal(linked.url(), server.url + '/');
        await choose(linked, short);
        await ask(linked, 'The river');
        await ended(linked);
        await linked.getByRole('button', {name: 'Settings'}).click();
        await linked.getByRole('button', {name: 'Forget the key'}).click();
        await linked.waitForSelector('input[type=password]');
        await server.end();
    },

    async a_link_signs_a_browser_in() {
        const {data, keys, link} = await tenants();
        const server = await Server.start({keys: data, options: ['--history']});
        const first = link('ann');
        const page = await openPage(server.url, {path: '#t=' + first, bypassCSP: true, reducedMotion: 'reduce'});
        const sent = [];
        page.on('request', (r) => sent.push(r));
        await page.waitForSelector('dialog:has-text("lets one browser in, once")');
        assert.equal(page.url(), server.url + '/');
        assert.deepEqual(await violations(page), []);
        assert.deepEqual(keys('list', '--json')[0].links.map((l) => l.used), [0]); // looking at it uses nothing up
        await page.getByLabel('Remember on this device').check();
        await page.getByRole('button', {name: 'Sign in'}).click();
        await ready(page);
        await page.waitForSelector('.toast:has-text("You are signed in: ann")');
        assert.equal(await count(page, 'dialog'), 0);
        const kept = await page.evaluate(() => localStorage.getItem('lisao.key'));
        assert.match(kept, /^lisao-sk-/);
        assert.ok(keys('list', '--json')[0].links[0].used > 0);
        await importFile(page, exported(conversation({title: 'Hers alone'})));
        await page.waitForSelector('.row:has-text("Hers alone")');
        for (const r of sent) assert.ok(!r.url().includes(first) && !JSON.stringify(r.headers()).includes(first));
        assert.equal(sent.filter((r) => r.postData()?.includes(first)).length, 1);

        // Another browser cannot use it again; one that is damaged or revoked says so, and the key is asked for.
        const ended = link('ann');
        keys('unlink', String(keys('list', '--json')[0].links[1].id));
        for (const [token, said] of [[first, /was used already/], ['lisao-in-nonsense', /no link of this server/], [ended, /was revoked/]]) {
            const other = await openPage(server.url, {path: '#t=' + token, locale: 'en'});
            await other.waitForSelector('dialog:has-text("lets one browser in")');
            await other.keyboard.press('Enter');
            await other.waitForSelector('dialog .hint.wrong');
            assert.match(await text(other, 'dialog .wrong'), said);
            assert.equal(await other.getByRole('button', {name: 'Sign in'}).count(), 0);
            await other.getByRole('dialog').getByText('Close').click();
            await other.waitForSelector('input[type=password]');
            await other.context().close();
        }

        // In a browser that has a key it asks before it takes another, also where the page is open already.
        await page.evaluate((t) => (location.hash = '#t=' + t), link('owner'));
        await page.waitForSelector('dialog:has-text("has a key already")');
        assert.ok(!page.url().includes('lisao-in-'));
        await page.getByRole('button', {name: 'Cancel'}).click();
        assert.equal(await page.evaluate(() => localStorage.getItem('lisao.key')), kept);
        await page.evaluate((t) => (location.hash = '#t=' + t), link('owner'));
        await page.getByRole('button', {name: 'Sign in'}).click();
        await page.waitForSelector('.toast:has-text("You are signed in: owner")');
        await page.waitForFunction(() => !document.querySelector('.row'));
        keys('unlink', String(keys('list', '--json')[1].links.at(-1).id));
        await page.reload();
        await page.waitForSelector('.hint.wrong:has-text("does not know this key")');
        await server.end();
        await rm(data, {recursive: true});
    },

    async an_owner_sees_what_was_used() {
        const {data, keys, link} = await tenants();
        const server = await Server.start({keys: data, options: ['--history']});
        const entered = async (name, options = {}) => {
            const page = await openPage(server.url, {path: '#t=' + link(name), bypassCSP: true, reducedMotion: 'reduce', ...options});
            await page.locator('dialog button[type=submit]').click();
            await ready(page);
            await choose(page, short);
            return page;
        };
        const ann = await entered('ann');
        await ask(ann, 'The secret kingfisher');
        await ended(ann);
        assert.equal(await ann.getByRole('link', {name: 'Usage'}).count(), 0);
        await ann.goto(server.url + '/#/usage');
        await ann.waitForSelector('.wrong:has-text("Only a key with the scope admin")');
        assert.equal(await count(ann, 'table'), 0);

        const page = await entered('owner');
        await page.getByRole('link', {name: 'Usage'}).click();
        await page.waitForSelector('.usage tbody tr >> nth=1');
        assert.equal(await count(page, '.composer'), 0);
        const row = async (name) => (await page.locator('.usage tr', {hasText: name}).locator('td').allInnerTexts()).map(Number);
        const [requests, read, written, refused] = await row('ann');
        assert.equal(requests, 1);
        assert.equal(written, 40);
        assert.equal(refused, 0);
        assert.deepEqual(await row('owner'), [0, 0, 0, 0]);
        assert.deepEqual(await row('All keys'), [1, read, 40, 0]);
        assert.equal(await count(page, '.days g'), 30);
        assert.equal(await count(page, '.days .used'), 1);
        assert.match(await page.locator('.days').getAttribute('aria-label'), new RegExp(`^Tokens a day, .*most: ${read + 40} on `));
        assert.ok(!/kingfisher/.test(await page.content()));
        await page.getByRole('button', {name: 'owner'}).focus();
        await page.keyboard.press('Enter');
        await page.waitForFunction(() => !document.querySelector('.days .used'));
        await page.getByRole('button', {name: 'All keys'}).click();
        await page.waitForSelector('.days .used');
        for (const theme of ['light', 'dark']) {
            await choose(page, {theme});
            await page.waitForSelector('.usage tbody tr');
            assert.deepEqual(await violations(page), []);
        }
        const phone = await entered('owner', {viewport: {width: 360, height: 740}, hasTouch: true, isMobile: true, locale: 'zh-CN'});
        await phone.click('[aria-label="显示对话列表"]');
        await phone.getByRole('link', {name: '用量'}).click();
        await phone.waitForSelector('.usage tbody tr');
        assert.equal(await phone.evaluate(() => document.documentElement.scrollWidth), 360);
        assert.equal(await count(phone, '.sidebar'), 0);
        assert.deepEqual(await violations(phone), []);
        await page.getByRole('button', {name: 'New chat'}).click();
        await page.waitForSelector('.welcome');
        await page.waitForSelector('.composer');
        keys('revoke', '1'); // with her browsers
        await ann.reload();
        await ann.waitForSelector('.hint.wrong');
        await server.end();
        await rm(data, {recursive: true});
    },

    async several_models_are_chosen_among(alone) {
        const folder = await mkdtemp(join(tmpdir(), 'lisao-page-')), other = join(folder, 'another-model');
        await symlink(process.env.LISAO_MODEL, other);
        const server = await Server.start({options: [other]});
        const page = await opened(server, {...short, max_tokens: 20}, {bypassCSP: true, reducedMotion: 'reduce'});
        const bodies = [];
        page.on('request', (r) => r.url().endsWith('/chat/completions') && bodies.push(r.postDataJSON()));
        const picker = page.getByRole('button', {name: /^Who answers: /});
        const picked = () => picker.getAttribute('aria-label');
        assert.equal(await picked(), 'Who answers: model');
        await ask(page, 'The river');
        await ended(page);
        assert.equal(await text(page, '.answer.last .from'), 'model');

        // By keys; the conversation keeps its model, and a new one begins with the one chosen last.
        await picker.focus();
        await page.keyboard.press('Enter');
        await page.keyboard.press('Tab');
        await page.keyboard.press('ArrowDown');
        assert.deepEqual(await violations(page), []);
        await page.keyboard.press('Escape');
        assert.equal(await picked(), 'Who answers: another-model');
        await ask(page, 'And the sea');
        await ended(page);
        assert.deepEqual(await page.locator('.answer .from').allInnerTexts(), ['model', 'another-model']);
        assert.deepEqual(bodies.map((b) => b.model), ['model', 'another-model']);
        await page.click('.answer.last [aria-label="Verify"]');
        await page.waitForSelector('.answer.last .verdict.same');
        await page.getByRole('button', {name: 'New chat'}).click();
        await page.waitForSelector('.welcome');
        assert.equal(await picked(), 'Who answers: another-model');
        await picker.click();
        await page.getByRole('radio').first().check();
        await page.keyboard.press('Escape');
        await page.click('.row a');
        await page.waitForSelector('.answer');
        assert.equal(await picked(), 'Who answers: another-model');
        await page.reload();
        await ready(page);
        assert.equal(await picked(), 'Who answers: another-model');
        assert.equal(await text(page, '.model'), 'another-model');
        await page.goto(server.url + '/#/');
        await page.waitForSelector('.welcome');
        assert.equal(await picked(), 'Who answers: model');

        // A phone is wide enough; a model that is gone is no one's choice.
        const phone = await opened(server, short, {viewport: {width: 360, height: 740}, hasTouch: true, isMobile: true});
        const width = () => phone.evaluate(() => document.documentElement.scrollWidth);
        assert.equal(await width(), 360);
        await phone.getByRole('button', {name: /^Who answers: /}).click();
        assert.equal(await width(), 360);
        await phone.getByRole('radio').nth(1).check();
        await phone.keyboard.press('Escape');
        await ask(phone, 'The river');
        await ended(phone);
        assert.equal(await text(phone, '.answer.last .from'), 'another-model');
        assert.equal(await width(), 360);
        const one = await opened(alone, {...short, model: 'another-model'});
        assert.equal(await one.getByRole('button', {name: /^Who answers/}).count(), 0);
        await ask(one, 'The river');
        await ended(one);
        assert.equal(await count(one, '.from'), 0);
        await server.end();
        await rm(folder, {recursive: true});
    },

    async a_server_that_dies_is_told_and_an_answer_goes_on() {
        let server = await Server.start();
        const page = await opened(server, long);
        await ask(page, 'The river');
        await page.waitForSelector('.answer.last .prose');
        await server.end('SIGKILL');
        await page.waitForSelector('.failure');
        const before = await answerOf(page);
        assert.ok(before.length > 0);
        await page.reload().catch(() => {});
        server = await Server.start({port: server.port});
        await page.goto(page.url().startsWith('chrome') ? server.url : page.url());
        await ready(page);
        if (!(await count(page, '.failure'))) await page.click('.row a');
        assert.equal(await answerOf(page), before);
        await page.locator('.failure').getByRole('button', {name: 'Continue'}).click();
        await page.waitForFunction((n) => document.querySelector('.answer.last .prose').innerText.length > n, before.length);
        await page.click('[aria-label="Stop"]');
        await ended(page);
        await server.end();
    },

    // ---- a history on the server -------------------------------------------------------------------

    async a_server_keeps_the_history() {
        const data = await mkdtemp(join(tmpdir(), 'lisao-page-'));
        const kept = {options: ['--history', '--data', data]};
        let server = await Server.start(kept);
        const page = await opened(server);
        await ask(page, 'The river');
        await ended(page);
        const said = await answerOf(page);
        await importFile(page, exported(conversation({title: '诗', answer: '路漫漫其修远兮，吾将上下而求索。'}),
                                        conversation({title: 'Old', question: 'Nothing'})));
        await page.waitForSelector('.row >> nth=2');
        assert.deepEqual(await page.evaluate(() => new Promise((resolve) => {
            indexedDB.open('lisao').onsuccess = (e) =>
                e.target.result.transaction('conversations').objectStore('conversations').count().onsuccess = (n) => resolve(n.target.result);
        })), 0);
        // It outlives the server, and another browser has it.
        await server.end('SIGKILL');
        server = await Server.start({...kept, port: server.port});
        const other = await opened(server);
        await other.click('.row:has-text("The river") a');
        await other.waitForSelector('.answer.last .prose');
        assert.equal(await answerOf(other), said);
        await other.fill('#search', '求索');
        await other.waitForFunction(() => document.querySelectorAll('.row').length === 1);
        assert.match(await text(other, '.row'), /路漫漫其修远兮/);
        await other.fill('#search', '');
        // An answer under way is taken up after a reload, and is whole in the other browser.
        await choose(other, {...short, max_tokens: 150});
        await other.goto(server.url + '/#/');
        await other.waitForSelector('.welcome');
        await ask(other, 'The sea');
        await other.waitForSelector('.answer.last .prose');
        await other.reload();
        await ready(other);
        await ended(other);
        assert.match(await text(other, '.answer.last .info'), /150 tokens/);
        const whole = await answerOf(other);
        await page.reload();
        await ready(page);
        await page.click('.row:has-text("The sea") a');
        await page.waitForSelector('.answer.last .prose');
        assert.equal(await answerOf(page), whole);
        await page.getByRole('button', {name: 'Settings'}).click();
        assert.match(await text(page, 'dialog'), /kept by the server, for your account/);
        await page.getByRole('button', {name: 'Delete all conversations'}).click();
        await page.getByRole('dialog').getByRole('button', {name: 'Delete all conversations'}).click();
        await page.waitForFunction(() => !document.querySelector('.row'));
        await other.reload();
        await ready(other);
        assert.equal(await count(other, '.row'), 0);
        await server.end();
        await rm(data, {recursive: true});
    },

    async a_conversation_with_a_zero_goes_on(server) {
        const page = await opened(server);
        await importFile(page, exported(conversation({title: 'Zero', answer: 'A\0B'})));
        await page.click('.row a');
        await page.waitForSelector('.answer.last');
        await page.fill('#ask', 'And now?');
        await page.press('#ask', 'Enter');
        await page.waitForSelector('.question >> nth=1');
        await ended(page);
        assert.equal(await count(page, '.failure'), 0);
        assert.equal(await count(page, '.answer'), 2);
    },

    async what_a_browser_kept_moves_to_the_server() {
        const data = await mkdtemp(join(tmpdir(), 'lisao-page-'));
        let server = await Server.start();
        const page = await opened(server);
        const many = Array.from({length: 300}, (_, i) => conversation({title: `Conversation ${i}`, answer: `${rich}\n\nNumber ${i}.`}));
        await importFile(page, exported(...many));
        await server.end();
        server = await Server.start({port: server.port, options: ['--history', '--data', data]});
        await page.reload();
        await ready(page);
        assert.equal(await count(page, '.row'), 0);
        await page.getByRole('button', {name: 'Move 300 conversations'}).click();
        await page.waitForFunction(() => document.querySelectorAll('.row').length === 300);
        await page.fill('#search', 'number 277');
        await page.waitForFunction(() => document.querySelectorAll('.row').length === 1);
        await page.reload();
        await ready(page);
        assert.equal(await count(page, '.row'), 300);
        assert.equal(await page.getByRole('button', {name: 'Move'}).count(), 0);
        await server.end();
        await rm(data, {recursive: true});
    },

    // ---- how it looks -----------------------------------------------------------------------------

    async answers_are_laid_out(server) {
        const page = await opened(server);
        await importFile(page, exported(conversation({title: 'Rich', answer: rich})));
        await page.click('.row a');
        await page.waitForSelector('.answer');
        assert.deepEqual(await page.locator('.answer .prose em').allInnerTexts(), ['italic', 'somebody']); // not 4*21 + 3*7
        assert.equal(await count(page, '.prose table th'), 3);
        assert.equal(await count(page, '.prose math'), 6);
        assert.equal(await count(page, '.prose .formula math[display=block]'), 2);
        assert.equal(await count(page, '.prose li.task'), 2);
        assert.equal(await text(page, '.code .hljs-keyword'), 'return');
        assert.equal(await count(page, '.prose img'), 0);
        assert.equal(await page.getAttribute('.prose a >> nth=0', 'rel'), 'noopener noreferrer nofollow');
        assert.match(await text(page, '.prose'), /image on example\.org/);
        assert.equal(await count(page, '.hidden-mark'), 1);
        assert.match(await text(page, '.prose'), /costs \$5 and \$10/);
        await page.click('.code [aria-label="Copy"]');
        assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^int main\(void\)/);
        assert.notEqual(await page.evaluate(() => getComputedStyle(document.querySelector('.code')).borderRadius), '0px');
    },

    async nothing_foreign_is_run(server) {
        const page = await opened(server);
        const all = payloads.map((p) => conversation({title: p, question: p, answer: p, thought: p, system: p, state: 'failed', error: p,
                                                      files: [{name: p, text: p}], facts: {tokens: 1, model: p, fingerprint: p, seed: 1}}));
        await importFile(page, exported(...all));
        assert.equal(await count(page, '.row'), payloads.length);
        for (const row of await page.locator('.row a').all()) {
            await row.click();
            await page.waitForSelector('.answer .thought');
            await page.click('.thought-head [aria-expanded=false]');
            await page.click('.answer .info');
            await page.keyboard.press('Escape');
            await page.click('.question .chip button');
            await page.keyboard.press('Escape');
            assert.deepEqual(await page.evaluate(() => {
                const bad = [...document.querySelectorAll('#page *')].filter((e) =>
                    /^(script|iframe|object|embed|img|video|audio|form|base|link|meta|style|foreignobject|input|maction)$/i.test(e.localName)
                        && !e.matches('.composer, .composer input, .search input, .naming')
                    || [...e.attributes].some((a) => /^on/i.test(a.name) || /^\s*(javascript|data|vbscript):/i.test(a.value)));
                return bad.map((e) => e.outerHTML.slice(0, 200));
            }), []);
        }
        // Whoever clicks on every link of an answer gets to the web at most.
        const addresses = await page.locator('.prose a').evaluateAll((l) => l.map((a) => new URL(a.href).protocol));
        assert.ok(addresses.every((p) => ['http:', 'https:', 'mailto:'].includes(p)));
        assert.equal(await page.evaluate(() => window.hacked), undefined);
    },

    async nothing_foreign_is_run_while_it_streams(server) {
        const page = await opened(server, {effort: 'budget', budget: 8});
        // The page's own request, with a form that leaves the model no choice of what to say.
        let said = '';
        await page.route('**/chat/completions', (route) => {
            const body = {...route.request().postDataJSON(), response_format:
                {type: 'json_schema', json_schema: {name: 'x', schema: {const: said}}}};
            route.continue({postData: JSON.stringify(body)});
        });
        for (const p of payloads.filter((p) => p.length < 200 && !/["\\\n]/.test(p)).slice(0, 12)) {
            said = p;
            await page.keyboard.press('Control+Shift+o');
            await ask(page, 'Say it');
            await ended(page);
            assert.ok((await page.locator('.answer.last').innerText()).length > 3);
        }
        assert.equal(await page.evaluate(() => window.hacked), undefined);
    },

    async a_model_with_a_hostile_name() {
        const server = await Server.start({options: ['--name', payloads[0]]});
        const page = await opened(server);
        assert.equal(await text(page, '.model'), payloads[0]);
        await server.end();
    },

    async whoever_reads_by_ear_or_uses_keys_is_served(server) {
        // axe itself needs what the policy forbids; it looks at the same page without it.
        const context = await (await openBrowser()).newContext({locale: 'en', bypassCSP: true, reducedMotion: 'reduce'});
        const axe = await readFile(axePath, 'utf8');
        const p = await context.newPage();
        await p.addInitScript(axe);
        await p.goto(server.url);
        await ready(p);
        const looked = async (where) => {
            const found = await p.evaluate(() => window.axe.run({resultTypes: ['violations']}));
            assert.deepEqual(found.violations.map((v) => `${where}: ${v.id}: ${v.nodes.map((n) => n.html.slice(0, 160)).join(' | ')}`), []);
        };
        for (const theme of ['light', 'dark']) {
            await choose(p, {theme, ...short});
            await p.goto(server.url + '/#/');
            await looked(`${theme} welcome`);
            if (theme === 'light') await importFile(p, exported(conversation({title: 'Rich', answer: rich, thought: 'Hm.', state: 'stopped',
                facts: {prompt: 12, cached: 3, tokens: 40, writing: 900, first: 200, seed: 3, fingerprint: 'ab'.repeat(32), thoughtTime: 2000}})));
            await p.click('.row a');
            await p.waitForSelector('.answer');
            await p.click('.thought-head [aria-expanded]');
            await looked(`${theme} conversation`);
            await p.click('.answer .info');
            await looked(`${theme} details`);
            await p.keyboard.press('Escape');
            await p.click('.pill');
            await looked(`${theme} effort`);
            await p.keyboard.press('Escape');
            await p.hover('.row');
            await p.getByRole('button', {name: 'More for “Rich”'}).click();
            await looked(`${theme} menu`);
            await p.keyboard.press('Escape');
            await p.click('.question [aria-label="Edit"]');
            await looked(`${theme} edit`);
            await p.keyboard.press('Escape');
            await p.getByRole('button', {name: 'Settings'}).click();
            await looked(`${theme} settings`);
            await p.keyboard.press('Escape');
            await p.getByRole('button', {name: 'Keyboard'}).click();
            await looked(`${theme} keyboard`);
            await p.keyboard.press('Escape');
        }
    },

    async everything_is_reached_by_keys(server) {
        const page = await opened(server);
        await page.keyboard.type('The river');
        await page.keyboard.press('Shift+Enter');
        await page.keyboard.type('runs');
        await page.keyboard.press('Enter');
        await page.waitForSelector('.answer.last');
        await ended(page);
        assert.equal(await text(page, '.bubble'), 'The river\nruns');
        await page.focus('#ask');
        await page.keyboard.press('ArrowUp');
        await page.waitForSelector('.edit textarea');
        await page.keyboard.press('End');
        await page.keyboard.type('!');
        await page.keyboard.press('Enter');
        await page.waitForSelector('.question .versions');
        await ended(page);
        await page.keyboard.press('Control+Shift+o');
        await page.waitForSelector('.welcome');
        await page.keyboard.press('Control+k');
        await page.keyboard.press('Tab');
        await page.keyboard.press('Tab');
        await page.keyboard.press('Enter');
        await page.waitForSelector('[role=menu]');
        assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Pin');
        await page.keyboard.press('ArrowDown');
        assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Rename');
        await page.keyboard.press('ArrowUp');
        await page.keyboard.press('ArrowUp');
        assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Delete');
        await page.keyboard.press('Enter');
        await page.waitForSelector('dialog');
        await page.keyboard.press('Escape');
        assert.equal(await count(page, 'dialog'), 0);
        assert.equal(await count(page, '.row'), 1);
        await page.keyboard.press('Control+/');
        await page.waitForSelector('dialog .keys');
        await page.keyboard.press('Escape');
        await page.keyboard.press('Control+Shift+s');
        await page.waitForFunction(() => !document.querySelector('.sidebar'));
    },

    // ---- documents --------------------------------------------------------------------------------

    async answers_name_their_sources(server) {
        const plain = await opened(server);
        assert.equal(await plain.getByRole('button', {name: 'Documents', exact: true}).count(), 0);
        const folder = await mkdtemp(join(tmpdir(), 'lisao-documents-')), notes = join(folder, 'notes'), data = join(folder, 'data');
        const index = () => execFileSync(process.env.LISAO, ['index', notes, '--data', data]);
        const hostile = '<img src=x onerror=alert(1)>\u202e.md', said = '# Otters <script>alert(1)</script>\nThe otter swims. <b>Bold</b> [1] \u200b\n';
        await mkdir(notes);
        await writeFile(join(notes, 'garden.md'), '# Garden\n\nPrune the roses in March.\n');
        index(); // it is passage 1
        await writeFile(join(notes, hostile), said);
        index();
        const its = await Server.start({options: ['--documents', '--data', data]});
        const page = await opened(its);
        const bodies = [];
        page.on('request', (r) => r.url().endsWith('/chat/completions') && bodies.push(r.postDataJSON()));
        const toggle = page.getByRole('button', {name: 'Documents', exact: true});
        await ask(page, 'Roses without documents');
        await ended(page);
        assert.equal(await count(page, '.sources'), 0);
        assert.equal(await toggle.getAttribute('aria-pressed'), 'false');
        assert.match(await toggle.getAttribute('title'), /\(2\)/);
        await toggle.click();
        assert.equal(await toggle.getAttribute('aria-pressed'), 'true');
        await ask(page, 'When do I prune roses?');
        await ended(page);
        assert.deepEqual(bodies.map((b) => b.search), [undefined, true]);
        const chip = page.locator('.answer.last .sources button');
        assert.match(await chip.innerText(), /^1\s+garden\.md\s+Garden$/);

        // A passage opens by keys, is text, and closes as it opened.
        await chip.focus();
        await page.keyboard.press('Enter');
        await page.waitForSelector('dialog .file:has-text("Prune the roses in March.")');
        assert.equal(await text(page, 'dialog .place'), `${join(notes, 'garden.md')}, line 1`);
        await page.keyboard.press('Escape');
        await page.waitForSelector('dialog', {state: 'detached'});
        assert.ok(await chip.evaluate((x) => x === document.activeElement));
        await page.click('.answer.last [aria-label="Verify"]');
        await page.waitForSelector('.answer.last .verdict.same');
        await ask(page, 'And the otter?');
        await ended(page);
        assert.match(await text(page, '.answer.last .sources'), /<img src=x onerror=alert\(1\)>U\+202E\.md\s+Otters <script>/);
        await page.click('.answer.last .sources button');
        await page.waitForFunction((t) => document.querySelector('dialog .file').innerText === t, said.replace('\u200b', 'U+200B'));
        await page.keyboard.press('Escape');
        await ask(page, 'giraffe');
        await ended(page);
        assert.match(await text(page, '.answer.last .sources-none'), /Nothing was found/);

        // [1] in the text is a button where there is a source 1; what has changed since is gone.
        await page.reload();
        await page.waitForSelector('.question >> nth=1 >> text=prune roses');
        const sources = [{n: 1, id: 1, path: join(notes, 'garden.md'), heading: 'Garden', line: 1}];
        await importFile(page, exported(conversation({title: 'Cited', answer: 'In **March [1]**, not later [7]. `[1]` [1](https://example.org/)', sources})));
        await page.click('.row a:has-text("Cited")');
        const cite = page.locator('.answer .prose button.cite');
        assert.equal(await cite.count(), 1);
        assert.match(await answerOf(page), /^In March\s*1\s*, not later \[7\]\. \[1\] 1$/);
        await cite.click();
        await page.waitForSelector('dialog .file:has-text("Prune the roses")');
        await page.keyboard.press('Escape');
        await importFile(page, exported(conversation({title: 'Elsewhere', answer: 'In May [1].', sources: [{...sources[0], path: '/elsewhere/garden.md'}]})));
        await page.click('.row a:has-text("Elsewhere")');
        await page.getByText('In May').getByRole('button').click();
        await page.waitForSelector('dialog .file:has-text("This passage is gone")');
        await page.keyboard.press('Escape');
        await page.click('.row a:has-text("Cited")');
        await page.waitForSelector('.answer:has-text("In March")');
        await writeFile(join(notes, 'garden.md'), '# Garden\n\nPrune the roses in April.\n');
        index();
        await choose(page, {language: 'zh'});
        assert.equal(await page.getByRole('button', {name: '文档', exact: true}).innerText(), '文档');
        await page.getByRole('button', {name: '出处 1：garden.md'}).click();
        await page.waitForSelector('dialog .file:has-text("已经不在了")');
        assert.match(await text(page, 'dialog .place'), /第 1 行$/);
        await page.keyboard.press('Escape');
        const looked = await opened(its, {...short, documents: true}, {bypassCSP: true, reducedMotion: 'reduce'});
        await importFile(looked, exported(conversation({title: 'Cited', answer: 'In March [1].', sources})));
        await looked.click('.row a:has-text("Cited")');
        await looked.addScriptTag({path: axePath});
        const found = await looked.evaluate(() => window.axe.run({resultTypes: ['violations']}));
        assert.deepEqual(found.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html.slice(0, 160)).join(' | ')}`), []);
        await its.end();
        await rm(folder, {recursive: true});
    },

    async the_model_searches_by_itself() {
        const folder = await mkdtemp(join(tmpdir(), 'lisao-caller-')), notes = join(folder, 'notes'), data = join(folder, 'data');
        execFileSync('bash', [new URL('../caller.sh', import.meta.url).pathname, process.env.LISAO, 'calls'], {cwd: folder});
        await mkdir(notes);
        await writeFile(join(notes, 'garden.md'), '# Garden\n\nPrune the roses in March.\n');
        execFileSync(process.env.LISAO, ['index', notes, '--data', data]);
        const its = await Server.start({model: join(folder, 'calls'), options: ['--documents', '--data', data]});
        const page = await opened(its, {max_tokens: 400, temperature: 0}, {bypassCSP: true, reducedMotion: 'reduce'});
        const bodies = [];
        page.on('request', (r) => r.url().endsWith('/chat/completions') && bodies.push(r.postDataJSON()));
        const from = page.getByRole('button', {name: /^Answer from: /}), itself = page.getByRole('checkbox', {name: /searches by itself/});
        await from.click();
        assert.ok(await itself.isDisabled());
        await page.getByRole('radio', {name: /^Documents/}).check();
        await itself.check();
        assert.deepEqual(await violations(page), []);
        await page.keyboard.press('Escape');
        assert.equal(await from.getAttribute('aria-label'), 'Answer from: Documents');
        await ask(page, 'When?');
        await ended(page);
        assert.deepEqual(bodies.map((b) => [b.search, b.logprobs]), [['documents_tool', false]]);
        assert.match(await text(page, '.answer.last .searches'), /^Searched for “roses”(\s+Searched for “roses”)*$/);
        assert.match(await page.locator('.answer.last .sources button').first().innerText(), /^1\s+garden\.md\s+Garden$/);
        assert.equal(await page.locator('.answer.last [aria-label="Verify"]').count(), 1);
        assert.equal(await page.locator('.answer.last .tools [aria-pressed]').count(), 0); // not apart into tokens: it has several rounds
        await page.click('.answer.last [aria-label="Verify"]');
        await page.waitForSelector('.answer.last .verdict.same');
        assert.deepEqual(await violations(page), []);
        await page.reload();
        await page.waitForSelector('.answer .searches');

        // From then on before each answer by the server, as it was.
        await from.click();
        await itself.uncheck();
        await page.keyboard.press('Escape');
        await ask(page, 'When do I prune roses?');
        await ended(page);
        assert.deepEqual([bodies[1].search, bodies[1].logprobs], [true, true]);
        assert.equal(await count(page, '.answer.last .searches'), 0);
        await its.end();
        await rm(folder, {recursive: true});
    },

    async answers_from_the_web_link_their_pages() {
        const asked = [];
        let found = [];
        const engine = createServer((request, response) => {
            asked.push(request.url);
            response.end(JSON.stringify({results: found}));
        }).listen(0, '127.0.0.1');
        await once(engine, 'listening');
        const folder = await mkdtemp(join(tmpdir(), 'lisao-web-')), data = join(folder, 'data');
        const search = ['--web-search', `http://127.0.0.1:${engine.address().port}`, '--data', data];
        const its = await Server.start({options: search});
        const page = await opened(its);
        const bodies = [];
        page.on('request', (r) => r.url().endsWith('/chat/completions') && bodies.push(r.postDataJSON()));
        const toggle = page.getByRole('button', {name: 'Web', exact: true});
        await ask(page, 'Roses without the web');
        await ended(page);
        assert.equal(await count(page, '.sources'), 0);
        assert.deepEqual(asked, []);
        await toggle.click();
        assert.equal(await toggle.getAttribute('aria-pressed'), 'true');
        found = [{title: '<img src=x onerror=alert(1)>\u202e', url: 'https://garden.example:8443/roses?a=1#b', content: 'In March. <b>[2]</b>'},
                 {title: '', url: 'http://b.example/', content: 'In spring.'}, {title: 'x', url: 'javascript:alert(1)', content: 'x'}];
        await ask(page, 'When do I prune roses?');
        await ended(page);
        assert.deepEqual(bodies.map((b) => b.search), [undefined, 'web']);
        assert.deepEqual(asked, ['/search?q=When%20do%20I%20prune%20roses%3F&format=json']);
        const links = page.locator('.answer.last .sources a');
        assert.deepEqual(await links.allInnerTexts().then((all) => all.map((x) => x.replace(/\s+/g, ' '))),
                         ['1 <img src=x onerror=alert(1)>U+202E garden.example:8443', '2 b.example b.example']);
        assert.deepEqual(await links.evaluateAll((all) => all.map((x) => [x.getAttribute('href'), x.target, x.rel, x.title])),
                         found.slice(0, 2).map((x) => [x.url, '_blank', 'noopener noreferrer nofollow', x.url]));
        await page.click('.answer.last [aria-label="Verify"]');
        await page.waitForSelector('.answer.last .verdict.same');
        assert.equal(asked.length, 1);
        found = [];
        await ask(page, 'giraffe');
        await ended(page);
        assert.match(await text(page, '.answer.last .sources-none'), /Nothing was found/);

        // [1] in the text is a link; an address that leads nowhere is text, also of an import.
        const sources = [{n: 1, url: 'https://garden.example/', title: 'Roses', text: 'x'}, {n: 2, url: 'javascript:alert(1)', title: '', text: 'x'},
                         {n: 3, url: 'data:text/html,x', title: 'Three', text: 'x'}];
        await importFile(page, exported(conversation({title: 'Cited', answer: 'In **March [1]**, [2] and [3].', sources})));
        await page.click('.row a:has-text("Cited")');
        await page.waitForSelector('.answer:has-text("In March")');
        assert.equal(await page.locator('.answer .prose a.cite').getAttribute('href'), 'https://garden.example/');
        assert.equal(await page.getByRole('link', {name: 'Source 1: Roses'}).count(), 1);
        assert.equal(await count(page, '.answer a'), 2);
        assert.match(await text(page, '.answer.last .sources'), /javascript:alert\(1\)\s+3\s+Three/);
        await its.end();

        // Documents and the web are a choice of one.
        await mkdir(join(folder, 'notes'));
        await writeFile(join(folder, 'notes', 'garden.md'), '# Garden\n\nPrune the roses in March.\n');
        execFileSync(process.env.LISAO, ['index', join(folder, 'notes'), '--data', data]);
        const both = await Server.start({options: [...search, '--documents']});
        const other = await opened(both), sent = [];
        other.on('request', (r) => r.url().endsWith('/chat/completions') && sent.push(r.postDataJSON().search));
        const from = async (name, button) => {
            await other.getByRole('button', {name: button}).click();
            await other.getByRole('radio', {name}).check();
            await other.keyboard.press('Escape');
            await ask(other, 'When do I prune roses?');
            await ended(other);
        };
        await from(/^Web/, 'Answer from: The model alone');
        await from(/^Documents/, 'Answer from: Web');
        assert.match(await text(other, '.answer.last .sources'), /garden\.md/);
        await from(/^The model alone/, 'Answer from: Documents');
        assert.deepEqual(sent, ['web', true, undefined]);
        await other.getByRole('button', {name: 'Answer from: The model alone'}).click();
        const looked = await opened(both, {...short, web: true}, {bypassCSP: true, reducedMotion: 'reduce'});
        await importFile(looked, exported(conversation({title: 'Cited', answer: 'In March [1].', sources: sources.slice(0, 1)})));
        await looked.click('.row a:has-text("Cited")');
        await looked.getByRole('button', {name: 'Answer from: Web'}).click();
        await looked.addScriptTag({path: axePath});
        const wrong = await looked.evaluate(() => window.axe.run({resultTypes: ['violations']}));
        assert.deepEqual(wrong.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html.slice(0, 160)).join(' | ')}`), []);
        await looked.keyboard.press('Escape');
        await choose(looked, {language: 'zh'});
        assert.equal(await looked.getByRole('button', {name: '回答依据: 网络'}).count(), 1);
        assert.equal(await looked.getByRole('link', {name: '出处 1：Roses'}).count(), 1);
        await both.end();
        engine.close();
        await rm(folder, {recursive: true});
    },

    // ---- training ---------------------------------------------------------------------------------

    async training_is_seen_as_it_goes(server) {
        const none = await opened(server);
        assert.equal(await count(none, '.to-runs'), 0);
        await none.goto(server.url + '/#/train');
        await none.waitForSelector('.training .none:has-text("shows no training runs")');

        const folder = await runsFolder(), bad = join(folder, hostile, 'metrics.jsonl');
        let its = await Server.start({options: ['--runs', folder]});
        const page = await opened(its);
        await page.click('.to-runs');
        assert.match(page.url(), /#\/train$/);
        await page.waitForSelector('.live.on');
        assert.equal(await page.title(), 'Training · Lisao');
        assert.equal(await count(page, '.run'), 2);
        const row = (name) => page.locator('.run', {hasText: name}), card = (name) => page.getByRole('region', {name, exact: true});
        assert.match(await row('onerror').innerText(), /<img src=x onerror=alert\(1\)>U\+202E \$\(id\)<b>grpo\s+Running\s+step 20 of 50/);
        for (const name of ['plain', 'onerror']) await row(name).locator('input').check();

        // Two runs in the same axes; one of them has what reinforcement learning logs.
        const curves = (name) => card(name).locator('.curve');
        await page.waitForFunction(() => document.querySelectorAll('[aria-label="Gradient norm"] .curve').length === 2);
        assert.equal(await curves('Reward').count(), 1);
        assert.equal(await curves('Loss').count(), 3);
        assert.equal(await curves('Bits per byte').count(), 1);
        assert.equal(await page.getByRole('img', {name: 'Load of 4 experts in each of 2 layers'}).locator('path').count() >= 3, true);
        await page.click('.more summary');
        assert.equal(await card('<i>odd key').locator('.curve').count(), 1);
        const texts = await page.locator('.texts').allInnerTexts();
        assert.match(texts.join('\n'), /<h1><\/script><script>alert\(2\)<\/script>U\+202E/);
        assert.match(texts.join('\n'), /\[x\]\(javascript:alert\(3\)\)\s+<svg onload=alert\(4\)>\s+<iframe srcdoc=/);

        // What is written is seen, half a line when it is whole.
        await appendFile(bad, line(21, {reward: 0.75}) + line(22).slice(0, 30));
        await page.waitForSelector('.run:has-text("step 21 of 50")');
        await page.waitForFunction(() => /0\.75/.test(document.querySelector('.run.c1, .run.c0').parentElement.innerText));
        await appendFile(bad, line(22).slice(30));
        await page.waitForSelector('.run:has-text("step 22 of 50")');
        assert.equal((await curves('Reward').getAttribute('d')).split('L').length, 2);
        await appendFile(join(folder, hostile, 'rollouts.jsonl'), JSON.stringify({step: 22, prompt: '2+2', reasoning: '', answer: 'four', right: true, reward: 1}) + '\n');
        await page.waitForSelector('.texts:has-text("four")');

        // The arrow keys read all plots off at once; tokens and time are axes, too.
        await card('Loss').locator('.plot').focus();
        await page.keyboard.press('Home');
        await page.waitForFunction(() => document.querySelectorAll('.cross').length >= 5);
        assert.match(await card('Loss').locator('.values').innerText(), /^1\s/);
        await page.keyboard.press('Escape');
        await page.waitForSelector('.cross', {state: 'detached'});
        await page.getByText('Tokens', {exact: true}).click();
        await page.waitForFunction(() => /2 k|3 k/.test(document.querySelector('[aria-label="Learning rate"] svg').textContent));
        await page.getByText('Time', {exact: true}).click();
        await page.waitForFunction(() => /0:1[05]/.test(document.querySelector('[aria-label="Learning rate"] svg').textContent));
        await page.getByText('Steps', {exact: true}).click();

        // A run that goes on from a checkpoint writes its file anew; a server that was away is found again.
        await writeFile(bad + '.new', line(1) + line(2, {loss: 77}));
        await rename(bad + '.new', bad);
        await page.waitForSelector('.run:has-text("step 2 of 50")');
        await page.waitForFunction(() => document.querySelector('[aria-label="Reward"]') === null);
        await its.end();
        await page.waitForSelector('.live:not(.on)');
        its = await Server.start({port: its.port, options: ['--runs', folder]});
        await page.waitForSelector('.live.on');
        await appendFile(bad, line(3));
        await page.waitForSelector('.run:has-text("step 3 of 50")');

        // The command is one for a shell, whatever the run is called.
        await page.click('.chat-with summary');
        const label = await page.locator('.chat-with li .icon').nth(await count(page, '.chat-with li') - 1).getAttribute('aria-label');
        await page.getByRole('button', {name: label, exact: true}).click();
        const command = await page.evaluate(() => navigator.clipboard.readText());
        const argument = execFileSync('sh', ['-c', command.replace('lisao chat', 'printf %s')], {encoding: 'utf8'});
        assert.ok(argument.startsWith(folder + '/'), argument);

        // Or here: the newest checkpoint becomes a model; what is none says so.
        await page.getByRole('button', {name: /^Chat with <img/}).click();
        await page.waitForSelector('.toast.bad:has-text("cannot be opened")');
        await cp(process.env.LISAO_MODEL, join(folder, 'plain', 'step-000000025'), {recursive: true});
        await page.waitForSelector('.chat-with li:has-text("step 25")', {timeout: 15000});
        await page.getByRole('button', {name: 'Chat with plain'}).click();
        await page.waitForSelector('.welcome');
        assert.equal(await page.getByRole('button', {name: /^Who answers: /}).getAttribute('aria-label'), 'Who answers: plain@25');
        await ask(page, 'The river');
        await ended(page);
        assert.equal(await text(page, '.answer.last .from'), 'plain@25');

        await choose(page, {language: 'zh'}).catch(() => {});
        await page.click('.to-runs');
        await page.waitForSelector('.top h1:has-text("训练")');
        await page.click('.new');
        await page.waitForSelector('#ask');
        await its.end();
        await rm(folder, {recursive: true});
    },

    async training_is_for_everybody(server) {
        const folder = await runsFolder(), its = await Server.start({options: ['--runs', folder]});
        for (const colorScheme of ['light', 'dark'])
            for (const viewport of [{width: 1280, height: 820}, {width: 360, height: 740}]) {
                const page = await openPage(its.url, {path: '#/train', bypassCSP: true, reducedMotion: 'reduce', colorScheme, viewport});
                await page.waitForSelector('.live.on');
                for (const box of await page.locator('.run input:not(:checked)').all()) await box.check();
                await page.waitForSelector('.heat svg');
                for (const summary of await page.locator('.training summary').all()) await summary.click();
                await page.waitForTimeout(200);
                assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), viewport.width);
                assert.ok(await page.evaluate(() => { const t = document.querySelector('.training'); return t.scrollWidth <= t.clientWidth; }));
                await page.addScriptTag({path: axePath});
                const found = await page.evaluate(() => window.axe.run({resultTypes: ['violations']}));
                assert.deepEqual(found.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html.slice(0, 160)).join(' | ')}`), []);
            }
        await its.end();
        await rm(folder, {recursive: true});
    },

    async much_stays_quick(server) {
        const page = await opened(server);
        const many = Array.from({length: 1000}, (_, i) => conversation({title: `Conversation ${i}`, answer: `${rich}\n\nNumber ${i}.`}));
        // About 100,000 tokens: 400 KB in 100 questions and answers.
        const big = conversation({title: 'Long'});
        big.messages = Array.from({length: 100}, (_, i) => ({...big.messages[i % 2], id: `big-${i}`, parent: i ? `big-${i - 1}` : null,
            created: big.created + i, text: i % 2 ? (rich + '\n\n').repeat(9) : `Question ${i}`}));
        big.leaf = 'big-99';
        await importFile(page, exported(big, ...many));
        const timed = async (what, work, most) => {
            const begun = Date.now();
            await work();
            const ms = Date.now() - begun;
            console.log(`#   ${what}: ${ms} ms`);
            assert.ok(ms < most, `${what} took ${ms} ms`);
        };
        await timed('the page, with 1,001 conversations', async () => (await page.reload(), await ready(page)), 10_000);
        await timed('search over all of them', async () => {
            await page.fill('#search', 'number 777');
            await page.waitForFunction(() => document.querySelectorAll('.row').length === 1);
        }, 5000);
        await page.fill('#search', 'Long');
        await page.waitForFunction(() => document.querySelectorAll('.row').length === 1);
        await timed('opening 400 KB of conversation', async () => {
            await page.click('.row a');
            await page.waitForFunction(() => document.querySelectorAll('article').length === 20);
            await page.evaluate(() => new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r))));
        }, 15_000);
        await page.evaluate(() => {
            window.longest = 0;
            new PerformanceObserver((l) => l.getEntries().forEach((e) => (window.longest = Math.max(window.longest, e.duration)))).observe({type: 'longtask'});
        });
        await timed('typing 40 letters in it', () => page.type('#ask', 'a'.repeat(40)), 10_000);
        await page.evaluate(() => (document.querySelector('.thread').scrollTop = 300));
        await page.waitForFunction(() => document.querySelectorAll('article').length === 40);
        assert.ok(await page.evaluate(() => document.querySelector('.thread').scrollTop > 1000));
        console.log(`#   longest task meanwhile: ${Math.round(await page.evaluate(() => window.longest))} ms`);
    },

    async a_phone_is_wide_enough(server) {
        const page = await opened(server, short, {viewport: {width: 360, height: 740}, hasTouch: true, isMobile: true});
        const fits = async () => assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360);
        await fits();
        assert.equal(await count(page, '.sidebar'), 0);
        await page.click('[aria-label="Show conversations"]');
        await importFile(page, exported(conversation({title: 'Rich', answer: rich + '\n\n' + 'W'.repeat(300), thought: 'Hm.'})));
        await page.click('.row a');
        await page.waitForSelector('.answer');
        assert.equal(await count(page, '.sidebar'), 0);
        await fits();
        await ask(page, 'The river');
        await ended(page);
        await fits();
    },
};

run(cases, await Server.start());
