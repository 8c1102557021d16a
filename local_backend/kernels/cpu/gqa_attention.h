// Causal grouped-query attention of a whole batch over the paged cache.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "gqa_cache.h"
#include "gqa_decode.h"
#include "gqa_prefill.h"
#include "gqa_queries.h"
#include "thread_pool.h"

namespace deepseek::ISA {

constexpr int64_t kDecodeRows = 8;  // new rows of a sequence up to which reading the cache costs most

inline void gqa_attention(ThreadPool& pool, const KeyValueCache& cache, const AttentionSegment* segments,
                          int64_t num_segments, const float* rows, int64_t stride, int64_t num_heads, float scale,
                          float* out) {
  struct Piece {
    DecodeJob* decode;  // one of the two
    PrefillJob* prefill;
    int64_t part;
  };
  const Queries queries{cache, rows, stride, num_heads, scale, out};
  std::deque<DecodeJob> decodes;
  std::deque<PrefillJob> prefills;
  std::vector<Piece> pieces;
  for (const AttentionSegment* segment = segments; segment != segments + num_segments; ++segment) {
    for (int64_t head = 0; head < cache.num_kv_heads; ++head) {
      if (segment->num_rows <= kDecodeRows) {
        DecodeJob& job = decodes.emplace_back(queries, *segment, head);
        for (int64_t range = 0; range < job.num_ranges(); ++range) pieces.push_back({&job, nullptr, range});
      } else {
        PrefillJob& job = prefills.emplace_back(queries, *segment, head);
        for (int64_t block = job.num_blocks() - 1; block >= 0; --block) pieces.push_back({nullptr, &job, block});
      }
    }
  }
  PrefillScratch scratch(cache, pool.num_threads());
  pool.run(static_cast<int64_t>(pieces.size()), [&](int64_t index, int thread) {
    const Piece& piece = pieces[index];
    if (piece.decode != nullptr) {
      piece.decode->attend(piece.part);
    } else {
      piece.prefill->attend(piece.part, scratch.of(thread));
    }
  });
}

}  // namespace deepseek::ISA
