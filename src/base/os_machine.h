/* os_machine.h -- private to base/: what the machine and its container grant, from the files that
 * the kernel has for it under `root` ("" for the real ones; tests make up their own). */
#pragma once
#include <stdint.h>

int64_t machine_memory_free(const char *root);
int64_t machine_cpus(const char *root, int64_t most); /* at most `most`, at least 1 */
/* RLIMIT_... of this process and its children, for good; as it was where that cannot be. */
void process_limit(int what, uint64_t most);
