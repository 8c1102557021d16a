// How fast memory can be read: threads, streams per thread and prefetch distance are tried, the best is kept.
//     cc -O3 -march=native -pthread read_bandwidth.c -o read_bandwidth && ./read_bandwidth THREADS [MIB]
// Prints one line per pattern: streams, bytes prefetched ahead, median and best GB/s. Processors follow a few
// streams of plain loads less eagerly than memory could deliver, so a plain sum is no ceiling.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { kMaxThreads = 256, kRepeats = 7, kStep = 256 };
typedef int64_t Lanes __attribute__((vector_size(64), aligned(64)));

typedef struct {
  const char* data;
  size_t bytes;
  int streams;
  int ahead;
  int64_t sum;
} Share;

static inline Lanes read_step(const char* p, int ahead) {
  if (ahead)
    for (int line = 0; line < kStep; line += 64) __builtin_prefetch(p + ahead + line, 0, 2);
  const Lanes* lanes = (const Lanes*)p;
  return (lanes[0] ^ lanes[1]) + (lanes[2] ^ lanes[3]);
}

static void* read_share(void* argument) {
  Share* share = argument;
  const size_t length = share->bytes / share->streams / kStep * kStep;
  Lanes sum = {0};
  for (size_t i = 0; i < length; i += kStep)
    for (int stream = 0; stream < share->streams; ++stream)
      sum += read_step(share->data + stream * length + i, share->ahead);
  for (int lane = 0; lane < 8; ++lane) share->sum += sum[lane];
  return NULL;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

static double rate(const char* data, size_t bytes, int threads, int streams, int ahead) {
  static volatile int64_t sink;
  pthread_t ids[kMaxThreads];
  Share shares[kMaxThreads];
  const size_t each = bytes / threads / 4096 * 4096;
  const double start = now();
  for (int i = 0; i < threads; ++i) {
    shares[i] = (Share){data + i * each, each, streams, ahead, 0};
    pthread_create(&ids[i], NULL, read_share, &shares[i]);
  }
  for (int i = 0; i < threads; ++i) {
    pthread_join(ids[i], NULL);
    sink += shares[i].sum;
  }
  return threads * each / (now() - start) / 1e9;
}

static int ascending(const void* a, const void* b) {
  return (*(const double*)a > *(const double*)b) - (*(const double*)a < *(const double*)b);
}

int main(int argc, char** argv) {
  const int threads = argc > 1 ? atoi(argv[1]) : 1;
  const size_t bytes = (size_t)(argc > 2 ? atoi(argv[2]) : 1024) << 20;
  if (threads < 1 || threads > kMaxThreads || bytes < 1) return 2;
  char* data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return 1;
#ifdef MADV_HUGEPAGE
  madvise(data, bytes, MADV_HUGEPAGE);
#endif
  memset(data, 1, bytes);
  const int patterns[][2] = {{1, 0}, {4, 0}, {1, 4096}, {2, 9216}, {4, 4096}, {4, 9216}, {8, 4096}};
  for (size_t p = 0; p < sizeof patterns / sizeof *patterns; ++p) {
    double rates[kRepeats];
    for (int i = 0; i < kRepeats; ++i) rates[i] = rate(data, bytes, threads, patterns[p][0], patterns[p][1]);
    qsort(rates, kRepeats, sizeof *rates, ascending);
    printf("%d %d %.3f %.3f\n", patterns[p][0], patterns[p][1], rates[kRepeats / 2], rates[kRepeats - 1]);
  }
  return 0;
}
