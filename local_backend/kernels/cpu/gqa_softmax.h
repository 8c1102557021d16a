// Softmax over one chunk of positions after another, for a few rows of queries at once.
#pragma once

#include <algorithm>
#include <cstdint>

#include "activation.h"
#include "simd.h"

namespace deepseek::ISA {

constexpr int64_t kChunk = 64;     // positions that are scored before they are weighed
constexpr float kUnseen = -1e30f;  // the score of what a row may not see

// What a chunk does to the sum of those before it.
struct Weighed {
  float drop = 0.0f;   // earlier largest score - new one: e^drop is the factor on earlier sums
  float total = 0.0f;  // of the chunk's weights
};

// Turns kChunk scores into weights e^(score - largest_score), having brought largest_score up to date. Those
// from seen on become 0, even where the score is NaN.
inline Weighed weigh_scores(float* scores, int64_t seen, float& largest_score) {
  if (seen <= 0) {
    std::fill(scores, scores + kChunk, 0.0f);
    return {};
  }
  std::fill(scores + std::min(seen, kChunk), scores + kChunk, kUnseen);
  Floats top = load(scores);
  for (int64_t i = 16; i < kChunk; i += 16) top = maximum(top, load(scores + i));
  const float before = largest_score;
  largest_score = std::max(before, largest(top));
  Floats total = zeros();
  for (int64_t i = 0; i < kChunk; i += 16) {
    const Floats weights = exponential(subtract(load(scores + i), splat(largest_score)));
    total = add(total, weights);
    store(scores + i, weights);
  }
  std::fill(scores + std::min(seen, kChunk), scores + kChunk, 0.0f);
  return {before - largest_score, sum(total)};
}

}  // namespace deepseek::ISA
