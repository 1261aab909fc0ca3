/* digest.c -- tests of SHA-256, Philox and the number types: fixed functions of bits. */
#include "tests.h"
#include <math.h>

static const char *sha256_of(const char *p, int64_t n, int64_t step) {
    static char hex[65];
    Sha256 s;
    sha256_init(&s);
    for (int64_t i = 0; i < n; i += step) sha256_add(&s, p + i, MIN(step, n - i));
    sha256_hex(&s, hex);
    return hex;
}

/* The examples of FIPS 180-4, and every way of cutting one. */
static void test_sha256(void **state) {
    (void)state;
    const char *two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    assert_string_equal(sha256_of("", 0, 1),
                        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_string_equal(sha256_of("abc", 3, 3),
                        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_string_equal(sha256_of(two, 56, 56),
                        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    Arena *a = arena_open("sha", 1 << 21);
    char *million = PUSH(a, char, 1000000), whole[65];
    memset(million, 'a', 1000000);
    assert_string_equal(sha256_of(million, 1000000, 1000000),
                        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    for (int64_t n = 0; n < 200; n += 7) {
        memcpy(whole, sha256_of(million, n, 1000), 65);
        for (int64_t step = 1; step < 130; step++)
            assert_string_equal(sha256_of(million, n, step), whole);
    }
    arena_close(a);
}

/* A second Philox, written from the paper's description with 128 bits of counter: held against the
 * vectors that its authors publish, then the public header against it. */
static void philox_twin(uint32_t c[4], uint32_t k0, uint32_t k1) {
    for (int i = 0; i < 10; i++) {
        uint64_t left = (uint64_t)0xD2511F53 * c[0], right = (uint64_t)0xCD9E8D57 * c[2];
        uint32_t n[4] = {(uint32_t)(right >> 32) ^ c[1]
                             ^ (uint32_t)(k0 + 0x9E3779B9u * (uint32_t)i),
                         (uint32_t)right,
                         (uint32_t)(left >> 32) ^ c[3] ^ (uint32_t)(k1 + 0xBB67AE85u * (uint32_t)i),
                         (uint32_t)left};
        memcpy(c, n, sizeof n);
    }
}

static void test_philox(void **state) {
    (void)state;
    static const uint32_t vectors[3][10] = {
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {~0u, ~0u, ~0u, ~0u, ~0u, ~0u, 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09,
         0x94fdcceb, 0x5001e420, 0x24126ea1}};
    for (int i = 0; i < 3; i++) {
        uint32_t c[4];
        memcpy(c, vectors[i], sizeof c);
        philox_twin(c, vectors[i][4], vectors[i][5]);
        assert_memory_equal(c, vectors[i] + 6, 16);
    }
    uint64_t key = 1, position = 2;
    for (uint32_t stream = 0; stream < 1000; stream++) {
        uint32_t c[4] = {(uint32_t)position, (uint32_t)(position >> 32), stream, 0};
        philox_twin(c, (uint32_t)key, (uint32_t)(key >> 32));
        Philox p = philox(key, position, stream);
        assert_memory_equal(c, p.w, 16);
        key = key * 6364136223846793005u + 1442695040888963407u;
        position = position * 2862933555777941757u + 3037000493u;
    }
    assert_true(philox_unit(0) == 0.0f && philox_unit(~0u) == 1.0f - 0x1p-24f);
}

static void test_f16(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        int exponent = h >> 10 & 31, fraction = h & 1023;
        float f = f32_of_f16((uint16_t)h);
        uint32_t want_sign = h >> 15;
        assert_int_equal(bits_of_f32(f) >> 31, want_sign);
        if (exponent == 31) {
            assert_true(fraction ? isnan(f) : isinf(f));
            continue;
        }
        double want = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
        if (fabs((double)f) != want) fail_msg("%04x", h);
    }
}

/* bf16: the nearer of the two neighbours, the even one in the middle, by distances in f64. */
static void test_bf16(void **state) {
    (void)state;
    uint32_t step = full_run() ? 97 : 9973;
    for (uint64_t u = 0; u < (uint64_t)1 << 32; u += step) {
        float f = f32_of_bits((uint32_t)u);
        uint16_t got = bf16_of_f32(f);
        if (isnan(f)) {
            assert_true(isnan(f32_of_bf16(got)));
            continue;
        }
        uint16_t down = (uint16_t)(u >> 16), up = (uint16_t)(down + 1), want;
        if (((u >> 23) & 255) == 0)
            want = down & 0x8000; /* DAZ */
        else {
            double below = (double)f32_of_bf16(down), above = (double)f32_of_bf16(up);
            if (isinf(above) && !isinf(below)) above = copysign(ldexp(1, 128), below);
            double d = fabs((double)f - below), e = fabs(above - (double)f);
            want = isinf(f) || d < e || (d == e && down % 2 == 0) ? down : up;
        }
        if (got != want) fail_msg("%08x: %04x, not %04x", (uint32_t)u, got, want);
    }
}

/* The same on every machine; each bit, the length, the seed and the order count; alignment does
 * not. */
static void test_checksum(void **state) {
    (void)state;
    uint8_t data[256 + 8], shifted[256 + 8];
    for (int i = 0; i < 256; i++) data[i] = (uint8_t)(i * 37);
    assert_int_equal(checksum(data, 0, 0), 0x586aa4d8d03d9ce7);
    assert_int_equal(checksum(data, 100, 7), 0x3cb298e0a3f823fa);
    for (int64_t n = 0; n <= 200; n++) {
        uint64_t sum = checksum(data, n, 5);
        assert_true(sum != checksum(data, n, 6));
        assert_true(sum != checksum(data, n + 1, 5));
        for (int64_t shift = 1; shift < 8; shift++) {
            memcpy(shifted + shift, data, (size_t)n);
            assert_true(checksum(shifted + shift, n, 5) == sum);
        }
        for (int64_t bit = 0; bit < 8 * n; bit++) {
            data[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_true(checksum(data, n, 5) != sum);
            data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
    }
    memset(data, 0, sizeof data);
    for (int64_t n = 0; n < 200; n++) assert_true(checksum(data, n, 0) != checksum(data, n + 1, 0));
}

static void bytes_of_part_block(void *arg) {
    (void)arg;
    dtype_bytes(DTYPE_Q8_0, 33);
}

static void test_dtype(void **state) {
    (void)state;
    assert_string_equal(dtype_name(DTYPE_BF16), "BF16");
    assert_string_equal(dtype_name(DTYPE_BOOL), "BOOL");
    assert_int_equal(dtype_bytes(DTYPE_F32, 10), 40);
    assert_int_equal(dtype_bytes(DTYPE_Q4_1, 64), 40);
    assert_int_equal(dtype_bytes(DTYPE_Q8_0, 64), 68);
    assert_int_equal(dtype_block(DTYPE_Q4_1), 32);
    for (DType t = 0; t < DTYPE_N; t++) {
        DType same = DTYPE_N;
        assert_true(dtype_bytes(t, dtype_block(t)) > 0);
        assert_true(dtype_of_name(str_of(dtype_name(t)), &same) && same == t);
        assert_true(dtype_block(t) == 1 || dtype_is_weight(t));
    }
    DType none;
    assert_false(dtype_of_name(STR("Q4"), &none));
    assert_false(dtype_is_weight(DTYPE_I32));
    assert_aborts(bytes_of_part_block, NULL, "CHECK");
}

int test_digest(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256), cmocka_unit_test(test_philox),
        cmocka_unit_test(test_f16),    cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_dtype),  cmocka_unit_test(test_checksum),
    };
    return cmocka_run_group_tests_name("digest", tests, NULL, NULL);
}
