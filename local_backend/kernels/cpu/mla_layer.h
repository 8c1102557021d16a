// A latent attention layer from residual stream to residual stream (DeepSeek-V2 paper, section 2.1).
#pragma once

#include <vector>

#include "expanded_attention.h"
#include "latent_attention.h"
#include "mla_queries.h"

namespace deepseek::ISA {

// out[token][head] = the head's rows of the matrix times x.row(token * num_heads + head). Rows of a head fill whole
// blocks.
inline void multiply_heads(ThreadPool& pool, const Matrix& weight, const QuantizedRows& x, int64_t num_tokens,
                           int64_t num_heads, const HeadRows& out) {
  const int64_t blocks = weight.rows / num_heads / kBlockRows;
  pool.run(num_heads, [&](int64_t head, int) {
    thread_local std::vector<const QuantizedGroup*> tokens;
    tokens.resize(num_tokens);
    for (int64_t token = 0; token < num_tokens; ++token) tokens[token] = x.row(token * num_heads + head);
    multiply_any(weight, head * blocks, (head + 1) * blocks, tokens.data(), num_tokens, out.row(0, head), out.stride);
  });
}

// Some segments whose rows follow one another, as if there were no others.
struct Run {
  std::vector<AttentionSegment> segments;
  int64_t first_row, num_rows;
};

// Compares multiplications per head: the absorbed form pays per new token, the expanded form per position.
inline bool absorbed_is_cheaper(const MlaLayer& layer, const AttentionSegment& segment) {
  const KeyShape& shape = layer.cache.shape;
  const int64_t nope = layer.expansion.nope, value = layer.expansion.value;
  const int64_t up = shape.rank * (nope + value), pairs = segment.num_rows * segment.context_len;
  const int64_t absorbed = segment.num_rows * up + pairs * (shape.width() + shape.rank);
  return absorbed <= segment.context_len * up + pairs * (nope + shape.rope + value);
}

// Neighbours for which the same form is cheaper, from `first` on.
inline Run run_of(const MlaLayer& layer, const Batch& batch, int64_t first, bool absorbed) {
  Run run{{}, batch.segments[first].first_row, 0};
  for (int64_t i = first; i < batch.num_segments; ++i) {
    if (absorbed_is_cheaper(layer, batch.segments[i]) != absorbed) break;
    run.segments.push_back(batch.segments[i]);
    run.segments.back().first_row -= run.first_row;
    run.num_rows += batch.segments[i].num_rows;
  }
  return run;
}

// out (rows, heads * value): attention of the run's queries to the latents themselves.
inline void attend_absorbed(ThreadPool& pool, const MlaLayer& layer, const Run& run, const HeadRows& queries,
                            float* out) {
  const KeyShape& shape = layer.cache.shape;
  const int64_t heads = layer.expansion.num_heads, nope = layer.expansion.nope, value = layer.expansion.value;
  QuantizedRows parts(run.num_rows * heads, nope);
  Buffer mapped(run.num_rows * heads, shape.width());
  run_rows(pool, run.num_rows * heads, queries.width, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const float* query = queries.row(row / heads, row % heads);
      parts.quantize(row, query);
      std::copy_n(query + nope, shape.rope, mapped.row(row) + shape.rank);
    }
  });
  multiply_heads(pool, layer.key_up, parts, run.num_rows, heads, {mapped.data(), heads * shape.width(), shape.width()});
  Buffer latents(run.num_rows * heads, shape.rank);
  latent_attention(pool, layer.cache, run.segments.data(), static_cast<int64_t>(run.segments.size()), mapped.data(),
                   heads, layer.scale, latents.data());
  multiply_heads(pool, layer.value_up, quantize_rows(pool, latents.data(), run.num_rows * heads, shape.rank),
                 run.num_rows, heads, {out, heads * value, value});
}

// The same over expanded keys and values.
inline void attend_expanded(ThreadPool& pool, const MlaLayer& layer, const Run& run, const HeadRows& queries,
                            float* out) {
  expanded_attention(pool, layer.cache, run.segments.data(), static_cast<int64_t>(run.segments.size()), layer.expansion,
                     queries.data, queries.stride, layer.scale, out);
}

// hidden (num_tokens, hidden_size) += attention(norm(hidden)).
inline void mla_layer(ThreadPool& pool, const MlaLayer& layer, const Batch& batch, float* hidden) {
  const LatentExpansion& parts = layer.expansion;
  const int64_t num_tokens = batch.num_tokens, width = parts.nope + layer.cache.shape.rope;
  Buffer inputs(num_tokens, layer.input.rows());
  project_normed(pool, layer.input, layer.norm, hidden, num_tokens, inputs.data());
  const bool made = layer.query_up.count > 0;
  Buffer space(made ? num_tokens : 0, parts.num_heads * width);
  if (made) make_queries(pool, layer, inputs, num_tokens, space.data());
  const HeadRows queries =
      made ? HeadRows{space.data(), space.width(), width} : HeadRows{inputs.data(), inputs.width(), width};
  turn_and_write(pool, layer, batch, queries, inputs);
  Buffer attended(num_tokens, parts.num_heads * parts.value);
  for (int64_t first = 0; first < batch.num_segments;) {
    const bool absorbed = absorbed_is_cheaper(layer, batch.segments[first]);
    const Run run = run_of(layer, batch, first, absorbed);
    const HeadRows rows{queries.row(run.first_row, 0), queries.stride, queries.width};
    (absorbed ? attend_absorbed : attend_expanded)(pool, layer, run, rows, attended.row(run.first_row));
    first += static_cast<int64_t>(run.segments.size());
  }
  add_projection(pool, layer.output, attended.data(), num_tokens, hidden);
}

}  // namespace deepseek::ISA
