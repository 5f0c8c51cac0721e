// SPDX-License-Identifier: Apache-2.0
/// \file
/// Look-ups of every task under many caches: how much of each answer is right.
#ifndef MORPHKV_BENCH_REAL_LOOKUP_STUDY_HPP
#define MORPHKV_BENCH_REAL_LOOKUP_STUDY_HPP

#include <algorithm>
#include <cstddef>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "llama/tokenizer.hpp"
#include "llama/transformer.hpp"
#include "real/contenders.hpp"
#include "real/lookup.hpp"
#include "real/lookup_tasks.hpp"
#include "real/plan.hpp"
#include "real/runner.hpp"

namespace morphkv::real {

/// One look-up under all caches.
struct LookupResult {
  std::string task;
  double depth = 0;
  Question question = Question::in_prompt;
  std::size_t length = 0;  ///< tokens of the answer
  std::vector<int> right;  ///< of them, that are predicted: one count per cache
};

class LookupStudy {
 public:
  /// \pre there are texts
  LookupStudy(const llama::Tokenizer& tokenizer, std::span<const Text> texts, const Plan& plan) {
    std::mt19937_64 random(1);
    for (const LookupTask& task : lookup_tasks) {
      for (const double depth : plan.depths) {
        for (std::size_t k = 0; k < plan.lookups; ++k) {
          const std::vector<int>& text = texts[items_.size() % texts.size()].tokens;
          const std::size_t length = (std::min)(plan.lookup_tokens, text.size());
          const std::size_t begin = random() % (text.size() - length + 1);
          items_.push_back({task.name, make_lookup(tokenizer, {text.data() + begin, length}, depth,
                                                   task.make(random))});
        }
      }
    }
  }

  [[nodiscard]] std::size_t tokens(std::size_t caches) const {
    std::size_t sum = 0;
    for (const Item& item : items_) {
      for (const Question question : questions) {
        sum += tokens_read(item.lookup.tokens.size(), item.lookup.prompt(question), caches);
      }
    }
    return sum;
  }

  [[nodiscard]] std::vector<LookupResult> run(Runner& runner,
                                              const std::vector<Contender>& contenders) const {
    std::vector<LookupResult> results;
    for (const Question question : questions) {
      for (const Item& item : items_) {
        results.push_back({item.task, item.lookup.depth, question, item.lookup.answer.size(),
                           std::vector<int>(contenders.size(), 0)});
      }
    }
    runner.read(results.size(), "look-ups", [&](std::size_t k) {
      const Lookup& lookup = items_[k % items_.size()].lookup;
      LookupResult& result = results[k];
      Reading reading = make_reading(contenders, lookup.tokens, lookup.prompt(result.question));
      reading.judge = [&lookup, &result](std::size_t cache, std::size_t index,
                                         std::span<const float> logits) {
        if (!lookup.is_answer(index)) return;
        result.right[cache] += llama::most_likely(logits) == lookup.tokens[index] ? 1 : 0;
      };
      return reading;
    });
    return results;
  }

 private:
  struct Item {
    std::string task;
    Lookup lookup;
  };

  std::vector<Item> items_;
};

}  // namespace morphkv::real

#endif  // MORPHKV_BENCH_REAL_LOOKUP_STUDY_HPP
