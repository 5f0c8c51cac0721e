// SPDX-License-Identifier: Apache-2.0
/// \file
/// The session that the settings ask for.
#ifndef MORPHKV_TOOLS_REPLAY_MAKE_SESSION_HPP
#define MORPHKV_TOOLS_REPLAY_MAKE_SESSION_HPP

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>

#include "morphkv/cache/budget.hpp"
#include "morphkv/core/scalar.hpp"
#include "replay/compat_session.hpp"
#include "replay/session.hpp"
#include "replay/settings.hpp"
#include "replay/trace.hpp"

namespace morphkv::replay {

namespace detail {

/// The options of budgets, each of which belongs to one kind.
struct BudgetFlags {
  std::string kind = "uniform";
  double beta = 20;
  double floor = 0.2;
  std::size_t layer = 0;
  std::size_t layers = 0;
};

inline void refuse_without(const Flags& flags, const std::string& kind, const std::string& needed,
                           std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (kind == needed || !flags.contains(name)) continue;
    throw std::invalid_argument(policies::flag_name(name) + ": --budget " + kind +
                                " has no such option; --budget " + needed + " has");
  }
}

[[nodiscard]] inline BudgetFlags parse_budget(const Flags& flags) {
  BudgetFlags budget;
  if (flags.contains("budget")) budget.kind = flags.at("budget");
  if (budget.kind != "uniform" && budget.kind != "pyramid" && budget.kind != "adaptive") {
    policies::refuse("budget", budget.kind, "uniform, pyramid, adaptive");
  }
  refuse_without(flags, budget.kind, "pyramid", {"beta", "layer", "layers"});
  refuse_without(flags, budget.kind, "adaptive", {"floor"});
  const auto read = [&](const char* name, auto& field) {
    if (flags.contains(name)) policies::parse(name, flags.at(name), field);
  };
  read("beta", budget.beta);
  read("floor", budget.floor);
  read("layer", budget.layer);
  read("layers", budget.layers);
  if (budget.kind != "pyramid") return budget;
  for (const char* name : {"layer", "layers"}) {
    if (!flags.contains(name)) {
      throw std::invalid_argument("--budget pyramid needs " + policies::flag_name(name) +
                                  ": which layer of how many the trace is of");
    }
  }
  constexpr std::size_t max_layers = 100000;
  if (budget.layers == 0 || budget.layers > max_layers) {
    policies::refuse("layers", flags.at("layers"), "from 1 to " + std::to_string(max_layers));
  }
  if (budget.layer >= budget.layers) {
    policies::refuse("layer", flags.at("layer"), "below --layers = " + flags.at("layers"));
  }
  return budget;
}

template <class Options>
[[nodiscard]] Budget make_budget(const BudgetFlags& flags, const CacheShape& shape,
                                 const Options& options) {
  if (flags.kind == "adaptive") return Budget::adaptive(flags.floor);
  if (flags.kind == "uniform") return Budget::uniform();
  CacheShape model = shape;
  model.layers = flags.layers;
  const auto all = Budget::pyramid(flags.beta).capacities(model, options);
  const auto first = all.begin() + static_cast<std::ptrdiff_t>(flags.layer * shape.kv_heads);
  return Budget::per_head({first, first + static_cast<std::ptrdiff_t>(shape.kv_heads)});
}

[[nodiscard]] inline nlohmann::ordered_json describe(const BudgetFlags& budget) {
  nlohmann::ordered_json result = {{"kind", budget.kind}};
  if (budget.kind == "adaptive") result["floor"] = budget.floor;
  if (budget.kind == "pyramid") {
    result["beta"] = budget.beta;
    result["layer"] = budget.layer;
    result["layers"] = budget.layers;
  }
  return result;
}

template <Scalar T, class Policy>
[[nodiscard]] std::unique_ptr<Session> make_cache_session(
    const policies::PolicyEntry<Policy>& entry, const Settings& settings, const Trace& trace) {
  std::span<const std::string> others;
  if constexpr (has_budget<Policy>) others = budget_options;
  auto options = policies::options_of(entry, settings.flags, others);
  const std::size_t response = trace.tokens - trace.prompt_length;
  policies::fit_max_tokens(options, settings.flags, trace.prompt_length, response);
  nlohmann::ordered_json text = {{"policy", entry.name}};
  if constexpr (std::same_as<Policy, MorphKVCompat>) {
    if (settings.chunk > 0) {
      throw std::invalid_argument(
          "--chunk: --policy morphkv_compat has no such option; the authors' code reads a prompt "
          "at once");
    }
    if (!settings.flags.contains("max_tokens")) {  // it never holds more than the prompt and one
      options.max_tokens = trace.prompt_length + std::min<std::size_t>(response, 1);
    }
    policies::require_cache_memory<T>(trace.shape, options);
    text["options"] = policies::describe(options);
    text["budget"] = describe(BudgetFlags{});
    return std::make_unique<CompatSession<T>>(trace.shape, options, std::move(text));
  } else {
    const BudgetFlags budget = parse_budget(settings.flags);
    policies::require_cache_memory<T>(trace.shape, options);
    text["options"] = policies::describe(options);
    text["budget"] = describe(budget);
    return std::make_unique<CacheSession<T, Policy>>(
        trace.shape, options, make_budget(budget, trace.shape, options), std::move(text));
  }
}

}  // namespace detail

/// A cache as the settings say, of elements of type T, under a policy of each_own_policy.
/// \throws std::invalid_argument naming the option that is not valid
template <Scalar T>
[[nodiscard]] std::unique_ptr<Session> make_session(const Settings& settings, const Trace& trace) {
  std::unique_ptr<Session> session;
  policies::with_entry(settings.policy, each_own_policy, [&](const auto& entry) {
    session = detail::make_cache_session<T>(entry, settings, trace);
  });
  return session;
}

}  // namespace morphkv::replay

#endif  // MORPHKV_TOOLS_REPLAY_MAKE_SESSION_HPP
