// The parts of a layer, as Python describes them once when a model is put together (native_layers.py).
#pragma once

#include <cstdint>

#include "gqa_cache.h"
#include "latent_cache.h"
#include "matrix.h"

namespace deepseek {

// down(silu(gate(x)) * up(x))
struct Mlp {
  Matrix gate, up, down;
};

struct Router {
  const float* weight;  // (num_experts, hidden_size)
  const float* bias;    // (num_experts,) added for ranking only, or null
  int32_t num_experts;
  int32_t per_token;
  int32_t num_groups;
  int32_t kept_groups;  // 0: groups do not matter
  int32_t ranked_by;    // how many of a group's best say how good it is, 1 or 2
  int32_t sigmoid;      // else softmax
  int32_t normalise;    // divide weights by their sum
  float hidden;         // what experts of other groups rank as
  float scale;          // factor on the weights
};

struct Mixture {
  Router router;
  const Mlp* experts;  // (num_experts,)
  const Mlp* shared;   // for every token, or null
};

// Root-mean-square norm.
struct Norm {
  const float* weight;  // (hidden_size,)
  float epsilon;
};

// Projections of one input, stored as one to three matrices one below the other.
struct Projections {
  int64_t count;
  Matrix matrices[3];
  const float* bias;  // of all rows, or null

  int64_t rows() const {
    int64_t total = 0;
    for (int64_t index = 0; index < count; ++index) total += matrices[index].rows;
    return total;
  }
};

// The tokens of one pass.
struct Batch {
  const float* turns;    // (num_tokens, rotary_dim / 2) pairs of cosine and sine
  const int64_t* slots;  // (num_tokens,) where keys and values go
  const AttentionSegment* segments;
  int64_t num_segments;
  int64_t num_tokens;
};

// Grouped-query attention.
struct GqaLayer {
  Norm norm;
  Projections qkv;
  Projections output;
  KeyValueCache cache;
  int64_t num_heads;
  int64_t num_pairs;  // of each head that are turned
  float scale;
};

// Latent attention over a rotated cache; rotations here leave out their factor, which norm and scales contain.
struct MlaLayer {
  Norm norm;
  Projections input;         // queries or what they are made of, latent, rotary key
  Norm query_norm;           // of what queries are made of
  Projections query_up;      // none: input gives the queries
  Norm latent_norm;          // (rank,)
  const float* query_scale;  // (rope,) factors on turned queries
  const float* key_scale;    // (rope,) and on turned keys
  int64_t latent_block;      // numbers that are spread over each other, a power of two
  int64_t rotary_block;
  Matrix key_up;    // (num_heads * rank, nope)
  Matrix value_up;  // (num_heads * value, rank)
  LatentExpansion expansion;
  Projections output;
  LatentCache cache;
  float scale;
};

}  // namespace deepseek
