// SPDX-License-Identifier: Apache-2.0
/// \file
/// A replay's settings, and the policies that it has: those of the registry, and the authors' code.
#ifndef MORPHKV_TOOLS_REPLAY_SETTINGS_HPP
#define MORPHKV_TOOLS_REPLAY_SETTINGS_HPP

#include <array>
#include <concepts>
#include <cstddef>
#include <string>

#include "policies/registry.hpp"
#include "replay/morphkv_compat.hpp"

namespace morphkv::replay {

using Flags = policies::OptionTexts;

struct Settings {
  std::string policy = policies::default_policy;
  std::string scalar = "float";
  std::size_t chunk = 0;  ///< tokens of the prompt per prefill; 0: all
  bool compare = true;    ///< with the full cache
  Flags flags = {};       ///< options of the policy and of the budget
};

void each_option(MorphKVCompat::Options& o, auto&& visit) {
  visit("window", o.window, "R: recent tokens, which are always kept and score the others");
  visit("fusion", o.fusion, "how the attention rows of the window become one score");
  visit("group", o.group, policies::detail::group_text);
  visit("evict_after", o.evict_after, "evict at (1 + M) times this many tokens; at least 1");
  visit("max_tokens", o.max_tokens, policies::detail::slots_text);
}

/// visit(entry) for each policy but the user's: see replay/policies.hpp.
inline constexpr auto each_own_policy = [](auto&& visit) {
  policies::each_policy(visit);
  visit(policies::PolicyEntry<MorphKVCompat>{
      "morphkv_compat", "MorphKV as its authors' code computes it; a head keeps capacity + 1",
      &policies::detail::at_capacity<MorphKVCompat>});
};

/// Whether heads or layers may have different capacities: where there is a score to divide by.
template <class Policy>
inline constexpr bool has_budget =
    std::same_as<Policy, MorphKV> || std::same_as<Policy, DecayedMax> ||
    std::same_as<Policy, SnapKV> || std::same_as<Policy, H2O> || std::same_as<Policy, TOVA>;

inline const std::array<std::string, 5> budget_options = {"budget", "beta", "layer", "layers",
                                                          "floor"};

}  // namespace morphkv::replay

#endif  // MORPHKV_TOOLS_REPLAY_SETTINGS_HPP
