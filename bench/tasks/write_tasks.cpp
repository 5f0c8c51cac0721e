// SPDX-License-Identifier: Apache-2.0
// Writes examples of the tasks for programs that are not written in C++.
//
//   write_tasks vocabulary                      the words, one a line, in the order of their ids
//   write_tasks phrases                         the phrases that tell nothing, one a line
//   write_tasks kinds                           what a token can be, see TokenKind
//   write_tasks show --task saga --seed 7       one example as text
//   write_tasks train --seed 7 --count 64       examples with random settings as binary records
//
// --task is travel-log, saga or questions.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include "support/program.hpp"
#include "tasks/families.hpp"
#include "tasks/training_options.hpp"

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
  std::uint64_t seed = 1;
  int count = 1;
  int length = 512;
  int response_tokens = 1000;
  int prompt_tokens = 320;
};

Options options(const TravelLogFamily& /*family*/, const Settings& s) {
  return long_response(s.response_tokens, s.prompt_tokens);
}
SagaOptions options(const SagaFamily& /*family*/, const Settings& s) {
  SagaOptions options = open_writing(s.response_tokens);
  options.prompt_tokens = s.prompt_tokens;
  return options;
}
QuestionsOptions options(const QuestionsFamily& /*family*/, const Settings& s) {
  QuestionsOptions options;
  options.prompt_tokens = s.prompt_tokens;
  return options;
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

template <class AnyFamily>
void write_training(const AnyFamily& family, const Settings& settings) {
  for (int i = 0; i < settings.count; ++i) {
    const std::uint64_t seed = example_seed(settings.seed, i);
    Random random(~seed);
    const auto varied = training_options(family.writer, settings.length, random);
    write_records(family.writer.make(varied, seed), family.writer.vocabulary(), settings.length);
  }
}

template <class AnyFamily>
void show(const AnyFamily& family, const Settings& settings) {
  const Vocabulary& words = family.writer.vocabulary();
  const Text example = family.writer.make(options(family, settings), settings.seed);
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

void add_options(CLI::App& command, Settings& settings) {
  command.add_option("--task", settings.task, "what is written")
      ->check(CLI::IsMember({"travel-log", "saga", "questions"}))
      ->capture_default_str();
  command.add_option("--seed", settings.seed, "of the first example")->capture_default_str();
}

template <class Action>
void with_family(const std::string& task, Action action) {
  if (task == "saga") {
    action(SagaFamily{});
  } else if (task == "questions") {
    action(QuestionsFamily{});
  } else {
    action(TravelLogFamily{});
  }
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app("Writes examples of the tasks of the benchmarks.");
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
  CLI::App* one = app.add_subcommand("show", "one example as text");
  add_options(*one, settings);
  one->add_option("--response-tokens", settings.response_tokens, "length of a log or saga, about")
      ->check(CLI::Range(100, 20000))
      ->capture_default_str();
  one->add_option("--prompt-tokens", settings.prompt_tokens, "length of the prompt, about")
      ->check(CLI::Range(0, 20000))
      ->capture_default_str();
  one->callback(
      [&] { with_family(settings.task, [&](const auto& family) { show(family, settings); }); });
  CLI::App* many = app.add_subcommand("train", "examples with random settings, as records");
  add_options(*many, settings);
  many->add_option("--count", settings.count, "examples")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  many->add_option("--length", settings.length, "tokens of each, padded or cut")
      ->check(CLI::Range(128, 20000))
      ->capture_default_str();
  many->callback([&] {
    with_family(settings.task, [&](const auto& family) { write_training(family, settings); });
  });
  return morphkv::support::run_program("write_tasks", app, argc, argv, [] {});
}
