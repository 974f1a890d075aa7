/* Runs the steps of one frame on one thread or several, which share each step out among them. */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "pixels.h"
#include "winograd.h"

enum { LOOKS = 4000 }; /* times a thread looks whether the others are done before it yields */

typedef struct Frame {
    const Step *steps;
    float *peaks;
    int step_count, peak_count, threads, started;
    struct Member {
        struct Frame *frame;
        int index;
        uint64_t passed; /* steps done, over all frames */
        Room room;
        pthread_t thread;
    } *members;
    pthread_mutex_t lock; /* guards what follows; frames_begun wakes the others */
    pthread_cond_t begun;
    uint64_t frames_begun;
    int closing;
    uint64_t arrived; /* atomic: steps done by all threads together, over all frames */
} Frame;

/* A convolution's share of thread ``k``: of its pixels where there are many, else of its channels,
 * for which each thread reads all pixels. */
static void convolve(const Step *step, const Room *room, int k, int threads) {
    const int tiled = step->kind == WINOGRAD;
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
        if (tiled) winograd(step, room, some, blocks);
        else gather(step, room, some, blocks);
    }
}

static void take_share(const Step *step, const Room *room, int k, int threads) {
    const Span rows = part_of(step->height, k, threads);
    switch (step->kind) {
    case LOAD: load(step, rows); break;
    case HEAR: if (k == 0) hear(step); break;
    case ROUND: round_levels(step, rows); break;
    case PAINT: paint(step, rows); break;
    default: convolve(step, room, k, threads);
    }
}

static void run_steps(struct Member *member) {
    Frame *frame = member->frame;
    for (int i = 0; i < frame->step_count; i++) {
        take_share(&frame->steps[i], &member->room, member->index, frame->threads);
        if (frame->threads == 1) continue;
        const uint64_t wanted = ++member->passed * frame->threads;
        __atomic_add_fetch(&frame->arrived, 1, __ATOMIC_ACQ_REL);
        for (int looks = 0; __atomic_load_n(&frame->arrived, __ATOMIC_ACQUIRE) < wanted; looks++) {
            if (looks < LOOKS) _mm_pause();
            else sched_yield();
        }
    }
}

static void *serve(void *given) {
    struct Member *member = given;
    Frame *frame = member->frame;
    for (uint64_t done = 0;; done++) {
        pthread_mutex_lock(&frame->lock);
        while (frame->frames_begun == done && !frame->closing)
            pthread_cond_wait(&frame->begun, &frame->lock);
        const int closing = frame->closing;
        pthread_mutex_unlock(&frame->lock);
        if (closing) return NULL;
        run_steps(member);
    }
}

/* Run all steps once. By one thread at a time. */
void lipstream_run(Frame *frame) {
    memset(frame->peaks, 0, sizeof(float) * frame->peak_count);
    if (frame->threads > 1) {
        pthread_mutex_lock(&frame->lock);
        frame->frames_begun++;
        pthread_cond_broadcast(&frame->begun);
        pthread_mutex_unlock(&frame->lock);
    }
    run_steps(&frame->members[0]);
}

/* End the threads and free all but the steps and the peaks. */
void lipstream_close(Frame *frame) {
    if (!frame) return;
    pthread_mutex_lock(&frame->lock);
    frame->closing = 1;
    pthread_cond_broadcast(&frame->begun);
    pthread_mutex_unlock(&frame->lock);
    for (int k = 1; k < frame->started; k++) pthread_join(frame->members[k].thread, NULL);
    for (int k = 0; frame->members && k < frame->threads; k++) {
        const Room *room = &frame->members[k].room;
        free(room->levels), free(room->steps), free(room->tile), free(room->sums);
    }
    free(frame->members);
    free(frame);
}

static int furnish(Room *room, int depth) {
    const size_t beyond = 64; /* a register may be read past the last tile */
    room->levels = aligned_alloc(64, POINTS * LEVEL_POINTS(depth));
    room->steps = aligned_alloc(64, POINTS * MOST * sizeof(float));
    room->tile = aligned_alloc(64, (POINTS * TILE_POINTS(depth) + beyond) * sizeof(int16_t));
    room->sums = aligned_alloc(64, POINTS * SUM_POINTS(BLOCK) * sizeof(int32_t));
    return room->levels && room->steps && room->tile && room->sums;
}

/* Make ready to run ``steps``, which must outlive this as must ``peaks``, on ``threads`` threads;
 * ``depth`` is the largest of the steps. NULL when memory or threads are short. */
Frame *lipstream_open(const Step *steps, int step_count, float *peaks, int peak_count, int depth,
                      int threads) {
    Frame *frame = calloc(1, sizeof *frame);
    if (!frame) return NULL;
    frame->steps = steps, frame->step_count = step_count;
    frame->peaks = peaks, frame->peak_count = peak_count;
    frame->threads = threads, frame->started = 1;
    pthread_mutex_init(&frame->lock, NULL);
    pthread_cond_init(&frame->begun, NULL);
    int ready = (frame->members = calloc(threads, sizeof *frame->members)) != NULL;
    for (int k = 0; ready && k < threads; k++) {
        struct Member *member = &frame->members[k];
        member->frame = frame, member->index = k;
        ready = furnish(&member->room, depth);
        if (ready && k > 0 && (ready = !pthread_create(&member->thread, NULL, serve, member)))
            frame->started++;
    }
    if (ready) return frame;
    lipstream_close(frame);
    return NULL;
}

/* Size of a step, for the caller to compare with its own. */
int lipstream_step_size(void) { return sizeof(Step); }
