// SPDX-License-Identifier: Apache-2.0
// Memory against accuracy: trained models write long responses under every policy of the library,
// at equal bytes of the whole cache. Tables here, accuracy.json, and a page.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "accuracy/families.hpp"
#include "accuracy/knob_table.hpp"
#include "accuracy/page.hpp"
#include "accuracy/report.hpp"
#include "accuracy/study.hpp"
#include "accuracy/tables.hpp"
#include "comparison/trails_json.hpp"
#include "llama/load.hpp"
#include "support/output_file.hpp"
#include "support/program.hpp"

namespace {

using namespace morphkv::accuracy;
using morphkv::comparison::Json;
using morphkv::comparison::Outcome;
namespace comparison = morphkv::comparison;
namespace llama = morphkv::llama;

struct Arguments {
  bool quick = false;
  bool full = false;
  bool tune = false;
  std::vector<std::string> families;
  std::vector<std::string> policies;
  std::vector<double> budgets;
  std::vector<std::uint64_t> seeds;
  std::size_t prompts = 0;
  std::size_t threads = 2;
  std::filesystem::path settings = "bench/accuracy/settings.json";
  std::filesystem::path json = "build/reports/accuracy.json";
  std::filesystem::path html = "build/reports/accuracy.html";
};

template <class Items>
std::vector<std::string> keys_of(const Items& items) {
  std::vector<std::string> keys;
  for (const auto& item : items) keys.push_back(item.key);
  return keys;
}

void add_options(CLI::App& app, Arguments& arguments) {
  arguments.families = keys_of(all_families());
  arguments.policies = usual_policies();
  auto* quick = app.add_flag("--quick", arguments.quick,
                             "about a minute: one family, two budgets, wide intervals");
  app.add_flag("--full", arguments.full, "up to 600 prompts in place of 320")->excludes(quick);
  app.add_flag("--tune", arguments.tune,
               "choose the settings of every policy, on other seeds, and write them")
      ->excludes(quick);
  app.add_option("--family", arguments.families, "the kinds of tasks")
      ->delimiter(',')
      ->check(CLI::IsMember(keys_of(all_families())))
      ->capture_default_str();
  app.add_option("--policies", arguments.policies, "what is compared with the full cache")
      ->delimiter(',')
      ->check(CLI::IsMember(keys_of(all_contenders())))
      ->capture_default_str();
  app.add_option("--budgets", arguments.budgets,
                 "per cent of the full cache's bytes (default 5,10,15,25,50; 10,25 with --quick)")
      ->delimiter(',')
      ->check(CLI::Range(1.0, 100.0));
  app.add_option("--seeds", arguments.seeds, "of the prompts (default 11,12,13; 1,2,3 with --tune)")
      ->delimiter(',')
      ->check(CLI::Range(0, 999999));
  app.add_option("--prompts", arguments.prompts,
                 "of each family at most, over all seeds (default 320; 24 with --quick and --tune, "
                 "600 with --full)")
      ->check(CLI::Range(1, 100000));
  app.add_option("--threads", arguments.threads, "prompts that are answered at the same time")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--settings", arguments.settings, "what tuning has chosen, for each policy")
      ->capture_default_str();
  app.add_option("--json", arguments.json, "where the results go")->capture_default_str();
  app.add_option("--html", arguments.html, "where the page goes")->capture_default_str();
}

Plan plan_of(const Arguments& arguments) {
  Plan plan;
  plan.policies = arguments.policies;
  plan.seeds = arguments.seeds;
  if (plan.seeds.empty()) {
    plan.seeds = arguments.tune ? std::vector<std::uint64_t>{1, 2, 3}
                                : std::vector<std::uint64_t>{11, 12, 13};
  }
  std::vector<double> budgets = arguments.budgets;
  if (budgets.empty()) {
    budgets =
        arguments.quick ? std::vector<double>{10, 25} : std::vector<double>{5, 10, 15, 25, 50};
  }
  for (const double budget : budgets) plan.budgets.push_back(budget / 100);
  plan.effort.threads = arguments.threads;
  plan.prompts = arguments.full ? 600 : 320;
  plan.effort.half_width = 0.02;
  if (arguments.quick || arguments.tune) {
    plan.prompts = 24;
    plan.effort.half_width = 0;
  }
  if (arguments.prompts > 0) plan.prompts = arguments.prompts;
  plan.length_prompts = (plan.prompts + 7) / 8;
  for (const std::string& key : length_policies()) {
    if (std::find(plan.policies.begin(), plan.policies.end(), key) != plan.policies.end()) {
      plan.length_policies.push_back(key);
    }
  }
  return plan;
}

std::vector<Family> chosen_families(const Arguments& arguments) {
  std::vector<Family> families = all_families();
  std::erase_if(families, [&](const Family& family) {
    const auto& chosen = arguments.families;
    return std::find(chosen.begin(), chosen.end(), family.key) == chosen.end();
  });
  if (arguments.quick) families.resize(1);
  return families;
}

/// A family's model and words.
struct Writer {
  llama::Model model;
  std::unique_ptr<llama::Tokenizer> tokenizer;

  explicit Writer(const Family& family) {
    const llama::ModelFiles files(family.model);
    model = files.load();
    tokenizer = files.load_tokenizer(model.config);
  }
};

/// The responses that the page shows: the full cache's, and those at two budgets.
Json shown_trails(const FamilyRun& run, const llama::Tokenizer& tokenizer) {
  std::vector<const Outcome*> shown;
  Json indices = Json::array();
  for (std::size_t i = 0; i < run.outcomes.size(); ++i) {
    const double budget = run.outcomes[i].variant.budget;
    if (i > 0 && (budget < 0.09 || (budget > 0.11 && budget < 0.24) || budget > 0.26)) continue;
    shown.push_back(&run.outcomes[i]);
    indices.push_back(i);
  }
  Json json = comparison::trails_json(run.workload, shown, tokenizer);
  json["outcomes"] = indices;
  return json;
}

struct Results {
  Json report;
  Json trails;
};

/// Runs a family and adds it to the results.
void study(const Arguments& arguments, const Plan& plan, const KnobTable& table,
           const Family& family, Results& results) {
  const Writer writer(family);
  const FamilyRun run = run_family(plan, table, family, writer.model);
  print_family(run);
  results.report["families"].push_back(family_json(run));
  results.trails[family.key] = shown_trails(run, *writer.tokenizer);
  const std::vector<Advice> advice = advise(run, plan.budgets);
  print_advice(advice);
  std::fflush(stdout);
  for (const Advice& one : advice) results.report["advice"].push_back(advice_json(one));
  if (family.key != all_families().front().key) return;

  std::vector<LengthRun> lengths;
  if (!arguments.quick) lengths = run_lengths(plan, table, family, writer.model);
  print_lengths(lengths);
  for (const LengthRun& length : lengths) results.report["lengths"].push_back(length_json(length));
  for (const std::string& policy : target_policies()) {
    const std::vector<TargetRow> rows = target_rows(run, lengths, policy);
    print_rows(rows);
    for (const TargetRow& row : rows) results.report["rows"].push_back(row_json(row));
  }
}

void compare(const Arguments& arguments, const Plan& plan, const std::string& command) {
  const auto start = std::chrono::steady_clock::now();
  const KnobTable table(arguments.settings);
  Results results;
  for (const char* list : {"rows", "advice", "families", "lengths"}) {
    results.report[list] = Json::array();
  }
  for (const Family& family : chosen_families(arguments)) {
    study(arguments, plan, table, family, results);
  }
  for (const comparison::Contender& contender : all_contenders()) {
    results.report["policies"][contender.key] = contender.description;
  }
  const comparison::RunFacts facts{command, "", plan.seeds.front(), arguments.threads,
                                   comparison::seconds_since(start)};
  results.report["seeds"] = plan.seeds;
  results.report["run"] = comparison::run_json(facts);
  morphkv::support::write_file(arguments.json, morphkv::comparison::json_text(results.report));
  morphkv::support::write_file(arguments.html, make_page(results.report, results.trails));
  std::printf("\n%s, %s (%.0f s)\n", arguments.html.string().c_str(),
              arguments.json.string().c_str(), facts.seconds);
}

void tune(const Arguments& arguments, const Plan& plan) {
  KnobTable table(arguments.settings);
  for (const Family& family : chosen_families(arguments)) {
    std::printf("\n%s\n", family.title.c_str());
    tune_family(plan, family, Writer(family).model, table);
    table.write(arguments.settings);
  }
  std::printf("\n%s\n", arguments.settings.string().c_str());
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Memory against accuracy: every policy of the library at equal bytes.");
  Arguments arguments;
  add_options(app, arguments);
  return morphkv::support::run_program("accuracy", app, argc, argv, [&] {
    const Plan plan = plan_of(arguments);
    if (arguments.tune) {
      tune(arguments, plan);
    } else {
      compare(arguments, plan, morphkv::support::command_text(argc, argv));
    }
  });
}
