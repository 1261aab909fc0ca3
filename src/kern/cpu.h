/* cpu.h -- private to kern/: what this CPU and this operating system allow. */
#pragma once
#include "kern/kern.h"

void cpu_name(char name[64]);   /* the brand string, or "unknown CPU" */
const char *cpu_lacks(Level v); /* NULL: the level can run here; else why not */
