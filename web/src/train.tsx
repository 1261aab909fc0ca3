// #/train: training runs, their curves, experts, samples and answers, as they come.
import {signal} from '@preact/signals';
import {useEffect, useMemo, useState} from 'preact/hooks';
import {Copy} from './icons';
import {language, number, t, type Word} from './i18n';
import {clock, Heat, Plot, short, type Axis, type Line} from './plot';
import {revealed} from './reveal';
import {chosen, leftOff, live, MOST, open, runs, toggle, watch, type Curve, type OpenRun, type RunSummary} from './runs';
import {chatWithRun, say} from './state';

type Across = 'step' | 'targets' | 'elapsed';
const across = signal<Across>('step');
const smoothing = signal(0.9);

// ---- what is drawn ------------------------------------------------------------------------------

/** The plots that have names here, in the order in which people look at them. */
interface Chart {
    word: Word;
    note?: Word;
    key?: string;
    /** Held out: drawn as dots. */
    dots?: string;
    log?: boolean;
    zero?: boolean;
    /** Too few or too steady to be smoothed. */
    exact?: boolean;
}
const charts: Chart[] = [
    {word: 'curveReward', note: 'noteReward', key: 'reward', zero: true},
    {word: 'curvePass', note: 'notePass', key: 'pass_rate', dots: 'valid_pass_rate', zero: true},
    {word: 'curveLoss', note: 'noteLoss', key: 'loss', dots: 'valid_loss'},
    {word: 'curveBits', note: 'noteBits', dots: 'bits_per_byte'},
    {word: 'curveNorm', note: 'noteNorm', key: 'grad_norm', log: true},
    {word: 'curveRate', key: 'lr', zero: true, exact: true},
    {word: 'curveSpeed', key: 'tokens_per_s', zero: true},
    {word: 'curveVio', note: 'noteVio', key: 'max_vio', zero: true},
    {word: 'curveLength', note: 'noteLength', key: 'length', zero: true},
    {word: 'curveEntropy', note: 'noteEntropy', key: 'entropy', zero: true},
    {word: 'curveClip', note: 'noteClip', key: 'clip_share', zero: true},
    {word: 'curveDifference', note: 'noteDifference', key: 'logprob_difference', zero: true, exact: true},
];
const named = new Set(['targets', 'elapsed', 'seconds', ...charts.flatMap((c) => [c.key, c.dots])]);

interface Looked {
    id: string;
    name: string;
    colour: number;
    run: OpenRun;
}

/** A mean that forgets, without the pull of its beginning. */
function smoothed(values: number[], weight: number): number[] {
    let mean = 0, norm = 0;
    return values.map((v) => {
        mean = weight * mean + (1 - weight) * v;
        norm = weight * norm + (1 - weight);
        return mean / norm;
    });
}

/** The value of a curve that only grows, between two of its points. */
function between(c: Curve, step: number): number {
    let lo = 0, hi = c.step.length - 1;
    while (hi - lo > 1) {
        const mid = (lo + hi) >> 1;
        if (c.step[mid]! <= step) lo = mid;
        else hi = mid;
    }
    const a = c.step[lo]!, b = c.step[hi]!, share = b > a ? Math.min(1, Math.max(0, (step - a) / (b - a))) : 0;
    return c.value[lo]! + share * (c.value[hi]! - c.value[lo]!);
}

function lineOf(l: Looked, key: string | undefined, dots: boolean, smooth: number): Line[] {
    const c = key ? l.run.curves.get(key) : undefined, scale = l.run.curves.get(across.value);
    if (!c?.step.length || (across.value !== 'step' && !scale)) return [];
    const x = across.value === 'step' ? c.step : c.step.map((s) => between(scale!, s));
    const line = {colour: l.colour, name: dots ? `${l.name}, ${t('heldOut')}` : l.name, x, dots};
    return [smooth > 0 && c.value.length > 2 ? {...line, y: smoothed(c.value, smooth), raw: c.value} : {...line, y: c.value}];
}

function PlotOf({chart: c, looked, axis}: {chart: Chart & {title?: string}; looked: Looked[]; axis: Axis}) {
    const smooth = c.exact ? 0 : smoothing.value;
    // The same lists as long as nothing has come: what is drawn of them is not drawn again.
    const lines = useMemo(() => looked.flatMap((l) => [...lineOf(l, c.key, false, smooth), ...lineOf(l, c.dots, true, 0)]),
                          [c, smooth, axis, ...looked.map((l) => l.run), looked.length]);
    if (!lines.length) return null;
    return <Plot title={c.title ?? t(c.word)} {...(c.note ? {note: t(c.note)} : {})} lines={lines} axis={axis} log={!!c.log} zero={!!c.zero} />;
}

function Curves({looked}: {looked: Looked[]}) {
    const axis = useMemo((): Axis => ({
        step: {name: t('axisStep'), say: (v: number) => number(Math.round(v))},
        targets: {name: t('axisTokens'), say: short},
        elapsed: {name: t('axisTime'), say: clock, time: true},
    })[across.value], [across.value, language.value]);
    const keys = [...new Set(looked.flatMap((l) => [...l.run.curves.keys()]))].filter((k) => !named.has(k)).join('\n');
    const others = useMemo(() => keys.split('\n').filter(Boolean).map((key) => ({word: 'training' as Word, title: key.replaceAll('_', ' '), key})), [keys]);
    return (
        <>
            <div class="cards">{charts.map((c) => <PlotOf key={c.word} chart={c} looked={looked} axis={axis} />)}</div>
            {looked.map((l) => l.run.experts && (
                <Heat key={l.id} title={`${t('experts')} · ${l.name}`} step={l.run.experts.step} load={l.run.experts.load} />
            ))}
            {others.length > 0 && (
                <details class="more">
                    <summary>{t('moreCurves', others.length)}</summary>
                    <div class="cards">{others.map((c) => <PlotOf key={c.key} chart={c} looked={looked} axis={axis} />)}</div>
                </details>
            )}
        </>
    );
}

// ---- texts --------------------------------------------------------------------------------------

function Samples({l}: {l: Looked}) {
    if (!l.run.samples.length) return null;
    return (
        <section class="card wide-card" aria-label={`${t('samples')} · ${l.name}`}>
            <div class="card-head"><h2>{t('samples')} · {revealed(l.name)}</h2></div>
            <ul class="texts" tabIndex={0} aria-label={t('samples')}>
                {l.run.samples.map((s, i) => (
                    <li key={i}>
                        <p class="aside">{t('atStep', number(s.step))}</p>
                        <p class="said"><span class="dim">{revealed(s.prompt)}</span>{revealed(s.text)}{s.ended && <b class="end" title={t('ended')}> ■</b>}</p>
                    </li>
                ))}
            </ul>
        </section>
    );
}

function Answers({l}: {l: Looked}) {
    if (!l.run.answers.length) return null;
    return (
        <section class="card wide-card" aria-label={`${t('answers')} · ${l.name}`}>
            <div class="card-head"><h2>{t('answers')} · {revealed(l.name)}</h2></div>
            <ul class="texts" tabIndex={0} aria-label={t('answers')}>
                {l.run.answers.map((a, i) => (
                    <li key={i}>
                        <p class="aside">
                            {t('atStep', number(a.step))}<br />
                            <b class={a.right ? 'right' : 'wrong'}>{t(a.right ? 'right' : 'wrongAnswer')}</b> {short(a.reward)}<br />
                            {revealed([a.task, a.stratum].filter(Boolean).join(', '))}
                        </p>
                        <div class="said">
                            <p>{revealed(a.prompt)}</p>
                            {a.reasoning && <p class="dim">{revealed(a.reasoning)}</p>}
                            <p class="final">{revealed(a.answer)}</p>
                        </div>
                    </li>
                ))}
            </ul>
        </section>
    );
}

// ---- the list -----------------------------------------------------------------------------------

function ago(seconds: number): string {
    const units = [['day', 86400], ['hour', 3600], ['minute', 60], ['second', 1]] as const;
    const past = Math.max(0, Date.now() / 1000 - seconds), [unit, size] = units.find(([, s]) => past >= s) ?? units[3];
    return new Intl.RelativeTimeFormat(language.value === 'zh' ? 'zh-CN' : 'en', {numeric: 'auto'}).format(-Math.floor(past / size), unit);
}

function stateOf(r: RunSummary): {word: Word; class: string} {
    if (r.alive) return {word: 'runAlive', class: 'alive'};
    return r.steps !== null && r.step >= r.steps ? {word: 'runDone', class: 'done'} : {word: 'runStopped', class: 'stopped'};
}

/** What the run is judged by: held-out figures where there are some. */
function figures(r: RunSummary): [Word, string][] {
    const percent = (v: number) => `${(100 * v).toFixed(1)} %`;
    const all: [Word, number | null, (v: number) => string][] = [
        ['curveReward', r.reward, short], ['figureHeldOut', r.valid_pass_rate, percent],
        ['curveLoss', r.reward === null ? r.loss : null, short], ['figureHeldOut', r.valid_loss, short], ['curveBits', r.bits_per_byte, short]];
    return all.filter(([, v]) => v !== null).map(([word, v, how]) => [word, how(v!)]);
}

function Row({r}: {r: RunSummary}) {
    const place = chosen.value.indexOf(r.id), state = stateOf(r);
    return (
        <li class={place >= 0 ? `run colour c${place}` : 'run'}>
            <label>
                <input type="checkbox" checked={place >= 0} disabled={place < 0 && chosen.value.length >= MOST} onChange={() => toggle(r.id)} />
                <i class="swatch" />
                <span class="run-name">{revealed(r.name)}{r.objective && <small>{revealed(r.objective)}</small>}</span>
                <span class={`run-state ${state.class}`}>{t(state.word)}</span>
                <span class="run-steps">
                    {r.steps ? t('stepsOf', number(r.step), number(r.steps)) : t('atStep', number(r.step))}
                    {r.steps && <progress value={Math.min(r.step, r.steps)} max={r.steps} aria-label={t('progress')} />}
                </span>
                <span class="run-figures">{figures(r).map(([word, v], i) => <span key={i}>{t(word)} <b>{v}</b></span>)}</span>
                <span class="aside run-when">{ago(r.written)}</span>
            </label>
        </li>
    );
}

/** As a shell reads it. */
const quoted = (s: string) => (/^[\w./-]+$/.test(s) && !s.startsWith('-') ? s : `'${s.startsWith('-') ? './' : ''}${s.replaceAll("'", `'\\''`)}'`);

function ChatWith({r}: {r: RunSummary}) {
    const command = `lisao chat ${quoted(r.folder)}`;
    const [opening, setOpening] = useState(false);
    const copy = () => navigator.clipboard.writeText(command).then(() => say(t('copied')));
    const chat = () => (setOpening(true), chatWithRun(r.id).finally(() => setOpening(false)));
    return (
        <li>
            <button type="button" class="plain" disabled={opening} onClick={chat}>{t('chatWithRun', r.name)}</button>
            <span class="aside">{t('checkpointOf', number(r.checkpoint!))}</span>
            <span class="hint">{t('chatWithHint')} <code>{revealed(command)}</code></span>
            <button type="button" class="icon" onClick={copy} aria-label={t('copyOf', r.name)} title={t('copy')}><Copy /></button>
        </li>
    );
}

function Controls() {
    const ways: [Across, Word][] = [['step', 'axisStep'], ['targets', 'axisTokens'], ['elapsed', 'axisTime']];
    return (
        <div class="run-controls">
            <fieldset class="choice">
                <legend class="unseen">{t('axis')}</legend>
                <div>
                    {ways.map(([key, word]) => (
                        <label key={key}>
                            <input type="radio" name="axis" checked={across.value === key} onChange={() => (across.value = key)} /><span>{t(word)}</span>
                        </label>
                    ))}
                </div>
            </fieldset>
            <label class="smooth">
                {t('smoothing')}
                <input type="range" min="0" max="0.99" step="0.01" value={smoothing.value} onInput={(e) => (smoothing.value = Number(e.currentTarget.value))} />
            </label>
            <span class={live.value ? 'live on' : 'live'} role="status">{t(live.value ? 'liveOn' : 'liveOff')}</span>
        </div>
    );
}

/** Those that go on first, in an order that does not change as they do; then those that wrote last. */
const order = (a: RunSummary, b: RunSummary) =>
    Number(b.alive) - Number(a.alive) || (a.alive ? 0 : b.written - a.written) || (a.name < b.name ? -1 : 1);

export function Training() {
    useEffect(watch, []);
    const all = [...(runs.value ?? [])].sort(order);
    const looked = chosen.value.flatMap((id, colour): Looked[] => {
        const run = open.value.get(id), r = all.find((x) => x.id === id);
        return run && r ? [{id, name: r.name, colour, run}] : [];
    });
    const ready = chosen.value.flatMap((id) => all.filter((r) => r.id === id && r.checkpoint !== null));
    return (
        <div class="training" id="runs" tabIndex={-1}>
            <div class="training-column">
                {!runs.value && <p class="none">{t('noRunsHere')}</p>}
                {runs.value && !all.length && <p class="none">{t('noRuns')}</p>}
                {all.length > 0 && (
                    <>
                        <ul class="run-list" aria-label={t('runs')}>{all.map((r) => <Row key={r.id} r={r} />)}</ul>
                        {leftOff.value > 0 && <p class="hint">{t('runsLeftOff', leftOff.value)}</p>}
                        {ready.length > 0 && (
                            <details class="chat-with">
                                <summary>{t('chatWith')}</summary>
                                <ul>{ready.map((r) => <ChatWith key={r.id} r={r} />)}</ul>
                            </details>
                        )}
                        <Controls />
                    </>
                )}
                {looked.length > 0 && <Curves looked={looked} />}
                {looked.map((l) => <Answers key={l.id} l={l} />)}
                {looked.map((l) => <Samples key={l.id} l={l} />)}
            </div>
        </div>
    );
}
