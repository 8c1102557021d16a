// Weighted sums of values: bytes times int8, sixteen numbers at a time.
#pragma once

#include "tile_scores.h"
#include "weight_rows.h"

namespace deepseek::ISA {

// Lines of the tiles that are wanted next, fetched while values are summed: there are more of them than scores
// alone leave time for.
struct Fetch {
  const uint8_t* const* tiles;  // as many as there are tiles of values, or null
  int64_t first_line;           // those of the numbers that are summed

  // This block's share of the four lines that belong to four positions.
  void lines(int64_t tile, int four, int64_t block, int64_t num_blocks) const {
    if (tiles == nullptr) return;
    for (int64_t line = block; line < 4; line += num_blocks) {
      __builtin_prefetch(tiles[tile] + (first_line + 4 * four + line) * 64, 0, 2);
    }
  }
};

// Four rows of weights over kVectors vectors of 16 numbers.
template <int kVectors>
inline void add_block(const uint8_t* values, const WeightRows& weights, int64_t block, int64_t num_tiles, float* out,
                      int64_t stride, const Fetch& fetch) {
  const uint8_t* bytes = weights.block(block);
  const WeightRow* rows = weights.rows(block);
  const int64_t num_blocks = weights.num_blocks();
  Integers sums[kWeightBlock][kVectors];
  for (auto& row : sums) {
    for (auto& vector : row) vector = integer_zeros();
  }
  for (int64_t tile = 0; tile < num_tiles; ++tile) {
    for (int four = 0; four < 4; ++four) {
      fetch.lines(tile, four, block, num_blocks);
      Integers value[kVectors];
      for (int vector = 0; vector < kVectors; ++vector) {
        value[vector] = load_bytes(values + ((4 * tile + four) * kValueVectors + vector) * 64);
      }
      for (int row = 0; row < kWeightBlock; ++row) {
        const Integers weight = four_bytes(bytes + (tile * kWeightBlock + row) * kTile + 4 * four);
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
inline void add_slab(const uint8_t* values, const WeightRows& weights, int64_t num_tiles, float* out, int64_t stride,
                     const Fetch& fetch) {
  for (int64_t block = 0; block < weights.num_blocks(); ++block) {
    const WeightRow* rows = weights.rows(block);
    add_block<kVectors>(values, weights, block, num_tiles, out, stride, fetch);
    for (const WeightRow* row = rows; row < rows + kWeightBlock; ++row) {
      if (row->num_rests == 0) continue;
      add_rests<kVectors>(values, weights.rests() + row->first_rest, *row, out + row->row * stride);
    }
  }
}

// out (rows, numbers) of every row of weights is brought up to date with a span of num_tiles tiles. What the tiles at
// `ahead`, if not null, have of these numbers is fetched meanwhile.
inline void add_values(const uint8_t* values, const WeightRows& weights, int64_t num_tiles, int64_t numbers, float* out,
                       const uint8_t* const* ahead) {
  for (int64_t first = 0; first < numbers; first += 16 * kValueVectors) {
    const uint8_t* slab = values + first / (16 * kValueVectors) * kSlabBytes;
    const Fetch fetch{ahead, first / 4};
    switch (std::min<int64_t>(kValueVectors, (numbers - first) / 16)) {
      case 1:
        add_slab<1>(slab, weights, num_tiles, out + first, numbers, fetch);
        break;
      case 2:
        add_slab<2>(slab, weights, num_tiles, out + first, numbers, fetch);
        break;
      case 3:
        add_slab<3>(slab, weights, num_tiles, out + first, numbers, fetch);
        break;
      default:
        add_slab<4>(slab, weights, num_tiles, out + first, numbers, fetch);
    }
  }
}

}  // namespace deepseek::ISA
