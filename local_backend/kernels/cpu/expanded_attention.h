// Expanded latent attention, for many new rows: keys and values of each head are made of the cached latents.
//
// A piece is one head of one sequence: its keys and values are expanded once, span by span as the rows need them,
// and then all rows attend to them.
#pragma once

#include "expanded_tiles.h"
#include "thread_pool.h"

namespace deepseek::ISA {

// One call's arguments.
struct ExpandedCall {
  const LatentCache& cache;
  const LatentExpansion& parts;
  const float* query;
  int64_t stride;
  float scale;
  float* out;

  const float* query_of(int64_t row, int64_t head) const {
    return query + row * stride + head * (parts.nope + cache.shape.rope);
  }
};

// Up to 32 rows of one head, from `first` of the segment's.
inline void attend_rows(const ExpandedCall& call, const AttentionSegment& segment, int64_t head, int64_t first,
                        ExpandedHead& keys, AttentionRows& rows, int64_t& spans_expanded) {
  const int64_t count = std::min(kMaxRows, segment.num_rows - first), heads = call.parts.num_heads;
  rows.begin(count);
  for (int64_t row = 0; row < count; ++row) {
    const float* query = call.query_of(segment.first_row + first + row, head);
    rows.put_query(row, query, query + call.parts.nope, call.scale);
    rows.see(row, segment.visible(first + row));
  }
  const int64_t seen = (segment.visible(first + count - 1) + kTile - 1) / kTile;  // in tiles
  Span span;
  for (int64_t index = 0; index * kSpanTiles < seen; ++index) {
    if (index == spans_expanded) keys.expand(call.cache, segment, head, spans_expanded++);
    keys.open(index, std::min<int64_t>(kSpanTiles, seen - index * kSpanTiles), span);
    for (int64_t tile = 0; tile < span.num_tiles; tile += kTilesAtOnce) {
      if (span.num_tiles - tile == 1) {
        rows.score<1>(span, tile);
      } else {
        rows.score<kTilesAtOnce>(span, tile);
      }
    }
    rows.finish_span(span);
  }
  for (int64_t row = 0; row < count; ++row) {
    float* out = call.out + ((segment.first_row + first + row) * heads + head) * call.parts.value;
    rows.store_row(row, out, call.parts.value);
  }
}

// out (rows, num_heads, value): attention of query (rows, num_heads, nope + rope), rows stride floats apart.
inline void expanded_attention(ThreadPool& pool, const LatentCache& cache, const AttentionSegment* segments,
                               int64_t num_segments, const LatentExpansion& parts, const float* query, int64_t stride,
                               float scale, float* out) {
  const ExpandedCall call{cache, parts, query, stride, scale, out};
  pool.run(num_segments * parts.num_heads, [&](int64_t piece, int) {
    const AttentionSegment& segment = segments[piece / parts.num_heads];
    const KeyShape shape{parts.nope, cache.shape.rope};
    thread_local Scratch scratch;
    scratch.reserve(ExpandedHead::bytes(parts, cache.shape, segment.context_len) +
                    AttentionRows::bytes(shape, parts.values()));
    ExpandedHead keys(scratch, parts, cache.shape, segment.context_len);
    AttentionRows rows(scratch, shape, parts.values());
    int64_t spans_expanded = 0;
    for (int64_t first = 0; first < segment.num_rows; first += kMaxRows) {
      attend_rows(call, segment, piece % parts.num_heads, first, keys, rows, spans_expanded);
    }
  });
}

}  // namespace deepseek::ISA
