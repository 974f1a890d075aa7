// Our kernels on the processor: the words of CUDA that they use, for an ordinary C++ compiler. A
// thread of a block is a thread of the processor, and blocks run one after the other.

#include <algorithm>
#include <barrier>
#include <cmath>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __shared__ static

struct Place3 {
    unsigned int x, y, z;
};
struct uint4 {
    unsigned int x, y, z, w;
};
struct alignas(16) float4 {
    float x, y, z, w;
};

static thread_local Place3 threadIdx, blockIdx;
static Place3 blockDim, gridDim;
static std::barrier<> *in_step;

static inline void __syncthreads() { in_step->arrive_and_wait(); }
static inline int atomicAdd(int *to, int what) { return __atomic_fetch_add(to, what, __ATOMIC_RELAXED); }
static inline int __float2int_rn(float value) { return (int)lrintf(value); }

using std::max;
using std::min;

#include KERNELS

template <typename... Types, size_t... Numbers>
static void call(void (*kernel)(Types...), void **arguments, std::index_sequence<Numbers...>)
{
    kernel(*(Types *)arguments[Numbers]...);
}

template <typename... Types>
static void call(void (*kernel)(Types...), void **arguments)
{
    call(kernel, arguments, std::index_sequence_for<Types...>());
}

static void run_kernel(const char *name, void **arguments)
{
    if (!strcmp(name, "gather"))
        call(gather, arguments);
    else if (!strcmp(name, "change"))
        call(change, arguments);
    else if (!strcmp(name, "paste"))
        call(paste, arguments);
}

extern "C" void launch(
    const char *name, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int threads, void **arguments)
{
    gridDim = {gx, gy, gz};
    blockDim = {threads, 1, 1};
    std::barrier<> barrier(threads);
    in_step = &barrier;
    auto one = [&](unsigned int number) {
        threadIdx = {number, 0, 0};
        for (unsigned int block = 0; block < gx * gy * gz; block++) {
            blockIdx = {block % gx, block / gx % gy, block / gx / gy};
            run_kernel(name, arguments);
            barrier.arrive_and_wait();
        }
    };
    std::vector<std::thread> all;
    for (unsigned int number = 0; number < threads; number++)
        all.emplace_back(one, number);
    for (auto &thread : all)
        thread.join();
}
