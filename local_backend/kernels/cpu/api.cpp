// The C functions that Python calls (native.py). Pointers are checked there; nothing here can fail but by
// being given a wrong one.
#include "kernel_table.h"

using namespace deepseek;

// A pool and the functions of one instruction set.
struct Kernels {
  const KernelTable* table;
  ThreadPool pool;
  Kernels(const KernelTable* table, int num_threads) : table(table), pool(num_threads) {}
};

// Everything else in the library is hidden.
#pragma GCC visibility push(default)
extern "C" {

constexpr int kAbiVersion = 1;

int deepseek_abi_version() { return kAbiVersion; }

// The n-th best instruction set this library knows, null past the last.
const char* deepseek_isa_name(int n) { return isa_name(n); }

int deepseek_isa_usable(const char* isa) { return find_kernels(isa) != nullptr; }

// Null where this processor lacks the instructions.
Kernels* deepseek_create(const char* isa, int num_threads) {
  const KernelTable* table = find_kernels(isa);
  return table == nullptr ? nullptr : new Kernels(table, num_threads);
}

void deepseek_destroy(Kernels* kernels) { delete kernels; }

void deepseek_linear(Kernels* kernels, const Matrix* weight, const float* x, int64_t num_tokens, float* out) {
  kernels->table->linear(kernels->pool, *weight, x, num_tokens, out);
}

void deepseek_expand_rows(Kernels* kernels, const Matrix* weight, const int64_t* rows, int64_t num_rows, float* out) {
  kernels->table->expand_rows(kernels->pool, *weight, rows, num_rows, out);
}

void deepseek_feed_forward(Kernels* kernels, const Mlp* mlp, const Norm* norm, float* hidden, int64_t num_tokens) {
  kernels->table->feed_forward(kernels->pool, *mlp, *norm, hidden, num_tokens);
}

void deepseek_mixture(Kernels* kernels, const Mixture* layer, const Norm* norm, float* hidden, int64_t num_tokens,
                      int64_t* counts) {
  kernels->table->mixture(kernels->pool, *layer, *norm, hidden, num_tokens, counts);
}

void deepseek_gqa_layer(Kernels* kernels, const GqaLayer* layer, const Batch* batch, float* hidden) {
  kernels->table->gqa_layer(kernels->pool, *layer, *batch, hidden);
}

}  // extern "C"
#pragma GCC visibility pop
