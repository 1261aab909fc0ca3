// What an answer was made from, passages of documents or pages of the web: a list below it, and [1]
// in its text. A passage opens here; a page of the web is a link, and nothing of it is fetched.
import {createContext} from 'preact';
import type {ComponentChildren} from 'preact';
import {useContext} from 'preact/hooks';
import {ApiError, getPassage} from './api';
import {showFile} from './dialogs';
import {t} from './i18n';
import {revealed} from './reveal';
import type {PassageSource, Source, WebSource} from './tree';

/** Where a page of the web is; null: the address leads to no such place, and is shown as text. */
function pageOf(s: WebSource): URL | null {
    try {
        const url = new URL(s.url);
        return ['http:', 'https:'].includes(url.protocol) ? url : null;
    } catch {
        return null;
    }
}

const hostOf = (s: WebSource) => pageOf(s)?.host ?? s.url;
const nameOf = (s: Source) => ('url' in s ? s.title || hostOf(s) : s.path.split('/').pop() || s.path);

interface Way {
    source: Source;
    class?: string;
    label?: string;
    title: string;
    children: ComponentChildren;
}

/** The way to a source. */
function To({source, class: look, label, title, children}: Way) {
    if (!('url' in source))
        return <button type="button" class={look} aria-label={label} title={title} onClick={() => open(source)}>{children}</button>;
    const url = pageOf(source);
    if (!url) return <span class={look} title={title}>{children}</span>;
    return (
        <a class={look} href={url.href} target="_blank" rel="noopener noreferrer nofollow" aria-label={label} title={title}>
            {children}
        </a>
    );
}

async function open(s: PassageSource): Promise<void> {
    const shown = {name: nameOf(s), place: t('place', s.path, s.line), text: ''};
    const now = showFile(shown);
    try {
        const p = await getPassage(s.id);
        // In a conversation of another server the id is that of something else.
        const same = p.path === s.path && p.line === s.line;
        now({...shown, text: same ? p.text : t('sourceGone')});
    } catch (e) {
        const gone = e instanceof ApiError && e.status === 404;
        now({...shown, text: gone ? t('sourceGone') : String((e as Error).message)});
    }
}

// ---- in the text --------------------------------------------------------------------------------

/** Those of the answer that is drawn. */
export const Sources = createContext<readonly Source[]>([]);

function Citation({n}: {n: number}) {
    const s = useContext(Sources).find((x) => x.n === n);
    if (!s) return <>[{n}]</>;
    const label = t('source', n, nameOf(s));
    return <To source={s} class="cite" label={label} title={'url' in s ? `${label} (${hostOf(s)})` : label}>{n}</To>;
}

/** The text with [1], [2], ... as the ways to them, where there are such sources. */
export function cited(text: string): ComponentChildren {
    const parts = text.split(/\[(\d{1,2})\]/);
    return parts.length < 2 ? text : parts.map((part, i) => (i % 2 ? <Citation key={i} n={Number(part)} /> : part));
}

// ---- below it -----------------------------------------------------------------------------------

/** Of a page always its host: a title says what it likes. */
const below = (s: Source) => ('url' in s ? hostOf(s) : s.heading);

export function SourceList({all}: {all: Source[]}) {
    if (!all.length) return <p class="hint sources-none">{t('sourcesNone')}</p>;
    return (
        <ul class="chips sources" aria-label={t('sources')}>
            {all.map((s) => (
                <li key={s.n} class="chip">
                    <To source={s} class="way" title={'url' in s ? pageOf(s)?.href ?? s.url : t('place', s.path, s.line)}>
                        <span class="cite">{s.n}</span>
                        <span><b>{revealed(nameOf(s))}</b>{below(s) && <small>{revealed(below(s))}</small>}</span>
                    </To>
                </li>
            ))}
        </ul>
    );
}
