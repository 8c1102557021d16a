// What one instruction set offers: one function per operation, filled in by kernels.cpp.
#pragma once

#include <cstdint>

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
};

// Null where this processor lacks the instructions.
const KernelTable* find_kernels(const char* isa);
// The n-th best instruction set this library has kernels for, null past the last.
const char* isa_name(int n);

}  // namespace deepseek
