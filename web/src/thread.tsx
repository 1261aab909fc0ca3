// A conversation: questions, thoughts, answers.
import type {ComponentChildren} from 'preact';
import {useEffect, useLayoutEffect, useRef, useState} from 'preact/hooks';
import {characters} from './attach';
import {showFile} from './dialogs';
import {Again, Back, Chevron, Down, File, Forward, Info, Pencil, Seal, Tokens as TokensIcon} from './icons';
import {duration, language, number, t} from './i18n';
import {CopyButton, Markdown} from './markdown';
import {fitText, Opener} from './menu';
import {pure} from './pure';
import {revealed} from './reveal';
import {SourceList, Sources} from './sources';
import {answerNow, busy, choose, edit, goOn, messages, models, regenerate, runOf, shown} from './state';
import {Tokens, useVerdict, VerdictLine} from './verify';
import {children, type Attachment, type Facts, type Message, type Source} from './tree';

// ---- time that passes ---------------------------------------------------------------------------

/** Draws again each half second while `on`. */
function useClock(on: boolean): void {
    const [, tick] = useState(0);
    useEffect(() => {
        if (!on) return;
        const timer = setInterval(() => tick((n) => n + 1), 500);
        return () => clearInterval(timer);
    }, [on]);
}

// ---- thoughts -----------------------------------------------------------------------------------

const TAIL = 160;

const Thought = ({m, thinks}: {m: Message; thinks: boolean}) => {
    const [open, setOpen] = useState(false);
    useClock(thinks);
    const run = runOf(m.id);
    const tokens = run?.thoughtTokens || m.facts?.thoughtTokens;
    const time = thinks && run ? performance.now() - run.began : m.facts?.thoughtTime ?? (run?.thoughtEnd ? run.thoughtEnd - run.began : 0);
    const text = m.thought ?? '';
    const pace = thinks && run?.first ? speedOf({tokens: run.tokens, writing: performance.now() - run.first}) : 0;
    const speed = pace ? t('perSecond', fixed(pace)) : '';
    return (
        <div class={thinks ? 'thought live' : 'thought'}>
            <div class="thought-head">
                <button type="button" class="quiet" aria-expanded={open} onClick={() => setOpen(!open)} title={t('showThought')}>
                    <span class={open ? 'turn open' : 'turn'}><Chevron /></span>
                    <span class={thinks ? 'shimmer' : undefined}>{thinks ? t('thinking') : time ? t('thoughtFor', duration(time)) : t('thought')}</span>
                    <span class="aside">{[thinks && time ? duration(time) : '', tokens ? t('tokens', number(tokens)) : '', speed].filter(Boolean).join(' · ')}</span>
                </button>
                {thinks && run && <button type="button" class="quiet small" onClick={() => answerNow(m)}>{t('answerNow')}</button>}
            </div>
            {open ? <div class="thought-text prose"><Markdown text={text} open={thinks} /></div>
                  : thinks && <p class="tail" aria-hidden="true"><span>{text.slice(-TAIL).replace(/\s+/g, ' ')}</span></p>}
        </div>
    );
};

// ---- what is known of an answer -----------------------------------------------------------------

const speedOf = (f: Facts) => (f.tokens && f.tokens > 1 && f.writing ? ((f.tokens - 1) / f.writing) * 1000 : 0);
const fixed = (x: number) => (x >= 100 ? number(Math.round(x)) : x.toFixed(1));

function factsLine(f: Facts): string {
    const speed = speedOf(f);
    return [f.tokens ? t('tokens', number(f.tokens)) : '', speed ? t('perSecond', fixed(speed)) : '',
            f.first ? t('firstAfter', duration(f.first)) : ''].filter(Boolean).join(' · ');
}

function Details({f}: {f: Facts}) {
    const speed = speedOf(f);
    const rows: [string, ComponentChildren][] = [
        [t('model'), f.model],
        [t('prompt'), f.prompt !== undefined && t('tokens', number(f.prompt))],
        [t('cachedTokens'), f.cached !== undefined && t('tokens', number(f.cached))],
        [t('thoughtTokens'), f.thoughtTokens && t('tokens', number(f.thoughtTokens))],
        [t('answerTokens'), f.tokens && t('tokens', number(f.tokens))],
        [t('speed'), speed > 0 && t('perSecond', fixed(speed))],
        [t('firstToken'), f.first && duration(f.first)],
        [t('seed'), f.seed !== undefined && <code>{f.seed}</code>],
        [t('fingerprint'), f.fingerprint && <code title={f.fingerprint}>{f.fingerprint.slice(0, 16)}</code>],
    ];
    return (
        <>
            <dl class="facts">{rows.filter(([, v]) => v !== undefined && v !== false && v !== 0).map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{v}</dd></div>)}</dl>
            {f.seed !== undefined && <p class="hint">{t('repeatable')}</p>}
        </>
    );
}

// ---- versions -----------------------------------------------------------------------------------

function Versions({m, all}: {m: Message; all: Message[]}) {
    const at = all.findIndex((x) => x.id === m.id);
    if (all.length < 2) return null;
    return (
        <span class="versions" role="group" aria-label={t('versionOf', at + 1, all.length)}>
            <button type="button" class="icon" disabled={at === 0} aria-label={t('previous')} title={t('previous')} onClick={() => choose(all[at - 1]!)}><Back /></button>
            <span aria-hidden="true">{at + 1}/{all.length}</span>
            <button type="button" class="icon" disabled={at === all.length - 1} aria-label={t('next')} title={t('next')} onClick={() => choose(all[at + 1]!)}><Chevron /></button>
        </span>
    );
}

const siblings = (m: Message) => children(messages.value, m.parent).filter((x) => x.role === m.role);

// ---- questions ----------------------------------------------------------------------------------

export function FileChip({file, size, over, onRemove}: {file: Attachment; size?: string; over?: boolean; onRemove?: () => void}) {
    return (
        <span class={over ? 'chip over' : 'chip'}>
            <button type="button" onClick={() => showFile(file)} title={t('openFile', file.name)}>
                <File />
                <span><b>{file.name}</b><small>{size ?? characters(file.text)}</small></span>
            </button>
            {onRemove && <button type="button" class="icon" aria-label={t('removeFile', file.name)} title={t('removeFile', file.name)} onClick={onRemove}>×</button>}
        </span>
    );
}

function EditForm({m, onEnd}: {m: Message; onEnd: () => void}) {
    const area = useRef<HTMLTextAreaElement>(null);
    const fit = () => fitText(area.current!);
    useLayoutEffect(() => {
        fit();
        area.current!.focus();
    }, []);
    const save = () => {
        const text = area.current!.value.trim();
        if (!text && !m.files) return;
        onEnd();
        edit(m, text);
    };
    return (
        <form class="edit" onSubmit={(e) => (e.preventDefault(), save())}>
            <textarea ref={area} defaultValue={m.text} aria-label={t('edit')} onInput={fit} onKeyDown={(e) => {
                if (e.key === 'Escape') e.stopPropagation(), onEnd();
                if (e.key === 'Enter' && !e.shiftKey && !e.isComposing) e.preventDefault(), save();
            }} />
            <div class="edit-foot">
                <button type="button" class="quiet" onClick={onEnd}>{t('cancel')}</button>
                <button type="submit" class="main">{t('sendEdit')}</button>
            </div>
        </form>
    );
}

const Question = pure(({m, versions}: {m: Message; versions: number; words: string}) => {
    const [editing, setEditing] = useState(false);
    return (
        <article class="question" data-id={m.id} aria-label={t('you')}>
            {m.files && <div class="chips">{m.files.map((f) => <FileChip file={f} />)}</div>}
            {editing ? <EditForm m={m} onEnd={() => setEditing(false)} /> : m.text && <div class="bubble">{m.text}</div>}
            {!editing && (
                <div class="tools">
                    {versions > 1 && <Versions m={m} all={siblings(m)} />}
                    <CopyButton text={() => m.text} />
                    <button type="button" class="icon edit-button" aria-label={t('edit')} title={t('edit')} onClick={() => setEditing(true)}><Pencil /></button>
                </div>
            )}
        </article>
    );
});

// ---- answers ------------------------------------------------------------------------------------

/** Before the first token. */
function Reading({m}: {m: Message}) {
    useClock(true);
    const run = runOf(m.id);
    const time = run ? performance.now() - run.began : 0;
    return (
        <p class="reading">
            <span class="shimmer">{t(run?.phase === 'waiting' && time > 1000 ? 'waiting' : 'reading')}</span>
            {time > 1000 && <span class="aside">{duration(time)}</span>}
        </p>
    );
}

/** Of an answer under way: how many tokens have come, and how fast. */
function Pace({m}: {m: Message}) {
    useClock(true);
    const run = runOf(m.id);
    if (!run?.first || run.tokens < 2) return null;
    return <p class="pace">{factsLine({tokens: run.tokens, writing: performance.now() - run.first, first: run.first - run.began})}</p>;
}

function Ended({m}: {m: Message}) {
    if (m.state === 'failed')
        return (
            <div class="failure" role="alert">
                <p><b>{t('failed')}.</b> {m.error}</p>
                <button type="button" class="main" onClick={() => (m.text || m.thought ? goOn(m) : regenerate(m))}>{t(m.text || m.thought ? 'continue' : 'retry')}</button>
            </div>
        );
    const word = ({stopped: 'stateStopped', length: 'stateLength', cut: 'stateCut'} as const)[m.state as 'stopped'];
    if (!word) return null;
    return (
        <p class="ended">
            {t(word)}
            <button type="button" class="quiet small" onClick={() => goOn(m)}><Forward /><span>{t('continue')}</span></button>
        </p>
    );
}

const NONE: Source[] = [];

const Answer = pure(({m, versions, last}: {m: Message; versions: number; last: boolean; words: string}) => {
    const live = m.state === 'writing';
    const [taken, setTaken] = useState(false); // apart, into tokens
    const {verdict, ask: verifyIt} = useVerdict(m);
    const tokens = verdict && verdict !== 'pending' ? verdict.choices[0]?.tokens : undefined;
    const canVerify = !live && !!m.asked?.lisao;
    const thinks = live && !!m.thought && !m.text;
    return (
        <article class={last ? 'answer last' : 'answer'} data-id={m.id} aria-label={t('answer')} aria-busy={live}>
            {m.thought && <Thought m={m} thinks={thinks} />}
            {live && !m.thought && !m.text && <Reading m={m} />}
            {taken && tokens ? <Tokens m={m} all={tokens} />
                : m.text && <div class={live ? 'prose growing' : 'prose'}><Sources.Provider value={m.sources ?? NONE}><Markdown text={m.text} open={live} /></Sources.Provider></div>}
            {m.searches && <ul class="searches">{m.searches.map((words, i) => <li key={i} class="aside">{revealed(t('searchedFor', words))}</li>)}</ul>}
            {m.sources && <SourceList all={m.sources} />}
            {live ? m.text && <Pace m={m} /> : <Ended m={m} />}
            {verdict && <VerdictLine verdict={verdict} />}
            {!live && (
                <div class="tools">
                    {versions > 1 && <Versions m={m} all={siblings(m)} />}
                    <CopyButton text={() => m.text} />
                    <button type="button" class="icon" aria-label={t('regenerate')} title={t('regenerate')} onClick={() => regenerate(m)}><Again /></button>
                    {canVerify && <button type="button" class="icon" aria-label={t('verify')} title={t('verify')} onClick={verifyIt}><Seal /></button>}
                    {canVerify && !m.searches && <button type="button" class="icon" aria-pressed={taken} aria-label={t('tokensShow')} title={t('tokensShow')}
                                          onClick={() => (setTaken(!taken), taken || tokens || verifyIt())}><TokensIcon /></button>}
                    {models.value.length > 1 && m.facts?.model && <span class="aside from">{m.facts.model}</span>}
                    {m.facts && (
                        <Opener label={`${t('details')}: ${factsLine(m.facts)}`} face={<><Info /><span class="aside">{factsLine(m.facts)}</span></>} class="quiet info" menu={false} side="up">
                            {() => <Details f={m.facts!} />}
                        </Opener>
                    )}
                </div>
            )}
        </article>
    );
});

// ---- all ----------------------------------------------------------------------------------------

const NEAR = 80;
/** So many messages are drawn at first, and as many more each time one scrolls to their beginning. */
const DRAWN = 20, AHEAD = 600;

export function Thread() {
    const place = useRef<HTMLDivElement>(null);
    const follows = useRef(true);
    const [away, setAway] = useState(false);
    const path = shown.value;
    const first = path[0]?.conversation;
    const [drawn, setDrawn] = useState({of: first, n: DRAWN});
    const from = Math.max(path.length - (drawn.of === first ? drawn.n : DRAWN), 0);
    const toEnd = () => {
        const p = place.current!;
        p.scrollTop = p.scrollHeight;
    };
    const onScroll = () => {
        const p = place.current!, far = p.scrollHeight - p.scrollTop - p.clientHeight;
        follows.current = far < NEAR;
        setAway(far > 2 * NEAR);
        if (from && p.scrollTop < AHEAD) kept.current = p.scrollHeight - p.scrollTop, setDrawn({of: first, n: path.length - from + DRAWN});
    };
    // What is drawn above moves nothing that is seen.
    const kept = useRef(0);
    useLayoutEffect(() => {
        if (kept.current) place.current!.scrollTop = place.current!.scrollHeight - kept.current;
        kept.current = 0;
    }, [drawn]);
    useLayoutEffect(() => {
        follows.current = true;
        toEnd();
    }, [first, path.length]);
    useLayoutEffect(() => {
        if (follows.current && busy.value) toEnd();
    });
    const counts = new Map<string, number>();
    const placeOf = (m: Message) => `${m.role} ${m.parent}`;
    for (const m of messages.value.values()) counts.set(placeOf(m), (counts.get(placeOf(m)) ?? 0) + 1);
    const count = (m: Message) => counts.get(placeOf(m))!;
    return (
        <div class="thread-frame">
            <div class={from ? 'thread part' : 'thread'} ref={place} onScroll={onScroll} tabIndex={0} role="log" aria-live="off" aria-label={t('conversations')}>
                <div class="column">
                    {path.slice(from).map((m, i) => m.role === 'user' ? <Question key={m.id} m={m} versions={count(m)} words={language.value} />
                        : <Answer key={m.id} m={m} versions={count(m)} last={from + i === path.length - 1} words={language.value} />)}
                </div>
            </div>
            {away && <button type="button" class="latest" onClick={() => ((follows.current = true), toEnd())} aria-label={t('latest')} title={t('latest')}><Down /></button>}
        </div>
    );
}
