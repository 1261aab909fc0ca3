/* names.c -- the people of problems, and some chosen out of many. */
#include "tasks/parts.h"

const char *const people_english[PEOPLE] = {"Ann", "Bob", "Cat", "Dan", "Eve", "Fay", "Gus",
                                            "Hal", "Ida", "Jim", "Kim", "Leo", "Mia", "Ned",
                                            "Pam", "Ray", "Sue", "Tom", "Una", "Vic"};
/* Behind 小, so that 明 is 小明. */
const char *const people_chinese[PEOPLE] = {"明", "红", "刚", "丽", "华", "军", "芳",
                                            "强", "美", "龙", "云", "雪", "东", "梅",
                                            "平", "兰", "虎", "英", "宇", "波"};

void draw_some(Draws *d, int *some, int n, int of) {
    int all[PEOPLE];
    CHECK(n <= of && of <= COUNT(all));
    for (int i = 0; i < of; i++) all[i] = i;
    for (int i = 0; i < n; i++) {
        const int64_t at = i + draw_below(d, of - i);
        some[i] = all[at];
        all[at] = all[i];
    }
}
