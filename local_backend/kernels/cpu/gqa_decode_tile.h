// The inner loops of attention over few rows: one chunk of the cache for up to eight query rows.
//
// Asks memory for the next chunk line by line while it reads this one.
#pragma once

#include <algorithm>
#include <cstdint>

#include "gqa_cache.h"
#include "gqa_softmax.h"
#include "simd.h"

namespace deepseek::ISA {

constexpr int64_t kTilesPerChunk = kChunk / kTilePositions;
constexpr int kRowsAtOnce = kRegisters >= 32 ? 8 : 3;    // query rows that share the unpacked numbers of a tile
constexpr int kTilesPerStep = kRegisters >= 32 ? 2 : 1;  // tiles that share the query's numbers

// The unfinished result of one row: the largest score, the sum of weights, the weighted sum of values.
struct PartialRow {
  float largest = kUnseen;
  float total = 0.0f;
  alignas(64) float sum[kMaxHeadDim];
};

template <int kRows>
struct DecodeRows {
  alignas(64) float query[kRows][kMaxHeadDim];  // times the scale
  alignas(64) float scores[kRows][kChunk];
  int64_t visible[kRows];
  PartialRow* partial[kRows];
};

// Where one chunk lies, and what to ask memory for meanwhile.
struct ChunkTiles {
  const uint32_t* keys[kTilesPerChunk];
  const uint32_t* keys_ahead[kTilesPerChunk];
  int64_t half_words;

  ChunkTiles(const KeyValueCache& cache, const AttentionSegment& segment, int64_t head, int64_t first_tile)
      : half_words(cache.half_words()) {
    const int64_t last = segment.num_tiles() - 1;
    for (int64_t i = 0; i < kTilesPerChunk; ++i) {
      keys[i] = cache.keys(segment.tile(cache, std::min(first_tile + i, last)), head);
      keys_ahead[i] = cache.keys(segment.tile(cache, std::min(first_tile + kTilesPerChunk + i, last)), head);
    }
  }
};

inline void ask_for(const uint32_t* p) { __builtin_prefetch(p, 0, 2); }

// The scores of kTilesPerStep tiles.
template <int kRows>
inline void score_tiles(const ChunkTiles& chunk, int64_t first, int64_t padded_dim, DecodeRows<kRows>& rows) {
  Floats scores[kRows][kTilesPerStep];
  for (int row = 0; row < kRows; ++row) {
    for (int tile = 0; tile < kTilesPerStep; ++tile) scores[row][tile] = zeros();
  }
  for (int64_t dim = 0; dim < padded_dim; dim += 2) {
    const int64_t word = dim / 2 * kTilePositions;
    Floats low[kTilesPerStep], high[kTilesPerStep];
    for (int tile = 0; tile < kTilesPerStep; ++tile) {
      const Integers pairs = load_bytes(chunk.keys[first + tile] + word);
      low[tile] = low_bfloat16(pairs);
      high[tile] = high_bfloat16(pairs);
      ask_for(chunk.keys_ahead[first + tile] + word);
    }
    for (int row = 0; row < kRows; ++row) {
      const Floats even = splat(rows.query[row][dim]), odd = splat(rows.query[row][dim + 1]);
      for (int tile = 0; tile < kTilesPerStep; ++tile) {
        scores[row][tile] = multiply_add(odd, high[tile], multiply_add(even, low[tile], scores[row][tile]));
      }
    }
  }
  for (int row = 0; row < kRows; ++row) {
    for (int tile = 0; tile < kTilesPerStep; ++tile) {
      store(rows.scores[row] + (first + tile) * kTilePositions, scores[row][tile]);
    }
  }
}

// sum = sum * factor + the chunk's values by their weights, kSpans times 32 dimensions of them.
template <int kRows, int kSpans>
inline void add_chunk_values(const ChunkTiles& chunk, int64_t first_span, int64_t seen, const float* factors,
                             int64_t padded_dim, DecodeRows<kRows>& rows) {
  Floats sums[kRows][2 * kSpans];
  const int64_t first_dim = first_span * 32;
  for (int row = 0; row < kRows; ++row) {
    for (int v = 0; v < 2 * kSpans; ++v) {
      sums[row][v] = multiply(load(rows.partial[row]->sum + first_dim + 16 * v), splat(factors[row]));
    }
  }
  for (int64_t position = 0; position < seen; ++position) {
    const int64_t tile = position / kTilePositions;
    const int64_t word = chunk.half_words + (position % kTilePositions * padded_dim + first_dim) / 2;
    Floats values[2 * kSpans];
    for (int span = 0; span < kSpans; ++span) {
      const Integers pairs = load_bytes(chunk.keys[tile] + word + 16 * span);
      values[2 * span] = low_bfloat16(pairs);
      values[2 * span + 1] = high_bfloat16(pairs);
      ask_for(chunk.keys_ahead[tile] + word + 16 * span);
    }
    for (int row = 0; row < kRows; ++row) {
      const Floats weight = splat(rows.scores[row][position]);
      for (int v = 0; v < 2 * kSpans; ++v) sums[row][v] = multiply_add(weight, values[v], sums[row][v]);
    }
  }
  for (int row = 0; row < kRows; ++row) {
    for (int v = 0; v < 2 * kSpans; ++v) store(rows.partial[row]->sum + first_dim + 16 * v, sums[row][v]);
  }
}

// The chunk that begins at position start, added to every row's partial result.
template <int kRows>
inline void attend_chunk(const ChunkTiles& chunk, int64_t start, int64_t padded_dim, DecodeRows<kRows>& rows) {
  for (int64_t tile = 0; tile < kTilesPerChunk; tile += kTilesPerStep) score_tiles(chunk, tile, padded_dim, rows);
  alignas(64) float factors[16] = {}, totals[kRows];
  int64_t seen = 0;
  for (int row = 0; row < kRows; ++row) {
    const int64_t count = std::min(rows.visible[row] - start, kChunk);
    const Weighed weighed = weigh_scores(rows.scores[row], count, rows.partial[row]->largest);
    factors[row] = weighed.drop;
    totals[row] = weighed.total;
    seen = std::max(seen, count);
  }
  store(factors, exponential(load(factors)));
  for (int row = 0; row < kRows; ++row) {
    rows.partial[row]->total = rows.partial[row]->total * factors[row] + totals[row];
  }
  constexpr int kSpans = kRows * 4 + 6 <= kRegisters ? 2 : 1;
  const int64_t num_spans = padded_dim / 32;
  int64_t span = 0;
  for (; span + kSpans <= num_spans; span += kSpans) {
    add_chunk_values<kRows, kSpans>(chunk, span, seen, factors, padded_dim, rows);
  }
  if (span < num_spans) add_chunk_values<kRows, 1>(chunk, span, seen, factors, padded_dim, rows);
}

}  // namespace deepseek::ISA
