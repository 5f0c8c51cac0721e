// SPDX-License-Identifier: Apache-2.0
// The bytes of a model's caches:
//
//   memory --config Llama-3.1-8B/config.json --tokens 32768 --batch 16 --capacity 2048
//
// Without a model it prints the tables of docs/memory.md; a test compares them with the page.

#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <string>

#include "memory/answer.hpp"
#include "memory/model_config.hpp"
#include "memory/tables.hpp"
#include "policies/command_line.hpp"
#include "support/program.hpp"

namespace {

using namespace morphkv;

struct Arguments {
  std::filesystem::path config;
  memory::Question question;
  bool json = false;
};

void add_options(CLI::App& app, Arguments& arguments) {
  memory::Question& question = arguments.question;
  // With these limits the bytes of a sequence fit 64 bits for any model.
  const CLI::Range counts(1, 1'000'000'000);
  CLI::Option* config =
      app.add_option("--config", arguments.config, "config.json of a Hugging Face model");
  CLI::Option* tokens =
      app.add_option("--tokens", question.tokens, "of a sequence, prompt and response")
          ->check(counts)
          ->needs(config);
  config->needs(tokens);
  app.add_option("--response", question.response,
                 "of these, the tokens after the prompt, which snapkv and "
                 "recommended_for_prompts keep whole")
      ->check(CLI::Range(0, 1'000'000'000))
      ->needs(config)
      ->capture_default_str();
  app.add_option("--batch", question.batch, "sequences at once")
      ->check(counts)
      ->needs(config)
      ->capture_default_str();
  app.add_option("--bits", question.bits, "of an element of a key or value")
      ->check(CLI::IsMember({16, 32}))
      ->needs(config)
      ->capture_default_str();
  app.add_option("--memory", question.memory, "for caches, as 24GiB: how many sequences fit?")
      ->transform(CLI::AsSizeValue(true))
      ->check(CLI::Range(std::uint64_t{1}, std::numeric_limits<std::uint64_t>::max()))
      ->needs(config);
  app.add_flag("--json", arguments.json, "print JSON")->needs(config);
  policies::add_policy_options(app, question.policy);
}

void print_tables() {
  std::printf("%s\n%s\n%s", memory::full_cache_table().c_str(),
              memory::constant_cache_table().c_str(), memory::kinds_table().c_str());
}

void print_answer(Arguments& arguments) {
  memory::Question& question = arguments.question;
  question.model = memory::read_model_config(support::JsonFile(arguments.config));
  const memory::Answer answer = memory::answer_of(question);
  const std::string text = arguments.json ? memory::answer_json(question, answer).dump(1) + "\n"
                                          : memory::answer_text(question, answer);
  std::fputs(text.c_str(), stdout);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "The memory of full and of constant caches; without options, the tables of docs/memory.md.");
  Arguments arguments;
  add_options(app, arguments);
  return support::run_program("memory", app, argc, argv, [&] {
    if (!arguments.config.empty()) return print_answer(arguments);
    if (argc > 1) policies::refuse("config", "(none)", "given with any other option");
    print_tables();
  });
}
