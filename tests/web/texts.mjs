// Texts that the tests show: one with everything in it, and what attackers write.

export const rich = String.raw`# A title

A [link](https://example.org/a?b=c) and **bold**, *italic*, ~~gone~~, ${'`code`'}, 5 &lt; 6, it costs $5 and $10, 4*21 + 3*7, 龙*4 兰*2.

| name | best | worst |
|:-----|:----:|------:|
| quicksort | $O(n \log n)$ | $O(n^2)$ |
| mergesort | \(O(n \log n)\) | \(O(n \log n)\) |

- [x] done
- [ ] to do

1. one
2. two
   - within

> Said by *somebody*.

$$\int_0^\infty e^{-x^2}\,dx = \frac{\sqrt{\pi}}{2}$$

\[ \begin{pmatrix} a & b \\ c & d \end{pmatrix} \]

${'```'}c
int main(void) {
    return 0; /* ${'\u202e'} */
}
${'```'}

![a picture](https://example.org/x.png?secret=1)
`;

export const payloads = [
    '<script>hacked=1</script>',
    '<img src=x onerror=hacked=1>',
    '<svg onload=hacked=1><circle/></svg>',
    '[a](javascript:hacked=1)',
    '[a](JaVaScRiPt&colon;hacked=1) [b](&#106;avascript:hacked=1)',
    '[a](data:text/html;base64,PHNjcmlwdD5oYWNrZWQ9MTwvc2NyaXB0Pg==) [b](vbscript:hacked)',
    '<a href="javascript:hacked=1">a</a>',
    '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=hacked=1&gt;">',
    '<form><math><mtext></form><form><mglyph><style></math><img src onerror=hacked=1>',
    '$\\href{javascript:hacked=1}{x}$ $\\htmlData{onclick=hacked=1}{x}$',
    '$$\\class{"onmouseover="hacked=1}{x} \\includegraphics{https://example.org/x.png}$$',
    '$\\def\\a{\\a\\a}\\a$ $\\text{<img src=x onerror=hacked=1>}$',
    '<iframe srcdoc="<script>parent.hacked=1</script>"></iframe>',
    '<form action="https://example.org/"><button>a</button></form>',
    '<details open ontoggle=hacked=1>a</details>',
    '![a](https://example.org/x.png?secret) ![b](javascript:hacked=1)',
    '<base href="https://example.org/"><link rel=stylesheet href=//example.org/a.css><meta http-equiv=refresh content="0;url=https://example.org/">',
    '```html"onmouseover="hacked=1\n<script>hacked=1</script>\n```',
    '<style>@import "https://example.org/a.css"; body { background: url(https://example.org/b) }</style>',
    '"><script>hacked=1</script><input autofocus onfocus=hacked=1 value="',
    '[a]: javascript:hacked=1\n\n[a] <javascript:hacked=1> <https://example.org/%22onclick=hacked=1>',
    '| <img src=x onerror=hacked=1> | `<script>hacked=1</script>` |\n|-|-|\n| <svg/onload=hacked=1> | [x](javascript:hacked=1) |',
];
