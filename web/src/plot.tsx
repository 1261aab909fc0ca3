// Plots of numbers over steps, tokens or time, and of the load of experts, as SVG of our own.
import {signal} from '@preact/signals';
import {useLayoutEffect, useRef, useState} from 'preact/hooks';
import {t} from './i18n';
import {pure} from './pure';
import {revealed} from './reveal';

export interface Line {
    /** Which of the colours. */
    colour: number;
    name: string;
    x: number[];
    y: number[];
    /** What was measured, where y is a mean of it. */
    raw?: number[];
    /** Drawn as dots with a broken line. */
    dots?: boolean;
}

export interface Axis {
    name: string;
    say: (x: number) => string;
    time?: boolean;
}

/** Where all plots are looked at; null: at their ends. */
export const cross = signal<number | null>(null);

// ---- numbers ------------------------------------------------------------------------------------

export function short(v: number | null | undefined): string {
    if (v === null || v === undefined || !isFinite(v)) return '–';
    if (v < 0) return '−' + short(-v);
    const a = v;
    for (const [n, unit] of [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']] as const)
        if (a >= n) return `${Number((v / n).toPrecision(3))} ${unit}`;
    if (a && a < 1e-3) return v.toExponential(2).replace(/\.?0+e/, 'e').replace('e-', 'e−');
    return String(Number(v.toPrecision(4)));
}

export function clock(seconds: number): string {
    const s = Math.round(seconds), h = Math.floor(s / 3600), m = Math.floor(s / 60) % 60;
    const two = (n: number) => String(n).padStart(2, '0');
    return h ? `${h}:${two(m)}:${two(s % 60)}` : `${m}:${two(s % 60)}`;
}

function ticks(lo: number, hi: number, n: number): number[] {
    const raw = (hi - lo) / n, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999) ?? raw;
    const out: number[] = [];
    for (let v = Math.ceil(lo / step - 1e-9) * step; v <= hi + step * 1e-9 && out.length < 50; v += step)
        out.push(Math.abs(v) < step * 1e-9 ? 0 : v);
    return out;
}

/** Of logarithms. */
function logTicks(lo: number, hi: number): number[] {
    const out: number[] = [];
    for (let p = Math.floor(lo); p <= Math.ceil(hi); p++)
        for (const m of hi - lo < 1.5 ? [1, 2, 5] : [1]) out.push(p + Math.log10(m));
    const inside = out.filter((v) => v >= lo && v <= hi);
    return inside.length > 1 ? inside : ticks(lo, hi, 4);
}

function timeTicks(hi: number): number[] {
    const step = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400].find((s) => hi / s <= 6) ?? hi / 5;
    return Array.from({length: Math.floor(hi / step) + 1}, (_, i) => i * step);
}

/** All of what is a mean; of what was measured, all but the outermost hundredth. */
function range(lines: Line[], zero: boolean, log: boolean): [number, number] {
    const all: number[] = [];
    for (const l of lines) {
        const raw = [...(l.raw ?? [])].sort((a, b) => a - b);
        all.push(...l.y, ...raw.slice(Math.floor(raw.length / 100), Math.ceil(raw.length * 0.99)));
    }
    let lo = all.reduce((a, b) => Math.min(a, b), zero && !log ? 0 : Infinity);
    let hi = all.reduce((a, b) => Math.max(a, b), -Infinity);
    if (log) lo = Math.log10(Math.max(lo, 1e-30)), hi = Math.log10(Math.max(hi, 1e-30));
    const pad = (hi - lo || Math.abs(hi) * 0.1 || 1) * 0.06;
    return [zero && !log && lo === 0 ? 0 : lo - pad, hi + pad];
}

function nearest(x: number[], at: number): number {
    let lo = 0, hi = x.length - 1;
    while (hi - lo > 1) {
        const mid = (lo + hi) >> 1;
        if (x[mid]! <= at) lo = mid;
        else hi = mid;
    }
    return Math.abs(x[hi]! - at) < Math.abs(x[lo]! - at) ? hi : lo;
}

// ---- one plot -----------------------------------------------------------------------------------

interface Frame {
    W: number;
    H: number;
    box: {l: number; r: number; t: number; b: number};
    x: [number, number];
    y: [number, number];
    log: boolean;
}

const px = (f: Frame, v: number) => f.box.l + ((v - f.x[0]) / (f.x[1] - f.x[0] || 1)) * (f.box.r - f.box.l);
const py = (f: Frame, v: number) => {
    const y = f.log ? Math.log10(Math.max(v, 1e-30)) : v;
    return f.box.b - ((y - f.y[0]) / (f.y[1] - f.y[0] || 1)) * (f.box.b - f.box.t);
};

const path = (f: Frame, x: number[], y: number[]) =>
    x.map((v, i) => `${i ? 'L' : 'M'}${px(f, v).toFixed(1)} ${py(f, y[i]!).toFixed(1)}`).join('');

function frameOf(lines: Line[], axis: Axis, W: number, log: boolean, zero: boolean): Frame {
    const H = Math.round(Math.min(236, Math.max(178, W * 0.44)));
    const first = Math.min(...lines.map((l) => l.x[0]!)), last = Math.max(...lines.map((l) => l.x.at(-1)!));
    return {W, H, box: {l: 52, r: W - 8, t: 6, b: H - 24}, x: [axis.time ? 0 : first, Math.max(last, first + 1e-9)], y: range(lines, zero, log), log};
}

let clips = 0;

const Curves = pure(({f, lines, axis}: {f: Frame; lines: Line[]; axis: Axis}) => {
    const {box} = f;
    const [clip] = useState(() => `clip${clips++}`);
    const across = axis.time ? timeTicks(f.x[1]) : ticks(f.x[0], f.x[1], Math.max(3, Math.floor(f.W / 90)));
    return (
        <>
            <clipPath id={clip}><rect x={box.l} y={box.t - 3} width={box.r - box.l} height={box.b - box.t + 6} /></clipPath>
            {(f.log ? logTicks(...f.y) : ticks(...f.y, 4)).map((v) => {
                const y = box.b - ((v - f.y[0]) / (f.y[1] - f.y[0] || 1)) * (box.b - box.t);
                return <g key={v}><line class="grid-line" x1={box.l} x2={box.r} y1={y} y2={y} /><text x={box.l - 7} y={y + 4} text-anchor="end">{short(f.log ? 10 ** v : v)}</text></g>;
            })}
            {across.map((v) => <text key={v} x={px(f, v)} y={f.H - 6} text-anchor={px(f, v) > box.r - 20 ? 'end' : 'middle'}>{axis.say(v)}</text>)}
            <g clip-path={`url(#${clip})`}>
                {lines.map((l, i) => (
                    <g key={i} class={`colour c${l.colour % 8}`}>
                        {l.raw && <path class="raw" d={path(f, l.x, l.raw)} />}
                        <path class={l.dots ? 'curve broken' : 'curve'} d={path(f, l.x, l.y)} />
                        {(l.dots || l.x.length === 1) && l.x.length <= 200 && l.x.map((x, k) => <circle key={k} cx={px(f, x)} cy={py(f, l.y[k]!)} r="2.6" />)}
                    </g>
                ))}
            </g>
            <line class="ground" x1={box.l} x2={box.r} y1={box.b} y2={box.b} />
        </>
    );
});

function Cross({f, lines}: {f: Frame; lines: Line[]}) {
    const at = cross.value;
    if (at === null || at < f.x[0] || at > f.x[1]) return null;
    const x = px(f, at);
    return (
        <g>
            <line class="cross" x1={x} x2={x} y1={f.box.t} y2={f.box.b} />
            {lines.map((l, i) => {
                const k = nearest(l.x, at), y = py(f, l.y[k]!);
                return y >= f.box.t && y <= f.box.b + 1 && <circle key={i} class={`colour c${l.colour % 8}`} cx={px(f, l.x[k]!)} cy={y} r="3.4" />;
            })}
        </g>
    );
}

/** What each line is at the cross, or at its end. */
function Values({lines, axis}: {lines: Line[]; axis: Axis}) {
    const at = cross.value;
    return (
        <p class="values">
            {at !== null && <span class="aside">{axis.say(at)}</span>}
            {lines.map((l, i) => (
                <span key={i} class={`colour c${l.colour % 8}`}>
                    <i class={l.dots ? 'swatch ring-swatch' : 'swatch'} /><span class="unseen">{revealed(l.name)}: </span>
                    {short(l.y[at === null ? l.y.length - 1 : nearest(l.x, at)])}
                </span>
            ))}
        </p>
    );
}

export const Plot = pure(({title, note, lines, axis, log = false, zero = false}: {
    title: string; note?: string; lines: Line[]; axis: Axis; log?: boolean; zero?: boolean;
}) => {
    const place = useRef<HTMLDivElement>(null);
    const [width, setWidth] = useState(0);
    useLayoutEffect(() => {
        const measure = () => setWidth(Math.max(240, Math.floor(place.current!.clientWidth)));
        const seen = new ResizeObserver(measure);
        seen.observe(place.current!);
        measure();
        return () => seen.disconnect();
    }, []);
    const f = width ? frameOf(lines, axis, width, log, zero) : null;
    const point = (e: PointerEvent) => {
        const r = place.current!.getBoundingClientRect();
        const share = (e.clientX - r.left - f!.box.l) / (f!.box.r - f!.box.l);
        cross.value = f!.x[0] + Math.min(1, Math.max(0, share)) * (f!.x[1] - f!.x[0]);
    };
    const key = (e: KeyboardEvent) => {
        const way = {ArrowLeft: -1, ArrowRight: 1, Home: -1000, End: 1000}[e.key];
        if (e.key === 'Escape') cross.value = null;
        if (!way) return;
        e.preventDefault();
        const [lo, hi] = f!.x;
        cross.value = Math.min(hi, Math.max(lo, (cross.value ?? hi) + (way * (hi - lo)) / 40));
    };
    return (
        <section class="card" aria-label={title}>
            <div class="card-head"><h2>{revealed(title)}</h2><Values lines={lines} axis={axis} /></div>
            {note && <p class="hint">{note}</p>}
            <div class="plot" ref={place} tabIndex={0} role="img" aria-label={t('plotOf', title, axis.name)}
                 onPointerMove={point} onPointerLeave={() => (cross.value = null)} onKeyDown={key} onBlur={() => (cross.value = null)}>
                {f && (
                    <svg viewBox={`0 0 ${f.W} ${f.H}`} width={f.W} height={f.H} aria-hidden="true">
                        <Curves f={f} lines={lines} axis={axis} />
                        <Cross f={f} lines={lines} />
                    </svg>
                )}
            </div>
        </section>
    );
});

// ---- experts ------------------------------------------------------------------------------------

const LEVELS = 8;

/** -LEVELS (half the mean or less) to LEVELS (twice the mean or more). */
const level = (ratio: number) => Math.round(LEVELS * Math.max(-1, Math.min(1, Math.log2(Math.max(ratio, 1e-6)))));

const shade = (n: number) => (n ? {class: n < 0 ? 'low' : 'high', 'fill-opacity': Math.abs(n) / LEVELS} : {class: 'even'});

/** Layer × expert; all cells of one colour are one path, so that a thousand experts are soon drawn. */
export const Heat = pure(({title, step, load}: {title: string; step: number; load: number[][]}) => {
    const place = useRef<HTMLDivElement>(null);
    const [width, setWidth] = useState(0);
    const [said, setSaid] = useState('');
    useLayoutEffect(() => {
        const seen = new ResizeObserver(() => setWidth(Math.max(240, place.current!.clientWidth)));
        seen.observe(place.current!);
        return () => seen.disconnect();
    }, []);
    const most = Math.max(...load.map((l) => l.length)), left = 34;
    const w = (width - left) / most, h = Math.max(12, Math.min(24, w)), gap = w > 6 ? 2 : 0.4;
    const means = load.map((l) => l.reduce((a, b) => a + b, 0) / l.length || 1);
    const cells = new Map<number, string>();
    load.forEach((l, i) => l.forEach((v, e) => {
        const n = level(v / means[i]!);
        const cell = `M${(left + e * w).toFixed(2)} ${i * h}h${Math.max(w - gap, 0.3).toFixed(2)}v${h - gap}h${(-Math.max(w - gap, 0.3)).toFixed(2)}z`;
        cells.set(n, (cells.get(n) ?? '') + cell);
    }));
    const point = (e: PointerEvent) => {
        const r = place.current!.getBoundingClientRect();
        const i = Math.floor((e.clientY - r.top) / h), x = Math.floor((e.clientX - r.left - left) / w), v = load[i]?.[x];
        setSaid(v === undefined ? '' : t('expertIs', i + 1, x + 1, (v / means[i]!).toFixed(2)));
    };
    return (
        <section class="card wide-card" aria-label={title}>
            <div class="card-head">
                <h2>{revealed(title)}</h2>
                <p class="values"><span class="aside">{said || t('atStep', step)}</span></p>
            </div>
            <div class="heat" ref={place} role="img" aria-label={t('heatOf', load.length, most)} onPointerMove={point} onPointerLeave={() => setSaid('')}>
                {width > 0 && (
                    <svg viewBox={`0 0 ${width} ${load.length * h}`} width={width} height={load.length * h} aria-hidden="true">
                        {load.map((_, i) => (i % Math.ceil(12 / h) === 0) && <text key={i} x={left - 8} y={i * h + h / 2 + 3} text-anchor="end">{i + 1}</text>)}
                        {[...cells].map(([n, d]) => <path key={n} {...shade(n)} d={d} />)}
                    </svg>
                )}
            </div>
            <p class="hint ramp">
                <span>{t('half')}</span>
                <svg width="130" height="9" aria-hidden="true">
                    {Array.from({length: 2 * LEVELS + 1}, (_, i) => <rect key={i} x={i * 7.7} width="7.7" height="9" {...shade(i - LEVELS)} />)}
                </svg>
                <span>{t('twice')}</span>
            </p>
        </section>
    );
});
