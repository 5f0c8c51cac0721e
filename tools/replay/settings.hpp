// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the user asked for: a policy, and values for its options. One table a policy, each_option,
/// is all that the command line, its help and the result know about options.
#ifndef MORPHKV_EXAMPLES_REPLAY_SETTINGS_HPP
#define MORPHKV_EXAMPLES_REPLAY_SETTINGS_HPP

#include <algorithm>
#include <array>
#include <charconv>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "morphkv/core/types.hpp"
#include "morphkv/policy/decayed_max.hpp"
#include "morphkv/policy/full.hpp"
#include "morphkv/policy/h2o.hpp"
#include "morphkv/policy/morphkv.hpp"
#include "morphkv/policy/random.hpp"
#include "morphkv/policy/snapkv.hpp"
#include "morphkv/policy/streaming_llm.hpp"
#include "morphkv/policy/tova.hpp"
#include "replay/morphkv_compat.hpp"

namespace morphkv::replay {

/// The options that were given, by name (an option's field in the library), as text.
using Flags = std::map<std::string, std::string>;

struct Settings {
  std::string policy = "morphkv";
  std::string scalar = "float";
  std::size_t chunk = 0;  ///< tokens of the prompt at a time; 0 for all at once
  bool compare = true;    ///< with the full cache
  Flags flags = {};
};

/// "--protect-prompt" for "protect_prompt".
[[nodiscard]] inline std::string flag_name(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return "--" + name;
}

/// \throws std::invalid_argument: "--window = x: must be ..."
[[noreturn]] inline void refuse(const std::string& name, const std::string& given,
                                const std::string& allowed) {
  throw std::invalid_argument(flag_name(name) + " = " + given + ": must be " + allowed);
}

// ---- values as text

/// The words for the values of an enumeration, in the order of its values.
template <class Enum>
struct Words;
template <>
struct Words<Fusion> {
  static constexpr std::array<std::string_view, 2> all = {"sum", "max"};
};
template <>
struct Words<GroupFusion> {
  static constexpr std::array<std::string_view, 3> all = {"max", "mean", "sum"};
};
template <>
struct Words<Pooling> {
  static constexpr std::array<std::string_view, 2> all = {"avg", "max"};
};

/// "a|b|c".
[[nodiscard]] inline std::string joined(const auto& words, std::string_view between) {
  std::string text;
  for (const auto& word : words) {
    if (!text.empty()) text += between;
    text += word;
  }
  return text;
}

/// A number of which nothing is left over.
template <class Number>
[[nodiscard]] bool parse_number(const std::string& text, Number& number) {
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, number);
  return result.ec == std::errc{} && result.ptr == end;
}

inline void parse(const std::string& name, const std::string& text, std::size_t& value) {
  // A position is a 32-bit number, so no count is above its greatest; a seed counts nothing.
  constexpr std::size_t most = 2147483646;
  const bool number = parse_number(text, value);
  if (name == "seed") {
    if (!number) refuse(name, text, "a whole number of 64 bits");
  } else if (!number || value > most) {
    refuse(name, text, "a whole number from 0 to " + std::to_string(most));
  }
}

inline void parse(const std::string& name, const std::string& text, double& value) {
  if (!parse_number(text, value)) refuse(name, text, "a number");
}

inline void parse(const std::string& name, const std::string& text, bool& value) {
  if (text != "true" && text != "false") refuse(name, text, "true or false");
  value = text == "true";
}

template <class Enum>
requires std::is_enum_v<Enum>
void parse(const std::string& name, const std::string& text, Enum& value) {
  constexpr auto& words = Words<Enum>::all;
  const auto found = std::find(words.begin(), words.end(), text);
  if (found == words.end()) refuse(name, text, joined(words, ", "));
  value = static_cast<Enum>(found - words.begin());
}

/// An option's value for the result.
template <class Value>
[[nodiscard]] nlohmann::json to_json(const Value& value) {
  if constexpr (std::is_enum_v<Value>) {
    return Words<Value>::all.at(static_cast<std::size_t>(value));
  } else {
    return value;
  }
}

// ---- the options of each policy
//
// visit(name, field, meaning) for each of them.

namespace detail {

inline constexpr const char* group_text = "how the query heads of a KV head become one row";
inline constexpr const char* sinks_text = "first tokens that always stay; 0 is the bare paper";
inline constexpr const char* prompt_text = "all tokens of the prompt stay";
inline constexpr const char* slots_text = "slots of a head";

}  // namespace detail

void each_option(MorphKV::Options& o, auto&& visit) {
  visit("capacity", o.capacity, "M: tokens a head holds, the window included");
  visit("window", o.window, "R: recent tokens; they stay, and they vote");
  visit("fusion", o.fusion, "how the votes of the window become one score");
  visit("group", o.group, detail::group_text);
  visit("sinks", o.sinks, detail::sinks_text);
  visit("protect_prompt", o.protect_prompt, detail::prompt_text);
  visit("panes", o.panes, "partial aggregates that the window is kept as; 0 is exact");
}

void each_option(DecayedMax::Options& o, auto&& visit) {
  visit("capacity", o.capacity, "tokens a head holds, the window included");
  visit("window", o.window, "recent tokens that stay");
  visit("half_life", o.half_life, "tokens after which a vote counts half; inf: it never fades");
  visit("distance", o.distance, "from a token to the first that votes for it; below window");
  visit("group", o.group, detail::group_text);
  visit("sinks", o.sinks, detail::sinks_text);
  visit("protect_prompt", o.protect_prompt, detail::prompt_text);
}

void each_option(MorphKVCompat::Options& o, auto&& visit) {
  visit("capacity", o.capacity, "M: a head drops to M + 1 tokens");
  visit("window", o.window, "R: recent tokens; they stay, and they vote");
  visit("fusion", o.fusion, "how the votes of the window become one score");
  visit("group", o.group, detail::group_text);
  visit("evict_after", o.evict_after, "drop at (1 + M) times this many tokens; at least 1");
  visit("max_tokens", o.max_tokens, detail::slots_text);
}

void each_option(SnapKV::Options& o, auto&& visit) {
  visit("capacity", o.capacity, "tokens of the prompt that stay, the window included");
  visit("window", o.window, "W: last queries of the prompt, which vote");
  visit("kernel", o.kernel, "width of the pooling; odd");
  visit("pooling", o.pooling, "of the scores along the prompt");
  visit("group", o.group, detail::group_text);
  visit("sinks", o.sinks, detail::sinks_text);
  visit("protect_prompt", o.protect_prompt, detail::prompt_text);
  visit("max_tokens", o.max_tokens, detail::slots_text);
}

void each_option(H2O::Options& o, auto&& visit) {
  visit("heavy", o.heavy, "tokens with the most attention that stay");
  visit("recent", o.recent, "newest tokens that stay");
  visit("normalised", o.normalised, "divide a score by the number of its queries");
  visit("group", o.group, detail::group_text);
  visit("sinks", o.sinks, "first tokens that always stay, out of heavy; 0 is the bare paper");
  visit("protect_prompt", o.protect_prompt, detail::prompt_text);
}

void each_option(StreamingLLM::Options& o, auto&& visit) {
  visit("capacity", o.capacity, "tokens a head holds, the sinks included");
  visit("sinks", o.sinks, "first tokens that always stay");
  visit("protect_prompt", o.protect_prompt, detail::prompt_text);
}

void each_option(TOVA::Options& o, auto&& visit) {
  visit("capacity", o.capacity, "tokens a head holds");
  visit("window", o.window, "recent tokens that stay; 1 is the arriving token itself");
  visit("group", o.group, detail::group_text);
  visit("sinks", o.sinks, detail::sinks_text);
  visit("protect_prompt", o.protect_prompt, detail::prompt_text);
}

void each_option(Random::Options& o, auto&& visit) {
  visit("capacity", o.capacity, "tokens a head holds");
  visit("seed", o.seed, "of the random numbers; head h draws from seed + h");
  visit("window", o.window, "recent tokens that stay; 1 is the arriving token itself");
  visit("sinks", o.sinks, "first tokens that always stay");
  visit("protect_prompt", o.protect_prompt, detail::prompt_text);
}

void each_option(Full::Options& o, auto&& visit) {
  visit("max_tokens", o.max_tokens, detail::slots_text);
}

// ---- the policies

/// A policy by the name of its header.
template <class Policy>
struct PolicyTag {
  using Type = Policy;
  std::string_view policy;
};

/// visit(tag) for each policy.
void each_policy(auto&& visit) {
  visit(PolicyTag<MorphKV>{"morphkv"});
  visit(PolicyTag<DecayedMax>{"decayed_max"});
  visit(PolicyTag<MorphKVCompat>{"morphkv_compat"});
  visit(PolicyTag<SnapKV>{"snapkv"});
  visit(PolicyTag<H2O>{"h2o"});
  visit(PolicyTag<StreamingLLM>{"streaming_llm"});
  visit(PolicyTag<TOVA>{"tova"});
  visit(PolicyTag<Random>{"random"});
  visit(PolicyTag<Full>{"full"});
}

/// Whether heads or layers may have different capacities: where there is a score to divide by.
template <class Policy>
inline constexpr bool has_budget =
    std::same_as<Policy, MorphKV> || std::same_as<Policy, DecayedMax> ||
    std::same_as<Policy, SnapKV> || std::same_as<Policy, H2O> || std::same_as<Policy, TOVA>;

/// visit(tag) for the one that was chosen.
/// \throws std::invalid_argument if there is no such policy.
void with_policy(const Settings& settings, auto&& visit) {
  std::vector<std::string> names;
  bool found = false;
  each_policy([&](const auto& tag) {
    names.emplace_back(tag.policy);
    if (tag.policy != settings.policy) return;
    found = true;
    visit(tag);
  });
  if (!found) refuse("policy", settings.policy, "one of " + joined(names, ", "));
}

/// The names of a policy's options.
template <class Policy>
[[nodiscard]] std::vector<std::string> option_names() {
  std::vector<std::string> names;
  typename Policy::Options options;
  each_option(options, [&](const char* name, auto&, const char*) { names.emplace_back(name); });
  if (has_budget<Policy>) {
    for (const char* name : {"budget", "beta", "layer", "layers", "floor"}) {
      names.emplace_back(name);
    }
  }
  return names;
}

/// The library's defaults, and what was given.
/// \throws std::invalid_argument if the policy has no such option, or a value means nothing.
template <class Policy>
[[nodiscard]] typename Policy::Options options_of(const PolicyTag<Policy>& tag,
                                                  const Flags& flags) {
  const std::vector<std::string> names = option_names<Policy>();
  for (const auto& [name, text] : flags) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    std::vector<std::string> allowed;
    std::transform(names.begin(), names.end(), std::back_inserter(allowed), flag_name);
    throw std::invalid_argument(flag_name(name) + ": --policy " + std::string(tag.policy) +
                                " has no such option; it has " + joined(allowed, ", "));
  }
  typename Policy::Options options;
  each_option(options, [&](const char* name, auto& field, const char*) {
    const auto given = flags.find(name);
    if (given != flags.end()) parse(name, given->second, field);
  });
  return options;
}

/// A policy's options by name.
template <class Options>
[[nodiscard]] nlohmann::ordered_json describe(Options options) {
  nlohmann::ordered_json result = nlohmann::ordered_json::object();
  each_option(options,
              [&](const char* name, auto& field, const char*) { result[name] = to_json(field); });
  return result;
}

}  // namespace morphkv::replay

#endif  // MORPHKV_EXAMPLES_REPLAY_SETTINGS_HPP
