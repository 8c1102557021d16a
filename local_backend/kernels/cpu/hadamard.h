// Hadamard rotations without their factor: sums and differences of all numbers of a block.
#pragma once

#include <cstdint>

namespace deepseek::ISA {

// x (block), a power of two: Sylvester's matrix of +1 and -1 times x.
inline void hadamard_block(float* x, int64_t block) {
  for (int64_t half = 1; half < block; half *= 2) {
    for (int64_t first = 0; first < block; first += 2 * half) {
      float* low = x + first;
      float* high = low + half;
      for (int64_t i = 0; i < half; ++i) {
        const float sum = low[i] + high[i], difference = low[i] - high[i];
        low[i] = sum;
        high[i] = difference;
      }
    }
  }
}

// The same for all blocks of x (size).
inline void hadamard(float* x, int64_t size, int64_t block) {
  for (int64_t first = 0; first < size; first += block) hadamard_block(x + first, block);
}

}  // namespace deepseek::ISA
