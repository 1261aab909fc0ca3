/* files.h -- what the tests of file/ share: scratch folders, files made of bytes, the oracle
 * folders, and two small writers of the formats that know nothing of the code under test. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "file/parts.h"
#include "support/need.h"

/* One arena and one empty scratch folder a test; a cmocka setup and its teardown. */
typedef struct Scratch {
    Arena *a;
    const char *folder;
} Scratch;
int scratch_open(void **state);
int scratch_close(void **state);
#define FILE_TEST(fn) cmocka_unit_test_setup_teardown(fn, scratch_open, scratch_close)

/* "<scratch>/<name>"; with bytes: the file written there. */
const char *scratch_path(Scratch *s, const char *name);
const char *scratch_file(Scratch *s, const char *name, Str bytes);

/* store_open that must work, and one that must fail with a message that holds both pieces. */
Store *open_fine(Scratch *s, const char *path);
void open_fails(Scratch *s, const char *path, ErrCode code, const char *piece);
/* The same for a file made of these bytes. */
Store *bytes_fine(Scratch *s, Str bytes);
void bytes_fail(Scratch *s, Str bytes, ErrCode code, const char *piece);

/* Touches every byte that a Store shows and asks everything; the sum is for the optimiser. */
uint64_t store_touch(Scratch *s, const Store *st);

/* Numbers for tests that are the same every time. */
uint32_t draw(uint64_t position, uint32_t below);

/* ---- writers --------------------------------------------------------------------------------- */

/* A safetensors file: length, header, n zero bytes of data. */
Str safetensors_bytes(Arena *a, const char *header, int64_t data_bytes);

void put_u32(Buf *b, uint32_t v);
void put_u64(Buf *b, uint64_t v);
void put_str(Buf *b, Str s);
void put_gguf(Buf *b, uint32_t version, uint64_t tensors, uint64_t keys); /* the header */
void put_key(Buf *b, const char *key, uint32_t type); /* the value is the caller's */
void put_tensor(Buf *b, const char *name, uint32_t n_dims, const uint64_t *dim, uint32_t type,
                uint64_t offset);
void put_zeros(Buf *b, int64_t n);
void put_padding(Buf *b, int64_t alignment);

enum { G_U8, G_I8, G_U16, G_I16, G_U32, G_I32, G_F32, G_BOOL, G_STR, G_ARRAY, G_U64, G_I64, G_F64 };

/* ---- groups; each returns the number of failed tests ----------------------------------------- */

int scan_tests(void), safetensors_tests(void), gguf_tests(void), ckpt_tests(void);
int hostile_tests(void), write_tests(void);
