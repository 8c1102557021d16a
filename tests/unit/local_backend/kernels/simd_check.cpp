// Compares every primitive of simd.h with plain C++ on random lanes; test_simd.py compiles it once per
// instruction set and runs it. Prints one line per difference; exits with 1 if there was one.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>

#include "activation.h"
#include "simd.h"

using namespace deepseek::ISA;

namespace {

constexpr int kRounds = 2000;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

uint64_t state = 1;
int failures = 0;

void report(const char* name, int lane, double got, double expected) {
  if (++failures <= 20) std::printf("%s: lane %d is %.9g, not %.9g\n", name, lane, got, expected);
}

// xorshift64* (Vigna).
int64_t uniform(int64_t low, int64_t high) {
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  const uint64_t bits = (state * 2685821657736338717u) >> 16;
  return low + static_cast<int64_t>(bits % static_cast<uint64_t>(high - low + 1));
}

// A sign, an exponent between -20 and 20, any mantissa; now and then exactly 0, a half or something large.
float any_float() {
  static const float special[] = {0.0f, -0.0f, 0.5f, -0.5f, 1.5f, 2.5f, -2.5f, 8388607.5f, 16777217.0f, -3e9f};
  if (uniform(0, 15) == 0) return special[uniform(0, 9)];
  return std::ldexp(static_cast<float>(uniform(-(1 << 24), 1 << 24)), static_cast<int>(uniform(-44, -4)));
}

bool same(float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }

struct Lanes {
  float lane[16];
  Lanes() { std::generate(lane, lane + 16, any_float); }
  explicit Lanes(float (*make)()) { std::generate(lane, lane + 16, make); }
  explicit Lanes(Floats x) { store(lane, x); }
  Floats floats() const { return load(lane); }
};

template <typename Expected>
void expect(const char* name, Floats got, const Expected& expected, double tolerance = 0) {
  const Lanes lanes(got);
  for (int i = 0; i < 16; ++i) {
    const float want = expected(i);
    if (!same(lanes.lane[i], want) && !(std::abs(lanes.lane[i] - want) <= tolerance * std::abs(want))) {
      report(name, i, lanes.lane[i], want);
    }
  }
}

template <typename Expected>
void expect(const char* name, Integers got, const Expected& expected) {
  static_assert(sizeof(Integers) == 64);
  int32_t lanes[16];
  std::memcpy(lanes, &got, 64);
  for (int i = 0; i < 16; ++i) {
    if (lanes[i] != expected(i)) report(name, i, lanes[i], static_cast<double>(expected(i)));
  }
}

void expect(const char* name, double got, double expected, double tolerance = 0) {
  if (!(std::abs(got - expected) <= tolerance)) report(name, 0, got, expected);
}

float from_bits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

float half_value(uint16_t half) {
  const int exponent = half >> 10 & 31, mantissa = half & 1023;
  const float sign = half & 0x8000 ? -1.0f : 1.0f;
  if (exponent == 31) return mantissa ? kNaN : sign * std::numeric_limits<float>::infinity();
  return sign * (exponent ? std::ldexp(1024.0f + mantissa, exponent - 25) : std::ldexp(float(mantissa), -24));
}

void check_arithmetic() {
  const Lanes a, b, c;
  const Floats x = a.floats(), y = b.floats(), z = c.floats();
  expect("load and store", x, [&](int i) { return a.lane[i]; });
  expect("zeros", zeros(), [](int) { return 0.0f; });
  expect("splat", splat(a.lane[0]), [&](int) { return a.lane[0]; });
  expect("add", add(x, y), [&](int i) { return a.lane[i] + b.lane[i]; });
  expect("subtract", subtract(x, y), [&](int i) { return a.lane[i] - b.lane[i]; });
  expect("multiply", multiply(x, y), [&](int i) { return a.lane[i] * b.lane[i]; });
  expect("divide", divide(x, y), [&](int i) { return a.lane[i] / b.lane[i]; });
  expect("absolute", absolute(x), [&](int i) { return std::abs(a.lane[i]); });
  expect("round_nearest", round_nearest(x), [&](int i) { return std::nearbyint(a.lane[i]); });
  const Lanes fused(multiply_add(x, y, z));
  for (int i = 0; i < 16; ++i) {  // rounded once or twice
    const double exact = double(a.lane[i]) * b.lane[i] + c.lane[i];
    const double bound = 1.2e-7 * (std::abs(double(a.lane[i]) * b.lane[i]) + std::abs(exact));
    expect("multiply_add", fused.lane[i], exact, bound);
  }
}

void check_order() {
  Lanes a, b;
  a.lane[uniform(0, 15)] = kNaN;
  b.lane[uniform(0, 15)] = kNaN;
  const Floats x = a.floats(), y = b.floats();
  expect("maximum", maximum(x, y), [&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
  expect("minimum", minimum(x, y), [&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
  const Lanes c;
  double total = 0, magnitude = 0;
  for (float lane : c.lane) total += lane, magnitude += std::abs(lane);
  expect("sum", sum(c.floats()), total, 1e-6 * magnitude);
  expect("largest", largest(c.floats()), *std::max_element(c.lane, c.lane + 16));
}

void check_halves() {
  uint16_t halves[16];
  for (uint16_t& half : halves) half = static_cast<uint16_t>(uniform(0, 65535));
  expect("load_half", load_half(halves), [&](int i) { return half_value(halves[i]); });
  expect("load_bfloat16", load_bfloat16(halves), [&](int i) { return from_bits(uint32_t(halves[i]) << 16); });
  uint32_t pairs[16];
  for (uint32_t& pair : pairs) pair = static_cast<uint32_t>(uniform(0, UINT32_MAX));
  const Integers x = load_bytes(pairs);
  expect("low_bfloat16", low_bfloat16(x), [&](int i) { return from_bits(pairs[i] << 16); });
  expect("high_bfloat16", high_bfloat16(x), [&](int i) { return from_bits(pairs[i] & 0xffff0000u); });
}

void check_conversions() {
  const Lanes counts([] { return static_cast<float>(uniform(-126, 127)); });
  const Lanes halves([] { return static_cast<float>(uniform(-4000000, 4000000)) / 2; });
  expect("power_of_two", power_of_two(counts.floats()), [&](int i) { return std::ldexp(1.0f, int(counts.lane[i])); });
  expect("to_integers", to_integers(halves.floats()), [&](int i) { return int64_t(std::nearbyint(halves.lane[i])); });
  int8_t stored[16], bytes[16];
  store_int8(stored, to_integers(counts.floats()));
  for (int i = 0; i < 16; ++i) expect("store_int8", stored[i], counts.lane[i]);
  for (int8_t& byte : bytes) byte = static_cast<int8_t>(uniform(-128, 127));
  expect("load_int8", load_int8(bytes), [&](int i) { return int64_t(bytes[i]); });
}

void check_integers() {
  const int32_t a = static_cast<int32_t>(uniform(INT32_MIN / 2, INT32_MAX / 2));
  expect("integer_zeros", integer_zeros(), [](int) { return 0; });
  expect("integer_splat", integer_splat(a), [&](int) { return a; });
  int32_t lanes[16];
  for (int32_t& lane : lanes) lane = static_cast<int32_t>(uniform(-100000000, 100000000));
  const Integers x = load_bytes(lanes);
  expect("load_bytes", x, [&](int i) { return lanes[i]; });
  expect("integer_add", integer_add(x, integer_splat(a)), [&](int i) { return int64_t(lanes[i]) + a; });
  expect("to_floats", to_floats(x), [&](int i) { return static_cast<float>(lanes[i]); });
  int64_t total = 0;
  for (int32_t lane : lanes) total += lane;
  expect("integer_sum", integer_sum(x), static_cast<double>(total));
  const auto nibbles = [&](int shift) {
    return [&lanes, shift](int i) { return int32_t((uint32_t(lanes[i]) >> shift) & 0x0f0f0f0fu); };
  };
  expect("low_nibbles", low_nibbles(x), nibbles(0));
  expect("high_nibbles", high_nibbles(x), nibbles(4));
}

// Extreme bytes half of the time: that is where narrow sums overflow.
void check_dot(int64_t largest_code, const char* name, Integers (*product)(Integers, Integers, Integers)) {
  uint8_t codes[64];
  int8_t values[64];
  const bool extreme = uniform(0, 1) == 1;
  for (uint8_t& code : codes) code = uint8_t(extreme ? uniform(0, 1) * largest_code : uniform(0, largest_code));
  for (int8_t& value : values) value = int8_t(extreme ? uniform(0, 1) * 255 - 128 : uniform(-128, 127));
  const int32_t start = static_cast<int32_t>(uniform(-1000000, 1000000));
  expect(name, product(integer_splat(start), load_bytes(codes), load_bytes(values)), [&](int i) {
    int64_t total = start;
    for (int j = 0; j < 4; ++j) total += int64_t(codes[4 * i + j]) * values[4 * i + j];
    return total;
  });
}

void check_activations() {
  const Lanes a([] { return static_cast<float>(uniform(-87000, 88000)) / 1000; });
  expect("exponential", exponential(a.floats()), [&](int i) { return float(std::exp(double(a.lane[i]))); }, 3e-7);
  expect(
      "silu", silu(a.floats()), [&](int i) { return float(double(a.lane[i]) / (1 + std::exp(-double(a.lane[i])))); },
      1e-6);
}

}  // namespace

int main() {
  for (int round = 0; round < kRounds; ++round) {
    check_arithmetic();
    check_order();
    check_halves();
    check_conversions();
    check_integers();
    check_dot(255, "dot", [](Integers acc, Integers codes, Integers values) { return dot(acc, codes, values); });
    check_dot(15, "dot_nibbles",
              [](Integers acc, Integers codes, Integers values) { return dot_nibbles(acc, codes, values); });
    check_activations();
  }
  return failures ? 1 : 0;
}
