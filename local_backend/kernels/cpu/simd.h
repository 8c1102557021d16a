// Sixteen lanes of float or int32, sixty-four of bytes, in the widest form a translation unit may use.
//
// Kernels are written once against these types and compiled once per instruction set: every header puts its
// code into namespace deepseek::ISA, ISA being defined on the compiler's command line.
#pragma once

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VNNI__)
#include "simd_avx512.h"
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include "simd_avx2.h"
#else
#include "simd_portable.h"
#endif
