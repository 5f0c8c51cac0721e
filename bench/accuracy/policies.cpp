// SPDX-License-Identifier: Apache-2.0
#include "accuracy/policies.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "accuracy/snapkv_recent.hpp"
#include "comparison/make_contender.hpp"

namespace morphkv::accuracy {

namespace {

/// As in the paper: one attention row per token of the window, no sinks.
comparison::Settings<MorphKV::Options> plain_settings(std::size_t capacity, const comparison::Task&,
                                                      const comparison::Knobs& knobs) {
  const MorphKV::Options options{.capacity = capacity,
                                 .window = comparison::window_for(capacity, knobs),
                                 .fusion = knobs.fusion,
                                 .sinks = 0};
  return {options, comparison::options_text(policies::describe(options))};
}

comparison::Settings<SnapKVRecent::Options> snapkv_recent_settings(std::size_t capacity,
                                                                   const comparison::Task&,
                                                                   const comparison::Knobs& knobs) {
  const std::size_t recent = comparison::recent_for(capacity, knobs);
  return {{.capacity = capacity, .recent = recent, .kernel = knobs.kernel},
          std::to_string(recent) + " recent, the rest of the prompt"};
}

comparison::Settings<StreamingLLM::Options> prompt_recent_settings(std::size_t capacity,
                                                                   const comparison::Task& task,
                                                                   const comparison::Knobs&) {
  return {{.capacity = capacity, .protect_prompt = true},
          "the prompt, and the rest recent",
          task.prompt_tokens + comparison::min_capacity < capacity};
}

std::vector<comparison::Contender> make_contenders() {
  using comparison::contender;
  using comparison::Knobs;
  const std::vector<double> windows = {0.5, 0.25, 0.375, 0.625, 0.75};
  std::vector<Knobs> plain;
  for (const Fusion fusion : {Fusion::max, Fusion::sum}) {
    for (const Knobs& knobs :
         comparison::with_windows({.fusion = fusion}, {0.25, 0.125, 0.375, 0.5})) {
      plain.push_back(knobs);
    }
  }
  std::vector<comparison::Contender> contenders = comparison::library_contenders();
  contenders.push_back(contender<DecayedMax, comparison::SharedDecayedMax>(
      recommended_shared_key, "Recommended, shared",
      "the same, but all heads and layers share one budget (SharedStorage)", {Knobs{}},
      comparison::untuned<DecayedMax>(recommended_key)));
  const auto add_format = [&]<class Block>(std::string key, std::string name,
                                           std::string description) {
    contenders.push_back(contender<DecayedMax, KVCache<Block, DecayedMax>>(
        std::move(key), std::move(name), std::move(description), {Knobs{}},
        comparison::untuned<DecayedMax>(recommended_key)));
  };
  add_format.operator()<Q8_0>("recommended_q8_0", "Recommended, q8_0",
                              "the same with keys and values in 8 bits, and more tokens");
  add_format.operator()<Q4_0>("recommended_q4_0", "Recommended, q4_0",
                              "the same with keys and values in 4 bits, and more tokens still");
  contenders.push_back(contender<MorphKV>(
      plain_key, "MorphKV as in the paper",
      "MorphKV with the whole window of attention rows, and no sinks", plain, plain_settings));
  contenders.push_back(contender<SnapKVRecent>(snapkv_recent_key, "SnapKV + recent",
                                               "SnapKV's selection from the prompt, and the recent "
                                               "tokens of the response: a variant of ours, "
                                               "since SnapKV itself keeps the whole response",
                                               comparison::with_windows({}, windows),
                                               snapkv_recent_settings));
  contenders.push_back(contender<StreamingLLM>(
      "prompt_recent", "Prompt + recent", "the whole prompt and the most recent tokens: a control",
      {Knobs{}}, prompt_recent_settings));
  return contenders;
}

}  // namespace

const std::vector<comparison::Contender>& all_contenders() {
  static const std::vector<comparison::Contender> contenders = make_contenders();
  return contenders;
}

std::vector<std::string> usual_policies() {
  std::vector<std::string> keys;
  for (const comparison::Contender& contender : all_contenders()) {
    if (!contender.key.starts_with("decayed_max")) keys.push_back(contender.key);
  }
  return keys;
}

std::vector<std::string> target_policies() {
  return {morphkv_key, plain_key, recommended_key, recommended_shared_key};
}

std::vector<std::string> length_policies() {
  return {recommended_shared_key, recommended_key, morphkv_key,    plain_key,
          snapkv_recent_key,      h2o_key,         "streaming_llm"};
}

}  // namespace morphkv::accuracy
