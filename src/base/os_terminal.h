/* os_terminal.h -- private to base/: what a signal that ends the program must undo. */
#pragma once

void terminal_restore(void); /* safe in a signal handler */
