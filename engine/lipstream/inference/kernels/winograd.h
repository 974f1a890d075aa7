/* Convolutions of 3 x 3 by Winograd's minimal filtering F(2 x 2, 3 x 3): 16 products for 4 pixels
 * instead of 36. Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016,
 * section 4.1: Y = A^T [(G g G^T) * (B^T d B)] A, summed over the channels d.
 *
 * What is multiplied are the sums and differences B^T d B, in 8 bits. Each of the 16 points of each
 * tile has a level of its own size, the largest number of all its channels divided by 127: nothing
 * is calibrated or clipped, and no tile pays for the contrast of another.
 */
#ifndef LIPSTREAM_WINOGRAD_H
#define LIPSTREAM_WINOGRAD_H

#include "dot.h"

/* Largest level of each of 16 registers of int16, none negative, as floats in their order. */
static inline __m512 largest_levels(const __m512i v[POINTS]) {
    const __m512i order = _mm512_setr_epi32(0, 8, 4, 12, 1, 9, 5, 13, 2, 10, 6, 14, 3, 11, 7, 15);
    __m512i a[8], b[4], c[2];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        a[i] = _mm512_max_epi16(_mm512_unpacklo_epi32(v[i], v[i + 8]),
                                _mm512_unpackhi_epi32(v[i], v[i + 8]));
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        b[i] = _mm512_max_epi16(_mm512_unpacklo_epi32(a[i], a[i + 4]),
                                _mm512_unpackhi_epi32(a[i], a[i + 4]));
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++)
        c[i] = _mm512_max_epi16(_mm512_shuffle_i32x4(b[i], b[i + 2], 0x88),
                                _mm512_shuffle_i32x4(b[i], b[i + 2], 0xdd));
    const __m512i pairs = _mm512_max_epi16(_mm512_shuffle_i32x4(c[0], c[1], 0x88),
                                           _mm512_shuffle_i32x4(c[0], c[1], 0xdd));
    const __m512i most = _mm512_max_epi16(pairs, _mm512_srli_epi32(pairs, 16));
    const __m512i alone = _mm512_and_si512(most, _mm512_set1_epi32(0xffff));
    return _mm512_cvtepi32_ps(_mm512_permutexvar_epi32(order, alone));
}

/* B^T d B of 32 channels of a tile: rows first, then columns. */
static inline __attribute__((always_inline)) void transform(const int16_t *from, const Step *step,
                                                            __mmask32 have, __m512i to[POINTS]) {
    __m512i rows[4][4];
#pragma GCC unroll 4
    for (int x = 0; x < 4; x++) {
        __m512i d[4];
#pragma GCC unroll 4
        for (int y = 0; y < 4; y++)
            d[y] = _mm512_maskz_loadu_epi16(
                have, from + y * step->from_pitch + x * step->from_stride);
        rows[0][x] = _mm512_sub_epi16(d[0], d[2]);
        rows[1][x] = _mm512_add_epi16(d[1], d[2]);
        rows[2][x] = _mm512_sub_epi16(d[2], d[1]);
        rows[3][x] = _mm512_sub_epi16(d[1], d[3]);
    }
#pragma GCC unroll 4
    for (int y = 0; y < 4; y++) {
        to[y * 4] = _mm512_sub_epi16(rows[y][0], rows[y][2]);
        to[y * 4 + 1] = _mm512_add_epi16(rows[y][1], rows[y][2]);
        to[y * 4 + 2] = _mm512_sub_epi16(rows[y][2], rows[y][1]);
        to[y * 4 + 3] = _mm512_sub_epi16(rows[y][1], rows[y][3]);
    }
}

/* One point of a tile as unsigned levels, 128 for nothing: round(number * factor / 32768) + 128. */
static inline void round_point(const int16_t *from, int depth, int factor, uint8_t *to) {
    const __m512i by = _mm512_set1_epi16((short)factor), middle = _mm512_set1_epi8((char)0x80);
    const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    for (int c = 0; c < depth; c += 64) {
        const __m512i low = _mm512_mulhrs_epi16(_mm512_loadu_si512(from + c), by);
        const __m512i high = _mm512_mulhrs_epi16(_mm512_loadu_si512(from + c + 32), by);
        const __m512i packed = _mm512_permutexvar_epi64(order, _mm512_packs_epi16(low, high));
        const __m512i levels = _mm512_xor_si512(packed, middle);
        if (depth - c >= 64) _mm512_storeu_si512(to + c, levels);
        else _mm512_mask_storeu_epi8(to + c, (1ull << (depth - c)) - 1, levels);
    }
}

/* Transform and round all channels of a tile; ``steps`` are the sizes of its levels. */
static void read_tile(const Step *step, const int16_t *from, int16_t *tile, float *steps,
                      uint8_t *levels) {
    const int depth = step->depth, tile_points = TILE_POINTS(depth);
    __m512i most[POINTS];
#pragma GCC unroll 16
    for (int p = 0; p < POINTS; p++) most[p] = _mm512_set1_epi16(128); /* so the factor fits int16 */
    for (int c = 0; c < depth; c += 32) {
        __m512i points[POINTS];
        transform(from + c, step, depth - c < 32 ? 0xffff : 0xffffffff, points);
#pragma GCC unroll 16
        for (int p = 0; p < POINTS; p++) {
            most[p] = _mm512_max_epi16(most[p], _mm512_abs_epi16(points[p]));
            _mm512_storeu_si512(tile + p * tile_points + c, points[p]);
        }
    }
    const __m512 largest = largest_levels(most), whole = _mm512_set1_ps(32768.0f);
    const __m512 factor = _mm512_roundscale_ps(
        _mm512_div_ps(_mm512_set1_ps(127.0f * 32768.0f), largest), _MM_FROUND_TO_NEG_INF);
    int32_t factors[POINTS];
    _mm512_storeu_si512(factors, _mm512_cvtps_epi32(factor));
    _mm512_storeu_ps(steps, _mm512_div_ps(whole, factor));
    for (int p = 0; p < POINTS; p++)
        round_point(tile + p * tile_points, depth, factors[p], levels + p * LEVEL_POINTS(depth));
}

/* What 16 channels have in common in all tiles. */
typedef struct {
    __m512 scales[POINTS], bias;
    int first;
} Channels;

/* A^T M A of 16 channels of a tile, and what follows a convolution; returns the largest. */
static inline __attribute__((always_inline)) __m512 write_tile(const Step *step,
                                                               const Channels *channels,
                                                               const int32_t *sums, int sum_points,
                                                               const float *steps, int y, int x) {
    __m512 rows[2][4], largest = _mm512_setzero_ps();
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m512 m[4];
#pragma GCC unroll 4
        for (int p = i, j = 0; j < 4; p += 4, j++)
            m[j] = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_loadu_si512(sums + p * sum_points)),
                                 _mm512_mul_ps(channels->scales[p], _mm512_set1_ps(steps[p])));
        rows[0][i] = _mm512_add_ps(_mm512_add_ps(m[0], m[1]), m[2]);
        rows[1][i] = _mm512_sub_ps(_mm512_sub_ps(m[1], m[2]), m[3]);
    }
#pragma GCC unroll 2
    for (int j = 0; j < 2; j++) {
        if (y + j >= step->height) break;
        const __m512 *r = rows[j], bias = channels->bias;
        const __m512 left = _mm512_add_ps(_mm512_add_ps(r[0], r[1]), _mm512_add_ps(r[2], bias));
        const __m512 right = _mm512_sub_ps(_mm512_sub_ps(r[1], r[2]), _mm512_sub_ps(r[3], bias));
        largest = _mm512_max_ps(largest, store(step, left, y + j, x, channels->first));
        if (x + 1 < step->width)
            largest = _mm512_max_ps(largest, store(step, right, y + j, x + 1, channels->first));
    }
    return largest;
}

/* The products of a block of ``wide`` channels, point by point. */
static void multiply_tiles(const Step *step, const Scratch *scratch, int count, int first, int wide) {
    static const int32_t here = 0;
    const int depth = step->depth;
    for (int p = 0; p < POINTS; p++) {
        const int8_t *weights = step->weights + (size_t)(first * POINTS + p * wide) * depth;
        const uint8_t *levels = scratch->levels + p * LEVEL_POINTS(depth);
        for (int t = 0; t < count; t += ROWS) {
            const uint8_t *rows[ROWS];
            const Inputs in = {rows, &here, at_most(ROWS, count - t), 1, depth};
            for (int r = 0; r < in.row_count; r++) rows[r] = levels + (size_t)(t + r) * depth;
            dot(&in, wide / LANES, weights, step->sums + p * step->channels + first,
                scratch->sums + p * SUM_POINTS(wide) + t * wide);
        }
    }
}

/* From products to pixels: 16 channels of some tiles; returns the largest. */
static __m512 write_tiles(const Step *step, const Scratch *scratch, Span tiles, int first, int c) {
    const int across = ceil_div(step->width, 2);
    const int wide = at_most(BLOCK, step->channels - first), sum_points = SUM_POINTS(wide);
    Channels channels = {.first = first + c, .bias = _mm512_loadu_ps(step->bias + first + c)};
    for (int p = 0; p < POINTS; p++)
        channels.scales[p] = _mm512_loadu_ps(step->scales + p * step->channels + first + c);
    __m512 largest = _mm512_setzero_ps();
    int y = tiles.begin / across * 2, x = tiles.begin % across * 2;
    for (int t = 0; t < tiles.end - tiles.begin; t++) {
        const __m512 found = write_tile(step, &channels, scratch->sums + t * wide + c, sum_points,
                                        scratch->steps + t * POINTS, y, x);
        largest = _mm512_max_ps(largest, found);
        if ((x += 2) >= step->width) x = 0, y += 2;
    }
    return largest;
}

/* Some tiles, at most MOST, and some blocks of channels of one convolution. */
static void winograd(const Step *step, const Scratch *scratch, Span tiles, Span blocks) {
    const int across = ceil_div(step->width, 2), count = tiles.end - tiles.begin;
    int y = tiles.begin / across * 2, x = tiles.begin % across * 2;
    for (int t = 0; t < count; t++) {
        const int16_t *from = step->from;
        read_tile(step, from + y * step->from_pitch + x * step->from_stride, scratch->tile,
                  scratch->steps + t * POINTS, scratch->levels + (size_t)t * step->depth);
        if ((x += 2) >= step->width) x = 0, y += 2;
    }
    __m512 largest = _mm512_setzero_ps();
    for (int b = blocks.begin; b < blocks.end; b++) {
        const int first = b * BLOCK, wide = at_most(BLOCK, step->channels - first);
        multiply_tiles(step, scratch, count, first, wide);
        for (int c = 0; c < wide; c += LANES)
            largest = _mm512_max_ps(largest, write_tiles(step, scratch, tiles, first, c));
    }
    raise_peak(step->peak_out, largest);
}

#endif
