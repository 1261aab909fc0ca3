// Files that go along with a question: texts as they are, PDF and HTML as the server reads them.
import {signal} from '@preact/signals';
import {ApiError, countTokens, extract} from './api';
import {number, t} from './i18n';
import {model, say} from './state';
import type {Attachment} from './tree';

const TEXT_MOST = 1 << 20, FILE_MOST = 16 << 20;

export interface Reading {
    name: string;
    stop: AbortController;
}

export const files = signal<Attachment[]>([]);
/** What the server is reading. */
export const reading = signal<Reading[]>([]);
/** Of the files, where it is known; Infinity: the server counts nothing that long. */
const tokens = signal<ReadonlyMap<Attachment, number>>(new Map());

function kindOf(f: File): string | null {
    if (f.type === 'application/pdf' || /\.pdf$/i.test(f.name)) return 'application/pdf';
    return /^(text\/html|application\/xhtml\+xml)$/.test(f.type) || /\.x?html?$/i.test(f.name) ? 'text/html' : null;
}

// ---- how long they are --------------------------------------------------------------------------

export const characters = (text: string) => t('characters', number(text.length - (text.match(/[\ud800-\udbff]/g)?.length ?? 0)));

/** What a chip says of a file, and whether the model cannot read as much. */
export function sizeOf(file: Attachment): {size: string; over: boolean} {
    const n = tokens.value.get(file), most = model.value?.context ?? Infinity;
    const size = n === undefined || n === Infinity ? characters(file.text) : t('sizeTokens', number(n));
    const over = n !== undefined && n > most;
    return {size: over ? t('overContext', size, number(most)) : size, over};
}

async function count(file: Attachment): Promise<void> {
    const n = await countTokens(file.text, model.value?.id ?? 'lisao').catch((e) => (e instanceof ApiError && e.status === 413 ? Infinity : undefined));
    if (n !== undefined && files.value.includes(file)) tokens.value = new Map([...tokens.value, [file, n]]);
}

// ---- adding them --------------------------------------------------------------------------------

export function add(file: Attachment): void {
    files.value = [...files.value, file];
    count(file);
}

async function addText(f: File): Promise<void> {
    try {
        const text = new TextDecoder('utf-8', {fatal: true}).decode(await f.arrayBuffer());
        if (text.includes('\0')) throw new Error();
        add({name: f.name, text});
    } catch {
        say(t('notText', f.name), true);
    }
}

async function addRead(f: File, kind: string): Promise<void> {
    const one: Reading = {name: f.name, stop: new AbortController()};
    reading.value = [...reading.value, one];
    try {
        const text = await extract(kind, f, one.stop.signal);
        if (text.trim()) add({name: f.name, text});
        else say(t('noText', f.name), true);
    } catch (e) {
        if (one.stop.signal.aborted) return;
        const code = e instanceof ApiError ? e.code : '';
        say(code === 'not_installed' ? t('noReader', f.name) : t('notRead', f.name, (e as Error).message), true);
    } finally {
        reading.value = reading.value.filter((x) => x !== one);
    }
}

export async function attach(some: Iterable<File>): Promise<void> {
    await Promise.all([...some].map((f) => {
        const kind = kindOf(f), most = kind ? FILE_MOST : TEXT_MOST;
        if (f.size > most) return say(t('tooLarge', f.name, most >> 20), true);
        return kind ? addRead(f, kind) : addText(f);
    }));
}
