// A grouped-query attention layer from residual stream to residual stream.
#pragma once

#include <cstdint>

#include "elementwise.h"
#include "gqa_attention.h"
#include "gqa_write.h"
#include "layer_parts.h"
#include "projections.h"
#include "thread_pool.h"

namespace deepseek::ISA {

// hidden (num_tokens, hidden_size) += attention(norm(hidden)).
inline void gqa_layer(ThreadPool& pool, const GqaLayer& layer, const Batch& batch, float* hidden) {
  const int64_t head_dim = layer.cache.head_dim, num_tokens = batch.num_tokens;
  const int64_t query = layer.num_heads * head_dim, key = layer.cache.num_kv_heads * head_dim;
  Buffer qkv(num_tokens, query + 2 * key), attended(num_tokens, query);
  project_normed(pool, layer.qkv, layer.norm, hidden, num_tokens, qkv.data());
  rotate(pool, qkv.data(), num_tokens, qkv.width(), layer.num_heads + layer.cache.num_kv_heads, head_dim, batch.turns,
         layer.num_pairs);
  gqa_write(pool, layer.cache, batch.slots, num_tokens, qkv.data() + query, qkv.width(), qkv.data() + query + key,
            qkv.width());
  gqa_attention(pool, layer.cache, batch.segments, batch.num_segments, qkv.data(), qkv.width(), layer.num_heads,
                layer.scale, attended.data());
  add_projection(pool, layer.output, attended.data(), num_tokens, hidden);
}

}  // namespace deepseek::ISA
