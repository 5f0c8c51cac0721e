// SPDX-License-Identifier: Apache-2.0
/// \file
/// What is measured, and how much of it.
#ifndef MORPHKV_BENCH_REAL_PLAN_HPP
#define MORPHKV_BENCH_REAL_PLAN_HPP

#include <algorithm>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

namespace morphkv::real {

struct Text {
  std::string name;
  std::vector<int> tokens;
};

enum class Measure { language, long_text, retrieval, responses, prompt_cut, formats };

/// By the names of the command line.
[[nodiscard]] inline const std::map<std::string, Measure>& measures() {
  static const std::map<std::string, Measure> all = {
      {"language", Measure::language},     {"long", Measure::long_text},
      {"retrieval", Measure::retrieval},   {"responses", Measure::responses},
      {"prompt_cut", Measure::prompt_cut}, {"formats", Measure::formats}};
  return all;
}

struct Plan {
  std::vector<Measure> measures = {Measure::language,  Measure::long_text,  Measure::retrieval,
                                   Measure::responses, Measure::prompt_cut, Measure::formats};
  std::vector<std::size_t> capacities = {256, 512, 1024};
  std::vector<std::size_t> format_slots = {128, 256, 512};  ///< of the 16-bit caches
  std::size_t prompt = 1024;    ///< tokens of a text that are read as one block
  std::size_t response = 1024;  ///< tokens that are read one by one after it
  std::size_t long_prompt = 4096;
  std::size_t long_response = 2048;
  std::vector<double> depths = {0.1, 0.3, 0.5, 0.7, 0.9};
  std::size_t lookups = 4;           ///< of each task, for each depth
  std::size_t lookup_tokens = 1400;  ///< of the text around the fact
  std::size_t stories = 3;           ///< long responses that each cache writes
  std::size_t story_tokens = 2048;
  std::size_t cut = 4;           ///< prompt_cut keeps one in so many tokens of the prompt
  std::size_t side_by_side = 2;  ///< texts in one pass over the weights
  std::size_t threads = 2;

  [[nodiscard]] bool has(Measure measure) const {
    return std::find(measures.begin(), measures.end(), measure) != measures.end();
  }
  /// The capacity of the measures that have one alone.
  [[nodiscard]] std::size_t middle_capacity() const { return capacities[capacities.size() / 2]; }
};

}  // namespace morphkv::real

#endif  // MORPHKV_BENCH_REAL_PLAN_HPP
