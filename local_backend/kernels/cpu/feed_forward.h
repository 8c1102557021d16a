// SwiGLU blocks, one or many of them: gate, up, SiLU, down and the weighted sum, reading active experts only.
//
// The product of gate and up is rounded for the next product where it is made, so a block is two passes over
// its weights and nothing in between.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "activation.h"
#include "elementwise.h"
#include "layer_parts.h"
#include "linear.h"
#include "projections.h"
#include "quantized_rows.h"
#include "router.h"
#include "simd.h"
#include "thread_pool.h"
#include "wide_feed_forward.h"

namespace deepseek::ISA {

// One block and the tokens that go through it.
struct MlpJob {
  const Mlp* mlp;
  std::vector<int32_t> tokens;
  std::vector<float> weights;  // of the block's result in a token's sum
};

// Runs jobs over rounded rows and adds what comes out to their tokens' rows of out.
class FeedForward {
 public:
  FeedForward(ThreadPool& pool, const std::vector<MlpJob>& jobs, const QuantizedRows& x)
      : pool_(pool), jobs_(jobs), x_(x) {
    int64_t num_rows = 0;
    for (size_t job = 0; job < jobs.size(); ++job) {
      first_row_.push_back(num_rows);
      const int64_t count = static_cast<int64_t>(jobs[job].tokens.size());
      num_rows += count;
      const int64_t strips = (jobs[job].mlp->gate.num_blocks() + kStripBlocks - 1) / kStripBlocks;
      for (int64_t start = 0; start < count; start += kTokensPerRun) {
        for (int64_t strip = 0; strip < strips; ++strip) pieces_.push_back({job, strip, start});
      }
      widest_ = std::max(widest_, jobs[job].mlp->gate.rows);
    }
    inner_.resize(num_rows);
    groups_.reset(new QuantizedGroup[num_rows * (widest_ / kGroup)]);
    for (int64_t row = 0; row < num_rows; ++row) inner_[row] = groups_.get() + row * (widest_ / kGroup);
  }

  void run(float* out) {
    pool_.run(static_cast<int64_t>(pieces_.size()), [&](int64_t piece, int) { gate_and_up(pieces_[piece]); });
    const Matrix& down = jobs_[0].mlp->down;
    const int64_t strips = (down.num_blocks() + kStripBlocks - 1) / kStripBlocks;
    pool_.run(strips, [&](int64_t strip, int) {
      for (size_t job = 0; job < jobs_.size(); ++job) add_down(job, strip, out);
    });
  }

 private:
  static constexpr int64_t kTokensPerRun = 192;
  static constexpr int64_t kStripRows = kStripBlocks * kBlockRows;

  struct Piece {
    size_t job;
    int64_t strip, start;
  };

  void gate_and_up(const Piece& piece) const {
    const MlpJob& job = jobs_[piece.job];
    const int64_t count = std::min<int64_t>(kTokensPerRun, job.tokens.size() - piece.start);
    const int64_t first = piece.strip * kStripBlocks;
    const int64_t last = std::min(first + kStripBlocks, job.mlp->gate.num_blocks());
    const QuantizedGroup* tokens[kTokensPerRun];
    for (int64_t token = 0; token < count; ++token) tokens[token] = x_.row(job.tokens[piece.start + token]);
    alignas(64) float gates[kTokensPerRun][kStripRows], products[kTokensPerRun][kStripRows];
    multiply_any(job.mlp->gate, first, last, tokens, count, gates[0], kStripRows);
    multiply_any(job.mlp->up, first, last, tokens, count, products[0], kStripRows);
    for (int64_t token = 0; token < count; ++token) {
      const Floats weight = splat(job.weights[piece.start + token]);
      for (int64_t row = 0; row < (last - first) * kBlockRows; row += 16) {
        const Floats up = multiply(load(&products[token][row]), weight);
        store(&products[token][row], multiply(silu(load(&gates[token][row])), up));
      }
    }
    for (int64_t token = 0; token < count; ++token) {
      QuantizedGroup* row = inner_[first_row_[piece.job] + piece.start + token];
      for (int64_t block = first; block + 1 < last; block += 2) {
        quantize_group(&products[token][(block - first) * kBlockRows], row[block / 2]);
      }
    }
  }

  void add_down(size_t index, int64_t strip, float* out) const {
    const MlpJob& job = jobs_[index];
    const Matrix& down = job.mlp->down;
    const int64_t first = strip * kStripBlocks, last = std::min(first + kStripBlocks, down.num_blocks());
    const int64_t num_tokens = static_cast<int64_t>(job.tokens.size());
    alignas(64) float results[kTokensPerRun][kStripRows];
    for (int64_t start = 0; start < num_tokens; start += kTokensPerRun) {
      const int64_t count = std::min(kTokensPerRun, num_tokens - start);
      multiply_any(down, first, last, inner_.data() + first_row_[index] + start, count, results[0], kStripRows);
      for (int64_t token = 0; token < count; ++token) {
        float* row = out + job.tokens[start + token] * down.rows + first * kBlockRows;
        add_rows(row, results[token], std::min(kStripRows, down.rows - first * kBlockRows));
      }
    }
  }

  ThreadPool& pool_;
  const std::vector<MlpJob>& jobs_;
  const QuantizedRows& x_;
  std::vector<int64_t> first_row_;
  std::vector<Piece> pieces_;
  std::vector<QuantizedGroup*> inner_;
  std::unique_ptr<QuantizedGroup[]> groups_;
  int64_t widest_ = 0;
};

inline MlpJob for_all_tokens(const Mlp* mlp, int64_t num_tokens) {
  MlpJob job{mlp, std::vector<int32_t>(num_tokens), std::vector<float>(num_tokens, 1.0f)};
  for (int64_t token = 0; token < num_tokens; ++token) job.tokens[token] = static_cast<int32_t>(token);
  return job;
}

// hidden (num_tokens, hidden_size) += mlp(norm(hidden)).
inline void feed_forward(ThreadPool& pool, const Mlp& mlp, const Norm& norm, float* hidden, int64_t num_tokens) {
  const int64_t width = mlp.gate.columns;
  Buffer normed(num_tokens, width);
  rms_norm(pool, hidden, num_tokens, width, norm.weight, norm.epsilon, normed.data());
  Activations x(pool, normed.data(), num_tokens, width);
  if (wide_pays(mlp, num_tokens)) return wide_feed_forward(pool, mlp, x.wide(), num_tokens, hidden);
  const std::vector<MlpJob> jobs{for_all_tokens(&mlp, num_tokens)};
  FeedForward(pool, jobs, x.narrow()).run(hidden);
}

// hidden += mixture(norm(hidden)); counts (num_experts,) is added to, unless it is null.
inline void mixture(ThreadPool& pool, const Mixture& layer, const Norm& norm, float* hidden, int64_t num_tokens,
                    int64_t* counts) {
  const int64_t width = layer.experts[0].gate.columns;
  Buffer normed(num_tokens, width);
  rms_norm(pool, hidden, num_tokens, width, norm.weight, norm.epsilon, normed.data());
  const Choice choice = route(pool, layer.router, normed.data(), num_tokens, width);
  Activations x(pool, normed.data(), num_tokens, width);
  std::vector<MlpJob> by_expert(layer.router.num_experts);
  for (int64_t place = 0; place < num_tokens * layer.router.per_token; ++place) {
    MlpJob& job = by_expert[choice.experts[place]];
    job.tokens.push_back(static_cast<int32_t>(place / layer.router.per_token));
    job.weights.push_back(choice.weights[place]);
  }
  std::vector<MlpJob> jobs;
  const bool wide = layer.shared != nullptr && wide_pays(*layer.shared, num_tokens);
  if (layer.shared != nullptr && !wide) jobs.push_back(for_all_tokens(layer.shared, num_tokens));
  for (int expert = 0; expert < layer.router.num_experts; ++expert) {
    MlpJob& job = by_expert[expert];
    if (job.tokens.empty()) continue;
    if (counts != nullptr) counts[expert] += static_cast<int64_t>(job.tokens.size());
    job.mlp = &layer.experts[expert];
    jobs.push_back(std::move(job));
  }
  FeedForward(pool, jobs, x.narrow()).run(hidden);
  if (wide) wide_feed_forward(pool, *layer.shared, x.wide(), num_tokens, hidden);
}

}  // namespace deepseek::ISA
