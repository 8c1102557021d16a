// Writing positions into tiles and reading them back.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "latent_cache.h"
#include "simd.h"
#include "thread_pool.h"

namespace deepseek::ISA {

constexpr int64_t kRowsPerPiece = 32;

// Codes of n numbers (a multiple of 16), int8 with the largest magnitude at 127; returns what a code counts.
// A NaN or an infinity makes the unit NaN.
inline float to_codes(const float* x, int64_t n, int8_t* codes) {
  Floats largest_seen = zeros(), poison = zeros();
  for (int64_t i = 0; i < n; i += 16) {
    const Floats numbers = load(x + i);
    largest_seen = maximum(absolute(numbers), largest_seen);
    poison = multiply_add(numbers, zeros(), poison);
  }
  const float unit = std::max(largest(largest_seen) / 127.0f, 0x1p-126f);
  for (int64_t i = 0; i < n; i += 16) store_int8(codes + i, to_integers(divide(load(x + i), splat(unit))));
  return unit + sum(poison);
}

inline void write_position(const LatentCache& cache, int64_t slot, const float* latent, const float* rotary,
                           int8_t* codes) {
  const KeyShape& shape = cache.shape;
  uint8_t* tile = cache.tile(slot / kTile);
  float* units = reinterpret_cast<float*>(tile + shape.code_bytes());
  const int64_t position = slot % kTile;
  units[position] = to_codes(latent, shape.rank, codes);
  units[kTile + position] = to_codes(rotary, shape.rope, codes + shape.rank);
  for (int64_t i = 0; i < shape.width(); i += 4) {
    uint32_t four;
    std::memcpy(&four, codes + i, 4);
    four ^= 0x80808080u;
    std::memcpy(tile + i * kTile + 4 * position, &four, 4);
  }
}

// Rounds kv_latent (n, rank) and k_pe (n, rope) into the tiles of n slots.
inline void latent_write(ThreadPool& pool, const LatentCache& cache, const int64_t* slots, int64_t n,
                         const float* kv_latent, const float* k_pe) {
  const KeyShape& shape = cache.shape;
  pool.run((n + kRowsPerPiece - 1) / kRowsPerPiece, [&](int64_t piece, int) {
    thread_local std::vector<int8_t> codes;
    codes.resize(shape.width());
    const int64_t end = std::min(n, (piece + 1) * kRowsPerPiece);
    for (int64_t i = piece * kRowsPerPiece; i < end; ++i) {
      write_position(cache, slots[i], kv_latent + i * shape.rank, k_pe + i * shape.rope, codes.data());
    }
  });
}

// out (n, rank + rope) = what n slots hold.
inline void latent_read(ThreadPool& pool, const LatentCache& cache, const int64_t* slots, int64_t n, float* out) {
  const KeyShape& shape = cache.shape;
  pool.run((n + kRowsPerPiece - 1) / kRowsPerPiece, [&](int64_t piece, int) {
    const int64_t end = std::min(n, (piece + 1) * kRowsPerPiece);
    for (int64_t i = piece * kRowsPerPiece; i < end; ++i) {
      const uint8_t* tile = cache.tile(slots[i] / kTile);
      const float* units = reinterpret_cast<const float*>(tile + shape.code_bytes());
      const int64_t position = slots[i] % kTile;
      float* row = out + i * shape.width();
      for (int64_t k = 0; k < shape.width(); ++k) {
        const float unit = units[(k < shape.rank ? 0 : kTile) + position];
        row[k] = unit * static_cast<float>(tile[k / 4 * 64 + 4 * position + k % 4] - 128);
      }
    }
  });
}

}  // namespace deepseek::ISA
