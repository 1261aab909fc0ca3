// The list of conversations.
import {signal} from '@preact/signals';
import {useEffect, useLayoutEffect, useRef, useState} from 'preact/hooks';
import {ask as askFor, moveAll} from './dialogs';
import {Bars, Bin, Chart, Dots, Gear, Keys, Mark, Panel, Pencil, Pin, Plus, Search} from './icons';
import {language, t, type Word} from './i18n';
import {Item, Opener} from './menu';
import {pure} from './pure';
import {runs} from './runs';
import {owns} from './session';
import {change} from './settings';
import {alter, conversations, currentId, go, leftBehind, messagesOf, remove, search, training} from './state';
import type {Hit} from './store';
import {download, fileName, toJson, toMarkdown} from './transfer';
import type {Conversation} from './tree';

/** On a phone the list lies over the conversation. */
export const drawer = signal(false);
export const narrow = matchMedia('(max-width: 760px)');

export function hideSidebar(): void {
    if (narrow.matches) drawer.value = false;
    else change({sidebar: false});
}

export function showSidebar(): void {
    if (narrow.matches) drawer.value = true;
    else change({sidebar: true});
}

/** Whether the field for searching is to have the focus, as soon as it is there. */
const searching = signal(false);

export function find(): void {
    showSidebar();
    searching.value = true;
}

// ---- order --------------------------------------------------------------------------------------

const DAY = 86_400_000;

function groupOf(c: Conversation, midnight: number): Word {
    if (c.pinned) return 'pinned';
    if (c.updated >= midnight) return 'today';
    if (c.updated >= midnight - DAY) return 'yesterday';
    return c.updated >= midnight - 6 * DAY ? 'week' : 'older';
}

function grouped(all: Conversation[]): [Word, Conversation[]][] {
    const midnight = new Date().setHours(0, 0, 0, 0);
    const groups = new Map<Word, Conversation[]>((['pinned', 'today', 'yesterday', 'week', 'older'] as Word[]).map((g) => [g, []]));
    for (const c of [...all].sort((a, b) => b.updated - a.updated)) groups.get(groupOf(c, midnight))!.push(c);
    return [...groups].filter(([, list]) => list.length);
}

// ---- one of them --------------------------------------------------------------------------------

async function exportOne(c: Conversation, markdown: boolean): Promise<void> {
    const whole = {conversation: c, messages: await messagesOf(c.id)};
    if (markdown) download(fileName(c.title) + '.md', toMarkdown(whole, t('you'), t('answer')), 'text/markdown');
    else download(fileName(c.title) + '.json', toJson([whole]), 'application/json');
}

const Row = pure(({c, here, excerpt}: {c: Conversation; here: boolean; excerpt: string | undefined}) => {
    const [naming, setNaming] = useState(false);
    const field = useRef<HTMLInputElement>(null);
    useLayoutEffect(() => field.current?.select(), [naming]);
    const title = c.title || t('untitled');
    const named = () => {
        const name = field.current?.value.trim();
        if (name) alter(c.id, {title: name});
        setNaming(false);
    };
    if (naming)
        return (
            <li class="row">
                <input ref={field} class="naming" defaultValue={c.title} aria-label={t('rename')} maxLength={200} onBlur={named}
                       onKeyDown={(e) => {
                           if (e.key === 'Enter' && !e.isComposing) named();
                           if (e.key === 'Escape') e.stopPropagation(), setNaming(false);
                       }} />
            </li>
        );
    return (
        <li class={here ? 'row here' : 'row'}>
            <a href={`#/c/${c.id}`} aria-current={here ? 'page' : undefined} onClick={() => (drawer.value = false)} title={title}>
                <span class="title">{title}</span>
                {excerpt && <span class="excerpt">{excerpt}</span>}
            </a>
            <Opener label={t('menuOf', title)} face={<Dots />} menu side="down" align="end">
                {(close) => (
                    <>
                        <Item icon={<Pin />} onPick={() => (close(), alter(c.id, {pinned: !c.pinned}))}>{t(c.pinned ? 'unpin' : 'pin')}</Item>
                        <Item icon={<Pencil />} onPick={() => setNaming(true)}>{t('rename')}</Item>
                        <Item onPick={() => (close(), exportOne(c, false))}>{t('exportJson')}</Item>
                        <Item onPick={() => (close(), exportOne(c, true))}>{t('exportMarkdown')}</Item>
                        <Item icon={<Bin />} danger onPick={async () => {
                            close();
                            if (await askFor(t('removeSure', title), t('remove'))) remove(c.id);
                        }}>{t('remove')}</Item>
                    </>
                )}
            </Opener>
        </li>
    );
});

// ---- all ----------------------------------------------------------------------------------------

export function Sidebar({onSettings, onKeys}: {onSettings: () => void; onKeys: () => void}) {
    const [words, setWords] = useState('');
    const [hits, setHits] = useState<Hit[] | null>(null);
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    useEffect(() => {
        if (!wanted.length) return setHits(null);
        let late = false;
        const timer = setTimeout(() => search(wanted).then((found) => late || setHits(found)), 150);
        return () => ((late = true), clearTimeout(timer));
    }, [words]);
    const field = useRef<HTMLInputElement>(null);
    useLayoutEffect(() => {
        if (searching.value) field.current!.focus();
        searching.value = false;
    }, [searching.value]);
    const all = [...conversations.value.values()];
    const excerpts = new Map((hits ?? []).map((h) => [h.conversation, h.excerpt]));
    const list = wanted.length
        ? all.filter((c) => excerpts.has(c.id) || wanted.every((w) => c.title.toLowerCase().includes(w))) : all;
    return (
        <nav class={drawer.value ? 'sidebar drawn' : 'sidebar'} aria-label={t('conversations')}>
            <div class="side-head">
                <a class="brand" href="#/"><Mark size={26} /><span>Lisao</span><span lang="zh" class="brand-zh">离骚</span></a>
                <button type="button" class="icon" onClick={hideSidebar} aria-label={t('hideSidebar')} title={t('hideSidebar')}><Panel /></button>
            </div>
            <button type="button" class="new" onClick={() => (go(null), (drawer.value = false), document.getElementById('ask')?.focus())}>
                <Plus /><span>{t('newChat')}</span>
            </button>
            <div class="search">
                <Search />
                <input ref={field} id="search" type="search" placeholder={t('search')} aria-label={t('search')} value={words}
                       onInput={(e) => setWords(e.currentTarget.value)} />
            </div>
            <div class="list">
                {leftBehind.value > 0 && (
                    <button type="button" class="quiet left-behind" onClick={moveAll}>{t('moveHere', leftBehind.value)}</button>
                )}
                {!all.length && <p class="none">{t('noConversations')}</p>}
                {!!all.length && !list.length && <p class="none" role="status">{t('noHits')}</p>}
                {grouped(list).map(([group, some]) => (
                    <section key={group} aria-label={t(group)}>
                        <h2>{t(group)}</h2>
                        <ul>{some.map((c) => <Row key={c.id + language.value} c={c} here={c.id === currentId.value} excerpt={excerpts.get(c.id)} />)}</ul>
                    </section>
                ))}
            </div>
            {runs.value && (
                <a class={training.value ? 'to-runs here' : 'to-runs'} href="#/train" aria-current={training.value ? 'page' : undefined}
                   onClick={() => (drawer.value = false)}><Chart /><span>{t('training')}</span></a>
            )}
            <div class="side-foot">
                <button type="button" class="quiet" onClick={onSettings}><Gear /><span>{t('settings')}</span></button>
                {owns.value && <a class="icon" href="#/usage" onClick={() => (drawer.value = false)} aria-label={t('usage')} title={t('usage')}><Bars /></a>}
                <button type="button" class="icon" onClick={onKeys} aria-label={t('shortcuts')} title={t('shortcuts')}><Keys /></button>
            </div>
        </nav>
    );
}
