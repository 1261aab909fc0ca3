// Texts of strangers, shown as they are.
import type {ComponentChildren} from 'preact';

/** Characters that are not seen but turn or hide what stands around them. */
const HIDDEN = /([\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff])/;

export function revealed(text: string): ComponentChildren {
    if (!HIDDEN.test(text)) return text;
    return text.split(HIDDEN).map((part, i) =>
        i % 2 ? <span class="hidden-mark">U+{part.codePointAt(0)!.toString(16).toUpperCase()}</span> : part);
}
