/* Sums of products of unsigned and signed 8-bit numbers: VPDPBUSD of AVX-512 VNNI. */
#ifndef LIPSTREAM_DOT_H
#define LIPSTREAM_DOT_H

#include "step.h"

/* Where the inputs of one call lie: ``rows`` pixels, each with taps around it. */
typedef struct {
    const uint8_t *const *rows;
    const int32_t *taps;
    int row_count, tap_count, depth;
} Inputs;

/* ``sums`` begin as those given and end as those plus the products; ``rows`` and ``columns``, of 16
 * channels, are constants of each copy, so that all sums live in registers. */
static inline __attribute__((always_inline)) void dot_of(const int rows, const int columns,
                                                         const Inputs *in, const int8_t *weights,
                                                         const int32_t *sums, int32_t *to) {
    __m512i sum[ROWS][BLOCK / LANES];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < columns; c++) sum[r][c] = _mm512_loadu_si512(sums + c * LANES);
    for (int tap = 0; tap < in->tap_count; tap++) {
        const uint8_t *from[ROWS];
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) from[r] = in->rows[r] + in->taps[tap];
        for (int k = 0; k < in->depth; k += 4) {
            __m512i weight[BLOCK / LANES];
#pragma GCC unroll 4
            for (int c = 0; c < columns; c++) weight[c] = _mm512_loadu_si512(weights + c * 64);
            weights += columns * 64;
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                int32_t four;
                __builtin_memcpy(&four, from[r] + k, sizeof four);
                const __m512i levels = _mm512_set1_epi32(four);
#pragma GCC unroll 4
                for (int c = 0; c < columns; c++)
                    sum[r][c] = _mm512_dpbusd_epi32(sum[r][c], levels, weight[c]);
            }
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < columns; c++)
            _mm512_storeu_si512(to + (r * columns + c) * LANES, sum[r][c]);
}

#define ONE(rows, columns) \
    case rows * 8 + columns: dot_of(rows, columns, in, weights, sums, to); break;
#define ALL(columns) \
    ONE(1, columns) ONE(2, columns) ONE(3, columns) ONE(4, columns) ONE(5, columns) ONE(6, columns)

/* Write (row_count, 16 * columns) sums to ``to``. */
static __attribute__((noinline)) void dot(const Inputs *in, int columns, const int8_t *weights,
                                          const int32_t *sums, int32_t *to) {
    switch (in->row_count * 8 + columns) { ALL(1) ALL(2) ALL(3) ALL(4) }
}

#endif
