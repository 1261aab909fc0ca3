// Code in colours: the words of highlight.js, without its HTML.
import hljs from 'highlight.js/lib/core';
import bash from 'highlight.js/lib/languages/bash';
import c from 'highlight.js/lib/languages/c';
import cpp from 'highlight.js/lib/languages/cpp';
import csharp from 'highlight.js/lib/languages/csharp';
import css from 'highlight.js/lib/languages/css';
import diff from 'highlight.js/lib/languages/diff';
import go from 'highlight.js/lib/languages/go';
import ini from 'highlight.js/lib/languages/ini';
import java from 'highlight.js/lib/languages/java';
import javascript from 'highlight.js/lib/languages/javascript';
import json from 'highlight.js/lib/languages/json';
import kotlin from 'highlight.js/lib/languages/kotlin';
import lua from 'highlight.js/lib/languages/lua';
import makefile from 'highlight.js/lib/languages/makefile';
import python from 'highlight.js/lib/languages/python';
import ruby from 'highlight.js/lib/languages/ruby';
import rust from 'highlight.js/lib/languages/rust';
import sql from 'highlight.js/lib/languages/sql';
import swift from 'highlight.js/lib/languages/swift';
import typescript from 'highlight.js/lib/languages/typescript';
import xml from 'highlight.js/lib/languages/xml';
import yaml from 'highlight.js/lib/languages/yaml';

const known = {bash, c, cpp, csharp, css, diff, go, ini, java, javascript, json, kotlin, lua, makefile, python, ruby,
               rust, sql, swift, typescript, xml, yaml};
for (const [name, language] of Object.entries(known)) hljs.registerLanguage(name, language);

/** Longer code stays plain: colouring it would be felt. */
const MOST = 32 << 10;

export interface Span {
    /** Of highlight.js, such as "hljs-keyword"; empty: none. */
    kind: string;
    text: string;
}

const named: Record<string, string> = {amp: '&', lt: '<', gt: '>', quot: '"', '#x27': "'"};
const plain = (s: string) => s.replace(/&(amp|lt|gt|quot|#x27);/g, (_, name) => named[name]!);

export function highlight(code: string, language: string): Span[] {
    if (!hljs.getLanguage(language) || code.length > MOST) return [{kind: '', text: code}];
    const html = hljs.highlight(code, {language, ignoreIllegals: true}).value;
    // It consists of spans with a class and of text in which five characters are escaped.
    const open: string[] = [];
    const out: Span[] = [];
    for (const [, begin, end, text] of html.matchAll(/<span class="([^"]*)">|(<\/span>)|([^<]+)/g))
        if (begin !== undefined) open.push(begin);
        else if (end) open.pop();
        else out.push({kind: open[open.length - 1] ?? '', text: plain(text!)});
    return out;
}
