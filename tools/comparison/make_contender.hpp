// SPDX-License-Identifier: Apache-2.0
/// \file
/// How a contender is made of a policy: its capacity for a budget of bytes, its options for knobs.
#ifndef MORPHKV_TOOLS_COMPARISON_MAKE_CONTENDER_HPP
#define MORPHKV_TOOLS_COMPARISON_MAKE_CONTENDER_HPP

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "comparison/any_cache.hpp"
#include "comparison/contenders.hpp"
#include "comparison/knobs.hpp"
#include "morphkv/cache/kv_cache.hpp"
#include "policies/registry.hpp"

namespace morphkv::comparison {

/// Bytes of a cache with these options, all kinds.
template <class Cache>
[[nodiscard]] std::size_t cache_bytes(const CacheShape& shape,
                                      const typename Cache::Options& options) {
  return make_any_cache<Cache>(shape, options)->memory().total();
}

/// Options and their description, for a capacity.
template <class Options>
struct Settings {
  Options options;
  std::string text;
  bool possible = true;  ///< false: the policy cannot work with so few tokens
};

inline constexpr std::size_t min_capacity = 16;

namespace detail {

/// The largest capacity whose cache takes at most `bytes`; 0 if there is none.
/// \param options_at the options for a capacity
template <class Cache, class OptionsAt>
[[nodiscard]] std::size_t largest_capacity(const CacheShape& shape, const Task& task,
                                           std::size_t bytes, const OptionsAt& options_at) {
  const auto fits = [&](std::size_t capacity) {
    return cache_bytes<Cache>(shape, options_at(capacity)) <= bytes;
  };
  if (!fits(min_capacity)) return 0;
  std::size_t low = min_capacity;
  std::size_t high = (std::max)(task.prompt_tokens + task.response_tokens, min_capacity + 1);
  while (low + 1 < high) {
    const std::size_t middle = (low + high) / 2;
    (fits(middle) ? low : high) = middle;
  }
  return low;
}

template <class Cache, class MakeSettings>
[[nodiscard]] auto cache_maker(MakeSettings make, std::size_t capacity, const Task& task,
                               const Knobs& knobs) {
  return [=](const CacheShape& shape, const Prompt& prompt) -> std::unique_ptr<AnyCache> {
    // A cache that grows gets the slots that this prompt needs, and no more.
    Task one = task;
    one.prompt_tokens = prompt.tokens.size();
    one.response_tokens = prompt.response_tokens;
    return make_any_cache<Cache>(shape, make(capacity, one, knobs).options);
  };
}

}  // namespace detail

/// A contender with the settings `make(capacity, task, knobs)`.
template <class Policy, class Cache = KVCache<Stored, Policy>, class MakeSettings>
[[nodiscard]] Contender contender(std::string key, std::string name, std::string description,
                                  std::vector<Knobs> candidates, const MakeSettings& make) {
  Contender result{
      std::move(key), std::move(name), std::move(description), std::move(candidates), {}};
  result.fit = [key = result.key, name = result.name, make](
                   const CacheShape& shape, const Task& task, const Knobs& knobs, double budget,
                   std::size_t bytes) -> std::optional<Variant> {
    Variant variant{key, name, {}, knobs, budget, true, 0, {}};
    variant.capacity = detail::largest_capacity<Cache>(
        shape, task, bytes,
        [&](std::size_t capacity) { return make(capacity, task, knobs).options; });
    if (variant.capacity ==
        0) {  // it grows with the response, or its fixed state exceeds the budget
      variant.fits = false;
      const auto share = static_cast<std::size_t>(budget * static_cast<double>(task.prompt_tokens));
      variant.capacity = (std::max)(share, min_capacity);
    }
    const auto settings = make(variant.capacity, task, knobs);
    if (!settings.possible) return std::nullopt;
    variant.settings = settings.text;
    variant.make_cache = detail::cache_maker<Cache>(make, variant.capacity, task, knobs);
    return variant;
  };
  return result;
}

/// The protected recent tokens that the knobs ask for.
[[nodiscard]] inline std::size_t recent_for(std::size_t capacity, const Knobs& knobs) {
  const auto rows = static_cast<std::size_t>(static_cast<double>(capacity) * knobs.window);
  return std::clamp<std::size_t>(rows, 1, capacity - 2 * default_sinks);
}

/// The same as a window of attention rows: a multiple of its panes, within the limit of sums.
[[nodiscard]] inline std::size_t window_for(std::size_t capacity, const Knobs& knobs) {
  const std::size_t rows = (std::max<std::size_t>)(recent_for(capacity, knobs) / 8 * 8, 8);
  return knobs.fusion == Fusion::sum ? (std::min<std::size_t>)(rows, 248) : rows;
}

/// Options, as described by the registry, in words: "window 24, fusion max, sinks 4".
[[nodiscard]] inline std::string options_text(const nlohmann::ordered_json& options) {
  std::string text;
  for (const auto& [name, value] : options.items()) {
    if (name == "capacity" || name == "group" || name == "seed" || value == false) continue;
    if ((name == "pins" || name == "response_slots") && value == 0) continue;
    if (name == "pin_half_life" && options.at("pins") == 0) continue;
    if (!text.empty()) text += ", ";
    text += name;
    if (!value.is_boolean()) (text += " ") += policies::text_of(value);
  }
  return text;
}

namespace detail {

/// A policy's options at a capacity, from the registry.
template <class Policy>
[[nodiscard]] typename Policy::Options registered(const std::string& name, std::size_t capacity) {
  typename Policy::Options options;
  policies::with_entry(name, [&](const auto& entry) {
    if constexpr (std::same_as<decltype(entry.at_capacity(1)), typename Policy::Options>) {
      options = entry.at_capacity(capacity);
    }
  });
  return options;
}

/// Sets the options that the knobs stand for, where a policy has them.
template <class Options>
void apply(const Knobs& knobs, std::size_t capacity, const Task& task, Options& o) {
  std::size_t recent = recent_for(capacity, knobs);
  if constexpr (requires { o.panes; }) {
    recent = window_for(capacity, knobs);
    o.window = recent;
    o.fusion = knobs.fusion;
    o.panes = 8;
  } else if constexpr (requires { o.heavy; }) {
    o.recent = recent;
    o.heavy = capacity - 1 - recent;  // the attention of a step sees one token more
    o.normalised = knobs.normalised;
  } else if constexpr (requires { o.kernel; }) {
    o.window = (std::min)(capacity / 2, std::size_t{32});
    o.kernel = knobs.kernel;
  } else if constexpr (requires { o.recent; }) {
    o.recent = recent;
  }
  if constexpr (requires { o.distance; }) {
    o.distance = (std::min)(knobs.distance, recent - 1);
    o.half_life = std::floor((std::max)(knobs.half_life * static_cast<double>(capacity), 1.0));
  }
  o.sinks = knobs.sinks;
  o.protect_prompt = knobs.protect_prompt && task.prompt_tokens + recent + 1 < capacity;
}

template <class Options>
[[nodiscard]] Settings<Options> settings(Options options, const Task& task) {
  if constexpr (requires { options.seed; }) options.seed = task.seed;
  policies::fit_max_tokens(options, {}, task.prompt_tokens, task.response_tokens);
  return {options, options_text(policies::describe(options))};
}

}  // namespace detail

/// Settings of the registered policy `name`, its options changed by the knobs.
template <class Policy>
[[nodiscard]] auto tuned(const std::string& name) {
  return [name](std::size_t capacity, const Task& task, const Knobs& knobs) {
    auto options = detail::registered<Policy>(name, capacity);
    detail::apply(knobs, capacity, task, options);
    return detail::settings(options, task);
  };
}

/// Settings of the registered policy `name`, as it is.
template <class Policy>
[[nodiscard]] auto untuned(const std::string& name) {
  return [name](std::size_t capacity, const Task& task, const Knobs&) {
    return detail::settings(detail::registered<Policy>(name, capacity), task);
  };
}

/// The knobs of `base` with each of the windows, as shares of the capacity.
[[nodiscard]] inline std::vector<Knobs> with_windows(const Knobs& base,
                                                     const std::vector<double>& windows) {
  std::vector<Knobs> result;
  for (const double window : windows) {
    result.push_back(base);
    result.back().window = window;
  }
  return result;
}

}  // namespace morphkv::comparison

#endif  // MORPHKV_TOOLS_COMPARISON_MAKE_CONTENDER_HPP
