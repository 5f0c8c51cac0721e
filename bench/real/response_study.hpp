// SPDX-License-Identifier: Apache-2.0
/// \file
/// Long responses that are sampled under many caches, and what they are like.
#ifndef MORPHKV_BENCH_REAL_RESPONSE_STUDY_HPP
#define MORPHKV_BENCH_REAL_RESPONSE_STUDY_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "comparison/any_cache.hpp"
#include "llama/model.hpp"
#include "llama/sampler.hpp"
#include "llama/session.hpp"
#include "llama/tokenizer.hpp"
#include "morphkv/policy/full.hpp"
#include "real/contenders.hpp"
#include "real/language.hpp"
#include "real/plan.hpp"
#include "real/runner.hpp"
#include "real/written_text.hpp"
#include "tasks/distinct_ngrams.hpp"

namespace morphkv::real {

/// What one cache wrote.
struct Written {
  std::string text;
  double full_nll = 0;    ///< nats per token, read again under the full cache
  double distinct = 0;    ///< share of distinct 4-grams of tokens
  std::size_t names = 0;  ///< of the first quarter that occur in the last one
};

/// The responses of all caches to one prompt.
struct ResponseResult {
  std::string prompt;
  std::vector<Written> caches;
};

inline constexpr const char* story_prompts[] = {
    "Write a long story in many chapters about Captain Mara Ellison, her brother Tobias and the "
    "lighthouse of Grey Harbour.",
    "Write a long report about the town of Westbrook: its river, its mayor Helen Novak, the school "
    "of Mr. Barlow and the Kestrel bridge.",
    "Write a long dialogue between Doctor Irina Volkov and the student Samuel Reed about the "
    "Aurora telescope and the comet Lindgren.",
    "Write the long diary of Oskar Lindholm, who crosses Greenland with his dogs Freya and Bruno "
    "to reach Station Nord."};
inline constexpr llama::SamplingOptions story_sampling{.temperature = 1, .min_p = 0.05};

/// The mean NLL, in nats per token, of tokens[begin, size) under the full cache.
/// \param advanced called with the number of tokens that were read
template <class Advanced>
[[nodiscard]] double full_nll(const llama::Model& model, std::span<const int> tokens,
                              std::size_t begin, std::size_t threads, const Advanced& advanced) {
  constexpr std::size_t block = 256;  // of which all logits are in memory
  llama::Session<Full, comparison::Stored> session(model, {.max_tokens = tokens.size()}, threads);
  double sum = 0;
  for (std::size_t at = 0; at + 1 < tokens.size(); at += block) {
    const std::size_t count = (std::min)(block, tokens.size() - 1 - at);
    const llama::Matrix& logits = session.prefill_with_all_logits(tokens.subspan(at, count));
    for (std::size_t i = 0; i < count; ++i) {
      if (at + i + 1 < begin) continue;
      const auto row = logits.row(static_cast<Eigen::Index>(i)).array();
      const float largest = row.maxCoeff();
      sum += static_cast<double>(largest + std::log((row - largest).exp().sum()) -
                                 row[tokens[at + i + 1]]);
    }
    advanced(count);
  }
  return sum / static_cast<double>(tokens.size() - begin);
}

class ResponseStudy {
 public:
  ResponseStudy(const llama::Model& model, const llama::Tokenizer& tokenizer, const Plan& plan)
      : model_(model), tokenizer_(tokenizer), plan_(plan) {
    for (std::size_t s = 0; s < plan.stories; ++s) {
      prompts_.push_back(tokenizer.encode_rendered("<|im_start|>user\n" +
                                                   std::string(story_prompts[s]) +
                                                   "<|im_end|>\n<|im_start|>assistant\n"));
    }
  }

  /// Those that are written, and those that are read again.
  [[nodiscard]] std::size_t tokens(std::size_t caches) const {
    std::size_t sum = 0;
    for (const std::vector<int>& prompt : prompts_) {
      const std::size_t all = prompt.size() + plan_.story_tokens;
      sum += tokens_read(all, prompt.size(), caches) + caches * (all - 1);
    }
    return sum;
  }

  [[nodiscard]] std::vector<ResponseResult> run(Runner& runner,
                                                const std::vector<Contender>& contenders) const {
    std::vector<Story> stories;
    for (const std::vector<int>& prompt : prompts_) {
      Story story;
      for (std::size_t c = 0; c < contenders.size(); ++c) {
        llama::SamplingOptions options = story_sampling;
        options.seed = 1 + stories.size();  // the caches of a story draw the same numbers
        story.samplers.emplace_back(options);
      }
      story.tokens.assign(contenders.size(), prompt);
      stories.push_back(std::move(story));
    }
    runner.read(stories.size(), "responses", [&](std::size_t s) {
      std::vector<int> tokens = prompts_[s];
      tokens.resize(tokens.size() + plan_.story_tokens);
      Reading reading = make_reading(contenders, std::move(tokens), prompts_[s].size());
      Story& story = stories[s];
      reading.judge = [this, &story](std::size_t cache, std::size_t,
                                     std::span<const float> logits) {
        story.tokens[cache].push_back(draw(story.samplers[cache], logits));
      };
      reading.next = [&story](std::size_t cache, std::size_t index) {
        return story.tokens[cache][index];
      };
      return reading;
    });
    std::vector<ResponseResult> results;
    for (std::size_t s = 0; s < stories.size(); ++s) {
      ResponseResult result{story_prompts[s], {}};
      for (const std::vector<int>& tokens : stories[s].tokens) {
        result.caches.push_back(judge(tokens, prompts_[s].size(), runner));
      }
      results.push_back(std::move(result));
    }
    return results;
  }

 private:
  struct Story {
    std::vector<llama::Sampler> samplers;  ///< one per cache
    std::vector<std::vector<int>> tokens;  ///< prompt and response, one list per cache
  };

  /// Never a token that ends a response.
  [[nodiscard]] int draw(llama::Sampler& sampler, std::span<const float> logits) const {
    std::vector<float> allowed(logits.begin(), logits.end());
    for (const int token : model_.config.stop_tokens) {
      allowed[static_cast<std::size_t>(token)] = -std::numeric_limits<float>::infinity();
    }
    return sampler(allowed);
  }

  [[nodiscard]] Written judge(const std::vector<int>& tokens, std::size_t prompt,
                              const Runner& runner) const {
    const std::vector<int> response(tokens.begin() + static_cast<std::ptrdiff_t>(prompt),
                                    tokens.end());
    const std::string text = tokenizer_.decode(response);
    return {text,
            full_nll(model_, tokens, prompt, plan_.threads,
                     [&](std::size_t count) { runner.advance(count, "responses, read again"); }),
            tasks::distinct_ngrams(response, 4), names_reused(text)};
  }

  const llama::Model& model_;
  const llama::Tokenizer& tokenizer_;
  const Plan& plan_;
  std::vector<std::vector<int>> prompts_;
};

}  // namespace morphkv::real

#endif  // MORPHKV_BENCH_REAL_RESPONSE_STUDY_HPP
