/* The instructions that the kernels use, lane by lane in plain C: stands in for the compiler's header.
 *
 * With this folder before the system's, the kernels compile for any processor, slowly, and run under
 * the address and undefined-behaviour sanitizers, which then see every single load and store. What
 * each does is Intel's Intrinsics Guide's "operation".
 */
#ifndef LIPSTREAM_SCALAR_IMMINTRIN_H
#define LIPSTREAM_SCALAR_IMMINTRIN_H

#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef union {
    int8_t b[64];
    uint8_t u[64];
    int16_t h[32];
    int32_t w[16];
    int64_t q[8];
} __m512i;
typedef struct { float f[16]; } __m512;
typedef struct { int16_t h[16]; } __m256i;
typedef uint16_t __mmask16;
typedef uint32_t __mmask32;

enum { _MM_FROUND_TO_NEAREST_INT = 0, _MM_FROUND_TO_NEG_INF = 1 };

#define LIPSTREAM_EACH(count) for (int i = 0; i < (count); i++)
#define LIPSTREAM_LANES(name, type, field, count, takes, value) \
    static inline type name takes { type to; LIPSTREAM_EACH(count) to.field[i] = (value); return to; }
#define LIPSTREAM_FLOATS(name, takes, value) LIPSTREAM_LANES(name, __m512, f, 16, takes, value)
#define LIPSTREAM_SHORTS(name, takes, value) \
    LIPSTREAM_LANES(name, __m512i, h, 32, takes, (int16_t)(value))
#define LIPSTREAM_WORDS(name, takes, value) \
    LIPSTREAM_LANES(name, __m512i, w, 16, takes, (int32_t)(value))

static inline int lipstream_clamp(int value, int least, int most) {
    return value < least ? least : value > most ? most : value;
}
static inline int32_t lipstream_rounded(float value) {
    return value >= -2147483648.0f && value < 2147483648.0f ? (int32_t)rintf(value) : INT32_MIN;
}

/* Loads and stores, of any alignment. */
static inline __m512 _mm512_loadu_ps(const void *from) { __m512 to; memcpy(&to, from, 64); return to; }
static inline __m512i _mm512_loadu_si512(const void *from) {
    __m512i to; memcpy(&to, from, 64); return to;
}
static inline __m256i _mm256_loadu_si256(const void *from) {
    __m256i to; memcpy(&to, from, 32); return to;
}
static inline void _mm512_storeu_ps(void *to, __m512 a) { memcpy(to, &a, 64); }
static inline void _mm512_storeu_si512(void *to, __m512i a) { memcpy(to, &a, 64); }
static inline void _mm256_storeu_si256(void *to, __m256i a) { memcpy(to, &a, 32); }
static inline void _mm512_mask_storeu_epi8(void *to, uint64_t mask, __m512i a) {
    LIPSTREAM_EACH(64) if (mask >> i & 1) ((uint8_t *)to)[i] = a.u[i];
}
LIPSTREAM_FLOATS(_mm512_maskz_loadu_ps, (__mmask16 mask, const float *from), mask >> i & 1 ? from[i] : 0)
LIPSTREAM_SHORTS(_mm512_maskz_loadu_epi16, (__mmask32 mask, const int16_t *from),
                 mask >> i & 1 ? from[i] : 0)

LIPSTREAM_FLOATS(_mm512_setzero_ps, (void), 0.0f)
LIPSTREAM_FLOATS(_mm512_set1_ps, (float a), a)
LIPSTREAM_SHORTS(_mm512_set1_epi16, (short a), a)
LIPSTREAM_WORDS(_mm512_set1_epi32, (int a), a)
LIPSTREAM_LANES(_mm512_set1_epi8, __m512i, b, 64, (char a), (int8_t)a)
#define _mm512_setr_epi32(...) ((__m512i){.w = {__VA_ARGS__}})
#define _mm512_setr_epi64(...) ((__m512i){.q = {__VA_ARGS__}})

/* Floats. */
LIPSTREAM_FLOATS(_mm512_add_ps, (__m512 a, __m512 b), a.f[i] + b.f[i])
LIPSTREAM_FLOATS(_mm512_sub_ps, (__m512 a, __m512 b), a.f[i] - b.f[i])
LIPSTREAM_FLOATS(_mm512_mul_ps, (__m512 a, __m512 b), a.f[i] * b.f[i])
LIPSTREAM_FLOATS(_mm512_div_ps, (__m512 a, __m512 b), a.f[i] / b.f[i])
LIPSTREAM_FLOATS(_mm512_max_ps, (__m512 a, __m512 b), a.f[i] > b.f[i] ? a.f[i] : b.f[i])
LIPSTREAM_FLOATS(_mm512_min_ps, (__m512 a, __m512 b), a.f[i] < b.f[i] ? a.f[i] : b.f[i])
LIPSTREAM_FLOATS(_mm512_fmadd_ps, (__m512 a, __m512 b, __m512 c), fmaf(a.f[i], b.f[i], c.f[i]))
LIPSTREAM_FLOATS(_mm512_roundscale_ps, (__m512 a, int how),
                 how == _MM_FROUND_TO_NEG_INF ? floorf(a.f[i]) : rintf(a.f[i]))
LIPSTREAM_FLOATS(_mm512_scalef_ps, (__m512 a, __m512 b), a.f[i] * exp2f(floorf(b.f[i])))
LIPSTREAM_FLOATS(_mm512_cvtepi32_ps, (__m512i a), (float)a.w[i])
static inline float _mm512_reduce_max_ps(__m512 a) {
    LIPSTREAM_EACH(16) a.f[0] = a.f[i] > a.f[0] ? a.f[i] : a.f[0];
    return a.f[0];
}
static inline float _mm512_reduce_add_ps(__m512 a) {
    for (int half = 8; half > 0; half /= 2) LIPSTREAM_EACH(half) a.f[i] += a.f[i + half];
    return a.f[0];
}

/* Whole numbers. */
LIPSTREAM_SHORTS(_mm512_add_epi16, (__m512i a, __m512i b), a.h[i] + b.h[i])
LIPSTREAM_SHORTS(_mm512_sub_epi16, (__m512i a, __m512i b), a.h[i] - b.h[i])
LIPSTREAM_SHORTS(_mm512_max_epi16, (__m512i a, __m512i b), a.h[i] > b.h[i] ? a.h[i] : b.h[i])
LIPSTREAM_SHORTS(_mm512_abs_epi16, (__m512i a), a.h[i] < 0 ? -a.h[i] : a.h[i])
LIPSTREAM_SHORTS(_mm512_mulhrs_epi16, (__m512i a, __m512i b), ((a.h[i] * b.h[i] >> 14) + 1) >> 1)
LIPSTREAM_WORDS(_mm512_and_si512, (__m512i a, __m512i b), a.w[i] & b.w[i])
LIPSTREAM_WORDS(_mm512_xor_si512, (__m512i a, __m512i b), a.w[i] ^ b.w[i])
LIPSTREAM_WORDS(_mm512_srli_epi32, (__m512i a, int by), (uint32_t)a.w[i] >> by)
LIPSTREAM_WORDS(_mm512_cvtps_epi32, (__m512 a), lipstream_rounded(a.f[i]))
LIPSTREAM_WORDS(_mm512_cvtepi16_epi32, (__m256i a), a.h[i])
LIPSTREAM_LANES(_mm512_cvtepi32_epi16, __m256i, h, 16, (__m512i a), (int16_t)a.w[i])
LIPSTREAM_WORDS(_mm512_dpbusd_epi32, (__m512i sum, __m512i a, __m512i b),
                sum.w[i] + a.u[4 * i] * b.b[4 * i] + a.u[4 * i + 1] * b.b[4 * i + 1] +
                    a.u[4 * i + 2] * b.b[4 * i + 2] + a.u[4 * i + 3] * b.b[4 * i + 3])

/* Rearrangements; most work on the four quarters of a register each for itself. */
LIPSTREAM_WORDS(_mm512_permutexvar_epi32, (__m512i order, __m512i a), a.w[order.w[i] & 15])
LIPSTREAM_LANES(_mm512_permutexvar_epi64, __m512i, q, 8, (__m512i order, __m512i a),
                a.q[order.q[i] & 7])
#define LIPSTREAM_QUARTER (i & ~3)
LIPSTREAM_WORDS(_mm512_unpacklo_epi32, (__m512i a, __m512i b),
                (i & 1 ? b : a).w[LIPSTREAM_QUARTER + (i & 3) / 2])
LIPSTREAM_WORDS(_mm512_unpackhi_epi32, (__m512i a, __m512i b),
                (i & 1 ? b : a).w[LIPSTREAM_QUARTER + 2 + (i & 3) / 2])
LIPSTREAM_FLOATS(_mm512_unpacklo_ps, (__m512 a, __m512 b),
                 (i & 1 ? b : a).f[LIPSTREAM_QUARTER + (i & 3) / 2])
LIPSTREAM_FLOATS(_mm512_unpackhi_ps, (__m512 a, __m512 b),
                 (i & 1 ? b : a).f[LIPSTREAM_QUARTER + 2 + (i & 3) / 2])
LIPSTREAM_FLOATS(_mm512_shuffle_ps, (__m512 a, __m512 b, int which),
                 (i & 2 ? b : a).f[LIPSTREAM_QUARTER + (which >> 2 * (i & 3) & 3)])
LIPSTREAM_FLOATS(_mm512_shuffle_f32x4, (__m512 a, __m512 b, int which),
                 (i & 8 ? b : a).f[4 * (which >> 2 * (i / 4) & 3) + (i & 3)])
LIPSTREAM_WORDS(_mm512_shuffle_i32x4, (__m512i a, __m512i b, int which),
                (i & 8 ? b : a).w[4 * (which >> 2 * (i / 4) & 3) + (i & 3)])
#define LIPSTREAM_PACKED ((i & 8 ? b : a).h[(i / 16) * 8 + (i & 7)])
LIPSTREAM_LANES(_mm512_packs_epi16, __m512i, b, 64, (__m512i a, __m512i b),
                (int8_t)lipstream_clamp(LIPSTREAM_PACKED, INT8_MIN, INT8_MAX))
LIPSTREAM_LANES(_mm512_packus_epi16, __m512i, u, 64, (__m512i a, __m512i b),
                (uint8_t)lipstream_clamp(LIPSTREAM_PACKED, 0, UINT8_MAX))

static inline void _mm_pause(void) {}

#endif
