// Attention of up to 64 query rows over spans of 256 positions, with what they have seen so far kept in between.
#pragma once

#include "scratch.h"
#include "weighted_values.h"

namespace deepseek::ISA {

constexpr int64_t kMaxRows = 64;

// A span's keys and values.
struct Span {
  const uint8_t* tiles[kSpanTiles];
  const uint8_t* ahead[kSpanTiles];  // tiles that will be wanted next
  int64_t num_tiles;
  int64_t first_position;
  const uint8_t* values;             // as value_vector says
  alignas(64) float value_unit[kSpan];  // 0 where nothing has been written
};

class AttentionRows {
 public:
  // `numbers` of a value, a multiple of 16. Memory comes from `scratch`, reserve(bytes(...)) before.
  AttentionRows(Scratch& scratch, const KeyShape& shape, int64_t numbers)
      : shape_(shape),
        numbers_(numbers),
        query_{scratch.take<int8_t>(kMaxRows * shape.width()), scratch.take<float>(2 * kMaxRows),
               scratch.take<int32_t>(2 * kMaxRows)},
        space_(scratch.take<int8_t>(shape.width())),
        scores_(scratch.take<float>(kMaxRows * kSpan)),
        out_(scratch.take<float>((kMaxRows + 1) * numbers)),
        state_(scratch.take<SoftmaxState>(kMaxRows)),
        visible_(scratch.take<int64_t>(kMaxRows)),
        weights_(scratch.take<uint8_t>(WeightRows::byte_count(kMaxRows)),
                 scratch.take<WeightRow>(WeightRows::row_count(kMaxRows)),
                 scratch.take<Rest>(WeightRows::rest_count(kMaxRows))) {}

  static size_t bytes(const KeyShape& shape, int64_t numbers) {
    return kMaxRows * (shape.width() + kSpan * 4 + 256) + shape.width() + (kMaxRows + 1) * numbers * 4 +
           WeightRows::byte_count(kMaxRows) + WeightRows::row_count(kMaxRows) * sizeof(WeightRow) +
           WeightRows::rest_count(kMaxRows) * sizeof(Rest) + 1024;
  }

  // Starts over with `count` rows.
  void begin(int64_t count) {
    count_ = count;
    blocks_ = (count + kRowBlock - 1) / kRowBlock;
    std::memset(query_.codes, 0, blocks_ * kRowBlock * shape_.width());
    std::memset(query_.start, 0, blocks_ * 2 * kRowBlock * sizeof(int32_t));
    std::memset(query_.unit, 0, blocks_ * 2 * kRowBlock * sizeof(float));
    std::memset(out_, 0, (kMaxRows + 1) * numbers_ * sizeof(float));
    std::fill(state_, state_ + count, SoftmaxState());
  }

  // Row `row` attends to positions [0, visible).
  void put_query(int64_t row, const float* latent, const float* rotary, float scale, int64_t visible) {
    query_.put(row, latent, rotary, shape_, scale, space_);
    visible_[row] = visible;
  }

  // Scores of tiles [first, first + kTiles) of the span.
  template <int kTiles>
  void score(const Span& span, int64_t first) {
    for (int64_t block = 0; block < blocks_; ++block) {
      if (block < kTiles) {
        score_block<kTiles, true>(span, first, block);
      } else {
        score_block<kTiles, false>(span, first, block);
      }
    }
  }

  // Takes the scored span in.
  void finish_span(const Span& span) {
    const int64_t positions = span.num_tiles * kTile;
    weights_.clear();
    for (int64_t row = 0; row < count_; ++row) {
      float* scores = scores_ + row * kSpan;
      const int64_t seen = std::clamp<int64_t>(visible_[row] - span.first_position, 0, positions);
      std::fill(scores + seen, scores + positions, kMasked);
      weigh(scores, span.num_tiles, span.value_unit, row, state_[row], weights_);
    }
    weights_.fill_up(kMaxRows, span.num_tiles);
    add_values(span.values, weights_, span.num_tiles, numbers_, out_);
  }

  const float* out(int64_t row) const { return out_ + row * numbers_; }
  const SoftmaxState& state(int64_t row) const { return state_[row]; }

  // Writes a row's attention.
  void store_row(int64_t row, float* out) const {
    const Floats inverse = splat(1.0f / state_[row].total);
    for (int64_t i = 0; i < numbers_; i += 16) store(out + i, multiply(load(this->out(row) + i), inverse));
  }

 private:
  template <int kTiles, bool kFetch>
  void score_block(const Span& span, int64_t first, int64_t block) {
    tile_scores<kTiles, kFetch>(span.tiles + first, kFetch ? span.ahead[first + block] : nullptr, shape_, query_,
                                block, scores_ + block * kRowBlock * kSpan + first * kTile, kSpan);
  }

  KeyShape shape_;
  int64_t numbers_;
  int64_t count_ = 0, blocks_ = 0;
  QueryCodes query_;
  int8_t* space_;
  float* scores_;
  float* out_;
  SoftmaxState* state_;
  int64_t* visible_;
  WeightRows weights_;
};

}  // namespace deepseek::ISA
