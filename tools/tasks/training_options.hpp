// SPDX-License-Identifier: Apache-2.0
#ifndef MORPHKV_BENCH_TASKS_TRAINING_OPTIONS_HPP
#define MORPHKV_BENCH_TASKS_TRAINING_OPTIONS_HPP

// Settings for training: everything varies, and an example is about `length` tokens long. What
// there is to learn is dense in the short ones.

#include <algorithm>

#include "questions.hpp"
#include "random.hpp"
#include "saga.hpp"
#include "travel_log.hpp"

namespace morphkv::tasks {

[[nodiscard]] inline bool one_in(int n, Random& random) { return random.uniform(1, n) == 1; }

// A log of periodic travellers: many who appear often, so that there is much to remember; or long
// periods that begin at once, so that every number of days is counted down from.
inline void make_periodic(int length, Random& random, Options& options) {
  options.once = random.uniform(0, 1);
  options.range = random.uniform(0, 1);
  options.periodic = random.uniform(2, std::clamp(length / 60, 3, 8));
  options.shortest_period = 3;
  options.longest_period = one_in(2, random) ? 8 : Vocabulary::period_count - 1;
  options.longest_wait = random.uniform(2, 8);
}

// A few of them with long periods in short entries, so that they are seen again after many.
inline void make_patient(int length, Random& random, Options& options) {
  options.once = 0;
  options.range = 0;
  options.periodic = random.uniform(1, length < 1024 ? 2 : 3);
  options.shortest_period = 5;
  options.longest_period = length < 1024 ? 24 : 48;
  options.longest_wait = random.uniform(2, 10);
  options.prompt_tokens = random.uniform(0, length < 1024 ? 80 : 300);
  options.phrases = 1;
}

// All travellers of a long response, in entries as long as there.
inline void make_tall(int length, Random& random, Options& options) {
  options.once = 4;
  options.range = 3;
  options.periodic = 3;
  options.phrases = random.uniform(8, TravelLog::max_phrases);
  options.prompt_tokens = random.uniform(150, std::min(1000, length / 2));
  const int entries = (length - options.prompt_tokens) /
                      (bare_entry_tokens + entry_phrase_tokens * (options.phrases - 1));
  options.shortest_period = 2;
  options.longest_period = std::max(3, (one_in(2, random) ? entries : most_log_entries) * 2 / 3);
  options.longest_wait = most_log_entries;
}

// Half of the short examples are crowded, because rules that come due are what there is to learn
// from. Some logs are longer than what is shown of them, so that long countdowns occur: more of the
// tall ones, whose beginning alone is as long as others.
[[nodiscard]] inline Options training_options(const TravelLog& /*task*/, int length,
                                              Random& random) {
  constexpr int days = most_log_entries + 8;
  Options options;
  const bool crowded = length < 512 && one_in(2, random);
  options.once = crowded ? random.uniform(3, length / 40) : random.uniform(1, 4);
  options.range = crowded ? random.uniform(1, length / 80) : random.uniform(1, 3);
  options.periodic = random.uniform(1, 3);
  if (length >= 384 && one_in(3, random)) {  // as many as in a long response
    options.once = 4;
    options.range = 3;
    options.periodic = 3;
  }
  options.longest_wait = one_in(2, random) ? 40 : days;
  if (!one_in(3, random)) {
    options.longest_period = random.uniform(8, Vocabulary::period_count - 1);
    options.shortest_period = random.uniform(3, options.longest_period);
  }
  const bool tall = length >= 1536 && one_in(2, random);
  const bool patient = !tall && one_in(2, random);
  if (!tall && !patient && one_in(length < 1024 ? 3 : 4, random)) {
    make_periodic(length, random, options);
  }
  options.phrases = crowded || one_in(2, random) ? 1 : random.uniform(2, length < 512 ? 4 : 14);
  options.prompt_tokens = random.uniform(length < 512 ? 0 : 50, length * 3 / 5);
  options.chatter = one_in(2, random) ? 0 : random.uniform(0, 100);
  if (patient) {
    make_patient(length, random, options);
  } else if (tall) {
    make_tall(length, random, options);
  }
  const int rules = options.once + options.range + options.periodic;
  const int least = 20 + 7 * rules + 6 * options.phrases;  // tokens of a prompt
  const int shortest_entry = 3 + 6 * options.phrases + 2 * rules;
  const int room = length - std::max(options.prompt_tokens, least);
  const int shown = std::clamp(room / shortest_entry + 1, 4, days);
  options.entries = one_in(tall ? 2 : 4, random) ? random.uniform(shown, days) : shown;
  const int latest_start = Vocabulary::number_count - 1 - options.entries;
  options.first_day = one_in(2, random) ? 0 : random.uniform(0, latest_start);
  return options;
}

[[nodiscard]] inline SagaOptions training_options(const SagaWriter& task, int length,
                                                  Random& random) {
  SagaOptions options;
  options.phrases = random.uniform(0, 2);
  const int scene = 15 + 12 * options.phrases;  // with its line of the plan
  options.prompt_tokens = one_in(2, random) ? 0 : random.uniform(0, length / 3);
  const int room = length - std::max(0, options.prompt_tokens);
  options.scenes = std::clamp(room / scene + 1, 2, Vocabulary::number_count - 1);
  options.first_scene =
      one_in(2, random) ? 1 : random.uniform(0, Vocabulary::number_count - options.scenes);
  const int most = std::min(options.scenes, static_cast<int>(task.vocabulary().names().size()));
  options.cast = random.uniform(1, std::max(1, one_in(3, random) ? most : most / 2));
  return options;
}

[[nodiscard]] inline QuestionsOptions training_options(const QuestionsWriter& /*task*/, int length,
                                                       Random& random) {
  constexpr int tokens_asked = 9;  // a fact, its question and its answer
  constexpr int tokens_other = 5;
  QuestionsOptions options;
  const int share = length < 512 ? 100 : random.uniform(10, 100);  // per cent of facts, not phrases
  const int asked =
      std::clamp(length * share / 100 * random.uniform(30, 80) / 100 / tokens_asked, 1, 40);
  const int others = std::min((length * share / 100 - asked * tokens_asked) / tokens_other, 60);
  options.others = {};
  options.asked = {};
  constexpr std::array<int, 4> most = {18, 9, 14, 20};  // asked, and others
  const auto spread = [&](int facts, QuestionCounts& counts) {
    for (int i = 0; i < facts; ++i) {  // counting is the hardest, and gets two shares of five
      int& count = counts[static_cast<std::size_t>(std::min(random.uniform(0, 4), 3))];
      count = std::min(count + 1, most[static_cast<std::size_t>(&count - counts.data())]);
    }
  };
  spread(asked, options.asked);
  spread(std::max(others, 0), options.others);
  options.prompt_tokens = length - 4 * asked;
  return options;
}

}  // namespace morphkv::tasks

#endif  // MORPHKV_BENCH_TASKS_TRAINING_OPTIONS_HPP
