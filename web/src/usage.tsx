// What each key has used, for those who may see it (`#/usage`): numbers and names of keys, never texts.
import {computed, signal} from '@preact/signals';
import type {ComponentChildren} from 'preact';
import {useEffect, useState} from 'preact/hooks';
import {ApiError, call} from './api';
import {number, t} from './i18n';
import {revealed} from './reveal';
import {keyWish} from './state';

const hash = signal(location.hash);
addEventListener('hashchange', () => (hash.value = location.hash));
export const usageShown = computed(() => hash.value === '#/usage');

interface Day {
    day: string;
    requests: number;
    tokens_in: number;
    tokens_out: number;
    refused: number;
}
interface Key {
    id: number;
    name: string;
    tenant: string;
    active: boolean;
    days: Day[];
}
interface Report {
    from: string;
    to: string;
    keys: Key[];
}

const AGAIN = 30_000, DAY = 86_400_000;
const COLUMNS = [['requests', 'usageRequests'], ['tokens_in', 'usageIn'], ['tokens_out', 'usageOut'], ['refused', 'usageLimit']] as const;
const sum = (days: Day[], of: (typeof COLUMNS)[number][0]) => days.reduce((n, d) => n + d[of], 0);
const tokens = (days: Day[]) => sum(days, 'tokens_in') + sum(days, 'tokens_out');

/** All days of the report, those without use among them. */
function everyDay({from, to}: Report): string[] {
    const out = [];
    for (let at = Date.parse(from); at <= Date.parse(to); at += DAY) out.push(new Date(at).toISOString().slice(0, 10));
    return out;
}

const HEIGHT = 100, BAR = 10, GAP = 3;

function Bars({report, keys}: {report: Report; keys: Key[]}) {
    const days = everyDay(report).map((day) => {
        const its = keys.flatMap((k) => k.days.filter((d) => d.day === day));
        return {day, tokens: tokens(its), requests: sum(its, 'requests')};
    });
    const most = days.reduce((a, b) => (b.tokens > a.tokens ? b : a), days[0]!);
    const width = days.length * (BAR + GAP) - GAP;
    return (
        <>
            <svg class="days" viewBox={`0 0 ${width} ${HEIGHT + 2}`} preserveAspectRatio="none" role="img"
                 aria-label={t('usageBars', report.from, report.to, number(most.tokens), most.day)}>
                {days.map(({day, tokens, requests}, i) => {
                    const high = most.tokens ? Math.max((HEIGHT * tokens) / most.tokens, tokens ? 1.5 : 0) : 0;
                    return (
                        <g key={day}>
                            <title>{t('usageDay', day, number(tokens), number(requests))}</title>
                            <rect class="whole" x={i * (BAR + GAP)} width={BAR} height={HEIGHT + 2} />
                            <rect class={tokens ? 'used' : undefined} x={i * (BAR + GAP)} y={HEIGHT - high} width={BAR} height={high + 2} />
                        </g>
                    );
                })}
            </svg>
            <p class="ends" aria-hidden="true"><span>{report.from}</span>{most.tokens > 0 && <span>{t('usageMost', number(most.tokens))}</span>}<span>{report.to}</span></p>
        </>
    );
}

function Row({name, days}: {name: ComponentChildren; days: Day[]}) {
    return <tr><th scope="row">{name}</th>{COLUMNS.map(([of]) => <td key={of} class="to-right">{number(sum(days, of))}</td>)}</tr>;
}

function Table({report}: {report: Report}) {
    const [only, setOnly] = useState(0); // the key whose days are shown; 0: all
    const keys = report.keys.filter((k) => k.active || k.days.length).sort((a, b) => tokens(b.days) - tokens(a.days) || a.id - b.id);
    const all = keys.flatMap((k) => k.days);
    const choice = (id: number, word: ComponentChildren) => (
        <button type="button" class="quiet small" aria-pressed={only === id} onClick={() => setOnly(id)}>{word}</button>
    );
    return (
        <>
            <Bars report={report} keys={only ? keys.filter((k) => k.id === only) : keys} />
            {!all.length && <p class="hint">{t('usageNone')}</p>}
            <div class="table" tabIndex={0} role="group" aria-label={t('usage')}>
                <table>
                    <thead><tr><th scope="col">{t('key')}</th>{COLUMNS.map(([of, word]) => <th key={of} scope="col" class="to-right">{t(word)}</th>)}</tr></thead>
                    <tbody>
                        {keys.map((k) => (
                            <Row key={k.id} days={k.days}
                                 name={<>{choice(k.id, <>{revealed(k.name || `${k.id}`)}</>)}<small>{k.tenant !== k.name && revealed(k.tenant)}{!k.active && ` (${t('usageInactive')})`}</small></>} />
                        ))}
                    </tbody>
                    <tfoot><Row name={choice(0, t('usageAll'))} days={all} /></tfoot>
                </table>
            </div>
        </>
    );
}

export function Usage() {
    const [report, setReport] = useState<Report | null>(null);
    const [failure, setFailure] = useState('');
    const letIn = keyWish.value === 'none';
    useEffect(() => {
        let left = false;
        const load = async () => {
            try {
                const got = await (await call('usage?days=30')).json();
                if (!left) setReport(got), setFailure('');
            } catch (e) {
                if (!left) setFailure(!(e instanceof ApiError) ? t('errorNetwork') : e.status === 403 ? t('usageRefused') : e.message);
            }
        };
        load();
        const timer = setInterval(load, AGAIN);
        return () => ((left = true), clearInterval(timer));
    }, [letIn]);
    return (
        <div class="page" tabIndex={0} role="region" aria-label={t('usage')}>
            <div class="column usage">
                <p class="hint">{t('usageHint')}</p>
                {failure && <p class="hint wrong" role="alert">{failure}</p>}
                {report && !failure && <Table report={report} />}
            </div>
        </div>
    );
}
