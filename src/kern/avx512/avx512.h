/* avx512.h -- private to kern/avx512: what its files share. Every kernel gives the bits of kern/ref. */
#pragma once
#include <immintrin.h>
#include "kern/table.h"
