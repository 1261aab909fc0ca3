/* about.c -- what people ask of a small model that is no problem of the other tasks: who it is and
 * what it can do, and what it cannot. It says so instead of inventing an answer.
 *
 * A question is a frame and what stands in it: "Who invented the telephone?". A thought names the
 * kind of question, and the answer is that kind's. The canonical form is frame and filling, so a
 * held-out question is a combination that no training text has. */
#include "tasks/parts.h"

typedef enum Kind { BEYOND, WHO, ABLE, HELLO, THANKS, KINDS } Kind;

typedef struct Frame {
    Kind kind;
    char filling;     /* t: thing, p: place, w: work, n: number, g: greeting,
                       * h: one with an end, or nothing */
    const char *text; /* @: where it stands */
} Frame;

static const char *const thought_of[2][KINDS] = {
    {"not a task of mine", "who I am", "what I can do", "a greeting", "thanks"},
    {"不是我会做的题", "我是谁", "我会做什么", "打招呼", "道谢"}};
static const char *const answer_of[2][KINDS] = {
    {"I cannot do that. I am lisao-nano, a small model: I do arithmetic, Countdown, word problems "
     "and puzzles of liars.",
     "I am lisao-nano, a small model that was trained by Lisao on a CPU. I do arithmetic, "
     "Countdown, word problems and puzzles of liars, and I think aloud.",
     "I add, subtract, multiply and divide; I solve Countdown, word problems and puzzles of liars, "
     "in English and Chinese. Ask me 478+356= for example.",
     "Hello! I am lisao-nano. Give me a sum, a Countdown, a word problem or a puzzle of liars.",
     "You are welcome! Give me another problem."},
    {"这个我不会。我是 lisao-nano，一个小模型：我会做算术、凑数游戏、应用题和真假话推理题。",
     "我是 lisao-nano，由离骚在 CPU 上训练的小模型。我会做算术、凑数游戏、应用题和真假话推理题，"
     "并把思考过程说出来。",
     "我会加减乘除，会做凑数游戏、应用题和真假话推理题，中英文都行。比如可以问我 478+356=",
     "你好！我是 lisao-nano。给我一道算术题、凑数游戏、应用题或真假话推理题吧。",
     "不客气！再给我一道题吧。"}};

static const Frame english[] = {
    {WHO, 'h', "@Who are you?"},
    {WHO, 'h', "@What is your name?"},
    {WHO, 'h', "@What are you?"},
    {WHO, 'h', "@Who made you?"},
    {WHO, 'h', "@Are you ChatGPT?"},
    {WHO, 'h', "@Are you DeepSeek?"},
    {WHO, 'h', "@Are you a human?"},
    {WHO, 'h', "@Tell me about yourself."},
    {WHO, 'h', "@Introduce yourself."},
    {WHO, 'h', "@Which model are you?"},
    {WHO, 'h', "@How were you trained?"},
    {ABLE, 'h', "@What can you do?"},
    {ABLE, 'h', "@What are you good at?"},
    {ABLE, 'h', "@How can you help me?"},
    {ABLE, 'h', "@What can I ask you?"},
    {ABLE, 'h', "@Which tasks do you know?"},
    {ABLE, 'h', "@Help me please."},
    {ABLE, 'h', "@What should I try?"},
    {HELLO, 'g', "@!"},
    {HELLO, 'h', "@How are you?"},
    {HELLO, 'h', "@Nice to meet you."},
    {HELLO, 'h', "@Is anybody there?"},
    {THANKS, 'h', "@Thank you."},
    {THANKS, 'h', "@Thanks a lot!"},
    {THANKS, 'h', "@Well done."},
    {THANKS, 'h', "@That is right."},
    {BEYOND, 't', "What is @?"},
    {BEYOND, 't', "Who invented @?"},
    {BEYOND, 't', "Tell me about @."},
    {BEYOND, 't', "Explain @ to a child."},
    {BEYOND, 't', "How does @ work?"},
    {BEYOND, 't', "Why do people like @?"},
    {BEYOND, 't', "Write a poem about @."},
    {BEYOND, 't', "Write a short story about @."},
    {BEYOND, 't', "Tell me a joke about @."},
    {BEYOND, 't', "Do you like @?"},
    {BEYOND, 't', "What do you think of @?"},
    {BEYOND, 't', "How much does @ cost?"},
    {BEYOND, 't', "Where can I find @?"},
    {BEYOND, 't', "Draw @."},
    {BEYOND, 't', "Translate @ into French."},
    {BEYOND, 't', "Give me three facts about @."},
    {BEYOND, 't', "What colour is @?"},
    {BEYOND, 't', "Is @ good for me?"},
    {BEYOND, 'p', "What is the capital of @?"},
    {BEYOND, 'p', "What is the weather in @ today?"},
    {BEYOND, 'p', "How many people live in @?"},
    {BEYOND, 'p', "Who is the president of @?"},
    {BEYOND, 'p', "How do I get to @?"},
    {BEYOND, 'p', "When did the war in @ begin?"},
    {BEYOND, 'p', "What language do they speak in @?"},
    {BEYOND, 'p', "Plan a trip to @ for me."},
    {BEYOND, 'p', "What time is it in @?"},
    {BEYOND, 'p', "Recommend a restaurant in @."},
    {BEYOND, 'p', "What happened in @ yesterday?"},
    {BEYOND, 'p', "Who won the football match in @?"},
    {BEYOND, 'w', "Can you @?"},
    {BEYOND, 'w', "Please @."},
    {BEYOND, 'w', "Help me to @."},
    {BEYOND, 'w', "How do I @?"},
    {BEYOND, 'w', "I want to @. What should I do?"},
    {BEYOND, 'w', "Why is it hard to @?"},
    {BEYOND, 'n', "What is the square root of @?"},
    {BEYOND, 'n', "Is @ a prime number?"},
    {BEYOND, 'n', "What happened in the year @?"},
    {BEYOND, 'n', "Write @ in binary."},
    {BEYOND, 'n', "Solve x*x - @ = 0 for x."},
    {BEYOND, 'n', "Convert @ miles to kilometres."},
    {BEYOND, 'n', "What are the factors of @?"},
};
static const Frame chinese[] = {
    {WHO, 'h', "@你是谁？"},
    {WHO, 'h', "@你叫什么名字？"},
    {WHO, 'h', "@你是什么模型？"},
    {WHO, 'h', "@谁训练了你？"},
    {WHO, 'h', "@你是 ChatGPT 吗？"},
    {WHO, 'h', "@你是 DeepSeek 吗？"},
    {WHO, 'h', "@你是人吗？"},
    {WHO, 'h', "@介绍一下你自己。"},
    {ABLE, 'h', "@你会做什么？"},
    {ABLE, 'h', "@你能帮我什么？"},
    {ABLE, 'h', "@我可以问你什么？"},
    {ABLE, 'h', "@你擅长什么？"},
    {ABLE, 'h', "@你会哪些题？"},
    {HELLO, 'g', "@！"},
    {HELLO, 'h', "@你好吗？"},
    {HELLO, 'h', "@很高兴认识你。"},
    {THANKS, 'h', "@谢谢你。"},
    {THANKS, 'h', "@做得好。"},
    {THANKS, 'h', "@答对了。"},
    {BEYOND, 't', "什么是@？"},
    {BEYOND, 't', "@是谁发明的？"},
    {BEYOND, 't', "给我讲讲@。"},
    {BEYOND, 't', "向孩子解释一下@。"},
    {BEYOND, 't', "写一首关于@的诗。"},
    {BEYOND, 't', "写一个关于@的故事。"},
    {BEYOND, 't', "讲一个关于@的笑话。"},
    {BEYOND, 't', "你喜欢@吗？"},
    {BEYOND, 't', "你觉得@怎么样？"},
    {BEYOND, 't', "@多少钱？"},
    {BEYOND, 't', "哪里可以买到@？"},
    {BEYOND, 't', "画一张@。"},
    {BEYOND, 't', "把@翻译成英语。"},
    {BEYOND, 't', "@是什么颜色的？"},
    {BEYOND, 'p', "@的首都是哪里？"},
    {BEYOND, 'p', "@今天天气怎么样？"},
    {BEYOND, 'p', "@有多少人口？"},
    {BEYOND, 'p', "怎么去@？"},
    {BEYOND, 'p', "@的总统是谁？"},
    {BEYOND, 'p', "帮我安排去@的旅行。"},
    {BEYOND, 'p', "@现在几点？"},
    {BEYOND, 'p', "@有什么好吃的？"},
    {BEYOND, 'p', "昨天@发生了什么？"},
    {BEYOND, 'w', "你能@吗？"},
    {BEYOND, 'w', "请帮我@。"},
    {BEYOND, 'w', "怎么@？"},
    {BEYOND, 'w', "我想@，该怎么办？"},
    {BEYOND, 'n', "@的平方根是多少？"},
    {BEYOND, 'n', "@是质数吗？"},
    {BEYOND, 'n', "@年发生了什么？"},
    {BEYOND, 'n', "把@写成二进制。"},
    {BEYOND, 'n', "@英里是多少公里？"},
};

static const char *const things[][2] = {
    {"the moon", "月亮"},
    {"the sun", "太阳"},
    {"the sea", "大海"},
    {"rain", "雨"},
    {"snow", "雪"},
    {"a tree", "树"},
    {"a flower", "花"},
    {"a cat", "猫"},
    {"a dog", "狗"},
    {"a horse", "马"},
    {"a bird", "鸟"},
    {"an elephant", "大象"},
    {"a dragon", "龙"},
    {"rice", "米饭"},
    {"tea", "茶"},
    {"coffee", "咖啡"},
    {"bread", "面包"},
    {"milk", "牛奶"},
    {"chocolate", "巧克力"},
    {"music", "音乐"},
    {"football", "足球"},
    {"chess", "象棋"},
    {"a film", "电影"},
    {"a book", "书"},
    {"a house", "房子"},
    {"a bridge", "桥"},
    {"a car", "汽车"},
    {"a train", "火车"},
    {"an aeroplane", "飞机"},
    {"a ship", "船"},
    {"a bicycle", "自行车"},
    {"a telephone", "电话"},
    {"a computer", "电脑"},
    {"the internet", "互联网"},
    {"artificial intelligence", "人工智能"},
    {"a neural network", "神经网络"},
    {"quantum physics", "量子物理"},
    {"gravity", "引力"},
    {"electricity", "电"},
    {"a black hole", "黑洞"},
    {"an atom", "原子"},
    {"a virus", "病毒"},
    {"the heart", "心脏"},
    {"the brain", "大脑"},
    {"love", "爱情"},
    {"friendship", "友谊"},
    {"happiness", "幸福"},
    {"freedom", "自由"},
    {"war", "战争"},
    {"money", "钱"},
    {"gold", "黄金"},
    {"a bank", "银行"},
    {"a doctor", "医生"},
    {"a teacher", "老师"},
    {"a king", "国王"},
    {"a school", "学校"},
    {"history", "历史"},
    {"philosophy", "哲学"},
    {"a language", "语言"},
    {"spring", "春天"},
    {"winter", "冬天"},
    {"a mountain", "山"},
    {"a river", "河"},
    {"a dream", "梦"},
};
static const char *const places[][2] = {
    {"China", "中国"},    {"France", "法国"},        {"Germany", "德国"},  {"Japan", "日本"},
    {"India", "印度"},    {"Brazil", "巴西"},        {"Egypt", "埃及"},    {"Italy", "意大利"},
    {"Spain", "西班牙"},  {"Russia", "俄罗斯"},      {"Canada", "加拿大"}, {"Mexico", "墨西哥"},
    {"Kenya", "肯尼亚"},  {"Australia", "澳大利亚"}, {"Turkey", "土耳其"}, {"Beijing", "北京"},
    {"Shanghai", "上海"}, {"Hangzhou", "杭州"},      {"London", "伦敦"},   {"Paris", "巴黎"},
    {"Berlin", "柏林"},   {"New York", "纽约"},      {"Tokyo", "东京"},    {"Rome", "罗马"},
    {"Cairo", "开罗"},    {"Moscow", "莫斯科"},      {"Sydney", "悉尼"},   {"my town", "我的家乡"},
    {"Europe", "欧洲"},   {"Africa", "非洲"},
};
static const char *const works[][2] = {
    {"write an email to my boss", "给老板写一封邮件"},
    {"write a program in Python", "写一个 Python 程序"},
    {"sort a list in Java", "用 Java 排序"},
    {"cook a soup", "煮汤"},
    {"bake a cake", "烤蛋糕"},
    {"learn to swim", "学游泳"},
    {"learn English", "学英语"},
    {"play the piano", "弹钢琴"},
    {"repair my bicycle", "修自行车"},
    {"buy a house", "买房子"},
    {"find a job", "找工作"},
    {"lose weight", "减肥"},
    {"sleep better", "睡得好"},
    {"summarise this article", "总结这篇文章"},
    {"search the web", "上网搜索"},
    {"sing a song", "唱一首歌"},
    {"make friends", "交朋友"},
    {"plant a tree", "种一棵树"},
    {"set an alarm", "设一个闹钟"},
    {"read the news to me", "给我读新闻"},
    {"translate a letter", "翻译一封信"},
    {"prove a theorem", "证明一个定理"},
    {"draw a picture", "画一幅画"},
    {"choose a present", "挑一件礼物"},
};
static const char *const greetings[][2] = {
    {"Hello", "你好"},          {"Hi", "您好"},        {"Hey", "嗨"},    {"Good morning", "早上好"},
    {"Good evening", "晚上好"}, {"Excuse me", "请问"}, {"Well", "那么"}, {"Lisao", "离骚"},
    {"Dear model", "小模型"},   {"OK", "好的"},        {"So", "嗯"},     {"My friend", "朋友"},
};

static const struct {
    char kind;
    const char *const (*list)[2];
    int64_t n;
} fillings[] = {{'t', things, COUNT(things)},
                {'p', places, COUNT(places)},
                {'w', works, COUNT(works)},
                {'g', greetings, COUNT(greetings)},
                {'h', greetings, COUNT(greetings)}};

static Str filling(Arena *a, Draws *d, char kind, int language) {
    int64_t i = 0;
    if (kind == 'n')
        return str_fmt(a, "%lld", (long long)draw_digits(d, 1 + (int)draw_below(d, 4)));
    if (kind == 'h' && draw_below(d, 2)) return STR("");
    while (fillings[i].kind != kind) i++;
    const char *const text = fillings[i].list[draw_below(d, fillings[i].n)][language];
    return kind == 'h' ? str_fmt(a, language ? "%s！" : "%s! ", text) : str_of(text);
}

/* Behind the frames about itself, which come first, are those of what is beyond it. */
static int64_t first_beyond(const Frame *f) {
    int64_t i = 0;
    while (f[i].kind != BEYOND) i++;
    return i;
}

static void draw(Problem *p, Arena *a, Draws *d, int difficulty) {
    const int language = d->index % 2;
    const Frame *frames = language ? chinese : english;
    const int64_t n = language ? COUNT(chinese) : COUNT(english), border = first_beyond(frames);
    const Frame *f =
        frames + (difficulty == 1 ? draw_below(d, border) : border + draw_below(d, n - border));
    const Str in = filling(a, d, f->filling, language);
    Str behind = str_of(f->text);
    const Str before = str_cut(&behind, '@');
    const Str prompt = str_fmt(a, "%.*s%.*s%.*s", STRF(before), STRF(in), STRF(behind));
    *p = (Problem){.prompt = prompt,
                   .thought = str_of(thought_of[language][f->kind]),
                   .answer = str_of(answer_of[language][f->kind]),
                   .canonical = str_fmt(a, "about %.*s", STRF(prompt)),
                   .stratum = task_about.stratum[language]};
}

const Task task_about = {.name = "about",
                         .help = "who the model is, and what it cannot do",
                         .easiest = 1,
                         .hardest = 2,
                         .difficulty = "kinds: 1 about itself, 2 beyond it",
                         .stratum = {"english", "chinese"},
                         .draw = draw,
                         .check = check_same};
