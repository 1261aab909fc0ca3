/* cpu.h -- private to kern/: what this CPU and this operating system allow. */
#pragma once
#include "kern/kern.h"

const char *cpu_lacks(Level v); /* NULL: the level can run here; else why not */
