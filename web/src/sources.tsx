// The passages of documents that an answer was made from: a list below it, and [1] in its text.
import {createContext} from 'preact';
import type {ComponentChildren} from 'preact';
import {useContext} from 'preact/hooks';
import {ApiError, getPassage} from './api';
import {showFile} from './dialogs';
import {t} from './i18n';
import {revealed} from './reveal';
import type {Source} from './tree';

const nameOf = (s: Source) => s.path.split('/').pop() || s.path;

async function open(s: Source): Promise<void> {
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
    return <button type="button" class="cite" aria-label={label} title={label} onClick={() => open(s)}>{n}</button>;
}

/** The text with [1], [2], ... as buttons, where there are such sources. */
export function cited(text: string): ComponentChildren {
    const parts = text.split(/\[(\d{1,2})\]/);
    return parts.length < 2 ? text : parts.map((part, i) => (i % 2 ? <Citation key={i} n={Number(part)} /> : part));
}

// ---- below it -----------------------------------------------------------------------------------

export function SourceList({all}: {all: Source[]}) {
    if (!all.length) return <p class="hint sources-none">{t('sourcesNone')}</p>;
    return (
        <ul class="chips sources" aria-label={t('sources')}>
            {all.map((s) => (
                <li key={s.n} class="chip">
                    <button type="button" onClick={() => open(s)} title={t('place', s.path, s.line)}>
                        <span class="cite">{s.n}</span>
                        <span><b>{revealed(nameOf(s))}</b>{s.heading && <small>{revealed(s.heading)}</small>}</span>
                    </button>
                </li>
            ))}
        </ul>
    );
}
