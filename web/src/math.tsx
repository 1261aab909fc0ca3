// Formulas: LaTeX as MathML, built as nodes.
import temml from 'temml';
import {useLayoutEffect, useRef} from 'preact/hooks';
import type {TokenizerAndRendererExtension} from 'marked';

export function Formula({tex, block}: {tex: string; block: boolean}) {
    const place = useRef<HTMLSpanElement>(null);
    useLayoutEffect(() => {
        const at = place.current!;
        try {
            temml.render(tex, at, {displayMode: block, throwOnError: true, trust: false, maxExpand: 200, maxSize: [50, 100]});
        } catch {
            at.textContent = tex; // no formula after all, or not a whole one yet
        }
    }, [tex, block]);
    return <span ref={place} class={block ? 'formula' : undefined} tabIndex={block ? 0 : undefined} />;
}

/** `$...$` where no space stands inside the signs and no digit behind; `$$...$$`, `\(...\)`, `\[...\]`. */
const INLINE = /^(?:\$\$([^$]+?)\$\$|\$((?!\s)(?:\\.|[^\\$\n])+?(?<!\s))\$(?![\d\p{L}])|\\\(([\s\S]+?)\\\)|\\\[([\s\S]+?)\\\])/u;
const BLOCK = /^ {0,3}(?:\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\])[ \t]*(?:\n|$)/;

export const formulas: TokenizerAndRendererExtension[] = [
    {
        name: 'formulaBlock',
        level: 'block',
        start: (src) => src.match(/(?:^|\n) {0,3}(?:\$\$|\\\[)/)?.index,
        tokenizer(src) {
            const m = BLOCK.exec(src);
            return m ? {type: 'formulaBlock', raw: m[0], tex: (m[1] ?? m[2])!.trim()} : undefined;
        },
    },
    {
        name: 'formula',
        level: 'inline',
        start: (src) => src.match(/\$|\\\(|\\\[/)?.index,
        tokenizer(src) {
            const m = INLINE.exec(src);
            const tex = m && (m[1] ?? m[2] ?? m[3] ?? m[4]);
            return m && tex ? {type: 'formula', raw: m[0], tex: tex.trim(), block: !!(m[1] ?? m[4])} : undefined;
        },
    },
];
