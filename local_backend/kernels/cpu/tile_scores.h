// Scores of query rows against tiles of keys: 4-byte dot products, sixteen positions at a time.
#pragma once

#include <numeric>

#include "dots.h"
#include "latent_tiles.h"

namespace deepseek::ISA {

constexpr int kRowBlock = 8;     // query rows that share each load of a key
constexpr int kTilesAtOnce = 2;  // tiles that share each load of a query

// Rounded query rows in blocks of 8. One block: for every four numbers, four bytes of each row.
struct QueryCodes {
  int8_t* codes;   // (blocks, width / 4, 8, 4)
  float* unit;     // (blocks, 2, 8): what a code counts in the latent part and in the rotary part
  int32_t* start;  // (blocks, 2, 8): -128 times the sum of a part's codes, because keys are kept plus 128

  void put(int64_t row, const float* latent, const float* rotary, const KeyShape& shape, float scale,
           int8_t* space) const {
    const int64_t block = row / kRowBlock, lane = row % kRowBlock;
    const float units[2] = {to_codes(latent, shape.rank, space), to_codes(rotary, shape.rope, space + shape.rank)};
    const int8_t* ends[3] = {space, space + shape.rank, space + shape.width()};
    for (int part = 0; part < 2; ++part) {
      unit[(2 * block + part) * kRowBlock + lane] = units[part] * scale;
      start[(2 * block + part) * kRowBlock + lane] = -128 * std::accumulate(ends[part], ends[part + 1], 0);
    }
    put_codes(row, space, shape.width());
  }

  // Rows that are not put count nothing.
  void clear(int64_t blocks, const KeyShape& shape) const {
    std::memset(codes, 0, blocks * kRowBlock * shape.width());
    std::memset(start, 0, blocks * 2 * kRowBlock * sizeof(int32_t));
    std::memset(unit, 0, blocks * 2 * kRowBlock * sizeof(float));
  }

  // The rows from block `first` on.
  QueryCodes from(int64_t first, const KeyShape& shape) const {
    return {codes + first * kRowBlock * shape.width(), unit + first * 2 * kRowBlock, start + first * 2 * kRowBlock};
  }

  void put_codes(int64_t row, const int8_t* numbers, int64_t width) const {
    int8_t* first = codes + row / kRowBlock * kRowBlock * width + row % kRowBlock * 4;
    for (int64_t i = 0; i < width; i += 4) std::memcpy(first + i * kRowBlock, numbers + i, 4);
  }
};

// sums[t][r] += codes of tile t . query row r, over `steps` vectors. As much at `ahead` is fetched
// meanwhile.
template <int kTiles, bool kFetch>
inline void add_products(Integers (&sums)[kTiles][kRowBlock], const uint8_t* const* codes, const uint8_t* ahead,
                         const int8_t* query, int64_t steps) {
  for (int64_t step = 0; step < steps; ++step) {
    Integers keys[kTiles];
    for (int tile = 0; tile < kTiles; ++tile) keys[tile] = load_bytes(codes[tile] + 64 * step);
    if constexpr (kFetch) __builtin_prefetch(ahead + 64 * step, 0, 2);
    for (int row = 0; row < kRowBlock; ++row) {
      const Integers four = four_bytes(query + (step * kRowBlock + row) * 4);
      for (int tile = 0; tile < kTiles; ++tile) sums[tile][row] = add_dot(sums[tile][row], keys[tile], four);
    }
  }
}

// scores (8, stride) = or += products of one part, times both units.
template <int kTiles, bool kFetch, bool kAdd>
inline void part_scores(const uint8_t* const* codes, const uint8_t* ahead, const float* const* tile_unit,
                        const int8_t* query, const float* unit, const int32_t* start, int64_t steps, float* scores,
                        int64_t stride) {
  Integers sums[kTiles][kRowBlock];
  for (int row = 0; row < kRowBlock; ++row) {
    for (int tile = 0; tile < kTiles; ++tile) sums[tile][row] = integer_splat(start[row]);
  }
  add_products<kTiles, kFetch>(sums, codes, ahead, query, steps);
  for (int tile = 0; tile < kTiles; ++tile) {
    const Floats key_unit = load(tile_unit[tile]);
    for (int row = 0; row < kRowBlock; ++row) {
      float* out = scores + row * stride + tile * kTile;
      const Floats product = to_floats(sums[tile][row]), both = multiply(key_unit, splat(unit[row]));
      store(out, kAdd ? multiply_add(product, both, load(out)) : multiply(product, both));
    }
  }
}

// scores (8, stride) of one block of query rows against kTiles tiles; fetches the rotary part of the tile at `ahead`
// if kFetch (add_values fetches the rest).
template <int kTiles, bool kFetch>
inline void tile_scores(const uint8_t* const* tiles, const uint8_t* ahead, const KeyShape& shape,
                        const QueryCodes& query, int64_t block, float* scores, int64_t stride) {
  const uint8_t* rotary[kTiles];
  const float *latent_unit[kTiles], *rotary_unit[kTiles];
  for (int tile = 0; tile < kTiles; ++tile) {
    rotary[tile] = tiles[tile] + shape.rank * kTile;
    latent_unit[tile] = reinterpret_cast<const float*>(tiles[tile] + shape.code_bytes());
    rotary_unit[tile] = latent_unit[tile] + kTile;
  }
  const int8_t* codes = query.codes + block * kRowBlock * shape.width();
  const float* unit = query.unit + block * 2 * kRowBlock;
  const int32_t* start = query.start + block * 2 * kRowBlock;
  part_scores<kTiles, false, false>(tiles, nullptr, latent_unit, codes, unit, start, shape.rank / 4, scores, stride);
  part_scores<kTiles, kFetch, true>(rotary, kFetch ? ahead + shape.rank * kTile : nullptr, rotary_unit,
                                    codes + shape.rank * kRowBlock, unit + kRowBlock, start + kRowBlock, shape.rope / 4,
                                    scores, stride);
}

}  // namespace deepseek::ISA
