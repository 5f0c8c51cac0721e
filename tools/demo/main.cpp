// SPDX-License-Identifier: Apache-2.0
// A trained model writes long responses with the full cache and with each policy at several memory
// budgets: a table here, and a page with the plot, the heads and the words.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "comparison/contenders.hpp"
#include "comparison/experiment.hpp"
#include "comparison/progress.hpp"
#include "comparison/trails_json.hpp"
#include "comparison/travel_log_workload.hpp"
#include "demo/headline.hpp"
#include "demo/page.hpp"
#include "demo/real_text.hpp"
#include "demo/report.hpp"
#include "demo/story_workload.hpp"
#include "demo/table.hpp"
#include "llama/load.hpp"
#include "support/output_file.hpp"
#include "support/program.hpp"

namespace {

using namespace morphkv;
using namespace morphkv::comparison;
using namespace morphkv::demo;

struct Arguments {
  std::filesystem::path model = "bench/models/three-tasks";
  std::size_t prompts = 32;
  std::vector<double> budgets = {10, 25, 50};
  std::vector<std::string> policies;
  std::uint64_t seed = 7;
  double window = 50;
  std::size_t threads = 2;
  std::filesystem::path output = "build/reports";
  std::filesystem::path real_model = "build/models/smollm2";
  RealTextOptions real_text;
};

void add_options(CLI::App& app, Arguments& arguments) {
  std::vector<std::string> keys;
  for (const Contender& contender : library_contenders()) {
    keys.push_back(contender.key);
    if (contender.key != "decayed_max") arguments.policies.push_back(contender.key);
  }
  app.add_option("--model", arguments.model,
                 "folder with config.json and safetensors, or a llama2.c checkpoint")
      ->capture_default_str();
  app.add_option("--prompts", arguments.prompts, "responses per policy")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  app.add_option("--budgets", arguments.budgets, "per cent of the full cache's bytes")
      ->delimiter(',')
      ->check(CLI::Range(1.0, 100.0))
      ->capture_default_str();
  app.add_option("--policies", arguments.policies, "policies to compare with the full cache")
      ->delimiter(',')
      ->check(CLI::IsMember(keys))
      ->capture_default_str();
  app.add_option("--seed", arguments.seed, "of the prompts, and of the policy Random")
      ->check(CLI::Range(0, 999999))
      ->capture_default_str();
  app.add_option("--window", arguments.window,
                 "recent tokens that are kept, in per cent of the capacity")
      ->check(CLI::Range(1.0, 90.0))
      ->capture_default_str();
  app.add_option("--threads", arguments.threads, "responses written at once")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option(
         "--real-model", arguments.real_model,
         "a Hugging Face folder with a chat template; where it is present, the page also shows "
         "a text that it has read")
      ->capture_default_str();
  app.add_option("--real-text", arguments.real_text.text, "what it reads")->capture_default_str();
  app.add_option("--output", arguments.output, "folder for demo.json and demo.html")
      ->capture_default_str();
}

Workload make_workload(const Arguments& arguments, const llama::Tokenizer& tokenizer,
                       const llama::Config& config) {
  if (speaks_travel_log(tokenizer, config.vocabulary)) {
    return travel_log_workload(arguments.prompts, {{arguments.seed}});
  }
  return story_workload(tokenizer, config, arguments.prompts,
                        static_cast<unsigned>(arguments.seed));
}

std::vector<Variant> make_variants(const Arguments& arguments, const CacheShape& shape,
                                   const Workload& workload) {
  const Task task = task_of(workload, arguments.seed);
  const double full = full_bytes(shape, workload);
  std::vector<Variant> variants = {full_variant()};
  for (const double percent_of_full : arguments.budgets) {
    const double budget = percent_of_full / 100;
    for (const Contender& contender : library_contenders()) {
      const auto& chosen = arguments.policies;
      if (std::find(chosen.begin(), chosen.end(), contender.key) == chosen.end()) continue;
      Knobs knobs = contender.candidates.front();
      if (knobs.window > 0) knobs.window = arguments.window / 100;
      const auto bytes = static_cast<std::size_t>(budget * full);
      const auto variant = contender.fit(shape, task, knobs, budget, bytes);
      if (variant) variants.push_back(*variant);
    }
  }
  return variants;
}

void introduce(const Arguments& arguments, const llama::Config& c, const Workload& workload) {
  const Prompt& first = workload.prompts.front();
  std::printf(
      "%s: %zu layers, %zu query heads, %zu KV heads of %zu. Task: %s, %zu prompts\n"
      "of about %zu tokens, responses of about %zu, seed %llu, %zu threads.\n\n",
      llama::ModelFiles(arguments.model).name().c_str(), c.layers, c.query_heads, c.kv_heads,
      c.head_dim, workload.task.c_str(), workload.prompts.size(), first.tokens.size(),
      first.response_tokens, static_cast<unsigned long long>(arguments.seed), arguments.threads);
  std::fflush(stdout);
}

nlohmann::ordered_json real_text(const Arguments& arguments) {
  if (!std::filesystem::exists(arguments.real_model / "config.json")) {
    std::printf("\nNo real model in %s: the page goes without a real text (./run model smollm2).\n",
                arguments.real_model.string().c_str());
    return nullptr;
  }
  std::printf("\n%s reads %s.\n", arguments.real_model.string().c_str(),
              arguments.real_text.text.string().c_str());
  std::fflush(stdout);
  return real_text_json(arguments.real_model, arguments.real_text, arguments.seed,
                        arguments.threads);
}

void run(const Arguments& arguments, const std::string& command) {
  const auto start = std::chrono::steady_clock::now();
  const llama::ModelFiles files(arguments.model);
  const llama::Model model = files.load();
  const std::unique_ptr<llama::Tokenizer> tokenizer = files.load_tokenizer(model.config);
  Workload workload = make_workload(arguments, *tokenizer, model.config);
  if (!workload.is_graded()) settle_lengths(model, workload, arguments.threads);
  introduce(arguments, model.config, workload);
  const std::vector<Outcome> outcomes =
      run_experiment(model, workload, make_variants(arguments, model.shape(), workload),
                     {.threads = arguments.threads});
  print_table(outcomes, workload);
  const RunFacts facts{command, files.name(), arguments.seed, arguments.threads,
                       seconds_since(start)};
  const auto figures = figures_json(model, workload, outcomes, facts);
  support::write_file(arguments.output / "demo.json", json_text(figures));
  std::vector<const Outcome*> all(outcomes.size());
  std::transform(outcomes.begin(), outcomes.end(), all.begin(),
                 [](const Outcome& outcome) { return &outcome; });
  const auto real = real_text(arguments);
  support::write_file(arguments.output / "demo.html",
                      make_page(figures, trails_json(workload, all, *tokenizer), real));
  std::printf("\n%s.\n%s, %s (%.0f s)\n", headline(outcomes, workload).c_str(),
              (arguments.output / "demo.html").string().c_str(),
              (arguments.output / "demo.json").string().c_str(), facts.seconds);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Compares eviction policies: one model, long responses, equal memory.");
  Arguments arguments;
  add_options(app, arguments);
  return support::run_program("demo", app, argc, argv,
                              [&] { run(arguments, support::command_text(argc, argv)); });
}
