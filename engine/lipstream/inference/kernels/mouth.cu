// What the GPU does around the network of a mouth. Compiled by NVRTC for the card at hand
// (backends/cuda.py), and recorded with the network in one CUDA graph.

// A feature in the batch: where its first row lies, and the bytes of a row.
struct Place {
    unsigned long long address;
    unsigned long long row_bytes;
};

template <typename Word>
__device__ void copy_row(const void *from, void *to, unsigned long long bytes)
{
    const Word *source = (const Word *)from;
    Word *target = (Word *)to;
    unsigned int stride = gridDim.x * blockDim.x;
    unsigned long long words = bytes / sizeof(Word);
    for (unsigned long long k = blockIdx.x * blockDim.x + threadIdx.x; k < words; k += stride)
        target[k] = source[k];
}

// Copy the features of each row from the banks they lie in. Grid: (any, features, rows).
//
// `heads` has, for each row, `head_bytes` that begin with the address of each of its features; 0
// where the feature is in the batch already. Banks and batch begin at multiples of 256 bytes, so
// a row begins at a multiple of whatever power of two, up to 16, divides its size.
extern "C" __global__ void gather(const char *heads, int head_bytes, const Place *places)
{
    const unsigned long long *sources =
        (const unsigned long long *)(heads + (unsigned long long)blockIdx.z * head_bytes);
    const void *from = (const void *)sources[blockIdx.y];
    if (!from)
        return;
    Place place = places[blockIdx.y];
    void *to = (void *)(place.address + blockIdx.z * place.row_bytes);
    if (place.row_bytes % 16 == 0)
        copy_row<uint4>(from, to, place.row_bytes);
    else if (place.row_bytes % 4 == 0)
        copy_row<unsigned int>(from, to, place.row_bytes);
    else
        copy_row<unsigned char>(from, to, place.row_bytes);
}

// A picture into which a mouth goes, as far as the mouth can touch it. Sides are even.
struct Target {
    unsigned long long part;    // (height, width, 3) uint8 BGR
    unsigned long long detail;  // (height, width, 3) int16: what is faded where the mouth changes
    unsigned long long rest;    // (rows, side, 3) uint8 BGR: the mouth that changes nothing
    int height, width;
    float inverse[6];           // pixels of the part to pixels of the mouth
};

// What a row's head has after the addresses of its features.
struct Paste {
    unsigned long long target;  // address of its Target; 0 where nothing is pasted
    float openness;
    int unused;
};

struct Mouths {
    unsigned long long painted;  // (any, rows, side, 3) uint8 BGR: what the network made
    unsigned long long feather;  // (rows, side) float
    unsigned long long work;     // (any, 2, rows, side) float
    unsigned long long layers;   // (any, rows, side, 4) float: change in B, G, R; fading of detail
    int rows, side;
};

__device__ const Paste *paste_of(const char *heads, int head_bytes, int paste_at)
{
    return (const Paste *)(heads + (unsigned long long)blockIdx.z * head_bytes + paste_at);
}

__device__ int mirrored(int at, int size)
{
    return at < 0 ? -at : at >= size ? 2 * size - 2 - at : at;
}

// A Gaussian of sigma 1 over 9 pixels, `step` apart, of a line of `size`.
__device__ float blurred(const float *line, int at, int size, int step)
{
    const float weights[5] = {0.39894346f, 0.24197145f, 0.05399113f, 0.00443186f, 0.00013383f};
    float sum = weights[0] * line[at * step];
    for (int k = 1; k < 5; k++)
        sum += weights[k] * (line[mirrored(at - k, size) * step] + line[mirrored(at + k, size) * step]);
    return sum;
}

// Find what each mouth changes, and how much detail is to fade. Grid: (1, 1, rows): a block a mouth.
//
// The same as Compositor._layers (live/compositor.py), which says why.
extern "C" __global__ void change(const char *heads, int head_bytes, int paste_at, Mouths mouths)
{
    __shared__ int sums[4];
    const Paste *paste = paste_of(heads, head_bytes, paste_at);
    if (!paste->target)
        return;
    int side = mouths.side, count = mouths.rows * side;
    const Target *target = (const Target *)paste->target;
    const unsigned char *rest = (const unsigned char *)target->rest;
    const unsigned char *painted = (const unsigned char *)mouths.painted + 3ull * blockIdx.z * count;
    const float *feather = (const float *)mouths.feather;
    float *size = (float *)mouths.work + 2ull * blockIdx.z * count, *half_blurred = size + count;
    float4 *layers = (float4 *)mouths.layers + (unsigned long long)blockIdx.z * count;

    if (threadIdx.x < 4)
        sums[threadIdx.x] = 0;
    __syncthreads();
    int own[4] = {0, 0, 0, 0};
    for (int k = threadIdx.x; k < mouths.rows / 2 * side; k += blockDim.x)
        if (feather[k] < 0.5f) {
            for (int c = 0; c < 3; c++)
                own[c] += painted[3 * k + c] - rest[3 * k + c];
            own[3]++;
        }
    for (int c = 0; c < 4; c++)
        atomicAdd(&sums[c], own[c]);
    __syncthreads();
    float seam[3];  // its colour is matched
    for (int c = 0; c < 3; c++)
        seam[c] = sums[3] ? (float)((double)sums[c] / sums[3]) : 0.0f;

    for (int k = threadIdx.x; k < count; k += blockDim.x) {
        float most = 0.0f;
        for (int c = 0; c < 3; c++)
            most = fmaxf(most, fabsf((float)(painted[3 * k + c] - rest[3 * k + c]) - seam[c]));
        size[k] = most;
    }
    __syncthreads();
    for (int k = threadIdx.x; k < count; k += blockDim.x)
        half_blurred[k] = blurred(size + k / side * side, k % side, side, 1);
    __syncthreads();
    for (int k = threadIdx.x; k < count; k += blockDim.x) {
        float full = blurred(half_blurred + k % side, k / side, mouths.rows, side);
        float fade = fminf(fmaxf((full - 4.0f) * (1.0f / 16.0f), 0.0f), 1.0f);
        float share = feather[k] * paste->openness, made[3];
        for (int c = 0; c < 3; c++)
            made[c] = ((float)(painted[3 * k + c] - rest[3 * k + c]) - seam[c]) * share;
        layers[k] = float4{made[0], made[1], made[2], fade * share};
    }
}

// Weights of four pixels for a place `at` between the second and the third: Keys' cubic, a = -0.75.
__device__ void cubic(float at, float *weights)
{
    const float a = -0.75f;
    float next = at + 1.0f, left = 1.0f - at;
    weights[0] = ((a * next - 5.0f * a) * next + 8.0f * a) * next - 4.0f * a;
    weights[1] = ((a + 2.0f) * at - (a + 3.0f)) * at * at + 1.0f;
    weights[2] = ((a + 2.0f) * left - (a + 3.0f)) * left * left + 1.0f;
    weights[3] = 1.0f - weights[0] - weights[1] - weights[2];
}

// Scale layers up: what they say of one pixel of the part; nothing outside of them.
__device__ float4 scaled(const float4 *layers, int rows, int side, const float *inverse, int x, int y)
{
    float u = inverse[0] * x + inverse[1] * y + inverse[2];
    float v = inverse[3] * x + inverse[4] * y + inverse[5];
    float left = floorf(u), top = floorf(v), across[4], down[4];
    cubic(u - left, across);
    cubic(v - top, down);
    float4 sum = {0.0f, 0.0f, 0.0f, 0.0f};
    for (int j = 0; j < 4; j++) {
        int row = (int)top - 1 + j;
        for (int i = 0; i < 4; i++) {
            int column = (int)left - 1 + i;
            if (row < 0 || row >= rows || column < 0 || column >= side)
                continue;
            float4 one = layers[row * side + column];
            float weight = across[i] * down[j];
            sum.x += weight * one.x;
            sum.y += weight * one.y;
            sum.z += weight * one.z;
            sum.w += weight * one.w;
        }
    }
    return sum;
}

__device__ int level(float value)
{
    return min(max(__float2int_rn(value), 0), 255);
}

// Add what `change` found to the pictures: I420 of each part. Grid: (any, 1, rows).
//
// A thread makes two by two pixels, whose mean is their colour. `patches` has `patch_bytes` for each
// row: luma (height, width), then blue and red (height / 2, width / 2). BT.601, 16 to 235.
extern "C" __global__ void paste(
    const char *heads, int head_bytes, int paste_at, Mouths mouths, unsigned char *patches, int patch_bytes)
{
    const Paste *row = paste_of(heads, head_bytes, paste_at);
    if (!row->target)
        return;
    const Target target = *(const Target *)row->target;
    const unsigned char *part = (const unsigned char *)target.part;
    const short *detail = (const short *)target.detail;
    const float4 *layers =
        (const float4 *)mouths.layers + (unsigned long long)blockIdx.z * mouths.rows * mouths.side;
    int width = target.width, quads = target.height / 2 * (width / 2);
    unsigned char *luma = patches + (unsigned long long)blockIdx.z * patch_bytes;
    unsigned char *blue = luma + 4 * quads, *red = blue + quads;
    for (int quad = blockIdx.x * blockDim.x + threadIdx.x; quad < quads; quad += gridDim.x * blockDim.x) {
        int sums[3] = {0, 0, 0};
        for (int k = 0; k < 4; k++) {
            int x = quad % (width / 2) * 2 + k % 2, y = quad / (width / 2) * 2 + k / 2;
            int at = y * width + x;
            float4 one = scaled(layers, mouths.rows, mouths.side, target.inverse, x, y);
            int b = level(part[3 * at] + (one.x - one.w * detail[3 * at]));
            int g = level(part[3 * at + 1] + (one.y - one.w * detail[3 * at + 1]));
            int r = level(part[3 * at + 2] + (one.z - one.w * detail[3 * at + 2]));
            luma[at] = (102760 * b + 528482 * g + 269484 * r + (16 << 20) + (1 << 19)) >> 20;
            sums[0] += b, sums[1] += g, sums[2] += r;
        }
        int b = (sums[0] + 2) >> 2, g = (sums[1] + 2) >> 2, r = (sums[2] + 2) >> 2;
        const float full = 112.0f / 255.0f;  // 224 levels, half of them on each side of 128
        blue[quad] = level(full * (b - 0.587f / 0.886f * g - 0.299f / 0.886f * r) + 128.0f);
        red[quad] = level(full * (r - 0.114f / 0.701f * b - 0.587f / 0.701f * g) + 128.0f);
    }
}
