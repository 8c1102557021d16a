// Attention of up to 32 query rows over spans of 256 positions, with what they have seen so far kept in between.
#pragma once

#include "scratch.h"
#include "weighted_values.h"

namespace deepseek::ISA {

constexpr float kLog2E = 1.44269504f;

// A span's keys and values.
struct Span {
  const uint8_t* tiles[kSpanTiles];
  const uint8_t* ahead[kSpanTiles];  // tiles that will be wanted next, if `fetches`
  bool fetches;
  int64_t num_tiles;
  int64_t first_position;
  const uint8_t* values;                // as value_vector says
  alignas(64) float value_unit[kSpan];  // 0 where nothing has been written
};

class AttentionRows {
 public:
  // `numbers` of a value, a multiple of 16. Memory comes from `scratch`, reserve(bytes(...)) before.
  AttentionRows(Scratch& scratch, const KeyShape& shape, int64_t numbers)
      : shape_(shape),
        numbers_(numbers),
        own_{scratch.take<int8_t>(kMaxRows * shape.width()), scratch.take<float>(2 * kMaxRows),
             scratch.take<int32_t>(2 * kMaxRows)},
        space_(scratch.take<int8_t>(shape.width())),
        scores_(scratch.take<float>(kMaxRows * kSpan)),
        out_(scratch.take<float>((kMaxRows + 1) * numbers)),
        visible_(scratch.take<int64_t>(kMaxRows)),
        weights_(scratch.take<uint8_t>(WeightRows::byte_count(kMaxRows)),
                 scratch.take<WeightRow>(WeightRows::row_count(kMaxRows)),
                 scratch.take<Rest>(WeightRows::rest_count(kMaxRows))) {}

  static size_t bytes(const KeyShape& shape, int64_t numbers) {
    return kMaxRows * (shape.width() + kSpan * 4 + 256) + shape.width() + (kMaxRows + 1) * numbers * 4 +
           WeightRows::byte_count(kMaxRows) + WeightRows::row_count(kMaxRows) * sizeof(WeightRow) +
           WeightRows::rest_count(kMaxRows) * sizeof(Rest) + 1024;
  }

  // Starts over with `count` rows, whose queries are put one by one.
  void begin(int64_t count) {
    begin(count, own_);
    query_.clear(blocks_, shape_);
  }

  // Starts over with `count` rows, whose queries are rounded already.
  void begin(int64_t count, const QueryCodes& query) {
    count_ = count;
    blocks_ = (count + kRowBlock - 1) / kRowBlock;
    query_ = query;
    std::memset(out_, 0, (kMaxRows + 1) * numbers_ * sizeof(float));
    softmax_.begin();
  }

  // Row `row` attends to positions [0, visible).
  void see(int64_t row, int64_t visible) { visible_[row] = visible; }

  void put_query(int64_t row, const float* latent, const float* rotary, float scale) {
    query_.put(row, latent, rotary, shape_, scale * kLog2E, space_);
  }

  // Scores of tiles [first, first + kTiles) of the span.
  template <int kTiles>
  void score(const Span& span, int64_t first) {
    for (int64_t block = 0; block < blocks_; ++block) {
      if (span.fetches && block < kTiles) {
        score_block<kTiles, true>(span, first, block);
      } else {
        score_block<kTiles, false>(span, first, block);
      }
    }
  }

  // Takes the scored span in.
  void finish_span(const Span& span) {
    const int64_t positions = span.num_tiles * kTile;
    int64_t seen[kMaxRows];
    for (int64_t row = 0; row < count_; ++row) {
      seen[row] = std::clamp<int64_t>(visible_[row] - span.first_position, 0, positions);
      std::fill(scores_ + row * kSpan + seen[row], scores_ + row * kSpan + positions, kMasked);
    }
    softmax_.raise(scores_, count_, span.num_tiles);
    softmax_.weigh(scores_, count_, span.num_tiles, span.value_unit);
    weights_.clear();
    put_span(scores_, seen, count_, span.num_tiles, softmax_, weights_);
    softmax_.end_span();
    weights_.fill_up(kMaxRows, span.num_tiles);
    add_values(span.values, weights_, span.num_tiles, numbers_, out_, span.fetches ? span.ahead : nullptr);
  }

  const float* out(int64_t row) const { return out_ + row * numbers_; }
  float highest(int64_t row) const { return softmax_.highest[row]; }
  float total(int64_t row) const { return softmax_.total[row]; }

  // Writes the first `count` numbers of a row's attention.
  void store_row(int64_t row, float* out, int64_t count) const {
    const float inverse = 1.0f / total(row);
    const float* sums = this->out(row);
    int64_t i = 0;
    for (; i + 16 <= count; i += 16) store(out + i, multiply(load(sums + i), splat(inverse)));
    for (; i < count; ++i) out[i] = sums[i] * inverse;
  }

 private:
  template <int kTiles, bool kFetch>
  void score_block(const Span& span, int64_t first, int64_t block) {
    tile_scores<kTiles, kFetch>(span.tiles + first, kFetch ? span.ahead[first + block] : nullptr, shape_, query_, block,
                                scores_ + block * kRowBlock * kSpan + first * kTile, kSpan);
  }

  KeyShape shape_;
  int64_t numbers_;
  int64_t count_ = 0, blocks_ = 0;
  QueryCodes own_, query_{};
  int8_t* space_;
  float* scores_;
  float* out_;
  int64_t* visible_;
  WeightRows weights_;
  SoftmaxRows softmax_;
};

}  // namespace deepseek::ISA
