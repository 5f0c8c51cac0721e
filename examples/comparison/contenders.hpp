// SPDX-License-Identifier: Apache-2.0
/// \file
/// The policies that are compared, each with a capacity that makes its whole cache weigh the same.
#ifndef MORPHKV_EXAMPLES_COMPARISON_CONTENDERS_HPP
#define MORPHKV_EXAMPLES_COMPARISON_CONTENDERS_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "comparison/workload.hpp"
#include "comparison/write_response.hpp"
#include "llama/model.hpp"
#include "morphkv/morphkv.hpp"

namespace morphkv::comparison {

/// A policy with all of its settings.
struct Variant {
  std::string policy;  ///< key of the contender
  std::string name;
  std::string settings;  ///< in words
  double budget = 1;     ///< share of the full cache's bytes that it was given
  bool fits = true;      ///< false: no capacity is small enough, so its bytes are what they are
  std::size_t capacity = 0;
  std::function<Response(const llama::Model&, const Prompt&, bool record)> write;
};

/// What the settings depend on.
struct Task {
  std::size_t prompt_tokens = 0;    ///< of the longest prompt
  std::size_t response_tokens = 0;  ///< of the longest response
  std::uint64_t seed = 0;
  /// Of the capacity, for the policies with a window. Half was best or near it on the travel log at
  /// every budget (of 15, 25, 35, 50 and 65 per cent; prompts of another seed than the default).
  double window_share = 0.5;
};

struct Contender {
  std::string key;
  std::string name;
  std::string description;
  /// The variant whose cache weighs at most `bytes`, the budget's share of the full cache.
  std::function<Variant(const CacheShape&, const Task&, double budget, std::size_t bytes)> fit;
};

/// Bytes of a cache with these options, all kinds.
template <class Policy>
[[nodiscard]] std::size_t cache_bytes(const CacheShape& shape,
                                      const typename Policy::Options& options) {
  return KVCache<Stored, Policy>(shape, options).memory().total();
}

/// Options and their description, for a capacity.
template <class Options>
struct Settings {
  Options options;
  std::string text;
};

namespace detail {

inline constexpr std::size_t least_capacity = 16;

/// The greatest capacity whose cache weighs at most `bytes`; 0 if even the least weighs more.
template <class Policy, class MakeSettings>
[[nodiscard]] std::size_t greatest_capacity(const CacheShape& shape, const Task& task,
                                            std::size_t bytes, const MakeSettings& make) {
  const auto fits = [&](std::size_t capacity) {
    return cache_bytes<Policy>(shape, make(capacity, task).options) <= bytes;
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

template <class Policy, class MakeSettings>
[[nodiscard]] Contender contender(std::string key, std::string name, std::string description,
                                  MakeSettings make) {
  Contender result{std::move(key), std::move(name), std::move(description), {}};
  result.fit = [key = result.key, name = result.name, make](
                   const CacheShape& shape, const Task& task, double budget, std::size_t bytes) {
    Variant variant{key, name, {}, budget, true, 0, {}};
    variant.capacity = greatest_capacity<Policy>(shape, task, bytes, make);
    if (variant.capacity == 0) {  // it grows with the response, or its state outweighs its rows
      variant.fits = false;
      const auto share = static_cast<std::size_t>(budget * static_cast<double>(task.prompt_tokens));
      variant.capacity = (std::max)(share, least_capacity);
    }
    variant.settings = make(variant.capacity, task).text;
    variant.write = [make, capacity = variant.capacity, task](const llama::Model& model,
                                                              const Prompt& prompt, bool record) {
      // A cache that grows gets the slots that this prompt needs, and no more.
      Task one = task;
      one.prompt_tokens = prompt.tokens.size();
      one.response_tokens = prompt.response_tokens;
      return write_response<Policy>(model, prompt, make(capacity, one).options, record);
    };
    return variant;
  };
  return result;
}

/// The recent window: a multiple of its panes, and at most what a sum window takes.
[[nodiscard]] inline std::size_t window_for(std::size_t capacity, const Task& task) {
  const auto rows = static_cast<std::size_t>(static_cast<double>(capacity) * task.window_share);
  return std::clamp<std::size_t>(rows / 8 * 8, 8, 248);
}

[[nodiscard]] inline auto morphkv_settings(Fusion fusion) {
  return [fusion](std::size_t capacity, const Task& task) {
    const std::size_t window = window_for(capacity, task);
    return Settings<MorphKV::Options>{
        {.capacity = capacity, .window = window, .fusion = fusion, .panes = 8},
        "window " + std::to_string(window) + " in 8 panes, 4 sinks"};
  };
}

[[nodiscard]] inline Settings<SnapKV::Options> snapkv_settings(std::size_t capacity,
                                                               const Task& task) {
  const std::size_t window = (std::min)(capacity / 2, std::size_t{32});
  const std::size_t kept = (std::min)(capacity, task.prompt_tokens);
  return {{.capacity = capacity, .window = window, .max_tokens = kept + task.response_tokens},
          "keeps " + std::to_string(kept) + " of the prompt, all of the response"};
}

[[nodiscard]] inline Settings<H2O::Options> h2o_settings(std::size_t capacity, const Task&) {
  const std::size_t heavy = (capacity - 1) / 2;
  const std::size_t recent = capacity - 1 - heavy;  // a step's attention sees one token more
  return {{.heavy = heavy, .recent = recent},
          std::to_string(heavy) + " heavy with 4 sinks, " + std::to_string(recent) + " recent"};
}

[[nodiscard]] inline Settings<StreamingLLM::Options> streaming_settings(std::size_t capacity,
                                                                        const Task&) {
  return {{.capacity = capacity}, std::to_string(capacity - default_sinks) + " recent, 4 sinks"};
}

[[nodiscard]] inline Settings<TOVA::Options> tova_settings(std::size_t capacity, const Task&) {
  return {{.capacity = capacity}, "4 sinks"};
}

/// The prompt is protected where that leaves room, as the control should be.
[[nodiscard]] inline Settings<Random::Options> random_settings(std::size_t capacity,
                                                               const Task& task) {
  const std::size_t window = window_for(capacity, task);
  const bool protect = task.prompt_tokens + window < capacity;
  return {{.capacity = capacity, .seed = task.seed, .window = window, .protect_prompt = protect},
          "window " + std::to_string(window) + (protect ? ", prompt protected" : ", 4 sinks")};
}

[[nodiscard]] inline Settings<MorphKVCompat::Options> compat_settings(std::size_t capacity,
                                                                      const Task& task) {
  const std::size_t window = window_for(capacity, task);
  return {{.capacity = capacity, .window = window, .max_tokens = task.prompt_tokens + 1},
          "window " + std::to_string(window) + ", no sinks"};
}

}  // namespace detail

/// The reference. Its slots are what one prompt needs, so it has no capacity to be fitted.
[[nodiscard]] inline Variant full_variant() {
  Variant variant{"full", "Full cache", "keeps everything", 1, true, 0, {}};
  variant.write = [](const llama::Model& model, const Prompt& prompt, bool record) {
    const std::size_t tokens = prompt.tokens.size() + prompt.response_tokens;
    return write_response<Full>(model, prompt, {.max_tokens = tokens}, record);
  };
  return variant;
}

/// All that `--policies` can name, in the order of the table.
[[nodiscard]] inline std::vector<Contender> all_contenders() {
  using detail::contender;
  return {
      contender<MorphKV>("morphkv-max", "MorphKV max",
                         "the recent tokens, and the older ones with the greatest single weight in "
                         "the recent tokens' attention",
                         detail::morphkv_settings(Fusion::max)),
      contender<MorphKV>("morphkv-sum", "MorphKV sum",
                         "the recent tokens, and the older ones that these attend most in sum",
                         detail::morphkv_settings(Fusion::sum)),
      contender<H2O>("h2o", "H2O",
                     "half recent tokens, half those that gathered most attention since they came",
                     detail::h2o_settings),
      contender<TOVA>("tova", "TOVA", "drops what the newest token attends least",
                      detail::tova_settings),
      contender<SnapKV>("snapkv", "SnapKV",
                        "compresses the prompt once and keeps the whole response",
                        detail::snapkv_settings),
      contender<StreamingLLM>("streaming", "StreamingLLM",
                              "the first four tokens and the most recent ones",
                              detail::streaming_settings),
      contender<Random>("random", "Random",
                        "the recent tokens, and older ones drawn by lot: the control",
                        detail::random_settings),
      contender<MorphKVCompat>("morphkv-compat", "MorphKV compat",
                               "as the authors' code behaves: the prompt whole at first, no sinks",
                               detail::compat_settings),
  };
}

}  // namespace morphkv::comparison

#endif  // MORPHKV_EXAMPLES_COMPARISON_CONTENDERS_HPP
