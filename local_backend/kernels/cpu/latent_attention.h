// Absorbed latent attention: all heads attend to the cached latents themselves (DeepSeek-V2 paper, section 2.1.2).
//
// Work is cut into pieces of one sequence, up to 32 query rows and a run of positions. What pieces of the same
// rows have seen is put together at the end.
#pragma once

#include "attention_rows.h"
#include "thread_pool.h"

namespace deepseek::ISA {

struct LatentPiece {
  const AttentionSegment* segment;
  int64_t first_row, num_rows;  // of the segment's (num_rows * num_heads)
  int64_t first_tile, last_tile;
};

// One call's arguments.
struct LatentCall {
  const LatentCache& cache;
  const float* query;
  int64_t num_heads;
  float scale;
  float* out;
};

// Positions are cut at the same places whatever else is in the batch, so that a row's result does not depend on it.
constexpr int64_t kPieceTiles = 4 * kSpanTiles;

// How many query rows a piece takes: fewer where there would not be a piece for every thread.
inline int64_t rows_per_piece(const AttentionSegment* segments, int64_t num_segments, int64_t num_heads,
                              int num_threads) {
  int64_t count = 0;
  for (int64_t i = 0; i < num_segments; ++i) {
    const int64_t cuts = (segments[i].num_tiles() + kPieceTiles - 1) / kPieceTiles;
    count += (segments[i].num_rows * num_heads + kMaxRows - 1) / kMaxRows * cuts;
  }
  return count < num_threads ? kRowBlock : kMaxRows;
}

// All pieces; those of the same rows are neighbours.
inline std::vector<LatentPiece> latent_pieces(const AttentionSegment* segments, int64_t num_segments, int64_t num_heads,
                                              int num_threads) {
  const int64_t together = rows_per_piece(segments, num_segments, num_heads, num_threads);
  std::vector<LatentPiece> pieces;
  for (int64_t i = 0; i < num_segments; ++i) {
    const int64_t rows = segments[i].num_rows * num_heads, tiles = segments[i].num_tiles();
    for (int64_t row = 0; row < rows; row += together) {
      for (int64_t tile = 0; tile < tiles; tile += kPieceTiles) {
        const int64_t end = std::min(tiles, tile + kPieceTiles);
        pieces.push_back({&segments[i], row, std::min(together, rows - row), tile, end});
      }
    }
  }
  return pieces;
}

// The span of a segment that begins with tile `first`; its values go to `values`.
inline void open_span(const LatentCache& cache, const AttentionSegment& segment, int64_t first, int64_t last,
                      const uint8_t* values, Span& span) {
  span.num_tiles = std::min<int64_t>(kSpanTiles, last - first);
  span.first_position = first * kTile;
  span.values = values;
  span.fetches = true;
  for (int64_t tile = 0; tile < span.num_tiles; ++tile) {
    span.tiles[tile] = cache.tile_of(segment, first + tile);
    span.ahead[tile] = cache.tile_of(segment, std::min(first + tile + kSpanTiles, segment.num_tiles() - 1));
  }
  const int64_t written = segment.context_len - span.first_position;
  for (int64_t tile = 0; tile < span.num_tiles; ++tile) {
    const float* unit = reinterpret_cast<const float*>(span.tiles[tile] + cache.shape.code_bytes());
    const int64_t used = std::clamp<int64_t>(written - tile * kTile, 0, kTile);
    std::copy(unit, unit + used, span.value_unit + tile * kTile);
    std::fill(span.value_unit + tile * kTile + used, span.value_unit + (tile + 1) * kTile, 0.0f);
  }
}

// Queries of all segments as codes: a piece's begin with a block of rows, since pieces begin with multiples of 8.
class RoundedQueries {
 public:
  RoundedQueries(ThreadPool& pool, const LatentCall& call, const AttentionSegment* segments, int64_t num_segments,
                 Scratch& scratch)
      : shape_(call.cache.shape), segments_(segments) {
    int64_t blocks = 0;
    for (int64_t i = 0; i < num_segments; ++i) {
      first_block_.push_back(blocks);
      blocks += (segments[i].num_rows * call.num_heads + kRowBlock - 1) / kRowBlock;
    }
    scratch.reserve(blocks * kRowBlock * (shape_.width() + 16) + 256);
    codes_ = {scratch.take<int8_t>(blocks * kRowBlock * shape_.width()), scratch.take<float>(blocks * 2 * kRowBlock),
              scratch.take<int32_t>(blocks * 2 * kRowBlock)};
    first_block_.push_back(blocks);
    pool.run(blocks, [&](int64_t block, int) { round(call, block); });
  }

  QueryCodes of(const LatentPiece& piece) const {
    return codes_.from(first_block_[piece.segment - segments_] + piece.first_row / kRowBlock, shape_);
  }

 private:
  void round(const LatentCall& call, int64_t block) const {
    thread_local std::vector<int8_t> space;
    space.resize(shape_.width());
    const auto after = std::upper_bound(first_block_.begin(), first_block_.end(), block);
    const int64_t index = after - first_block_.begin() - 1;
    const AttentionSegment& segment = segments_[index];
    const int64_t first = (block - first_block_[index]) * kRowBlock, rows = segment.num_rows * call.num_heads;
    const QueryCodes codes = codes_.from(block, shape_);
    codes.clear(1, shape_);
    for (int64_t row = first; row < std::min(first + kRowBlock, rows); ++row) {
      const float* query = call.query + (segment.first_row * call.num_heads + row) * shape_.width();
      codes.put(row - first, query, query + shape_.rank, shape_, call.scale * kLog2E, space.data());
    }
  }

  KeyShape shape_;
  const AttentionSegment* segments_;
  std::vector<int64_t> first_block_;
  QueryCodes codes_{};
};

inline void attend_piece(const LatentCall& call, const LatentPiece& piece, const QueryCodes& query, AttentionRows& rows,
                         uint8_t* values) {
  const KeyShape& shape = call.cache.shape;
  const AttentionSegment& segment = *piece.segment;
  rows.begin(piece.num_rows, query);
  for (int64_t row = 0; row < piece.num_rows; ++row) {
    rows.see(row, segment.visible((piece.first_row + row) / call.num_heads));
  }
  Span span;
  for (int64_t first = piece.first_tile; first < piece.last_tile; first += kSpanTiles) {
    open_span(call.cache, segment, first, piece.last_tile, values, span);
    for (int64_t tile = 0; tile < span.num_tiles; tile += kTilesAtOnce) {
      const int64_t together = std::min<int64_t>(kTilesAtOnce, span.num_tiles - tile);
      if (together == kTilesAtOnce) {
        rows.score<kTilesAtOnce>(span, tile);
      } else {
        rows.score<1>(span, tile);
      }
      for (int64_t i = tile; i < tile + together; ++i) put_values(span.tiles[i], shape.rank, i, values);
    }
    rows.finish_span(span);
  }
}

// What a piece has seen, per row: the highest score, the sum of weights, and the weighted sum.
struct Partials {
  int64_t rank;
  float* memory;

  int64_t stride() const { return rank + 16; }
  float* row(int64_t piece, int64_t row) const { return memory + (piece * kMaxRows + row) * stride(); }

  void keep(int64_t piece, int64_t row, const AttentionRows& rows) const {
    float* place = this->row(piece, row);
    place[0] = rows.highest(row);
    place[1] = rows.total(row);
    std::memcpy(place + 16, rows.out(row), rank * sizeof(float));
  }

  // out (rank) = what pieces [first, last) have seen together.
  void combine(int64_t first, int64_t last, int64_t row, float* out) const {
    float highest = kMasked, total = 0.0f;
    for (int64_t piece = first; piece < last; ++piece) highest = std::max(highest, this->row(piece, row)[0]);
    for (int64_t piece = first; piece < last; ++piece) {
      total += std::exp2(this->row(piece, row)[0] - highest) * this->row(piece, row)[1];
    }
    for (int64_t piece = first; piece < last; ++piece) {
      const float* place = this->row(piece, row);
      const Floats share = splat(std::exp2(place[0] - highest) / total);
      for (int64_t i = 0; i < rank; i += 16) {
        const Floats before = piece == first ? zeros() : load(out + i);
        store(out + i, multiply_add(load(place + 16 + i), share, before));
      }
    }
  }
};

// out (rows, num_heads, rank): attention of query (rows, num_heads, rank + rope), already mapped by k_up.
inline void latent_attention(ThreadPool& pool, const LatentCache& cache, const AttentionSegment* segments,
                             int64_t num_segments, const float* query, int64_t num_heads, float scale, float* out) {
  const LatentCall call{cache, query, num_heads, scale, out};
  const int64_t rank = cache.shape.rank;
  const auto pieces = latent_pieces(segments, num_segments, num_heads, pool.num_threads());
  const auto same_rows = [&](size_t a, size_t b) {
    return pieces[a].segment == pieces[b].segment && pieces[a].first_row == pieces[b].first_row;
  };
  std::vector<size_t> firsts;  // pieces that begin other rows than the piece before
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (i == 0 || !same_rows(i, i - 1)) firsts.push_back(i);
  }
  thread_local Scratch rounded;
  const RoundedQueries queries(pool, call, segments, num_segments, rounded);
  const bool split = firsts.size() < pieces.size();
  thread_local Scratch memory;
  memory.reserve(split ? pieces.size() * kMaxRows * (rank + 16) * sizeof(float) : 0);
  const Partials partials{rank, split ? memory.take<float>(0) : nullptr};
  const auto place = [&](const LatentPiece& piece, int64_t row) {
    return out + (piece.segment->first_row * num_heads + piece.first_row + row) * rank;
  };
  pool.run(static_cast<int64_t>(pieces.size()), [&](int64_t index, int) {
    thread_local Scratch scratch;
    scratch.reserve(AttentionRows::bytes(cache.shape, rank) + value_bytes(rank));
    uint8_t* values = scratch.take<uint8_t>(value_bytes(rank));
    AttentionRows rows(scratch, cache.shape, rank);
    attend_piece(call, pieces[index], queries.of(pieces[index]), rows, values);
    for (int64_t row = 0; row < pieces[index].num_rows; ++row) {
      if (split) {
        partials.keep(index, row, rows);
      } else {
        rows.store_row(row, place(pieces[index], row), rank);
      }
    }
  });
  if (!split) return;
  pool.run(static_cast<int64_t>(firsts.size()), [&](int64_t index, int) {
    const size_t first = firsts[index];
    const size_t last = static_cast<size_t>(index) + 1 < firsts.size() ? firsts[index + 1] : pieces.size();
    for (int64_t row = 0; row < pieces[first].num_rows; ++row) {
      partials.combine(first, last, row, place(pieces[first], row));
    }
  });
}

}  // namespace deepseek::ISA
