// SPDX-License-Identifier: Apache-2.0
/// \file
/// Responses of a model to the prompts, under each policy.
#ifndef MORPHKV_BENCH_PAPERS_RUN_HPP
#define MORPHKV_BENCH_PAPERS_RUN_HPP

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "comparison/parallel.hpp"
#include "comparison/progress.hpp"
#include "comparison/write_responses.hpp"
#include "llama/sampler.hpp"
#include "llama/tokenizer.hpp"
#include "papers/caches.hpp"
#include "papers/prompts.hpp"
#include "papers/task.hpp"

namespace morphkv::papers {

/// The response to one prompt under one policy.
struct Answer {
  std::string text;
  std::size_t tokens = 0;  ///< that the model wrote, the last one of the model's stops excluded
  std::size_t bytes = 0;   ///< of the whole cache, at the end
  std::optional<double> score;  ///< in [0, 1]
};

struct Outcome {
  Task task;
  EncodedPrompt prompt;
  std::vector<Answer> answers;  ///< one per policy
};

/// Tokens that are read and written, at most.
[[nodiscard]] inline std::size_t max_work(const Outcome& outcome, std::size_t policies) {
  return outcome.prompt.tokens.size() + policies * outcome.prompt.max_tokens;
}

struct Runner {
  const llama::Model& model;
  const llama::Tokenizer& tokenizer;
  std::vector<policies::PolicyChoice> policies;
  llama::SamplingOptions sampling;  ///< prompt i is sampled with the seed + i
  std::size_t threads = 1;          ///< prompts at a time

  /// Fills in the answers.
  void answer(std::span<Outcome> outcomes, comparison::Progress& progress) const {
    comparison::run_in_parallel(outcomes.size(), threads, [&](std::size_t index) {
      std::size_t left = max_work(outcomes[index], policies.size());
      answer(outcomes[index], index, [&](std::size_t tokens) {
        progress.advance(tokens, outcomes[index].task.group);
        left -= tokens;
      });
      progress.skip(left);
    });
  }

 private:
  void answer(Outcome& outcome, std::size_t index, const auto& advanced) const {
    const EncodedPrompt& encoded = outcome.prompt;
    comparison::Prompt prompt;
    prompt.tokens = encoded.tokens;
    prompt.response_tokens = encoded.max_tokens;
    prompt.make_chooser = [&] { return chooser(encoded, index); };
    bool is_read = false;
    prompt.is_complete = [&](std::span<const int> written) {
      advanced(1 + (std::exchange(is_read, true) ? 0 : encoded.tokens.size()));
      return has_stop(written, outcome.task.stop);
    };
    std::vector<std::unique_ptr<comparison::AnyCache>> caches;
    for (const policies::PolicyChoice& choice : policies) {
      caches.push_back(
          make_cache(choice, model.shape(), encoded.tokens.size(), encoded.max_tokens));
    }
    auto responses = comparison::ResponseWriter(model, prompt, std::move(caches), false).write();
    for (comparison::Response& response : responses) {
      outcome.answers.push_back(answer_of(std::move(response), outcome.task));
    }
  }

  [[nodiscard]] comparison::Chooser chooser(const EncodedPrompt& prompt, std::size_t index) const {
    llama::SamplingOptions options = sampling;
    options.seed += index;
    auto sampler = std::make_shared<llama::Sampler>(options);
    if (options.repetition_penalty != 1) {
      for (const int token : prompt.tokens) sampler->add(token);
    }
    return [sampler](std::span<const float> logits) { return (*sampler)(logits); };
  }

  [[nodiscard]] bool has_stop(std::span<const int> written, const std::string& stop) const {
    if (stop.empty()) return false;
    // Few tokens are looked at first, since each step asks.
    const std::span<const int> newest = written.last((std::min)(written.size(), stop.size() + 1));
    if (tokenizer.decode({newest.begin(), newest.end()}).find(stop) == std::string::npos) {
      return false;
    }
    return end_of_response(tokenizer.decode({written.begin(), written.end()}), stop) !=
           std::string::npos;
  }

  [[nodiscard]] Answer answer_of(comparison::Response response, const Task& task) const {
    std::vector<int>& tokens = response.tokens;
    const std::vector<int>& stops = model.config.stop_tokens;
    if (!tokens.empty() && std::find(stops.begin(), stops.end(), tokens.back()) != stops.end()) {
      tokens.pop_back();
    }
    Answer answer;
    answer.text = valid_utf8(tokenizer.decode(tokens));
    answer.text.resize((std::min)(end_of_response(answer.text, task.stop), answer.text.size()));
    answer.tokens = tokens.size();
    answer.bytes = response.memory.total();
    if (task.score) answer.score = task.score(answer.text);
    return answer;
  }
};

}  // namespace morphkv::papers

#endif  // MORPHKV_BENCH_PAPERS_RUN_HPP
