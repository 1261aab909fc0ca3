// What the reader has chosen, kept in this browser.
import {effect, signal} from '@preact/signals';
import type {Model} from './api';

export const EFFORTS = ['none', 'low', 'medium', 'high', 'max', 'budget'] as const;
export type Effort = (typeof EFFORTS)[number];

export interface Settings {
    language: 'auto' | 'en' | 'zh';
    theme: 'auto' | 'light' | 'dark';
    size: number;
    sidebar: boolean;
    wrap: boolean;
    enterSends: boolean;
    system: string;
    /** Of several models the one that was chosen last. */
    model: string;
    effort: Effort | 'auto';
    /** Tokens of thought, with effort `budget`. */
    budget: number;
    /** Answers are taken from the server's documents, where it has any; or from the web, where it searches. */
    documents: boolean;
    web: boolean;
    /** The model searches there by itself, where it can, in place of the server before it answers. */
    itself: boolean;
    /** null: the model's own. */
    temperature: number | null;
    top_p: number | null;
    top_k: number | null;
    min_p: number | null;
    repetition_penalty: number | null;
    max_tokens: number | null;
    seed: number | null;
}

const fresh: Settings = {
    language: 'auto',
    theme: 'auto',
    size: 16,
    sidebar: true,
    wrap: false,
    enterSends: true,
    system: '',
    model: '',
    effort: 'auto',
    budget: 1024,
    documents: false,
    web: false,
    itself: false,
    temperature: null,
    top_p: null,
    top_k: null,
    min_p: null,
    repetition_penalty: null,
    max_tokens: null,
    seed: null,
};

const PLACE = 'lisao.settings';

function read(): Settings {
    try {
        return {...fresh, ...JSON.parse(localStorage.getItem(PLACE) ?? '{}')};
    } catch {
        return fresh;
    }
}

export const settings = signal<Settings>(read());
export const change = (some: Partial<Settings>) => (settings.value = {...settings.value, ...some});

effect(() => {
    const s = settings.value;
    localStorage.setItem(PLACE, JSON.stringify(s));
    const root = document.documentElement;
    if (s.theme === 'auto') delete root.dataset['theme'];
    else root.dataset['theme'] = s.theme;
    root.style.setProperty('--size', `${s.size}px`);
});

/** The settings of a request, as the API calls them. */
export function asked(s: Settings, model: Model | null): Record<string, unknown> {
    const out: Record<string, unknown> = {};
    for (const name of ['temperature', 'top_p', 'top_k', 'min_p', 'repetition_penalty', 'max_tokens', 'seed'] as const)
        if (s[name] !== null) out[name] = s[name];
    const itself = s.itself && model?.tools;
    if (s.documents && model?.documents != null) out['search'] = itself ? 'documents_tool' : true;
    else if (s.web && model?.web) out['search'] = itself ? 'web_tool' : 'web';
    if (!model?.thinks || s.effort === 'auto') return out;
    if (s.effort === 'budget') out['thinking'] = {type: 'enabled', budget_tokens: s.budget};
    else out['reasoning_effort'] = s.effort;
    return out;
}
