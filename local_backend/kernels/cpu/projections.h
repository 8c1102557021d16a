// Stacked projections: several matrices, one input.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "activations.h"
#include "elementwise.h"
#include "layer_parts.h"
#include "simd.h"
#include "thread_pool.h"

namespace deepseek::ISA {

// Numbers of a pass, (num_rows, width); not set to anything.
class Buffer {
 public:
  Buffer(int64_t num_rows, int64_t width) : width_(width), numbers_(new float[num_rows * width]) {}
  float* data() { return numbers_.get(); }
  float* row(int64_t index) { return numbers_.get() + index * width_; }
  int64_t width() const { return width_; }

 private:
  int64_t width_;
  std::unique_ptr<float[]> numbers_;
};

// out (num_tokens, projections.rows()) = x W^T + b.
inline void project(ThreadPool& pool, const Projections& projections, const float* x, int64_t num_tokens, float* out) {
  const int64_t stride = projections.rows();
  Activations rows(pool, x, num_tokens, projections.matrices[0].columns);
  int64_t row = 0;
  for (int64_t index = 0; index < projections.count; ++index) {
    rows.multiply(projections.matrices[index], out + row, stride);
    row += projections.matrices[index].rows;
  }
  if (projections.bias == nullptr) return;
  for (int64_t token = 0; token < num_tokens; ++token) add_rows(out + token * stride, projections.bias, stride);
}

// out = norm(hidden) W^T + b.
inline void project_normed(ThreadPool& pool, const Projections& projections, const Norm& norm, const float* hidden,
                           int64_t num_tokens, float* out) {
  const int64_t width = projections.matrices[0].columns;
  Buffer normed(num_tokens, width);
  rms_norm(pool, hidden, num_tokens, width, norm.weight, norm.epsilon, normed.data());
  project(pool, projections, normed.data(), num_tokens, out);
}

// hidden += x W^T + b.
inline void add_projection(ThreadPool& pool, const Projections& projections, const float* x, int64_t num_tokens,
                           float* hidden) {
  const int64_t rows = projections.rows();
  Buffer out(num_tokens, rows);
  project(pool, projections, x, num_tokens, out.data());
  run_rows(pool, num_tokens, rows, [&](int64_t first, int64_t last) {
    add_rows(hidden + first * rows, out.row(first), (last - first) * rows);
  });
}

}  // namespace deepseek::ISA
