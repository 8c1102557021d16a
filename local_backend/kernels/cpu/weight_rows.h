// Weights over a span of positions as bytes.
//
// The weight of a position, times what its value's codes count, becomes a byte. What rounding leaves over is carried
// to the next tile, so that many small weights do not vanish together. The byte's step follows from how large
// weights are on average; of the few that are too large for a byte, the rest is kept apart.
#pragma once

#include "softmax_rows.h"

namespace deepseek::ISA {

constexpr int kWeightBlock = 4;         // rows of weights that share each load of a value
constexpr int kSpanFours = kSpan / 4;   // runs of four positions, which a dot product takes at once
constexpr float kLargestByte = 254.0f;  // with half a step carried over, still a byte
constexpr float kTolerance = 0.006f;    // noise by the rounding of weights, relative to a row's output

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

// Appends what a tile's weights have above `top`, in steps of a 255th of the largest such rest.
inline void put_rests(Floats weight, Floats top, Floats inverse_step, int64_t tile, WeightRows& rows) {
  const Floats above = maximum(subtract(weight, top), zeros());
  uint8_t bytes[kTile];
  store_weights(bytes, round_nearest(multiply(above, inverse_step)));
  for (int four = 0; four < 4; ++four) {
    Rest rest{static_cast<int32_t>(4 * tile + four), {}};
    std::memcpy(rest.bytes, bytes + 4 * four, 4);
    if (rest.bytes[0] | rest.bytes[1] | rest.bytes[2] | rest.bytes[3]) rows.append(rest);
  }
}

// Weights (num_tiles, 16), none above `peak`, as bytes of up to `most`, and rests.
inline void put_bytes(const float* weights, int64_t num_tiles, float most, float peak, uint8_t* bytes,
                      WeightRows& rows) {
  const Floats inverse = splat(kLargestByte / most), top = splat(most);
  const Floats inverse_step = splat(peak > most ? 255.0f / (peak - most) : 0.0f);
  Floats carried[2] = {zeros(), zeros()};  // two, because each waits for what was rounded before
  for (int64_t tile = 0; tile < num_tiles; ++tile) {
    const Floats weight = load(weights + tile * kTile);
    const Floats exact = multiply_add(minimum(weight, top), inverse, carried[0]);
    const Floats rounded = round_nearest(exact);
    carried[0] = carried[1];
    carried[1] = subtract(exact, rounded);
    store_weights(bytes + tile * kWeightBlock * kTile, rounded);
    if (any_above(weight, top)) put_rests(weight, top, inverse_step, tile, rows);
  }
}

// Appends the weights (count, kSpan) of a span.
//
// The largest byte stands for as much as keeps the noise of rounding within kTolerance of what a row's output is
// made of: at most one weight in (254 kTolerance sqrt(6))^2 = 6 is larger.
//
// seen (count): how many of the span's positions each row sees.
inline void put_span(const float* weights, const int64_t* seen, int64_t count, int64_t num_tiles,
                     const SoftmaxRows& softmax, WeightRows& rows) {
  for (int64_t row = 0; row < count; ++row, weights += kSpan) {
    const float peak = softmax.peak[row], mean = softmax.mean_square(row, seen[row]);
    const float wanted = kLargestByte * kTolerance * std::sqrt(6.0f * mean);
    const float most = wanted < 0.95f * peak ? wanted : peak;
    uint8_t* bytes = rows.append({row, most / kLargestByte, softmax.kept[row], (peak - most) / 255.0f, 0, 0});
    put_bytes(weights, num_tiles, most, peak, bytes, rows);
  }
}

}  // namespace deepseek::ISA
