// Products of many rows with weights rounded anew.
#pragma once

#include <vector>

#include "dots.h"
#include "wide_weights.h"

namespace deepseek::ISA {

constexpr int64_t kWideStrip = 4;      // blocks of a piece of work
constexpr int64_t kWideTokens = 12;    // rows that share each load of a weight
constexpr int64_t kGroupsInReach = 6;  // whose weights, of two blocks, stay in the nearest cache

// out[token * stride + 16 * block] = or += products over wide groups [first, last).
template <int kBlocks, int kTokens>
inline void multiply_wide(const WideBlocks& weights, int64_t block, int64_t first, int64_t last,
                          const WideGroup* const* tokens, float* out, int64_t stride) {
  for (int64_t group = first; group < last; ++group) {
    Integers sums[kBlocks][kTokens];
    for (int token = 0; token < kTokens; ++token) {
      for (auto& row : sums) row[token] = integer_splat(tokens[token][group].minus_128);
    }
    const uint8_t* codes[kBlocks];
    for (int i = 0; i < kBlocks; ++i) codes[i] = weights.codes(block + i, group);
    for (int step = 0; step < kWide / 4; ++step) {
      Integers weight[kBlocks];
      for (int i = 0; i < kBlocks; ++i) weight[i] = load_bytes(codes[i] + 64 * step);
#pragma GCC unroll 12
      for (int token = 0; token < kTokens; ++token) {
        const Integers four = four_bytes(tokens[token][group].codes + 4 * step);
#pragma GCC unroll 2
        for (int i = 0; i < kBlocks; ++i) sums[i][token] = add_dot(sums[i][token], weight[i], four);
      }
    }
    for (int i = 0; i < kBlocks; ++i) {
      const Floats unit = load(weights.unit(block + i, group));
#pragma GCC unroll 12
      for (int token = 0; token < kTokens; ++token) {
        float* place = out + token * stride + (block + i) * kBlockRows;
        const Floats before = group == 0 ? zeros() : load(place);
        const Floats both = multiply(unit, splat(tokens[token][group].scale));
        store(place, multiply_add(to_floats(sums[i][token]), both, before));
      }
    }
  }
}

template <int kBlocks>
inline void multiply_wide_tokens(const WideBlocks& weights, int64_t block, int64_t first, int64_t last,
                                 const WideGroup* const* tokens, int64_t num_tokens, float* out, int64_t stride) {
  int64_t done = 0;
  for (; num_tokens - done >= kWideTokens; done += kWideTokens) {
    multiply_wide<kBlocks, kWideTokens>(weights, block, first, last, tokens + done, out + done * stride, stride);
  }
  for (; num_tokens - done >= 4; done += 4) {
    multiply_wide<kBlocks, 4>(weights, block, first, last, tokens + done, out + done * stride, stride);
  }
  for (; done < num_tokens; ++done) {
    multiply_wide<kBlocks, 1>(weights, block, first, last, tokens + done, out + done * stride, stride);
  }
}

// out (num_tokens, 16 * num_blocks): all products of the blocks, rows stride floats apart.
inline void multiply_wide_blocks(const WideBlocks& weights, int64_t num_blocks, const WideGroup* const* tokens,
                                 int64_t num_tokens, float* out, int64_t stride) {
  for (int64_t first = 0; first < weights.num_groups(); first += kGroupsInReach) {
    const int64_t last = std::min(first + kGroupsInReach, weights.num_groups());
    int64_t block = 0;
    for (; block + 2 <= num_blocks; block += 2) {
      multiply_wide_tokens<2>(weights, block, first, last, tokens, num_tokens, out, stride);
    }
    if (block < num_blocks) multiply_wide_tokens<1>(weights, block, first, last, tokens, num_tokens, out, stride);
  }
}

inline std::vector<const WideGroup*> pointers(const WideRows& x, int64_t num_tokens) {
  std::vector<const WideGroup*> rows(num_tokens);
  for (int64_t token = 0; token < num_tokens; ++token) rows[token] = x.row(token);
  return rows;
}

// out (num_tokens, rows) = x W^T, rows of out stride floats apart.
inline void multiply_wide_rows(ThreadPool& pool, const Matrix& weight, const WideRows& x, int64_t num_tokens,
                               float* out, int64_t stride) {
  const auto tokens = pointers(x, num_tokens);
  pool.run((weight.num_blocks() + kWideStrip - 1) / kWideStrip, [&](int64_t strip, int) {
    thread_local Scratch scratch;
    scratch.reserve(WideBlocks::bytes(weight, kWideStrip));
    WideBlocks blocks(scratch, weight, kWideStrip);
    const int64_t first = strip * kWideStrip, last = std::min(first + kWideStrip, weight.num_blocks());
    blocks.round(first, last);
    multiply_wide_blocks(blocks, last - first, tokens.data(), num_tokens, out + first * kBlockRows, stride);
  });
}

}  // namespace deepseek::ISA
