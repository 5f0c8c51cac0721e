// SPDX-License-Identifier: Apache-2.0
/// \file
/// The policies that are compared.
#ifndef MORPHKV_BENCH_PAPERS_CACHES_HPP
#define MORPHKV_BENCH_PAPERS_CACHES_HPP

#include <algorithm>
#include <cstddef>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "comparison/any_cache.hpp"
#include "morphkv/cache/kv_cache.hpp"
#include "papers/text.hpp"
#include "policies/registry.hpp"

namespace morphkv::papers {

/// The full cache, then each policy of a list such as "recommended,h2o", with those of the options
/// that it has.
/// \throws std::invalid_argument naming a policy that is not known or is named twice, or an option
///         that no policy has or whose value is not valid
[[nodiscard]] inline std::vector<policies::PolicyChoice> choices(
    const policies::PolicyChoice& given) {
  std::vector<policies::PolicyChoice> result = {{"full", {}}};
  std::set<std::string> unused;
  for (const auto& [name, text] : given.options) unused.insert(name);
  unused.erase("seed");  // of the sampling
  for (const std::string_view name : split(given.policy, ",")) {
    policies::PolicyChoice choice{std::string(name), {}};
    policies::with_entry(choice.policy, [&]<class P>(const policies::PolicyEntry<P>& entry) {
      for (const std::string& option : policies::option_names<P>()) {
        const auto found = given.options.find(option);
        if (found == given.options.end()) continue;
        choice.options.insert(*found);
        unused.erase(option);
      }
      (void)policies::options_of(entry, choice.options);
    });
    if (choice.policy == "full") continue;
    if (std::any_of(result.begin(), result.end(),
                    [&](const auto& other) { return other.policy == choice.policy; })) {
      throw std::invalid_argument("--policy = " + given.policy + ": must name " + choice.policy +
                                  " once");
    }
    result.push_back(std::move(choice));
  }
  if (!unused.empty()) {
    throw std::invalid_argument(policies::flag_name(*unused.begin()) + ": --policy " +
                                given.policy + " has no such option");
  }
  return result;
}

/// An empty cache for so many tokens.
/// \throws std::invalid_argument if the options do not fit each other, or memory is too small
[[nodiscard]] inline std::unique_ptr<comparison::AnyCache> make_cache(
    const policies::PolicyChoice& choice, const CacheShape& shape, std::size_t prompt,
    std::size_t response) {
  std::unique_ptr<comparison::AnyCache> cache;
  policies::with_policy(
      choice, prompt, response, [&]<class Policy>(const typename Policy::Options& options) {
        policies::require_cache_memory<comparison::Stored>(shape, options);
        cache = comparison::make_any_cache<KVCache<comparison::Stored, Policy>>(shape, options);
      });
  return cache;
}

/// The options by name, those that follow from others included.
[[nodiscard]] inline nlohmann::ordered_json settings(const policies::PolicyChoice& choice) {
  nlohmann::ordered_json result;
  policies::with_entry(choice.policy, [&](const auto& entry) {
    result = policies::describe(policies::options_of(entry, choice.options));
  });
  // The slots of a cache that grows are those that each prompt and its response need.
  if (!choice.options.contains("max_tokens")) result.erase("max_tokens");
  return result;
}

}  // namespace morphkv::papers

#endif  // MORPHKV_BENCH_PAPERS_CACHES_HPP
