// Conversations as files, and back.
import type {Attachment, Conversation, Facts, Message, Source} from './tree';
import {branch} from './tree';

const FORMAT = 'lisao-conversations';

export interface Whole {
    conversation: Conversation;
    messages: Message[];
}

export function toJson(all: Whole[]): string {
    const conversations = all.map(({conversation, messages}) => ({
        ...conversation,
        messages: [...messages].sort((a, b) => a.created - b.created || (a.id < b.id ? -1 : 1))
            .map(({conversation: _, stream: __, ...m}) => m),
    }));
    return JSON.stringify({format: FORMAT, version: 1, conversations}, null, 1) + '\n';
}

/** The branch that is shown. */
export function toMarkdown({conversation, messages}: Whole, you: string, answer: string): string {
    const path = branch(new Map(messages.map((m) => [m.id, m])), conversation.leaf);
    const parts = path.map((m) => {
        const files = (m.files ?? []).map((f) => `*${f.name}*\n\n${f.text.replace(/^/gm, '    ')}\n\n`).join('');
        const thought = m.thought ? m.thought.trim().replace(/^/gm, '> ') + '\n\n' : '';
        const sources = (m.sources ?? []).map((s) => `\n[${s.n}] ${'url' in s ? s.url : `${s.path}:${s.line}`}\n`).join('');
        return `## ${m.role === 'user' ? you : answer}\n\n${files}${thought}${m.text.trim()}\n${sources}`;
    });
    return [`# ${conversation.title}\n`, ...parts].join('\n');
}

export function download(name: string, text: string, type: string): void {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([text], {type}));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export const fileName = (title: string) => title.replace(/[^\p{L}\p{N} _-]/gu, '').trim().slice(0, 60) || 'lisao';

// ---- reading ------------------------------------------------------------------------------------
// Nothing in a file is believed: every member is looked at, and what is not known is left out.

type Bag = Record<string, unknown>;
const isBag = (x: unknown): x is Bag => typeof x === 'object' && x !== null && !Array.isArray(x);
const isId = (x: unknown): x is string => typeof x === 'string' && /^[\w-]{1,64}$/.test(x);

function text(o: Bag, name: string): string {
    if (typeof o[name] !== 'string') throw new Error(name);
    return o[name];
}

function numberOf(o: Bag, name: string): number {
    if (typeof o[name] !== 'number' || !Number.isFinite(o[name])) throw new Error(name);
    return o[name];
}

function id(o: Bag, name: string): string {
    if (!isId(o[name])) throw new Error(name);
    return o[name];
}

function factsOf(x: unknown): Facts | undefined {
    if (!isBag(x)) return undefined;
    const out: Bag = {};
    for (const k of ['prompt', 'cached', 'tokens', 'thoughtTokens', 'first', 'thoughtTime', 'writing', 'seed'])
        if (typeof x[k] === 'number') out[k] = x[k];
    for (const k of ['model', 'fingerprint']) if (typeof x[k] === 'string') out[k] = x[k];
    return out as Facts;
}

const sourceOf = (s: Bag): Source =>
    typeof s['url'] === 'string'
        ? {n: numberOf(s, 'n'), url: s['url'], title: text(s, 'title'), text: text(s, 'text')}
        : {n: numberOf(s, 'n'), id: numberOf(s, 'id'), path: text(s, 'path'), heading: text(s, 'heading'), line: numberOf(s, 'line')};

export function messageOf(o: unknown, conversation: string): Message {
    if (!isBag(o)) throw new Error('messages');
    const states = ['done', 'stopped', 'length', 'cut', 'failed'] as const;
    const m: Message = {
        id: id(o, 'id'),
        conversation,
        parent: o['parent'] === null ? null : id(o, 'parent'),
        role: o['role'] === 'assistant' ? 'assistant' : 'user',
        created: numberOf(o, 'created'),
        text: text(o, 'text'),
        state: states.find((s) => s === o['state']) ?? 'cut',
    };
    if (typeof o['thought'] === 'string') m.thought = o['thought'];
    if (typeof o['error'] === 'string') m.error = o['error'];
    const facts = factsOf(o['facts']);
    if (facts) m.facts = facts;
    if (Array.isArray(o['sources'])) m.sources = o['sources'].filter(isBag).map(sourceOf);
    const a = o['asked'];
    if (isBag(a) && typeof a['system'] === 'string' && isBag(a['settings']))
        m.asked = {system: a['system'], settings: a['settings'], ...(isBag(a['lisao']) ? {lisao: a['lisao']} : {})};
    if (Array.isArray(o['files']))
        m.files = o['files'].filter(isBag).map((f): Attachment => ({name: text(f, 'name'), text: text(f, 'text')}));
    return m;
}

export function conversationOf(c: unknown): Conversation {
    if (!isBag(c)) throw new Error('conversations');
    return {
        id: id(c, 'id'),
        title: text(c, 'title'),
        pinned: c['pinned'] === true,
        created: numberOf(c, 'created'),
        updated: numberOf(c, 'updated'),
        system: typeof c['system'] === 'string' ? c['system'] : '',
        leaf: c['leaf'] === null ? null : id(c, 'leaf'),
        ...(typeof c['model'] === 'string' ? {model: c['model']} : {}),
    };
}

export function fromJson(source: string): Whole[] {
    const file: unknown = JSON.parse(source);
    if (!isBag(file) || file['format'] !== FORMAT || !Array.isArray(file['conversations'])) throw new Error('format');
    return file['conversations'].map((c: unknown) => {
        if (!isBag(c) || !Array.isArray(c['messages'])) throw new Error('conversations');
        const conversation = conversationOf(c);
        return {conversation, messages: c['messages'].map((m: unknown) => messageOf(m, conversation.id))};
    });
}
