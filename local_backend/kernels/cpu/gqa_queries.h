// Where queries come from and results go to.
#pragma once

#include <algorithm>
#include <cstdint>

#include "gqa_cache.h"
#include "simd.h"

namespace deepseek::ISA {

// The queries of a batch. Within a segment and a key head, query row r is token r / group, head r % group.
struct Queries {
  const KeyValueCache& cache;
  const float* rows;  // (num_tokens, num_heads, head_dim), tokens stride floats apart
  int64_t stride;
  int64_t num_heads;
  float scale;  // on scores
  float* out;   // (num_tokens, num_heads * head_dim)

  int64_t group() const { return num_heads / cache.num_kv_heads; }

  // The row times the scale, filled up with zeros.
  void copy_scaled(const AttentionSegment& segment, int64_t head, int64_t row, float* to) const {
    const float* from =
        rows + (segment.first_row + row / group()) * stride + (head * group() + row % group()) * cache.head_dim;
    for (int64_t dim = 0; dim < cache.head_dim; ++dim) to[dim] = from[dim] * scale;
    std::fill(to + cache.head_dim, to + cache.padded_dim(), 0.0f);
  }

  void write_divided(const AttentionSegment& segment, int64_t head, int64_t row, const float* sum, float total) const {
    const int64_t query = (segment.first_row + row / group()) * num_heads + head * group() + row % group();
    const float inverse = 1.0f / total;
    for (int64_t dim = 0; dim < cache.head_dim; ++dim) out[query * cache.head_dim + dim] = sum[dim] * inverse;
  }
};

}  // namespace deepseek::ISA
