// SPDX-License-Identifier: Apache-2.0
#ifndef MORPHKV_BENCH_TASKS_GRADER_HPP
#define MORPHKV_BENCH_TASKS_GRADER_HPP

// Grades a free-running response by exact rules, entry by entry: an entry is found by its heading
// ("day 12"), so one wrong word spoils one check and shifts nothing. What a periodic traveller
// shows first is the writer's choice and not judged; from then on it has to be the same, and nobody
// else's before him: naming one thing all the time is not enough.

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <map>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "travel_log.hpp"

namespace morphkv::tasks {

// One demand of one rule on one day.
struct Check {
  RuleKind kind = RuleKind::once;
  std::size_t rule = 0;  // index in Example::rules
  int entry = 0;
  bool correct = false;
  std::size_t begin = 0;  // the words that were judged: [begin, end) of the response; empty if
  std::size_t end = 0;    // the response says nothing on that day
};

struct Grade {
  int entries = 0;
  int entries_present = 0;
  int unasked = 0;  // events on days on which they are not due; reported, not punished
  std::array<int, 3> demanded{};  // by RuleKind
  std::array<int, 3> correct{};
  std::vector<Check> checks;

  [[nodiscard]] double completion() const { return share(entries_present, entries); }
  [[nodiscard]] double accuracy(RuleKind kind) const {
    const auto k = static_cast<std::size_t>(kind);
    return share(correct[k], demanded[k]);
  }
  // The mean over those of the three kinds that the prompt demands.
  [[nodiscard]] double average() const {
    double sum = 0;
    int kinds = 0;
    for (std::size_t k = 0; k < demanded.size(); ++k) {
      if (demanded[k] > 0) {
        sum += share(correct[k], demanded[k]);
        ++kinds;
      }
    }
    return kinds > 0 ? sum / kinds : 0;
  }
  // Adds the counts of another response; its checks stay with it.
  Grade& operator+=(const Grade& other) {
    entries += other.entries;
    entries_present += other.entries_present;
    unasked += other.unasked;
    for (std::size_t k = 0; k < demanded.size(); ++k) {
      demanded[k] += other.demanded[k];
      correct[k] += other.correct[k];
    }
    return *this;
  }
};

class Grader {
 public:
  explicit Grader(const TravelLog& task) : vocabulary_(&task.vocabulary()) {
    const Vocabulary& words = *vocabulary_;
    day_ = words.id("day");
    done_ = words.id("done");
  }

  [[nodiscard]] Grade grade(const Example& example, std::span<const int> response) const {
    Walk walk = read(example, response);
    Grade grade;
    grade.entries = example.options.entries;
    grade.entries_present = static_cast<int>(walk.seen.size());
    for (int entry = 1; entry <= grade.entries; ++entry) {
      for (std::size_t r = 0; r < example.rules.size(); ++r) {
        judge(example, walk, entry, r, grade);
      }
    }
    grade.unasked = static_cast<int>(walk.events.size());
    return grade;
  }

  // Has the response reached the end of its last entry? (A decoder may stop here.)
  [[nodiscard]] bool finished(const Example& example, std::span<const int> response) const {
    const int after = example.options.first_day + example.options.entries + 1;
    return response.size() >= 2 && response[response.size() - 2] == day_ &&
           response.back() == vocabulary_->number(after);
  }

 private:
  struct Walk {
    std::set<int> seen;                                   // entries present
    std::map<std::pair<int, std::size_t>, Check> events;  // by entry and rule
  };

  // By rule, what the response has said first about a periodic traveller; -1 before.
  using Choices = std::vector<int>;

  Walk read(const Example& example, std::span<const int> response) const {
    Walk walk;
    Choices choices(example.rules.size(), -1);
    int entry = 0;
    for (std::size_t i = 0; i + 1 < response.size(); ++i) {
      if (response[i] == day_) {
        entry = open_entry(example, response[i + 1], walk);
        continue;
      }
      for (std::size_t r = 0; r < example.rules.size(); ++r) {
        if (response[i] == example.rules[r].name && is_thing(response[i + 1])) {
          const bool correct = judge_event(example.rules[r], r, response[i + 1], choices);
          if (entry > 0) {
            walk.events.emplace(std::pair(entry, r),
                                Check{example.rules[r].kind, r, entry, correct, i + 1, i + 2});
          }
        }
      }
    }
    return walk;
  }

  // The entry that a heading opens; 0 for one that is not asked for or was there before.
  int open_entry(const Example& example, int number, Walk& walk) const {
    if (!vocabulary_->is_number(number)) {
      return 0;
    }
    const int entry = vocabulary_->value_of(number) - example.options.first_day;
    const bool asked = entry >= 1 && entry <= example.options.entries;
    return asked && walk.seen.insert(entry).second ? entry : 0;
  }

  // A traveller who does something, as opposed to one who waits ("ada 3 once") or is "done".
  bool is_thing(int id) const { return !vocabulary_->is_number(id) && id != done_; }

  // Whether what is shown is right; of a periodic traveller's choice, that is not asked.
  static bool judge_event(const Rule& rule, std::size_t index, int thing, Choices& choices) {
    if (rule.kind != RuleKind::periodic) return thing == rule.thing;
    if (choices[index] >= 0) return thing == choices[index];
    const bool taken = std::find(choices.begin(), choices.end(), thing) != choices.end();
    choices[index] = taken ? nothing : thing;
    return false;
  }

  // Takes the event that answers a demand out of the walk; what is left at the end is unasked.
  static void judge(const Example& example, Walk& walk, int entry, std::size_t r, Grade& grade) {
    const Rule& rule = example.rules[r];
    if (!rule.due(entry)) {
      return;
    }
    const auto found = walk.events.find({entry, r});
    const auto kind = static_cast<std::size_t>(rule.kind);
    Check check{rule.kind, r, entry, false, 0, 0};
    if (found != walk.events.end()) {
      check = found->second;
      walk.events.erase(found);
    }
    if (rule.kind == RuleKind::periodic && entry == rule.first_due) return;  // his choice
    ++grade.demanded[kind];
    grade.correct[kind] += check.correct ? 1 : 0;
    grade.checks.push_back(check);
  }

  static constexpr int nothing = std::numeric_limits<int>::max();  // a choice that stays wrong

  const Vocabulary* vocabulary_;
  int day_ = 0;
  int done_ = 0;
};

}  // namespace morphkv::tasks

#endif  // MORPHKV_BENCH_TASKS_GRADER_HPP
