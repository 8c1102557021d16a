// Gives a thread pool many tiny jobs of all sizes, from several callers, while others come and go;
// test_thread_pool.py compiles and runs it. Prints one line per broken promise; exits with 1 if there was one.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <thread>
#include <vector>

#include "thread_pool.h"

using deepseek::ThreadPool;

namespace {

std::atomic<int> failures{0};

void expect(bool holds, const char* promise) {
  if (!holds && ++failures <= 20) std::printf("broken: %s\n", promise);
}

// Runs one job and looks that every piece was done once, by a thread that did nothing else meanwhile.
void check_job(ThreadPool& pool, int64_t num_pieces, std::atomic<int>* busy) {
  std::vector<int> times(num_pieces);  // not atomic: what pieces write must be visible when run returns
  pool.run(num_pieces, [&](int64_t piece, int thread) {
    expect(piece >= 0 && piece < num_pieces && thread >= 0 && thread < pool.num_threads(), "indices in range");
    expect(busy[thread].exchange(1) == 0, "one piece at a time per thread");
    ++times[piece];
    busy[thread].store(0);
  });
  for (int count : times) expect(count == 1, "every piece once");
}

void check_pool(int num_threads, int num_callers, int num_jobs) {
  ThreadPool pool(num_threads);
  expect(pool.num_threads() == num_threads, "as many threads as asked for");
  std::unique_ptr<std::atomic<int>[]> busy(new std::atomic<int>[num_threads]());
  std::vector<std::thread> callers;
  for (int caller = 0; caller < num_callers; ++caller) {
    callers.emplace_back([&, caller] {
      for (int job = 0; job < num_jobs; ++job) {
        check_job(pool, (job * 7 + caller) % 41, busy.get());
        if (job % 64 == 63) std::this_thread::sleep_for(std::chrono::microseconds(job % 3 * 200));  // let them sleep
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
}

}  // namespace

int main(int argc, char** argv) {
  const int num_jobs = argc > 1 ? std::atoi(argv[1]) : 400;
  for (int num_threads : {1, 2, 4, 8}) {
    for (int num_callers : {1, 3}) check_pool(num_threads, num_callers, num_jobs);
    for (int pool = 0; pool < num_jobs / 10; ++pool) check_pool(num_threads, 1, pool % 3);  // made and destroyed
  }
  return failures ? 1 : 0;
}
