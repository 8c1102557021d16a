// Products of a quantised matrix with any number of rows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "matrix.h"
#include "product_tile.h"
#include "quantized_rows.h"
#include "simd.h"
#include "thread_pool.h"

namespace deepseek::ISA {

constexpr int64_t kStripBlocks = 4;           // blocks of a piece of work
constexpr int64_t kTokensAtOnce = 12;         // rows that share the unpacked codes of a group
constexpr int64_t kCachedBytes = 768 * 1024;  // activations that stay in the second-level cache

// out[token * stride + 16 * (block - first)] = the 16 results of each block in [first, last) and each token.
template <int kBits, bool kMinimum, int kBlocks, int kTokens>
inline void multiply_blocks(const Matrix& weight, int64_t first, int64_t last, const QuantizedGroup* const* tokens,
                            float* out, int64_t stride) {
  Floats results[kBlocks][kTokens];
  int64_t block = first;
  for (; block + kBlocks <= last; block += kBlocks) {
    multiply_tile<kBits, kMinimum, kBlocks, kTokens>(weight.blocks + block * weight.block_bytes(), weight.block_bytes(),
                                                     weight.num_groups(), tokens, results);
    for (int inner = 0; inner < kBlocks; ++inner) {
      const Floats unit = load(weight.unit + (block + inner) * kBlockRows);
      for (int token = 0; token < kTokens; ++token) {
        store(out + token * stride + (block + inner - first) * kBlockRows, multiply(results[inner][token], unit));
      }
    }
  }
  if constexpr (kBlocks > 1) {
    multiply_blocks<kBits, kMinimum, 1, kTokens>(weight, block, last, tokens, out + (block - first) * kBlockRows,
                                                 stride);
  }
}

// Any number of tokens, in tiles as large as registers allow; few tokens take several blocks at a time.
template <int kBits, bool kMinimum>
inline void multiply_tokens(const Matrix& weight, int64_t first, int64_t last, const QuantizedGroup* const* tokens,
                            int64_t num_tokens, float* out, int64_t stride) {
  const auto one = multiply_blocks<kBits, kMinimum, 4, 1>;
  if (num_tokens == 1) return one(weight, first, last, tokens, out, stride);
  if (num_tokens == 2) return multiply_blocks<kBits, kMinimum, 4, 2>(weight, first, last, tokens, out, stride);
  if (num_tokens == 3) return multiply_blocks<kBits, kMinimum, 2, 3>(weight, first, last, tokens, out, stride);
  if (num_tokens == 4) return multiply_blocks<kBits, kMinimum, 2, 4>(weight, first, last, tokens, out, stride);
  for (int64_t block = first; block < last; ++block) {
    float* column = out + (block - first) * kBlockRows;
    int64_t done = 0;
    for (; num_tokens - done >= kTokensAtOnce; done += kTokensAtOnce) {
      multiply_blocks<kBits, kMinimum, 1, kTokensAtOnce>(weight, block, block + 1, tokens + done,
                                                         column + done * stride, stride);
    }
    for (; num_tokens - done >= 4; done += 4) {
      multiply_blocks<kBits, kMinimum, 1, 4>(weight, block, block + 1, tokens + done, column + done * stride, stride);
    }
    for (; done < num_tokens; ++done) {
      multiply_blocks<kBits, kMinimum, 1, 1>(weight, block, block + 1, tokens + done, column + done * stride, stride);
    }
  }
}

// The same for a matrix whose form is known at run time only. Writes whole blocks, past the last row too.
inline void multiply_any(const Matrix& weight, int64_t first, int64_t last, const QuantizedGroup* const* tokens,
                         int64_t num_tokens, float* out, int64_t stride) {
  if (weight.bits == 4 && weight.has_minimum) {
    multiply_tokens<4, true>(weight, first, last, tokens, num_tokens, out, stride);
  } else if (weight.bits == 4) {
    multiply_tokens<4, false>(weight, first, last, tokens, num_tokens, out, stride);
  } else if (weight.has_minimum) {
    multiply_tokens<8, true>(weight, first, last, tokens, num_tokens, out, stride);
  } else {
    multiply_tokens<8, false>(weight, first, last, tokens, num_tokens, out, stride);
  }
}

// Pieces of a product: strips of blocks times runs of tokens that stay cached.
struct Pieces {
  int64_t num_strips, tokens_per_run, num_runs;

  Pieces(const Matrix& weight, int64_t num_tokens) {
    num_strips = (weight.num_blocks() + kStripBlocks - 1) / kStripBlocks;
    const int64_t token_bytes = weight.num_groups() * static_cast<int64_t>(sizeof(QuantizedGroup));
    tokens_per_run = std::max(kTokensAtOnce, kCachedBytes / token_bytes / kTokensAtOnce * kTokensAtOnce);
    num_runs = (num_tokens + tokens_per_run - 1) / tokens_per_run;
  }
  int64_t count() const { return num_strips * num_runs; }
};

// Rows of out lie stride floats apart.
inline void multiply_rows(ThreadPool& pool, const Matrix& weight, const QuantizedRows& x, int64_t num_tokens,
                          float* out, int64_t stride) {
  const Pieces pieces(weight, num_tokens);
  std::unique_ptr<const QuantizedGroup*[]> tokens(new const QuantizedGroup*[num_tokens]);
  for (int64_t token = 0; token < num_tokens; ++token) tokens[token] = x.row(token);
  const int64_t whole = weight.rows / kBlockRows;  // blocks without rows that fill up
  pool.run(pieces.count(), [&](int64_t piece, int) {
    const int64_t start = piece / pieces.num_strips * pieces.tokens_per_run;
    const int64_t count = std::min(pieces.tokens_per_run, num_tokens - start);
    const int64_t first = piece % pieces.num_strips * kStripBlocks;
    const int64_t last = std::min(first + kStripBlocks, whole);
    float* rows = out + start * stride;
    if (first < last) {
      multiply_any(weight, first, last, tokens.get() + start, count, rows + first * kBlockRows, stride);
    }
    if (weight.num_blocks() > whole && first + kStripBlocks > whole) {
      std::unique_ptr<float[]> padded(new float[count * kBlockRows]);
      multiply_any(weight, whole, whole + 1, tokens.get() + start, count, padded.get(), kBlockRows);
      for (int64_t token = 0; token < count; ++token) {
        std::copy_n(padded.get() + token * kBlockRows, weight.rows % kBlockRows,
                    rows + token * stride + whole * kBlockRows);
      }
    }
  });
}

inline float half_to_float(const uint16_t* p, int index) {
  float all[16];
  store(all, load_half(p));
  return all[index];
}

// One row of a group, as matrix.h lays it out.
inline void expand_group(const Matrix& weight, const uint8_t* group, int row, float unit, float* out) {
  const uint16_t* halves = reinterpret_cast<const uint16_t*>(group + (weight.bits == 4 ? 256 : 512));
  const float scale = half_to_float(halves, row);
  const float minimum = weight.has_minimum ? half_to_float(halves + 16, row) : 0.0f;
  const int zero = weight.bits == 8 ? 128 : weight.has_minimum ? 0 : 8;
  for (int column = 0; column < kGroup; ++column) {
    const int step = column / 4, lane = column % 4;
    const int code = weight.bits == 8 ? group[64 * step + 4 * row + lane]
                                      : group[64 * (step / 2) + 4 * row + lane] >> (step % 2 * 4) & 15;
    out[column] = unit * (scale * static_cast<float>(code - zero) + minimum);
  }
}

inline void expand_rows(ThreadPool& pool, const Matrix& weight, const int64_t* rows, int64_t num_rows, float* out) {
  pool.run(num_rows, [&](int64_t index, int) {
    const int64_t row = rows[index];
    const uint8_t* block = weight.blocks + row / kBlockRows * weight.block_bytes();
    for (int64_t group = 0; group < weight.num_groups(); ++group) {
      expand_group(weight, block + group * weight.group_bytes(), static_cast<int>(row % kBlockRows), weight.unit[row],
                   out + index * weight.columns + group * kGroup);
    }
  });
}

}  // namespace deepseek::ISA
