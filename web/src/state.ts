// What the page knows, and all that changes it.
import {batch, computed, signal} from '@preact/signals';
import {ApiError, ask, cancel, getKey, getModels, openCheckpoint, takeUp, verify as askToVerify} from './api';
import type {Asked, Model, Piece, Proof, Stream, Usage, Verdict} from './api';
import {t} from './i18n';
import {listRuns} from './runs';
import {serverKeeps, ServerStore} from './server';
import {learnSession} from './session';
import {asked, change, settings} from './settings';
import type {Change, Store} from './store';
import {branch, newestLeaf, newId, questionText, titleOf} from './tree';
import type {Attachment, Conversation, Message} from './tree';

/** Those that are served; the one that is asked here: the conversation's, else the one chosen last. */
export const models = signal<Model[]>([]);
export const model = computed<Model | null>(() => {
    const named = (id: string | undefined) => models.value.find((m) => m.id === id);
    return named(current.value?.model) ?? named(settings.value.model) ?? models.value[0] ?? null;
});
export const conversations = signal<ReadonlyMap<string, Conversation>>(new Map());
export const currentId = signal<string | null>(null);
export const messages = signal<ReadonlyMap<string, Message>>(new Map());
export const current = computed(() => conversations.value.get(currentId.value ?? '') ?? null);
export const shown = computed(() => branch(messages.value, current.value?.leaf ?? null));
/** Whether training runs are shown in place of a conversation. */
export const training = signal(false);
/** What a screen reader is told. */
export const spoken = signal('');
export const toast = signal<{text: string; bad: boolean} | null>(null);
export type KeyWish = 'none' | 'needed' | 'wrong';
export const keyWish = signal<KeyWish>('none');

/** Where conversations are kept, and the browser's own place for them. */
let store: Store, home: Store;
export const shared = signal(false);
/** Conversations that are in this browser, while the server keeps others. */
export const leftBehind = signal(0);
let toastTimer = 0;

export function say(text: string, bad = false): void {
    toast.value = {text, bad};
    clearTimeout(toastTimer);
    toastTimer = window.setTimeout(() => (toast.value = null), bad ? 8000 : 2500);
}

const keep = (work: Promise<void>) => work.catch((e) => say(t('errorStore', String(e?.message ?? e)), true));

// ---- starting -----------------------------------------------------------------------------------

export async function start(opened: Store): Promise<void> {
    home = store = opened;
    store.onChange(heardOf);
    addEventListener('hashchange', route);
    if (await connect()) return;
    await reload();
    await route();
}

/** From now on conversations are kept where the server wants them. */
async function settle(): Promise<void> {
    const wish = await serverKeeps();
    if (wish !== store.shared) {
        store = wish ? new ServerStore() : home;
        store.onChange(heardOf);
        currentId.value = null;
    }
    shared.value = wish;
    await reload();
    await route();
    leftBehind.value = wish ? (await home.conversations()).length : 0;
}

/** The conversations of this browser become the server's. */
export async function moveHere(): Promise<number> {
    const all = await home.whole();
    const n = await takeIn(all);
    await home.clear();
    leftBehind.value = 0;
    return n;
}

async function reload(): Promise<void> {
    conversations.value = new Map((await store.conversations()).map((c) => [c.id, c]));
}

export async function connect(): Promise<boolean> {
    try {
        const found = await getModels();
        await learnSession();
        await settle();
        models.value = found;
        keyWish.value = 'none';
        listRuns();
    } catch (e) {
        if (e instanceof ApiError && e.status === 401) keyWish.value = getKey() ? 'wrong' : 'needed';
        else {
            if (!reconnecting) say(explain(e), true);
            clearTimeout(reconnecting);
            reconnecting = window.setTimeout(connect, RECONNECT);
            return false;
        }
    }
    clearTimeout(reconnecting);
    reconnecting = 0;
    return keyWish.value === 'none';
}

/** A server that is being started is asked again until it answers. */
const RECONNECT = 3000;
let reconnecting = 0;

/** `#/c/ID` is a conversation, `#/train` the training runs; anything else a new conversation. */
async function route(): Promise<void> {
    training.value = location.hash === '#/train';
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
        else if (m.state === 'writing') takeOver(m);
    }
    batch(() => {
        currentId.value = id;
        messages.value = new Map(all.map((m) => [m.id, m]));
    });
}

/** At once, not when the browser tells of the new address: what is typed next belongs there. */
export function go(id: string | null): void {
    location.hash = id ? `#/c/${id}` : '#/';
    route();
}

// ---- other tabs ---------------------------------------------------------------------------------

/** Tabs ask each other here who writes an answer. */
const tabs = new BroadcastChannel('lisao.runs');
const claimed = new Set<string>();
const REPLY = 250;

tabs.onmessage = ({data}: MessageEvent<{who?: string; mine?: string}>) => {
    if (data.who && runs.has(data.who)) tabs.postMessage({mine: data.who});
    if (data.mine) claimed.add(data.mine);
};

/** An answer under way that this tab does not write: if no other one does, its stream is taken up. */
async function takeOver(m: Message): Promise<void> {
    claimed.delete(m.id);
    tabs.postMessage({who: m.id});
    await new Promise((later) => setTimeout(later, REPLY));
    if (claimed.has(m.id) || runs.has(m.id)) return;
    if (m.stream) run(m, (r, hear) => takeUp(r.stream, r.control.signal, hear), true);
    else putMessages({...m, state: 'cut'});
}

async function heardOf(change: Change): Promise<void> {
    const m = change.message;
    if (!m) {
        await reload();
        if (currentId.value && !current.value) go(null);
        return;
    }
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

/** From now on, here and in new conversations. */
export function chooseModel(id: string): void {
    change({model: id});
    if (current.value) alter(current.value.id, {model: id});
}

/** A new conversation, with the model that a run's newest checkpoint is. */
export async function chatWithRun(run: string): Promise<void> {
    try {
        const id = await openCheckpoint(run);
        models.value = await getModels();
        change({model: id});
        go(null);
    } catch (e) {
        say(explain(e), true);
    }
}

export async function remove(id: string): Promise<void> {
    for (const r of runs.values()) if (r.message.conversation === id) halt(r);
    const rest = new Map(conversations.value);
    rest.delete(id);
    if (currentId.value === id) go(null);
    conversations.value = rest;
    await keep(store.remove(id));
}

export async function removeAll(): Promise<void> {
    for (const r of runs.values()) halt(r);
    go(null);
    conversations.value = new Map();
    await keep(store.clear());
}

export const search = (words: string[]) => store.search(words);
export const messagesOf = (id: string) => store.messages(id);
export const wholeStore = () => store.whole();

/** Takes over whole conversations; those whose id is known stay as they are. */
export async function takeIn(all: {conversation: Conversation; messages: Message[]}[]): Promise<number> {
    const fresh = all.filter((one) => !conversations.value.has(one.conversation.id));
    await store.putAll(fresh.map((one) => one.conversation), fresh.flatMap((one) => one.messages));
    await reload();
    return fresh.length;
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
             system: settings.value.system, leaf: null, ...(models.value.length > 1 ? {model: model.value!.id} : {})};
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
    begin(a);
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
    begin(a);
}

export function choose(m: Message): void {
    const c = current.value;
    if (c) put({...c, leaf: newestLeaf(messages.value, m.id)});
}

/** Goes on where the answer ended; a thought that was broken off is closed, and the answer follows. */
export function goOn(m: Message): void {
    const again: Message = {...m, state: 'writing'};
    delete again.error;
    delete again.asked;
    putMessages(again);
    begin(again, true);
}

/** Another answer beside `m`, which begins with `text` and goes on from there. */
export function branchOff(m: Message, text: string): void {
    const c = current.value;
    if (!c || !m.parent) return;
    const a: Message = {...freshAnswer(c.id, m.parent), text, ...(m.thought ? {thought: m.thought} : {})};
    putMessages(a);
    put({...c, leaf: a.id, updated: Date.now()});
    begin(a, true);
}

export function stop(): void {
    for (const r of runs.values()) if (r.message.conversation === currentId.value) halt(r);
}

/** Ends the thought, so that the answer begins. */
export async function answerNow(m: Message): Promise<void> {
    const r = runs.get(m.id);
    if (!r) return;
    halt(r);
    await r.ended;
    const stopped = messages.value.get(m.id);
    if (stopped?.state === 'stopped') goOn(stopped);
}

// ---- answers under way --------------------------------------------------------------------------

export type Phase = 'waiting' | 'reading' | 'thinking' | 'writing';

export interface Run {
    message: Message;
    /** Who answers. */
    model: string | undefined;
    /** Of the answer that goes on. */
    before: Message['facts'];
    control: AbortController;
    stream: Stream;
    phase: Phase;
    /** Times of performance.now(); 0: not yet. */
    began: number;
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

function halt(r: Run): void {
    r.control.abort();
    cancel(r.stream);
}

const SHOWN_EVERY = 50, KEPT_EVERY = 1000;

/** The conversation up to the answer. */
function talk(a: Message, system: string): Asked['messages'] {
    const out: Asked['messages'] = [];
    if (system.trim()) out.push({role: 'system', content: system});
    for (const m of branch(messages.value, a.parent))
        out.push({role: m.role, content: m.role === 'user' ? questionText(m) : m.text});
    return out;
}

function explain(e: unknown): string {
    if (e instanceof ApiError) {
        if (e.code === 'cut') return t('errorCut');
        return e.code === 'context_length_exceeded' ? t('errorLength') : e.message;
    }
    return t('errorNetwork');
}

/** Asks for an answer; goesOn: for more of it. */
function begin(a: Message, goesOn = false): void {
    const system = conversations.value.get(a.conversation)!.system;
    // What goes on has been searched for.
    const wishes = goesOn ? {...settings.value, itself: false} : settings.value;
    const given = {...asked(wishes, model.value), ...(models.value.length > 1 ? {model: model.value!.id} : {})};
    const body: Asked = {...given, messages: talk(a, system)};
    if (goesOn && (a.text || a.thought))
        body.messages.push({role: 'assistant', content: a.text, ...(a.thought ? {reasoning_content: a.thought} : {})});
    if (!goesOn) a.asked = {system, settings: given};
    delete a.stream;
    run(a, (r, hear) => ask(body, r.stream, r.control.signal, hear), goesOn);
}

type Source = (r: Run, hear: (piece: Piece) => void) => Promise<Usage>;

function run(a: Message, source: Source, goesOn: boolean): void {
    const now = performance.now(), began = a.stream ? now - (Date.now() - a.stream.began) : now;
    // Of a stream that is taken up again the facts are its own so far, else those of an earlier part.
    const own = a.stream ? a.facts : undefined;
    const r: Run = {message: a, model: own?.model ?? model.value?.id, before: own ? undefined : a.facts, control: new AbortController(), stream: {id: a.stream?.id ?? '', at: a.stream?.at ?? -1},
                    phase: a.text ? 'writing' : 'waiting', began, first: own?.first ? began + own.first : 0,
                    thoughtEnd: own?.thoughtTime && a.text ? began + own.thoughtTime : 0, tokens: own?.tokens ?? 0,
                    thoughtTokens: own?.thoughtTokens ?? 0, ended: Promise.resolve()};
    runs.set(a.id, r);
    spoken.value = t('writing');
    r.ended = answerCome(r, source, goesOn);
}

/** A connection that breaks is no end: the stream is taken up where the server keeps it. */
async function wholeAnswer(r: Run, source: Source, hear: (piece: Piece) => void): Promise<Usage> {
    for (let tries = 0; ; tries++) {
        try {
            return await source(r, hear);
        } catch (e) {
            const broken = !(e instanceof ApiError) || e.code === 'cut';
            if (r.control.signal.aborted || !broken || r.stream.at < 0 || tries === 3) throw e;
            await new Promise((later) => setTimeout(later, 500 << tries));
            source = () => takeUp(r.stream, r.control.signal, hear);
        }
    }
}

async function answerCome(r: Run, source: Source, goesOn: boolean): Promise<void> {
    const {before} = r;
    let text = r.message.text, thought = r.message.thought ?? '', state: Message['state'] = 'done';
    let shownAt = 0, keptAt = performance.now(), timer = 0;
    const put = (kept = false) => {
        timer = 0, shownAt = performance.now();
        r.message = {...r.message, text, ...(thought ? {thought} : {})};
        if (r.message.state === 'writing') {
            r.message.facts = facts()!;
            if (r.stream.at >= 0) r.message.stream = {...r.stream, began: Date.now() - (performance.now() - r.began)};
        }
        if (r.message.conversation === currentId.value) show(r.message);
        if (kept || shownAt - keptAt > KEPT_EVERY) (keptAt = shownAt), keep(store.putMessages([r.message]));
    };
    // Tokens come faster than one can read: the page is laid out 20 times a second at most.
    const putSoon = () => {
        if (!timer) timer = window.setTimeout(put, Math.max(SHOWN_EVERY - (performance.now() - shownAt), 0));
    };
    const facts = (): Message['facts'] => ({
        ...(r.model ? {model: r.model} : {}),
        ...(r.first ? {first: r.first - r.began, writing: performance.now() - r.first} : {}),
        ...(before?.thoughtTime ? {thoughtTime: before.thoughtTime} : {}),
        ...(r.thoughtTokens ? {thoughtTime: (before?.thoughtTime ?? 0) + (r.thoughtEnd || performance.now()) - r.began} : {}),
        ...(before?.thoughtTokens && goesOn ? {thoughtTokens: before.thoughtTokens} : {}),
        ...(r.thoughtTokens ? {thoughtTokens: r.thoughtTokens} : {}),
        tokens: r.tokens,
    });
    put();
    try {
        const usage = await wholeAnswer(r, source, (piece) => {
            const now = performance.now();
            if (piece.kind === 'search') r.message = {...r.message, searches: [...(r.message.searches ?? []), piece.text]};
            else if (piece.kind === 'sources') r.message = {...r.message, sources: piece.sources!};
            else if (piece.kind === 'admitted') {
                r.phase = 'reading';
                put(true); // by which stream it comes: from now on it can be taken up again
            }
            else if (piece.kind === 'end') state = piece.reason === 'length' ? 'length' : 'done';
            else {
                r.first ||= now, r.tokens += piece.tokens;
                if (piece.kind === 'thought') (thought += piece.text), (r.phase = 'thinking'), (r.thoughtTokens += piece.tokens);
                else if (piece.text) {
                    if (r.phase === 'thinking') r.thoughtEnd = now;
                    text += piece.text, r.phase = 'writing';
                }
            }
            putSoon();
        });
        const {prompt, cached, tokens, thoughtTokens, lisao} = usage;
        r.message.facts = {...facts(), prompt, cached, tokens};
        if (thoughtTokens) r.message.facts.thoughtTokens = thoughtTokens + (goesOn ? before?.thoughtTokens ?? 0 : 0);
        // An answer in two parts has two seeds: only a whole one can be computed again by one.
        if (r.message.asked && lisao.fingerprint) {
            Object.assign(r.message.facts, {seed: lisao.seed, fingerprint: lisao.fingerprint});
            if (lisao.choices) r.message.asked = {...r.message.asked, lisao};
        }
    } catch (e) {
        r.message.facts = facts();
        if (r.control.signal.aborted) state = 'stopped';
        else if (e instanceof ApiError && ['stream_not_found', 'events_expired'].includes(e.code)) state = 'cut';
        else if (e instanceof ApiError && e.status === 401) (state = 'failed'), (keyWish.value = getKey() ? 'wrong' : 'needed');
        else state = 'failed';
        if (state === 'failed') r.message.error = explain(e);
    }
    clearTimeout(timer);
    r.message = {...r.message, state};
    delete r.message.stream;
    runs.delete(r.message.id);
    put();
    spoken.value = state === 'failed' ? r.message.error ?? '' : t('written');
    if (conversations.value.has(r.message.conversation)) await keep(store.putMessages([r.message]));
}

// ---- computing an answer again ------------------------------------------------------------------

export function verify(m: Message): Promise<Verdict> {
    const {system, settings: given, lisao} = m.asked!;
    return askToVerify({...given, messages: talk(m, system)}, m.text, m.thought, lisao as Proof);
}

// A tab that closes keeps what has come.
addEventListener('pagehide', () => {
    for (const r of runs.values()) keep(store.putMessages([r.message]));
});
