// An answer computed again: whether it is the same, and what else could have come at each token.
import {useState} from 'preact/hooks';
import {Check, Cross} from './icons';
import {ApiError, type Verdict} from './api';
import {number, t} from './i18n';
import {branchOff, say, verify} from './state';
import type {Message} from './tree';

type Token = NonNullable<Verdict['choices'][0]['tokens']>[0];

// ---- tokens -------------------------------------------------------------------------------------

const share = (logprob: number) => Math.exp(logprob);
const percent = (logprob: number) => `${(100 * share(logprob)).toFixed(1)} %`;
const shadeOf = (logprob: number) => `token p${Math.min(Math.floor(share(logprob) * 5), 4)}`;
const shown = (token: string) => token.replace(/\n/g, '↵').replace(/\t/g, '⇥') || '∅';

const decoded = (bytes: number[]) => new TextDecoder().decode(new Uint8Array(bytes));
/** Bytes that are no character stand as U+FFFD, of which not everyone writes as many. */
const sure = (text: string) => text.replaceAll('\uFFFD', '');

/** Where the text begins in the bytes of all tokens: behind the thought and its tags. */
function beginOf(bytes: number[], text: string): number {
    const first = new TextEncoder().encode(text)[0], wanted = sure(text);
    for (let begin = bytes.length; begin > 0; begin--)
        if ((bytes[begin] === first || first === 0xef) && sure(decoded(bytes.slice(begin))).startsWith(wanted)) return begin;
    return 0;
}

/** The tokens of the text, and what stands before each, as bytes. */
function tokensOf(all: Token[], text: string): {token: Token; before: number[]}[] {
    const bytes = all.flatMap((x) => x.bytes), begin = beginOf(bytes, text);
    const end = text.includes('\uFFFD') ? bytes.length : begin + new TextEncoder().encode(text).length;
    const out: {token: Token; before: number[]}[] = [];
    let at = 0;
    for (const token of all) {
        if (at >= begin && at < end) out.push({token, before: bytes.slice(begin, at)});
        at += token.bytes.length;
    }
    return out;
}

export function Tokens({m, all}: {m: Message; all: Token[]}) {
    const [at, setAt] = useState(-1);
    const tokens = tokensOf(all, m.text), chosen = tokens[at];
    return (
        <div class="tokens-view">
            <p class="hint">{t('tokensHint')}</p>
            <div class="tokens">
                {tokens.map(({token}, i) => (
                    <>
                        <button type="button" key={i} class={shadeOf(token.logprob)} aria-pressed={i === at} title={percent(token.logprob)}
                                onClick={() => setAt(i === at ? -1 : i)}>{token.token.replace(/\n+$/, '') || shown(token.token)}</button>
                        {token.token.includes('\n') && <br />}
                    </>
                ))}
            </div>
            {chosen && (
                <ul class="alternatives">
                    {chosen.token.top_logprobs.map((x) => (
                        <li key={x.id}>
                            <code>{shown(x.token)}</code>
                            <svg height="6" aria-hidden="true"><rect width="100%" height="6" rx="3" /><rect class="used" width={percent(x.logprob).replace(' ', '')} height="6" rx="3" /></svg>
                            <span>{percent(x.logprob)}</span>
                            {x.id === chosen.token.id ? <Check /> : (
                                <button type="button" class="icon" aria-label={t('goOnFrom', shown(x.token))} title={t('goOnFrom', shown(x.token))}
                                        onClick={() => branchOff(m, decoded([...chosen.before, ...x.bytes]))}>→</button>
                            )}
                        </li>
                    ))}
                </ul>
            )}
        </div>
    );
}

// ---- the verdict --------------------------------------------------------------------------------

const brief = (x: unknown) => String(typeof x === 'string' ? JSON.stringify(x) : JSON.stringify(x) ?? x).slice(0, 60);

export function VerdictLine({verdict}: {verdict: Verdict | 'pending'}) {
    if (verdict === 'pending') return <p class="verdict"><span class="shimmer">{t('verifying')}</span></p>;
    const {same, tokens, difference: d} = verdict;
    return (
        <p class={same ? 'verdict same' : 'verdict other'} role="status">
            {same ? <Check /> : <Cross />}
            <span>{same ? t('verifySame', number(tokens)) : t('verifyOther', d?.at ?? '', brief(d?.given), brief(d?.computed))}</span>
        </p>
    );
}

/** The verdict of an answer, asked for once. */
export function useVerdict(m: Message) {
    const [verdict, setVerdict] = useState<Verdict | 'pending' | null>(null);
    const ask = async (): Promise<void> => {
        if (verdict === 'pending') return;
        setVerdict('pending');
        try {
            setVerdict(await verify(m));
        } catch (e) {
            setVerdict(null);
            say(e instanceof ApiError && e.code === 'passage_gone' ? t('verifyGone') : String((e as Error).message), true);
        }
    };
    return {verdict, ask};
}
