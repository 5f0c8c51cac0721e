// SPDX-License-Identifier: Apache-2.0
// Writes and grades examples of the tasks for programs that are not written in C++.
//
//   write_tasks vocabulary                      the words, one a line, in the order of their ids
//   write_tasks phrases                         the phrases that tell nothing, one a line
//   write_tasks kinds                           what a token can be, see TokenKind
//   write_tasks show --task saga --seed 7       one example as text
//   write_tasks write --seed 7 --count 64       examples as binary records, see Record
//   write_tasks train --seed 7 --length 512     the same, with random settings
//   write_tasks grade --seed 7 --count 64       one response a line, as ids; prints a table
//
// --task is travel-log, saga or questions.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "grader.hpp"
#include "questions_grader.hpp"
#include "saga_grader.hpp"
#include "training_options.hpp"
#include "travel_log.hpp"

namespace {

using namespace morphkv::tasks;

// One token; `length` of them make an example, padded with zeros. In the prompt, `entry` counts the
// lines (modulo 256).
struct Record {
  std::uint16_t id = 0;
  std::int16_t source = -1;
  std::uint8_t kind = 0;
  std::uint8_t entry = 0;
};
static_assert(sizeof(Record) == 6);

struct Settings {
  std::string task = "travel-log";
  Options travel_log;
  SagaOptions saga;
  QuestionsOptions questions;
  std::uint64_t seed = 1;
  int count = 1;
  int length = 1536;
  int response_tokens = 0;  // if given, a preset
  int prompt_tokens = 0;
};

// A task with what writes, sets and grades it.
struct TravelLogTask {
  TravelLog writer;
  static Options options(const Settings& s) {
    return s.response_tokens > 0 ? long_response(s.response_tokens, s.prompt_tokens) : s.travel_log;
  }
  using Marks = Grade;
  [[nodiscard]] Grade grade(const Example& example, const std::vector<int>& response) const {
    return Grader(writer).grade(example, response);
  }
  static void print(const Grade& total) {
    std::printf("completion %.4f once %.4f range %.4f periodic %.4f unasked %d", total.completion(),
                total.accuracy(RuleKind::once), total.accuracy(RuleKind::range),
                total.accuracy(RuleKind::periodic), total.unasked);
  }
};

struct SagaTask {
  SagaWriter writer;
  static SagaOptions options(const Settings& s) {
    return s.response_tokens > 0 ? open_writing(s.response_tokens) : s.saga;
  }
  using Marks = SagaGrade;
  [[nodiscard]] SagaGrade grade(const Saga& saga, const std::vector<int>& response) const {
    return SagaGrader(writer).grade(saga, response);
  }
  static void print(const SagaGrade& total) {
    std::printf("completion %.4f plan %.4f home %.4f trade %.4f keepsake %.4f", total.completion(),
                total.plan(), total.consistency(0), total.consistency(1), total.consistency(2));
  }
};

struct QuestionsTask {
  QuestionsWriter writer;
  static QuestionsOptions options(const Settings& s) {
    QuestionsOptions options = s.questions;
    options.prompt_tokens = s.prompt_tokens;
    return options;
  }
  using Marks = QuestionsGrade;
  [[nodiscard]] QuestionsGrade grade(const Questions& example,
                                     const std::vector<int>& response) const {
    return QuestionsGrader(writer).grade(example, response);
  }
  static void print(const QuestionsGrade& total) {
    std::printf("completion %.4f retrieval %.4f multi_hop %.4f few_shot %.4f count %.4f",
                total.completion(), total.accuracy(QuestionKind::retrieval),
                total.accuracy(QuestionKind::multi_hop), total.accuracy(QuestionKind::few_shot),
                total.accuracy(QuestionKind::count));
  }
};

// Example i of a run has its own seed, so that it does not depend on how many are written.
std::uint64_t example_seed(std::uint64_t seed, int index) {
  return seed * 1000003U + static_cast<std::uint64_t>(index);
}

void write_records(const Text& text, const Vocabulary& words, int length) {
  std::vector<Record> records(static_cast<std::size_t>(length));
  const std::size_t prompt = std::min(text.prompt.size(), records.size());
  std::uint8_t line = 0;
  for (std::size_t i = 0; i < prompt; ++i) {
    records[i].id = static_cast<std::uint16_t>(text.prompt[i]);
    records[i].entry = line;
    if (i < text.lines_end && text.prompt[i] == words.id(".")) {
      ++line;
    }
  }
  const std::size_t response = std::min(text.response.size(), records.size() - prompt);
  for (std::size_t i = 0; i < response; ++i) {
    const ResponseToken& token = text.response[i];
    records[prompt + i] = {
        static_cast<std::uint16_t>(token.id), static_cast<std::int16_t>(token.source),
        static_cast<std::uint8_t>(token.kind), static_cast<std::uint8_t>(token.entry)};
  }
  std::fwrite(records.data(), sizeof(Record), records.size(), stdout);
}

template <class Task>
void write_examples(const Task& task, const Settings& settings) {
  for (int i = 0; i < settings.count; ++i) {
    write_records(task.writer.make(Task::options(settings), example_seed(settings.seed, i)),
                  task.writer.vocabulary(), settings.length);
  }
}

template <class Task>
void write_training(const Task& task, const Settings& settings) {
  for (int i = 0; i < settings.count; ++i) {
    const std::uint64_t seed = example_seed(settings.seed, i);
    Random random(~seed);
    const auto options = training_options(task.writer, settings.length, random);
    write_records(task.writer.make(options, seed), task.writer.vocabulary(), settings.length);
  }
}

template <class Task>
void show(const Task& task, const Settings& settings) {
  const Vocabulary& words = task.writer.vocabulary();
  const Text example = task.writer.make(Task::options(settings), settings.seed);
  const auto print = [&](int id) {
    const std::string& word = words.word(id);
    const bool new_line = word == "day" || word == "begin" || word == "scene" || word == "ask";
    std::cout << (new_line ? "\n" : " ") << word;
  };
  std::for_each(example.prompt.begin(), example.prompt.end(), print);
  for (const ResponseToken& token : example.response) {
    print(token.id);
  }
  std::cout << "\n(" << example.prompt.size() << " + " << example.response.size() << " tokens)\n";
}

template <class Task>
void grade_responses(const Task& task, const Settings& settings) {
  typename Task::Marks total;
  double average = 0;
  for (int i = 0; i < settings.count; ++i) {
    std::string line;
    std::getline(std::cin, line);
    std::istringstream stream(line);
    std::vector<int> response;
    for (int id = 0; stream >> id;) {
      response.push_back(id);
    }
    const auto example = task.writer.make(Task::options(settings), example_seed(settings.seed, i));
    const auto one = task.grade(example, response);
    average += one.average() / settings.count;
    total += one;
  }
  Task::print(total);
  std::printf(" average %.4f\n", average);
}

void add_options(CLI::App& command, Settings& settings) {
  command.add_option("--task", settings.task, "what is written")
      ->check(CLI::IsMember({"travel-log", "saga", "questions"}));
  command.add_option("--seed", settings.seed, "seed of the first example");
  command.add_option("--count", settings.count, "examples");
  command.add_option("--length", settings.length, "tokens a binary example, padded or cut");
  command.add_option("--response-tokens", settings.response_tokens,
                     "travel log, saga: the settings for about so long a response");
  command.add_option("--prompt-tokens", settings.prompt_tokens, "length of the prompt, about");
  Options& log = settings.travel_log;
  command.add_option("--entries", log.entries, "travel log: days");
  command.add_option("--once", log.once, "travel log: rules due on one day");
  command.add_option("--range", log.range, "travel log: rules due on several days in a row");
  command.add_option("--periodic", log.periodic, "travel log: rules due every few days");
  command.add_option("--first-day", log.first_day, "travel log: number of the day before");
  command.add_option("--scenes", settings.saga.scenes, "saga: scenes");
  command.add_option("--cast", settings.saga.cast, "saga: people");
  command.add_option("--phrases", settings.saga.phrases, "saga: phrases after a statement");
}

template <class Action>
void with_task(Settings& settings, Action action) {
  if (settings.task == "saga") {
    settings.saga.prompt_tokens = settings.prompt_tokens;
    action(SagaTask{}, settings);
  } else if (settings.task == "questions") {
    if (settings.prompt_tokens == 0) {
      settings.prompt_tokens = QuestionsOptions{}.prompt_tokens;
    }
    action(QuestionsTask{}, settings);
  } else {
    if (settings.prompt_tokens == 0) {
      settings.prompt_tokens = Options{}.prompt_tokens;
    }
    settings.travel_log.prompt_tokens = settings.prompt_tokens;
    action(TravelLogTask{}, settings);
  }
}

void run(int argc, char** argv) {
  Settings settings;
  CLI::App app("Writes and grades the tasks of the benchmarks.");
  app.require_subcommand(1);
  const auto list = [&](const char* name, const char* description, auto range) {
    app.add_subcommand(name, description)->callback([range] {
      for (const auto& word : range) {
        std::cout << word << '\n';
      }
    });
  };
  const Vocabulary vocabulary;
  list("vocabulary", "words in the order of their ids", vocabulary.words());
  list("phrases", "phrases that tell nothing", vocabulary.filler());
  list("kinds", "what a token can be", token_kind_names);
  const auto command = [&](const char* name, const char* description, auto action) {
    CLI::App* sub = app.add_subcommand(name, description);
    add_options(*sub, settings);
    sub->callback([&, action] { with_task(settings, action); });
  };
  command("show", "one example as text", [](const auto& t, const Settings& s) { show(t, s); });
  command("write", "examples as binary records",
          [](const auto& t, const Settings& s) { write_examples(t, s); });
  command("train", "examples with random settings as binary records",
          [](const auto& t, const Settings& s) { write_training(t, s); });
  command("grade", "grade responses read from the standard input",
          [](const auto& t, const Settings& s) { grade_responses(t, s); });
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "write_tasks: %s\n", error.what());
    return 1;
  }
  return 0;
}
