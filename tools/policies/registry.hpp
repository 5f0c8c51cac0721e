// SPDX-License-Identifier: Apache-2.0
/// \file
/// The policies of the library by name, and their options by name: the one place that all programs
/// take them from. To register a policy, add an each_option table and a line to each_policy.
#ifndef MORPHKV_TOOLS_POLICIES_REGISTRY_HPP
#define MORPHKV_TOOLS_POLICIES_REGISTRY_HPP

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "morphkv/core/scalar.hpp"
#include "morphkv/core/shape.hpp"
#include "morphkv/policy/decayed_max.hpp"
#include "morphkv/policy/full.hpp"
#include "morphkv/policy/h2o.hpp"
#include "morphkv/policy/morphkv.hpp"
#include "morphkv/policy/random.hpp"
#include "morphkv/policy/recommended.hpp"
#include "morphkv/policy/snapkv.hpp"
#include "morphkv/policy/streaming_llm.hpp"
#include "morphkv/policy/tova.hpp"
#include "policies/option_values.hpp"
#include "support/available_memory.hpp"

namespace morphkv::policies {

inline constexpr const char* default_policy = "recommended";
inline constexpr std::size_t default_capacity = 2048;

/// Option values as text, by option name.
using OptionTexts = std::map<std::string, std::string>;

/// A policy's name and options as given by the user.
struct PolicyChoice {
  std::string policy = default_policy;
  OptionTexts options = {};
};

// ---- option tables: visit(name, field, meaning) for each option
//
// `capacity` is not in them: every policy but Full has it, and other defaults follow from it.

namespace detail {

inline constexpr const char* window_text = "recent tokens that are always kept";
inline constexpr const char* group_text = "how the rows of a KV head's query heads are fused";
inline constexpr const char* sinks_text = "first tokens that are always kept; 0 as in the paper";
inline constexpr const char* prompt_text = "keep all tokens of the prompt";
inline constexpr const char* slots_text = "slots per head";

}  // namespace detail

void each_option(MorphKV::Options& o, auto&& visit) {
  visit("window", o.window,
        "R: recent tokens, which are always kept and score the others; 0: half of the capacity");
  visit("fusion", o.fusion, "how the attention rows of the window become one score");
  visit("group", o.group, detail::group_text);
  visit("sinks", o.sinks, detail::sinks_text);
  visit("protect_prompt", o.protect_prompt, detail::prompt_text);
  visit("panes", o.panes,
        "partial aggregates that represent the window; 0: exact, or 8 if window is 0");
}

void each_option(DecayedMax::Options& o, auto&& visit) {
  visit("recent", o.recent, detail::window_text);
  visit("half_life", o.half_life, "steps in which a score halves; inf: no decay");
  visit("distance", o.distance, "queries after a token that do not score it; below recent");
  visit("group", o.group, detail::group_text);
  visit("sinks", o.sinks, detail::sinks_text);
  visit("protect_prompt", o.protect_prompt, detail::prompt_text);
  visit("pins", o.pins, "tokens that a prompt or later block protects for a while");
  visit("pin_half_life", o.pin_half_life, "tokens after which half of the pins are released");
  visit("response_slots", o.response_slots,
        "slots for what follows the prompt, which then stays; 0: every token evicts one");
}

void each_option(SnapKV::Options& o, auto&& visit) {
  visit("window", o.window, "W: last queries of the prompt, which score the others");
  visit("kernel", o.kernel, "width of the pooling; odd");
  visit("pooling", o.pooling, "of the scores along the prompt");
  visit("group", o.group, detail::group_text);
  visit("sinks", o.sinks, detail::sinks_text);
  visit("protect_prompt", o.protect_prompt, detail::prompt_text);
  visit("max_tokens", o.max_tokens, detail::slots_text);
}

void each_option(H2O::Options& o, auto&& visit) {
  visit("heavy", o.heavy, "tokens with the largest sums of attention that are kept");
  visit("recent", o.recent, detail::window_text);
  visit("normalised", o.normalised, "divide each sum by the number of queries in it");
  visit("group", o.group, detail::group_text);
  visit("sinks", o.sinks, "first tokens that are always kept, part of heavy; 0 as in the paper");
  visit("protect_prompt", o.protect_prompt, detail::prompt_text);
}

void each_option(StreamingLLM::Options& o, auto&& visit) {
  visit("sinks", o.sinks, "first tokens that are always kept");
  visit("protect_prompt", o.protect_prompt, detail::prompt_text);
}

void each_option(TOVA::Options& o, auto&& visit) {
  visit("recent", o.recent, detail::window_text);
  visit("group", o.group, detail::group_text);
  visit("sinks", o.sinks, detail::sinks_text);
  visit("protect_prompt", o.protect_prompt, detail::prompt_text);
}

void each_option(Random::Options& o, auto&& visit) {
  visit("seed", o.seed, "of the random numbers; head h uses seed + h");
  visit("recent", o.recent, detail::window_text);
  visit("sinks", o.sinks, "first tokens that are always kept");
  visit("protect_prompt", o.protect_prompt, detail::prompt_text);
}

void each_option(Full::Options& o, auto&& visit) {
  visit("max_tokens", o.max_tokens, detail::slots_text);
}

// ---- policies

/// A registered policy.
template <class P>
struct PolicyEntry {
  using Policy = P;
  std::string_view name;
  std::string_view summary;
  /// The options that a capacity in slots per head implies.
  typename P::Options (*at_capacity)(std::size_t capacity);
};

namespace detail {

template <class P>
[[nodiscard]] typename P::Options at_capacity(std::size_t capacity) {
  typename P::Options options;
  options.capacity = capacity;
  return options;
}

/// Half of the capacity for heavy hitters, half for recent tokens, as in the paper.
[[nodiscard]] inline H2O::Options h2o_at_capacity(std::size_t capacity) {
  H2O::Options options;
  options.heavy = capacity / 2;
  options.recent = capacity - capacity / 2;
  return options;
}

[[nodiscard]] inline DecayedMax::Options for_prompts(std::size_t capacity) {
  return recommended_for_prompts(capacity);
}

[[nodiscard]] inline Full::Options full_at_capacity(std::size_t /*capacity*/) { return {}; }

}  // namespace detail

/// visit(entry) for each policy.
void each_policy(auto&& visit) {
  using namespace detail;
  visit(PolicyEntry<DecayedMax>{
      "recommended", "the library's recommendation: decayed_max, its options set by the capacity",
      &recommended});
  visit(PolicyEntry<MorphKV>{"morphkv", "MorphKV (arXiv 2503.00979)", &at_capacity<MorphKV>});
  visit(PolicyEntry<DecayedMax>{"decayed_max", "the largest attention weight, which decays",
                                &at_capacity<DecayedMax>});
  visit(PolicyEntry<DecayedMax>{"recommended_for_prompts",
                                "decayed_max that cuts the prompt once and keeps the response",
                                &for_prompts});
  visit(PolicyEntry<SnapKV>{"snapkv", "SnapKV (2404.14469): selects the prompt's tokens once",
                            &at_capacity<SnapKV>});
  visit(PolicyEntry<H2O>{"h2o", "H2O (2306.14048)", &h2o_at_capacity});
  visit(PolicyEntry<StreamingLLM>{"streaming_llm",
                                  "StreamingLLM (2309.17453): first and recent tokens",
                                  &at_capacity<StreamingLLM>});
  visit(PolicyEntry<TOVA>{"tova", "TOVA (2401.06104)", &at_capacity<TOVA>});
  visit(PolicyEntry<Random>{"random", "evicts at random: a control", &at_capacity<Random>});
  visit(PolicyEntry<Full>{"full", "keeps every token", &full_at_capacity});
}

template <class P>
inline constexpr bool has_capacity = !std::same_as<P, Full>;

/// visit(entry) for the policy called `name`, of those that `each` visits.
/// \param option that gave the name
/// \throws std::invalid_argument if there is none, listing all names
void with_entry(const std::string& name, auto&& each, auto&& visit,
                const std::string& option = "policy") {
  std::vector<std::string_view> names;
  bool found = false;
  each([&](const auto& entry) {
    names.push_back(entry.name);
    if (entry.name != name) return;
    found = true;
    visit(entry);
  });
  if (!found) refuse(option, name, "one of " + joined(names, ", "));
}

void with_entry(const std::string& name, auto&& visit) {
  with_entry(
      name, [](auto&& each) { each_policy(each); }, visit);
}

/// The names of a policy's options, `capacity` included.
template <class P>
[[nodiscard]] std::vector<std::string> option_names() {
  std::vector<std::string> names;
  if constexpr (has_capacity<P>) names.emplace_back("capacity");
  typename P::Options options;
  each_option(options, [&](const char* name, auto&, const char*) { names.emplace_back(name); });
  return names;
}

/// The options that were given, over those that the capacity implies.
/// \param others names that the program itself handles
/// \throws std::invalid_argument naming the option if the policy has none of that name (listing
///         those that it has), or its value is not valid
template <class P>
[[nodiscard]] typename P::Options options_of(const PolicyEntry<P>& entry, const OptionTexts& given,
                                             std::span<const std::string> others = {}) {
  std::vector<std::string> names = option_names<P>();
  names.insert(names.end(), others.begin(), others.end());
  for (const auto& [name, text] : given) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    std::vector<std::string> flags(names.size());
    std::transform(names.begin(), names.end(), flags.begin(), flag_name);
    throw std::invalid_argument(flag_name(name) + ": --policy " + std::string(entry.name) +
                                " has no such option; it has " + joined(flags, ", "));
  }
  const auto read = [&](const char* name, auto& field) {
    const auto found = given.find(name);
    if (found != given.end()) parse(name, found->second, field);
  };
  std::size_t capacity = default_capacity;
  read("capacity", capacity);
  typename P::Options options = entry.at_capacity(capacity);
  each_option(options, [&](const char* name, auto& field, const char*) { read(name, field); });
  return options;
}

/// A policy's options by name, as the results of programs list them.
template <class Options>
[[nodiscard]] nlohmann::ordered_json describe(Options options) {
  nlohmann::ordered_json result = nlohmann::ordered_json::object();
  if constexpr (std::same_as<Options, MorphKV::Options>) options = MorphKV::resolved(options);
  if constexpr (requires { options.capacity; }) result["capacity"] = options.capacity;
  each_option(options,
              [&](const char* name, auto& field, const char*) { result[name] = to_json(field); });
  return result;
}

/// The options that describe() lists, as options_of() reads them.
[[nodiscard]] inline OptionTexts option_texts(const nlohmann::ordered_json& options) {
  OptionTexts texts;
  for (const auto& [name, value] : options.items()) texts[name] = text_of(value);
  return texts;
}

/// Sets the slots of a cache that grows with its tokens, unless the user has, to the number that
/// `prompt` and `response` tokens fill.
template <class Options>
void fit_max_tokens(Options& options, const OptionTexts& given, std::size_t prompt,
                    std::size_t response) {
  if constexpr (requires { options.response_slots; }) {
    if (options.response_slots > 0 && !given.contains("response_slots")) {
      options.response_slots = (std::max)(response, std::size_t{1});
    }
  }
  if constexpr (requires { options.max_tokens; }) {
    if (given.contains("max_tokens")) return;
    options.max_tokens = prompt + response;
    if constexpr (requires { options.protect_prompt; }) {
      if (!options.protect_prompt) {
        options.max_tokens = (std::min)(prompt, options.capacity) + response;
      }
    }
  }
}

/// Slots per head that a policy's options ask for.
template <class Options>
[[nodiscard]] std::size_t slots_of(const Options& o) {
  if constexpr (requires { o.max_tokens; }) {
    return o.max_tokens;
  } else if constexpr (requires { o.response_slots; }) {
    return o.capacity + o.response_slots;
  } else if constexpr (requires { o.capacity; }) {
    return o.capacity;
  } else {
    return o.heavy + o.recent;
  }
}

/// Refuses a cache that this machine has no memory for.
/// \throws std::invalid_argument naming the slots
template <Scalar T, class Options>
void require_cache_memory(const CacheShape& shape, const Options& o) {
  std::size_t slots = 0;  // of a KV head in all layers; a layer that slides holds its window
  for (std::size_t layer = 0; layer < shape.layers; ++layer) {
    slots += shape.window(layer) > 0 ? shape.window(layer) : slots_of(o);
  }
  double bytes = static_cast<double>((shape.head_dim + shape.stored_value_dim()) * sizeof(T));
  if constexpr (std::same_as<Options, MorphKV::Options>) {
    const MorphKV::Options m = MorphKV::resolved(o);
    bytes += 2.0 * static_cast<double>(m.panes == 0 ? m.window : m.panes);
  }
  support::require_memory(static_cast<double>(slots * shape.kv_heads) * bytes,
                          "a cache of " + std::to_string(slots_of(o)) + " slots per head");
}

/// Calls use.template operator()<Policy>(options) for the chosen policy, fitted to `prompt` and
/// `response` tokens.
/// \throws std::invalid_argument as options_of()
void with_policy(const PolicyChoice& choice, std::size_t prompt, std::size_t response, auto&& use) {
  with_entry(choice.policy, [&]<class P>(const PolicyEntry<P>& entry) {
    typename P::Options options = options_of(entry, choice.options);
    fit_max_tokens(options, choice.options, prompt, response);
    use.template operator()<P>(options);
  });
}

}  // namespace morphkv::policies

#endif  // MORPHKV_TOOLS_POLICIES_REGISTRY_HPP
