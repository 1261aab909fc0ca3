// Conversations in the server's history: the same in every browser of an account.
import {ApiError, call} from './api';
import type {Change, Hit, Store} from './store';
import {conversationOf, fromJson, messageOf, type Whole} from './transfer';
import type {Conversation, Message} from './tree';

/** What one request writes at most, in characters; a server takes a megabyte. */
const PORTION = 300_000;
/** A server that is away is tried again. */
const TRIES = 20, AGAIN = 3000;

type Item = {conversations: Conversation[]; messages: Message[]};

/** Parents before their answers, since a message may come in a later request than its parent. */
function ordered(all: Message[]): Message[] {
    const waiting = new Map<string | null, Message[]>(), known = new Set(all.map((m) => m.id));
    for (const m of all) {
        const parent = m.parent && known.has(m.parent) ? m.parent : null;
        waiting.set(parent, [...(waiting.get(parent) ?? []), m]);
    }
    const out = [...(waiting.get(null) ?? [])];
    for (let i = 0; i < out.length; i++) out.push(...(waiting.get(out[i]!.id) ?? []));
    return out;
}

function portions({conversations, messages}: Item): Item[] {
    const out: Item[] = [];
    let room = 0;
    const place = (x: object): Item => {
        const length = JSON.stringify(x).length;
        if (!out.length || length > room) (room = PORTION), out.push({conversations: [], messages: []});
        room -= length;
        return out.at(-1)!;
    };
    for (const c of conversations) place(c).conversations.push(c);
    for (const m of ordered(messages)) place(m).messages.push(m);
    return out;
}

/** An answer may still be under way, in another browser, too. */
function messageRead(o: Record<string, unknown>): Message {
    const m = messageOf(o, String(o['conversation']));
    const s = o['stream'] as Message['stream'] | undefined;
    if (o['state'] !== 'writing') return m;
    const stream = s && typeof s.id === 'string' && typeof s.at === 'number' && typeof s.began === 'number' ? {stream: s} : {};
    return {...m, state: 'writing', ...stream};
}

export class ServerStore implements Store {
    readonly shared = true;
    private readonly news = new BroadcastChannel('lisao.history');
    private line: Promise<unknown> = Promise.resolve();

    /** One behind the other: a message needs its conversation. */
    private write(path: string, method: string, body?: Item): Promise<void> {
        const done = this.line.then(async () => {
            for (let tries = 1; ; tries++) {
                try {
                    return void (await call(path, body, undefined, method));
                } catch (e) {
                    if (e instanceof ApiError || tries === TRIES) throw e;
                    await new Promise((later) => setTimeout(later, AGAIN));
                }
            }
        });
        this.line = done.catch(() => {});
        return done;
    }

    private async put_(item: Item): Promise<void> {
        for (const some of portions(item)) await this.write('history', 'POST', some);
    }

    async conversations(): Promise<Conversation[]> {
        return (await (await call('history')).json()).data.map(conversationOf);
    }

    async messages(conversation: string): Promise<Message[]> {
        await this.line;
        try {
            return (await (await call(`history/${conversation}`)).json()).data.map(messageRead);
        } catch (e) {
            if (e instanceof ApiError && e.status === 404) return [];
            throw e;
        }
    }

    async put(conversation: Conversation): Promise<void> {
        await this.put_({conversations: [conversation], messages: []});
        this.news.postMessage({conversation: conversation.id});
    }

    async putMessages(messages: Message[]): Promise<void> {
        await this.put_({conversations: [], messages});
        for (const m of messages) this.news.postMessage({conversation: m.conversation, message: m});
    }

    async putAll(conversations: Conversation[], messages: Message[]): Promise<void> {
        await this.put_({conversations, messages});
        this.news.postMessage({conversation: ''});
    }

    async remove(conversation: string): Promise<void> {
        await this.write(`history/${conversation}`, 'DELETE');
        this.news.postMessage({conversation});
    }

    async search(words: string[]): Promise<Hit[]> {
        return (await (await call('history/search', {words})).json()).data;
    }

    async clear(): Promise<void> {
        await this.write('history', 'DELETE');
        this.news.postMessage({conversation: ''});
    }

    async whole(): Promise<Whole[]> {
        await this.line;
        return fromJson(await (await call('history/export')).text());
    }

    onChange(heard: (change: Change) => void): void {
        this.news.onmessage = (e) => heard(e.data as Change);
        // What other browsers have written shows when one comes back to this one.
        addEventListener('visibilitychange', () => document.visibilityState === 'visible' && heard({conversation: ''}));
    }
}

export async function serverKeeps(): Promise<boolean> {
    try {
        await call('history');
        return true;
    } catch (e) {
        if (e instanceof ApiError && [403, 404].includes(e.status)) return false;
        throw e;
    }
}
