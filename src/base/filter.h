/* filter.h -- part of base.h: what another program, or this one, makes of foreign bytes. */
#pragma once

/* Starts argv[0], which is looked for in PATH, with the file as its standard input, and returns all
 * that it writes, at most `most` bytes. The file may come from anybody, so the program is kept from
 * everything else as far as the kernel can: it reads what lies beneath /usr, /lib and /etc, writes
 * no file, opens no socket, and has 1 GiB of memory (Landlock, seccomp, limits; none of these but
 * the last under a sanitizer). It is killed after `seconds`. ERR_UNSUPPORTED where there is no such
 * program; ERR_IO with its last words where it fails. Call it while this process has one thread. */
bool filter_file(Arena *a, Str *out, const char *const *argv, const char *path, int64_t most,
                 double seconds, Err *err) CHECKED;
/* The same of bytes, which lie nowhere but in memory meanwhile. */
bool filter_bytes(Arena *a, Str *out, const char *const *argv, Str in, int64_t most, double seconds,
                  Err *err) CHECKED;
/* What a function of this program makes of bytes, in a process of its own that is kept from
 * everything else likewise; `name` is what errors call it, and its own Err comes through. */
typedef bool ConfinedFn(Arena *a, Str *out, Str in, Err *err);
bool filter_call(Arena *a, Str *out, const char *name, ConfinedFn *fn, Str in, int64_t most,
                 double seconds, Err *err) CHECKED;
