// SPDX-License-Identifier: Apache-2.0
/// \file
/// The session that the settings ask for.
#ifndef MORPHKV_EXAMPLES_REPLAY_MAKE_SESSION_HPP
#define MORPHKV_EXAMPLES_REPLAY_MAKE_SESSION_HPP

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <nlohmann/json.hpp>
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

/// A cache that lets heads grow gets exactly the slots that this trace fills, so that its bytes are
/// those of an engine that knows the length.
template <class Options>
void fit_slots(Options& options, const Flags& flags, const Trace& trace) {
  if constexpr (requires { options.max_tokens; }) {
    if (flags.contains("max_tokens")) return;
    const std::size_t response = trace.tokens - trace.prompt_length;
    if constexpr (std::same_as<Options, SnapKV::Options>) {
      options.max_tokens = std::min(trace.prompt_length, options.capacity) + response;
      if (options.protect_prompt) options.max_tokens = trace.tokens;
    } else if constexpr (std::same_as<Options, MorphKVCompat::Options>) {
      options.max_tokens = trace.prompt_length + std::min<std::size_t>(response, 1);
    } else {
      options.max_tokens = trace.tokens;
    }
  }
}

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
    throw std::invalid_argument(flag_name(name) + ": --budget " + kind +
                                " has no such option; --budget " + needed + " has");
  }
}

[[nodiscard]] inline BudgetFlags parse_budget(const Flags& flags) {
  BudgetFlags budget;
  if (flags.contains("budget")) budget.kind = flags.at("budget");
  if (budget.kind != "uniform" && budget.kind != "pyramid" && budget.kind != "adaptive") {
    refuse("budget", budget.kind, "uniform, pyramid, adaptive");
  }
  refuse_without(flags, budget.kind, "pyramid", {"beta", "layer", "layers"});
  refuse_without(flags, budget.kind, "adaptive", {"floor"});
  const auto read = [&](const char* name, auto& field) {
    if (flags.contains(name)) parse(name, flags.at(name), field);
  };
  read("beta", budget.beta);
  read("floor", budget.floor);
  read("layer", budget.layer);
  read("layers", budget.layers);
  if (budget.kind != "pyramid") return budget;
  for (const char* name : {"layer", "layers"}) {
    if (!flags.contains(name)) {
      throw std::invalid_argument("--budget pyramid needs " + flag_name(name) +
                                  ": which layer of how many the trace is of");
    }
  }
  constexpr std::size_t most_layers = 100000;
  if (budget.layers == 0 || budget.layers > most_layers) {
    refuse("layers", flags.at("layers"), "from 1 to " + std::to_string(most_layers));
  }
  if (budget.layer >= budget.layers) {
    refuse("layer", flags.at("layer"), "below --layers = " + flags.at("layers"));
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
[[nodiscard]] std::unique_ptr<Session> make_cache_session(const PolicyTag<Policy>& tag,
                                                          const Settings& settings,
                                                          const Trace& trace) {
  auto options = options_of(tag, settings.flags);
  fit_slots(options, settings.flags, trace);
  if (std::same_as<Policy, MorphKVCompat> && settings.chunk > 0) {
    throw std::invalid_argument(
        "--chunk: --policy morphkv_compat has no such option; the authors' code takes a "
        "prompt whole");
  }
  const BudgetFlags budget = parse_budget(settings.flags);
  nlohmann::ordered_json text = {{"policy", tag.policy}};
  text["options"] = replay::describe(options);
  text["budget"] = describe(budget);
  if constexpr (std::same_as<Policy, MorphKVCompat>) {
    return std::make_unique<CompatSession<T>>(trace.shape, options, std::move(text));
  } else {
    return std::make_unique<CacheSession<T, Policy>>(
        trace.shape, options, make_budget(budget, trace.shape, options), std::move(text));
  }
}

}  // namespace detail

/// A cache as the settings ask for it, of elements of type T.
/// \throws std::invalid_argument if they do not fit.
template <Scalar T>
[[nodiscard]] std::unique_ptr<Session> make_session(const Settings& settings, const Trace& trace) {
  std::unique_ptr<Session> session;
  with_policy(settings, [&](const auto& tag) {
    session = detail::make_cache_session<T>(tag, settings, trace);
  });
  return session;
}

}  // namespace morphkv::replay

#endif  // MORPHKV_EXAMPLES_REPLAY_MAKE_SESSION_HPP
