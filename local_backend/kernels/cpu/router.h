// Which experts a token goes to, and with what weight; the rules are models/gate.py's.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "layer_parts.h"
#include "simd.h"
#include "thread_pool.h"

namespace deepseek::ISA {

// Chosen experts of every token, (num_tokens, per_token) each.
struct Choice {
  std::vector<int32_t> experts;
  std::vector<float> weights;
};

inline float dot_product(const float* a, const float* b, int64_t length) {
  Floats sums[4] = {zeros(), zeros(), zeros(), zeros()};
  int64_t index = 0;
  for (; index + 64 <= length; index += 64) {
    for (int lane = 0; lane < 4; ++lane) {
      sums[lane] = multiply_add(load(a + index + 16 * lane), load(b + index + 16 * lane), sums[lane]);
    }
  }
  for (; index + 16 <= length; index += 16) sums[0] = multiply_add(load(a + index), load(b + index), sums[0]);
  float total = sum(add(add(sums[0], sums[1]), add(sums[2], sums[3])));
  for (; index < length; ++index) total += a[index] * b[index];
  return total;
}

inline void score(const Router& router, float* logits) {
  const int count = router.num_experts;
  if (router.sigmoid) {
    for (int expert = 0; expert < count; ++expert) logits[expert] = 1.0f / (1.0f + std::exp(-logits[expert]));
    return;
  }
  const float highest = *std::max_element(logits, logits + count);
  float total = 0.0f;
  for (int expert = 0; expert < count; ++expert) total += logits[expert] = std::exp(logits[expert] - highest);
  for (int expert = 0; expert < count; ++expert) logits[expert] /= total;
}

// Hides the experts outside the best groups, a group being as good as its best or its two best.
inline void keep_best_groups(const Router& router, float* ranking) {
  const int size = router.num_experts / router.num_groups;
  std::vector<float> worth(router.num_groups);
  std::vector<int> order(router.num_groups);
  for (int group = 0; group < router.num_groups; ++group) {
    float best = -std::numeric_limits<float>::infinity(), second = best;
    for (int expert = group * size; expert < (group + 1) * size; ++expert) {
      if (ranking[expert] > best) {
        second = best;
        best = ranking[expert];
      } else {
        second = std::max(second, ranking[expert]);
      }
    }
    worth[group] = router.ranked_by == 2 ? best + second : best;
    order[group] = group;
  }
  std::partial_sort(order.begin(), order.begin() + router.kept_groups, order.end(),
                    [&](int a, int b) { return worth[a] > worth[b]; });
  for (int place = router.kept_groups; place < router.num_groups; ++place) {
    std::fill_n(ranking + order[place] * size, size, router.hidden);
  }
}

inline void choose(const Router& router, float* logits, int32_t* experts, float* weights) {
  const int count = router.num_experts, kept = router.per_token;
  score(router, logits);
  std::vector<float> ranking(logits, logits + count);
  if (router.bias != nullptr) {
    for (int expert = 0; expert < count; ++expert) ranking[expert] += router.bias[expert];
  }
  if (router.kept_groups > 0) keep_best_groups(router, ranking.data());
  std::vector<int32_t> order(count);
  for (int expert = 0; expert < count; ++expert) order[expert] = expert;
  std::partial_sort(order.begin(), order.begin() + kept, order.end(),
                    [&](int a, int b) { return ranking[a] > ranking[b]; });
  float total = 1e-20f;
  for (int place = 0; place < kept; ++place) total += logits[order[place]];
  for (int place = 0; place < kept; ++place) {
    experts[place] = order[place];
    weights[place] = logits[order[place]] * router.scale / (router.normalise ? total : 1.0f);
  }
}

inline Choice route(ThreadPool& pool, const Router& router, const float* x, int64_t num_tokens, int64_t width) {
  Choice choice{std::vector<int32_t>(num_tokens * router.per_token), std::vector<float>(num_tokens * router.per_token)};
  const int64_t num_experts = router.num_experts;
  std::unique_ptr<float[]> logits(new float[num_tokens * num_experts]);
  constexpr int64_t kExpertsPerPiece = 16, kTokensPerPiece = 32;
  const int64_t columns = (num_experts + kExpertsPerPiece - 1) / kExpertsPerPiece;
  pool.run(columns * ((num_tokens + kTokensPerPiece - 1) / kTokensPerPiece), [&](int64_t piece, int) {
    const int64_t first = piece % columns * kExpertsPerPiece, start = piece / columns * kTokensPerPiece;
    for (int64_t expert = first; expert < std::min(first + kExpertsPerPiece, num_experts); ++expert) {
      for (int64_t token = start; token < std::min(start + kTokensPerPiece, num_tokens); ++token) {
        logits[token * num_experts + expert] = dot_product(router.weight + expert * width, x + token * width, width);
      }
    }
  });
  pool.run((num_tokens + kTokensPerPiece - 1) / kTokensPerPiece, [&](int64_t piece, int) {
    for (int64_t token = piece * kTokensPerPiece; token < std::min((piece + 1) * kTokensPerPiece, num_tokens);
         ++token) {
      choose(router, logits.get() + token * num_experts, choice.experts.data() + token * router.per_token,
             choice.weights.data() + token * router.per_token);
    }
  });
  return choice;
}

}  // namespace deepseek::ISA
