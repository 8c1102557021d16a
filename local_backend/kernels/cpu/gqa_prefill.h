// Attention of many rows: blocked matrix products in float32, bound by arithmetic.
//
// A piece of work is some 190 query rows (tokens times the heads of a group) against one key head. Chunks of
// 64 positions become float32 once per piece and stay cached while all rows pass over them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "gqa_cache.h"
#include "gqa_queries.h"
#include "gqa_softmax.h"
#include "simd.h"

namespace deepseek::ISA {

constexpr int64_t kStepRows = 6;                        // query rows of an inner product
constexpr int64_t kPieceRows = 192;                     // query rows of a piece, about
constexpr int kStepVectors = kRegisters >= 32 ? 4 : 1;  // its columns, by sixteen

// out (6 rows) = out * factor + a b over depth; strides in floats, kVectors times sixteen columns.
template <int kVectors>
inline void multiply_step(const float* a, int64_t a_stride, const float* b, int64_t b_stride, int64_t depth,
                          const float* factors, float* out, int64_t out_stride) {
  Floats sums[kStepRows][kVectors];
  for (int row = 0; row < kStepRows; ++row) {
    for (int v = 0; v < kVectors; ++v) {
      sums[row][v] =
          factors == nullptr ? zeros() : multiply(load(out + row * out_stride + 16 * v), splat(factors[row]));
    }
  }
  for (int64_t step = 0; step < depth; ++step) {
    Floats columns[kVectors];
    for (int v = 0; v < kVectors; ++v) columns[v] = load(b + step * b_stride + 16 * v);
    for (int row = 0; row < kStepRows; ++row) {
      const Floats left = splat(a[row * a_stride + step]);
      for (int v = 0; v < kVectors; ++v) sums[row][v] = multiply_add(left, columns[v], sums[row][v]);
    }
  }
  for (int row = 0; row < kStepRows; ++row) {
    for (int v = 0; v < kVectors; ++v) store(out + row * out_stride + 16 * v, sums[row][v]);
  }
}

// The same for any number of columns that is a multiple of 16.
inline void multiply_steps(const float* a, int64_t a_stride, const float* b, int64_t b_stride, int64_t depth,
                           const float* factors, float* out, int64_t out_stride, int64_t num_columns) {
  int64_t column = 0;
  for (; column + 16 * kStepVectors <= num_columns; column += 16 * kStepVectors) {
    multiply_step<kStepVectors>(a, a_stride, b + column, b_stride, depth, factors, out + column, out_stride);
  }
  for (; column < num_columns; column += 16) {
    multiply_step<1>(a, a_stride, b + column, b_stride, depth, factors, out + column, out_stride);
  }
}

// Floats that begin at a cache line.
class Lines {
 public:
  void assign(int64_t count, float value) { lines_.assign((count + 15) / 16, Line(value)); }
  float* data() { return lines_.data()->numbers; }
  float& operator[](int64_t index) { return data()[index]; }

 private:
  struct alignas(64) Line {
    float numbers[16];
    explicit Line(float value) { std::fill_n(numbers, 16, value); }
  };
  std::vector<Line> lines_;
};

// What one thread works in.
struct PrefillBuffers {
  int64_t dim;
  Lines keys, values;           // (dim, kChunk), (kChunk, dim)
  Lines queries, sums, scores;  // (rows, dim), (rows, dim), (rows, kChunk)
  Lines largest, totals;        // (rows)

  explicit PrefillBuffers(int64_t dim) : dim(dim) {
    keys.assign(dim * kChunk, 0.0f);
    values.assign(dim * kChunk, 0.0f);
  }

  void clear(int64_t num_rows) {
    const int64_t rows = (num_rows + kStepRows - 1) / kStepRows * kStepRows;
    queries.assign(rows * dim, 0.0f);
    sums.assign(rows * dim, 0.0f);
    scores.assign(rows * kChunk, 0.0f);
    largest.assign(rows, kUnseen);
    totals.assign(rows, 0.0f);
  }

  // Unpacks the chunk from position start on; what lies past count becomes 0.
  void unpack(const KeyValueCache& cache, const AttentionSegment& segment, int64_t head, int64_t start, int64_t count) {
    for (int64_t first = 0; first < kChunk; first += kTilePositions) {
      const bool there = first < count;
      const int64_t tile = there ? segment.tile(cache, (start + first) / kTilePositions) : 0;
      const uint32_t* from = cache.keys(tile, head);
      for (int64_t row = 0; row < dim / 2; ++row) {
        const Integers pairs = there ? load_bytes(from + row * 16) : integer_zeros();
        store(keys.data() + 2 * row * kChunk + first, low_bfloat16(pairs));
        store(keys.data() + (2 * row + 1) * kChunk + first, high_bfloat16(pairs));
      }
      from = cache.values(tile, head);
      for (int64_t position = 0; position < kTilePositions; ++position) {
        const bool seen = first + position < count;
        for (int64_t span = 0; span < dim / 32; ++span) {
          const Integers pairs = seen ? load_bytes(from + position * dim / 2 + span * 16) : integer_zeros();
          store(values.data() + (first + position) * dim + 32 * span, low_bfloat16(pairs));
          store(values.data() + (first + position) * dim + 32 * span + 16, high_bfloat16(pairs));
        }
      }
    }
  }
};

class PrefillScratch {
 public:
  PrefillScratch(const KeyValueCache& cache, int num_threads) : dim_(cache.padded_dim()), buffers_(num_threads) {}

  PrefillBuffers& of(int thread) {
    if (buffers_[thread] == nullptr) buffers_[thread] = std::make_unique<PrefillBuffers>(dim_);
    return *buffers_[thread];
  }

 private:
  int64_t dim_;
  std::vector<std::unique_ptr<PrefillBuffers>> buffers_;
};

// The rows of one sequence against one key head, in blocks of tokens.
class PrefillJob {
 public:
  PrefillJob(const Queries& queries, const AttentionSegment& segment, int64_t head)
      : queries_(queries),
        segment_(segment),
        head_(head),
        block_tokens_(std::max<int64_t>(1, kPieceRows / queries.group())) {}

  int64_t num_blocks() const { return (segment_.num_rows + block_tokens_ - 1) / block_tokens_; }

  // Any thread, each block once.
  void attend(int64_t block, PrefillBuffers& buffers) const {
    const int64_t group = queries_.group(), first_token = block * block_tokens_;
    const int64_t num_tokens = std::min(block_tokens_, segment_.num_rows - first_token);
    const int64_t num_rows = num_tokens * group, first_row = first_token * group;
    buffers.clear(num_rows);
    for (int64_t row = 0; row < num_rows; ++row) {
      queries_.copy_scaled(segment_, head_, first_row + row, buffers.queries.data() + row * buffers.dim);
    }
    const int64_t visible = segment_.visible(first_token + num_tokens - 1);
    for (int64_t start = 0; start < visible; start += kChunk) {
      buffers.unpack(queries_.cache, segment_, head_, start, std::min(kChunk, visible - start));
      for (int64_t row = 0; row < num_rows; row += kStepRows) {
        attend_step(first_row, row, std::min(kStepRows, num_rows - row), start, buffers);
      }
    }
    for (int64_t row = 0; row < num_rows; ++row) {
      queries_.write_divided(segment_, head_, first_row + row, buffers.sums.data() + row * buffers.dim,
                             buffers.totals[row]);
    }
  }

 private:
  // kStepRows rows against the unpacked chunk, of which the last may see only some positions, or none.
  void attend_step(int64_t first_row, int64_t row, int64_t count, int64_t start, PrefillBuffers& buffers) const {
    const int64_t dim = buffers.dim, group = queries_.group();
    const int64_t most = std::min(kChunk, segment_.visible((first_row + row + count - 1) / group) - start);
    if (most <= 0) return;
    float* scores = buffers.scores.data() + row * kChunk;
    multiply_steps(buffers.queries.data() + row * dim, dim, buffers.keys.data(), kChunk, dim, nullptr, scores, kChunk,
                   (most + 15) / 16 * 16);
    alignas(64) float factors[16] = {};
    float totals[kStepRows] = {};
    for (int64_t inner = 0; inner < count; ++inner) {
      const int64_t seen = segment_.visible((first_row + row + inner) / group) - start;
      const Weighed weighed = weigh_scores(scores + inner * kChunk, seen, buffers.largest[row + inner]);
      factors[inner] = weighed.drop;
      totals[inner] = weighed.total;
    }
    store(factors, exponential(load(factors)));
    for (int64_t inner = 0; inner < count; ++inner) {
      buffers.totals[row + inner] = buffers.totals[row + inner] * factors[inner] + totals[inner];
    }
    multiply_steps(scores, kChunk, buffers.values.data(), dim, most, factors, buffers.sums.data() + row * dim, dim,
                   dim);
  }

  const Queries& queries_;
  const AttentionSegment segment_;
  const int64_t head_;
  const int64_t block_tokens_;
};

}  // namespace deepseek::ISA
