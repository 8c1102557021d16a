// Four-byte dot products as loops want them.
#pragma once

#include <cstring>

#include "simd.h"

namespace deepseek::ISA {

inline Integers four_bytes(const void* p) {
  int32_t four;
  std::memcpy(&four, p, 4);
  return integer_splat(four);
}

// dot, which GCC 12 would surround with copies of most sums of a loop if it chose the registers itself.
inline Integers add_dot(Integers sum, Integers codes, Integers values) {
#if defined(__AVX512VNNI__) && !defined(__clang__)
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(codes), "v"(values));
  return sum;
#else
  return dot(sum, codes, values);
#endif
}

}  // namespace deepseek::ISA
