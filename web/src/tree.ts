// A conversation is a tree of messages: an edited question or an answer asked for again is a
// sibling of the first one, and `leaf` names the end of the branch that is shown.

export interface Attachment {
    name: string;
    text: string;
}

/** A passage of a document that an answer was made from, and cites as [n]. */
export interface PassageSource {
    n: number;
    id: number;
    path: string;
    heading: string;
    line: number;
}

/** A result of a search engine, as the model read it. Its address is a stranger's text. */
export interface WebSource {
    n: number;
    url: string;
    title: string;
    text: string;
}

export type Source = PassageSource | WebSource;

/** What is known of an answer once it has ended. Times are in milliseconds. */
export interface Facts {
    model?: string;
    prompt?: number;
    cached?: number;
    tokens?: number;
    thoughtTokens?: number;
    first?: number;
    thoughtTime?: number;
    writing?: number;
    seed?: number;
    fingerprint?: string;
}

/** writing: it still comes; stopped: by the reader; length: by a limit; cut: its tab has gone. */
export type State = 'done' | 'writing' | 'stopped' | 'length' | 'cut' | 'failed';

export interface Message {
    id: string;
    conversation: string;
    parent: string | null;
    role: 'user' | 'assistant';
    created: number;
    text: string;
    thought?: string;
    files?: Attachment[];
    state: State;
    error?: string;
    facts?: Facts;
    /** Of an answer from documents or the web; empty: nothing was found. */
    sources?: Source[];
    /** What the model searched for by itself. */
    searches?: string[];
    /** Of an answer under way: the server's stream, how far it was read, and when it was asked for. */
    stream?: {id: string; at: number; began: number};
    /** What it was asked with and can be computed again by; `lisao` is there once it is whole. */
    asked?: {system: string; settings: Record<string, unknown>; lisao?: Record<string, unknown>};
}

export interface Conversation {
    id: string;
    title: string;
    pinned: boolean;
    created: number;
    updated: number;
    system: string;
    leaf: string | null;
    /** Who is asked, where several are served. */
    model?: string;
}

export type Tree = ReadonlyMap<string, Message>;

export const newId = () => crypto.randomUUID?.() ?? randomHex();

// randomUUID is there in secure contexts only, and a server in the house may speak plain HTTP.
function randomHex(): string {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    return Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');
}

/** From the first message to `leaf`. */
export function branch(tree: Tree, leaf: string | null): Message[] {
    const path: Message[] = [];
    for (let m = leaf ? tree.get(leaf) : undefined; m && path.length <= tree.size;
         m = m.parent ? tree.get(m.parent) : undefined)
        path.push(m);
    return path.reverse();
}

export function children(tree: Tree, parent: string | null): Message[] {
    return [...tree.values()].filter((m) => m.parent === parent).sort((a, b) => a.created - b.created);
}

/** The end of the newest branch below a message. */
export function newestLeaf(tree: Tree, id: string): string {
    for (let below = children(tree, id); below.length; below = children(tree, id))
        id = below[below.length - 1]!.id;
    return id;
}

/** What the model reads of a question: its files, then the text. */
export function questionText(m: Message): string {
    const files = (m.files ?? []).map((f) => `<file name="${f.name}">\n${f.text}\n</file>\n\n`);
    return files.join('') + m.text;
}

export function titleOf(text: string, files: Attachment[] = []): string {
    const line = text.trim().split('\n', 1)[0]!.replace(/\s+/g, ' ') || files[0]?.name || '';
    const letters = [...line];
    return letters.length > 64 ? letters.slice(0, 63).join('') + '…' : line;
}
