/* What the kernels are told, one struct for each step of a frame, and what they work in.
 *
 * __init__.py reads this file: the kinds, the fields of Step and the ABI number stand here alone.
 *
 * Tensors are height x width x channels, int16 levels of a fixed size, negative only where an
 * input that is loaded is; what is multiplied is rounded to 8 bits first. Every tensor has a
 * border of zeros, so no kernel asks where the edge is. Strides and pitches are in elements: from
 * one pixel to the next, from one row to the next.
 */
#ifndef LIPSTREAM_STEP_H
#define LIPSTREAM_STEP_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LANES = 16,  /* 32-bit numbers in a register */
    BLOCK = 64,  /* channels that come out together */
    ROWS = 6,    /* pixels or tiles multiplied together: ROWS * BLOCK sums fill 24 registers */
    MOST = 48,   /* pixels or tiles in work: what they need stays in the second-level cache */
    POINTS = 16, /* products of a 2 x 2 tile */
};

#define LIPSTREAM_ABI 2 /* raised whenever what follows, or what a kernel expects, changes */

/* convert: float32 channels x height x width to int16 levels, channels last
 * quantize_f32: a mel window to unsigned 8-bit levels of a fixed size
 * quantize: int16 levels to unsigned 8-bit levels, by the largest of the tensor
 * igemm: a convolution by indirect GEMM, of any kernel, stride and spread
 * winograd: a 3 x 3 convolution
 * sigmoid: a 1 x 1 convolution to three channels, its sigmoid, and an 8-bit image */
#define STEP_KINDS(KIND) \
    KIND(convert) KIND(quantize_f32) KIND(quantize) KIND(igemm) KIND(winograd) KIND(sigmoid)

#define KIND_NAME(name) KIND_##name,
enum kind { STEP_KINDS(KIND_NAME) };

typedef struct {
    const void *from;      /* first pixel that is read */
    void *to;              /* first pixel that is written */
    const int16_t *add;    /* what is added before the ReLU, pixel for pixel; or NULL */
    const int8_t *weights; /* blocks of [tap or point][depth / 4][channel][4] */
    const int32_t *sums;   /* of the weights, times the zero of the input, negative */
    const float *scales;   /* levels that come out for one product, a channel (and point) each */
    const float *bias;     /* levels */
    const uint32_t *peak_in; /* bits of the largest level read, a float; NULL: size is fixed */
    uint32_t *peak_out;    /* raised to the bits of the largest level written */
    const int32_t *taps;   /* offsets from a pixel, elements */
    float unit;            /* levels for one of what is loaded */
    float add_unit;        /* levels for one of ``add`` */
    int32_t kind, tap_count, depth, channels, height, width;
    int32_t from_stride, from_pitch, to_stride, to_pitch, add_stride, add_pitch;
} Step;

/* What one thread works in. */
typedef struct {
    uint8_t *levels; /* (POINTS, MOST, depth) */
    float *steps;    /* (MOST, POINTS): size of a level */
    int16_t *tile;   /* (POINTS, depth) */
    int32_t *sums;   /* (POINTS, MOST, wide) */
} Scratch;

/* Numbers from one point to the next, off the multiples of a page: at those, points would drive each
 * other out of the first-level cache. */
#define LEVEL_POINTS(depth) ((size_t)MOST * (depth) + 64)
#define TILE_POINTS(depth) ((depth) + 48)
#define SUM_POINTS(wide) (MOST * (wide) + LANES)

/* A part of a range. */
typedef struct { int begin, end; } Span;

static const float TOP = 8191.0f; /* largest level: the sum of four still fits int16 */

static inline int at_most(int a, int b) { return a < b ? a : b; }
static inline int ceil_div(int a, int b) { return (a + b - 1) / b; }

/* Part ``k`` of ``parts`` even ones. */
static inline Span part_of(int count, int k, int parts) {
    return (Span){(int)((int64_t)count * k / parts), (int)((int64_t)count * (k + 1) / parts)};
}

/* Pixels or tiles to take together, for parts of nearly one size. */
static inline int batch_of(int count) {
    return ceil_div(ceil_div(count, ceil_div(count, MOST)), ROWS) * ROWS;
}

/* Peaks are kept as bits, for threads raise them together: floats above zero order as their bits do. */
static inline void raise_peak(uint32_t *peak, __m512 found) {
    if (!peak) return;
    const float largest = _mm512_reduce_max_ps(found);
    uint32_t bits, seen = __atomic_load_n(peak, __ATOMIC_RELAXED);
    __builtin_memcpy(&bits, &largest, sizeof bits);
    while (bits > seen && !__atomic_compare_exchange_n(peak, &seen, bits, 1, __ATOMIC_RELAXED,
                                                       __ATOMIC_RELAXED)) {}
}

/* Add what is to be added, apply the ReLU and write 16 channels of one pixel. */
static inline __attribute__((always_inline)) __m512 store(const Step *step, __m512 value,
                                                          int y, int x, int channel) {
    if (step->add) {
        const int16_t *add = step->add + y * step->add_pitch + x * step->add_stride + channel;
        const __m512i levels = _mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)add));
        value = _mm512_fmadd_ps(_mm512_cvtepi32_ps(levels), _mm512_set1_ps(step->add_unit), value);
    }
    value = _mm512_min_ps(_mm512_max_ps(value, _mm512_setzero_ps()), _mm512_set1_ps(TOP));
    int16_t *to = (int16_t *)step->to + y * step->to_pitch + x * step->to_stride + channel;
    _mm256_storeu_si256((__m256i *)to, _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(value)));
    return value;
}

#endif
