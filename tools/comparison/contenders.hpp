// SPDX-License-Identifier: Apache-2.0
/// \file
/// The policies that are compared, each with the settings it gets for a budget of memory.
#ifndef MORPHKV_EXAMPLES_COMPARISON_CONTENDERS_HPP
#define MORPHKV_EXAMPLES_COMPARISON_CONTENDERS_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "comparison/any_cache.hpp"
#include "comparison/knobs.hpp"
#include "comparison/workload.hpp"
#include "morphkv/morphkv.hpp"
#include "morphkv/policy/decayed_max.hpp"

namespace morphkv::comparison {

/// A policy with all of its settings.
struct Variant {
  std::string policy;  ///< key of the contender
  std::string name;
  std::string settings;  ///< in words
  Knobs knobs;
  double budget = 1;  ///< share of the full cache's bytes that it was given
  bool fits = true;   ///< false: no capacity is small enough, so its bytes are what they are
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
  /// The variant whose cache weighs at most `bytes`, the budget's share of the full cache; none if
  /// the policy makes no sense in so few.
  std::function<std::optional<Variant>(const CacheShape&, const Task&, const Knobs&, double budget,
                                       std::size_t bytes)>
      fit;
};

/// Bytes of a cache with these options, all kinds.
template <class Cache>
[[nodiscard]] std::size_t cache_bytes(const CacheShape& shape,
                                      const typename Cache::Options& options) {
  return Cache(shape, options).memory().total();
}

/// The bytes that the full cache takes, a prompt on average.
[[nodiscard]] inline double full_bytes(const CacheShape& shape, const Workload& workload) {
  double sum = 0;
  for (const Prompt& prompt : workload.prompts) {
    const std::size_t tokens = prompt.tokens.size() + prompt.response_tokens;
    sum += static_cast<double>(cache_bytes<KVCache<Stored, Full>>(shape, {.max_tokens = tokens}));
  }
  return sum / static_cast<double>(workload.prompts.size());
}

/// Options and their description, for a capacity.
template <class Options>
struct Settings {
  Options options;
  std::string text;
  bool possible = true;  ///< false: the policy cannot work with so few tokens
};

inline constexpr std::size_t least_capacity = 16;

namespace detail {

/// The greatest capacity whose cache weighs at most `bytes`; 0 if even the least weighs more.
/// \param options_at the options for a capacity
template <class Cache, class OptionsAt>
[[nodiscard]] std::size_t greatest_capacity(const CacheShape& shape, const Task& task,
                                            std::size_t bytes, const OptionsAt& options_at) {
  const auto fits = [&](std::size_t capacity) {
    return cache_bytes<Cache>(shape, options_at(capacity)) <= bytes;
  };
  if (!fits(least_capacity)) return 0;
  std::size_t low = least_capacity;
  std::size_t high = (std::max)(task.prompt_tokens + task.response_tokens, least_capacity + 1);
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
    return std::make_unique<CacheOf<Cache>>(shape, make(capacity, one, knobs).options);
  };
}

}  // namespace detail

/// A contender whose settings `make(capacity, task, knobs)` gives.
template <class Policy, class Cache = KVCache<Stored, Policy>, class MakeSettings>
[[nodiscard]] Contender contender(std::string key, std::string name, std::string description,
                                  std::vector<Knobs> candidates, const MakeSettings& make) {
  Contender result{
      std::move(key), std::move(name), std::move(description), std::move(candidates), {}};
  result.fit = [key = result.key, name = result.name, make](
                   const CacheShape& shape, const Task& task, const Knobs& knobs, double budget,
                   std::size_t bytes) -> std::optional<Variant> {
    Variant variant{key, name, {}, knobs, budget, true, 0, {}};
    variant.capacity = detail::greatest_capacity<Cache>(
        shape, task, bytes,
        [&](std::size_t capacity) { return make(capacity, task, knobs).options; });
    if (variant.capacity == 0) {  // it grows with the response, or its state outweighs its rows
      variant.fits = false;
      const auto share = static_cast<std::size_t>(budget * static_cast<double>(task.prompt_tokens));
      variant.capacity = (std::max)(share, least_capacity);
    }
    const auto settings = make(variant.capacity, task, knobs);
    if (!settings.possible) return std::nullopt;
    variant.settings = settings.text;
    variant.make_cache = detail::cache_maker<Cache>(make, variant.capacity, task, knobs);
    return variant;
  };
  return result;
}

/// The recent tokens that are kept.
[[nodiscard]] inline std::size_t recent_for(std::size_t capacity, const Knobs& knobs) {
  const auto rows = static_cast<std::size_t>(static_cast<double>(capacity) * knobs.window);
  return std::clamp<std::size_t>(rows, 1, capacity - 2 * default_sinks);
}

/// The same as a window of attention rows: a multiple of its panes, and at most what sums take.
[[nodiscard]] inline std::size_t window_for(std::size_t capacity, const Knobs& knobs) {
  const std::size_t rows = (std::max<std::size_t>)(recent_for(capacity, knobs) / 8 * 8, 8);
  return knobs.fusion == Fusion::sum ? (std::min<std::size_t>)(rows, 248) : rows;
}

namespace detail {

/// Whether the prompt is protected: where it leaves room.
[[nodiscard]] inline bool protects(const Knobs& knobs, std::size_t capacity, std::size_t recent,
                                   const Task& task) {
  return knobs.protect_prompt && task.prompt_tokens + recent + 1 < capacity;
}

[[nodiscard]] inline std::string kept_text(bool protect, std::size_t sinks) {
  return protect ? ", prompt protected" : ", " + std::to_string(sinks) + " sinks";
}

[[nodiscard]] inline Settings<MorphKV::Options> morphkv_settings(std::size_t capacity,
                                                                 const Task& task,
                                                                 const Knobs& knobs) {
  const std::size_t window = window_for(capacity, knobs);
  const bool protect = protects(knobs, capacity, window, task);
  return {{.capacity = capacity,
           .window = window,
           .fusion = knobs.fusion,
           .sinks = knobs.sinks,
           .protect_prompt = protect,
           .panes = 8},
          std::string(knobs.fusion == Fusion::sum ? "sum" : "max") + ", window " +
              std::to_string(window) + " in 8 panes" + kept_text(protect, knobs.sinks)};
}

[[nodiscard]] inline Settings<DecayedMax::Options> decayed_max_settings(std::size_t capacity,
                                                                        const Task& task,
                                                                        const Knobs& knobs) {
  const std::size_t window = recent_for(capacity, knobs);
  const std::size_t distance = (std::min)(knobs.distance, window - 1);
  const bool protect = protects(knobs, capacity, window, task);
  const auto half_life =
      static_cast<std::size_t>((std::max)(knobs.half_life * static_cast<double>(capacity), 1.0));
  return {{.capacity = capacity,
           .window = window,
           .half_life = static_cast<double>(half_life),
           .distance = distance,
           .sinks = knobs.sinks,
           .protect_prompt = protect},
          "window " + std::to_string(window) + ", half-life " + std::to_string(half_life) +
              ", distance " + std::to_string(distance) + kept_text(protect, knobs.sinks)};
}

[[nodiscard]] inline Settings<SnapKV::Options> snapkv_settings(std::size_t capacity,
                                                               const Task& task,
                                                               const Knobs& knobs) {
  const std::size_t window = (std::min)(capacity / 2, std::size_t{32});
  const std::size_t kept = (std::min)(capacity, task.prompt_tokens);
  return {{.capacity = capacity,
           .window = window,
           .kernel = knobs.kernel,
           .max_tokens = kept + task.response_tokens},
          "keeps " + std::to_string(kept) + " of the prompt, all of the response"};
}

[[nodiscard]] inline Settings<H2O::Options> h2o_settings(std::size_t capacity, const Task& task,
                                                         const Knobs& knobs) {
  const std::size_t recent = recent_for(capacity, knobs);
  const std::size_t heavy = capacity - 1 - recent;  // a step's attention sees one token more
  const bool protect = protects(knobs, capacity, recent, task);
  return {{.heavy = heavy,
           .recent = recent,
           .normalised = knobs.normalised,
           .sinks = knobs.sinks,
           .protect_prompt = protect},
          std::to_string(heavy) + " heavy" + (knobs.normalised ? " for their age" : "") +
              kept_text(protect, knobs.sinks) + ", " + std::to_string(recent) + " recent"};
}

[[nodiscard]] inline Settings<StreamingLLM::Options> streaming_settings(std::size_t capacity,
                                                                        const Task&,
                                                                        const Knobs& knobs) {
  return {{.capacity = capacity, .sinks = knobs.sinks},
          std::to_string(capacity - knobs.sinks) + " recent" + kept_text(false, knobs.sinks)};
}

[[nodiscard]] inline Settings<TOVA::Options> tova_settings(std::size_t capacity, const Task&,
                                                           const Knobs& knobs) {
  const std::size_t window = recent_for(capacity, knobs);
  return {{.capacity = capacity, .window = window, .sinks = knobs.sinks},
          "window " + std::to_string(window) + kept_text(false, knobs.sinks)};
}

[[nodiscard]] inline Settings<Random::Options> random_settings(std::size_t capacity,
                                                               const Task& task,
                                                               const Knobs& knobs) {
  const std::size_t window = recent_for(capacity, knobs);
  const bool protect = protects(knobs, capacity, window, task);
  return {{.capacity = capacity,
           .seed = task.seed,
           .window = window,
           .sinks = knobs.sinks,
           .protect_prompt = protect},
          "window " + std::to_string(window) + kept_text(protect, knobs.sinks)};
}

}  // namespace detail

/// The reference. Its slots are what one prompt needs, so it has no capacity to be fitted.
[[nodiscard]] inline Variant full_variant() {
  Variant variant{"full", "Full cache", "keeps everything", {}, 1, true, 0, {}};
  variant.make_cache = [](const CacheShape& shape, const Prompt& prompt) {
    const std::size_t tokens = prompt.tokens.size() + prompt.response_tokens;
    return std::make_unique<CacheOf<KVCache<Stored, Full>>>(shape,
                                                            Full::Options{.max_tokens = tokens});
  };
  return variant;
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

/// Distances in tokens: they go with the units of the text, not with the capacity.
[[nodiscard]] inline std::vector<Knobs> decayed_max_candidates() {
  std::vector<Knobs> result;
  for (const double window : {0.625, 0.5, 0.75}) {
    for (const double half_life : {0.5, 0.25, 4.0}) {
      for (const std::size_t distance : {32U, 0U, 16U, 48U}) {
        result.push_back({.window = window, .half_life = half_life, .distance = distance});
      }
    }
  }
  return result;
}

/// The policies of the library, by the names of their headers.
[[nodiscard]] inline std::vector<Contender> library_contenders() {
  const std::vector<double> windows = {0.5, 0.25, 0.375, 0.625, 0.75};
  const std::vector<Knobs> faded = decayed_max_candidates();
  std::vector<Knobs> heavy = with_windows({}, windows);
  for (const Knobs& knobs : with_windows({.normalised = true}, windows)) heavy.push_back(knobs);
  return {
      contender<MorphKV>("morphkv", "MorphKV max",
                         "the recent tokens, and the older ones with the greatest single weight in "
                         "the recent tokens' attention",
                         with_windows({}, windows), detail::morphkv_settings),
      contender<MorphKV>("morphkv_sum", "MorphKV sum",
                         "the recent tokens, and the older ones that these attend most in sum",
                         with_windows({.fusion = Fusion::sum}, windows), detail::morphkv_settings),
      contender<DecayedMax>("decayed_max", "Decayed max",
                            "the recent tokens, and the older ones with the greatest single weight "
                            "that a distant token paid them, which fades",
                            faded, detail::decayed_max_settings),
      contender<DecayedMax, SharedDecayedMax>(
          "decayed_max_shared", "Decayed max, shared",
          "the same, but all heads and layers share one budget: a head grows by the slot of the "
          "token that is wanted least of all",
          faded, detail::decayed_max_settings),
      contender<H2O>("h2o", "H2O",
                     "recent tokens, and those that gathered most attention since they came", heavy,
                     detail::h2o_settings),
      contender<TOVA>("tova", "TOVA", "drops what the newest token attends least",
                      with_windows({}, {0, 0.25, 0.5}), detail::tova_settings),
      contender<SnapKV>("snapkv", "SnapKV",
                        "compresses the prompt once and keeps the whole response",
                        {Knobs{}, Knobs{.kernel = 7}}, detail::snapkv_settings),
      contender<StreamingLLM>("streaming_llm", "StreamingLLM",
                              "the first four tokens and the most recent ones", {Knobs{}},
                              detail::streaming_settings),
      contender<Random>("random", "Random",
                        "the recent tokens, and older ones drawn by lot: the control",
                        with_windows({.protect_prompt = true}, windows), detail::random_settings),
  };
}

}  // namespace morphkv::comparison

#endif  // MORPHKV_EXAMPLES_COMPARISON_CONTENDERS_HPP
