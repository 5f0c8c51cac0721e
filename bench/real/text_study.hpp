// SPDX-License-Identifier: Apache-2.0
/// \file
/// Texts under many caches: what the caches lose of their predictions.
#ifndef MORPHKV_BENCH_REAL_TEXT_STUDY_HPP
#define MORPHKV_BENCH_REAL_TEXT_STUDY_HPP

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "comparison/lifetimes.hpp"
#include "real/contenders.hpp"
#include "real/language.hpp"
#include "real/plan.hpp"
#include "real/runner.hpp"

namespace morphkv::real {

/// One text under all caches; the first is the full cache.
struct TextResult {
  std::string name;
  double full_nll = 0;
  std::vector<Divergence> caches;
};

/// What each cache held while it read one text.
struct Trails {
  std::vector<int> tokens;
  std::size_t prompt = 0;
  std::vector<comparison::Lifetimes> caches;  ///< empty ones of the caches that were not watched
};

/// Each text's first prompt + response tokens are read.
struct TextStudy {
  std::string name;  ///< for progress
  std::vector<Text> texts;
  std::size_t prompt = 0;
  std::size_t response = 0;

  [[nodiscard]] std::size_t tokens(std::size_t caches) const {
    return texts.size() * tokens_read(prompt + response, prompt, caches);
  }

  /// \param contenders the full cache first
  /// \param trails     null, or where the caches of the first text are watched
  /// \pre each text has at least prompt + response tokens
  [[nodiscard]] std::vector<TextResult> run(Runner& runner,
                                            const std::vector<Contender>& contenders,
                                            Trails* trails = nullptr) const {
    std::vector<Language> judges(texts.size(), Language(contenders.size()));
    runner.read(texts.size(), name, [&](std::size_t t) {
      const std::vector<int>& text = texts[t].tokens;
      const std::span<const int> read(text.data(), prompt + response);
      Reading reading = make_reading(contenders, {read.begin(), read.end()}, prompt);
      reading.judge = [&judge = judges[t], read](std::size_t cache, std::size_t index,
                                                 std::span<const float> logits) {
        judge.add(cache, read[index], logits);
      };
      if (t == 0 && trails != nullptr) {
        trails->tokens = reading.tokens;
        trails->prompt = prompt;
        reading.watch = [trails](const comparison::AnyCache& held, std::size_t cache,
                                 std::size_t index) {
          held.record(trails->caches[cache], index - trails->prompt);
        };
      }
      return reading;
    });
    std::vector<TextResult> results;
    for (std::size_t t = 0; t < texts.size(); ++t) {
      TextResult result{texts[t].name, judges[t].full_nll(), {}};
      for (std::size_t c = 0; c < contenders.size(); ++c) {
        result.caches.push_back(judges[t].mean(c));
      }
      results.push_back(std::move(result));
    }
    return results;
  }
};

}  // namespace morphkv::real

#endif  // MORPHKV_BENCH_REAL_TEXT_STUDY_HPP
