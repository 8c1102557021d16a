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

constexpr int kAbiVersion = 2;

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

void deepseek_mla_layer(Kernels* kernels, const MlaLayer* layer, const Batch* batch, float* hidden) {
  kernels->table->mla_layer(kernels->pool, *layer, *batch, hidden);
}

void deepseek_gqa_attention(Kernels* kernels, const KeyValueCache* cache, const AttentionSegment* segments,
                            int64_t num_segments, const float* rows, int64_t stride, int64_t num_heads, float scale,
                            float* out) {
  kernels->table->gqa_attention(kernels->pool, *cache, segments, num_segments, rows, stride, num_heads, scale, out);
}

void deepseek_gqa_write(Kernels* kernels, const KeyValueCache* cache, const int64_t* slots, int64_t num_rows,
                        const float* key, int64_t key_stride, const float* value, int64_t value_stride) {
  kernels->table->gqa_write(kernels->pool, *cache, slots, num_rows, key, key_stride, value, value_stride);
}

void deepseek_gqa_read(Kernels* kernels, const KeyValueCache* cache, const int64_t* slots, int64_t num_rows, float* key,
                       float* value) {
  kernels->table->gqa_read(*cache, slots, num_rows, key, value);
}

void deepseek_latent_write(Kernels* kernels, const LatentCache* cache, const int64_t* slots, int64_t num_rows,
                           const float* kv_latent, const float* k_pe) {
  kernels->table->latent_write(kernels->pool, *cache, slots, num_rows, kv_latent, k_pe);
}

void deepseek_latent_read(Kernels* kernels, const LatentCache* cache, const int64_t* slots, int64_t num_rows,
                          float* out) {
  kernels->table->latent_read(kernels->pool, *cache, slots, num_rows, out);
}

void deepseek_latent_attention(Kernels* kernels, const LatentCache* cache, const AttentionSegment* segments,
                               int64_t num_segments, const float* query, int64_t num_heads, float scale, float* out) {
  kernels->table->latent_attention(kernels->pool, *cache, segments, num_segments, query, num_heads, scale, out);
}

void deepseek_expanded_attention(Kernels* kernels, const LatentCache* cache, const AttentionSegment* segments,
                                 int64_t num_segments, const LatentExpansion* parts, const float* query, int64_t stride,
                                 float scale, float* out) {
  kernels->table->expanded_attention(kernels->pool, *cache, segments, num_segments, *parts, query, stride, scale, out);
}

void deepseek_rms_norm(Kernels* kernels, const float* x, int64_t num_rows, int64_t size, const float* weight,
                       float epsilon, float* out) {
  kernels->table->rms_norm(kernels->pool, x, num_rows, size, weight, epsilon, out);
}

void deepseek_rotate(Kernels* kernels, float* x, int64_t num_tokens, int64_t stride, int64_t num_heads,
                     int64_t head_dim, const float* turns, int64_t num_pairs) {
  kernels->table->rotate(kernels->pool, x, num_tokens, stride, num_heads, head_dim, turns, num_pairs);
}

void deepseek_silu_multiply(Kernels* kernels, const float* gate, const float* up, int64_t count, float* out) {
  kernels->table->silu_multiply(kernels->pool, gate, up, count, out);
}

}  // extern "C"
#pragma GCC visibility pop
