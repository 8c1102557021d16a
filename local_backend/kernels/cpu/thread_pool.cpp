#include "thread_pool.h"

#include "denormals.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace deepseek {
namespace {

constexpr uint32_t kOpen = 1u << 15;
constexpr uint32_t kJoined = kOpen - 1;
constexpr uint32_t kGeneration = 1u << 16;
constexpr int kSpins = 2000;  // some 100 microseconds: longer than the gaps within a decoding step
constexpr int kSpinsBeforeSleep = 200;

void pause() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

ThreadPool::ThreadPool(int num_threads) : shares_(new Share[num_threads > 0 ? num_threads : 1]) {
  for (int thread = 1; thread < num_threads; ++thread) workers_.emplace_back([this, thread] { work(thread); });
}

ThreadPool::~ThreadPool() {
  closing_ = true;
  wake_.fetch_add(1);
  wake_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void ThreadPool::run_job(int64_t num_pieces, Job job, const void* context) {
  const std::lock_guard lock(one_caller_);  // even for one piece: it is done as thread 0
  const FlushDenormals flush;
  if (workers_.empty() || num_pieces <= 1) {
    for (int64_t piece = 0; piece < num_pieces; ++piece) job(context, piece, 0);
    return;
  }
  job_ = job;
  context_ = context;
  for (int thread = 0; thread < num_threads(); ++thread) {
    shares_[thread].next.store(num_pieces * thread / num_threads(), std::memory_order_relaxed);
    shares_[thread].end = num_pieces * (thread + 1) / num_threads();
  }
  const uint32_t generation = (state_.load(std::memory_order_relaxed) & ~(kGeneration - 1)) + kGeneration;
  state_.store(generation | kOpen);
  if (sleepers_.load() > 0) {
    wake_.fetch_add(1);
    wake_.notify_all();
  }
  claim_pieces(0);
  state_.fetch_and(~kOpen);
  wait_for_workers();
}

// A worker that lost its core in the middle of a piece gets this one's, once it is free.
void ThreadPool::wait_for_workers() {
  uint32_t state = state_.load(std::memory_order_acquire);
  for (int spins = 0; (state & kJoined) && spins < kSpinsBeforeSleep; ++spins) {
    pause();
    state = state_.load(std::memory_order_acquire);
  }
  while (state & kJoined) {
    state_.wait(state);
    state = state_.load(std::memory_order_acquire);
  }
}

void ThreadPool::claim_pieces(int thread) {
  for (int turn = 0; turn < num_threads(); ++turn) {
    Share& share = shares_[(thread + turn) % num_threads()];
    while (true) {
      const int64_t piece = share.next.fetch_add(1, std::memory_order_relaxed);
      if (piece >= share.end) break;
      job_(context_, piece, thread);
    }
  }
}

bool ThreadPool::join(uint32_t& last_generation) {
  uint32_t state = state_.load();  // after sleepers_ has grown, or the caller sees that it has
  while ((state & kOpen) && (state & ~(kGeneration - 1)) != last_generation) {
    if (state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel)) {
      last_generation = state & ~(kGeneration - 1);
      return true;
    }
  }
  return false;
}

void ThreadPool::work(int thread) {
  const FlushDenormals flush;
  uint32_t last_generation = 0;
  while (!closing_.load(std::memory_order_relaxed)) {
    bool joined = false;
    for (int spins = 0; spins < kSpins && !(joined = join(last_generation)); ++spins) pause();
    if (!joined) {
      const uint32_t seen = wake_.load();
      sleepers_.fetch_add(1);
      joined = join(last_generation);
      if (!joined && !closing_) wake_.wait(seen);
      sleepers_.fetch_sub(1);
    }
    if (joined) {
      claim_pieces(thread);
      state_.fetch_sub(1, std::memory_order_acq_rel);
      state_.notify_one();
    }
  }
}

}  // namespace deepseek
