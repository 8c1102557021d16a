// What a latent attention layer makes of its inputs: queries of all heads, and positions for the cache.
#pragma once

#include <vector>

#include "elementwise.h"
#include "hadamard.h"
#include "latent_tiles.h"
#include "layer_parts.h"
#include "projections.h"

namespace deepseek::ISA {

// Rows (num_tokens, num_heads, width), tokens some floats apart.
struct HeadRows {
  float* data;
  int64_t stride;
  int64_t width;

  float* row(int64_t token, int64_t head) const { return data + token * stride + head * width; }
};

// Queries from what they are made of, the first columns of inputs.
inline void make_queries(ThreadPool& pool, const MlaLayer& layer, Buffer& inputs, int64_t num_tokens, float* out) {
  const int64_t rank = layer.query_up.matrices[0].columns;
  Buffer normed(num_tokens, rank);
  run_rows(pool, num_tokens, rank, [&](int64_t first, int64_t last) {
    for (int64_t token = first; token < last; ++token) {
      rms_norm_row(inputs.row(token), rank, layer.query_norm.weight, layer.query_norm.epsilon, normed.row(token));
    }
  });
  project(pool, layer.query_up, normed.data(), num_tokens, out);
}

// Turns a rotary part, and takes it into the basis of the cache.
inline void turn(float* x, const float* turns, const float* scale, int64_t rope, int64_t block) {
  rotate_head(x, turns, rope / 2);
  for (int64_t i = 0; i < rope; ++i) x[i] *= scale[i];
  hadamard(x, rope, block);
}

// Turns the queries in place and writes the positions, (latent, rotary key) in the last columns of inputs.
inline void turn_and_write(ThreadPool& pool, const MlaLayer& layer, const Batch& batch, const HeadRows& queries,
                           Buffer& inputs) {
  const KeyShape& shape = layer.cache.shape;
  const int64_t heads = layer.expansion.num_heads, nope = layer.expansion.nope;
  run_rows(pool, batch.num_tokens, heads * shape.rope + shape.width(), [&](int64_t first, int64_t last) {
    thread_local std::vector<int8_t> codes;
    codes.resize(shape.width());
    for (int64_t token = first; token < last; ++token) {
      const float* turns = batch.turns + token * shape.rope;
      for (int64_t head = 0; head < heads; ++head) {
        turn(queries.row(token, head) + nope, turns, layer.query_scale, shape.rope, layer.rotary_block);
      }
      float* latent = inputs.row(token) + inputs.width() - shape.width();
      rms_norm_row(latent, shape.rank, layer.latent_norm.weight, layer.latent_norm.epsilon, latent);
      hadamard(latent, shape.rank, layer.latent_block);
      float* rotary = latent + shape.rank;
      turn(rotary, turns, layer.key_scale, shape.rope, layer.rotary_block);
      write_position(layer.cache, batch.slots[token], latent, rotary, codes.data());
    }
  });
}

}  // namespace deepseek::ISA
