/* service.h -- part of base.h: what a program that runs for days shares with its system. */
#pragma once

/* From now on SIGHUP does not end the process; os_hung_up says whether one came since it was last
 * asked. */
void os_catch_hangup(void);
bool os_hung_up(void);

/* The socket that systemd listens at for this process (sd_listen_fds(3)); 0: there is none. More
 * than one is ERR_USAGE. The variables that say so are gone afterwards. */
bool service_socket(int *fd, Err *err) CHECKED;
/* Tells systemd, by the socket that NOTIFY_SOCKET names, "READY=1" and the like (sd_notify(3));
 * without that variable, nothing. Connects when it is first called. */
void service_notify(const char *state);

enum { OS_CLOCK = 32 };
void os_clock(char out[OS_CLOCK]); /* the time, "2026-11-30T10:48:05.123Z" */

/* What this process may do is narrowed, for good. Both say why not where the kernel cannot do it;
 * under a sanitizer, which needs more than a program does, they do nothing.
 * Of this thread and those that it starts: nothing is executed, and files are written, made and
 * removed beneath `folder` alone, sockets made and files removed beneath `sockets`, which must be
 * there; NULL: nowhere (Landlock). Files that are open stay so, and all may be read. */
bool sandbox_files(const char *folder, const char *sockets, Err *err) CHECKED;
/* Of all threads: only the system calls of a program that serves and has started. Starting a
 * program, or looking into another process, kills this one (SIGSYS); other calls, such as opening a
 * socket, are refused with EPERM (seccomp). */
bool sandbox_calls(Err *err) CHECKED;
/* Of a process that is about to become another program: it reads and executes what lies beneath
 * /usr, /lib and /etc, and has no network and no other process; files that are open stay so. Says
 * why not as the others do. */
bool sandbox_program(Err *err) CHECKED;
/* The same of a process that starts such ones, and ends them by a signal. */
bool sandbox_starter(Err *err) CHECKED;
/* Of a process that connects to others and does nothing else: it reads what lies beneath /usr, /lib
 * and /etc and where the addresses of names come from, writes no file, starts no program, takes no
 * connection and looks into no other process. Says why not as the others do. */
bool sandbox_client(Err *err) CHECKED;
