// SPDX-License-Identifier: Apache-2.0
#include "comparison/contenders.hpp"

#include <cstddef>
#include <memory>
#include <vector>

#include "comparison/any_cache.hpp"
#include "comparison/knobs.hpp"
#include "comparison/make_contender.hpp"
#include "morphkv/morphkv.hpp"

namespace morphkv::comparison {

namespace {

/// Distances are in tokens: they follow the text's units, not the capacity.
std::vector<Knobs> decayed_max_candidates() {
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

}  // namespace

double full_bytes(const CacheShape& shape, const Workload& workload) {
  double sum = 0;
  for (const Prompt& prompt : workload.prompts) {
    const std::size_t tokens = prompt.tokens.size() + prompt.response_tokens;
    sum += static_cast<double>(cache_bytes<KVCache<Stored, Full>>(shape, {.max_tokens = tokens}));
  }
  return sum / static_cast<double>(workload.prompts.size());
}

Variant full_variant() {
  Variant variant{"full", "Full cache", "keeps everything", {}, 1, true, 0, {}};
  variant.make_cache = [](const CacheShape& shape, const Prompt& prompt) {
    const std::size_t tokens = prompt.tokens.size() + prompt.response_tokens;
    return make_any_cache<KVCache<Stored, Full>>(shape, {.max_tokens = tokens});
  };
  return variant;
}

std::vector<Contender> library_contenders() {
  const std::vector<double> windows = {0.5, 0.25, 0.375, 0.625, 0.75};
  const std::vector<Knobs> decayed = decayed_max_candidates();
  std::vector<Knobs> heavy = with_windows({}, windows);
  for (const Knobs& knobs : with_windows({.normalised = true}, windows)) heavy.push_back(knobs);
  return {
      contender<DecayedMax>("recommended", "Recommended",
                            "morphkv::recommended(capacity): one rule for every task", {Knobs{}},
                            untuned<DecayedMax>("recommended")),
      contender<MorphKV>("morphkv", "MorphKV max",
                         "recent tokens, and the older ones with the largest single weight in the "
                         "attention of the recent tokens",
                         with_windows({}, windows), tuned<MorphKV>("morphkv")),
      contender<MorphKV>(
          "morphkv_sum", "MorphKV sum",
          "recent tokens, and the older ones with the largest sum of their attention",
          with_windows({.fusion = Fusion::sum}, windows), tuned<MorphKV>("morphkv")),
      contender<DecayedMax>("decayed_max", "Decayed max",
                            "recent tokens, and the older ones with the largest single weight from "
                            "a distant query, which decays",
                            decayed, tuned<DecayedMax>("decayed_max")),
      contender<DecayedMax, SharedDecayedMax>(
          "decayed_max_shared", "Decayed max, shared",
          "the same, but all heads and layers share one budget: a head that grows takes the slot "
          "with the lowest score of all",
          decayed, tuned<DecayedMax>("decayed_max")),
      contender<H2O>("h2o", "H2O",
                     "recent tokens, and those with the largest sum of attention so far", heavy,
                     tuned<H2O>("h2o")),
      contender<TOVA>("tova", "TOVA", "evicts the token with the least attention of the newest",
                      with_windows({}, {0, 0.25, 0.5}), tuned<TOVA>("tova")),
      contender<SnapKV>("snapkv", "SnapKV", "selects from the prompt once and keeps the response",
                        {Knobs{}, Knobs{.kernel = 7}}, tuned<SnapKV>("snapkv")),
      contender<StreamingLLM>("streaming_llm", "StreamingLLM",
                              "the first four tokens and the most recent ones", {Knobs{}},
                              tuned<StreamingLLM>("streaming_llm")),
      contender<Random>("random", "Random",
                        "recent tokens, and older ones chosen at random: a control",
                        with_windows({.protect_prompt = true}, windows), tuned<Random>("random")),
  };
}

}  // namespace morphkv::comparison
