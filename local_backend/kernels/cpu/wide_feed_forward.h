// A SwiGLU block over many rows, with weights rounded anew.
#pragma once

#include "activation.h"
#include "elementwise.h"
#include "layer_parts.h"
#include "wide_products.h"

namespace deepseek::ISA {

constexpr int64_t kInnerBlocks = kWide / kBlockRows;  // of gate and up, whose products are rounded together
constexpr int64_t kInnerTokens = 4 * kWideTokens;     // whose products stay in the nearest cache
constexpr int64_t kDownTokens = 16 * kWideTokens;

inline bool wide_pays(const Mlp& mlp, int64_t num_tokens) {
  return wide_pays(mlp.gate, num_tokens) && wide_pays(mlp.up, num_tokens) && wide_pays(mlp.down, num_tokens);
}

// The inner rows: silu(gate(x)) * up(x).
inline WideRows wide_inner(ThreadPool& pool, const Mlp& mlp, const WideRows& x, int64_t num_tokens) {
  const auto tokens = pointers(x, num_tokens);
  WideRows inner(num_tokens, mlp.gate.rows);
  pool.run(mlp.gate.rows / kWide, [&](int64_t strip, int) {
    thread_local Scratch scratch;
    scratch.reserve(WideBlocks::bytes(mlp.gate, kInnerBlocks) + WideBlocks::bytes(mlp.up, kInnerBlocks) +
                    2 * kInnerTokens * kWide * sizeof(float));
    WideBlocks gate(scratch, mlp.gate, kInnerBlocks), up(scratch, mlp.up, kInnerBlocks);
    float* gates = scratch.take<float>(kInnerTokens * kWide);
    float* products = scratch.take<float>(kInnerTokens * kWide);
    gate.round(strip * kInnerBlocks, (strip + 1) * kInnerBlocks);
    up.round(strip * kInnerBlocks, (strip + 1) * kInnerBlocks);
    for (int64_t start = 0; start < num_tokens; start += kInnerTokens) {
      const int64_t count = std::min(kInnerTokens, num_tokens - start);
      multiply_wide_blocks(gate, kInnerBlocks, tokens.data() + start, count, gates, kWide);
      multiply_wide_blocks(up, kInnerBlocks, tokens.data() + start, count, products, kWide);
      for (int64_t i = 0; i < count * kWide; i += 16) {
        store(products + i, multiply(silu(load(gates + i)), load(products + i)));
      }
      for (int64_t token = 0; token < count; ++token) {
        quantize_wide(products + token * kWide, inner.row(start + token)[strip]);
      }
    }
  });
  return inner;
}

// out (num_tokens, hidden_size) += mlp(x).
inline void wide_feed_forward(ThreadPool& pool, const Mlp& mlp, const WideRows& x, int64_t num_tokens, float* out) {
  const WideRows inner = wide_inner(pool, mlp, x, num_tokens);
  const auto tokens = pointers(inner, num_tokens);
  constexpr int64_t kWidth = kWideStrip * kBlockRows;
  pool.run((mlp.down.num_blocks() + kWideStrip - 1) / kWideStrip, [&](int64_t strip, int) {
    thread_local Scratch scratch;
    scratch.reserve(WideBlocks::bytes(mlp.down, kWideStrip) + kDownTokens * kWidth * sizeof(float));
    WideBlocks blocks(scratch, mlp.down, kWideStrip);
    float* results = scratch.take<float>(kDownTokens * kWidth);
    const int64_t first = strip * kWideStrip, last = std::min(first + kWideStrip, mlp.down.num_blocks());
    blocks.round(first, last);
    for (int64_t start = 0; start < num_tokens; start += kDownTokens) {
      const int64_t count = std::min(kDownTokens, num_tokens - start);
      multiply_wide_blocks(blocks, last - first, tokens.data() + start, count, results, kWidth);
      for (int64_t token = 0; token < count; ++token) {
        add_rows(out + (start + token) * mlp.down.rows + first * kBlockRows, results + token * kWidth,
                 (last - first) * kBlockRows);
      }
    }
  });
}

}  // namespace deepseek::ISA
