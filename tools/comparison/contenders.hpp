// SPDX-License-Identifier: Apache-2.0
/// \file
/// The policies that are compared, each with the settings it gets for a budget of memory.
#ifndef MORPHKV_TOOLS_COMPARISON_CONTENDERS_HPP
#define MORPHKV_TOOLS_COMPARISON_CONTENDERS_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comparison/any_cache.hpp"
#include "comparison/knobs.hpp"
#include "comparison/workload.hpp"
#include "morphkv/core/shape.hpp"

namespace morphkv::comparison {

/// A policy with all of its settings.
struct Variant {
  std::string policy;  ///< key of the contender
  std::string name;
  std::string settings;  ///< in words
  Knobs knobs;
  double budget = 1;  ///< its share of the full cache's bytes
  bool fits = true;   ///< false: no capacity is small enough for the budget
  std::size_t capacity = 0;
  /// An empty cache for a prompt and its response.
  std::function<std::unique_ptr<AnyCache>(const CacheShape&, const Prompt&)> make_cache;
};

/// What the settings depend on.
struct Task {
  std::size_t prompt_tokens = 0;    ///< of the longest prompt
  std::size_t response_tokens = 0;  ///< of the longest response
  std::uint64_t seed = 0;
};

[[nodiscard]] inline Task task_of(const Workload& workload, std::uint64_t seed) {
  Task task{.seed = seed};
  for (const Prompt& prompt : workload.prompts) {
    task.prompt_tokens = (std::max)(task.prompt_tokens, prompt.tokens.size());
    task.response_tokens = (std::max)(task.response_tokens, prompt.response_tokens);
  }
  return task;
}

struct Contender {
  std::string key;
  std::string name;
  std::string description;
  std::vector<Knobs> candidates;  ///< what tuning chooses from; the first is the default
  /// The variant whose cache takes at most `bytes`, the budget's share of the full cache; none if
  /// the policy cannot work in so few.
  std::function<std::optional<Variant>(const CacheShape&, const Task&, const Knobs&, double budget,
                                       std::size_t bytes)>
      fit;
};

/// The bytes of the full cache, mean over prompts.
[[nodiscard]] double full_bytes(const CacheShape& shape, const Workload& workload);

/// The reference. It has as many slots as a prompt and its response need.
[[nodiscard]] Variant full_variant();

/// The policies of the registry, some in several forms.
[[nodiscard]] std::vector<Contender> library_contenders();

}  // namespace morphkv::comparison

#endif  // MORPHKV_TOOLS_COMPARISON_CONTENDERS_HPP
