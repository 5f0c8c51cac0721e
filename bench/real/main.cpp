// SPDX-License-Identifier: Apache-2.0
// Every policy on a real model, at equal bytes: what a cache loses of the language, and which facts
// it can still look up. Tables here, real.json, and a page.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "comparison/progress.hpp"
#include "comparison/run_json.hpp"
#include "llama/load.hpp"
#include "real/page.hpp"
#include "real/report.hpp"
#include "real/study.hpp"
#include "support/input_file.hpp"
#include "support/output_file.hpp"
#include "support/program.hpp"

namespace {

using namespace morphkv::real;
namespace comparison = morphkv::comparison;
namespace llama = morphkv::llama;
namespace support = morphkv::support;

struct Arguments {
  bool quick = false;
  Plan plan;
  std::filesystem::path model = "build/models/smollm2";
  std::filesystem::path texts = "build/texts";
  std::filesystem::path json = "build/reports/real.json";
  std::filesystem::path html = "build/reports/real.html";
};

void add_options(CLI::App& app, Arguments& arguments) {
  Plan& plan = arguments.plan;
  app.add_flag("--quick", arguments.quick,
               "minutes: two texts, capacity 512, 256 tokens after the prompt, one passkey per "
               "depth");
  app.add_option("--model", arguments.model, "a Hugging Face folder; passkeys are asked in ChatML")
      ->capture_default_str();
  app.add_option("--texts", arguments.texts, "a folder of .txt files")->capture_default_str();
  app.add_option("--capacities", plan.capacities, "slots per head of recommended")
      ->delimiter(',')
      ->check(CLI::Range(128, 1000000))
      ->capture_default_str();
  app.add_option("--prompt", plan.prompt, "tokens of a text that are read as one block")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  app.add_option("--response", plan.response, "tokens that are read one by one after it")
      ->check(CLI::Range(2, 1000000))
      ->capture_default_str();
  app.add_option("--passkeys", plan.passkeys, "for each depth")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--side-by-side", plan.side_by_side,
                 "texts in one pass over the weights: more is faster and takes more memory")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--threads", plan.threads, "that compute")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--json", arguments.json, "where the results go")->capture_default_str();
  app.add_option("--html", arguments.html, "where the page goes")->capture_default_str();
}

void make_quick(Plan& plan) {
  plan.capacities = {512};
  plan.response = 256;
  plan.passkeys = 1;
}

/// \throws std::invalid_argument if a text is too short, or there is none.
std::vector<Text> load_texts(const Arguments& arguments, const llama::Tokenizer& tokenizer) {
  const std::size_t needed = arguments.plan.prompt + arguments.plan.response;
  std::vector<Text> texts;
  for (const auto& file : llama::files_in(arguments.texts, ".txt")) {
    if (arguments.quick && texts.size() == 2) break;
    support::InputFile input(file);
    Text text{file.stem().string(), tokenizer.encode(input.read_text(input.size(), "the text"))};
    if (text.tokens.size() < needed) {
      throw std::invalid_argument(file.string() + ": " + std::to_string(text.tokens.size()) +
                                  " tokens: must be at least " + std::to_string(needed) +
                                  ", the prompt and the response");
    }
    texts.push_back(std::move(text));
  }
  if (texts.empty()) {
    throw std::invalid_argument(
        "--texts = " + arguments.texts.string() +
        ": must be a folder with .txt files; bench/real/texts.py makes one");
  }
  return texts;
}

void run(Arguments arguments, const std::string& command) {
  if (arguments.quick) make_quick(arguments.plan);
  const Plan& plan = arguments.plan;
  const llama::ModelFiles files(arguments.model);
  const llama::Model model = files.load();
  const auto tokenizer = files.load_tokenizer(model.config);
  const std::vector<Text> texts = load_texts(arguments, *tokenizer);

  Study study(model, *tokenizer, texts, plan);
  Results results;
  double seconds = 0;
  {
    comparison::Progress progress(study.total_tokens(), "tokens");
    results = std::move(study).run(
        [&](std::size_t tokens, const std::string& what) { progress.advance(tokens, what); });
    seconds = progress.seconds();
  }

  comparison::Json report = report_json(results, plan);
  report["run"] =
      comparison::run_json({command, files.name(), std::uint64_t{1}, plan.threads, seconds});
  report["run"]["model"] = comparison::model_json(model, files.name());
  print_report(report);
  support::write_file(arguments.json, report.dump(1) + "\n");
  support::write_file(arguments.html, make_page(report, trails_json(results, *tokenizer)));
  std::printf("\n%s, %s (%.0f s)\n", arguments.html.string().c_str(),
              arguments.json.string().c_str(), seconds);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Every policy on a real model, at equal bytes.");
  Arguments arguments;
  add_options(app, arguments);
  return support::run_program("real", app, argc, argv,
                              [&] { run(arguments, support::command_text(argc, argv)); });
}
