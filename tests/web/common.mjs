// What the tests of the page share: a server and a browser of their own, and cases that are counted.
import {spawn} from 'node:child_process';
import {existsSync} from 'node:fs';
import {createRequire} from 'node:module';
import {createInterface} from 'node:readline';

const from = createRequire(process.env.WEB_NODE + '/');
export const {chromium} = from('playwright-core');
export const axePath = from.resolve('axe-core/axe.min.js');

// ---- a server -----------------------------------------------------------------------------------

export class Server {
    static all = new Set();

    /** `lisao serve` on a free port of loopback, or on `port`; key: the only one; keys: those of a folder. */
    static async start({key, keys, port = 0, model = process.env.LISAO_MODEL, options = []} = {}) {
        const s = new Server();
        const {LISAO_MODEL: _, ...rest} = process.env, env = {...rest, ...(key ? {LISAO_API_KEY: key} : {})};
        s.process = spawn(process.env.LISAO, ['serve', model, '--port', String(port), '--context', '16384',
                                              ...(key || keys ? [] : ['--no-keys']),
                                              ...(keys ? ['--no-first-key', '--data', keys] : []), ...options],
                          {env, stdio: ['ignore', 'pipe', 'ignore']});
        Server.all.add(s);
        s.ended = new Promise((resolve) => s.process.once('exit', resolve));
        for await (const line of createInterface({input: s.process.stdout})) {
            s.url = /^listening on (\S+)$/.exec(line)?.[1];
            break;
        }
        if (!s.url) throw new Error('the server did not start');
        s.port = Number(new URL(s.url).port);
        return s;
    }

    async end(signal = 'SIGTERM') {
        Server.all.delete(this);
        this.process.kill(signal);
        await this.ended;
    }
}

// ---- a browser ----------------------------------------------------------------------------------

const executablePath = process.env.CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser'].find(existsSync);
let browser;

export async function openBrowser() {
    browser ??= await chromium.launch({
        executablePath,
        args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
               '--disable-component-update', '--disable-sync'],
    });
    return browser;
}

/** A page in a profile of its own, watched: what it may not do is in `faults`. */
export async function openPage(url, {path = '', ...options} = {}) {
    const context = await (await openBrowser()).newContext({locale: 'en', viewport: {width: 1280, height: 820},
                                                            permissions: ['clipboard-read', 'clipboard-write'], ...options});
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    page.faults = [];
    watch(page, url);
    await page.goto(url + '/' + path);
    return page;
}

export function watch(page, url) {
    const fault = (what) => page.faults.push(what);
    page.on('dialog', (d) => (fault(`dialog: ${d.message()}`), d.dismiss()));
    page.on('pageerror', (e) => fault(`error: ${e.message}`));
    page.on('console', (m) => {
        if (['error', 'warning'].includes(m.type()) && !/Failed to load resource/.test(m.text())) fault(`console: ${m.text()}`);
    });
    page.on('request', (r) => {
        if (!r.url().startsWith(url + '/') && !/^(data|blob):/.test(r.url())) fault(`request elsewhere: ${r.url()}`);
    });
    page.on('popup', (p) => fault(`window: ${p.url()}`));
    page.addInitScript(() => {
        addEventListener('securitypolicyviolation', (e) => console.error(`policy: ${e.violatedDirective} ${e.blockedURI}`));
    });
}

// ---- what is done often -------------------------------------------------------------------------

export const ready = (page) => page.waitForSelector('.model');
export const ended = (page) => page.waitForSelector('.answer.last[aria-busy=false]');

export async function ask(page, text) {
    await page.fill('#ask', text);
    await page.press('#ask', 'Enter');
    await page.waitForSelector('.answer.last');
}

/** Settings are read when the page starts. */
export async function choose(page, settings) {
    await page.evaluate((s) => localStorage.setItem('lisao.settings',
        JSON.stringify({...JSON.parse(localStorage.getItem('lisao.settings') ?? '{}'), ...s})), settings);
    await page.reload();
    await ready(page);
}

export async function importFile(page, object) {
    const buffer = Buffer.from(typeof object === 'string' ? object : JSON.stringify(object));
    await page.getByRole('button', {name: 'Settings'}).click();
    await page.waitForSelector('.toast', {state: 'detached'}); // what an earlier one said
    await page.setInputFiles('#import', {name: 'conversations.json', mimeType: 'application/json', buffer});
    await page.waitForSelector('.toast');
    await page.keyboard.press('Escape');
}

/** What axe finds wrong with a page that was opened with bypassCSP. */
export async function violations(page) {
    await page.addScriptTag({path: axePath});
    const found = await page.evaluate(() => window.axe.run({resultTypes: ['violations']}));
    return found.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html.slice(0, 160)).join(' | ')}`);
}

let made = 0;
/** A conversation of one question and one answer, as an export has it. */
export function conversation({title = 'Imported', question = 'Q', answer = 'A', files, system = '', ...rest} = {}) {
    const id = `made-${++made}`, now = 1_700_000_000_000 + made;
    return {
        id, title, pinned: false, created: now, updated: now, system, leaf: id + '-a',
        messages: [{id: id + '-q', parent: null, role: 'user', created: now, text: question, state: 'done', ...(files ? {files} : {})},
                   {id: id + '-a', parent: id + '-q', role: 'assistant', created: now + 1, text: answer, state: 'done', ...rest}],
    };
}
export const exported = (...conversations) => ({format: 'lisao-conversations', version: 1, conversations});

// ---- cases --------------------------------------------------------------------------------------

/** Runs the cases whose names hold one of the words; the last line counts them. */
export async function run(cases, ...given) {
    const words = process.argv.slice(2);
    let passed = 0, failed = 0;
    for (const [name, test] of Object.entries(cases)) {
        if (words.length && !words.some((w) => name.includes(w))) continue;
        const begun = Date.now();
        const pages = new Set((await openBrowser()).contexts());
        try {
            const skipped = await test(...given);
            for (const c of browser.contexts())
                for (const p of c.pages())
                    if (p.faults?.length) throw new Error(`the page did what it may not: ${p.faults.slice(0, 5).join('; ')}`);
            passed += !skipped;
            console.log(skipped ? `# skipped: ${name}: ${skipped}` : `ok - ${name} (${((Date.now() - begun) / 1000).toFixed(1)} s)`);
        } catch (e) {
            failed++;
            console.log(`not ok - ${name}\n${String(e.stack ?? e).replace(/^/gm, '    ')}`);
            for (const c of browser.contexts())
                for (const p of c.pages())
                    console.log(await p.locator('body').innerText().then((t) => t.slice(0, 1500).replace(/^/gm, '    | '), String));
        }
        for (const c of browser.contexts()) if (!pages.has(c)) await c.close();
    }
    await browser.close();
    for (const s of Server.all) await s.end();
    console.log(`${passed} passed, ${failed} failed`);
    process.exit(failed ? 1 : 0);
}
