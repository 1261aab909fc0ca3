// What lies over the page: settings, the key, questions before something is lost.
import {signal} from '@preact/signals';
import type {ComponentChildren} from 'preact';
import {useId, useLayoutEffect, useRef, useState} from 'preact/hooks';
import {getKey, keyIsKept, setKey} from './api';
import {Cross} from './icons';
import {t, type Word} from './i18n';
import {revealed} from './reveal';
import {change, settings, type Settings} from './settings';
import {alter, connect, conversations, current, keyWish, moveHere, removeAll, say, shared, takeIn, wholeStore} from './state';
import {download, fromJson, toJson} from './transfer';
import type {Attachment} from './tree';

export function Modal({title, onClose, wide, children}: {title: string; onClose: (() => void) | null; wide?: boolean; children: ComponentChildren}) {
    const dialog = useRef<HTMLDialogElement>(null);
    const id = useId();
    // Before the next key comes: it is meant for the dialog already.
    useLayoutEffect(() => {
        const before = document.activeElement as HTMLElement | null;
        dialog.current!.showModal();
        return () => queueMicrotask(() => before?.focus()); // while the dialog is there, nothing else takes it
    }, []);
    // The browser may close it without asking.
    const closed = () => (onClose ? onClose() : dialog.current?.showModal());
    return (
        <dialog ref={dialog} class={wide ? 'wide' : undefined} aria-labelledby={id}
                onCancel={(e) => (e.preventDefault(), onClose?.())} onClose={closed}
                onPointerDown={(e) => e.target === dialog.current && onClose?.()}>
            <div class="dialog">
                <header>
                    <h2 id={id}>{title}</h2>
                    {onClose && <button type="button" class="icon" onClick={onClose} aria-label={t('close')} title={t('close')}><Cross /></button>}
                </header>
                {children}
            </div>
        </dialog>
    );
}

// ---- a question before something is lost; a file ------------------------------------------------

const question = signal<{text: string; verb: string; answer: (yes: boolean) => void} | null>(null);
interface Shown extends Attachment {
    /** Where it comes from. */
    place?: string;
}
const file = signal<Shown | null>(null);

export function ask(text: string, verb: string): Promise<boolean> {
    return new Promise((resolve) => {
        question.value = {text, verb, answer: (yes) => ((question.value = null), resolve(yes))};
    });
}

/** What it returns puts another in its place, as long as it is shown. */
export function showFile(f: Shown): (other: Shown) => void {
    file.value = f;
    return (other) => file.value === f && (file.value = other);
}

export function Asked() {
    const q = question.value;
    if (q)
        return (
            <Modal title={q.verb} onClose={() => q.answer(false)}>
                <p class="sure">{q.text}</p>
                <footer>
                    <button type="button" class="quiet" onClick={() => q.answer(false)} autoFocus>{t('cancel')}</button>
                    <button type="button" class="main danger" onClick={() => q.answer(true)}>{q.verb}</button>
                </footer>
            </Modal>
        );
    if (file.value)
        return (
            <Modal title={file.value.name} onClose={() => (file.value = null)} wide>
                {file.value.place && <p class="hint place">{revealed(file.value.place)}</p>}
                <pre class="file" tabIndex={0}>{revealed(file.value.text)}</pre>
            </Modal>
        );
    return null;
}

// ---- the key ------------------------------------------------------------------------------------

export function KeyDialog() {
    const field = useRef<HTMLInputElement>(null);
    const [kept, setKept] = useState(keyIsKept());
    const [trying, setTrying] = useState(false);
    if (keyWish.value === 'none') return null;
    const enter = async (e: Event) => {
        e.preventDefault();
        const key = field.current!.value.trim();
        if (!key || trying) return;
        setTrying(true);
        setKey(key, kept);
        await connect();
        setTrying(false);
    };
    return (
        <Modal title={t('keyNeeded')} onClose={null}>
            <form onSubmit={enter}>
                <label class="stack">{t('key')}
                    <input ref={field} type="password" autoComplete="off" spellcheck={false} autoFocus required placeholder="lisao-sk-…"
                           aria-invalid={keyWish.value === 'wrong'} aria-describedby="key-hint" />
                </label>
                <p id="key-hint" class={keyWish.value === 'wrong' ? 'hint wrong' : 'hint'} role="status">{t(keyWish.value === 'wrong' ? 'keyWrong' : 'keyHint')}</p>
                <label class="check"><input type="checkbox" checked={kept} onChange={(e) => setKept(e.currentTarget.checked)} />{t('keyKeep')}</label>
                <footer><button type="submit" class="main" disabled={trying}>{t('enter')}</button></footer>
            </form>
        </Modal>
    );
}

// ---- settings -----------------------------------------------------------------------------------

function Choice<K extends 'language' | 'theme'>({name, values}: {name: K; values: [Settings[K], string][]}) {
    return (
        <fieldset class="choice">
            <legend>{t(name)}</legend>
            <div>
                {values.map(([value, word]) => (
                    <label key={value}>
                        <input type="radio" name={name} checked={settings.value[name] === value} onChange={() => change({[name]: value} as Partial<Settings>)} />
                        <span>{word}</span>
                    </label>
                ))}
            </div>
        </fieldset>
    );
}

const numbers: [keyof Settings & Word, number, number, number][] = [
    ['temperature', 0, 2, 0.1], ['top_p', 0, 1, 0.05], ['top_k', 0, 1000, 1], ['min_p', 0, 1, 0.01],
    ['repetition_penalty', 0.01, 100, 0.05], ['max_tokens', 1, 1 << 24, 1], ['seed', 0, 2 ** 53, 1],
];

function NumberField({name, lo, hi, step}: {name: keyof Settings & Word; lo: number; hi: number; step: number}) {
    const value = settings.value[name] as number | null;
    const take = (e: Event & {currentTarget: HTMLInputElement}) => {
        const n = e.currentTarget.valueAsNumber;
        if (Number.isNaN(n)) change({[name]: null});
        else if (n >= lo && n <= hi) change({[name]: n});
    };
    return (
        <label class="stack">{t(name)}
            <input type="number" min={lo} max={hi} step={step} placeholder={t('auto')} value={value ?? ''} onInput={take} />
        </label>
    );
}

async function exportAll(): Promise<void> {
    download(`lisao-${new Date().toISOString().slice(0, 10)}.json`, toJson(await wholeStore()), 'application/json');
}

async function importFile(input: HTMLInputElement): Promise<void> {
    const chosen = input.files?.[0];
    input.value = '';
    if (!chosen) return;
    try {
        const all = fromJson(await chosen.text());
        const taken = await takeIn(all);
        say(t('imported', taken, all.length - taken));
    } catch (e) {
        say(t('importBad', String((e as Error).message)), true);
    }
}

export async function moveAll(): Promise<void> {
    try {
        say(t('moved', await moveHere()));
    } catch (e) {
        say(String((e as Error).message), true);
    }
}

export function SettingsDialog({onClose}: {onClose: () => void}) {
    const s = settings.value, c = current.value;
    const input = useRef<HTMLInputElement>(null);
    return (
        <Modal title={t('settings')} onClose={onClose} wide>
            <section>
                <h3>{t('appearance')}</h3>
                <Choice name="language" values={[['auto', t('auto')], ['en', 'English'], ['zh', '中文']]} />
                <Choice name="theme" values={[['auto', t('auto')], ['light', t('light')], ['dark', t('dark')]]} />
                <label class="line">{t('textSize')}
                    <input type="range" min={14} max={22} step={1} value={s.size} onInput={(e) => change({size: e.currentTarget.valueAsNumber})} />
                </label>
                <label class="check"><input type="checkbox" checked={s.enterSends} onChange={(e) => change({enterSends: e.currentTarget.checked})} />{t('enterSends')}</label>
            </section>
            <section>
                <h3>{t('instructions')}</h3>
                <p class="hint">{t('instructionsHint')}</p>
                {c && <label class="stack">{t('instructionsHere')}
                    <textarea rows={3} value={c.system} onChange={(e) => alter(c.id, {system: e.currentTarget.value})} />
                </label>}
                <label class="stack">{t('instructionsAll')}
                    <textarea rows={3} value={s.system} onChange={(e) => change({system: e.currentTarget.value})} />
                </label>
            </section>
            <section>
                <h3>{t('sampling')}</h3>
                <p class="hint">{t('samplingHint')}</p>
                <div class="grid">{numbers.map(([name, lo, hi, step]) => <NumberField key={name} name={name} lo={lo} hi={hi} step={step} />)}</div>
            </section>
            <section>
                <h3>{t('data')}</h3>
                <p class="hint">{t(shared.value ? 'dataShared' : 'dataHint')}</p>
                <div class="buttons">
                    <button type="button" class="plain" onClick={exportAll}>{t('exportAll')}</button>
                    <button type="button" class="plain" onClick={() => input.current!.click()}>{t('import')}</button>
                    <input ref={input} id="import" type="file" accept=".json,application/json" hidden onChange={(e) => importFile(e.currentTarget)} />
                    <button type="button" class="plain danger" disabled={!conversations.value.size} onClick={async () => {
                        onClose();
                        if (await ask(t('removeAllSure', conversations.value.size), t('removeAll'))) removeAll();
                    }}>{t('removeAll')}</button>
                </div>
            </section>
            {getKey() && (
                <section>
                    <h3>{t('key')}</h3>
                    <label class="check"><input type="checkbox" checked={keyIsKept()} onChange={(e) => setKey(getKey(), e.currentTarget.checked)} />{t('keyKeep')}</label>
                    <div class="buttons">
                        <button type="button" class="plain" onClick={() => (onClose(), (keyWish.value = 'needed'))}>{t('keyChange')}</button>
                        <button type="button" class="plain danger" onClick={() => (onClose(), setKey('', false), connect())}>{t('keyForget')}</button>
                    </div>
                </section>
            )}
        </Modal>
    );
}

// ---- the keyboard -------------------------------------------------------------------------------

export function KeysDialog({onClose}: {onClose: () => void}) {
    const mod = navigator.platform.startsWith('Mac') ? '⌘' : 'Ctrl';
    const all: [Word, string[]][] = [
        ['keySend', settings.value.enterSends ? ['Enter'] : [mod, 'Enter']], ['keyLine', settings.value.enterSends ? ['Shift', 'Enter'] : ['Enter']],
        ['keyStop', ['Esc']], ['keyEdit', ['↑']], ['keyFocus', ['/']], ['keyNew', [mod, 'Shift', 'O']], ['keySearch', [mod, 'K']],
        ['keySidebar', [mod, 'Shift', 'S']], ['shortcuts', [mod, '/']],
    ];
    return (
        <Modal title={t('shortcuts')} onClose={onClose}>
            <dl class="keys">{all.map(([word, keys]) => <div key={word}><dt>{t(word)}</dt><dd>{keys.map((k) => <kbd key={k}>{k}</kbd>)}</dd></div>)}</dl>
        </Modal>
    );
}
