// Builds the page: one HTML file with its script and its style in it, and the policy that lets in
// these two and nothing else. The same sources give the same bytes.
import {createHash} from 'node:crypto';
import {readFileSync} from 'node:fs';
import {defineConfig} from 'vite';

const hash = (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

const policy = (script, style) =>
    [
        `default-src 'none'`,
        `script-src ${hash(script)}`,
        `style-src ${hash(style)}`,
        `connect-src 'self'`,
        `img-src data:`,
        `form-action 'none'`,
        `base-uri 'none'`,
        `frame-ancestors 'none'`,
        `require-trusted-types-for 'script'`,
        `trusted-types 'none'`,
    ].join('; ');

/** Whose work is in the page, and on what terms; it goes along as a comment. */
function licences() {
    const read = (file) => readFileSync(new URL(`node_modules/${file}`, import.meta.url), 'utf8');
    const {dependencies} = JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8'));
    return [...Object.keys(dependencies), '@preact/signals-core'].map((name) => {
        const {version, license} = JSON.parse(read(`${name}/package.json`));
        return `${name} ${version}, ${license}\n\n${read(`${name}/LICENSE`).trim()}`;
    }).join('\n\n').replaceAll('--', '- -');
}

const onePage = {
    name: 'one-page',
    enforce: 'post',
    generateBundle(_, bundle) {
        const all = Object.values(bundle);
        const html = all.find((f) => f.fileName.endsWith('.html'));
        const script = all.find((f) => f.type === 'chunk').code.replaceAll('</script', '<\\/script').trim();
        const style = all.find((f) => f.fileName.endsWith('.css')).source.toString().trim();
        const page = html.source
            .replace(/\s*<script[^>]*src=[^>]*><\/script>/, '')
            .replace(/\s*<link rel="stylesheet"[^>]*>/, () => `<style>${style}</style>`)
            .replace('</body>', () => `<script type="module">${script}</script>\n</body>`)
            .replace('</html>', () => `</html>\n<!-- With the work of others:\n\n${licences()}\n-->`);
        for (const name of Object.keys(bundle)) delete bundle[name];
        this.emitFile({type: 'asset', fileName: 'page.html', source: page});
        this.emitFile({type: 'asset', fileName: 'page.csp', source: policy(script, style) + '\n'});
    },
};

export default defineConfig({
    base: './',
    plugins: [onePage],
    build: {
        target: 'es2022',
        modulePreload: false,
        cssCodeSplit: false,
        assetsInlineLimit: 0,
        reportCompressedSize: false,
        emptyOutDir: true,
    },
    // npm run dev: the page from its sources, before a server that runs already.
    server: {proxy: {'/v1': process.env.LISAO_URL ?? 'http://127.0.0.1:8080'}},
});
