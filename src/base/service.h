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
