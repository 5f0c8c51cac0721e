// SPDX-License-Identifier: Apache-2.0
/// \file
/// The papers' scores, each from the stored rows, and the oracle of each policy.
#ifndef MORPHKV_TESTS_ORACLE_SCORINGS_HPP
#define MORPHKV_TESTS_ORACLE_SCORINGS_HPP

#include <cstddef>
#include <vector>

#include "oracle/eviction_oracle.hpp"

namespace morphkv::oracle {

enum class Combine { sum, max };

/// F[j] = sum or max of a_i[j] over the last `window` queries i.
Scoring window_score(std::size_t window, Combine combine);

/// h[j] = sum of a_i[j] over every query; normalised, divided by the queries that attended j.
Scoring running_score(bool normalised);

/// F[j] = max over every query i that came at least `distance` tokens after j, of a_i[j]
/// decay^(rows since i). Rounded to float row by row: scores fade below its smallest number,
/// and are equal from then on.
Scoring decayed_max_score(double decay, std::size_t distance);

std::vector<double> last_row_score(const History& history, std::size_t count);

std::vector<double> age_score(const History& history, std::size_t count);

/// pool1d with stride 1 and padding kernel / 2: the average counts the padding's zeros.
std::vector<double> pool1d(const std::vector<double>& s, std::size_t kernel, Combine combine);

/// SnapKV: the last `window` queries of the block, summed, and then pooled.
Scoring snap_score(std::size_t window, std::size_t kernel, Combine combine);

EvictionOracle morphkv_oracle(std::size_t capacity, std::size_t window, Combine combine,
                              std::size_t sinks, bool protect_prompt);

EvictionOracle decayed_max_oracle(std::size_t capacity, std::size_t window, double half_life,
                                  std::size_t distance, std::size_t sinks, bool protect_prompt,
                                  std::size_t pins = 0, std::size_t pin_half_life = 1,
                                  std::size_t max_tokens = 0);

EvictionOracle snapkv_oracle(std::size_t capacity, std::size_t window, std::size_t kernel,
                             Combine combine, std::size_t sinks, bool protect_prompt,
                             std::size_t max_tokens);

EvictionOracle h2o_oracle(std::size_t heavy, std::size_t recent, bool normalised, std::size_t sinks,
                          bool protect_prompt);

EvictionOracle streaming_llm_oracle(std::size_t capacity, std::size_t sinks, bool protect_prompt);

EvictionOracle tova_oracle(std::size_t capacity, std::size_t window, std::size_t sinks,
                           bool protect_prompt);

EvictionOracle full_oracle(std::size_t max_tokens);

}  // namespace morphkv::oracle

#endif  // MORPHKV_TESTS_ORACLE_SCORINGS_HPP
