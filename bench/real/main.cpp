// SPDX-License-Identifier: Apache-2.0
// Every policy on a real model, at equal bytes: what a cache loses of the language, which facts it
// can still look up, and what long responses become. Tables here, real.json, and a page.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "comparison/progress.hpp"
#include "comparison/run_json.hpp"
#include "llama/load.hpp"
#include "real/accuracy_rows.hpp"
#include "real/kvpress.hpp"
#include "real/page.hpp"
#include "real/report.hpp"
#include "real/study.hpp"
#include "real/tables.hpp"
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
  std::vector<std::string> measures;
  Plan plan;
  std::filesystem::path model = "build/models/smollm2";
  std::filesystem::path texts = "build/texts";
  std::string long_text = "essay";
  std::filesystem::path kvpress;
  std::filesystem::path accuracy;
  std::filesystem::path accuracy_before;
  std::filesystem::path json = "build/reports/real.json";
  std::filesystem::path html = "build/reports/real.html";
};

std::vector<std::string> names_of_measures() {
  std::vector<std::string> names;
  for (const auto& [name, measure] : measures()) names.push_back(name);
  return names;
}

void add_options(CLI::App& app, Arguments& arguments) {
  Plan& plan = arguments.plan;
  const auto add_size = [&app](const char* name, std::size_t& value, std::size_t least,
                               std::size_t largest, const char* meaning) {
    app.add_option(name, value, meaning)->check(CLI::Range(least, largest))->capture_default_str();
  };
  constexpr std::size_t million = 1000000;
  app.add_flag(
      "--quick", arguments.quick,
      "minutes: two texts, capacity 512, 256 tokens after the prompt, one look-up per task "
      "and depth, one short response");
  app.add_option("--measures", arguments.measures, "what is measured; default: all")
      ->delimiter(',')
      ->check(CLI::IsMember(names_of_measures()));
  app.add_option("--model", arguments.model, "a Hugging Face folder; questions are asked in ChatML")
      ->capture_default_str();
  app.add_option("--texts", arguments.texts, "a folder of .txt files")->capture_default_str();
  app.add_option("--capacities", plan.capacities, "slots per head of recommended")
      ->delimiter(',')
      ->check(CLI::Range(128, 1000000))
      ->capture_default_str();
  app.add_option("--format-slots", plan.format_slots,
                 "slots per head of the 16-bit caches of formats")
      ->delimiter(',')
      ->check(CLI::Range(16, 1000000))
      ->capture_default_str();
  add_size("--prompt", plan.prompt, 1, million, "tokens of a text that are read as one block");
  add_size("--response", plan.response, 2, million, "tokens that are read one by one after it");
  app.add_option("--long-text", arguments.long_text, "the text whose end is the long text")
      ->capture_default_str();
  add_size("--long-prompt", plan.long_prompt, 0, million,
           "tokens of the long text that are read as one block; 0: it is left out");
  add_size("--long-response", plan.long_response, 2, million, "tokens that are read after it");
  app.add_option("--depths", plan.depths, "of look-ups, as shares of the text")
      ->delimiter(',')
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  add_size("--lookups", plan.lookups, 1, 1000, "of each task, for each depth");
  add_size("--stories", plan.stories, 1, std::size(story_prompts),
           "long responses that each cache of the middle capacity writes");
  add_size("--story-tokens", plan.story_tokens, 2, million, "tokens of each");
  add_size("--cut", plan.cut, 2, million, "one in so many tokens of a cut prompt is kept");
  app.add_option("--kvpress", arguments.kvpress,
                 "figures of kvpress: a JSON list of {press, text, nll_lost}")
      ->check(CLI::ExistingFile);
  app.add_option("--accuracy", arguments.accuracy, "an accuracy.json of ./run bench accuracy")
      ->check(CLI::ExistingFile);
  app.add_option("--accuracy-before", arguments.accuracy_before,
                 "one of an earlier version, with which it is compared")
      ->check(CLI::ExistingFile)
      ->needs("--accuracy");
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
  plan.format_slots = {256};
  plan.response = 256;
  plan.long_prompt = 2048;
  plan.long_response = 256;
  plan.lookups = 1;
  plan.stories = 1;
  plan.story_tokens = 512;
}

/// \throws std::invalid_argument if the text is too short. \param what needs so many tokens
void require_tokens(const Text& text, std::size_t needed, const char* what) {
  if (text.tokens.size() >= needed) return;
  throw std::invalid_argument("text " + text.name + ": " + std::to_string(text.tokens.size()) +
                              " tokens: must be at least " + std::to_string(needed) + ", " + what);
}

/// \throws std::invalid_argument if the model was not made for so many tokens
void require_context(const Plan& plan, std::size_t context) {
  if (plan.long_prompt + plan.long_response <= context) return;
  throw std::invalid_argument(
      "--long-prompt + --long-response = " + std::to_string(plan.long_prompt + plan.long_response) +
      ": must be at most " + std::to_string(context) + ", the context of the model");
}

Text load_text(const std::filesystem::path& file, const llama::Tokenizer& tokenizer) {
  support::InputFile input(file);
  return {file.stem().string(), tokenizer.encode(input.read_text(input.size(), "the text"))};
}

/// \throws std::invalid_argument if a text is too short, or there is none.
std::vector<Text> load_texts(const Arguments& arguments, const llama::Tokenizer& tokenizer) {
  std::vector<Text> texts;
  for (const auto& file : llama::files_in(arguments.texts, ".txt")) {
    if (arguments.quick && texts.size() == 2) break;
    texts.push_back(load_text(file, tokenizer));
    require_tokens(texts.back(), arguments.plan.prompt + arguments.plan.response,
                   "the prompt and the response");
  }
  if (texts.empty()) {
    throw std::invalid_argument(
        "--texts = " + arguments.texts.string() +
        ": must be a folder with .txt files; bench/real/texts.py makes one");
  }
  return texts;
}

/// The end of the text that is named for it: its beginning is one of the other texts.
Text load_long_text(const Arguments& arguments, const llama::Tokenizer& tokenizer) {
  const std::size_t needed = arguments.plan.long_prompt + arguments.plan.long_response;
  Text text = load_text(arguments.texts / (arguments.long_text + ".txt"), tokenizer);
  require_tokens(text, needed, "the long prompt and its response");
  text.tokens.erase(text.tokens.begin(), text.tokens.end() - static_cast<std::ptrdiff_t>(needed));
  return text;
}

void run(Arguments arguments, const std::string& command) {
  Plan& plan = arguments.plan;
  if (arguments.quick) make_quick(plan);
  if (!arguments.measures.empty()) {
    plan.measures.clear();
    for (const std::string& name : arguments.measures) plan.measures.push_back(measures().at(name));
  }
  if (plan.long_prompt == 0) std::erase(plan.measures, Measure::long_text);
  // Files are read first: what is wrong with them is known before the work.
  PressFigures press_figures;
  if (!arguments.kvpress.empty()) {
    press_figures = read_press_figures(arguments.kvpress, plan.prompt / plan.cut);
  }
  std::vector<Row> more_rows;
  if (!arguments.accuracy.empty()) {
    more_rows = accuracy_rows(arguments.accuracy, arguments.accuracy_before);
  }
  const llama::ModelFiles files(arguments.model);
  const llama::Model model = files.load();
  if (plan.has(Measure::long_text)) require_context(plan, model.config.context);
  const auto tokenizer = files.load_tokenizer(model.config);
  const std::vector<Text> texts = load_texts(arguments, *tokenizer);
  const Text long_text =
      plan.has(Measure::long_text) ? load_long_text(arguments, *tokenizer) : Text();

  Study study(model, *tokenizer, texts, long_text, plan);
  Results results;
  double seconds = 0;
  {
    comparison::Progress progress(study.total_tokens(), "tokens");
    results = std::move(study).run(
        [&](std::size_t tokens, const std::string& what) { progress.advance(tokens, what); });
    seconds = progress.seconds();
  }

  std::vector<Row> rows = target_rows(results, plan);
  if (!results.cut_texts.empty()) rows.push_back(prompt_cut_row(results, press_figures));
  rows.insert(rows.end(), more_rows.begin(), more_rows.end());
  comparison::Json report = report_json(results, plan, rows);
  report["run"] =
      comparison::run_json({command, files.name(), std::uint64_t{1}, plan.threads, seconds});
  report["run"]["model"] = comparison::model_json(model, files.name());
  print_report(report);
  support::write_file(arguments.json, comparison::json_text(report));
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
