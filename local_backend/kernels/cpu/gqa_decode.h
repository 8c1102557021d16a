// Attention of few rows: reads the cache once, at the pace of memory.
//
// The query heads that share a key head are rows of one small matrix, and so are the rows of a sequence. Long
// contexts are cut into ranges that threads share out; each leaves a weighted sum with its weight, and who
// finishes the last range of a head adds them up. Cuts depend on positions only, so that a row's result does
// not depend on what is computed beside it.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <memory>
#include <utility>

#include "gqa_cache.h"
#include "gqa_decode_tile.h"
#include "gqa_queries.h"
#include "simd.h"

namespace deepseek::ISA {

constexpr int64_t kRange = 512;  // positions of a piece of work

// The few rows of one sequence against one key head, in ranges.
class DecodeJob {
 public:
  DecodeJob(const Queries& queries, const AttentionSegment& segment, int64_t head)
      : queries_(queries),
        segment_(segment),
        head_(head),
        num_rows_(segment.num_rows * queries.group()),
        num_ranges_((segment.context_len + kRange - 1) / kRange),
        partials_(new PartialRow[num_rows_ * num_ranges_]),
        missing_(num_ranges_) {}

  int64_t num_ranges() const { return num_ranges_; }

  // Any thread, each range once.
  void attend(int64_t range) {
    const int64_t num_blocks = (num_rows_ + kRowsAtOnce - 1) / kRowsAtOnce;
    for (int64_t block = 0; block < num_blocks; ++block) {
      const int64_t first = block * num_rows_ / num_blocks, last = (block + 1) * num_rows_ / num_blocks;
      attend_any(range, first, last - first, std::make_integer_sequence<int, kRowsAtOnce>());
    }
    if (missing_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      for (int64_t row = 0; row < num_rows_; ++row) combine(row);
    }
  }

 private:
  template <int... kCounts>
  void attend_any(int64_t range, int64_t first_row, int64_t count, std::integer_sequence<int, kCounts...>) {
    using Attend = void (DecodeJob::*)(int64_t, int64_t);
    static constexpr std::array<Attend, kRowsAtOnce> kAttend = {&DecodeJob::attend_rows<kCounts + 1>...};
    (this->*kAttend[count - 1])(range, first_row);
  }

  template <int kRows>
  void attend_rows(int64_t range, int64_t first_row) {
    const KeyValueCache& cache = queries_.cache;
    DecodeRows<kRows> rows;
    int64_t visible = 0;
    for (int row = 0; row < kRows; ++row) {
      queries_.copy_scaled(segment_, head_, first_row + row, rows.query[row]);
      rows.visible[row] = segment_.visible((first_row + row) / queries_.group());
      visible = std::max(visible, rows.visible[row]);
      rows.partial[row] = partial(range, first_row + row);
      std::fill_n(rows.partial[row]->sum, cache.padded_dim(), 0.0f);
    }
    const int64_t end = std::min(visible, (range + 1) * kRange);
    for (int64_t start = range * kRange; start < end; start += kChunk) {
      const ChunkTiles chunk(cache, segment_, head_, start / kTilePositions);
      attend_chunk(chunk, start, cache.padded_dim(), rows);
    }
  }

  PartialRow* partial(int64_t range, int64_t row) { return partials_.get() + range * num_rows_ + row; }

  // Adds the ranges up, in their order, and writes the row's result.
  void combine(int64_t row) {
    PartialRow& all = *partial(0, row);
    for (int64_t range = 1; range < num_ranges_; ++range) {
      const PartialRow& next = *partial(range, row);
      const float top = std::max(all.largest, next.largest);
      const float keep = std::exp(all.largest - top), gain = std::exp(next.largest - top);
      for (int64_t dim = 0; dim < queries_.cache.padded_dim(); dim += 16) {
        const Floats gained = multiply(load(next.sum + dim), splat(gain));
        store(all.sum + dim, multiply_add(load(all.sum + dim), splat(keep), gained));
      }
      all.largest = top;
      all.total = all.total * keep + next.total * gain;
    }
    queries_.write_divided(segment_, head_, row, all.sum, all.total);
  }

  const Queries& queries_;
  const AttentionSegment segment_;
  const int64_t head_;
  const int64_t num_rows_;  // of queries: tokens times heads
  const int64_t num_ranges_;
  std::unique_ptr<PartialRow[]> partials_;  // (num_ranges, num_rows)
  std::atomic<int64_t> missing_;
};

}  // namespace deepseek::ISA
