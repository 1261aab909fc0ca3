/* os_terminal.c -- standard input as it comes, and the state of its terminal. */
#define _GNU_SOURCE
#include "base/os_terminal.h"
#include "base/base.h"
#include <errno.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

bool os_input_wait(double seconds) {
    struct pollfd p = {.fd = 0, .events = POLLIN};
    return poll(&p, 1, (int)(seconds * 1e3)) != 0 && p.revents != 0;
}

int64_t os_input_read(void *to, int64_t n) { return read(0, to, (size_t)n); }

/* The first state is kept: whatever was set since, that is what the person's shell expects. */
static struct termios first;
static volatile bool known;

void terminal_restore(void) {
    if (known) tcsetattr(0, TCSANOW, &first);
}

void os_typing_keep(bool on) {
    if (!known && tcgetattr(0, &first) < 0) return; /* no terminal */
    known = true;
    struct termios t = first;
    if (on) {
        t.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        t.c_lflag |= NOFLSH;
        t.c_cc[VMIN] = 1, t.c_cc[VTIME] = 0;
    }
    tcsetattr(0, TCSADRAIN, &t);
}
