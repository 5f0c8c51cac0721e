// SPDX-License-Identifier: Apache-2.0
// Writes and grades examples of the travel log for programs that are not written in C++.
//
//   write_tasks vocabulary                          the words, one a line, in the order of their
//   ids write_tasks show --seed 7                       one example as text write_tasks write
//   --seed 7 --count 64           examples as binary records, see Record write_tasks train --seed 7
//   --count 64 --length 512   the same, with random settings write_tasks grade --seed 7 --count 64
//   < ids     one response a line, as ids; prints a table

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "grader.hpp"
#include "travel_log.hpp"

namespace {

using namespace morphkv::tasks;

// One token; `length` of them make an example, padded with zeros.
struct Record {
  std::uint16_t id = 0;
  std::int16_t source = -1;
  std::uint8_t kind = 0;
  std::uint8_t entry = 0;
};
static_assert(sizeof(Record) == 6);

struct Settings {
  Options options;
  std::uint64_t seed = 1;
  int count = 1;
  int length = 1536;
};

// Example i of a run has its own seed, so that it does not depend on how many are written.
std::uint64_t example_seed(std::uint64_t seed, int index) {
  return seed * 1000003U + static_cast<std::uint64_t>(index);
}

// Settings for training: everything varies, and the response is long enough to fill `length`. Half
// of the short examples are crowded, because rules that come due are what there is to learn from.
Options random_options(int length, Random& random) {
  Options options;
  const bool crowded = length < 512 && random.uniform(0, 1) == 0;
  options.once = crowded ? random.uniform(3, length / 40) : random.uniform(1, 3);
  options.range = crowded ? random.uniform(1, length / 80) : random.uniform(1, 2);
  options.periodic = random.uniform(1, 3);
  const int rules = options.once + options.range + options.periodic;
  options.prompt_tokens = random.uniform(length < 512 ? 0 : 50, std::min(length / 2, 400));
  const int shortest_entry = 9 + 2 * rules;
  const int prompt = std::max(options.prompt_tokens, 17 + 7 * rules);
  const int entries = (length - prompt) / shortest_entry + 1;
  options.entries = std::clamp(entries, 4, Vocabulary::number_count - 2);
  const int latest_start = Vocabulary::number_count - 1 - options.entries;
  options.first_day = random.uniform(0, 1) == 0 ? 0 : random.uniform(0, latest_start);
  return options;
}

void write_records(const Example& example, int length) {
  std::vector<Record> records(static_cast<std::size_t>(length));
  const std::size_t prompt = std::min(example.prompt.size(), records.size());
  for (std::size_t i = 0; i < prompt; ++i) {
    records[i].id = static_cast<std::uint16_t>(example.prompt[i]);
  }
  const std::size_t response = std::min(example.response.size(), records.size() - prompt);
  for (std::size_t i = 0; i < response; ++i) {
    const ResponseToken& token = example.response[i];
    records[prompt + i] = {
        static_cast<std::uint16_t>(token.id), static_cast<std::int16_t>(token.source),
        static_cast<std::uint8_t>(token.kind), static_cast<std::uint8_t>(token.entry)};
  }
  std::fwrite(records.data(), sizeof(Record), records.size(), stdout);
}

void write_examples(const TravelLog& task, const Settings& settings) {
  for (int i = 0; i < settings.count; ++i) {
    write_records(task.make(settings.options, example_seed(settings.seed, i)), settings.length);
  }
}

void write_training(const TravelLog& task, const Settings& settings) {
  for (int i = 0; i < settings.count; ++i) {
    const std::uint64_t seed = example_seed(settings.seed, i);
    Random random(~seed);
    write_records(task.make(random_options(settings.length, random), seed), settings.length);
  }
}

void show(const TravelLog& task, const Settings& settings) {
  const Vocabulary& words = task.vocabulary();
  const Example example = task.make(settings.options, settings.seed);
  const auto print = [&](int id) {
    const std::string& word = words.word(id);
    std::cout << (word == "day" || word == "begin" ? "\n" : " ") << word;
  };
  std::for_each(example.prompt.begin(), example.prompt.end(), print);
  for (const ResponseToken& token : example.response) {
    print(token.id);
  }
  std::cout << "\n(" << example.prompt.size() << " + " << example.response.size() << " tokens)\n";
}

void grade_responses(const TravelLog& task, const Settings& settings) {
  const Grader grader(task);
  Grade total;
  double average = 0;
  for (int i = 0; i < settings.count; ++i) {
    std::string line;
    std::getline(std::cin, line);
    std::istringstream stream(line);
    std::vector<int> response;
    for (int id = 0; stream >> id;) {
      response.push_back(id);
    }
    const Example example = task.make(settings.options, example_seed(settings.seed, i));
    const Grade one = grader.grade(example, response);
    average += one.average() / settings.count;
    total += one;
  }
  std::printf("completion %.4f once %.4f range %.4f periodic %.4f average %.4f unasked %d\n",
              total.completion(), total.accuracy(RuleKind::once), total.accuracy(RuleKind::range),
              total.accuracy(RuleKind::periodic), average, total.unasked);
}

void add_options(CLI::App& command, Settings& settings) {
  command.add_option("--seed", settings.seed, "seed of the first example");
  command.add_option("--count", settings.count, "examples");
  command.add_option("--length", settings.length, "tokens a binary example, padded or cut");
  command.add_option("--entries", settings.options.entries, "days in the log");
  command.add_option("--once", settings.options.once, "rules due on one day");
  command.add_option("--range", settings.options.range, "rules due on several days in a row");
  command.add_option("--periodic", settings.options.periodic, "rules due every few days");
  command.add_option("--prompt-tokens", settings.options.prompt_tokens, "length of the prompt");
  command.add_option("--first-day", settings.options.first_day, "number of the day before");
}

}  // namespace

int main(int argc, char** argv) {
  const TravelLog task;
  Settings settings;
  CLI::App app("Writes and grades travel logs.");
  app.require_subcommand(1);
  const auto command = [&](const char* name, const char* description, auto action) {
    CLI::App* sub = app.add_subcommand(name, description);
    add_options(*sub, settings);
    sub->callback([&, action] { action(task, settings); });
  };
  command("vocabulary", "words in the order of their ids",
          [](const TravelLog& log, const Settings&) {
            for (const std::string& word : log.vocabulary().words()) {
              std::cout << word << '\n';
            }
          });
  command("show", "one example as text", show);
  command("write", "examples as binary records", write_examples);
  command("train", "examples with random settings as binary records", write_training);
  command("grade", "grade responses read from the standard input", grade_responses);
  CLI11_PARSE(app, argc, argv);
  return 0;
}
