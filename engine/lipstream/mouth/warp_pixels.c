/* What the compositor does for every pixel that moves; `drawing.py` says the same in numpy and OpenCV.
 *
 * Pictures are rows of BGR bytes. A grid is rows of (across, down) floats in head units; its first
 * node stands at the left and top of the part that moves. For processors with AVX2.
 */
#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ABI 3 /* raised whenever this and drawing.py have to change together */
#define ONE 32767 /* of shares of a pixel, 15 bits */
#define SLOPE 22938 /* 0.7 and 0.4 of 32768: the outer of four neighbours weigh -t (1 - t) (0.7 - 0.4 t) */
#define BEND 13107
#define DOWN 100 /* sum of a column's weights: with it 8 bits hold them, and 16 bits what overshoots */
#define ACROSS 20972 /* of a row's; DOWN times it is 1 << LEVEL but for 2 in 100,000 */
#define LEVEL 21
#define SETTLED 1e-4f /* cells: a place that moved less has been found */
#define LAYERS 5 /* most layers in an open mouth */
#define LIGHTS 3 /* kinds of light in it */
#define CELLS 40 /* most cells across on which light is worked out */
#define AHEAD 8 /* rows of a picture that are asked for before they are read */
#define INLINE static inline __attribute__((always_inline))
#define LEAST 1e-5f /* weight of what does not count: nothing is divided by zero */

typedef struct {
    const uint8_t *pixels;
    int64_t stride; /* bytes from a row to the next; all rows are less than 2 GiB */
    int32_t height, width;
} Picture;

typedef struct {
    int32_t left, top, height, width; /* pixels of the picture, or nodes of a grid */
} Box;

/* Teeth or a tongue: (height, width, 4) BGR levels times alpha, alpha 0 to 1. */
typedef struct {
    const float *pixels;
    int32_t height, width;
    float place[6]; /* from pixels of the opening to those of the layer, (2, 3) */
    float light[3]; /* factors of B, G and R */
    int32_t own; /* whether the second light falls on it */
} Layer;

/* What stands between the lips. Its lights are (high, wide) factors, stretched over it. */
typedef struct {
    Box box;
    float dark[3]; /* BGR levels at the back */
    int32_t count, behind; /* layers, and how many of them stand in the first light */
    Layer layers[LAYERS];
    const float *lights[LIGHTS]; /* on all behind; on own layers; on all; NULL: full light */
    int32_t high, wide;
} Opening;

/* A box of a picture whose parts move. */
typedef struct {
    Picture picture;
    const float *above, *below; /* grids: where what is seen comes from, of both sides of the seam */
    int32_t rows, columns; /* of the grids */
    double to_cells[6]; /* (2, 3): pixels to cells of the grids */
    double to_pixels[4]; /* (2, 2): head units to pixels */
    Box box; /* what is drawn */
    Box band; /* the part of it where the sides differ */
    const uint8_t *upper, *lower; /* (band): how much is above the upper edge, below the lower, of 255 */
    const Opening *opening; /* NULL: the lips are closed */
    int32_t step; /* pixels between the nodes at which places are worked out */
} Scene;

static inline int clamp(int value, int most) { return value < 0 ? 0 : value > most ? most : value; }

/* Eight nodes and their right neighbours as four rows: across and down of the one, of the other. */
static inline void turn_pairs(const float *grid, const int32_t node[8], __m256 rows[4]) {
    __m256 pair[4];
    for (int k = 0; k < 4; k++) {
        const __m128 first = _mm_loadu_ps(grid + 2 * (int64_t)node[k]);
        const __m128 second = _mm_loadu_ps(grid + 2 * (int64_t)node[k + 4]);
        pair[k] = _mm256_insertf128_ps(_mm256_castps128_ps256(first), second, 1);
    }
    const __m256 left = _mm256_unpacklo_ps(pair[0], pair[1]), right = _mm256_unpackhi_ps(pair[0], pair[1]);
    const __m256 more = _mm256_unpacklo_ps(pair[2], pair[3]), rest = _mm256_unpackhi_ps(pair[2], pair[3]);
    rows[0] = _mm256_shuffle_ps(left, more, 0x44), rows[1] = _mm256_shuffle_ps(left, more, 0xee);
    rows[2] = _mm256_shuffle_ps(right, rest, 0x44), rows[3] = _mm256_shuffle_ps(right, rest, 0xee);
}

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
    int32_t node[8];
    _mm256_storeu_si256((__m256i *)node,
                        _mm256_add_epi32(_mm256_mullo_epi32(row, _mm256_set1_epi32(columns)), column));
    __m256 above[4], below[4]; /* a node's own across and down, then its right neighbour's */
    turn_pairs(grid, node, above), turn_pairs(grid + 2 * columns, node, below);
    for (int k = 0; k < 2; k++) {
        const __m256 top = _mm256_fmadd_ps(right, _mm256_sub_ps(above[k + 2], above[k]), above[k]);
        const __m256 bottom = _mm256_fmadd_ps(right, _mm256_sub_ps(below[k + 2], below[k]), below[k]);
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

/* Where each node of a part of a grid comes from when all move by `motion`: a relaxed fixed point. */
void lipstream_inverse(const float *motion, float *back, int rows, int columns, const Box *part,
                       float step, float relaxation, int iterations) {
    const int stop = part->left + part->width;
    for (int row = part->top; row < part->top + part->height; row++)
        for (int column = part->left; column < stop; column += 8) {
            __m256 place[2];
            float found[2][8];
            invert_8(motion, rows, columns, row, column, 1 / step, relaxation, iterations, place);
            for (int k = 0; k < 2; k++) _mm256_storeu_ps(found[k], place[k]);
            float *to = back + 2 * ((int64_t)row * columns + column);
            for (int k = 0; k < 8 && column + k < stop; k++)
                to[2 * k] = found[0][k], to[2 * k + 1] = found[1][k];
        }
}

/* How far from each pixel of a box lies what is seen there: nodes of a coarse grid, stretched. */
typedef struct {
    Box box;
    float *nodes; /* rows of `wide` offsets across, then as many down, pixels */
    float *rows[2]; /* the two of them round a row of the box, `length` across, then `length` down */
    int first; /* which rows those are; -2: none yet */
    int wide, length, step;
} Field;

static inline __m256 eight(void) { return _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7); }

/* Find the offsets of the nodes. Node (i, j) stands at pixel ((j - 1/2) step - 1/2, (i - 1/2) step -
 * 1/2) of the box. Beyond the part that moves nothing does. */
static void find_nodes(const Scene *scene, const float *back, const Field *field, int high) {
    const double *to_cells = scene->to_cells, *to_pixels = scene->to_pixels;
    const int step = field->step, rows = scene->rows, columns = scene->columns;
    const double left = field->box.left - 0.5 - 0.5 * step, top = field->box.top - 0.5 - 0.5 * step;
    const __m256 across_a_node = _mm256_set1_ps((float)(to_cells[0] * step));
    const __m256 down_a_node = _mm256_set1_ps((float)(to_cells[3] * step));
    const __m256 right = _mm256_set1_ps(columns - 1), low = _mm256_set1_ps(rows - 1);
    for (int i = 0; i < high; i++) {
        const double y = top + (double)i * step;
        const __m256 first = _mm256_set1_ps((float)(to_cells[0] * left + to_cells[1] * y + to_cells[2]));
        const __m256 begin = _mm256_set1_ps((float)(to_cells[3] * left + to_cells[4] * y + to_cells[5]));
        float *across = field->nodes + 2 * (int64_t)i * field->wide, *down = across + field->wide;
        for (int j = 0; j < field->wide; j += 8) {
            const __m256 node = _mm256_add_ps(_mm256_set1_ps(j), eight());
            const __m256 x = _mm256_fmadd_ps(node, across_a_node, first);
            const __m256 v = _mm256_fmadd_ps(node, down_a_node, begin);
            __m256 from[2];
            grid_at_8(back, rows, columns, x, v, from);
            const __m256 least = _mm256_min_ps(x, v), zero = _mm256_setzero_ps();
            __m256 inside = _mm256_cmp_ps(least, zero, _CMP_GE_OQ);
            inside = _mm256_and_ps(inside, _mm256_cmp_ps(x, right, _CMP_LT_OQ));
            inside = _mm256_and_ps(inside, _mm256_cmp_ps(v, low, _CMP_LT_OQ));
            for (int k = 0; k < 2; k++) {
                const __m256 beside = _mm256_mul_ps(_mm256_set1_ps((float)to_pixels[2 * k]), from[0]);
                const __m256 turn = _mm256_set1_ps((float)to_pixels[2 * k + 1]);
                const __m256 both = _mm256_fmadd_ps(turn, from[1], beside);
                _mm256_storeu_ps((k ? down : across) + j, _mm256_and_ps(inside, both));
            }
        }
    }
}

/* Stretch one row of nodes over the pixels of a row. */
static void stretch(const Field *field, int row, float *stretched) {
    const float *line = field->nodes + 2 * (int64_t)row * field->wide;
    const __m256 half = _mm256_set1_ps(0.5f), scale = _mm256_set1_ps(1.0f / field->step);
    const __m256i last = _mm256_set1_epi32((field->box.width + field->step - 1) / field->step);
    for (int x = 0; x < field->length; x += 8) {
        const __m256 middle = _mm256_add_ps(_mm256_add_ps(_mm256_set1_ps(x), eight()), half);
        const __m256 beside = _mm256_fmadd_ps(middle, scale, half);
        const __m256i node = _mm256_min_epi32(_mm256_cvttps_epi32(beside), last);
        const __m256 part = _mm256_sub_ps(beside, _mm256_cvtepi32_ps(node));
        for (int k = 0; k < 2; k++) {
            const __m256 from = _mm256_i32gather_ps(line + k * field->wide, node, 4);
            const __m256 to = _mm256_i32gather_ps(line + k * field->wide + 1, node, 4);
            const __m256 found = _mm256_fmadd_ps(part, _mm256_sub_ps(to, from), from);
            _mm256_storeu_ps(stretched + k * field->length + x, found);
        }
    }
}

/* Have the rows round row `y` of the picture at hand; return how far it is from the first of them. */
static float go_to_row(Field *field, int y) {
    const float at = (y - field->box.top + 0.5f) / field->step + 0.5f;
    const int row = (int)at;
    if (row == field->first + 1) {
        float *first = field->rows[0];
        field->rows[0] = field->rows[1], field->rows[1] = first;
        stretch(field, row + 1, field->rows[1]);
    } else if (row != field->first) {
        for (int k = 0; k < 2; k++) stretch(field, row + k, field->rows[k]);
    }
    field->first = row;
    return at - row;
}

/* Where eight pixels come from. */
typedef struct {
    __m256 across, down; /* share of a pixel beyond the whole ones */
    __m256i column, row; /* whole pixels of the picture, inside it */
} Places;

/* Find the places of the pixels from column `x` of a field's box on, in row `y` of the picture.
 * Return whether the picture has all sixteen pixels round each, and a row below them: 16 bytes are
 * read where there are 12. */
static inline int find_places(const Picture *picture, const Field *field, float part, int x, int y,
                              Places *places) {
    const __m256 low = _mm256_set1_ps(part), zero = _mm256_setzero_ps();
    const __m256 at[2] = {_mm256_add_ps(_mm256_set1_ps(field->box.left + x), eight()), _mm256_set1_ps(y)};
    const int32_t most[2] = {picture->width - 1, picture->height - 1};
    __m256i *whole[2] = {&places->column, &places->row}, outside = _mm256_setzero_si256();
    __m256 *shares[2] = {&places->across, &places->down};
    for (int k = 0; k < 2; k++) {
        const __m256 from = _mm256_loadu_ps(field->rows[0] + k * field->length + x);
        const __m256 to = _mm256_loadu_ps(field->rows[1] + k * field->length + x);
        const __m256 offset = _mm256_fmadd_ps(low, _mm256_sub_ps(to, from), from);
        const __m256 place = _mm256_min_ps(_mm256_max_ps(_mm256_add_ps(offset, at[k]), zero),
                                           _mm256_set1_ps(most[k]));
        *whole[k] = _mm256_cvttps_epi32(place);
        *shares[k] = _mm256_sub_ps(place, _mm256_cvtepi32_ps(*whole[k]));
        const __m256i near = _mm256_set1_epi32(1), far = _mm256_set1_epi32(most[k] - 2 - k);
        outside = _mm256_or_si256(outside, _mm256_cmpgt_epi32(near, *whole[k]));
        outside = _mm256_or_si256(outside, _mm256_cmpgt_epi32(*whole[k], far));
    }
    return _mm256_testz_si256(outside, outside);
}

/* Weights of the four rows and columns round eight places, in pairs; the second four places follow
 * the first. */
typedef struct {
    __m256i rows[2]; /* 8 bits each, every pair twice */
    __m256i columns[2]; /* 16 bits each */
} Weights;

/* Sixteen numbers: of four places across, of the same down, and of the other four. */
static inline __m256i across_and_down(int16_t across, int16_t down) {
    return _mm256_setr_epi16(across, across, across, across, down, down, down, down, across, across,
                             across, across, down, down, down, down);
}

/* The outer two neighbours weigh less than nothing, which sharpens. What they take the inner two are
 * given so that sum and centre stay those of linear weights, and nothing but its sharpness changes. */
static inline Weights find_weights(const Places *places) {
    const __m256 scale = _mm256_set1_ps(ONE + 1);
    const __m256i at = _mm256_packs_epi32(_mm256_cvtps_epi32(_mm256_mul_ps(places->across, scale)),
                                          _mm256_cvtps_epi32(_mm256_mul_ps(places->down, scale)));
    const __m256i near = _mm256_mulhrs_epi16(at, _mm256_sub_epi16(_mm256_set1_epi16(ONE), at));
    const __m256i bent = _mm256_mulhrs_epi16(at, _mm256_set1_epi16(BEND));
    const __m256i first = _mm256_mulhrs_epi16(near, _mm256_sub_epi16(_mm256_set1_epi16(SLOPE), bent));
    const __m256i all = across_and_down(ACROSS, DOWN), zero = _mm256_setzero_si256();
    const __m256i right = _mm256_mulhrs_epi16(at, all), before = _mm256_mulhrs_epi16(first, all);
    const __m256i after = _mm256_mulhrs_epi16(_mm256_sub_epi16(near, first), all);
    const __m256i more = _mm256_sub_epi16(before, after);
    const __m256i outer[2] = {_mm256_sub_epi16(zero, before), _mm256_sub_epi16(zero, after)};
    const __m256i inner[2] = {
        _mm256_add_epi16(_mm256_sub_epi16(all, right), _mm256_add_epi16(before, more)),
        _mm256_add_epi16(right, _mm256_sub_epi16(after, more))};
    const __m256i low = _mm256_set1_epi16(255);
    const __m256i upper = _mm256_or_si256(_mm256_and_si256(outer[0], low), _mm256_slli_epi16(inner[0], 8));
    const __m256i lower = _mm256_or_si256(_mm256_and_si256(inner[1], low), _mm256_slli_epi16(outer[1], 8));
    return (Weights){
        {_mm256_unpackhi_epi16(upper, upper), _mm256_unpackhi_epi16(lower, lower)},
        {_mm256_unpacklo_epi16(outer[0], inner[0]), _mm256_unpacklo_epi16(inner[1], outer[1])}};
}

/* Sixteen bytes at one place and as many at another. */
static inline __m256i two_rows(const uint8_t *one, const uint8_t *other) {
    const __m256i first = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)one));
    return _mm256_inserti128_si256(first, _mm_loadu_si128((const __m128i *)other), 1);
}

/* The levels of two pixels by the sixteen from each place on: down the columns, then across. */
INLINE __m256i two_levels(const uint8_t *one, const uint8_t *other, int64_t stride, __m256i upper,
                          __m256i lower, __m256i left, __m256i right) {
    const __m256i a = two_rows(one, other), b = two_rows(one + stride, other + stride);
    const __m256i c = two_rows(one + 2 * stride, other + 2 * stride);
    const __m256i d = two_rows(one + 3 * stride, other + 3 * stride);
    const __m256i begin = _mm256_add_epi16(_mm256_maddubs_epi16(_mm256_unpacklo_epi8(a, b), upper),
                                           _mm256_maddubs_epi16(_mm256_unpacklo_epi8(c, d), lower));
    const __m256i rest = _mm256_add_epi16(_mm256_maddubs_epi16(_mm256_unpackhi_epi8(a, b), upper),
                                          _mm256_maddubs_epi16(_mm256_unpackhi_epi8(c, d), lower));
    const char no = -1; /* two neighbours become pairs of each channel */
    const __m256i pairs = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11, no, no, no, no));
    const __m256i first = _mm256_shuffle_epi8(begin, pairs);
    const __m256i second = _mm256_shuffle_epi8(_mm256_alignr_epi8(rest, begin, 12), pairs);
    const __m256i sum = _mm256_add_epi32(_mm256_madd_epi16(first, left), _mm256_madd_epi16(second, right));
    return _mm256_srai_epi32(_mm256_add_epi32(sum, _mm256_set1_epi32(1 << (LEVEL - 1))), LEVEL);
}

/* The levels of pixels k and k + 4 of eight. */
#define LEVELS(k) \
    two_levels(pixels + at[k], pixels + at[k + 4], stride, _mm256_shuffle_epi32(rows[0], 0x55 * k), \
               _mm256_shuffle_epi32(rows[1], 0x55 * k), _mm256_shuffle_epi32(columns[0], 0x55 * k), \
               _mm256_shuffle_epi32(columns[1], 0x55 * k))

/* Eight pixels, four bytes each; the sixteen round each begin `at` so many bytes. */
INLINE __m256i draw_found(const uint8_t *pixels, int64_t stride, const int32_t at[8], const Places *places) {
    const Weights weights = find_weights(places);
    const __m256i *rows = weights.rows, *columns = weights.columns;
    return _mm256_packus_epi16(_mm256_packs_epi32(LEVELS(0), LEVELS(1)),
                               _mm256_packs_epi32(LEVELS(2), LEVELS(3)));
}

/* Eight pixels round some of which the picture ends: its edge goes on there. */
static __attribute__((noinline)) __m256i draw_at_edge(const Picture *picture, const Places *places) {
    uint8_t round[8][4][16] = {0};
    int32_t column[8], row[8], at[8];
    _mm256_storeu_si256((__m256i *)column, places->column);
    _mm256_storeu_si256((__m256i *)row, places->row);
    for (int k = 0; k < 8; k++) {
        at[k] = k * (int32_t)sizeof round[k];
        for (int i = 0; i < 16; i++) {
            const int y = clamp(row[k] + i / 4 - 1, picture->height - 1);
            const int x = clamp(column[k] + i % 4 - 1, picture->width - 1);
            memcpy(round[k][i / 4] + i % 4 * 3, picture->pixels + y * picture->stride + 3 * (int64_t)x, 3);
        }
    }
    return draw_found(round[0][0], sizeof round[0][0], at, places);
}

static __m256i draw_8(const Scene *scene, const Field *field, float part, int x, int y) {
    const Picture *picture = &scene->picture;
    Places places;
    if (!find_places(picture, field, part, x, y, &places)) return draw_at_edge(picture, &places);
    const int64_t stride = picture->stride;
    const uint8_t *pixels = picture->pixels - stride - 3;
    const __m256i above = _mm256_mullo_epi32(places.row, _mm256_set1_epi32((int32_t)stride));
    const __m256i beside = _mm256_mullo_epi32(places.column, _mm256_set1_epi32(3));
    int32_t at[8];
    _mm256_storeu_si256((__m256i *)at, _mm256_add_epi32(above, beside));
    _mm_prefetch((const char *)(pixels + at[0] + AHEAD * stride), _MM_HINT_T0);
    return draw_found(pixels, stride, at, &places);
}

/* Draw a row's columns from `start` to `stop` and up to seven more, four bytes a pixel. */
static void draw_span(const Scene *scene, const Field *field, float part, int start, int stop, int y,
                      uint32_t *row) {
    for (int x = start; x < stop; x += 8)
        _mm256_storeu_si256((__m256i *)(row + x), draw_8(scene, field, part, x, y));
}

static inline __m256 shares_of(uint64_t levels) {
    const __m256i wide = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((int64_t)levels));
    return _mm256_div_ps(_mm256_cvtepi32_ps(wide), _mm256_set1_ps(255));
}

/* Two pixels of eight, weighed. */
static inline __m256i mix_two(__m256i first, __m256i second, __m256 one, __m256 other, int k) {
    const __m256i which = _mm256_setr_epi32(k, k, k, k, k + 1, k + 1, k + 1, k + 1);
    const __m256i at = _mm256_setr_epi32(k, k + 1, 0, 0, 0, 0, 0, 0);
    const __m128i here = _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(first, at));
    const __m128i there = _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(second, at));
    const __m256 a = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(here));
    const __m256 b = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(there));
    const __m256 rest = _mm256_mul_ps(b, _mm256_permutevar8x32_ps(other, which));
    return _mm256_cvtps_epi32(_mm256_fmadd_ps(a, _mm256_permutevar8x32_ps(one, which), rest));
}

/* Eight pixels of two pictures by the shares of each, as OpenCV's `blendLinear` has it. */
static inline __m256i mix_8(__m256i first, __m256i second, uint64_t upper, uint64_t lower) {
    const __m256 least = _mm256_set1_ps(LEAST);
    const __m256 a = _mm256_add_ps(shares_of(upper), least), b = _mm256_add_ps(shares_of(lower), least);
    const __m256 all = _mm256_add_ps(_mm256_add_ps(a, b), least);
    const __m256 one = _mm256_div_ps(a, all), other = _mm256_div_ps(b, all);
    const __m256i even = _mm256_packs_epi32(mix_two(first, second, one, other, 0),
                                            mix_two(first, second, one, other, 2));
    const __m256i odd = _mm256_packs_epi32(mix_two(first, second, one, other, 4),
                                           mix_two(first, second, one, other, 6));
    return _mm256_permutevar8x32_epi32(_mm256_packus_epi16(even, odd),
                                       _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* Eight bytes of a row, or so many of them as there are. */
static inline uint64_t mask_at(const uint8_t *mask, int x, int width) {
    uint64_t levels = 0;
    if (width - x >= 8) memcpy(&levels, mask + x, 8);
    else memcpy(&levels, mask + x, width - x);
    return levels;
}

/* Draw the columns of a row where the two sides of the seam differ. */
static void draw_band(const Scene *scene, const Field fields[2], const float parts[2], int y,
                      uint32_t *row) {
    const Box *band = &scene->band;
    const int64_t line = (int64_t)(y - band->top) * band->width;
    const uint64_t all = ~(uint64_t)0;
    for (int x = 0; x < band->width; x += 8) {
        const uint64_t upper = mask_at(scene->upper + line, x, band->width);
        const uint64_t lower = mask_at(scene->lower + line, x, band->width);
        const int column = x + band->left - scene->box.left;
        __m256i drawn;
        if (upper == all && !lower) {
            drawn = draw_8(scene, &fields[0], parts[0], column, y);
        } else if (lower == all && !upper) {
            drawn = draw_8(scene, &fields[1], parts[1], column, y);
        } else {
            const __m256i above = draw_8(scene, &fields[0], parts[0], column, y);
            drawn = mix_8(above, draw_8(scene, &fields[1], parts[1], column, y), upper, lower);
        }
        _mm256_storeu_si256((__m256i *)(row + column), drawn);
    }
}

/* A layer between four of its pixels, at a place told in them; nothing beyond its edge. */
static inline __m128 layer_at(const Layer *layer, float across, float down) {
    const __m128 nothing = _mm_setzero_ps();
    if (!(across > -1 && down > -1 && across < layer->width && down < layer->height)) return nothing;
    const int column = (int)(across + 1) - 1, row = (int)(down + 1) - 1;
    const float *at = layer->pixels + 4 * ((int64_t)row * layer->width + column);
    const int is_left = column >= 0, is_right = column + 1 < layer->width;
    __m128 rows[2];
    for (int k = 0; k < 2; k++, at += 4 * (int64_t)layer->width) {
        const int inside = row + k >= 0 && row + k < layer->height;
        const __m128 left = inside && is_left ? _mm_loadu_ps(at) : nothing;
        const __m128 right = inside && is_right ? _mm_loadu_ps(at + 4) : nothing;
        rows[k] = _mm_fmadd_ps(_mm_set1_ps(across - column), _mm_sub_ps(right, left), left);
    }
    return _mm_fmadd_ps(_mm_set1_ps(down - row), _mm_sub_ps(rows[1], rows[0]), rows[0]);
}

/* What shows between the lips at one place of the opening, by the lights there. */
static inline __m128 inner_at(const Opening *opening, int x, int y, const float lights[LIGHTS]) {
    const float *dark = opening->dark;
    __m128 seen = _mm_setr_ps(dark[0], dark[1], dark[2], 0);
    for (int k = 0; k < opening->count; k++) {
        const Layer *layer = &opening->layers[k];
        const float *to = layer->place, *light = layer->light;
        if (k == opening->behind) seen = _mm_mul_ps(seen, _mm_set1_ps(lights[0]));
        const __m128 found = layer_at(layer, to[0] * x + to[1] * y + to[2], to[3] * x + to[4] * y + to[5]);
        const __m128 lit = _mm_mul_ps(_mm_setr_ps(light[0], light[1], light[2], 0),
                                      _mm_set1_ps(layer->own ? lights[1] : 1));
        const __m128 through = _mm_sub_ps(_mm_set1_ps(1), _mm_shuffle_ps(found, found, 0xff));
        seen = _mm_fmadd_ps(found, lit, _mm_mul_ps(seen, through));
    }
    const float last = opening->count <= opening->behind ? lights[0] * lights[2] : lights[2];
    return _mm_mul_ps(seen, _mm_set1_ps(last));
}

/* Two neighbours of a row of cells that is stretched over `size` pixels, and how far it is between. */
static inline float between_cells(int x, int size, int cells, int *first) {
    float at = (x + 0.5f) * cells / size - 0.5f;
    at = at < 0 ? 0 : at > cells - 1 ? cells - 1 : at;
    *first = clamp((int)at, cells - 2);
    return at - *first;
}

/* Put what shows between the lips into a row, where neither of them is. `row` begins at the box. */
static void paint_opening(const Scene *scene, int y, uint32_t *row) {
    const Opening *opening = scene->opening;
    const Box *box = &opening->box, *band = &scene->band;
    const int64_t line = (int64_t)(y - band->top) * band->width - band->left;
    float lights[LIGHTS][CELLS];
    int cell, under;
    const float low = between_cells(y - box->top, box->height, opening->high, &under);
    for (int k = 0; k < LIGHTS; k++) {
        const float *above = opening->lights[k] ? opening->lights[k] + under * opening->wide : NULL;
        for (int j = 0; j < opening->wide; j++)
            lights[k][j] = above ? above[j] + low * (above[j + opening->wide] - above[j]) : 1;
    }
    for (int x = 0; x < box->width; x++) {
        const int upper = scene->upper[line + box->left + x], lower = scene->lower[line + box->left + x];
        if (upper + lower >= 255) continue;
        const float right = between_cells(x, box->width, opening->wide, &cell);
        float here[LIGHTS];
        for (int k = 0; k < LIGHTS; k++)
            here[k] = lights[k][cell] + right * (lights[k][cell + 1] - lights[k][cell]);
        uint32_t *pixel = row + box->left - scene->box.left + x;
        const __m128i whole = _mm_cvtps_epi32(inner_at(opening, x, y - box->top, here));
        const __m128i level = _mm_min_epi32(_mm_max_epi32(whole, _mm_setzero_si128()), _mm_set1_epi32(255));
        const __m128 inner = _mm_cvtepi32_ps(level);
        const __m128 lips = _mm_cvtepi32_ps(_mm_cvtepu8_epi32(_mm_cvtsi32_si128((int32_t)*pixel)));
        const float kept = upper / 255.0f + lower / 255.0f, shown = 1 - kept > LEAST ? 1 - kept : LEAST;
        const __m128 sum = _mm_fmadd_ps(inner, _mm_set1_ps(shown), _mm_mul_ps(lips, _mm_set1_ps(kept)));
        const __m128i mixed = _mm_cvtps_epi32(_mm_div_ps(sum, _mm_set1_ps(kept + shown + LEAST)));
        const __m128i narrow = _mm_packs_epi32(mixed, mixed);
        *pixel = (uint32_t)_mm_cvtsi128_si32(_mm_packus_epi16(narrow, narrow));
    }
}

/* Write a row of four bytes a pixel as one of three. */
static void pack_row(const uint32_t *row, int width, uint8_t *to) {
    const __m128i three = _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
    int x = 0;
    for (; x + 6 <= width; x += 4) {
        const __m128i four = _mm_loadu_si128((const __m128i *)(row + x));
        _mm_storeu_si128((__m128i *)(to + 3 * x), _mm_shuffle_epi8(four, three));
    }
    for (; x < width; x++) memcpy(to + 3 * x, row + x, 3);
}

static void draw_row(const Scene *scene, Field fields[2], int y, uint32_t *row) {
    const Box *box = &scene->box, *band = &scene->band;
    const int left = band->left - box->left, right = left + band->width;
    float parts[2] = {0, 0};
    if (y < band->top) {
        draw_span(scene, &fields[0], go_to_row(&fields[0], y), 0, box->width, y, row);
        return;
    }
    parts[1] = go_to_row(&fields[1], y);
    if (y >= band->top + band->height) {
        draw_span(scene, &fields[1], parts[1], 0, box->width, y, row);
        return;
    }
    parts[0] = go_to_row(&fields[0], y);
    draw_span(scene, &fields[1], parts[1], 0, left, y, row);
    draw_band(scene, fields, parts, y, row);
    draw_span(scene, &fields[1], parts[1], right, box->width, y, row);
    const Opening *opening = scene->opening;
    if (opening && y >= opening->box.top && y < opening->box.top + opening->box.height)
        paint_opening(scene, y, row);
}

/* Draw a box of a picture of 2 x 2 pixels or more: above the band by the one grid, below it by the
 * other, inside it by both, and between the lips what shows there. Return 0, or -1 when memory is
 * short. */
int lipstream_draw(const Scene *scene, uint8_t *drawn) {
    const Box *box = &scene->box, *band = &scene->band;
    const int step = scene->step, length = (box->width + 15) / 8 * 8; /* eight are drawn at once */
    const int wide = ((box->width + step - 1) / step + 2 + 7) / 8 * 8;
    const int bottoms[2] = {band->top + band->height, box->top + box->height};
    const int tops[2] = {box->top, band->top};
    const float *backs[2] = {scene->above, scene->below};
    Field fields[2];
    int failed = 0;
    uint32_t *row = malloc(sizeof(uint32_t) * length);
    for (int k = 0; k < 2; k++) {
        const int height = bottoms[k] - tops[k], high = (height + step - 1) / step + 2;
        float *memory = malloc(sizeof(float) * (2 * (size_t)high * wide + 4 * (size_t)length));
        float *rows = memory + (memory ? 2 * (size_t)high * wide : 0);
        const Box part = {box->left, tops[k], height, box->width};
        fields[k] = (Field){part, memory, {rows, rows + (memory ? 2 * length : 0)}, -2, wide, length, step};
        if (memory && height > 0) find_nodes(scene, backs[k], &fields[k], high);
        failed |= !memory;
    }
    failed |= !row;
    for (int y = 0; y < box->height && !failed; y++) {
        draw_row(scene, fields, box->top + y, row);
        pack_row(row, box->width, drawn + 3 * (int64_t)y * box->width);
    }
    free(fields[0].nodes), free(fields[1].nodes), free(row);
    return -failed;
}

int lipstream_warp_abi(void) { return ABI; }
