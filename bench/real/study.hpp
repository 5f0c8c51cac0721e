// SPDX-License-Identifier: Apache-2.0
/// \file
/// The measures of a plan, one after the other.
#ifndef MORPHKV_BENCH_REAL_STUDY_HPP
#define MORPHKV_BENCH_REAL_STUDY_HPP

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "llama/model.hpp"
#include "llama/tokenizer.hpp"
#include "real/contenders.hpp"
#include "real/formats.hpp"
#include "real/lookup_study.hpp"
#include "real/plan.hpp"
#include "real/presses.hpp"
#include "real/response_study.hpp"
#include "real/runner.hpp"
#include "real/text_study.hpp"

namespace morphkv::real {

/// What was measured; the lists of a measure that the plan leaves out are empty. The first of all
/// caches is the full cache.
struct Results {
  std::vector<Contender> contenders;
  std::vector<TextResult> texts;
  std::vector<TextResult> long_texts;
  std::vector<LookupResult> lookups;
  std::vector<Contender> writers;  ///< contenders of the middle capacity
  std::vector<ResponseResult> responses;
  std::vector<Contender> presses;
  std::vector<TextResult> cut_texts;  ///< under the presses
  std::vector<Contender> formats;
  std::vector<TextResult> format_texts;  ///< under these
  Trails trails;                         ///< of the first text, at the middle capacity
};

class Study {
 public:
  /// \param long_text of at least plan.long_prompt + plan.long_response tokens, if it is measured
  /// \pre the model and the tokenizer outlive the study; each text has at least
  ///      plan.prompt + plan.response tokens
  Study(const llama::Model& model, const llama::Tokenizer& tokenizer,
        const std::vector<Text>& texts, const Text& long_text, Plan plan)
      : model_(model), plan_(std::move(plan)) {
    const CacheShape shape = model.shape();
    results_.contenders.push_back(full_cache(shape));
    for (const std::size_t capacity : plan_.capacities) {
      std::ranges::move(contenders(shape, capacity), std::back_inserter(results_.contenders));
    }
    for (const Contender& contender : results_.contenders) {
      if (is_watched(contender) || contender.slots == 0) results_.writers.push_back(contender);
    }

    if (plan_.has(Measure::language)) {
      language_ = {"texts", texts, plan_.prompt, plan_.response};
    }
    if (plan_.has(Measure::prompt_cut)) {
      results_.presses = presses(shape, plan_.prompt / plan_.cut);
      results_.presses.insert(results_.presses.begin(), full_cache(shape));
      prompt_cut_ = {"cut prompts", texts, plan_.prompt, plan_.response};
    }
    if (plan_.has(Measure::formats) && fills_blocks(shape)) {
      results_.formats = format_contenders(shape, plan_.format_slots);
      formats_ = {"texts in 16, 8 and 4 bits", texts, plan_.prompt, plan_.response};
    }
    if (plan_.has(Measure::long_text)) {
      long_text_ = {"long text", {long_text}, plan_.long_prompt, plan_.long_response};
    }
    if (plan_.has(Measure::retrieval)) retrieval_.emplace(tokenizer, texts, plan_);
    if (plan_.has(Measure::responses)) responses_.emplace(model, tokenizer, plan_);
  }

  Study(const Study&) = delete;
  Study& operator=(const Study&) = delete;

  [[nodiscard]] std::size_t total_tokens() const {
    const std::size_t caches = results_.contenders.size();
    std::size_t sum = prompt_cut_ ? prompt_cut_->tokens(results_.presses.size()) : 0;
    if (formats_) sum += formats_->tokens(results_.formats.size());
    if (language_) sum += language_->tokens(caches);
    if (long_text_) sum += long_text_->tokens(caches);
    if (retrieval_) sum += retrieval_->tokens(caches);
    if (responses_) sum += responses_->tokens(results_.writers.size());
    return sum;
  }

  /// \param advanced called as tokens are read; total_tokens() in all
  [[nodiscard]] Results run(Runner::Advanced advanced) && {
    Runner runner(model_, plan_.threads, plan_.side_by_side, std::move(advanced));
    const std::vector<Contender>& all = results_.contenders;
    if (language_) results_.texts = run_language(runner);
    if (prompt_cut_) results_.cut_texts = prompt_cut_->run(runner, results_.presses);
    if (formats_) results_.format_texts = formats_->run(runner, results_.formats);
    if (long_text_) results_.long_texts = long_text_->run(runner, all);
    if (retrieval_) results_.lookups = retrieval_->run(runner, all);
    if (responses_) results_.responses = responses_->run(runner, results_.writers);
    return std::move(results_);
  }

 private:
  [[nodiscard]] bool is_watched(const Contender& contender) const {
    return contender.slots == plan_.middle_capacity();
  }

  [[nodiscard]] std::vector<TextResult> run_language(Runner& runner) {
    for (const Contender& contender : results_.contenders) {
      results_.trails.caches.push_back(
          is_watched(contender)
              ? comparison::Lifetimes(model_.shape(), plan_.prompt + plan_.response)
              : comparison::Lifetimes());
    }
    return language_->run(runner, results_.contenders, &results_.trails);
  }

  const llama::Model& model_;
  Plan plan_;
  Results results_;
  std::optional<TextStudy> language_;
  std::optional<TextStudy> prompt_cut_;
  std::optional<TextStudy> formats_;
  std::optional<TextStudy> long_text_;
  std::optional<LookupStudy> retrieval_;
  std::optional<ResponseStudy> responses_;
};

}  // namespace morphkv::real

#endif  // MORPHKV_BENCH_REAL_STUDY_HPP
