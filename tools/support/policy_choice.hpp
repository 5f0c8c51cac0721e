// SPDX-License-Identifier: Apache-2.0
/// \file
/// A policy and its options from the command line.
#ifndef MORPHKV_EXAMPLES_SUPPORT_POLICY_CHOICE_HPP
#define MORPHKV_EXAMPLES_SUPPORT_POLICY_CHOICE_HPP

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "morphkv/morphkv.hpp"

namespace morphkv::support {

struct PolicyChoice {
  std::string policy = "morphkv";
  std::size_t capacity = 256;
  std::size_t window = 32;
  Fusion fusion = Fusion::sum;
  std::optional<GroupFusion> group;  ///< none: the policy's own
  std::size_t panes = 0;
  double half_life = DecayedMax::Options{}.half_life;
  std::size_t distance = 0;
  std::size_t heavy = 0;  ///< 0: half of the capacity
  bool normalised = false;
  std::size_t kernel = 5;
  std::size_t sinks = default_sinks;
  bool protect_prompt = false;
  std::uint64_t seed = 0;
};

inline void add_policy_options(CLI::App& app, PolicyChoice& choice) {
  const std::map<std::string, Fusion> fusions = {{"sum", Fusion::sum}, {"max", Fusion::max}};
  const std::map<std::string, GroupFusion> groups = {{"max", GroupFusion::max},
                                                     {"mean", GroupFusion::mean}};
  app.add_option("--policy", choice.policy, "what the cache keeps")
      ->check(CLI::IsMember(
          {"full", "morphkv", "decayed_max", "snapkv", "h2o", "streaming_llm", "tova", "random"}))
      ->capture_default_str();
  app.add_option("--capacity", choice.capacity, "tokens a head keeps")->capture_default_str();
  app.add_option("--window", choice.window, "recent tokens that are kept, and that vote")
      ->capture_default_str();
  app.add_option("--fusion", choice.fusion, "morphkv: sum or max over the window")
      ->transform(CLI::CheckedTransformer(fusions));
  app.add_option("--group", choice.group,
                 "how the rows of heads that decide together become one: max or mean")
      ->transform(CLI::CheckedTransformer(groups))
      ->default_str("the policy's own");
  app.add_option("--panes", choice.panes, "morphkv: parts of the window, 0 for exact")
      ->capture_default_str();
  app.add_option("--half-life", choice.half_life,
                 "decayed_max: tokens after which a vote counts half")
      ->capture_default_str();
  app.add_option("--distance", choice.distance,
                 "decayed_max: from a token to the first that votes for it")
      ->capture_default_str();
  app.add_option("--heavy", choice.heavy, "h2o: heavy hitters; 0 is half of the capacity")
      ->capture_default_str();
  app.add_flag("--normalised", choice.normalised, "h2o: divide by the number of queries");
  app.add_option("--kernel", choice.kernel, "snapkv: width of the pooling")->capture_default_str();
  app.add_option("--sinks", choice.sinks, "first tokens that are always kept")
      ->capture_default_str();
  app.add_flag("--protect-prompt", choice.protect_prompt, "keep all of the prompt");
  app.add_option("--seed", choice.seed, "random: of the draws")->capture_default_str();
}

/// Calls `use.template operator()<Policy>(options)` with the policy that was chosen.
/// \param prompt   its tokens
/// \param response its tokens, at most
template <class Use>
void with_policy(const PolicyChoice& c, std::size_t prompt, std::size_t response, const Use& use) {
  const std::size_t tokens = prompt + response;
  const auto call = [&]<class Policy>(typename Policy::Options options) {
    if (c.group) options.group = *c.group;
    use.template operator()<Policy>(options);
  };
  if (c.policy == "full") {
    call.template operator()<Full>(Full::Options{.max_tokens = tokens});
  } else if (c.policy == "morphkv") {
    call.template operator()<MorphKV>(MorphKV::Options{.capacity = c.capacity,
                                                       .window = c.window,
                                                       .fusion = c.fusion,
                                                       .sinks = c.sinks,
                                                       .protect_prompt = c.protect_prompt,
                                                       .panes = c.panes});
  } else if (c.policy == "decayed_max") {
    call.template operator()<DecayedMax>(DecayedMax::Options{.capacity = c.capacity,
                                                             .window = c.window,
                                                             .half_life = c.half_life,
                                                             .distance = c.distance,
                                                             .sinks = c.sinks,
                                                             .protect_prompt = c.protect_prompt});
  } else if (c.policy == "snapkv") {
    call.template operator()<SnapKV>(SnapKV::Options{.capacity = c.capacity,
                                                     .window = c.window,
                                                     .kernel = c.kernel,
                                                     .sinks = c.sinks,
                                                     .protect_prompt = c.protect_prompt,
                                                     .max_tokens = tokens});
  } else if (c.policy == "h2o") {
    const std::size_t heavy = c.heavy > 0 ? c.heavy : c.capacity / 2;
    call.template operator()<H2O>(H2O::Options{.heavy = heavy,
                                               .recent = c.capacity - (std::min)(heavy, c.capacity),
                                               .normalised = c.normalised,
                                               .sinks = c.sinks,
                                               .protect_prompt = c.protect_prompt});
  } else if (c.policy == "streaming_llm") {
    call.template operator()<StreamingLLM>(StreamingLLM::Options{
        .capacity = c.capacity, .sinks = c.sinks, .protect_prompt = c.protect_prompt});
  } else if (c.policy == "tova") {
    call.template operator()<TOVA>(TOVA::Options{
        .capacity = c.capacity, .sinks = c.sinks, .protect_prompt = c.protect_prompt});
  } else {
    call.template operator()<Random>(Random::Options{.capacity = c.capacity,
                                                     .seed = c.seed,
                                                     .window = c.window,
                                                     .sinks = c.sinks,
                                                     .protect_prompt = c.protect_prompt});
  }
}

}  // namespace morphkv::support

#endif  // MORPHKV_EXAMPLES_SUPPORT_POLICY_CHOICE_HPP
