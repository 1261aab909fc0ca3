// Training runs that the server shows: which there are, and those that are looked at, as they grow.
import {batch, signal} from '@preact/signals';
import {ApiError, call, events} from './api';

export interface RunSummary {
    id: string;
    name: string;
    /** As the server's own machine calls it. */
    folder: string;
    objective: string | null;
    step: number;
    steps: number | null;
    checkpoint: number | null;
    loss: number | null;
    reward: number | null;
    valid_loss: number | null;
    bits_per_byte: number | null;
    valid_pass_rate: number | null;
    /** Seconds since 1970. */
    written: number;
    alive: boolean;
}

export interface Curve {
    step: number[];
    value: number[];
}
export interface Experts {
    step: number;
    load: number[][];
}
export interface Sample {
    step: number;
    prompt: string;
    text: string;
    ended: boolean;
}
export interface Answer {
    step: number;
    reward: number;
    right: boolean;
    task: string;
    stratum: string;
    prompt: string;
    reasoning: string;
    answer: string;
}

/** What is known of a run that is looked at. */
export interface OpenRun {
    curves: Map<string, Curve>;
    experts: Experts | null;
    samples: Sample[];
    answers: Answer[];
    /** Bytes of its file that this comes from. */
    at: number;
}

interface Line {
    step: number;
    values?: Record<string, number>;
    experts?: Experts;
    sample?: Sample;
    answer?: Answer;
}

/** null: the server shows none, or not to this key. */
export const runs = signal<RunSummary[] | null>(null);
export const leftOff = signal(0);
/** In the order in which they were chosen, which is that of their colours. */
export const chosen = signal<readonly string[]>([]);
export const open = signal<ReadonlyMap<string, OpenRun>>(new Map());
/** Whether what runs write is heard at the moment. */
export const live = signal(false);

export const MOST = 8;
const REFRESH = 10_000, AGAIN = 2000;
/** A curve that has grown to so many points is asked for anew, which thins it. */
const POINTS = 4000;
const SAMPLES = 32, ANSWERS = 64;

// ---- which there are ----------------------------------------------------------------------------

export async function listRuns(): Promise<void> {
    try {
        const list = await (await call('runs')).json();
        batch(() => ((runs.value = list.data), (leftOff.value = list.left_off)));
    } catch (e) {
        if (e instanceof ApiError && (e.status === 404 || e.status === 403)) runs.value = null;
        else if (!(e instanceof ApiError)) return; // the server is away; what is known stays
    }
}

/** At first the one that wrote last. */
function chooseFirst(): void {
    const [first] = [...(runs.value ?? [])].sort((a, b) => Number(b.alive) - Number(a.alive) || b.written - a.written);
    if (!chosen.value.length && first) chosen.value = [first.id];
}

export function toggle(id: string): void {
    const rest = chosen.value.filter((x) => x !== id);
    if (rest.length === chosen.value.length) rest.push(id);
    if (rest.length <= MOST) chosen.value = rest;
}

// ---- one of them --------------------------------------------------------------------------------

function put(id: string, some: OpenRun): void {
    open.value = new Map(open.value).set(id, some);
}

/** A long file is read in portions; each answer has what was read so far. */
async function load(id: string, signal: AbortSignal): Promise<void> {
    const texts = (await call(`runs/${id}/texts`, undefined, signal)).json();
    for (let whole = false; !whole;) {
        const o = await (await call(`runs/${id}`, undefined, signal)).json();
        whole = o.whole;
        const curves = new Map<string, Curve>(o.curves.map((c: Curve & {key: string}) => [c.key, {step: c.step, value: c.value}]));
        put(id, {curves, experts: o.experts, at: o.at, ...(await texts)});
    }
}

function curveAdd(run: OpenRun, key: string, step: number, value: number): void {
    let c = run.curves.get(key);
    if (!c) run.curves.set(key, (c = {step: [], value: []}));
    c.step.push(step);
    c.value.push(value);
}

function lineAdd(run: OpenRun, line: Line): void {
    const elapsed = run.curves.get('elapsed'), seconds = line.values?.['seconds'];
    if (seconds !== undefined)
        curveAdd(run, 'elapsed', line.step, (elapsed?.value.at(-1) ?? 0) + seconds * (line.step - (elapsed?.step.at(-1) ?? 0)));
    for (const [key, value] of Object.entries(line.values ?? {})) curveAdd(run, key, line.step, value);
    if (line.experts) run.experts = line.experts;
    if (line.sample) run.samples = [line.sample, ...run.samples].slice(0, SAMPLES);
    if (line.answer) run.answers = [line.answer, ...run.answers].slice(0, ANSWERS);
}

/** What a run has written since. */
function grow(id: string, lines: Line[]): void {
    const old = open.value.get(id), last = lines.at(-1);
    if (!old || !last) return;
    // Other lists each time, so that what draws them sees that they are others.
    const copied = ([key, c]: [string, Curve]): [string, Curve] => [key, {step: [...c.step], value: [...c.value]}];
    const run = {...old, curves: new Map([...old.curves].map(copied))};
    for (const line of lines) lineAdd(run, line);
    const of = (key: string) => run.curves.get(key)?.value.at(-1) ?? null;
    batch(() => {
        put(id, run);
        runs.value = (runs.value ?? []).map((r) => (r.id !== id ? r : {
            ...r, step: Math.max(r.step, last.step), loss: of('loss'), reward: of('reward'), written: Math.round(Date.now() / 1000),
            alive: r.steps === null || last.step < r.steps,
        }));
    });
}

const tooLong = (id: string) => [...(open.value.get(id)?.curves.values() ?? [])].some((c) => c.step.length > POINTS);

/** Reads those that are chosen, then what they write, until the connection or a file ends. */
async function listen(ids: readonly string[], signal: AbortSignal): Promise<void> {
    await Promise.all(ids.map((id) => load(id, signal)));
    const feed = await call('runs/feed?' + ids.map((id) => `${id}=${open.value.get(id)!.at}`).join('&'), undefined, signal);
    live.value = true;
    for await (const {data} of events(feed.body!)) {
        const event: {run: string; lines?: Line[]; again?: boolean} = JSON.parse(data);
        if (event.again || tooLong(event.run)) return;
        grow(event.run, event.lines ?? []);
    }
}

/** Watches until it is told to stop; chosen.value decides whom. */
export function watch(): () => void {
    let ended = false, control = new AbortController(), watched: readonly string[] = [], wake = () => {};
    const pause = () => new Promise<void>((later) => ((wake = later), setTimeout(later, AGAIN)));
    const follow = async () => {
        while (!ended) {
            control = new AbortController();
            watched = chosen.value;
            try {
                if (watched.length) await listen(watched, control.signal);
            } catch { /* the server is away, or others were chosen */ }
            live.value = false;
            if (!ended && watched === chosen.value) await pause();
        }
    };
    const refresh = async () => {
        await listRuns();
        chooseFirst();
    };
    const timer = setInterval(refresh, REFRESH);
    const unheard = chosen.subscribe((now) => now !== watched && (control.abort(), wake()));
    refresh().then(follow);
    return () => {
        ended = true;
        clearInterval(timer);
        unheard();
        control.abort(), wake();
    };
}
