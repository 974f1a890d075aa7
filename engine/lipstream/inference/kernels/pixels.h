/* Everything but Winograd's convolutions: other convolutions, and the ways in and out. */
#ifndef LIPSTREAM_PIXELS_H
#define LIPSTREAM_PIXELS_H

#include "dot.h"

/* round(level * factor / 32768) is 255 for the largest; small tensors keep their own levels. */
static inline int rounding_factor(const uint32_t *peak) {
    float largest;
    __builtin_memcpy(&largest, peak, sizeof largest);
    return (int)(255.0f * 32768.0f / (largest > 256.0f ? largest : 256.0f));
}

/* int16 levels, all that lie between two pixels of a tensor, to 8 bits. */
static void quantize(const Step *step, Span span) {
    const __m512i by = _mm512_set1_epi16((short)rounding_factor(step->peak_in));
    const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    const int16_t *from = step->from;
    for (int i = span.begin * 64; i < span.end * 64; i += 64) {
        const __m512i low = _mm512_mulhrs_epi16(_mm512_loadu_si512(from + i), by);
        const __m512i high = _mm512_mulhrs_epi16(_mm512_loadu_si512(from + i + 32), by);
        const __m512i packed = _mm512_packus_epi16(low, high);
        _mm512_storeu_si512((uint8_t *)step->to + i, _mm512_permutexvar_epi64(order, packed));
    }
}

/* From sums to pixels: 16 channels of some pixels, ``size`` being the size of a level that was
 * read; returns the largest. */
static __m512 write_pixels(const Step *step, const int32_t *sums, int wide, Span pixels,
                           int channel, float size) {
    const __m512 scale = _mm512_mul_ps(_mm512_loadu_ps(step->scales + channel), _mm512_set1_ps(size));
    const __m512 bias = _mm512_loadu_ps(step->bias + channel);
    __m512 largest = _mm512_setzero_ps();
    int y = pixels.begin / step->width, x = pixels.begin % step->width;
    for (int i = 0; i < pixels.end - pixels.begin; i++) {
        const __m512 sum = _mm512_cvtepi32_ps(_mm512_loadu_si512(sums + i * wide));
        const __m512 value = _mm512_fmadd_ps(sum, scale, bias);
        largest = _mm512_max_ps(largest, store(step, value, y, x, channel));
        if (++x == step->width) x = 0, y++;
    }
    return largest;
}

/* A convolution of any kernel: some pixels, at most MOST, and some blocks of channels. */
static void igemm(const Step *step, const Scratch *scratch, Span pixels, Span blocks) {
    const int count = pixels.end - pixels.begin;
    const float size = step->peak_in ? 32768.0f / (float)rounding_factor(step->peak_in) : 1.0f;
    const uint8_t *rows[MOST];
    for (int i = 0; i < count; i++) {
        const int y = (pixels.begin + i) / step->width, x = (pixels.begin + i) % step->width;
        rows[i] = (const uint8_t *)step->from + y * step->from_pitch + x * step->from_stride;
    }
    __m512 largest = _mm512_setzero_ps();
    for (int b = blocks.begin; b < blocks.end; b++) {
        const int first = b * BLOCK, wide = at_most(BLOCK, step->channels - first);
        const int8_t *weights = step->weights + (size_t)first * step->depth * step->tap_count;
        for (int i = 0; i < count; i += ROWS) {
            const Inputs in = {
                rows + i, step->taps, at_most(ROWS, count - i), step->tap_count, step->depth};
            dot(&in, wide / LANES, weights, step->sums + first, scratch->sums + i * wide);
        }
        for (int c = 0; c < wide; c += LANES)
            largest = _mm512_max_ps(
                largest, write_pixels(step, scratch->sums + c, wide, pixels, first + c, size));
    }
    raise_peak(step->peak_out, largest);
}

/* Rows become columns and columns rows. */
static inline __attribute__((always_inline)) void transpose(__m512 v[LANES]) {
    __m512 a[LANES], b[LANES];
#pragma GCC unroll 8
    for (int i = 0; i < LANES; i += 2) {
        a[i] = _mm512_unpacklo_ps(v[i], v[i + 1]);
        a[i + 1] = _mm512_unpackhi_ps(v[i], v[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < LANES; i += 4)
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++) {
            b[i + 2 * j] = _mm512_shuffle_ps(a[i + j], a[i + j + 2], 0x44);
            b[i + 2 * j + 1] = _mm512_shuffle_ps(a[i + j], a[i + j + 2], 0xee);
        }
#pragma GCC unroll 2
    for (int i = 0; i < LANES; i += 8)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            a[i + j] = _mm512_shuffle_f32x4(b[i + j], b[i + j + 4], 0x88);
            a[i + j + 4] = _mm512_shuffle_f32x4(b[i + j], b[i + j + 4], 0xdd);
        }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        v[i] = _mm512_shuffle_f32x4(a[i], a[i + 8], 0x88);
        v[i + 8] = _mm512_shuffle_f32x4(a[i], a[i + 8], 0xdd);
    }
}

/* What an avatar's face gives, float32 channels x height x width: some of its rows. */
static void convert(const Step *step, Span rows) {
    const size_t plane = (size_t)step->height * step->width;
    __m512 largest = _mm512_setzero_ps();
    for (int y = rows.begin; y < rows.end; y++)
        for (int x = 0; x < step->width; x += LANES)
            for (int c = 0; c < step->channels; c += LANES) {
                const int count = at_most(LANES, step->width - x);
                const __mmask16 have = (__mmask16)((1u << count) - 1);
                const float *from = (const float *)step->from + c * plane + y * step->width + x;
                int16_t *to = (int16_t *)step->to + y * step->to_pitch + x * step->to_stride + c;
                __m512 v[LANES];
#pragma GCC unroll 16
                for (int i = 0; i < LANES; i++) {
                    v[i] = _mm512_mul_ps(_mm512_maskz_loadu_ps(have, from + i * plane),
                                         _mm512_set1_ps(step->unit));
                    v[i] = _mm512_max_ps(_mm512_min_ps(v[i], _mm512_set1_ps(TOP)),
                                         _mm512_set1_ps(-TOP));
                    largest = _mm512_max_ps(largest, v[i]);
                }
                transpose(v);
                for (int i = 0; i < count; i++)
                    _mm256_storeu_si256((__m256i *)(to + i * step->to_stride),
                                        _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(v[i])));
            }
    raise_peak(step->peak_out, largest);
}

/* The mel window, float32 bands x columns, to unsigned levels, 128 for nothing. */
static void quantize_f32(const Step *step) {
    for (int y = 0; y < step->height; y++)
        for (int x = 0; x < step->width; x++) {
            const float level = ((const float *)step->from)[y * step->width + x] * step->unit;
            const float fits = level > 127.0f ? 127.0f : level < -127.0f ? -127.0f : level;
            ((uint8_t *)step->to)[y * step->to_pitch + x * step->to_stride] =
                (uint8_t)(__builtin_rintf(fits) + 128.0f);
        }
}

/* e^x by 2^n times the Taylor series of the rest, to 2e-7 of the value. */
static inline __m512 exponential(__m512 x) {
    static const float terms[] = {1 / 720.f, 1 / 120.f, 1 / 24.f, 1 / 6.f, 0.5f, 1.0f, 1.0f};
    const __m512 powers = _mm512_mul_ps(x, _mm512_set1_ps(1.44269504f));
    const __m512 n = _mm512_roundscale_ps(powers, _MM_FROUND_TO_NEAREST_INT);
    const __m512 rest = _mm512_mul_ps(_mm512_sub_ps(powers, n), _mm512_set1_ps(0.693147181f));
    __m512 sum = _mm512_setzero_ps();
    for (int i = 0; i < 7; i++) sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(terms[i]));
    return _mm512_scalef_ps(sum, n);
}

/* Three sums of one pixel's channels, negative, LANES numbers apart. */
static inline void mix(const Step *step, const int16_t *from, float *to) {
    __m512 sums[3] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
    for (int c = 0; c < step->depth; c += LANES) {
        const __m256i some = _mm256_loadu_si256((const __m256i *)(from + c));
        const __m512 value = _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(some));
        for (int o = 0; o < 3; o++)
            sums[o] = _mm512_fmadd_ps(
                value, _mm512_loadu_ps(step->scales + o * step->depth + c), sums[o]);
    }
    for (int o = 0; o < 3; o++) to[o * LANES] = -(_mm512_reduce_add_ps(sums[o]) + step->bias[o]);
}

/* The last 1 x 1 convolution, its sigmoid, and the picture's levels: some rows of it. */
static void sigmoid(const Step *step, Span rows) {
    for (int y = rows.begin; y < rows.end; y++)
        for (int x = 0; x < step->width; x += LANES) {
            const int count = at_most(LANES, step->width - x);
            float sums[3][LANES] = {{0}};
            for (int i = 0; i < count; i++)
                mix(step, (const int16_t *)step->from + y * step->from_pitch +
                              (x + i) * step->from_stride, &sums[0][i]);
            uint8_t *to = (uint8_t *)step->to + ((size_t)y * step->width + x) * 3;
            for (int o = 0; o < 3; o++) {
                const __m512 power = exponential(_mm512_loadu_ps(sums[o]));
                const __m512 image = _mm512_div_ps(
                    _mm512_set1_ps(255.0f), _mm512_add_ps(power, _mm512_set1_ps(1.0f)));
                int32_t levels[LANES];
                _mm512_storeu_si512(levels, _mm512_cvtps_epi32(image));
                for (int i = 0; i < count; i++) to[i * 3 + o] = (uint8_t)levels[i];
            }
        }
}

#endif
