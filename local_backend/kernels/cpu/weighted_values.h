// Weighted sums of values: bytes times int8, sixteen numbers at a time.
#pragma once

#include "tile_scores.h"
#include "weight_rows.h"

namespace deepseek::ISA {

// Four rows of weights over kVectors vectors of 16 numbers.
template <int kVectors>
inline void add_block(const uint8_t* values, const uint8_t* weights, const WeightRow* rows, int64_t num_tiles,
                      float* out, int64_t stride) {
  Integers sums[kWeightBlock][kVectors];
  for (auto& row : sums) {
    for (auto& vector : row) vector = integer_zeros();
  }
  for (int64_t tile = 0; tile < num_tiles; ++tile) {
    for (int four = 0; four < 4; ++four) {
      Integers value[kVectors];
      for (int vector = 0; vector < kVectors; ++vector) {
        value[vector] = load_bytes(values + ((4 * tile + four) * kValueVectors + vector) * 64);
      }
      for (int row = 0; row < kWeightBlock; ++row) {
        const Integers weight = four_bytes(weights + (tile * kWeightBlock + row) * kTile + 4 * four);
        for (int vector = 0; vector < kVectors; ++vector) {
          sums[row][vector] = add_dot(sums[row][vector], weight, value[vector]);
        }
      }
    }
  }
  for (int row = 0; row < kWeightBlock; ++row) {
    float* place = out + rows[row].row * stride;
    const Floats factor = splat(rows[row].factor), kept = splat(rows[row].kept);
    for (int vector = 0; vector < kVectors; ++vector) {
      const Floats before = multiply(load(place + 16 * vector), kept);
      store(place + 16 * vector, multiply_add(to_floats(sums[row][vector]), factor, before));
    }
  }
}

// What one row's weights have beyond their bytes.
template <int kVectors>
inline void add_rests(const uint8_t* values, const Rest* rests, const WeightRow& row, float* place) {
  Integers sums[kVectors];
  for (auto& sum : sums) sum = integer_zeros();
  for (const Rest* rest = rests; rest < rests + row.num_rests; ++rest) {
    const Integers weight = four_bytes(rest->bytes);
    for (int vector = 0; vector < kVectors; ++vector) {
      const Integers value = load_bytes(values + (rest->four * kValueVectors + vector) * 64);
      sums[vector] = add_dot(sums[vector], weight, value);
    }
  }
  const Floats factor = splat(row.rest_factor);
  for (int vector = 0; vector < kVectors; ++vector) {
    store(place + 16 * vector, multiply_add(to_floats(sums[vector]), factor, load(place + 16 * vector)));
  }
}

template <int kVectors>
inline void add_slab(const uint8_t* values, const WeightRows& weights, int64_t num_tiles, float* out, int64_t stride) {
  for (int64_t block = 0; block < weights.num_blocks(); ++block) {
    const WeightRow* rows = weights.rows(block);
    add_block<kVectors>(values, weights.block(block), rows, num_tiles, out, stride);
    for (const WeightRow* row = rows; row < rows + kWeightBlock; ++row) {
      if (row->num_rests == 0) continue;
      add_rests<kVectors>(values, weights.rests() + row->first_rest, *row, out + row->row * stride);
    }
  }
}

// out (rows, numbers) of every row of weights is brought up to date with a span of num_tiles tiles.
inline void add_values(const uint8_t* values, const WeightRows& weights, int64_t num_tiles, int64_t numbers,
                       float* out) {
  for (int64_t first = 0; first < numbers; first += 16 * kValueVectors) {
    const uint8_t* slab = values + first / (16 * kValueVectors) * kSlabBytes;
    switch (std::min<int64_t>(kValueVectors, (numbers - first) / 16)) {
      case 1:
        add_slab<1>(slab, weights, num_tiles, out + first, numbers);
        break;
      case 2:
        add_slab<2>(slab, weights, num_tiles, out + first, numbers);
        break;
      case 3:
        add_slab<3>(slab, weights, num_tiles, out + first, numbers);
        break;
      default:
        add_slab<4>(slab, weights, num_tiles, out + first, numbers);
    }
  }
}

}  // namespace deepseek::ISA
