// exp and SiLU, sixteen at a time.
#pragma once

#include "simd.h"

namespace deepseek::ISA {

// e^x, relative error below 2e-7 for x in [-87.3, 88.3]; x is clamped to that range, so that e^-inf is
// 1.2e-38 and not 0. NaN stays NaN.
//
// x = n ln 2 + r with |r| <= ln 2 / 2, ln 2 in two parts (Cody and Waite); e^r by the polynomial of degree 7
// from Cephes' expf (Moshier).
inline Floats exponential(Floats x) {
  x = minimum(splat(88.3f), x);  // NaN passes when it is the second operand
  x = maximum(splat(-87.3f), x);
  const Floats n = round_nearest(multiply(x, splat(1.44269504f)));
  Floats r = multiply_add(n, splat(-0.693359375f), x);
  r = multiply_add(n, splat(2.12194440e-4f), r);
  Floats p = splat(1.9875691500e-4f);
  p = multiply_add(p, r, splat(1.3981999507e-3f));
  p = multiply_add(p, r, splat(8.3334519073e-3f));
  p = multiply_add(p, r, splat(4.1665795894e-2f));
  p = multiply_add(p, r, splat(1.6666665459e-1f));
  p = multiply_add(p, r, splat(5.0000001201e-1f));
  p = multiply_add(p, multiply(r, r), add(r, splat(1.0f)));
  return multiply(p, power_of_two(n));
}

// x / (1 + e^-x).
inline Floats silu(Floats x) { return divide(x, add(splat(1.0f), exponential(subtract(zeros(), x)))); }

}  // namespace deepseek::ISA
