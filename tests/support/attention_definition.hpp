// SPDX-License-Identifier: Apache-2.0
/// \file
/// The attention of one KV head of a model, from the definition of its shape.
#ifndef MORPHKV_TESTS_SUPPORT_ATTENTION_DEFINITION_HPP
#define MORPHKV_TESTS_SUPPORT_ATTENTION_DEFINITION_HPP

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "oracle/attention_oracle.hpp"
#include "support/script.hpp"

namespace morphkv::testing {

/// Every key and value of a KV head, by position, and the attention of a query to some of them.
class AttentionDefinition {
 public:
  AttentionDefinition(const CacheShape& model, std::size_t layer, std::size_t head)
      : shape_(model), layer_(layer), head_(head), sequence_{model.head_dim, {}, {}} {}

  void add(const Tokens& token) {
    const auto part = [&](std::span<const float> all, std::size_t dim) {
      const auto mine = all.subspan(head_ * dim, dim);
      return std::vector<double>(mine.begin(), mine.end());
    };
    sequence_.keys.push_back(part(token.keys, shape_.head_dim));
    sequence_.values.push_back(shape_.values_in_keys ? sequence_.keys.back()
                                                     : part(token.values, shape_.output_dim()));
    sequence_.values.back().resize(shape_.output_dim());
  }

  /// The weights of query head `g` of the group, at the newest position of all tokens.
  [[nodiscard]] std::vector<double> weights(const Tokens& token, std::size_t g,
                                            std::span<const Position> tokens) const {
    std::vector<double> logits = oracle::logits_over(query(token, g), sequence_, tokens);
    const Position* position = tokens.data();
    for (double& logit : logits) {
      if (shape_.scale > 0) {
        logit *= std::sqrt(static_cast<double>(shape_.head_dim)) * double{shape_.scale};
      }
      const double cap{shape_.soft_cap};
      if (cap > 0) logit = cap * std::tanh(logit / cap);
      const double distance = static_cast<double>(sequence_.keys.size()) - 1 - *position++;
      logit -= double{shape_.logits(layer_, head_).slope(g)} * distance;
    }
    logits.push_back(double{shape_.logits(layer_, head_).sink(g)});
    std::vector<double> result = oracle::softmax(logits);
    result.pop_back();
    return result;
  }

  /// \param output [query_heads][value_dim]
  void expect_output(const Tokens& token, std::span<const Position> tokens,
                     std::span<const float> output) const {
    for (std::size_t g = 0; g < shape_.group(); ++g) {
      const auto expected = oracle::weighted_values(weights(token, g, tokens), sequence_, tokens);
      const std::size_t at = (head_ * shape_.group() + g) * shape_.output_dim();
      for (std::size_t d = 0; d < shape_.output_dim(); ++d) {
        ASSERT_NEAR(double{output[at + d]}, expected[d], 1e-5);
      }
    }
  }

 private:
  [[nodiscard]] std::span<const float> query(const Tokens& token, std::size_t g) const {
    const std::size_t at = (head_ * shape_.group() + g) * shape_.head_dim;
    return std::span(token.queries).subspan(at, shape_.head_dim);
  }

  CacheShape shape_;
  std::size_t layer_;
  std::size_t head_;
  oracle::Sequence sequence_;
};

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_SUPPORT_ATTENTION_DEFINITION_HPP
