// SPDX-License-Identifier: Apache-2.0
/// \file
/// What is read, under which caches, and what is measured.
#ifndef MORPHKV_BENCH_REAL_STUDY_HPP
#define MORPHKV_BENCH_REAL_STUDY_HPP

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "comparison/lifetimes.hpp"
#include "llama/model.hpp"
#include "llama/tokenizer.hpp"
#include "llama/transformer.hpp"
#include "real/contenders.hpp"
#include "real/language.hpp"
#include "real/passkey.hpp"
#include "real/side_by_side.hpp"

namespace morphkv::real {

struct Text {
  std::string name;
  std::vector<int> tokens;
};

struct Plan {
  std::vector<std::size_t> capacities = {256, 512, 1024};
  std::size_t prompt = 1024;    ///< tokens that are read as one block
  std::size_t response = 1024;  ///< tokens that are read one by one after it
  std::vector<double> depths = {0.1, 0.3, 0.5, 0.7, 0.9};
  std::size_t passkeys = 4;  ///< for each depth
  std::size_t passkey_tokens = 1400;
  std::size_t side_by_side = 2;  ///< texts in one pass over the weights
  std::size_t threads = 2;
};

/// One text under all caches; the first is the full cache.
struct TextResult {
  std::string name;
  double full_nll = 0;
  std::vector<Divergence> caches;
};

/// One passkey under all caches.
struct PasskeyResult {
  double depth = 0;
  Question question = Question::in_prompt;
  std::vector<int> digits;  ///< that are right, one count per cache
};

/// What each cache held while it read the first text.
struct Trails {
  std::vector<int> tokens;
  std::size_t prompt = 0;
  std::vector<comparison::Lifetimes> caches;  ///< empty ones of the caches that were not watched
};

struct Results {
  std::vector<Contender> contenders;  ///< the full cache first
  std::vector<TextResult> texts;
  std::vector<PasskeyResult> passkeys;
  Trails trails;
};

class Study {
 public:
  using Advanced = std::function<void(std::size_t tokens, const std::string& what)>;

  /// \param advanced called as tokens are read; total_tokens() in all
  /// \pre the model, the tokenizer and the texts outlive the study; each text has at least
  ///      plan.prompt + plan.response tokens
  Study(const llama::Model& model, const llama::Tokenizer& tokenizer, std::span<const Text> texts,
        Plan plan)
      : model_(model),
        tokenizer_(tokenizer),
        texts_(texts),
        plan_(std::move(plan)),
        reader_(model, plan_.threads) {
    results_.contenders.push_back(full_cache(model.config.shape()));
    for (const std::size_t capacity : plan_.capacities) {
      for (Contender& one : contenders(model.config.shape(), capacity)) {
        results_.contenders.push_back(std::move(one));
      }
    }
    make_passkeys();
  }

  /// Tokens that are read, the prompts' once and the others' once per cache.
  [[nodiscard]] std::size_t total_tokens() const {
    std::size_t sum = texts_.size() * (plan_.prompt + (plan_.response - 1) * caches());
    for (const Passkey& passkey : passkeys_) {
      for (const Question question : questions) {
        const std::size_t prompt = passkey.prompt(question);
        sum += prompt + (passkey.tokens.size() - prompt - 1) * caches();
      }
    }
    return sum;
  }

  [[nodiscard]] Results run(const Advanced& advanced) && {
    read_texts(advanced);
    read_passkeys(advanced);
    return std::move(results_);
  }

 private:
  [[nodiscard]] std::size_t caches() const { return results_.contenders.size(); }

  void make_passkeys() {
    std::mt19937_64 random(1);
    for (const double depth : plan_.depths) {
      for (std::size_t k = 0; k < plan_.passkeys; ++k) {
        const std::vector<int>& text = texts_[passkeys_.size() % texts_.size()].tokens;
        const std::size_t length = (std::min)(plan_.passkey_tokens, text.size());
        const std::size_t begin = random() % (text.size() - length + 1);
        passkeys_.push_back(
            make_passkey(tokenizer_, std::span(text).subspan(begin, length), depth, random));
      }
    }
  }

  [[nodiscard]] Reading reading(std::vector<int> tokens, std::size_t prompt) const {
    Reading result{.tokens = std::move(tokens), .prompt = prompt, .caches = {}, .judge = {}};
    for (const Contender& contender : results_.contenders) {
      result.caches.push_back(contender.make(result.tokens.size()));
    }
    return result;
  }

  /// Calls body(begin, end) for groups of `count` items that are read side by side.
  void each_group(std::size_t count, const auto& body) const {
    for (std::size_t begin = 0; begin < count; begin += plan_.side_by_side) {
      body(begin, (std::min)(begin + plan_.side_by_side, count));
    }
  }

  void read_texts(const Advanced& advanced) {
    each_group(texts_.size(), [&](std::size_t begin, std::size_t end) {
      std::vector<Language> judges(end - begin, Language(caches()));
      std::vector<Reading> readings;
      readings.reserve(end - begin);  // watch() keeps a reference
      for (std::size_t t = begin; t < end; ++t) {
        const auto& text = texts_[t].tokens;
        readings.push_back(
            reading({text.begin(),
                     text.begin() + static_cast<std::ptrdiff_t>(plan_.prompt + plan_.response)},
                    plan_.prompt));
        Reading& last = readings.back();
        last.judge = [&judge = judges[t - begin], tokens = last.tokens](
                         std::size_t cache, std::size_t index, std::span<const float> logits) {
          judge.add(cache, tokens[index], logits);
        };
        if (t == 0) watch(last);
      }
      reader_.read(readings, [&](std::size_t tokens) { advanced(tokens, texts_[begin].name); });
      for (std::size_t t = begin; t < end; ++t) {
        const Language& judge = judges[t - begin];
        TextResult result{texts_[t].name, judge.full_nll(), {}};
        for (std::size_t c = 0; c < caches(); ++c) result.caches.push_back(judge.mean(c));
        results_.texts.push_back(std::move(result));
      }
    });
  }

  /// Records what the caches of the middle capacity hold.
  void watch(Reading& reading) {
    const std::size_t capacity = plan_.capacities[plan_.capacities.size() / 2];
    Trails& trails = results_.trails;
    trails.tokens = reading.tokens;
    trails.prompt = reading.prompt;
    for (const Contender& contender : results_.contenders) {
      trails.caches.push_back(
          contender.slots == capacity
              ? comparison::Lifetimes(model_.config.shape(), reading.tokens.size())
              : comparison::Lifetimes());
    }
    reading.watch = [this, &reading](std::size_t cache, std::size_t index) {
      reading.caches[cache]->record(results_.trails.caches[cache], index - reading.prompt);
    };
  }

  void read_passkeys(const Advanced& advanced) {
    for (const Question question : questions) {
      each_group(passkeys_.size(), [&](std::size_t begin, std::size_t end) {
        std::vector<Reading> readings;
        const std::size_t first = results_.passkeys.size();
        for (std::size_t k = begin; k < end; ++k) {
          const Passkey& passkey = passkeys_[k];
          results_.passkeys.push_back({passkey.depth, question, std::vector<int>(caches(), 0)});
          readings.push_back(reading(passkey.tokens, passkey.prompt(question)));
        }
        for (std::size_t k = begin; k < end; ++k) {
          readings[k - begin].judge =
              [&passkey = passkeys_[k], &result = results_.passkeys[first + k - begin]](
                  std::size_t cache, std::size_t index, std::span<const float> logits) {
                if (!passkey.is_digit(index)) return;
                result.digits[cache] += llama::most_likely(logits) == passkey.tokens[index] ? 1 : 0;
              };
        }
        reader_.read(readings, [&](std::size_t tokens) {
          advanced(tokens, std::string("passkeys ") + to_string(question));
        });
      });
    }
  }

  const llama::Model& model_;
  const llama::Tokenizer& tokenizer_;
  std::span<const Text> texts_;
  Plan plan_;
  SideBySide reader_;
  std::vector<Passkey> passkeys_;
  Results results_;
};

}  // namespace morphkv::real

#endif  // MORPHKV_BENCH_REAL_STUDY_HPP
