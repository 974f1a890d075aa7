/* Runs the steps of one frame on one thread or several, which share each step out among them. */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "pixels.h"
#include "winograd.h"

enum { LOOKS = 4000 }; /* times a thread looks whether the others are done before it yields */

typedef struct Runner {
    const Step *steps;
    uint32_t *peaks;
    int step_count, peak_count, threads, started;
    struct Worker {
        struct Runner *runner;
        int index;
        uint64_t passed; /* steps done, over all frames */
        Scratch scratch;
        pthread_t thread;
    } *workers;
    pthread_mutex_t lock; /* guards what follows; runs_begun wakes the others */
    pthread_cond_t begun;
    uint64_t runs_begun;
    int closing;
    uint64_t arrived; /* atomic: steps done by all threads together, over all frames */
} Runner;

/* A convolution's share of thread ``k``: of its pixels where there are many, else of its channels,
 * for which each thread reads all pixels. */
static void convolve(const Step *step, const Scratch *scratch, int k, int threads) {
    const int tiled = step->kind == KIND_winograd;
    const int count = tiled ? ceil_div(step->height, 2) * ceil_div(step->width, 2)
                            : step->height * step->width;
    const int block_count = ceil_div(step->channels, BLOCK);
    const int by_pixels = count >= MOST * threads || block_count < threads;
    const Span all = part_of(count, by_pixels ? k : 0, by_pixels ? threads : 1);
    const Span blocks = part_of(block_count, by_pixels ? 0 : k, by_pixels ? 1 : threads);
    if (all.begin == all.end || blocks.begin == blocks.end) return;
    const int batch = batch_of(all.end - all.begin);
    for (int at = all.begin; at < all.end; at += batch) {
        const Span some = {at, at_most(at + batch, all.end)};
        if (tiled) winograd(step, scratch, some, blocks);
        else igemm(step, scratch, some, blocks);
    }
}

static void take_share(const Step *step, const Scratch *scratch, int k, int threads) {
    const Span rows = part_of(step->height, k, threads);
    switch (step->kind) {
    case KIND_convert: convert(step, rows); break;
    case KIND_quantize_f32: if (k == 0) quantize_f32(step); break;
    case KIND_quantize: quantize(step, rows); break;
    case KIND_sigmoid: sigmoid(step, rows); break;
    default: convolve(step, scratch, k, threads);
    }
}

static void run_steps(struct Worker *worker) {
    Runner *runner = worker->runner;
    for (int i = 0; i < runner->step_count; i++) {
        take_share(&runner->steps[i], &worker->scratch, worker->index, runner->threads);
        if (runner->threads == 1) continue;
        const uint64_t wanted = ++worker->passed * runner->threads;
        __atomic_add_fetch(&runner->arrived, 1, __ATOMIC_ACQ_REL);
        for (int looks = 0; __atomic_load_n(&runner->arrived, __ATOMIC_ACQUIRE) < wanted; looks++) {
            if (looks < LOOKS) _mm_pause();
            else sched_yield();
        }
    }
}

static void *serve(void *given) {
    struct Worker *worker = given;
    Runner *runner = worker->runner;
    for (uint64_t done = 0;; done++) {
        pthread_mutex_lock(&runner->lock);
        while (runner->runs_begun == done && !runner->closing)
            pthread_cond_wait(&runner->begun, &runner->lock);
        const int closing = runner->closing;
        pthread_mutex_unlock(&runner->lock);
        if (closing) return NULL;
        run_steps(worker);
    }
}

/* Run all steps once. By one thread at a time. */
void lipstream_run(Runner *runner) {
    memset(runner->peaks, 0, sizeof(uint32_t) * runner->peak_count);
    if (runner->threads > 1) {
        pthread_mutex_lock(&runner->lock);
        runner->runs_begun++;
        pthread_cond_broadcast(&runner->begun);
        pthread_mutex_unlock(&runner->lock);
    }
    run_steps(&runner->workers[0]);
}

/* End the threads and free all but the steps and the peaks. */
void lipstream_close(Runner *runner) {
    if (!runner) return;
    pthread_mutex_lock(&runner->lock);
    runner->closing = 1;
    pthread_cond_broadcast(&runner->begun);
    pthread_mutex_unlock(&runner->lock);
    for (int k = 1; k < runner->started; k++) pthread_join(runner->workers[k].thread, NULL);
    for (int k = 0; runner->workers && k < runner->threads; k++) {
        const Scratch *scratch = &runner->workers[k].scratch;
        free(scratch->levels), free(scratch->steps), free(scratch->tile), free(scratch->sums);
    }
    free(runner->workers);
    free(runner);
}

static int allocate_scratch(Scratch *scratch, int depth) {
    const size_t beyond = 64; /* a register may be read past the last tile */
    scratch->levels = aligned_alloc(64, POINTS * LEVEL_POINTS(depth));
    scratch->steps = aligned_alloc(64, POINTS * MOST * sizeof(float));
    scratch->tile = aligned_alloc(64, (POINTS * TILE_POINTS(depth) + beyond) * sizeof(int16_t));
    scratch->sums = aligned_alloc(64, POINTS * SUM_POINTS(BLOCK) * sizeof(int32_t));
    return scratch->levels && scratch->steps && scratch->tile && scratch->sums;
}

/* Make ready to run ``steps``, which must outlive this as must ``peaks``, on ``threads`` threads;
 * ``depth`` is the largest of the steps. NULL when memory or threads are short. */
Runner *lipstream_open(const Step *steps, int step_count, uint32_t *peaks, int peak_count, int depth,
                      int threads) {
    Runner *runner = calloc(1, sizeof *runner);
    if (!runner) return NULL;
    runner->steps = steps, runner->step_count = step_count;
    runner->peaks = peaks, runner->peak_count = peak_count;
    runner->threads = threads, runner->started = 1;
    pthread_mutex_init(&runner->lock, NULL);
    pthread_cond_init(&runner->begun, NULL);
    int ready = (runner->workers = calloc(threads, sizeof *runner->workers)) != NULL;
    for (int k = 0; ready && k < threads; k++) {
        struct Worker *worker = &runner->workers[k];
        worker->runner = runner, worker->index = k;
        ready = allocate_scratch(&worker->scratch, depth);
        if (ready && k > 0 && (ready = !pthread_create(&worker->thread, NULL, serve, worker)))
            runner->started++;
    }
    if (ready) return runner;
    lipstream_close(runner);
    return NULL;
}

/* For the caller to compare with what it reads in step.h. */
int lipstream_abi(void) { return LIPSTREAM_ABI; }
int lipstream_step_size(void) { return sizeof(Step); }
