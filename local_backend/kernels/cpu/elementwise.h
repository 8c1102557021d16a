// What lies between products: root-mean-square norm, rotary embedding, SwiGLU's elementwise part.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "activation.h"
#include "simd.h"
#include "thread_pool.h"

namespace deepseek::ISA {

constexpr int64_t kNumbersPerPiece = 16384;  // less than this is not worth another thread

// Calls work(first, last) for runs of rows.
template <typename Work>
inline void run_rows(ThreadPool& pool, int64_t num_rows, int64_t row_size, const Work& work) {
  const int64_t rows = std::max<int64_t>(1, kNumbersPerPiece / std::max<int64_t>(1, row_size));
  pool.run((num_rows + rows - 1) / rows,
           [&](int64_t piece, int) { work(piece * rows, std::min(num_rows, (piece + 1) * rows)); });
}

// out += values.
inline void add_rows(float* out, const float* values, int64_t count) {
  int64_t row = 0;
  for (; row + 16 <= count; row += 16) store(out + row, add(load(out + row), load(values + row)));
  for (; row < count; ++row) out[row] += values[row];
}

inline void rms_norm_row(const float* x, int64_t size, const float* weight, float eps, float* out) {
  const int64_t whole = size / 16 * 16;
  Floats squares = zeros();
  for (int64_t i = 0; i < whole; i += 16) squares = multiply_add(load(x + i), load(x + i), squares);
  float total = sum(squares);
  for (int64_t i = whole; i < size; ++i) total += x[i] * x[i];
  const float factor = 1.0f / std::sqrt(total / static_cast<float>(size) + eps);
  for (int64_t i = 0; i < whole; i += 16) {
    store(out + i, multiply(multiply(load(x + i), splat(factor)), load(weight + i)));
  }
  for (int64_t i = whole; i < size; ++i) out[i] = x[i] * factor * weight[i];
}

// out = x / sqrt(mean(x^2) + eps) * weight, by rows; out may be x.
inline void rms_norm(ThreadPool& pool, const float* x, int64_t num_rows, int64_t size, const float* weight, float eps,
                     float* out) {
  run_rows(pool, num_rows, size, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) rms_norm_row(x + row * size, size, weight, eps, out + row * size);
  });
}

inline void rotate_head(float* x, const float* turns, int64_t num_pairs) {
  for (int64_t pair = 0; pair < num_pairs; ++pair) {
    const float a = x[2 * pair], b = x[2 * pair + 1];
    const float cosine = turns[2 * pair], sine = turns[2 * pair + 1];
    x[2 * pair] = a * cosine - b * sine;
    x[2 * pair + 1] = a * sine + b * cosine;
  }
}

// Turns the first 2 * num_pairs numbers of each head in place. Heads lie head_dim floats apart, tokens stride;
// turns is (num_tokens, num_pairs) pairs of cosine and sine.
inline void rotate(ThreadPool& pool, float* x, int64_t num_tokens, int64_t stride, int64_t num_heads, int64_t head_dim,
                   const float* turns, int64_t num_pairs) {
  run_rows(pool, num_tokens, num_heads * head_dim, [&](int64_t first, int64_t last) {
    for (int64_t token = first; token < last; ++token) {
      for (int64_t head = 0; head < num_heads; ++head) {
        rotate_head(x + token * stride + head * head_dim, turns + token * 2 * num_pairs, num_pairs);
      }
    }
  });
}

// out = silu(gate) * up; out may be either.
inline void silu_multiply(ThreadPool& pool, const float* gate, const float* up, int64_t count, float* out) {
  run_rows(pool, (count + 15) / 16, 16, [&](int64_t first, int64_t last) {
    int64_t i = 16 * first;
    for (; i + 16 <= std::min(count, 16 * last); i += 16) {
      store(out + i, multiply(silu(load(gate + i)), load(up + i)));
    }
    for (; i < std::min(count, 16 * last); ++i) out[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
  });
}

}  // namespace deepseek::ISA
