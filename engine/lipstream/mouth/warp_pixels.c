/* What the compositor does for every pixel that moves; `rig.py` says the same in numpy and OpenCV.
 *
 * Pictures are rows of BGR bytes. A grid is rows of (across, down) floats in head units; its first
 * node stands at the left and top of the part that moves. For processors with AVX2.
 */
#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ABI 1 /* raised whenever this and rig.py have to change together */
#define CUBIC (-0.75f) /* slope of the cubic kernel (Keys 1981), the one that OpenCV takes */
#define ONE 16384 /* weights of pixels are whole numbers of this sum */
#define SETTLED 1e-4f /* cells: a place that moved less has been found */

typedef struct {
    const uint8_t *pixels;
    int64_t stride; /* bytes from a row to the next */
    int32_t height, width;
} Picture;

typedef struct {
    int32_t left, top, height, width; /* pixels of the picture */
} Box;

static inline int clamp(int value, int most) { return value < 0 ? 0 : value > most ? most : value; }

/* Eight values of a grid at places told in cells; beyond its edge as at the edge. */
static inline void grid_at_8(const float *grid, int rows, int columns, __m256 across, __m256 down,
                             __m256 found[2]) {
    across = _mm256_min_ps(_mm256_max_ps(across, _mm256_setzero_ps()), _mm256_set1_ps(columns - 1));
    down = _mm256_min_ps(_mm256_max_ps(down, _mm256_setzero_ps()), _mm256_set1_ps(rows - 1));
    const __m256i last_column = _mm256_set1_epi32(columns - 2), last_row = _mm256_set1_epi32(rows - 2);
    const __m256i column = _mm256_min_epi32(_mm256_cvttps_epi32(across), last_column);
    const __m256i row = _mm256_min_epi32(_mm256_cvttps_epi32(down), last_row);
    const __m256 right = _mm256_sub_ps(across, _mm256_cvtepi32_ps(column));
    const __m256 low = _mm256_sub_ps(down, _mm256_cvtepi32_ps(row));
    const __m256i node = _mm256_add_epi32(_mm256_mullo_epi32(row, _mm256_set1_epi32(columns)), column);
    const __m256i at = _mm256_slli_epi32(node, 1);
    for (int k = 0; k < 2; k++) {
        const float *first = grid + k, *below = first + 2 * columns;
        const __m256 a = _mm256_i32gather_ps(first, at, 4), b = _mm256_i32gather_ps(first + 2, at, 4);
        const __m256 c = _mm256_i32gather_ps(below, at, 4), d = _mm256_i32gather_ps(below + 2, at, 4);
        const __m256 top = _mm256_fmadd_ps(right, _mm256_sub_ps(b, a), a);
        const __m256 bottom = _mm256_fmadd_ps(right, _mm256_sub_ps(d, c), c);
        found[k] = _mm256_fmadd_ps(low, _mm256_sub_ps(bottom, top), top);
    }
}

/* Where eight nodes of a row come from; their motions are at hand. */
static inline void invert_8(const float *motion, int rows, int columns, int row, int column,
                            float cells, float relaxation, int iterations, __m256 place[2]) {
    const __m256 eight = _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256 x = _mm256_add_ps(_mm256_set1_ps(column), eight), y = _mm256_set1_ps(row);
    const __m256 share = _mm256_set1_ps(-relaxation), scale = _mm256_set1_ps(cells);
    const __m256 settled = _mm256_set1_ps(SETTLED / cells), sign = _mm256_set1_ps(-0.0f);
    __m256 there[2];
    grid_at_8(motion, rows, columns, x, y, there);
    for (int k = 0; k < 2; k++) place[k] = _mm256_xor_ps(there[k], sign);
    for (int done = 0; done < iterations; done++) {
        const __m256 across = _mm256_fmadd_ps(place[0], scale, x);
        const __m256 down = _mm256_fmadd_ps(place[1], scale, y);
        grid_at_8(motion, rows, columns, across, down, there);
        __m256 moved = _mm256_setzero_ps();
        for (int k = 0; k < 2; k++) {
            const __m256 more = _mm256_mul_ps(share, _mm256_add_ps(place[k], there[k]));
            place[k] = _mm256_add_ps(place[k], more);
            moved = _mm256_max_ps(moved, _mm256_andnot_ps(sign, more));
        }
        if (!_mm256_movemask_ps(_mm256_cmp_ps(moved, settled, _CMP_GT_OQ))) break;
    }
}

/* Where each node of a grid comes from when all move by `motion`: a relaxed fixed point. */
void lipstream_inverse(const float *motion, float *back, int rows, int columns, float step,
                       float relaxation, int iterations) {
    for (int row = 0; row < rows; row++)
        for (int column = 0; column < columns; column += 8) {
            __m256 place[2];
            float found[2][8];
            invert_8(motion, rows, columns, row, column, 1 / step, relaxation, iterations, place);
            for (int k = 0; k < 2; k++) _mm256_storeu_ps(found[k], place[k]);
            float *to = back + 2 * ((int64_t)row * columns + column);
            for (int k = 0; k < 8 && column + k < columns; k++)
                to[2 * k] = found[0][k], to[2 * k + 1] = found[1][k];
        }
}

/* Where the pixels of one row of a box come from. */
typedef struct {
    float *across, *down; /* pixels of the picture, inside it */
    int32_t *column, *row; /* whole pixels of those */
} Places;

/* Find the places of a row, eight at a time, from those of the nodes. `spare` pixels of the picture
 * stay right of a column and below a row. Up to 7 places more than `width` are written. */
static void find_places(const Picture *picture, const float *line, int width, int step, int spare,
                        const Places *places) {
    const __m256 eight = _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7), zero = _mm256_setzero_ps();
    const __m256 half = _mm256_set1_ps(0.5f), scale = _mm256_set1_ps(1.0f / step);
    const __m256 right = _mm256_set1_ps(picture->width - 1), low = _mm256_set1_ps(picture->height - 1);
    const __m256i last_column = _mm256_set1_epi32(picture->width - 1 - spare);
    const __m256i last_row = _mm256_set1_epi32(picture->height - 1 - spare);
    const __m256i last_node = _mm256_set1_epi32((width + step - 1) / step);
    for (int x = 0; x < width; x += 8) {
        const __m256 middle = _mm256_add_ps(_mm256_add_ps(_mm256_set1_ps(x), eight), half);
        const __m256 beside = _mm256_fmadd_ps(middle, scale, half);
        const __m256i node = _mm256_min_epi32(_mm256_cvttps_epi32(beside), last_node);
        const __m256 part = _mm256_sub_ps(beside, _mm256_cvtepi32_ps(node));
        __m256 place[2];
        for (int k = 0; k < 2; k++) {
            const __m256 from = _mm256_i32gather_ps(line + k, node, 8);
            const __m256 to = _mm256_i32gather_ps(line + k + 2, node, 8);
            place[k] = _mm256_max_ps(_mm256_fmadd_ps(part, _mm256_sub_ps(to, from), from), zero);
        }
        place[0] = _mm256_min_ps(place[0], right), place[1] = _mm256_min_ps(place[1], low);
        const __m256i column = _mm256_min_epi32(_mm256_cvttps_epi32(place[0]), last_column);
        const __m256i row = _mm256_min_epi32(_mm256_cvttps_epi32(place[1]), last_row);
        _mm256_storeu_ps(places->across + x, _mm256_sub_ps(place[0], _mm256_cvtepi32_ps(column)));
        _mm256_storeu_ps(places->down + x, _mm256_sub_ps(place[1], _mm256_cvtepi32_ps(row)));
        _mm256_storeu_si256((__m256i *)(places->column + x), column);
        _mm256_storeu_si256((__m256i *)(places->row + x), row);
    }
}

/* Sixteen bytes of a picture, or so many of them as there are. */
static inline __m128i bytes(const uint8_t *at, const uint8_t *end) {
    if (end - at >= 16) return _mm_loadu_si128((const __m128i *)at);
    uint8_t read[16] = {0};
    memcpy(read, at, end - at);
    return _mm_loadu_si128((const __m128i *)read);
}

/* Two neighbours of a row as pairs of each channel. */
static inline __m128i pairs(__m128i read, int first) {
    const char a = (char)first, b = (char)(first + 3), no = -1;
    return _mm_shuffle_epi8(read, _mm_setr_epi8(a, no, b, no, a + 1, no, b + 1, no, a + 2, no, b + 2,
                                                no, no, no, no, no));
}

static inline void put(__m128i level, uint8_t *to) {
    const __m128i narrow = _mm_packs_epi32(level, level);
    const int packed = _mm_cvtsi128_si32(_mm_packus_epi16(narrow, narrow));
    memcpy(to, &packed, 3);
}

/* The weights of the four pixels round each of eight places: of the upper two, then the lower. */
static inline void linear_weights(const float *across, const float *down, int32_t pairs[2][8]) {
    const __m256 one = _mm256_set1_ps(ONE), beside = _mm256_mul_ps(_mm256_loadu_ps(across), one);
    const __m256 low = _mm256_loadu_ps(down);
    const __m256i right = _mm256_cvtps_epi32(beside);
    const __m256i below = _mm256_cvtps_epi32(_mm256_mul_ps(low, one));
    const __m256i both = _mm256_cvtps_epi32(_mm256_mul_ps(beside, low));
    const __m256i upper_right = _mm256_sub_epi32(right, both), lower_left = _mm256_sub_epi32(below, both);
    __m256i upper_left = _mm256_sub_epi32(_mm256_set1_epi32(ONE), right);
    upper_left = _mm256_sub_epi32(upper_left, lower_left);
    const __m256i upper = _mm256_blend_epi16(upper_left, _mm256_slli_epi32(upper_right, 16), 0xaa);
    const __m256i lower = _mm256_blend_epi16(lower_left, _mm256_slli_epi32(both, 16), 0xaa);
    _mm256_storeu_si256((__m256i *)pairs[0], upper), _mm256_storeu_si256((__m256i *)pairs[1], lower);
}

static void draw_linear(const Picture *picture, const Places *places, int width, uint8_t *moved) {
    const int64_t stride = picture->stride;
    const uint8_t *last = picture->pixels + (picture->height - 1) * stride;
    const uint8_t *end = last + 3 * (int64_t)picture->width;
    const __m128i half = _mm_set1_epi32(ONE / 2);
    for (int x = 0; x < width; x += 8) {
        int32_t weights[2][8];
        linear_weights(places->across + x, places->down + x, weights);
        for (int k = 0; k < 8 && x + k < width; k++, moved += 3) {
            const uint8_t *at = picture->pixels + places->row[x + k] * stride;
            at += 3 * (int64_t)places->column[x + k];
            const __m128i top = pairs(bytes(at, end), 0), bottom = pairs(bytes(at + stride, end), 0);
            const __m128i upper = _mm_madd_epi16(top, _mm_set1_epi32(weights[0][k]));
            const __m128i lower = _mm_madd_epi16(bottom, _mm_set1_epi32(weights[1][k]));
            put(_mm_srai_epi32(_mm_add_epi32(_mm_add_epi32(upper, lower), half), 14), moved);
        }
    }
}

static inline void cubic_weights(float at, float weights[4]) {
    const float before = at + 1, after = 1 - at;
    weights[0] = ((CUBIC * before - 5 * CUBIC) * before + 8 * CUBIC) * before - 4 * CUBIC;
    weights[1] = ((CUBIC + 2) * at - (CUBIC + 3)) * at * at + 1;
    weights[2] = ((CUBIC + 2) * after - (CUBIC + 3)) * after * after + 1;
    weights[3] = 1 - weights[0] - weights[1] - weights[2];
}

/* Twelve bytes: a pixel's row from one to the left of it to two to the right. */
static inline __m128i four_pixels(const Picture *picture, const uint8_t *end, int row, int column) {
    const uint8_t *start = picture->pixels + clamp(row, picture->height - 1) * picture->stride;
    if (column > 0 && column + 2 < picture->width) return bytes(start + 3 * (int64_t)(column - 1), end);
    uint8_t read[16] = {0};
    for (int k = 0; k < 4; k++)
        memcpy(read + 3 * k, start + 3 * clamp(column + k - 1, picture->width - 1), 3);
    return _mm_loadu_si128((const __m128i *)read);
}

static void draw_cubic(const Picture *picture, const Places *places, int width, uint8_t *moved) {
    const uint8_t *last = picture->pixels + (picture->height - 1) * picture->stride;
    const uint8_t *end = last + 3 * (int64_t)picture->width;
    for (int x = 0; x < width; x++, moved += 3) {
        float across[4], down[4];
        cubic_weights(places->across[x], across), cubic_weights(places->down[x], down);
        const __m128i whole = _mm_cvtps_epi32(_mm_mul_ps(_mm_loadu_ps(across), _mm_set1_ps(ONE)));
        const __m128i both = _mm_packs_epi32(whole, whole); /* four weights of 16 bits, twice */
        const __m128i first = _mm_shuffle_epi32(both, 0x00), second = _mm_shuffle_epi32(both, 0x55);
        __m128 sum = _mm_setzero_ps();
        for (int k = 0; k < 4; k++) {
            const __m128i read = four_pixels(picture, end, places->row[x] + k - 1, places->column[x]);
            const __m128i left = _mm_madd_epi16(pairs(read, 0), first);
            const __m128i line = _mm_add_epi32(left, _mm_madd_epi16(pairs(read, 6), second));
            sum = _mm_fmadd_ps(_mm_set1_ps(down[k] * (1.0f / ONE)), _mm_cvtepi32_ps(line), sum);
        }
        put(_mm_cvtps_epi32(sum), moved);
    }
}

/* Where the nodes of a coarse grid over a box come from, pixels of the picture. Node (i, j) stands
 * at pixel ((j - 1/2) step - 1/2, (i - 1/2) step - 1/2) of the box. Beyond the part that moves
 * nothing does. */
static void find_sources(const float *back, int rows, int columns, const double *to_cells,
                         const double *to_pixels, Box box, int step, float *sources, int high,
                         int wide) {
    for (int i = 0; i < high; i++)
        for (int j = 0; j < wide; j++, sources += 2) {
            const double x = (j - 0.5) * step - 0.5 + box.left, y = (i - 0.5) * step - 0.5 + box.top;
            const float across = (float)(to_cells[0] * x + to_cells[1] * y + to_cells[2]);
            const float down = (float)(to_cells[3] * x + to_cells[4] * y + to_cells[5]);
            double from[2] = {0, 0};
            if (across >= 0 && across < columns - 1 && down >= 0 && down < rows - 1) {
                const float *above = back + 2 * ((int)down * columns + (int)across);
                const float *below = above + 2 * columns;
                const float right = across - (int)across, low = down - (int)down;
                for (int k = 0; k < 2; k++) {
                    const float top = above[k] + right * (above[k + 2] - above[k]);
                    from[k] = top + low * (below[k] + right * (below[k + 2] - below[k]) - top);
                }
            }
            sources[0] = (float)(x + to_pixels[0] * from[0] + to_pixels[1] * from[1]);
            sources[1] = (float)(y + to_pixels[2] * from[0] + to_pixels[3] * from[1]);
        }
}

/* Draw a box of a picture of 2 x 2 pixels or more, each pixel from where `back` leads. Return 0, or
 * -1 when memory is short.
 *
 * `to_cells` is the (2, 3) transform from pixels to cells of the grid, `to_pixels` the (2, 2) one
 * from head units to pixels. `step` pixels lie between the nodes that places are worked out at. */
int lipstream_warp(const Picture *picture, const float *back, int rows, int columns,
                   const double *to_cells, const double *to_pixels, const Box *box, int step,
                   int cubic, uint8_t *moved) {
    const int high = (box->height + step - 1) / step + 2, wide = (box->width + step - 1) / step + 2;
    const int length = box->width + 8; /* eight places are written at once */
    float *sources = malloc(sizeof(float) * 2 * ((size_t)high * wide + wide + length));
    int32_t *whole = malloc(sizeof(int32_t) * 2 * length);
    const int failed = !sources || !whole;
    if (!failed) {
        float *line = sources + 2 * (size_t)high * wide, *across = line + 2 * wide;
        const Places places = {across, across + length, whole, whole + length};
        find_sources(back, rows, columns, to_cells, to_pixels, *box, step, sources, high, wide);
        for (int y = 0; y < box->height; y++, moved += 3 * box->width) {
            const float at = (y + 0.5f) / step + 0.5f, part = at - (int)at;
            const float *above = sources + 2 * (int)at * wide, *below = above + 2 * wide;
            for (int k = 0; k < 2 * wide; k++) line[k] = above[k] + part * (below[k] - above[k]);
            find_places(picture, line, box->width, step, !cubic, &places);
            if (cubic) draw_cubic(picture, &places, box->width, moved);
            else draw_linear(picture, &places, box->width, moved);
        }
    }
    free(sources), free(whole);
    return -failed;
}

int lipstream_warp_abi(void) { return ABI; }
