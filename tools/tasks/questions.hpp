// SPDX-License-Identifier: Apache-2.0
#ifndef MORPHKV_BENCH_TASKS_QUESTIONS_HPP
#define MORPHKV_BENCH_TASKS_QUESTIONS_HPP

// Questions over a long prompt with short answers, after LongBench (arXiv 2308.14508).
//
// The prompt holds facts of four kinds in any order, among phrases that tell nothing, and ends with
// what is asked. The response answers in that order:
//
//   facts                                         asked   answered
//   ada lamp .                                    ada     ada lamp .       retrieval
//   cal ben .   ben oar .                         cal     cal ben oar .    multi-hop
//   harp baker .   (twice or three times)         harp    harp baker .     few-shot lookup
//   york 2 .   york 1 .   york 3 .                york    york 3 .         counting
//
// Who counts finds mentions that are numbered, in any order: the highest number says how many there
// are. (Plain mentions ask for an average over the prompt, which small models hardly learn.)

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "random.hpp"
#include "text.hpp"
#include "vocabulary.hpp"

namespace morphkv::tasks {

enum class QuestionKind { retrieval, multi_hop, few_shot, count };

// How many of each kind, by QuestionKind.
using QuestionCounts = std::array<int, 4>;

struct QuestionsOptions {
  QuestionCounts asked = {2, 2, 2, 2};
  QuestionCounts others = {24, 8, 8, 8};  // facts of the same kinds that nobody asks for
  int prompt_tokens = 1024;               // phrases fill the prompt up to about this length
};

struct Question {
  QuestionKind kind = QuestionKind::retrieval;
  int key = 0;             // the word that is asked for
  int middle = -1;         // the person on the way of a multi-hop
  int answer = 0;          // the last word of the answer
  std::vector<int> lines;  // where the lines that tell it begin, ascending
};

struct Questions : Text {
  QuestionsOptions options;
  std::vector<Question> asked;  // in the order of the answers
};

// Writes examples. The same options and seed give the same example on every platform.
class QuestionsWriter {
 public:
  static constexpr int most_occurrences = 4;  // of a place that is counted

  [[nodiscard]] const Vocabulary& vocabulary() const { return vocabulary_; }

  [[nodiscard]] Questions make(const QuestionsOptions& options, std::uint64_t seed) const {
    check(options);
    Random random(seed);
    Questions example;
    example.options = options;
    std::vector<Question> facts = make_facts(options, random);
    write_facts(example, facts, random);
    for (std::size_t i = 0, kind = 0; kind < options.asked.size(); ++kind) {
      const auto asked = static_cast<std::size_t>(options.asked[kind]);
      const auto others = static_cast<std::size_t>(options.others[kind]);
      const auto first = facts.begin() + static_cast<std::ptrdiff_t>(i);
      example.asked.insert(example.asked.end(), first, first + static_cast<std::ptrdiff_t>(asked));
      i += asked + others;
    }
    random.shuffle(example.asked);
    write_answers(example);
    return example;
  }

 private:
  static constexpr int phrase_tokens = 6;

  void check(const QuestionsOptions& options) const {
    const auto count = [&](QuestionKind kind) {
      const auto k = static_cast<std::size_t>(kind);
      if (options.asked[k] < 0 || options.others[k] < 0) {
        throw std::invalid_argument("QuestionsWriter: asked and others must not be negative");
      }
      return options.asked[k] + options.others[k];
    };
    const int retrieval = count(QuestionKind::retrieval);
    const int hops = count(QuestionKind::multi_hop);
    const int shots = count(QuestionKind::few_shot);
    const int places = count(QuestionKind::count);
    const auto at_most = [](int given, const std::vector<int>& words, const char* what) {
      if (given > static_cast<int>(words.size())) {
        throw std::invalid_argument(std::string("QuestionsWriter: the facts need ") +
                                    std::to_string(given) + " " + what + "; there are " +
                                    std::to_string(words.size()));
      }
    };
    at_most(retrieval + 2 * hops, vocabulary_.names(), "people");
    at_most(retrieval + hops + shots, vocabulary_.things(), "things");
    at_most(places, vocabulary_.places(), "places");
    if (retrieval + hops + shots + places == 0) {
      throw std::invalid_argument("QuestionsWriter: there must be a fact");
    }
  }

  // All facts, kind by kind.
  std::vector<Question> make_facts(const QuestionsOptions& options, Random& random) const {
    std::vector<int> names = vocabulary_.names();
    std::vector<int> things = vocabulary_.things();
    std::vector<int> places = vocabulary_.places();
    const std::vector<int>& trades = vocabulary_.trades();
    random.shuffle(names);
    random.shuffle(things);
    random.shuffle(places);
    const auto take = [](std::vector<int>& words) {
      const int word = words.back();
      words.pop_back();
      return word;
    };
    std::vector<Question> facts;
    for (std::size_t kind = 0; kind < options.asked.size(); ++kind) {
      for (int i = 0; i < options.asked[kind] + options.others[kind]; ++i) {
        Question fact;
        fact.kind = static_cast<QuestionKind>(kind);
        switch (fact.kind) {
          case QuestionKind::retrieval:
            fact.key = take(names);
            fact.answer = take(things);
            break;
          case QuestionKind::multi_hop:
            fact.key = take(names);
            fact.middle = take(names);
            fact.answer = take(things);
            break;
          case QuestionKind::few_shot:
            fact.key = take(things);
            fact.answer = trades[static_cast<std::size_t>(
                random.uniform(0, static_cast<int>(trades.size()) - 1))];
            break;
          case QuestionKind::count:
            fact.key = take(places);
            fact.answer = vocabulary_.number(random.uniform(1, most_occurrences));
            break;
        }
        facts.push_back(std::move(fact));
      }
    }
    return facts;
  }

  // A line of the prompt, without its ".".
  struct Line {
    std::size_t fact = 0;
    std::vector<int> words;  // none: a phrase
  };

  std::vector<Line> make_lines(const std::vector<Question>& facts, Random& random) const {
    std::vector<Line> lines;
    for (std::size_t i = 0; i < facts.size(); ++i) {
      const Question& fact = facts[i];
      switch (fact.kind) {
        case QuestionKind::retrieval:
          lines.push_back({i, {fact.key, fact.answer}});
          break;
        case QuestionKind::multi_hop:
          lines.push_back({i, {fact.key, fact.middle}});
          lines.push_back({i, {fact.middle, fact.answer}});
          break;
        case QuestionKind::few_shot:
          lines.insert(lines.end(), static_cast<std::size_t>(random.uniform(2, 3)),
                       {i, {fact.key, fact.answer}});
          break;
        case QuestionKind::count:
          for (int n = 1; n <= vocabulary_.value_of(fact.answer); ++n) {
            lines.push_back({i, {fact.key, vocabulary_.number(n)}});
          }
          break;
      }
    }
    return lines;
  }

  void write_facts(Questions& example, std::vector<Question>& facts, Random& random) const {
    constexpr int frame_tokens = 8;  // <bos> facts : ask : . begin, and the questions
    std::vector<Line> lines = make_lines(facts, random);
    int room = example.options.prompt_tokens - frame_tokens;
    for (const Line& line : lines) {
      room -= static_cast<int>(line.words.size()) + 1;
    }
    if (room >= phrase_tokens) {
      lines.insert(lines.end(), static_cast<std::size_t>(room / phrase_tokens), {0, {}});
    }
    random.shuffle(lines);
    vocabulary_.append(example.prompt, "<bos> facts :");
    for (const Line& line : lines) {
      if (line.words.empty()) {
        vocabulary_.append(example.prompt, vocabulary_.phrase(random));
      } else {
        facts[line.fact].lines.push_back(static_cast<int>(example.prompt.size()));
        example.prompt.insert(example.prompt.end(), line.words.begin(), line.words.end());
      }
      example.prompt.push_back(vocabulary_.id("."));
    }
    example.lines_end = example.prompt.size();
  }

  void write_answers(Questions& example) const {
    vocabulary_.append(example.prompt, "ask :");
    const auto first_key = static_cast<int>(example.prompt.size());
    for (const Question& question : example.asked) {
      example.prompt.push_back(question.key);
    }
    vocabulary_.append(example.prompt, ". begin");
    for (std::size_t i = 0; i < example.asked.size(); ++i) {
      write_answer(example, example.asked[i], static_cast<int>(i), first_key);
    }
    example.add(
        {vocabulary_.id("done"), TokenKind::structure, -1, static_cast<int>(example.asked.size())});
  }

  void write_answer(Questions& example, const Question& question, int index, int first_key) const {
    constexpr std::array<TokenKind, 4> kinds = {TokenKind::retrieval, TokenKind::multi_hop,
                                                TokenKind::few_shot, TokenKind::count};
    const TokenKind kind = kinds[static_cast<std::size_t>(question.kind)];
    const int entry = index + 1;
    example.add({question.key, TokenKind::name, first_key + index, entry});
    if (question.kind == QuestionKind::multi_hop) {
      const bool forwards =
          example.prompt[static_cast<std::size_t>(question.lines[0])] == question.key;
      const int hop = question.lines[forwards ? 0 : 1];
      const int end = question.lines[forwards ? 1 : 0];
      example.add({question.middle, kind, hop + 1, entry});
      example.add({question.answer, kind, end + 1, entry});
    } else {
      example.add({question.answer, kind, latest(example, question), entry});
    }
    example.add({vocabulary_.id("."), TokenKind::structure, -1, entry});
  }

  // The last place where a line tells the answer in its second word.
  static int latest(const Questions& example, const Question& question) {
    const auto line = std::find_if(question.lines.rbegin(), question.lines.rend(), [&](int begin) {
      return example.prompt[static_cast<std::size_t>(begin) + 1] == question.answer;
    });
    return *line + 1;
  }

  Vocabulary vocabulary_;
};

}  // namespace morphkv::tasks

#endif  // MORPHKV_BENCH_TASKS_QUESTIONS_HPP
