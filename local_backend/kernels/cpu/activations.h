// Rows of activations, rounded as the matrices that they are multiplied with want them.
#pragma once

#include <optional>

#include "linear.h"
#include "wide_products.h"

namespace deepseek::ISA {

class Activations {
 public:
  // x (num_rows, columns) stays where it is.
  Activations(ThreadPool& pool, const float* x, int64_t num_rows, int64_t columns)
      : pool_(pool), x_(x), num_rows_(num_rows), columns_(columns) {}

  const QuantizedRows& narrow() {
    if (!narrow_) narrow_.emplace(quantize_rows(pool_, x_, num_rows_, columns_));
    return *narrow_;
  }

  const WideRows& wide() {
    if (!wide_) wide_.emplace(quantize_wide_rows(pool_, x_, num_rows_, columns_));
    return *wide_;
  }

  // out (num_rows, rows) = x W^T, rows of out stride floats apart.
  void multiply(const Matrix& weight, float* out, int64_t stride) {
    if (wide_pays(weight, num_rows_)) {
      multiply_wide_rows(pool_, weight, wide(), num_rows_, out, stride);
    } else {
      multiply_rows(pool_, weight, narrow(), num_rows_, out, stride);
    }
  }

 private:
  ThreadPool& pool_;
  const float* x_;
  int64_t num_rows_, columns_;
  std::optional<QuantizedRows> narrow_;
  std::optional<WideRows> wide_;
};

inline void linear(ThreadPool& pool, const Matrix& weight, const float* x, int64_t num_tokens, float* out) {
  Activations(pool, x, num_tokens, weight.columns).multiply(weight, out, weight.rows);
}

}  // namespace deepseek::ISA
