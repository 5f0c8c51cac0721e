// SPDX-License-Identifier: Apache-2.0
/// \file
/// One response, written freely by the model with its cache under a policy.
#ifndef MORPHKV_EXAMPLES_COMPARISON_WRITE_RESPONSE_HPP
#define MORPHKV_EXAMPLES_COMPARISON_WRITE_RESPONSE_HPP

#include <Eigen/Core>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "comparison/lifetimes.hpp"
#include "comparison/workload.hpp"
#include "llama/session.hpp"
#include "morphkv/core/memory_usage.hpp"
#include "morphkv/policy/full.hpp"

namespace morphkv::comparison {

/// What the caches of the demo store: 16 bits, as engines do.
using Stored = Eigen::half;

struct Response {
  std::vector<int> tokens;
  double prefill_seconds = 0;
  double decode_seconds = 0;
  MemoryUsage memory;   ///< of the whole cache, at the end
  Lifetimes lifetimes;  ///< empty unless asked for
};

[[nodiscard]] inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

namespace detail {

[[nodiscard]] inline bool is_stop(const llama::Config& config, int token) {
  return std::find(config.stop_tokens.begin(), config.stop_tokens.end(), token) !=
         config.stop_tokens.end();
}

}  // namespace detail

/// Greedy decoding: no token comes from anywhere but the model.
template <class Policy>
[[nodiscard]] Response write_response(const llama::Model& model, const Prompt& prompt,
                                      const typename Policy::Options& options, bool record) {
  llama::Session<Policy, Stored> session(model, options);
  Response response;
  if (record) {
    const std::size_t positions = prompt.tokens.size() + prompt.response_tokens;
    response.lifetimes = Lifetimes(model.config.shape(), positions);
  }
  auto start = std::chrono::steady_clock::now();
  std::span<const float> logits = session.prefill(prompt.tokens);
  response.prefill_seconds = seconds_since(start);
  start = std::chrono::steady_clock::now();
  for (std::size_t step = 0; step < prompt.response_tokens; ++step) {
    if (record) response.lifetimes.record(session.cache(), step);
    const int token = llama::most_likely(logits);
    response.tokens.push_back(token);
    if (detail::is_stop(model.config, token) || step + 1 == prompt.response_tokens) break;
    logits = session.step(token);
  }
  response.decode_seconds = seconds_since(start);
  response.memory = session.cache().memory();
  return response;
}

/// How surprising the model finds a text when it sees all of it: the mean of -ln p, a token.
[[nodiscard]] inline double full_cache_loss(const llama::Model& model, const Prompt& prompt,
                                            std::span<const int> response) {
  std::vector<int> text = prompt.tokens;
  text.insert(text.end(), response.begin(), response.end());
  llama::Session<Full, Stored> session(model, Full::Options{.max_tokens = text.size()});
  const llama::Matrix& logits = session.prefill_with_all_logits(text);
  double loss = 0;
  for (std::size_t t = prompt.tokens.size(); t < text.size(); ++t) {
    const auto row = logits.row(static_cast<Eigen::Index>(t) - 1).cast<double>();
    const double greatest = row.maxCoeff();
    loss += greatest + std::log((row.array() - greatest).exp().sum()) - row(text[t]);
  }
  return response.empty() ? 0 : loss / static_cast<double>(response.size());
}

}  // namespace morphkv::comparison

#endif  // MORPHKV_EXAMPLES_COMPARISON_WRITE_RESPONSE_HPP
