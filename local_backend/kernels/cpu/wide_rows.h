// Activations as int8, a scale for every 128 of them: what many rows are rounded to.
#pragma once

#include "quantized_rows.h"

namespace deepseek::ISA {

constexpr int kWide = 128;
constexpr int64_t kFewestWideRows = 96;  // fewer do not pay for rounding weights anew

// 128 activations: x = scale * code.
struct WideGroup {
  int8_t codes[kWide];
  float scale;
  int32_t minus_128;  // -128 * sum of codes: moves the zero of weights
};

inline void quantize_wide(const float* x, WideGroup& group) {
  Floats most = zeros();
  for (int i = 0; i < kWide; i += 16) most = maximum(absolute(load(x + i)), most);
  const float extreme = largest(most);
  const Floats inverse = splat(extreme > 1e-37f ? 127.0f / extreme : 0.0f);
  Integers total = integer_zeros();
  for (int i = 0; i < kWide; i += 16) {
    const Integers codes = to_integers(multiply(load(x + i), inverse));
    total = integer_add(total, codes);
    store_int8(group.codes + i, codes);
  }
  group.scale = extreme / 127.0f;
  group.minus_128 = -128 * integer_sum(total);
}

// Rows of one activation matrix, num_groups groups each.
class WideRows {
 public:
  WideRows(int64_t num_rows, int64_t columns)
      : num_groups_(columns / kWide), groups_(new WideGroup[num_rows * (columns / kWide)]) {}

  int64_t num_groups() const { return num_groups_; }
  WideGroup* row(int64_t index) { return groups_.get() + index * num_groups_; }
  const WideGroup* row(int64_t index) const { return groups_.get() + index * num_groups_; }

  void quantize(int64_t index, const float* x) {
    for (int64_t group = 0; group < num_groups_; ++group) quantize_wide(x + group * kWide, row(index)[group]);
  }

 private:
  int64_t num_groups_;
  std::unique_ptr<WideGroup[]> groups_;
};

inline WideRows quantize_wide_rows(ThreadPool& pool, const float* x, int64_t num_rows, int64_t columns) {
  WideRows rows(num_rows, columns);
  constexpr int64_t kRowsPerPiece = 8;
  pool.run((num_rows + kRowsPerPiece - 1) / kRowsPerPiece, [&](int64_t piece, int) {
    for (int64_t row = piece * kRowsPerPiece; row < std::min(num_rows, (piece + 1) * kRowsPerPiece); ++row) {
      rows.quantize(row, x + row * columns);
    }
  });
  return rows;
}

}  // namespace deepseek::ISA
