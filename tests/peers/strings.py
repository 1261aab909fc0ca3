"""strings.py -- random text that tokenizers and templates are likely to differ in."""

import random
import sys
import unicodedata

BLANKS = " \t\n\r\v\f\x1c\x1f\x85\xa0\u1680\u180e\u2003\u2009\u200b\u2028\u2029\u202f\u3000\ufeff"
WORDS = "the quick Hello HELLO hELLo don't it's we'LL I'M 'Tis ſ's İstanbul naïve résumé Straße ﬁre ２０２４ x² Ⅷ ½ 1234567 3.14 0x7f a_b-c".split()
PIECES = ["  ", "   ", " \n", "\n\n", "\r\n", " \t ", "'s", "'RE", "...", "!?", "//", "```", "日本語", "你好，", "한국어", "\u1112\u1161\u11ab", "ไทย", "हिन्दी", "שלום",
          "👩\u200d👩\u200d👧", "🇩🇪", "👍🏽", "e\u0301", "o\u0323\u0302", "\u0344", "\u212b", "ﷺ", "㎏", "▁", "▁▁", "Ġ", "\\", '"', "{}", "<|", "|>", "<0x41>"]


def assigned():
    """All characters of this Python's Unicode, by kind. (Of newer ones Lisao's and the others' tables may know different things.)"""
    kinds = {}
    for c in range(1, sys.maxunicode + 1):
        kind = unicodedata.category(chr(c))
        if kind not in ("Cn", "Cs", "Co"):
            kinds.setdefault(kind, []).append(chr(c))
    return list(kinds.values())


class Strings:
    def __init__(self, seed, spellings=()):
        self.random = random.Random(seed)
        self.spellings = list(spellings)
        self.kinds = assigned()

    def piece(self):
        r = self.random
        how = r.random()
        if how < 0.2:
            return r.choice(BLANKS) * r.choice((1, 1, 2, 5))
        if how < 0.4:
            return r.choice(WORDS)
        if how < 0.5:
            return r.choice(PIECES)
        if how < 0.6 and self.spellings:
            return r.choice(self.spellings)
        if how < 0.8:
            return chr(r.randrange(32, 127))
        return r.choice(r.choice(self.kinds))

    def one(self):
        return "".join(self.piece() for _ in range(self.random.choice((1, 2, 3, 5, 8, 16))))

    def many(self, n):
        return [self.one() for _ in range(n)]
