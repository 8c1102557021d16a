// What one instruction set offers: one function per operation, filled in by kernels.cpp.
#pragma once

#include <cstdint>

#include "latent_cache.h"
#include "layer_parts.h"
#include "matrix.h"
#include "thread_pool.h"

namespace deepseek {

struct KernelTable {
  const char* name;
  // out (num_tokens, rows) = x (num_tokens, columns) W^T, float32.
  void (*linear)(ThreadPool& pool, const Matrix& weight, const float* x, int64_t num_tokens, float* out);
  // out (num_rows, columns) = the rows named, float32.
  void (*expand_rows)(ThreadPool& pool, const Matrix& weight, const int64_t* rows, int64_t num_rows, float* out);
  // hidden (num_tokens, hidden_size) += mlp(norm(hidden)).
  void (*feed_forward)(ThreadPool& pool, const Mlp& mlp, const Norm& norm, float* hidden, int64_t num_tokens);
  // hidden += mixture(norm(hidden)); counts (num_experts,) is added to, unless it is null.
  void (*mixture)(ThreadPool& pool, const Mixture& layer, const Norm& norm, float* hidden, int64_t num_tokens,
                  int64_t* counts);
  // hidden += attention(norm(hidden)); keys and values of the batch go into the layer's cache.
  void (*gqa_layer)(ThreadPool& pool, const GqaLayer& layer, const Batch& batch, float* hidden);
  // hidden += attention(norm(hidden)); latents of the batch go into the layer's cache.
  void (*mla_layer)(ThreadPool& pool, const MlaLayer& layer, const Batch& batch, float* hidden);
  // out (num_tokens, num_heads * head_dim); tokens of rows (num_tokens, num_heads, head_dim) lie stride floats apart.
  void (*gqa_attention)(ThreadPool& pool, const KeyValueCache& cache, const AttentionSegment* segments,
                        int64_t num_segments, const float* rows, int64_t stride, int64_t num_heads, float scale,
                        float* out);
  // key, value (num_rows, num_kv_heads, head_dim), rows some floats apart.
  void (*gqa_write)(ThreadPool& pool, const KeyValueCache& cache, const int64_t* slots, int64_t num_rows,
                    const float* key, int64_t key_stride, const float* value, int64_t value_stride);
  // The same, contiguous.
  void (*gqa_read)(const KeyValueCache& cache, const int64_t* slots, int64_t num_rows, float* key, float* value);
  // Rounds kv_latent (num_rows, rank) and k_pe (num_rows, rope) into the cache.
  void (*latent_write)(ThreadPool& pool, const LatentCache& cache, const int64_t* slots, int64_t num_rows,
                       const float* kv_latent, const float* k_pe);
  // out (num_rows, rank + rope).
  void (*latent_read)(ThreadPool& pool, const LatentCache& cache, const int64_t* slots, int64_t num_rows, float* out);
  // out (num_tokens, num_heads, rank); query (num_tokens, num_heads, rank + rope), mapped by k_up.
  void (*latent_attention)(ThreadPool& pool, const LatentCache& cache, const AttentionSegment* segments,
                           int64_t num_segments, const float* query, int64_t num_heads, float scale, float* out);
  // out (num_tokens, num_heads, value); tokens of query (num_tokens, num_heads, nope + rope) lie stride floats apart.
  void (*expanded_attention)(ThreadPool& pool, const LatentCache& cache, const AttentionSegment* segments,
                             int64_t num_segments, const LatentExpansion& parts, const float* query, int64_t stride,
                             float scale, float* out);
  // out (num_rows, size), which may be x.
  void (*rms_norm)(ThreadPool& pool, const float* x, int64_t num_rows, int64_t size, const float* weight, float epsilon,
                   float* out);
  // Turns the first 2 * num_pairs numbers of each head; turns (num_tokens, num_pairs) pairs of cosine and sine.
  void (*rotate)(ThreadPool& pool, float* x, int64_t num_tokens, int64_t stride, int64_t num_heads, int64_t head_dim,
                 const float* turns, int64_t num_pairs);
  // out (count,) = silu(gate) * up, which may be either.
  void (*silu_multiply)(ThreadPool& pool, const float* gate, const float* up, int64_t count, float* out);
};

// Null where this processor lacks the instructions.
const KernelTable* find_kernels(const char* isa);
// The n-th best instruction set this library has kernels for, null past the last.
const char* isa_name(int n);

}  // namespace deepseek
