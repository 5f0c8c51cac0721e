// SPDX-License-Identifier: Apache-2.0
#ifndef MORPHKV_BENCH_TASKS_TRAVEL_LOG_HPP
#define MORPHKV_BENCH_TASKS_TRAVEL_LOG_HPP

// A long response with instructions, after LongGenBench (arXiv 2409.02076): the log of a journey.
//
// The prompt lists rules of three kinds, most of them about people who stay at home (distractors),
// and ends with day 0. The response writes one entry a day. An entry counts down, for every
// traveller, to the day on which the rule is due, and on that day it says what the rule demands:
//
//   rule                 before           when due                      after
//   ada lamp once .      ada 2 once       ada lamp once                 ada done
//   ben oar for-3 .      ben 2 for-3      ben oar for-3, ... for-1      ben done
//   cal chest every-5 .  cal 2 every-5    cal drum every-5              cal 4 every-5
//
// A periodic traveller takes something out of the chest when he is due first: the writer chooses
// what, and has to say the same every time from then on. So the truth moves: from the prompt into
// the response. Countdowns are always in the entry before; the things may have to be remembered
// over thousands of tokens. (Trades, in which what a traveller has changes all the time, are beyond
// a small model in long logs: it confuses the latest trade with those before.)

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "random.hpp"
#include "text.hpp"
#include "vocabulary.hpp"

namespace morphkv::tasks {

enum class RuleKind { once, range, periodic };

struct Rule {
  RuleKind kind = RuleKind::once;
  int name = 0;       // token ids
  int thing = 0;      // what is shown; of a periodic rule, what a writer might choose
  int first_due = 1;  // the entry in which it is due first, counted from 1
  int argument = 0;   // days that a range lasts, or the period
  int line = 0;       // where its line begins in the prompt: name thing term .

  [[nodiscard]] bool due(int entry) const {
    const int after = entry - first_due;
    switch (kind) {
      case RuleKind::once:
        return after == 0;
      case RuleKind::range:
        return after >= 0 && after < argument;
      case RuleKind::periodic:
        return after >= 0 && after % argument == 0;
    }
    return false;
  }
};

struct Options {
  int entries = 32;
  int once = 2;
  int range = 2;
  int periodic = 2;
  int prompt_tokens = 320;  // distractors, then phrases, fill the prompt up to about this length
  int chatter = 0;          // per cent of that filling that is phrases even if people are left
  int first_day = 0;        // the number of the prompt's last day
  int longest_wait = 40;    // the latest entry in which a rule is due first
  int shortest_period = 3;  // days between the appearances of a periodic traveller
  int longest_period = 8;
  int phrases = 1;  // of an entry. One changes every day; more are the same in every entry
};

// Of long_response. A bare entry has one phrase.
inline constexpr int most_log_entries = 80;
inline constexpr int bare_entry_tokens = 36;
inline constexpr int entry_phrase_tokens = 6;

// Options for a response of about `response_tokens` tokens. With a prompt as long as the response,
// neither the prompt nor the recent half of everything is enough. The number of demands hardly
// depends on the length: the rules are spread over the whole time, so that what a traveller has
// must be remembered for up to two thirds of it. Beyond most_log_entries the entries become longer.
[[nodiscard]] inline Options long_response(int response_tokens, int prompt_tokens) {
  Options options{.once = 4, .range = 3, .periodic = 3, .prompt_tokens = prompt_tokens};
  options.entries = std::clamp(response_tokens / bare_entry_tokens, 4, most_log_entries);
  const int rest = std::max(0, response_tokens / options.entries - bare_entry_tokens);
  options.phrases = 1 + (rest + entry_phrase_tokens / 2) / entry_phrase_tokens;
  options.longest_wait = options.entries;
  options.shortest_period = std::max(3, options.entries / 3);
  options.longest_period =
      std::clamp(options.entries * 2 / 3, options.shortest_period, Vocabulary::period_count - 1);
  return options;
}

struct Example : Text {
  Options options;
  std::vector<Rule> rules;           // in the order of the entries
  int begin = 0;                     // where "begin" stands in the prompt
  std::vector<std::string> passage;  // the phrases of every entry, if there are several
};

// Writes examples. The same options and seed give the same example on every platform.
class TravelLog {
 public:
  static constexpr int max_rules = 16;
  static constexpr int max_phrases = 20;

  [[nodiscard]] const Vocabulary& vocabulary() const { return vocabulary_; }

  [[nodiscard]] Example make(const Options& options, std::uint64_t seed) const {
    check(options);
    Random random(seed);
    Example example;
    example.options = options;
    Words words{vocabulary_.names(), vocabulary_.things()};
    random.shuffle(words.names);
    random.shuffle(words.things);
    add_rules(example, words, random);
    std::vector<Rule> lines = example.rules;
    const int chatter = add_distractors(options, lines, words, random);
    random.shuffle(lines);
    if (options.phrases > 1) {
      example.passage = vocabulary_.filler();
      random.shuffle(example.passage);
      example.passage.resize(static_cast<std::size_t>(options.phrases));
    }
    write_prompt(example, lines, chatter, random);
    write_response(example);
    return example;
  }

 private:
  struct Words {
    std::vector<int> names;
    std::vector<int> things;
  };

  static constexpr int line_tokens = 4;
  static constexpr int entry_phrase_tokens = 6;
  static constexpr int fixed_prompt_tokens = 13;  // all but the lines and day 0's countdowns
  static constexpr int shortest_term = 3;         // days that a range lasts
  static constexpr int longest_term = 8;

  static void check(const Options& options) {
    const int rules = options.once + options.range + options.periodic;
    if (options.entries < 1 || options.first_day < 0 ||
        options.first_day + options.entries >= Vocabulary::number_count) {
      throw std::invalid_argument("TravelLog: first_day + entries must be in 1.." +
                                  std::to_string(Vocabulary::number_count - 1));
    }
    if (std::min({options.once, options.range, options.periodic}) < 0 || rules < 1 ||
        rules > max_rules) {
      throw std::invalid_argument("TravelLog: once + range + periodic must be in 1.." +
                                  std::to_string(max_rules));
    }
    if (options.shortest_period < 1 || options.longest_period < options.shortest_period ||
        options.longest_period >= Vocabulary::period_count) {
      throw std::invalid_argument("TravelLog: 1 <= shortest_period <= longest_period < " +
                                  std::to_string(Vocabulary::period_count) + " must hold");
    }
    if (options.phrases < 1 || options.phrases > max_phrases || options.longest_wait < 1 ||
        options.chatter < 0 || options.chatter > 100) {
      throw std::invalid_argument("TravelLog: phrases must be in 1.." +
                                  std::to_string(max_phrases) +
                                  ", longest_wait at least 1, chatter in 0..100");
    }
  }

  static int take(std::vector<int>& words) {
    const int word = words.back();
    words.pop_back();
    return word;
  }

  static Rule make_rule(RuleKind kind, const Options& options, Words& words, Random& random) {
    Rule rule;
    rule.kind = kind;
    rule.name = take(words.names);
    rule.thing = take(words.things);
    if (kind == RuleKind::range) {
      rule.argument = random.uniform(shortest_term, longest_term);
    } else if (kind == RuleKind::periodic) {
      rule.argument = random.uniform(options.shortest_period, options.longest_period);
    }
    int latest = std::min(options.entries, options.longest_wait);
    if (kind == RuleKind::range) {
      latest = std::max(1, latest - rule.argument + 1);
    } else if (kind == RuleKind::periodic) {
      latest = std::min(latest, rule.argument);
      if (options.entries > rule.argument) {  // so that he comes again
        latest = std::min(latest, options.entries - rule.argument);
      }
    }
    rule.first_due = random.uniform(1, latest);
    return rule;
  }

  static void add_rules(Example& example, Words& words, Random& random) {
    const Options& options = example.options;
    const auto add = [&](RuleKind kind, int count) {
      for (int i = 0; i < count; ++i) {
        example.rules.push_back(make_rule(kind, options, words, random));
      }
    };
    add(RuleKind::once, options.once);
    add(RuleKind::range, options.range);
    add(RuleKind::periodic, options.periodic);
    random.shuffle(example.rules);
  }

  // Rules about people who are not in the log, until the prompt is long enough. Returns the phrases
  // that fill what is left when there are no more people, or that `chatter` asks for.
  static int add_distractors(const Options& options, std::vector<Rule>& lines, Words& words,
                             Random& random) {
    const auto rules = static_cast<int>(lines.size());
    int room = options.prompt_tokens - fixed_prompt_tokens - (line_tokens + 3) * rules -
               (options.phrases - 1) * entry_phrase_tokens;
    const int chatter = room * options.chatter / 100 / entry_phrase_tokens;
    room -= chatter * entry_phrase_tokens;
    for (; room >= line_tokens && !words.names.empty() && !words.things.empty();
         room -= line_tokens) {
      const auto kind = static_cast<RuleKind>(random.uniform(0, 2));
      lines.push_back(make_rule(kind, options, words, random));
    }
    return std::max(0, chatter) + std::max(0, room / entry_phrase_tokens);
  }

  [[nodiscard]] int term(RuleKind kind, int argument) const {
    switch (kind) {
      case RuleKind::once:
        return vocabulary_.id("once");
      case RuleKind::range:
        return vocabulary_.for_days(argument);
      case RuleKind::periodic:
        return vocabulary_.every_days(argument);
    }
    return 0;
  }

  // What follows "day 12".
  [[nodiscard]] std::string heading_after_day(const Example& example, int day) const {
    if (example.passage.empty()) {
      return ". " +
             vocabulary_.filler()[static_cast<std::size_t>(day) % Vocabulary::daily_phrases] + " .";
    }
    std::string text = ".";
    for (const std::string& phrase : example.passage) {
      text += " " + phrase + " .";
    }
    return text;
  }

  // The lines in their order, with phrases at random places between them.
  void write_prompt(Example& example, std::vector<Rule>& lines, int chatter, Random& random) const {
    std::vector<Rule*> order(static_cast<std::size_t>(chatter), nullptr);
    for (Rule& line : lines) {
      order.push_back(&line);
    }
    if (chatter > 0) {
      random.shuffle(order);
    }
    std::vector<int>& prompt = example.prompt;
    vocabulary_.append(prompt, "<bos> rules :");
    for (Rule* line : order) {
      if (line == nullptr) {
        vocabulary_.append(prompt, vocabulary_.phrase(random) + " .");
        continue;
      }
      line->line = static_cast<int>(prompt.size());
      const bool free = line->kind == RuleKind::periodic;
      prompt.insert(prompt.end(), {line->name, free ? vocabulary_.id("chest") : line->thing,
                                   term(line->kind, line->argument), vocabulary_.id(".")});
    }
    for (Rule& rule : example.rules) {
      rule = *std::find_if(lines.begin(), lines.end(),
                           [&](const Rule& line) { return line.name == rule.name; });
    }
    example.lines_end = prompt.size();
    example.begin = static_cast<int>(prompt.size());
    vocabulary_.append(prompt, "begin day");
    prompt.push_back(vocabulary_.number(example.options.first_day));
    vocabulary_.append(prompt, heading_after_day(example, example.options.first_day));
    for (const Rule& rule : example.rules) {
      prompt.insert(prompt.end(), {rule.name, vocabulary_.number(rule.first_due),
                                   term(rule.kind, rule.argument)});
    }
  }

  // What was said last about a traveller, and where.
  struct Traveller {
    Rule rule;
    int count = 0;
    int name_at = 0;
    int count_at = 0;
    int term_at = 0;
    int thing_at = 0;
  };

  struct Writer {
    Example* example = nullptr;
    int entry = 0;
    int day_at = 0;

    // Returns the position.
    int add(int id, TokenKind kind, int source = -1) {
      return example->add({id, kind, source, entry});
    }
  };

  static std::vector<Traveller> travellers_on_day_zero(const Example& example) {
    std::vector<Traveller> travellers;
    auto at = static_cast<int>(example.prompt.size() - 3 * example.rules.size());
    for (const Rule& rule : example.rules) {
      travellers.push_back({rule, rule.first_due, at, at + 1, at + 2, rule.line + 1});
      at += 3;
    }
    return travellers;
  }

  void write_response(Example& example) const {
    std::vector<Traveller> travellers = travellers_on_day_zero(example);
    Writer writer{&example, 0, example.begin + 2};
    for (int entry = 1; entry <= example.options.entries; ++entry) {
      writer.entry = entry;
      write_heading(writer, example.options.first_day + entry);
      for (Traveller& traveller : travellers) {
        write_traveller(writer, traveller);
      }
    }
  }

  void write_heading(Writer& writer, int day) const {
    writer.add(vocabulary_.id("day"), TokenKind::structure);
    writer.day_at = writer.add(vocabulary_.number(day), TokenKind::number, writer.day_at);
    for (const int id : vocabulary_.encode(heading_after_day(*writer.example, day))) {
      writer.add(id, TokenKind::structure);
    }
  }

  void write_traveller(Writer& writer, Traveller& traveller) const {
    const Rule& rule = traveller.rule;
    traveller.name_at = writer.add(rule.name, TokenKind::name, traveller.name_at);
    if (rule.due(writer.entry)) {
      write_due(writer, traveller);
    } else if (rule.kind != RuleKind::periodic && writer.entry > rule.first_due) {
      traveller.term_at =
          writer.add(vocabulary_.id("done"), TokenKind::structure, traveller.term_at);
    } else {
      --traveller.count;
      traveller.count_at =
          writer.add(vocabulary_.number(traveller.count), TokenKind::number, traveller.count_at);
      write_term(writer, traveller, rule.argument);
    }
  }

  void write_term(Writer& writer, Traveller& traveller, int argument) const {
    traveller.term_at =
        writer.add(term(traveller.rule.kind, argument), TokenKind::term, traveller.term_at);
  }

  void write_due(Writer& writer, Traveller& traveller) const {
    constexpr std::array<TokenKind, 3> kinds = {TokenKind::once, TokenKind::range,
                                                TokenKind::periodic};
    const Rule& rule = traveller.rule;
    const bool free = rule.kind == RuleKind::periodic && writer.entry == rule.first_due;
    const TokenKind kind = free ? TokenKind::chosen : kinds[static_cast<std::size_t>(rule.kind)];
    traveller.thing_at = writer.add(rule.thing, kind, free ? -1 : traveller.thing_at);
    if (rule.kind == RuleKind::periodic) {
      write_term(writer, traveller, rule.argument);
      traveller.count = rule.argument;
      traveller.count_at = traveller.term_at;
    } else {
      write_term(writer, traveller, rule.argument - (writer.entry - rule.first_due));
    }
  }

  Vocabulary vocabulary_;
};

}  // namespace morphkv::tasks

#endif  // MORPHKV_BENCH_TASKS_TRAVEL_LOG_HPP
