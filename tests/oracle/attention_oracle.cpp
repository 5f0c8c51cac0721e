// SPDX-License-Identifier: Apache-2.0
#include "oracle/attention_oracle.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace morphkv::oracle {

std::vector<double> softmax(std::vector<double> logits) {
  double highest = -std::numeric_limits<double>::infinity();
  for (const double logit : logits) highest = std::max(highest, logit);
  double total = 0;
  for (double& logit : logits) total += logit = std::exp(logit - highest);
  for (double& logit : logits) logit /= total;
  return logits;
}

std::vector<double> logits_over(std::span<const float> query, const Sequence& sequence,
                                std::span<const Position> tokens) {
  std::vector<double> logits(tokens.size());
  double* logit = logits.data();
  for (const Position token : tokens) {
    const double* key = sequence.keys.at(static_cast<std::size_t>(token)).data();
    const float* q = query.data();
    double dot = 0;
    for (std::size_t d = 0; d < sequence.head_dim; ++d) dot += double{q[d]} * key[d];
    *logit++ = dot / std::sqrt(static_cast<double>(sequence.head_dim));
  }
  return logits;
}

std::vector<double> weights_over(std::span<const float> query, const Sequence& sequence,
                                 std::span<const Position> tokens) {
  return softmax(logits_over(query, sequence, tokens));
}

std::vector<double> weights_over(std::span<const float> query, const Sequence& sequence,
                                 std::span<const Position> tokens, const Logits& model,
                                 std::size_t head, Position at) {
  std::vector<double> logits = logits_over(query, sequence, tokens);
  for (double& logit : logits) {
    logit *= std::sqrt(static_cast<double>(sequence.head_dim)) * double{model.scale};
    if (model.soft_cap > 0) logit = model.soft_cap * std::tanh(logit / model.soft_cap);
  }
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    logits[t] -= double{model.slope(head)} * (at - tokens[t]);
  }
  logits.push_back(model.sink(head));
  std::vector<double> weights = softmax(std::move(logits));
  weights.pop_back();
  return weights;
}

namespace {

/// The sum of weight * of(number) over the numbers of the tokens' values.
template <class Of>
std::vector<double> weighted(const std::vector<double>& weights, const Sequence& sequence,
                             std::span<const Position> tokens, const Of& of) {
  const auto any = static_cast<std::size_t>(tokens.front());
  std::vector<double> output(sequence.values.at(any).size(), 0.0);
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    const std::vector<double>& value = sequence.values.at(static_cast<std::size_t>(tokens[t]));
    for (std::size_t d = 0; d < output.size(); ++d) output[d] += weights[t] * of(value[d]);
  }
  return output;
}

}  // namespace

std::vector<double> weighted_values(const std::vector<double>& weights, const Sequence& sequence,
                                    std::span<const Position> tokens) {
  return weighted(weights, sequence, tokens, [](double number) { return number; });
}

std::vector<double> weighted_magnitudes(const std::vector<double>& weights,
                                        const Sequence& sequence,
                                        std::span<const Position> tokens) {
  return weighted(weights, sequence, tokens, [](double number) { return std::abs(number); });
}

std::vector<double> fuse(const std::vector<std::vector<double>>& rows, GroupFusion fusion) {
  std::vector<double> fused(rows.front().size(), 0.0);
  for (const std::vector<double>& row : rows) {
    for (std::size_t t = 0; t < row.size(); ++t) {
      fused[t] = fusion == GroupFusion::max ? std::max(fused[t], row[t]) : fused[t] + row[t];
    }
  }
  // The library computes `sum` as the mean, which ranks alike.
  const double divisor = fusion == GroupFusion::max ? 1.0 : static_cast<double>(rows.size());
  for (double& weight : fused) weight /= divisor;
  return fused;
}

}  // namespace morphkv::oracle
