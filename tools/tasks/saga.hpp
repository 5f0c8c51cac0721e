// SPDX-License-Identifier: Apache-2.0
#ifndef MORPHKV_BENCH_TASKS_SAGA_HPP
#define MORPHKV_BENCH_TASKS_SAGA_HPP

// Open writing, after LongWriter (arXiv 2408.07055): a tale of many scenes.
//
// The prompt is a plan: who is in each scene. The response writes the scenes. What it says about a
// person is its own choice the first time, and has to stay so whenever the person comes back:
//
//   <bos> plan : 1 ada . 2 ben . 3 ada . begin
//   scene 1 ada york . snow lay on high passes . ada baker . mist hid the broken tower . ada lamp .
//   scene 2 ben oslo . ...
//   scene 3 ada york . geese flew south at dusk . ada baker . ... . ada lamp .
//
// So nothing that is graded stands in the prompt, and the plan decides how long it must be
// remembered. The phrases are free as well. A greedy writer would choose the same home for
// everyone: sample the free choices (see sampler.hpp).

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "random.hpp"
#include "text.hpp"
#include "vocabulary.hpp"

namespace morphkv::tasks {

struct SagaOptions {
  int scenes = 44;
  int cast = 22;          // people. They appear in rounds: each once before anyone appears again
  int phrases = 1;        // after each of a scene's first two statements
  int prompt_tokens = 0;  // phrases between the lines of the plan fill the prompt up to this
  int first_scene = 1;    // its number
};

// Options for a response of about `response_tokens` tokens: everyone appears twice, so that on
// average half of the response lies between.
[[nodiscard]] inline SagaOptions open_writing(int response_tokens) {
  constexpr int bare_scene = 12;    // tokens without phrases
  constexpr int phrase_tokens = 6;  // each twice a scene
  constexpr int most_scenes = 120;
  SagaOptions options;
  const int long_scene = response_tokens / most_scenes - bare_scene;
  options.phrases = std::max(0, (long_scene + 2 * phrase_tokens - 1) / (2 * phrase_tokens));
  const int scene = bare_scene + 2 * phrase_tokens * options.phrases;
  options.scenes = std::clamp(response_tokens / scene, 4, most_scenes);
  options.cast = options.scenes / 2;
  return options;
}

struct Saga : Text {
  static constexpr std::size_t attributes = 3;  // home, trade, keepsake
  SagaOptions options;
  std::vector<int> plan;  // the person of each scene
};

// Writes examples. The same options and seed give the same example on every platform.
class SagaWriter {
 public:
  static constexpr std::array<TokenKind, Saga::attributes> kinds = {
      TokenKind::home, TokenKind::trade, TokenKind::keepsake};

  [[nodiscard]] const Vocabulary& vocabulary() const { return vocabulary_; }

  // The words that can state an attribute.
  [[nodiscard]] const std::vector<int>& values(std::size_t attribute) const {
    return *std::array{&vocabulary_.places(), &vocabulary_.trades(),
                       &vocabulary_.things()}[attribute];
  }

  [[nodiscard]] Saga make(const SagaOptions& options, std::uint64_t seed) const {
    check(options);
    Random random(seed);
    Saga saga;
    saga.options = options;
    make_plan(saga, random);
    Told told;
    told.plan = write_prompt(saga, random);
    told.number = static_cast<int>(saga.prompt.size()) - 1;
    for (std::size_t scene = 0; scene < saga.plan.size(); ++scene) {
      write_scene(saga, scene, told, random);
    }
    return saga;
  }

 private:
  struct Statement {
    int value = 0;
    int at = -1;  // the position
  };
  // What the text has said so far, and where.
  struct Told {
    std::vector<int> plan;  // where the plan names the person of each scene
    int number = 0;         // the number of the scene before
    std::map<int, std::array<Statement, Saga::attributes>> people;
  };

  void check(const SagaOptions& options) const {
    const auto names = static_cast<int>(vocabulary_.names().size());
    const auto require = [](bool holds, const std::string& rule) {
      if (!holds) {
        throw std::invalid_argument("SagaWriter: " + rule);
      }
    };
    require(
        options.cast >= 1 && options.cast <= names,
        "cast is " + std::to_string(options.cast) + "; it must be in 1.." + std::to_string(names));
    require(options.first_scene >= 0 && options.scenes >= 1 &&
                options.first_scene + options.scenes <= Vocabulary::number_count,
            "first_scene + scenes is " + std::to_string(options.first_scene + options.scenes) +
                "; it must be at most " + std::to_string(Vocabulary::number_count) +
                ", and scenes at least 1");
    require(options.phrases >= 0,
            "phrases is " + std::to_string(options.phrases) + "; it must not be negative");
  }

  void make_plan(Saga& saga, Random& random) const {
    std::vector<int> cast = vocabulary_.names();
    random.shuffle(cast);
    cast.resize(static_cast<std::size_t>(saga.options.cast));
    while (saga.plan.size() < static_cast<std::size_t>(saga.options.scenes)) {
      const auto left = static_cast<std::size_t>(saga.options.scenes) - saga.plan.size();
      random.shuffle(cast);
      saga.plan.insert(saga.plan.end(), cast.begin(),
                       cast.begin() + static_cast<std::ptrdiff_t>(std::min(left, cast.size())));
    }
  }

  // Returns where the person of each scene is named.
  std::vector<int> write_prompt(Saga& saga, Random& random) const {
    constexpr int line_tokens = 3;
    constexpr int phrase_tokens = 6;
    std::vector<int> named;
    const auto scenes = static_cast<int>(saga.plan.size());
    const int room = saga.options.prompt_tokens - 4 - scenes * line_tokens;
    const int phrases = std::max(0, room) / phrase_tokens;
    int written = 0;
    vocabulary_.append(saga.prompt, "<bos> plan :");
    for (int scene = 0; scene < scenes; ++scene) {
      for (; written < phrases * (scene + 1) / scenes; ++written) {
        vocabulary_.append(saga.prompt, vocabulary_.phrase(random) + " .");
      }
      saga.prompt.push_back(vocabulary_.number(saga.options.first_scene + scene));
      named.push_back(static_cast<int>(saga.prompt.size()));
      saga.prompt.push_back(saga.plan[static_cast<std::size_t>(scene)]);
      saga.prompt.push_back(vocabulary_.id("."));
    }
    saga.lines_end = saga.prompt.size();
    vocabulary_.append(saga.prompt, "begin");
    return named;
  }

  void write_scene(Saga& saga, std::size_t scene, Told& told, Random& random) const {
    const int entry = static_cast<int>(scene) + 1;
    const int person = saga.plan[scene];
    saga.add({vocabulary_.id("scene"), TokenKind::structure, -1, entry});
    const int number = vocabulary_.number(saga.options.first_scene + entry - 1);
    told.number = saga.add({number, TokenKind::number, told.number, entry});
    int name = told.plan[scene];
    for (std::size_t a = 0; a < Saga::attributes; ++a) {
      name = saga.add({person, TokenKind::name, name, entry});
      state(saga, entry, kinds[a], values(a), told.people[person][a], random);
      saga.add({vocabulary_.id("."), TokenKind::structure, -1, entry});
      for (int i = 0; a + 1 < Saga::attributes && i < saga.options.phrases; ++i) {
        write_phrase(saga, entry, random);
      }
    }
  }

  // The first time a choice, and from then on what was said last.
  static void state(Saga& saga, int entry, TokenKind kind, const std::vector<int>& values,
                    Statement& statement, Random& random) {
    if (statement.at < 0) {
      statement.value =
          values[static_cast<std::size_t>(random.uniform(0, static_cast<int>(values.size()) - 1))];
      kind = TokenKind::chosen;
    }
    statement.at = saga.add({statement.value, kind, statement.at, entry});
  }

  void write_phrase(Saga& saga, int entry, Random& random) const {
    TokenKind kind = TokenKind::chosen;  // which phrase it is; the rest of it follows
    for (const int id : vocabulary_.encode(vocabulary_.phrase(random) + " .")) {
      saga.add({id, kind, -1, entry});
      kind = TokenKind::structure;
    }
  }

  Vocabulary vocabulary_;
};

}  // namespace morphkv::tasks

#endif  // MORPHKV_BENCH_TASKS_SAGA_HPP
