// Softmax over a span of positions, and its weights as bytes.
//
// The weight of a position, times what its value's codes count, becomes a byte. What rounding leaves over is carried
// to the next tile, so that many small weights do not vanish together. The byte's step follows from how large
// weights are on average; of the few that are too large for a byte, the rest is kept apart.
#pragma once

#include <cmath>

#include "activation.h"
#include "value_tiles.h"

namespace deepseek::ISA {

constexpr int kWeightBlock = 4;        // rows of weights that share each load of a value
constexpr int kSpanFours = kSpan / 4;  // runs of four positions, which a dot product takes at once
constexpr float kMasked = -1e30f;      // score of a position that a row does not see
constexpr float kLargestByte = 254.0f;  // with half a step carried over, still a byte
constexpr float kTolerance = 0.004f;   // noise by the rounding of weights, relative to a row's output

// One row of byte weights: out[row] = out[row] * kept + factor * sum of bytes * values
//                                      + rest_factor * sum over its rests of bytes * values.
struct WeightRow {
  int64_t row;
  float factor;
  float kept;
  float rest_factor;
  int32_t first_rest;
  int32_t num_rests;
};

// What four weights have beyond their bytes.
struct Rest {
  int32_t four;
  uint8_t bytes[4];
};

// What has been seen of a query row.
struct SoftmaxState {
  float highest = kMasked;
  float total = 0.0f;
  float squares = 0.0f;  // of weights times units
  int spans = 0;
};

// Byte weights of all rows over one span: blocks of (tile, 4 rows, 16 positions).
class WeightRows {
 public:
  WeightRows(uint8_t* bytes, WeightRow* rows, Rest* rests) : bytes_(bytes), rows_(rows), rests_(rests) {}

  static int64_t byte_count(int64_t max_rows) { return (max_rows + kWeightBlock) * kSpan; }
  static int64_t row_count(int64_t max_rows) { return max_rows + kWeightBlock; }
  static int64_t rest_count(int64_t max_rows) { return max_rows * kSpanFours; }

  void clear() { num_rows_ = num_rests_ = 0; }
  int64_t num_blocks() const { return (num_rows_ + kWeightBlock - 1) / kWeightBlock; }
  const uint8_t* block(int64_t index) const { return bytes_ + index * kWeightBlock * kSpan; }
  const WeightRow* rows(int64_t block) const { return rows_ + block * kWeightBlock; }
  const Rest* rests() const { return rests_; }

  // Appends a row; its sixteen bytes of tile t belong at the result + 64 t.
  uint8_t* append(const WeightRow& row) {
    uint8_t* first = bytes_ + num_rows_ / kWeightBlock * kWeightBlock * kSpan + num_rows_ % kWeightBlock * kTile;
    rows_[num_rows_] = row;
    rows_[num_rows_].first_rest = num_rests_;
    ++num_rows_;
    return first;
  }

  // Appends to the last row's rests.
  void append(const Rest& rest) {
    rests_[num_rests_++] = rest;
    ++rows_[num_rows_ - 1].num_rests;
  }

  // Fills the last block up with rows that add nothing to row `spare`.
  void fill_up(int64_t spare, int64_t num_tiles) {
    while (num_rows_ % kWeightBlock) {
      uint8_t* bytes = append({spare, 0.0f, 1.0f, 0.0f, 0, 0});
      for (int64_t tile = 0; tile < num_tiles; ++tile) std::memset(bytes + tile * kWeightBlock * kTile, 0, kTile);
    }
  }

 private:
  uint8_t* bytes_;
  WeightRow* rows_;
  Rest* rests_;
  int64_t num_rows_ = 0;
  int32_t num_rests_ = 0;
};

// Integers in [0, 255] as bytes.
inline void store_weights(uint8_t* p, Floats x) {
#if defined(__AVX512F__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(to_integers(x)));
#else
  store_int8(reinterpret_cast<int8_t*>(p), to_integers(subtract(x, splat(128.0f))));
  SixteenBytes bytes;
  std::memcpy(&bytes, p, 16);
  bytes = other_sign(bytes);
  std::memcpy(p, &bytes, 16);
#endif
}

inline bool any_above(Floats x, Floats limit) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(x, limit, _CMP_GT_OQ) != 0;
#else
  return largest(subtract(x, limit)) > 0.0f;
#endif
}

// The rests of a tile's weights above `most`, in steps of `step`.
inline void put_rests(const float* weights, int64_t tile, float most, float step, WeightRows& rows) {
  for (int four = 0; four < 4; ++four) {
    Rest rest{static_cast<int32_t>(4 * tile + four), {}};
    bool any = false;
    for (int i = 0; i < 4; ++i) {
      const float above = weights[4 * four + i] - most;
      rest.bytes[i] = above > 0.0f ? static_cast<uint8_t>(above / step + 0.5f) : 0;
      any |= rest.bytes[i] != 0;
    }
    if (any) rows.append(rest);
  }
}

// Weights (num_tiles, 16), none above `peak`, as bytes of up to `most`, and rests.
inline void put_bytes(const float* weights, int64_t num_tiles, float most, float peak, uint8_t* bytes, WeightRows& rows) {
  const Floats inverse = splat(kLargestByte / most), top = splat(most);
  const float rest_step = (peak - most) / 255.0f;
  Floats carried[2] = {zeros(), zeros()};  // two, because each waits for what was rounded before
  for (int64_t tile = 0; tile < num_tiles; ++tile) {
    const Floats weight = load(weights + tile * kTile);
    const Floats exact = multiply_add(minimum(weight, top), inverse, carried[0]);
    const Floats rounded = round_nearest(exact);
    carried[0] = carried[1];
    carried[1] = subtract(exact, rounded);
    store_weights(bytes + tile * kWeightBlock * kTile, rounded);
    if (any_above(weight, top)) put_rests(weights + tile * kTile, tile, most, rest_step, rows);
  }
}

// What the largest byte shall stand for: as much as keeps the noise of rounding within kTolerance of what the row's
// output is made of. At most one weight in (255 kTolerance sqrt(6))^2 = 6 is larger.
inline float largest_byte(float peak, float squares, int64_t positions, const SoftmaxState& before) {
  const float share = before.spans > 0 ? before.squares / static_cast<float>(before.spans) : 0.0f;
  const float mean = std::max(squares, share) / static_cast<float>(positions);
  const float most = kLargestByte * kTolerance * std::sqrt(6.0f * mean);
  return most < 0.95f * peak ? most : peak;
}

// Turns a row's scores (num_tiles, 16) into weights, in place, and appends their bytes.
inline void weigh(float* scores, int64_t num_tiles, const float* value_unit, int64_t row, SoftmaxState& state,
                  WeightRows& rows) {
  Floats top = splat(state.highest);
  for (int64_t tile = 0; tile < num_tiles; ++tile) top = maximum(top, load(scores + tile * kTile));
  const float highest = largest(top);
  const Floats offset = splat(highest);
  Floats total = zeros(), squares = zeros(), largest_weight = splat(0x1p-60f);
  for (int64_t tile = 0; tile < num_tiles; ++tile) {
    const Floats weight = exponential(subtract(load(scores + tile * kTile), offset));
    const Floats counted = multiply(weight, load(value_unit + tile * kTile));
    total = add(total, weight);
    squares = multiply_add(counted, counted, squares);
    largest_weight = maximum(counted, largest_weight);
    store(scores + tile * kTile, counted);
  }
  const float kept = std::exp(state.highest - highest), peak = largest(largest_weight), sum_of_squares = sum(squares);
  state.squares *= kept * kept;
  const float most = largest_byte(peak, sum_of_squares, num_tiles * kTile, state);
  uint8_t* bytes = rows.append({row, most / kLargestByte, kept, (peak - most) / 255.0f, 0, 0});
  put_bytes(scores, num_tiles, most, peak, bytes, rows);
  state = {highest, state.total * kept + sum(total), state.squares + sum_of_squares, state.spans + 1};
}

}  // namespace deepseek::ISA
