/* file.c -- problems that are read from a JSONL file instead of made: a JSON object a line.
 *
 * GSM8K: "question", and "answer" with the solution, "####" and a number behind it; of the solution
 * the notes <<48/2=24>> are left out. SVAMP: "Body" and "Question", and "Answer", a number. Also
 * "question" and "answer" with a number alone.
 *
 * number := '-'? ('0' | [1-9] [0-9]*) ('.' [0-9]+)?
 * An answer is such a number and nothing else, and right where it equals the file's, as 18.0 equals
 * 18. In the file, and there only, commas may stand before groups of three digits. */
#include "tasks/parts.h"

#include <jansson.h>
#include <stdio.h>

enum { NUMBER_MOST = 64, FILE_MOST = 1 << 28 };

/* ---- numbers --------------------------------------------------------------------------------- */

typedef struct Number {
    bool minus;
    Str whole, fraction; /* digits, without zeros in front or behind */
} Number;

static bool digit_at(Str s, int64_t i) { return i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; }

static Str digits_taken(Str *s) {
    const Str from = *s;
    while (digit_at(*s, 0)) s->p++, s->n--;
    return (Str){from.p, from.n - s->n};
}

static bool number_read(Number *x, Str s) {
    *x = (Number){.minus = s.n && s.p[0] == '-'};
    if (s.n > NUMBER_MOST) return false;
    if (x->minus) s.p++, s.n--;
    x->whole = digits_taken(&s);
    if (x->whole.n == 0 || (x->whole.n > 1 && x->whole.p[0] == '0')) return false;
    if (s.n && s.p[0] == '.') {
        s.p++, s.n--;
        x->fraction = digits_taken(&s);
        if (x->fraction.n == 0) return false;
    }
    while (x->fraction.n && x->fraction.p[x->fraction.n - 1] == '0') x->fraction.n--;
    if (str_eq(x->whole, STR("0")) && x->fraction.n == 0) x->minus = false;
    return s.n == 0;
}

static bool check(const Problem *p, Str answer) {
    Number expected, x;
    CHECK(number_read(&expected, p->answer));
    return number_read(&x, answer) && x.minus == expected.minus && str_eq(x.whole, expected.whole)
           && str_eq(x.fraction, expected.fraction);
}

static Str without_commas(Arena *a, Str s) {
    Buf b = {.a = a};
    for (int64_t i = 0; i < s.n; i++) {
        const bool group = i && digit_at(s, i - 1) && digit_at(s, i + 1) && digit_at(s, i + 2)
                           && digit_at(s, i + 3) && !digit_at(s, i + 4);
        if (s.p[i] != ',' || !group) buf_add(&b, (Str){s.p + i, 1});
    }
    return buf_str(&b);
}

/* ---- lines ----------------------------------------------------------------------------------- */

/* A string, or a number as it is written shortest. */
static bool member(Str *s, Arena *a, const json_t *o, const char *name) {
    const json_t *v = json_object_get(o, name);
    if (json_is_string(v))
        *s = str_copy(a, (Str){json_string_value(v), (int64_t)json_string_length(v)});
    else if (json_is_integer(v))
        *s = str_fmt(a, "%lld", (long long)json_integer_value(v));
    else if (json_is_real(v))
        *s = str_fmt(a, "%.15g", json_real_value(v));
    else
        return false;
    *s = str_trim(*s, " \t\r\n");
    return s->n > 0;
}

/* The solution on one line, without its notes. */
static Str one_line(Arena *a, Str solution) {
    Buf b = {.a = a};
    for (int64_t i = 0; i < solution.n; i++) {
        const Str rest = {solution.p + i, solution.n - i};
        if (str_starts(rest, STR("<<"))) {
            int64_t end = 2;
            while (end < rest.n && !str_starts((Str){rest.p + end, rest.n - end}, STR(">>"))
                   && rest.p[end] != '\n')
                end++;
            if (end < rest.n && rest.p[end] == '>') {
                i += end + 1;
                continue;
            }
        }
        buf_add(&b, char_in(rest.p[0], "\r\n") ? STR(" ") : (Str){rest.p, 1});
    }
    return str_trim(buf_str(&b), " ");
}

/* What stands before the last "####", or nothing; and what stands behind it. */
static void answer_split(Arena *a, Str answer, Str *thought, Str *number) {
    *thought = (Str){0}, *number = answer;
    for (int64_t i = answer.n - 4; i >= 0; i--) {
        if (!str_starts((Str){answer.p + i, answer.n - i}, STR("####"))) continue;
        *thought = one_line(a, (Str){answer.p, i});
        *number = str_trim((Str){answer.p + i + 4, answer.n - i - 4}, " \t\r\n");
        return;
    }
}

/* NULL, or what is wrong with the line. */
static const char *problem_read(Problem *p, Arena *a, Str line) {
    json_error_t e;
    Str body, question, answer, number;
    Number x;
    if (str_trim(line, " \t\r\n").n == 0) return "the line is empty";
    json_t *o = json_loadb(line.p, (size_t)line.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    if (!o) return str_fmt(a, "%s", e.text).p;
    const bool asks = member(&question, a, o, "question"),
               svamp = !asks && member(&body, a, o, "Body") && member(&question, a, o, "Question"),
               answers = member(&answer, a, o, "answer") || member(&answer, a, o, "Answer");
    json_decref(o);
    if (!asks && !svamp) return "there is no \"question\", and no \"Body\" with a \"Question\"";
    if (!answers) return "there is no \"answer\"";
    if (svamp) question = str_fmt(a, "%.*s %.*s", STRF(body), STRF(question));
    answer_split(a, answer, &p->thought, &number);
    p->prompt = question;
    p->answer = without_commas(a, number);
    p->canonical = str_fmt(a, "file %.*s", STRF(question));
    p->stratum = "";
    return number_read(&x, p->answer)
               ? NULL
               : str_fmt(a, "the answer \"%.*s\" is no number", (int)MIN(number.n, 40), number.p).p;
}

bool task_from_lines(const Task **t, Arena *a, Str text, const char *name, Err *err) {
    int64_t lines = text.n && text.p[text.n - 1] != '\n', n = 0;
    for (int64_t i = 0; i < text.n; i++) lines += text.p[i] == '\n';
    if (!lines) return err_set(err, ERR_FORMAT, "%s has no problems: it is empty", name);
    Problem *problem = PUSH(a, Problem, lines);
    for (Str rest = text; n < lines; n++) {
        const char *nl = memchr(rest.p, '\n', (size_t)rest.n);
        const Str line = {rest.p, nl ? nl - rest.p : rest.n};
        const char *wrong = problem_read(&problem[n], a, line);
        if (wrong)
            return err_set(err, ERR_FORMAT, "%s, line %lld: %s", name, (long long)n + 1, wrong);
        rest = (Str){rest.p + line.n + 1, rest.n - line.n - 1};
    }
    Task *task = PUSH(a, Task, 1);
    *task = (Task){.name = str_fmt(a, "file:%s", name).p,
                   .help = "problems of a file",
                   .easiest = 1,
                   .hardest = 1,
                   .difficulty = "level",
                   .read = problem,
                   .reads = n,
                   .check = check};
    *t = task;
    return true;
}

bool task_from_file(const Task **t, Arena *a, const char *path, Err *err) {
    Str text;
    if (!os_read(a, &text, path, FILE_MOST, err)) return false;
    static const Str packed[] = {STR("\x1f\x8b"),
                                 STR("\xfd"
                                     "7zXZ"),
                                 STR("\x28\xb5\x2f\xfd")};
    for (int64_t i = 0; i < COUNT(packed); i++)
        if (str_starts(text, packed[i]))
            return err_set(err, ERR_UNSUPPORTED,
                           "%s is packed, and problems are read as plain JSONL: unpack it first "
                           "(gzip -dk, xz -dk or zstd -d)",
                           path);
    return task_from_lines(t, a, text, path, err);
}
