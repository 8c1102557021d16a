// Activations as int8, a scale for every 32 of them: what weights are multiplied with.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "matrix.h"
#include "simd.h"
#include "thread_pool.h"

namespace deepseek::ISA {

// 32 activations: x = scale * code.
struct QuantizedGroup {
  int8_t codes[kGroup];
  float scale;
  float sum;          // scale * sum of codes, what a minimum is multiplied with
  int32_t minus_8;    // -8 * sum of codes: moves the zero of int4 codes
  int32_t minus_128;  // the same for int8 codes
};

inline void quantize_group(const float* x, QuantizedGroup& group) {
  const Floats first = load(x), second = load(x + 16);
  const float extreme = largest(maximum(absolute(first), absolute(second)));
  const float scale = extreme / 127.0f;
  const Floats inverse = splat(extreme > 1e-37f ? 127.0f / extreme : 0.0f);
  const Integers low = to_integers(multiply(first, inverse)), high = to_integers(multiply(second, inverse));
  const int32_t total = integer_sum(integer_add(low, high));
  store_int8(group.codes, low);
  store_int8(group.codes + 16, high);
  group.scale = scale;
  group.sum = scale * static_cast<float>(total);
  group.minus_8 = -8 * total;
  group.minus_128 = -128 * total;
}

// Rows of one activation matrix, num_groups groups each.
class QuantizedRows {
 public:
  QuantizedRows(int64_t num_rows, int64_t columns)
      : num_groups_(columns / kGroup), groups_(new QuantizedGroup[num_rows * (columns / kGroup)]) {}

  int64_t num_groups() const { return num_groups_; }
  QuantizedGroup* row(int64_t index) { return groups_.get() + index * num_groups_; }
  const QuantizedGroup* row(int64_t index) const { return groups_.get() + index * num_groups_; }

  void quantize(int64_t index, const float* x) {
    QuantizedGroup* groups = row(index);
    for (int64_t group = 0; group < num_groups_; ++group) quantize_group(x + group * kGroup, groups[group]);
  }

 private:
  int64_t num_groups_;
  std::unique_ptr<QuantizedGroup[]> groups_;
};

inline QuantizedRows quantize_rows(ThreadPool& pool, const float* x, int64_t num_rows, int64_t columns) {
  QuantizedRows rows(num_rows, columns);
  constexpr int64_t kRowsPerPiece = 8;
  pool.run((num_rows + kRowsPerPiece - 1) / kRowsPerPiece, [&](int64_t piece, int) {
    for (int64_t row = piece * kRowsPerPiece; row < std::min(num_rows, (piece + 1) * kRowsPerPiece); ++row) {
      rows.quantize(row, x + row * columns);
    }
  });
  return rows;
}

}  // namespace deepseek::ISA
