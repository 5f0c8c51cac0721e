// SPDX-License-Identifier: Apache-2.0
/// \file
/// Attention in double, straight from its definition.
#ifndef MORPHKV_TESTS_ORACLE_ATTENTION_ORACLE_HPP
#define MORPHKV_TESTS_ORACLE_ATTENTION_ORACLE_HPP

#include <cstddef>
#include <span>
#include <vector>

#include "morphkv/core/logits.hpp"
#include "morphkv/core/types.hpp"

namespace morphkv::oracle {

/// The keys and values of one KV head, every token that ever came, by position.
struct Sequence {
  std::size_t head_dim = 1;  ///< of keys
  std::vector<std::vector<double>> keys;
  std::vector<std::vector<double>> values;
};

/// softmax(logits), with minus infinity for what is not seen.
std::vector<double> softmax(std::vector<double> logits);

/// query . key / sqrt(head_dim) for each of these tokens.
std::vector<double> logits_over(std::span<const float> query, const Sequence& sequence,
                                std::span<const Position> tokens);

/// The weights that a query pays to these tokens.
std::vector<double> weights_over(std::span<const float> query, const Sequence& sequence,
                                 std::span<const Position> tokens);

/// The same with the scale and the soft cap of a model, and the sink and the slope of its query
/// head `head`. \param at the query's position
std::vector<double> weights_over(std::span<const float> query, const Sequence& sequence,
                                 std::span<const Position> tokens, const Logits& model,
                                 std::size_t head, Position at);

/// The values of these tokens, weighted.
std::vector<double> weighted_values(const std::vector<double>& weights, const Sequence& sequence,
                                    std::span<const Position> tokens);

/// The same of the values' magnitudes: what rounding errors are measured by.
std::vector<double> weighted_magnitudes(const std::vector<double>& weights,
                                        const Sequence& sequence, std::span<const Position> tokens);

/// The rows of the query heads of a group, [query head][token], as one.
std::vector<double> fuse(const std::vector<std::vector<double>>& rows, GroupFusion fusion);

}  // namespace morphkv::oracle

#endif  // MORPHKV_TESTS_ORACLE_ATTENTION_ORACLE_HPP
