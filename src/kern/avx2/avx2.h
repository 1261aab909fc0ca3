/* avx2.h -- private to kern/avx2: what its files share. Every kernel gives the bits of kern/ref. */
#pragma once
#include <immintrin.h>
#include "kern/table.h"
