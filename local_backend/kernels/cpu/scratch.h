// Memory that a thread keeps between calls, handed out piece by piece.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace deepseek::ISA {

// One per thread and purpose; what reserve returned before is void when it grows.
class Scratch {
 public:
  Scratch() = default;
  ~Scratch() { std::free(memory_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // Starts over with at least this many bytes.
  void reserve(size_t bytes) {
    used_ = 0;
    if (bytes <= size_) return;
    std::free(memory_);
    size_ = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    memory_ = static_cast<uint8_t*>(std::aligned_alloc(kAlignment, size_));
    if (memory_ == nullptr) throw std::bad_alloc();
  }

  // The next `count` items, on a boundary of 64 bytes.
  template <typename T>
  T* take(int64_t count) {
    T* taken = reinterpret_cast<T*>(memory_ + used_);
    used_ += padded<T>(count);
    return taken;
  }

  // What take(count) uses up.
  template <typename T>
  static constexpr size_t padded(int64_t count) {
    return (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
  }

 private:
  static constexpr size_t kAlignment = 4096;

  uint8_t* memory_ = nullptr;
  size_t size_ = 0;
  size_t used_ = 0;
};

}  // namespace deepseek::ISA
