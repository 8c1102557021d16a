// Threads that share out the pieces of one job at a time.
//
// Each thread begins with a run of neighbouring pieces, so that it reads memory in order, and then helps the
// others with theirs: a thread whose core is taken away by another process does fewer of them.
// Idle threads spin briefly, because the next job of a decoding step comes within microseconds, and then
// sleep. A sleeping thread is never waited for: a job ends when those that joined it have left.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace deepseek {

class ThreadPool {
 public:
  // num_threads counts the caller's.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls work(piece, thread) for every piece in [0, num_pieces), thread in [0, num_threads()).
  // Callers take turns; work must not call run again.
  template <typename Work>
  void run(int64_t num_pieces, const Work& work) {
    run_job(
        num_pieces,
        [](const void* context, int64_t piece, int thread) { (*static_cast<const Work*>(context))(piece, thread); },
        &work);
  }

 private:
  struct alignas(64) Share {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };
  using Job = void (*)(const void* context, int64_t piece, int thread);

  void run_job(int64_t num_pieces, Job job, const void* context);
  void wait_for_workers();
  void claim_pieces(int thread);
  void work(int thread);
  bool join(uint32_t& last_generation);

  // Generation of the job in the upper bits, whether it can be joined in bit 15, joined threads below.
  alignas(64) std::atomic<uint32_t> state_{0};
  alignas(64) std::atomic<uint32_t> wake_{0};
  std::atomic<int> sleepers_{0};
  std::atomic<bool> closing_{false};
  std::unique_ptr<Share[]> shares_;  // one per thread
  Job job_ = nullptr;
  const void* context_ = nullptr;
  std::mutex one_caller_;
  std::vector<std::thread> workers_;
};

}  // namespace deepseek
