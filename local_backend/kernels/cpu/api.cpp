// The C functions that Python calls (native.py). Pointers are checked there; nothing here can fail but by
// being given a wrong one.
#include <cstring>

#include "kernel_table.h"

namespace deepseek {

#define DECLARE_ISA(isa) \
  namespace isa {        \
  extern const KernelTable kTable; \
  }
#if __has_include("simd_portable.h")
DECLARE_ISA(portable)
#endif
#if defined(DEEPSEEK_X86)
#if __has_include("simd_avx2.h")
DECLARE_ISA(avx2)
#endif
DECLARE_ISA(avx512)
#endif

const char* const* isa_names() {
  static const char* const names[] = {
#if defined(DEEPSEEK_X86)
      "avx512",
#if __has_include("simd_avx2.h")
      "avx2",
#endif
#endif
#if __has_include("simd_portable.h")
      "portable",
#endif
      nullptr};
  return names;
}

const KernelTable* find_kernels(const char* isa) {
#if __has_include("simd_portable.h")
  if (!std::strcmp(isa, "portable")) return &portable::kTable;
#endif
#if defined(DEEPSEEK_X86)
  __builtin_cpu_init();
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
#if __has_include("simd_avx2.h")
  if (!std::strcmp(isa, "avx2")) return has_avx2 ? &avx2::kTable : nullptr;
#endif
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vnni");
  if (!std::strcmp(isa, "avx512")) return has_avx512 ? &avx512::kTable : nullptr;
#endif
  return nullptr;
}

}  // namespace deepseek

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
const char* deepseek_isa_name(int n) { return isa_names()[n]; }

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

}  // extern "C"
#pragma GCC visibility pop
