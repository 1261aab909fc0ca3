// Markdown as nodes. No HTML is ever made of what a model or a file says: marked reads it, and each
// of its tokens becomes an element here. HTML in it is shown as the text that it is.
import {Marked, type MarkedExtension, type Token, type Tokens} from 'marked';
import type {ComponentChildren} from 'preact';
import {useMemo, useRef, useState} from 'preact/hooks';
import {Check, Copy, Wrap} from './icons';
import {highlight} from './highlight';
import {t} from './i18n';
import {Formula, formulas} from './math';
import {pure} from './pure';
import {revealed} from './reveal';
import {change, settings} from './settings';
import {cited} from './sources';

/** A star between a letter or digit and a digit is a product, `4*21 + 3*7`: it neither begins nor ends an emphasis. */
const products = {
    hooks: {emStrongMask: (text: string) => text.replace(/(?<=[\p{L}\d])\*(?=\d)/gu, '+')},
    tokenizer: {emStrong: (text: string, _: string, before = '') => (/[\p{L}\d]$/u.test(before) && /^\*\d/.test(text) ? undefined : false)},
};

const marked = new Marked({gfm: true, extensions: formulas}, products as MarkedExtension);

// ---- links --------------------------------------------------------------------------------------

/** The address, where it leads to the web or to mail; null: it is shown as text. */
function safeAddress(href: string): URL | null {
    try {
        const url = new URL(href.trim());
        return ['http:', 'https:', 'mailto:'].includes(url.protocol) ? url : null;
    } catch {
        return null;
    }
}

function Link({href, children}: {href: string; children: ComponentChildren}) {
    const url = safeAddress(href);
    if (!url) return <>{children}</>;
    return (
        <a href={url.href} target="_blank" rel="noopener noreferrer nofollow" title={url.href}>
            {children}
        </a>
    );
}

/** An image of another place would tell it that this answer is read: a link stands for it. */
function Image({href, text}: {href: string; text: string}) {
    const url = safeAddress(href);
    return (
        <Link href={href}>
            {text || 'image'} {url && <small>({t('image', url.host)})</small>}
        </Link>
    );
}

// ---- text ---------------------------------------------------------------------------------------

const entities: Record<string, string> = {amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\u00a0', copy: '©',
                                          hellip: '…', mdash: '—', ndash: '–', times: '×', deg: '°', larr: '←', rarr: '→'};

function characters(text: string): string {
    return text.replace(/&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|(\w+));/g, (all, dec, hex, name) => {
        if (name) return entities[name] ?? all;
        const code = dec ? Number(dec) : parseInt(hex, 16);
        return code > 0 && code < 0x110000 && (code < 0xd800 || code > 0xdfff) ? String.fromCodePoint(code) : '\ufffd';
    });
}

// ---- code ---------------------------------------------------------------------------------------

export function CopyButton({text, label}: {text: () => string; label?: boolean}) {
    const [copied, setCopied] = useState(false);
    const copy = async () => {
        if (!(await toClipboard(text()))) return;
        setCopied(true);
        setTimeout(() => setCopied(false), 1500);
    };
    const word = copied ? t('copied') : t('copy');
    return (
        <button type="button" class={label ? 'quiet' : 'icon'} onClick={copy} aria-label={word} title={word}>
            {copied ? <Check /> : <Copy />}
            {label && <span>{word}</span>}
        </button>
    );
}

async function toClipboard(text: string): Promise<boolean> {
    if (navigator.clipboard) return navigator.clipboard.writeText(text).then(() => true, () => false);
    const area = document.createElement('textarea'); // over plain HTTP there is no other way
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    return done;
}

const CodeBlock = pure(({code, language, open}: {code: string; language: string; open: boolean}) => {
    const spans = useMemo(() => (open ? null : highlight(code, language)), [code, language, open]);
    const wrap = settings.value.wrap;
    return (
        <div class="code">
            <div class="code-head">
                <span>{language || t('code')}</span>
                <button type="button" class="icon" aria-pressed={wrap} aria-label={t('wrap')} title={t('wrap')}
                        onClick={() => change({wrap: !wrap})}>
                    <Wrap />
                </button>
                <CopyButton text={() => code} />
            </div>
            <pre tabIndex={0} role="region" aria-label={language || t('code')} class={wrap ? 'wrapped' : undefined}>
                <code>{spans ? spans.map((s) => (s.kind ? <span class={s.kind}>{revealed(s.text)}</span> : revealed(s.text)))
                             : revealed(code)}</code>
            </pre>
        </div>
    );
});

// ---- tokens -------------------------------------------------------------------------------------

/** A list within a list within a list ... is somebody's joke. */
const DEEPEST = 24;

function draw(tokens: Token[] | undefined, open: boolean, depth: number): ComponentChildren {
    if (!tokens) return null;
    if (depth > DEEPEST) return tokens.map((x) => x.raw);
    return tokens.map((x, i) => drawOne(x, open && i === tokens.length - 1, depth + 1));
}

function drawOne(token: Token, open: boolean, depth: number): ComponentChildren {
    const x = token as Tokens.Generic;
    const inner = () => draw(x.tokens, open, depth);
    switch (x.type) {
    case 'space':
    case 'def': return null;
    case 'paragraph': return <p>{inner()}</p>;
    case 'heading': {
        const H = `h${Math.min(x['depth'] + 1, 6)}` as 'h2'; // the page's own title is h1
        return <H>{inner()}</H>;
    }
    case 'text': return x.tokens ? inner() : cited(characters(x['text']));
    case 'escape': return x['text'];
    case 'html': return x['block'] ? <p class="as-text">{x.raw.trimEnd()}</p> : x.raw;
    case 'strong': return <strong>{inner()}</strong>;
    case 'em': return <em>{inner()}</em>;
    case 'del': return <del>{inner()}</del>;
    case 'codespan': return <code>{revealed(x['text'])}</code>;
    case 'br': return <br />;
    case 'hr': return <hr />;
    case 'link': return <Link href={x['href']}>{inner()}</Link>;
    case 'image': return <Image href={x['href']} text={x['text']} />;
    case 'formula': return <Formula tex={x['tex']} block={x['block']} />;
    case 'formulaBlock': return <Formula tex={x['tex']} block />;
    case 'blockquote': return <blockquote>{inner()}</blockquote>;
    case 'code': return <CodeBlock code={x['text']} language={(x['lang'] ?? '').split(/\s/)[0].toLowerCase().slice(0, 24)} open={open} />;
    case 'list': return drawList(x as Tokens.List, open, depth);
    case 'table': return drawTable(x as Tokens.Table, depth);
    default: return x.raw;
    }
}

function drawList(list: Tokens.List, open: boolean, depth: number): ComponentChildren {
    const items = list.items.map((item, i) => (
        <li class={item.task ? 'task' : undefined}>
            {item.task && <span role="img" aria-label={item.checked ? '✓' : '○'} class={item.checked ? 'box on' : 'box'} />}
            {draw(item.tokens.filter((x) => x.type !== 'checkbox'), open && i === list.items.length - 1, depth)}
        </li>
    ));
    return list.ordered ? <ol start={Number(list.start) || 1}>{items}</ol> : <ul>{items}</ul>;
}

function drawTable(table: Tokens.Table, depth: number): ComponentChildren {
    const side = (cell: Tokens.TableCell) => (cell.align ? `to-${cell.align}` : undefined);
    return (
        <div class="table" tabIndex={0} role="region" aria-label="table">
            <table>
                <thead><tr>{table.header.map((cell) => <th class={side(cell)}>{draw(cell.tokens, false, depth)}</th>)}</tr></thead>
                <tbody>
                    {table.rows.map((row) => <tr>{row.map((cell) => <td class={side(cell)}>{draw(cell.tokens, false, depth)}</td>)}</tr>)}
                </tbody>
            </table>
        </div>
    );
}

// ---- a text -------------------------------------------------------------------------------------

/** Longer blocks are shown as they are. */
const BLOCK_MOST = 64 << 10;

const Block = pure(({raw, token, open}: {raw: string; token: Token; open: boolean}) =>
    raw.length > BLOCK_MOST ? <pre class="as-text">{raw}</pre> : <>{drawOne(token, open, 0)}</>);

interface Read {
    text: string;
    /** Blocks in front of `from` will not change any more, whatever follows. */
    stable: Token[];
    from: number;
    rest: Token[];
}

/** Reads a text that grew at its end since `old`: only its last blocks are read again. Lines end with \n alone, as marked
    counts them: where they ended with \r\n, too, a block would be taken for shorter than it is. */
function readOn(old: Read, said: string, open: boolean): Read {
    const text = said.replace(/\r\n?/g, '\n');
    const grew = open && old.text && text.startsWith(old.text);
    const stable = grew ? [...old.stable] : [];
    let from = grew ? old.from : 0;
    const rest: Token[] = [...marked.lexer(text.slice(from))];
    while (open && rest.length > 2) {
        const first = rest.shift()!;
        stable.push(first);
        from += first.raw.length;
    }
    return {text, stable, from, rest};
}

/** open: more of the text is to come. */
export const Markdown = pure(({text, open}: {text: string; open: boolean}) => {
    const read = useRef<Read>({text: '', stable: [], from: 0, rest: []});
    read.current = useMemo(() => readOn(read.current, text, open), [text, open]);
    const all = [...read.current.stable, ...read.current.rest];
    return <>{all.map((x, i) => <Block key={i} raw={x.raw} token={x} open={open && i === all.length - 1} />)}</>;
});
