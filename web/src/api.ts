// The server's API: the key, requests, and the stream of an answer.
import type {Source} from './tree';

export class ApiError extends Error {
    constructor(readonly status: number, message: string, readonly code = '') {
        super(message);
    }
}

// ---- the key ------------------------------------------------------------------------------------

const KEY = 'lisao.key';

/** `#key=...` of the link that `lisao serve` prints: taken out of the address at once. */
export function takeKeyOfLink(): void {
    const given = /^#key=([\x21-\x7e]+)$/.exec(location.hash)?.[1];
    if (!given) return;
    history.replaceState(null, '', location.pathname + location.search);
    setKey(decodeURIComponent(given), localStorage.getItem(KEY) !== null);
}

export const getKey = () => sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY) ?? '';
export const keyIsKept = () => localStorage.getItem(KEY) !== null;

/** kept: also when this tab is closed. */
export function setKey(key: string, kept: boolean): void {
    sessionStorage.removeItem(KEY);
    localStorage.removeItem(KEY);
    if (key) (kept ? localStorage : sessionStorage).setItem(KEY, key);
}

// ---- requests -----------------------------------------------------------------------------------

/** Most bytes of a request that outlives its page. */
const OUTLIVES = 60_000;

export async function call(path: string, body?: unknown, signal?: AbortSignal, method = body ? 'POST' : 'GET'): Promise<Response> {
    // A model may say U+0000, which the server takes from nobody.
    const plain = (_: string, x: unknown) => (typeof x === 'string' ? x.replaceAll('\0', '\uFFFD') : x);
    const text = body ? JSON.stringify(body, plain) : null;
    const headers: Record<string, string> = {};
    const key = getKey();
    if (key) headers['Authorization'] = `Bearer ${key}`;
    if (body) headers['Content-Type'] = 'application/json';
    const response = await fetch(new URL('v1/' + path, document.baseURI), {
        method,
        headers,
        body: text,
        keepalive: path === 'history' && method === 'POST' && text!.length * 3 < OUTLIVES,
        signal: signal ?? null,
        credentials: 'omit',
        cache: 'no-store',
    });
    if (!response.ok) {
        const said = await response.json().catch(() => null);
        throw new ApiError(response.status, said?.error?.message ?? response.statusText, said?.error?.code ?? '');
    }
    return response;
}

/** Does what the server may have no room for at the moment, `most` times at most, `pause` milliseconds apart. */
async function again<T>(most: number, pause: number, full: (e: ApiError) => boolean, work: () => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
        try {
            return await work();
        } catch (e) {
            if (!(e instanceof ApiError) || !full(e) || tries === most) throw e;
            await new Promise((later) => setTimeout(later, pause));
        }
    }
}

export interface Model {
    id: string;
    context: number;
    /** Its template knows thoughts. */
    thinks: boolean;
    /** It can call tools, and so search by itself. */
    tools: boolean;
    /** Documents that its server answers from; null: it does not. */
    documents: number | null;
    /** Its server asks a search engine. */
    web: boolean;
}

export async function getModels(): Promise<Model[]> {
    const list: {data: {id: string; context_length: number; tools: boolean}[]} = await (await call('models')).json();
    const {search}: {search: string[]} = await (await call('version')).json();
    const documents = search.includes('documents') ? (await (await call('documents')).json()).files : null;
    const web = search.includes('web');
    return Promise.all(list.data.map(async (m) => ({id: m.id, context: m.context_length, tools: m.tools, thinks: await modelThinks(m.id), documents, web})));
}

/** Makes the newest checkpoint of a run a model, once there is room for it; its id. */
export const openCheckpoint = (run: string): Promise<string> =>
    again(6, 500, (e) => e.code === 'overloaded', async () => (await (await call(`runs/${run}/model`, {})).json()).id);

/** A template that writes another prompt with thinking than without, or opens a thought, thinks. */
async function modelThinks(model: string): Promise<boolean> {
    const prompt = async (on: boolean): Promise<string> => {
        const body = {model, messages: [{role: 'user', content: '?'}], thinking: {type: on ? 'enabled' : 'disabled'}};
        return (await (await call('apply-template', body)).json()).prompt;
    };
    try {
        const [on, off] = await Promise.all([prompt(true), prompt(false)]);
        return on !== off || on.trimEnd().endsWith('<think>');
    } catch (e) {
        if (e instanceof ApiError && e.status === 400) return false; // it has no template
        throw e;
    }
}

/** A passage that an answer cites. */
export const getPassage = async (id: number): Promise<{path: string; line: number; text: string}> =>
    (await call(`documents/passages/${id}`)).json();

// ---- files --------------------------------------------------------------------------------------

function base64(file: Blob): Promise<string> {
    const reader = new FileReader();
    return new Promise((resolve, reject) => {
        reader.onload = () => resolve((reader.result as string).split(',')[1] ?? '');
        reader.onerror = () => reject(reader.error);
        reader.readAsDataURL(file);
    });
}

/** What a PDF or a page of HTML says. Where others are being read it is tried again for a while. */
export async function extract(type: string, file: Blob, signal: AbortSignal): Promise<string> {
    const data = await base64(file);
    return again(10, 1000, (e) => e.status === 503, async () => (await (await call('extract', {type, data}, signal)).json()).text);
}

export const countTokens = async (content: string, model: string): Promise<number> =>
    (await (await call('tokenize', {content, model})).json()).count;

// ---- the stream of an answer --------------------------------------------------------------------

export interface Piece {
    kind: 'admitted' | 'search' | 'sources' | 'thought' | 'text' | 'end';
    text: string;
    /** How many tokens it is of. */
    tokens: number;
    reason?: string;
    sources?: Source[];
}

/** What an answer can be computed again by, as the server wrote it: its member `lisao`. */
export type Proof = {seed?: number; fingerprint?: string; choices?: {tokens: number[]}[]; [member: string]: unknown};

export interface Usage {
    prompt: number;
    cached: number;
    tokens: number;
    thoughtTokens: number;
    lisao: Proof;
}

/** A stream of the server: its id, and the number of the last event that came; -1: none. */
export interface Stream {
    id: string;
    at: number;
}

export interface Asked {
    messages: {role: string; content: string; reasoning_content?: string}[];
    [setting: string]: unknown;
}

/** Server-sent events: what they say, and their number where they have one. */
export async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<{data: string; number: number}> {
    const reader = body.pipeThrough(new TextDecoderStream() as unknown as
                                    ReadableWritablePair<string, Uint8Array>).getReader();
    let left = '', number = -1;
    for (;;) {
        const {done, value} = await reader.read();
        if (done) return;
        const lines = (left + value).split('\n');
        left = lines.pop()!;
        for (const line of lines) {
            if (line.startsWith('id:')) number = Number(line.slice(3));
            if (line.startsWith('data:')) yield {data: line.slice(5).trim(), number};
        }
    }
}

type Hear = (piece: Piece) => void;

/** Reads a stream to its end; `stream` says how far. */
async function read(response: Response, stream: Stream, heard: Hear): Promise<Usage> {
    let usage: Usage | null = null, lisao: Proof = {};
    for await (const {data, number} of events(response.body!)) {
        if (number >= 0 && number <= stream.at) continue;
        if (data === '[DONE]') break;
        const o = JSON.parse(data);
        if (o.error) throw new ApiError(500, o.error.message, o.error.code ?? '');
        stream.id = o.id, stream.at = number;
        if (o.lisao) lisao = o.lisao;
        if (typeof o.lisao?.query === 'string') heard({kind: 'search', text: o.lisao.query, tokens: 0});
        if (o.lisao?.documents) heard({kind: 'sources', text: '', tokens: 0, sources: o.lisao.documents});
        if (o.usage)
            usage = {
                prompt: o.usage.prompt_tokens,
                cached: o.usage.prompt_tokens_details.cached_tokens,
                tokens: o.usage.completion_tokens,
                thoughtTokens: o.usage.completion_tokens_details.reasoning_tokens,
                lisao,
            };
        const choice = o.choices[0];
        if (!choice) continue;
        const {delta, logprobs, finish_reason: reason} = choice;
        const tokens = logprobs ? (logprobs.content?.length ?? 0) + (logprobs.reasoning_content?.length ?? 0) : 1;
        if (delta.role) heard({kind: 'admitted', text: '', tokens: 0});
        if (delta.reasoning_content) heard({kind: 'thought', text: delta.reasoning_content, tokens});
        if (!delta.role && typeof delta.content === 'string') heard({kind: 'text', text: delta.content, tokens});
        if (reason) heard({kind: 'end', text: '', tokens: 0, reason});
    }
    if (!usage) throw new ApiError(0, '', 'cut');
    return usage;
}

/** Whether the model searches, by calls of a tool; the server does that before it answers otherwise. */
const searchesItself = (search: unknown) => typeof search === 'string' && search.endsWith('_tool');

/** Asks, and calls `heard` for each piece. Resolves once the answer is whole. */
export async function ask(asked: Asked, stream: Stream, signal: AbortSignal, heard: Hear): Promise<Usage> {
    // One event may bring several tokens: the log-probabilities tell how many, where there are any.
    // An answer goes on while the page is loaded anew, and takes it up again.
    const logprobs = !searchesItself(asked['search']);
    const body = {model: 'lisao', ...asked, stream: true, background: true, stream_options: {include_usage: true}, logprobs};
    return read(await call('chat/completions', body, signal), stream, heard);
}

/** Goes on behind the last event that came. */
export async function takeUp(stream: Stream, signal: AbortSignal, heard: Hear): Promise<Usage> {
    return read(await call(`streams/${stream.id}?after=${stream.at}`, undefined, signal), stream, heard);
}

export const cancel = (stream: Stream) =>
    stream.at >= 0 ? call(`streams/${stream.id}`, undefined, undefined, 'DELETE').then(() => {}, () => {}) : Promise.resolve();

// ---- computing an answer again ------------------------------------------------------------------

export interface Alternative {
    id: number;
    token: string;
    bytes: number[];
    logprob: number;
}

export interface Verdict {
    same: boolean;
    tokens: number;
    same_tokens: number;
    difference: {at: string; given: unknown; computed: unknown} | null;
    choices: {tokens?: (Alternative & {top_logprobs: Alternative[]})[]}[];
}

export async function verify(asked: Asked, text: string, thought: string | undefined, lisao: Proof): Promise<Verdict> {
    const message = {role: 'assistant', content: text, ...(thought ? {reasoning_content: thought} : {})};
    const body = {request: asked, route: '/chat/completions', answer: {choices: [{index: 0, message}], lisao}, top_logprobs: 6};
    return (await call('verify', body)).json();
}
