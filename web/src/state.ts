// What the page knows, and all that changes it.
import {batch, computed, signal} from '@preact/signals';
import {ApiError, ask, getKey, getModel, type Asked, type Model} from './api';
import {t} from './i18n';
import {asked, settings} from './settings';
import type {Change, Store} from './store';
import {branch, newestLeaf, newId, questionText, titleOf} from './tree';
import type {Attachment, Conversation, Message} from './tree';

export const model = signal<Model | null>(null);
export const conversations = signal<ReadonlyMap<string, Conversation>>(new Map());
export const currentId = signal<string | null>(null);
export const messages = signal<ReadonlyMap<string, Message>>(new Map());
export const current = computed(() => conversations.value.get(currentId.value ?? '') ?? null);
export const shown = computed(() => branch(messages.value, current.value?.leaf ?? null));
/** What a screen reader is told. */
export const spoken = signal('');
export const toast = signal<{text: string; bad: boolean} | null>(null);
export type KeyWish = 'none' | 'needed' | 'wrong';
export const keyWish = signal<KeyWish>('none');

let store: Store;
let toastTimer = 0;

export function say(text: string, bad = false): void {
    toast.value = {text, bad};
    clearTimeout(toastTimer);
    toastTimer = window.setTimeout(() => (toast.value = null), bad ? 8000 : 2500);
}

const keep = (work: Promise<void>) => work.catch((e) => say(t('errorStore', String(e?.message ?? e)), true));

// ---- starting -----------------------------------------------------------------------------------

export async function start(opened: Store): Promise<void> {
    store = opened;
    store.onChange(heardOf);
    await reload();
    await route();
    addEventListener('hashchange', route);
    await connect();
}

async function reload(): Promise<void> {
    conversations.value = new Map((await store.conversations()).map((c) => [c.id, c]));
}

export async function connect(): Promise<boolean> {
    try {
        model.value = await getModel();
        keyWish.value = 'none';
        return true;
    } catch (e) {
        if (e instanceof ApiError && e.status === 401) keyWish.value = getKey() ? 'wrong' : 'needed';
        else say(explain(e), true);
        return false;
    }
}

/** `#/c/ID` is a conversation; anything else a new one. */
async function route(): Promise<void> {
    const id = /^#\/c\/([\w-]+)$/.exec(location.hash)?.[1] ?? null;
    wanted = id;
    if (!id || !conversations.value.has(id)) batch(() => ((currentId.value = null), (messages.value = new Map())));
    else if (id !== currentId.value) await open(id);
}

/** What was last asked for: reading another conversation may take longer than choosing the next. */
let wanted: string | null = null;

async function open(id: string): Promise<void> {
    const all = await store.messages(id);
    if (wanted !== id) return;
    for (const [i, m] of all.entries()) {
        const running = runs.get(m.id);
        if (running) all[i] = running.message;
        else if (m.state === 'writing' && !elsewhere(m.id)) all[i] = {...m, state: 'cut'};
    }
    batch(() => {
        currentId.value = id;
        messages.value = new Map(all.map((m) => [m.id, m]));
    });
}

export function go(id: string | null): void {
    location.hash = id ? `#/c/${id}` : '#/';
}

// ---- other tabs ---------------------------------------------------------------------------------

/** Answers that other tabs write, and when they were last heard of. */
const written = new Map<string, number>();
const elsewhere = (id: string) => Date.now() - (written.get(id) ?? 0) < 5000;

async function heardOf(change: Change): Promise<void> {
    const m = change.message;
    if (!m) {
        await reload();
        if (currentId.value && !current.value) go(null);
        return;
    }
    written.set(m.id, Date.now());
    if (m.conversation === currentId.value && !runs.has(m.id)) show(m);
}

// ---- conversations ------------------------------------------------------------------------------

function put(c: Conversation): void {
    conversations.value = new Map(conversations.value).set(c.id, c);
    keep(store.put(c));
}

export function alter(id: string, some: Partial<Conversation>): void {
    const c = conversations.value.get(id);
    if (c) put({...c, ...some});
}

export async function remove(id: string): Promise<void> {
    for (const r of runs.values()) if (r.message.conversation === id) r.control.abort();
    const rest = new Map(conversations.value);
    rest.delete(id);
    if (currentId.value === id) go(null);
    conversations.value = rest;
    await keep(store.remove(id));
}

export async function removeAll(): Promise<void> {
    for (const r of runs.values()) r.control.abort();
    go(null);
    conversations.value = new Map();
    await keep(store.clear());
}

export const search = (words: string[]) => store.search(words);
export const messagesOf = (id: string) => store.messages(id);

/** Takes over whole conversations; those whose id is known stay as they are. */
export async function takeIn(all: {conversation: Conversation; messages: Message[]}[]): Promise<number> {
    let taken = 0;
    for (const one of all) {
        if (conversations.value.has(one.conversation.id)) continue;
        await store.putMessages(one.messages);
        await store.put(one.conversation);
        taken++;
    }
    await reload();
    return taken;
}

// ---- messages -----------------------------------------------------------------------------------

function show(m: Message): void {
    messages.value = new Map(messages.value).set(m.id, m);
}

function putMessages(...all: Message[]): void {
    if (all[0]!.conversation === currentId.value)
        messages.value = new Map([...messages.value, ...all.map((m) => [m.id, m] as const)]);
    keep(store.putMessages(all));
}

function freshAnswer(conversation: string, parent: string): Message {
    return {id: newId(), conversation, parent, role: 'assistant', created: Date.now(), text: '', state: 'writing'};
}

/** A question after the end of the branch, and its answer. */
export function send(text: string, files: Attachment[]): void {
    const now = Date.now();
    let c = current.value;
    if (!c) {
        c = {id: newId(), title: titleOf(text, files), pinned: false, created: now, updated: now,
             system: settings.value.system, leaf: null};
        put(c);
        batch(() => ((currentId.value = c!.id), (messages.value = new Map())));
        go(c.id);
    }
    question(c, c.leaf, text, files);
}

function question(c: Conversation, parent: string | null, text: string, files: Attachment[]): void {
    const q: Message = {id: newId(), conversation: c.id, parent, role: 'user', created: Date.now(), text, state: 'done'};
    if (files.length) q.files = files;
    const a = freshAnswer(c.id, q.id);
    putMessages(q, a);
    put({...c, leaf: a.id, updated: Date.now()});
    run(a);
}

/** The question in other words: a branch beside the old one. */
export function edit(m: Message, text: string): void {
    const c = current.value;
    if (c) question(c, m.parent, text, m.files ?? []);
}

export function regenerate(m: Message): void {
    const c = current.value;
    if (!c || !m.parent) return;
    const a = freshAnswer(c.id, m.parent);
    putMessages(a);
    put({...c, leaf: a.id, updated: Date.now()});
    run(a);
}

export function choose(m: Message): void {
    const c = current.value;
    if (c) put({...c, leaf: newestLeaf(messages.value, m.id)});
}

/** Goes on where the answer ended; a thought that was broken off is closed, and the answer follows. */
export function goOn(m: Message): void {
    const again: Message = {...m, state: 'writing'};
    delete again.error;
    putMessages(again);
    run(again, true);
}

export function stop(): void {
    for (const r of runs.values()) if (r.message.conversation === currentId.value) r.control.abort();
}

/** Ends the thought, so that the answer begins. */
export async function answerNow(m: Message): Promise<void> {
    const r = runs.get(m.id);
    if (!r) return;
    r.control.abort();
    await r.ended;
    const stopped = messages.value.get(m.id);
    if (stopped?.state === 'stopped') goOn(stopped);
}

// ---- answers under way --------------------------------------------------------------------------

export type Phase = 'waiting' | 'reading' | 'thinking' | 'writing';

export interface Run {
    message: Message;
    control: AbortController;
    phase: Phase;
    began: number;
    /** When the first token came, the thought ended; 0: not yet. */
    first: number;
    thoughtEnd: number;
    tokens: number;
    thoughtTokens: number;
    ended: Promise<void>;
}

const runs = new Map<string, Run>();
export const runOf = (id: string) => runs.get(id);
/** Whether the conversation that is shown has an answer under way. */
export const busy = computed(() => [...messages.value.values()].some((m) => m.state === 'writing' && runs.has(m.id)));

const SHOWN_EVERY = 50, KEPT_EVERY = 1000;

function asking(a: Message, goesOn: boolean): Asked {
    const c = conversations.value.get(a.conversation)!;
    const out: Asked['messages'] = [];
    if (c.system.trim()) out.push({role: 'system', content: c.system});
    for (const m of branch(messages.value, a.parent))
        out.push({role: m.role, content: m.role === 'user' ? questionText(m) : m.text});
    if (goesOn && (a.text || a.thought))
        out.push({role: 'assistant', content: a.text, ...(a.thought ? {reasoning_content: a.thought} : {})});
    return {...asked(settings.value, model.value?.thinks ?? false), messages: out};
}

function explain(e: unknown): string {
    if (e instanceof ApiError) {
        if (e.code === 'cut') return t('errorCut');
        return e.code === 'context_length_exceeded' ? t('errorLength') : e.message;
    }
    return t('errorNetwork');
}

function run(a: Message, goesOn = false): void {
    const body = asking(a, goesOn);
    const r: Run = {message: a, control: new AbortController(), phase: 'waiting', began: performance.now(), first: 0,
                    thoughtEnd: 0, tokens: 0, thoughtTokens: 0, ended: Promise.resolve()};
    runs.set(a.id, r);
    spoken.value = t('writing');
    r.ended = answerCome(r, body, goesOn);
}

async function answerCome(r: Run, body: Asked, goesOn: boolean): Promise<void> {
    const before = r.message.facts;
    let text = r.message.text, thought = r.message.thought ?? '', state: Message['state'] = 'done';
    let shownAt = 0, keptAt = performance.now(), timer = 0;
    const put = () => {
        timer = 0, shownAt = performance.now();
        r.message = {...r.message, text, ...(thought ? {thought} : {})};
        if (r.message.conversation === currentId.value) show(r.message);
        if (shownAt - keptAt > KEPT_EVERY) (keptAt = shownAt), keep(store.putMessages([r.message]));
    };
    // Tokens come faster than one can read: the page is laid out 20 times a second at most.
    const putSoon = () => {
        if (!timer) timer = window.setTimeout(put, Math.max(SHOWN_EVERY - (performance.now() - shownAt), 0));
    };
    const facts = (): Message['facts'] => ({
        ...(model.value ? {model: model.value.id} : {}),
        ...(r.first ? {first: r.first - r.began, writing: performance.now() - r.first} : {}),
        ...(before?.thoughtTime ? {thoughtTime: before.thoughtTime} : {}),
        ...(r.thoughtTokens ? {thoughtTime: (before?.thoughtTime ?? 0) + (r.thoughtEnd || performance.now()) - r.began} : {}),
        ...(before?.thoughtTokens && goesOn ? {thoughtTokens: before.thoughtTokens} : {}),
        ...(r.thoughtTokens ? {thoughtTokens: r.thoughtTokens} : {}),
        tokens: r.tokens,
    });
    put();
    try {
        const usage = await ask(body, r.control.signal, (piece) => {
            const now = performance.now();
            if (piece.kind === 'admitted') r.phase = 'reading';
            else if (piece.kind === 'end') state = piece.reason === 'length' ? 'length' : 'done';
            else {
                r.first ||= now, r.tokens += piece.tokens;
                if (piece.kind === 'thought') (thought += piece.text), (r.phase = 'thinking'), (r.thoughtTokens += piece.tokens);
                else if (piece.text) {
                    if (r.phase === 'thinking') r.thoughtEnd = now, (text = text.trimStart());
                    text += piece.text, r.phase = 'writing';
                }
            }
            putSoon();
        });
        const {prompt, cached, tokens, thoughtTokens, seed, fingerprint} = usage;
        r.message.facts = {...facts(), prompt, cached, tokens};
        if (thoughtTokens) r.message.facts.thoughtTokens = thoughtTokens + (goesOn ? before?.thoughtTokens ?? 0 : 0);
        // An answer in two parts has two seeds: only a whole one can be computed again by one.
        if (!goesOn && seed !== undefined && fingerprint) Object.assign(r.message.facts, {seed, fingerprint});
    } catch (e) {
        r.message.facts = facts();
        if (r.control.signal.aborted) state = 'stopped';
        else if (e instanceof ApiError && e.status === 401) (state = 'failed'), (keyWish.value = getKey() ? 'wrong' : 'needed');
        else state = 'failed';
        if (state === 'failed') r.message.error = explain(e);
    }
    clearTimeout(timer);
    r.message.state = state;
    runs.delete(r.message.id);
    put();
    spoken.value = state === 'failed' ? r.message.error ?? '' : t('written');
    if (conversations.value.has(r.message.conversation)) await keep(store.putMessages([r.message]));
}

// A tab that closes keeps what has come.
addEventListener('pagehide', () => {
    for (const r of runs.values()) keep(store.putMessages([r.message]));
});
