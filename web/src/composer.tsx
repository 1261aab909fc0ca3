// Where one asks.
import {signal} from '@preact/signals';
import {useLayoutEffect, useRef} from 'preact/hooks';
import {add, attach, files, reading, sizeOf} from './attach';
import {Book, Bulb, Clip, File, Globe, Square, Up} from './icons';
import {number, t} from './i18n';
import {fitText, Opener} from './menu';
import {ModelPicker} from './picker';
import {change, EFFORTS, settings} from './settings';
import {busy, currentId, model, say, send, shown, stop} from './state';
import {FileChip} from './thread';

const PASTE_MOST = 6000;

// ---- how much to think --------------------------------------------------------------------------

function Effort() {
    const {effort, budget} = settings.value;
    const word = effort === 'budget' ? number(budget) : effort === 'auto' ? t('think') : t(`effort_${effort}`);
    return (
        <Opener label={`${t('effort')}: ${word}`} face={<><Bulb /><span>{word}</span></>} class={effort === 'none' ? 'pill' : 'pill on'} menu={false} side="up">
            {() => (
                <fieldset class="efforts">
                    <legend>{t('effort')}</legend>
                    {(['auto', ...EFFORTS] as const).map((e) => (
                        <label key={e}>
                            <input type="radio" name="effort" checked={effort === e} onChange={() => change({effort: e})} />
                            <span><b>{t(`effort_${e}`)}</b><small>{t(`effortOf_${e}`)}</small></span>
                            {e === 'budget' && <input type="number" min={0} max={1 << 20} step={128} value={budget} aria-label={t('budgetTokens')}
                                                      onInput={(x) => {
                                                          const n = x.currentTarget.valueAsNumber;
                                                          if (n >= 0) change({effort: 'budget', budget: Math.floor(n)});
                                                      }} />}
                        </label>
                    ))}
                </fieldset>
            )}
        </Opener>
    );
}

// ---- what answers are taken from ----------------------------------------------------------------

const PLACES = ['documents', 'web'] as const;
type Place = (typeof PLACES)[number];
const iconOf = {documents: Book, web: Globe};
const takeFrom = (place: Place | null) => change({documents: place === 'documents', web: place === 'web'});

/** Nothing, a switch or a choice, as the server has places to search. */
function From() {
    const {documents, web} = model.value ?? {documents: null, web: false};
    const has = {documents: documents !== null, web}, hint = {documents: t('documentsHint', number(documents ?? 0)), web: t('webHint')};
    const all = PLACES.filter((x) => has[x]), now = all.find((x) => settings.value[x]) ?? null;
    const shown = now ?? all[0];
    if (!shown) return null;
    const Icon = iconOf[shown], look = now ? 'pill toggle on' : 'pill toggle';
    if (all.length === 1 && !model.value!.tools)
        return (
            <button type="button" class={look} aria-pressed={now !== null} aria-label={t(shown)} title={hint[shown]}
                    onClick={() => takeFrom(now ? null : shown)}>
                <Icon /><span>{t(shown)}</span>
            </button>
        );
    const word = now ? t(now) : t('fromNowhere');
    return (
        <Opener label={`${t('from')}: ${word}`} face={<><Icon /><span>{now ? word : t('from')}</span></>} class={look} menu={false} side="up">
            {() => (
                <fieldset class="efforts">
                    <legend>{t('from')}</legend>
                    {[null, ...all].map((x) => (
                        <label key={x}>
                            <input type="radio" name="from" checked={x === now} onChange={() => takeFrom(x)} />
                            <span><b>{x ? t(x) : t('fromNowhere')}</b><small>{x ? hint[x] : t('fromNowhereHint')}</small></span>
                        </label>
                    ))}
                    {model.value!.tools && (
                        <label class="itself">
                            <input type="checkbox" checked={settings.value.itself} disabled={!now} onChange={(e) => change({itself: e.currentTarget.checked})} />
                            <span><b>{t('itself')}</b><small>{t('itselfHint')}</small></span>
                        </label>
                    )}
                </fieldset>
            )}
        </Opener>
    );
}

// ---- how full the context is --------------------------------------------------------------------

function Ring() {
    const most = model.value?.context;
    const facts = shown.value.findLast((m) => m.facts?.prompt !== undefined)?.facts;
    if (!most || !facts) return null;
    const used = facts.prompt! + (facts.tokens ?? 0), share = Math.min(used / most, 1);
    const kept = facts.prompt ? Math.round((100 * (facts.cached ?? 0)) / facts.prompt) : 0;
    const around = 2 * Math.PI * 8;
    const face = (
        <svg class={share > 0.85 ? 'ring full' : 'ring'} width="22" height="22" viewBox="0 0 22 22" aria-hidden="true">
            <circle cx="11" cy="11" r="8" />
            <circle class="used" cx="11" cy="11" r="8" stroke-dasharray={`${Math.max(share * around, 1)} ${around}`} transform="rotate(-90 11 11)" />
        </svg>
    );
    const text = t('contextOf', number(used), number(most));
    return (
        <Opener label={`${t('context')}: ${text}`} face={face} menu={false} side="up" align="end">
            {() => (
                <div class="context">
                    <b>{t('context')}</b>
                    <div class="bar" role="img" aria-label={`${Math.round(100 * share)} %`}>
                        <svg width="100%" height="6"><rect width="100%" height="6" rx="3" /><rect class="used" width={`${100 * share}%`} height="6" rx="3" /></svg>
                    </div>
                    <p>{text}</p>
                    <p class="hint">{t('contextCached', kept)}</p>
                </div>
            )}
        </Opener>
    );
}

// ---- the question -------------------------------------------------------------------------------

/** What was begun in each conversation. */
const drafts = new Map<string, string>();
export const wish = signal('');

export function Composer() {
    const area = useRef<HTMLTextAreaElement>(null);
    const input = useRef<HTMLInputElement>(null);
    const id = currentId.value ?? '';
    const fit = () => {
        fitText(area.current!);
        drafts.set(currentId.value ?? '', area.current!.value);
    };
    useLayoutEffect(() => {
        area.current!.value = drafts.get(id) ?? '';
        fit();
        if (matchMedia('(hover: hover)').matches) area.current!.focus();
    }, [id]);
    useLayoutEffect(() => {
        if (!wish.value) return;
        area.current!.value = wish.value;
        wish.value = '';
        fit();
        area.current!.focus();
    }, [wish.value]);
    const submit = () => {
        const text = area.current!.value.trim(), some = files.value;
        if (reading.value.length) return say(t('stillReading'));
        if ((!text && !some.length) || busy.value || !model.value) return;
        area.current!.value = '';
        fit();
        files.value = [];
        send(text, some);
    };
    const key = (e: KeyboardEvent) => {
        const mod = e.ctrlKey || e.metaKey;
        if (e.key === 'Enter' && !e.isComposing && (settings.value.enterSends ? !e.shiftKey : mod)) e.preventDefault(), submit();
        if (e.key === 'ArrowUp' && !area.current!.value && !busy.value) {
            const last = shown.value.findLast((m) => m.role === 'user');
            if (last) e.preventDefault(), document.querySelector<HTMLElement>(`[data-id="${last.id}"] .edit-button`)?.click();
        }
    };
    const paste = (e: ClipboardEvent) => {
        const data = e.clipboardData!;
        const text = data.getData('text/plain');
        if (data.files.length) e.preventDefault(), attach(data.files);
        else if (text.length > PASTE_MOST) {
            e.preventDefault();
            add({name: t('pasted', files.value.length + 1), text});
        }
    };
    return (
        <form class="composer" onSubmit={(e) => (e.preventDefault(), submit())}>
            {files.value.length + reading.value.length > 0 && (
                <div class="chips">
                    {files.value.map((f) => <FileChip file={f} {...sizeOf(f)} onRemove={() => (files.value = files.value.filter((x) => x !== f))} />)}
                    {reading.value.map((r) => (
                        <span class="chip reading" role="status">
                            <span class="way"><File /><span><b>{r.name}</b><small>{t('readingFile')}</small></span></span>
                            <button type="button" class="icon" aria-label={t('removeFile', r.name)} title={t('removeFile', r.name)} onClick={() => r.stop.abort()}>×</button>
                        </span>
                    ))}
                </div>
            )}
            <textarea ref={area} id="ask" rows={1} placeholder={t('ask')} aria-label={t('askLabel')} onInput={fit} onKeyDown={key} onPaste={paste} />
            <div class="composer-foot">
                <button type="button" class="icon" onClick={() => input.current!.click()} aria-label={t('attach')} title={t('attach')}><Clip /></button>
                <input ref={input} id="attach" type="file" multiple hidden onChange={(e) => (attach([...e.currentTarget.files!]), (e.currentTarget.value = ''))} />
                <ModelPicker />
                {model.value?.thinks && <Effort />}
                <From />
                <span class="gap" />
                <Ring />
                {busy.value ? <button type="button" class="send" onClick={stop} aria-label={t('stop')} title={t('stop')}><Square /></button>
                            : <button type="submit" class="send" aria-label={t('send')} title={t('send')} disabled={!model.value || reading.value.length > 0}><Up /></button>}
            </div>
        </form>
    );
}
