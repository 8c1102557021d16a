// Softmax of up to kMaxRows rows, span by span, to the base 2.
//
// Each step goes over all rows before the next begins: a step ends with sums over lanes, and while one row waits
// for them the next can start.
#pragma once

#include <algorithm>
#include <cmath>

#include "value_tiles.h"

namespace deepseek::ISA {

constexpr int64_t kMaxRows = 32;
constexpr float kMasked = -1e30f;  // score of a position that a row does not see

// 2^x for x <= 0, relative error below 3e-6 (minimax polynomial of degree 4); x is clamped to -126.
inline Floats two_to(Floats x) {
  x = maximum(x, splat(-126.0f));
  const Floats n = round_nearest(x), f = subtract(x, n);
  Floats p = multiply_add(splat(0.0095699892f), f, splat(0.0559175783f));
  p = multiply_add(p, f, splat(0.240247448f));
  p = multiply_add(p, f, splat(0.693121851f));
  p = multiply_add(p, f, splat(0.999999262f));
#if defined(__AVX512F__)
  return _mm512_scalef_ps(p, n);
#else
  return multiply(p, power_of_two(n));
#endif
}

// What has been seen of each row, and the span at hand.
struct SoftmaxRows {
  alignas(64) float highest[kMaxRows];  // score so far
  alignas(64) float total[kMaxRows];    // sum of 2^(score - highest)
  alignas(64) float squares[kMaxRows];  // sum over spans of the squares of weights, as weights are defined below
  alignas(64) float kept[kMaxRows];     // what the sums before this span are multiplied with
  alignas(64) float peak[kMaxRows];     // largest weight of this span
  alignas(64) float spanned[kMaxRows];  // sum of its squares
  int spans;

  void begin() {
    std::fill(highest, highest + kMaxRows, kMasked);
    std::fill(total, total + kMaxRows, 0.0f);
    std::fill(squares, squares + kMaxRows, 0.0f);
    spans = 0;
  }

  // Takes the highest of scores (count, kSpan) into account.
  void raise(const float* scores, int64_t count, int64_t num_tiles) {
    alignas(64) float before[kMaxRows];
    std::copy(highest, highest + kMaxRows, before);
    for (int64_t row = 0; row < count; ++row) {
      Floats top = splat(highest[row]);
      for (int64_t tile = 0; tile < num_tiles; ++tile) top = maximum(top, load(scores + row * kSpan + tile * kTile));
      highest[row] = largest(top);
    }
    for (int64_t row = 0; row < kMaxRows; row += 16) {
      const Floats factor = two_to(subtract(load(before + row), load(highest + row)));
      store(kept + row, factor);
      store(total + row, multiply(load(total + row), factor));
      store(squares + row, multiply(load(squares + row), multiply(factor, factor)));
    }
  }

  // Scores become weights in place: 2^(score - highest) times what a position's value codes count.
  void weigh(float* scores, int64_t count, int64_t num_tiles, const float* value_unit) {
    for (int64_t row = 0; row < count; ++row, scores += kSpan) {
      const Floats offset = splat(highest[row]);
      Floats sums = zeros(), spread = zeros(), most = splat(0x1p-60f);
      for (int64_t tile = 0; tile < num_tiles; ++tile) {
        const Floats share = two_to(subtract(load(scores + tile * kTile), offset));
        const Floats weight = multiply(share, load(value_unit + tile * kTile));
        sums = add(sums, share);
        spread = multiply_add(weight, weight, spread);
        most = maximum(weight, most);
        store(scores + tile * kTile, weight);
      }
      total[row] += sum(sums);
      spanned[row] = sum(spread);
      peak[row] = largest(most);
    }
  }

  // Mean of the squares that a row's output is made of: this span's, or what spans had before it.
  float mean_square(int64_t row, int64_t positions) const {
    const float before = spans > 0 ? squares[row] / static_cast<float>(spans) : 0.0f;
    return std::max(spanned[row], before) / static_cast<float>(std::max<int64_t>(positions, 1));
  }

  void end_span() {
    for (int64_t row = 0; row < kMaxRows; ++row) squares[row] += spanned[row];
    ++spans;
  }
};

}  // namespace deepseek::ISA
