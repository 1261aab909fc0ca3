/* themes.c -- what word problems are told of, in English and Chinese. */
#include "tasks/word_problems.h"

static const char *const colours[PEOPLE] = {
    "red",  "blue", "green", "white", "black", "gold", "pink", "grey", "brown", "big",
    "tall", "old",  "new",   "flat",  "long",  "wide", "thin", "deep", "round", "small"};
static const char *const goods[PEOPLE] = {"pen",  "book", "cup",  "ball", "cake", "hat",  "bag",
                                          "lamp", "toy",  "drum", "kite", "map",  "ring", "fan",
                                          "bell", "rope", "mug",  "vase", "key",  "bowl"};

static const Theme themes_english[] = {
    {.name = people_english,
     .thing = {"apples", "books", "coins", "pens", "cards", "shells"},
     .say = {[GIVEN] = {"%X has %n %t.", "%X owns %n %t."},
             [PACKS] = {"%X has %n bags of %m %t each.", "%X has %n bags with %m %t in each."},
             [LEFT] = {"%X had %n %t and gave away %m.", "%X had %n %t and lost %m of them."},
             [MORE] = {"%X has %n more %t than %y.", "Compared with %y, %x has %n more %t."},
             [FEWER] = {"%X has %n fewer %t than %y.", "Compared with %y, %x has %n fewer %t."},
             [TIMES] = {"%X has %k as many %t as %y.", "%X has %k the number of %t that %y has."},
             [PART] = {"%X has %k as many %t as %y.", "%X has %k of the number of %t that %y has."},
             [SUM] = {"%X has as many %t as %y and %z together.",
                      "Together %y and %z have as many %t as %x."},
             [ASKED] = {"How many %t does %y have?", "How many %t does %y own?"},
             [TOGETHER] = {"How many %t do %y and %z have together?",
                           "How many %t do %y and %z own together?"},
             [DIFFERENCE] = {"How many more %t does %y have than %z?"}}},
    {.before = "the ",
     .behind = " box",
     .name = colours,
     .thing = {"balls", "beads", "nails", "cups", "keys", "toys"},
     .say = {[GIVEN] = {"%X holds %n %t.", "There are %n %t in %x."},
             [PACKS] = {"%X holds %n bags of %m %t each.", "%X holds %n bags with %m %t in each."},
             [LEFT] = {"%X held %n %t, and %m were taken out.",
                       "Of %n %t in %x %m were taken out."},
             [MORE] = {"%X holds %n more %t than %y.", "There are %n more %t in %x than in %y."},
             [FEWER] = {"%X holds %n fewer %t than %y.", "There are %n fewer %t in %x than in %y."},
             [TIMES] = {"%X holds %k as many %t as %y.", "There are %k as many %t in %x as in %y."},
             [PART] = {"%X holds %k as many %t as %y.", "There are %k as many %t in %x as in %y."},
             [SUM] = {"%X holds as many %t as %y and %z together.",
                      "Together %y and %z hold as many %t as %x."},
             [ASKED] = {"How many %t does %y hold?", "How many %t are in %y?"},
             [TOGETHER] = {"How many %t do %y and %z hold together?",
                           "How many %t are in %y and %z together?"},
             [DIFFERENCE] = {"How many more %t does %y hold than %z?",
                             "How many more %t are in %y than in %z?"}}},
    {.name = people_english,
     .thing = {"points", "goals"},
     .say = {[GIVEN] = {"%X scored %n %t."},
             [PACKS] = {"%X scored %m %t in each of %n games.",
                        "In each of %n games %x scored %m %t."},
             [LEFT] = {"%X wanted %n %t, but scored %m fewer."},
             [MORE] = {"%X scored %n more %t than %y.", "%X scored %n %t more than %y."},
             [FEWER] = {"%X scored %n fewer %t than %y.", "%X scored %n %t fewer than %y."},
             [TIMES] = {"%X scored %k as many %t as %y."},
             [PART] = {"%X scored %k as many %t as %y."},
             [SUM] = {"%X scored as many %t as %y and %z together.",
                      "Together %y and %z scored as many %t as %x."},
             [ASKED] = {"How many %t did %y score?"},
             [TOGETHER] = {"How many %t did %y and %z score together?"},
             [DIFFERENCE] = {"How many more %t did %y score than %z?"}}},
    {.before = "the ",
     .name = goods,
     .thing = {"coins", "dollars", "pounds"},
     .say = {[GIVEN] = {"%X costs %n %t.", "The price of %x is %n %t."},
             [PACKS] = {"%X is paid for in %n parts of %m %t each."},
             [LEFT] = {"%X cost %n %t and is now %m %t cheaper."},
             [MORE] = {"%X costs %n %t more than %y."},
             [FEWER] = {"%X costs %n %t less than %y.", "%X is %n %t cheaper than %y."},
             [TIMES] = {"%X costs %k as much as %y."},
             [PART] = {"%X costs %k as much as %y."},
             [SUM] = {"%X costs as much as %y and %z together.",
                      "Together %y and %z cost as much as %x."},
             [ASKED] = {"How many %t does %y cost?", "What is the price of %y in %t?"},
             [TOGETHER] = {"How many %t do %y and %z cost together?"},
             [DIFFERENCE] = {"How many %t more does %y cost than %z?"}}},
    {.name = people_english,
     .thing = {"berries", "plums", "roses", "pears"},
     .say = {[GIVEN] = {"%X picked %n %t."},
             [PACKS] = {"%X picked %n baskets of %m %t each.",
                        "%X filled %n baskets with %m %t each."},
             [LEFT] = {"%X wanted %n %t, but picked %m fewer."},
             [MORE] = {"%X picked %n more %t than %y.", "%X picked %n %t more than %y."},
             [FEWER] = {"%X picked %n fewer %t than %y.", "%X picked %n %t fewer than %y."},
             [TIMES] = {"%X picked %k as many %t as %y."},
             [PART] = {"%X picked %k as many %t as %y."},
             [SUM] = {"%X picked as many %t as %y and %z together.",
                      "Together %y and %z picked as many %t as %x."},
             [ASKED] = {"How many %t did %y pick?"},
             [TOGETHER] = {"How many %t did %y and %z pick together?"},
             [DIFFERENCE] = {"How many more %t did %y pick than %z?"}}},
};

static const char *const colours_chinese[PEOPLE] = {"红", "蓝", "绿", "白", "黑", "黄", "紫",
                                                    "灰", "金", "银", "大", "小", "新", "旧",
                                                    "方", "圆", "长", "铁", "木", "纸"};
static const char *const goods_chinese[PEOPLE] = {"笔", "书", "球", "伞", "灯", "碗", "锅",
                                                  "钟", "花", "糖", "茶", "鞋", "鼓", "琴",
                                                  "刀", "画", "米", "油", "鱼", "瓜"};

/* A thing has its measure word in front, one character. */
static const Theme themes_chinese[] = {
    {.before = "小",
     .name = people_chinese,
     .thing = {"个苹果", "本书", "枚硬币", "支笔", "张卡片", "块糖"},
     .say = {[GIVEN] = {"%x有%n%t。", "%x手里有%n%t。"},
             [PACKS] = {"%x有%n袋，每袋%m%t。", "%x有%n盒，每盒%m%t。"},
             [LEFT] = {"%x原来有%n%t，送出了%m%t。", "%x原来有%n%t，丢了%m%t。"},
             [MORE] = {"%x比%y多%n%t。", "和%y相比，%x多%n%t。"},
             [FEWER] = {"%x比%y少%n%t。", "和%y相比，%x少%n%t。"},
             [TIMES] = {"%x的%g是%y的%k。"},
             [PART] = {"%x的%g是%y的%k。"},
             [SUM] = {"%x的%g和%y、%z两人加起来一样多。"},
             [ASKED] = {"%y有多少%t？", "请问%y有多少%t？"},
             [TOGETHER] = {"%y和%z一共有多少%t？"},
             [DIFFERENCE] = {"%y比%z多多少%t？"}}},
    {.behind = "箱子",
     .name = colours_chinese,
     .thing = {"个球", "颗珠子", "枚钉子", "个杯子", "把钥匙", "件玩具"},
     .say = {[GIVEN] = {"%x里有%n%t。", "%x装着%n%t。"},
             [PACKS] = {"%x里有%n袋，每袋%m%t。", "%x里有%n盒，每盒%m%t。"},
             [LEFT] = {"%x里原来有%n%t，拿走了%m%t。"},
             [MORE] = {"%x里比%y里多%n%t。", "%x比%y多装%n%t。"},
             [FEWER] = {"%x里比%y里少%n%t。", "%x比%y少装%n%t。"},
             [TIMES] = {"%x里的%g是%y里的%k。"},
             [PART] = {"%x里的%g是%y里的%k。"},
             [SUM] = {"%x里的%g和%y、%z加起来一样多。"},
             [ASKED] = {"%y里有多少%t？", "%y装着多少%t？"},
             [TOGETHER] = {"%y和%z里一共有多少%t？", "%y和%z一共装着多少%t？"},
             [DIFFERENCE] = {"%y里比%z里多多少%t？", "%y比%z多装多少%t？"}}},
    {.before = "小",
     .name = people_chinese,
     .thing = {"分"},
     .say = {[GIVEN] = {"%x得了%n%t。"},
             [PACKS] = {"%x玩了%n局，每局得%m%t。", "%x答对了%n题，每题得%m%t。"},
             [LEFT] = {"%x想得%n%t，但是少得了%m%t。"},
             [MORE] = {"%x比%y多得%n%t。"},
             [FEWER] = {"%x比%y少得%n%t。"},
             [TIMES] = {"%x的得分是%y的%k。"},
             [PART] = {"%x的得分是%y的%k。"},
             [SUM] = {"%x的得分是%y和%z的总和。", "%x的得分等于%y和%z的得分之和。"},
             [ASKED] = {"%y得了多少%t？"},
             [TOGETHER] = {"%y和%z一共得了多少%t？"},
             [DIFFERENCE] = {"%y比%z多得多少%t？"}}},
    {.name = goods_chinese,
     .thing = {"元", "块钱"},
     .say = {[GIVEN] = {"%x的价格是%n%t。", "%x卖%n%t。"},
             [PACKS] = {"%x分%n次付清，每次付%m%t。"},
             [LEFT] = {"%x原价%n%t，现在便宜了%m%t。", "%x原价%n%t，降价%m%t。"},
             [MORE] = {"%x比%y贵%n%t。"},
             [FEWER] = {"%x比%y便宜%n%t。"},
             [TIMES] = {"%x的价格是%y的%k。"},
             [PART] = {"%x的价格是%y的%k。"},
             [SUM] = {"%x的价格是%y和%z的总和。", "%x的价格等于%y和%z的价格之和。"},
             [ASKED] = {"%y的价格是多少%t？", "%y卖多少%t？"},
             [TOGETHER] = {"%y和%z一共多少%t？"},
             [DIFFERENCE] = {"%y比%z贵多少%t？"}}},
    {.before = "小",
     .name = people_chinese,
     .thing = {"个桃子", "朵花", "个梨", "颗草莓"},
     .say = {[GIVEN] = {"%x摘了%n%t。"},
             [PACKS] = {"%x摘了%n篮，每篮%m%t。"},
             [LEFT] = {"%x想摘%n%t，但是少摘了%m%t。"},
             [MORE] = {"%x比%y多摘%n%t。"},
             [FEWER] = {"%x比%y少摘%n%t。"},
             [TIMES] = {"%x摘的%g是%y的%k。"},
             [PART] = {"%x摘的%g是%y的%k。"},
             [SUM] = {"%x摘的%g和%y、%z加起来一样多。"},
             [ASKED] = {"%y摘了多少%t？"},
             [TOGETHER] = {"%y和%z一共摘了多少%t？"},
             [DIFFERENCE] = {"%y比%z多摘多少%t？"}}},
};

const Language language_english = {.theme = themes_english,
                                   .themes = COUNT(themes_english),
                                   .joint = " ",
                                   .times = {"twice", "%lld times"},
                                   .part = {"half", "a third", "a quarter"},
                                   .given = "Given:",
                                   .blank = " "};
const Language language_chinese = {.theme = themes_chinese,
                                   .themes = COUNT(themes_chinese),
                                   .joint = "",
                                   .times = {"2倍", "%lld倍"},
                                   .part = {"一半", "三分之一", "四分之一"},
                                   .given = "已知：",
                                   .blank = ""};

/* ---- sentences ------------------------------------------------------------------------------- */

static void name_say(Buf *b, const Theme *t, const Quantity *q, bool begins) {
    const Str before = t->before ? str_of(t->before) : (Str){0};
    if (begins && str_eq(before, STR("the ")))
        buf_add(b, STR("The "));
    else
        buf_add(b, before);
    buf_add(b, str_of(t->name[q->name]));
    if (t->behind) buf_add(b, str_of(t->behind));
}

static void factor_say(Buf *b, const Language *l, const Quantity *q) {
    if (q->kind == PART)
        buf_add(b, str_of(l->part[q->n - 2]));
    else
        buf_fmt(b, l->times[q->n > 2], (long long)q->n);
}

void quantity_say(Buf *b, const Language *l, const Theme *t, const char *thing, const Quantity *all,
                  const Quantity *q, const char *wording) {
    for (const char *c = wording; *c; c++) {
        if (*c != '%') {
            buf_add(b, (Str){c, 1});
            continue;
        }
        switch (*++c) {
        case 'X':
        case 'x': name_say(b, t, q, *c == 'X'); break;
        case 'y':
        case 'z': name_say(b, t, &all[q->of[*c == 'z']], false); break;
        case 'n':
        case 'm': buf_fmt(b, "%lld", (long long)(*c == 'n' ? q->n : q->m)); break;
        case 'k': factor_say(b, l, q); break;
        case 't': buf_add(b, str_of(thing)); break;
        default: CHECK(*c == 'g'); buf_add(b, str_of(thing + utf8_length(str_of(thing))));
        }
    }
}
