// Where conversations are kept. The page knows this interface only: behind it is the browser's own
// database, or the server's history (server.ts).
import type {Whole} from './transfer';
import type {Conversation, Message} from './tree';

export interface Hit {
    conversation: string;
    excerpt: string;
}

export interface Store {
    /** Other browsers see them, too. */
    readonly shared: boolean;
    conversations(): Promise<Conversation[]>;
    messages(conversation: string): Promise<Message[]>;
    put(conversation: Conversation): Promise<void>;
    /** Writes a message, or another version of one. */
    putMessages(messages: Message[]): Promise<void>;
    /** Many whole conversations at once: all of them or none. */
    putAll(conversations: Conversation[], messages: Message[]): Promise<void>;
    /** The conversation with all its messages. */
    remove(conversation: string): Promise<void>;
    /** Conversations with a message that holds all words, the excerpt around the first. */
    search(words: string[]): Promise<Hit[]>;
    clear(): Promise<void>;
    /** All of them, with their messages. */
    whole(): Promise<Whole[]>;
    /** Calls back when another tab has written: a conversation, or a message of one. */
    onChange(heard: (change: Change) => void): void;
}

export interface Change {
    conversation: string;
    message?: Message;
}

// ---- the browser's database ---------------------------------------------------------------------

const done = <T>(r: IDBRequest<T>) =>
    new Promise<T>((resolve, reject) => {
        r.onsuccess = () => resolve(r.result);
        r.onerror = () => reject(r.error);
    });

/** Nothing follows in it: it is committed at once, and so even where the page ends now. */
const finished = (t: IDBTransaction) =>
    new Promise<void>((resolve, reject) => {
        t.commit();
        t.oncomplete = () => resolve();
        t.onerror = t.onabort = () => reject(t.error);
    });

function excerptAt(text: string, word: string): string {
    const at = text.toLowerCase().indexOf(word);
    const from = Math.max(at - 24, 0);
    return (from ? '…' : '') + text.slice(from, at + word.length + 48).replace(/\s+/g, ' ').trim();
}

class BrowserStore implements Store {
    readonly shared = false;
    private readonly news = new BroadcastChannel('lisao');
    constructor(private readonly db: IDBDatabase) {}

    conversations(): Promise<Conversation[]> {
        return done(this.db.transaction('conversations').objectStore('conversations').getAll());
    }

    messages(conversation: string): Promise<Message[]> {
        const all = this.db.transaction('messages').objectStore('messages');
        return done(all.index('conversation').getAll(conversation));
    }

    async put(conversation: Conversation): Promise<void> {
        const t = this.db.transaction('conversations', 'readwrite');
        t.objectStore('conversations').put(conversation);
        await finished(t);
        this.news.postMessage({conversation: conversation.id});
    }

    async putMessages(messages: Message[]): Promise<void> {
        const t = this.db.transaction('messages', 'readwrite');
        for (const m of messages) t.objectStore('messages').put(m);
        await finished(t);
        for (const m of messages) this.news.postMessage({conversation: m.conversation, message: m});
    }

    async putAll(conversations: Conversation[], messages: Message[]): Promise<void> {
        const t = this.db.transaction(['conversations', 'messages'], 'readwrite');
        for (const c of conversations) t.objectStore('conversations').put(c);
        for (const m of messages) t.objectStore('messages').put(m);
        await finished(t);
        this.news.postMessage({conversation: ''});
    }

    async remove(conversation: string): Promise<void> {
        const t = this.db.transaction(['conversations', 'messages'], 'readwrite');
        t.objectStore('conversations').delete(conversation);
        const all = t.objectStore('messages');
        for (const key of await done(all.index('conversation').getAllKeys(conversation))) all.delete(key);
        await finished(t);
        this.news.postMessage({conversation});
    }

    async search(words: string[]): Promise<Hit[]> {
        const found = new Map<string, Hit>();
        const cursor = this.db.transaction('messages').objectStore('messages').openCursor();
        await new Promise<void>((resolve, reject) => {
            cursor.onerror = () => reject(cursor.error);
            cursor.onsuccess = () => {
                const at = cursor.result;
                if (!at) return resolve();
                const m = at.value as Message;
                const text = m.text.toLowerCase();
                if (!found.has(m.conversation) && words.every((w) => text.includes(w)))
                    found.set(m.conversation, {
                        conversation: m.conversation,
                        excerpt: excerptAt(m.text, words[0]!),
                    });
                at.continue();
            };
        });
        return [...found.values()];
    }

    async clear(): Promise<void> {
        const t = this.db.transaction(['conversations', 'messages'], 'readwrite');
        t.objectStore('conversations').clear();
        t.objectStore('messages').clear();
        await finished(t);
        this.news.postMessage({conversation: ''});
    }

    async whole(): Promise<Whole[]> {
        const out = [];
        for (const conversation of await this.conversations()) out.push({conversation, messages: await this.messages(conversation.id)});
        return out;
    }

    onChange(heard: (change: Change) => void): void {
        this.news.onmessage = (e) => heard(e.data as Change);
    }
}

export async function openBrowserStore(): Promise<Store> {
    const request = indexedDB.open('lisao', 1);
    request.onupgradeneeded = () => {
        request.result.createObjectStore('conversations', {keyPath: 'id'});
        const messages = request.result.createObjectStore('messages', {keyPath: 'id'});
        messages.createIndex('conversation', 'conversation');
    };
    return new BrowserStore(await done(request));
}
