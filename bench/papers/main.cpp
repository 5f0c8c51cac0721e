// SPDX-License-Identifier: Apache-2.0
// The papers' own files under any policy, beside the full cache: predictions for the authors'
// scripts, and the scores that are exact here. Tables, papers.json, and a page.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "comparison/progress.hpp"
#include "comparison/run_json.hpp"
#include "llama/load.hpp"
#include "llama/sampler.hpp"
#include "llama/sampling_command_line.hpp"
#include "papers/benchmarks.hpp"
#include "papers/page.hpp"
#include "papers/prompts.hpp"
#include "papers/report.hpp"
#include "papers/run.hpp"
#include "policies/command_line.hpp"
#include "support/output_file.hpp"
#include "support/program.hpp"

namespace {

using namespace morphkv::papers;
namespace comparison = morphkv::comparison;
namespace llama = morphkv::llama;
namespace policies = morphkv::policies;
namespace support = morphkv::support;

struct Arguments {
  std::vector<std::filesystem::path> files;
  std::filesystem::path model = "build/models/smollm2";
  policies::PolicyChoice policy;
  std::size_t limit = static_cast<std::size_t>(-1);
  std::optional<std::size_t> max_tokens;
  std::optional<std::size_t> max_prompt;
  std::filesystem::path templates;
  std::filesystem::path max_lengths;
  ChatUse chat = ChatUse::as_the_authors;
  llama::SamplingOptions sampling;
  std::size_t threads = (std::max)(std::thread::hardware_concurrency(), 1U);
  std::filesystem::path predictions = "build/reports/papers";
  std::filesystem::path json = "build/reports/papers.json";
  std::filesystem::path html = "build/reports/papers.html";
};

void add_options(CLI::App& app, Arguments& a) {
  constexpr std::size_t largest = 100000000;
  const std::map<std::string, ChatUse> uses = {
      {"auto", ChatUse::as_the_authors}, {"always", ChatUse::always}, {"never", ChatUse::never}};
  app.add_option("files", a.files,
                 "of LongGenBench, LongWriter, LongBench or RULER, as the authors publish them")
      ->required();
  app.add_option("--model", a.model, "Hugging Face folder, or a llama2.c checkpoint")
      ->capture_default_str();
  app.add_option("--limit", a.limit,
                 "prompts of each type (LongGenBench), dataset (LongBench), range of lengths "
                 "(LongWriter) and file (RULER)")
      ->check(CLI::Range(std::size_t{1}, largest));
  app.add_option("--tokens", a.max_tokens,
                 "maximum of tokens of a response; otherwise as the authors")
      ->check(CLI::Range(std::size_t{1}, largest));
  app.add_option("--max-prompt", a.max_prompt,
                 "tokens above which the middle of LongBench's prompts is left out; otherwise what "
                 "the model's context allows")
      ->check(CLI::Range(std::size_t{2}, largest));
  app.add_option("--prompts", a.templates, "LongBench's config/dataset2prompt.json");
  app.add_option("--max-lengths", a.max_lengths, "LongBench's config/dataset2maxlen.json");
  app.add_option("--chat", a.chat,
                 "use the model's chat format: auto (where the authors do), always, never")
      ->transform(CLI::CheckedTransformer(uses))
      ->default_str("auto");
  llama::add_sampling_options(app, a.sampling);
  app.add_option("--threads", a.threads, "prompts that are answered at a time")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--predictions", a.predictions,
                 "where the files for the authors' scripts go: a folder per policy")
      ->capture_default_str();
  app.add_option("--json", a.json, "where the results go")->capture_default_str();
  app.add_option("--html", a.html, "where the page goes")->capture_default_str();
  policies::add_policy_options(app, a.policy);
  app.get_option("--policy")
      ->description(
          "what the caches keep, beside the full one: policies below, with commas "
          "between them; each takes those of the options that it has")
      ->join(',');
}

/// \throws std::runtime_error if a file is not valid, or two would have the same predictions
std::vector<Task> load_tasks(const Arguments& arguments) {
  TaskOptions options;
  options.max_tokens = arguments.max_tokens;
  if (!arguments.templates.empty()) options.templates.emplace(arguments.templates);
  if (!arguments.max_lengths.empty()) options.max_lengths.emplace(arguments.max_lengths);
  std::vector<Task> tasks;
  std::map<std::string, std::filesystem::path> sources;
  for (const auto& file : arguments.files) {
    for (Task& task : read_tasks(file, options, arguments.limit)) {
      const auto& source = sources.emplace(task.output, file).first->second;
      if (source != file) {
        support::fail(
            file, "its predictions would replace those of " + source.string() + ", " + task.output);
      }
      tasks.push_back(std::move(task));
    }
  }
  std::stable_sort(tasks.begin(), tasks.end(), [](const Task& a, const Task& b) {
    return a.benchmark != b.benchmark ? a.benchmark < b.benchmark : a.output < b.output;
  });
  return tasks;
}

/// The model's chat format; null if it has none, or none is used.
std::unique_ptr<llama::Chat> load_chat(ChatUse use, const llama::ModelFiles& files) {
  if (use == ChatUse::never) return nullptr;
  std::string source = files.chat_template();
  if (source.empty() && use == ChatUse::as_the_authors) return nullptr;
  return std::make_unique<llama::Chat>(std::move(source));
}

std::vector<Outcome> encode(std::vector<Task> tasks, const PromptEncoder& encoder) {
  std::vector<Outcome> outcomes;
  for (Task& task : tasks) {
    EncodedPrompt prompt = encoder(task);
    outcomes.push_back({std::move(task), std::move(prompt), {}});
  }
  return outcomes;
}

/// A file that is to be written: what cannot be written is known before the model runs.
std::unique_ptr<support::OutputFile> opened(const std::filesystem::path& path) {
  std::error_code error;
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path(), error);
  return std::make_unique<support::OutputFile>(path);
}

void write(support::OutputFile& file, const std::string& text) {
  file.stream() << text;
  file.finish();
}

/// Answers the prompts of one file of predictions after the other, and writes it.
void answer(std::vector<Outcome>& outcomes, const Runner& runner,
            const std::filesystem::path& folder, comparison::Progress& progress) {
  for (auto begin = outcomes.begin(); begin != outcomes.end();) {
    const std::string& output = begin->task.output;
    const auto end = std::find_if(begin, outcomes.end(), [&](const Outcome& outcome) {
      return outcome.task.output != output;
    });
    std::vector<std::unique_ptr<support::OutputFile>> files;
    for (const auto& choice : runner.policies) {
      files.push_back(opened(folder / choice.policy / output));
    }
    runner.answer({begin, end}, progress);
    for (std::size_t p = 0; p < files.size(); ++p) {
      write(*files[p], predictions_text({begin, end}, p));
    }
    begin = end;
  }
}

void print_notes(const std::vector<Outcome>& outcomes) {
  const auto count = [&](const auto& which) {
    return static_cast<std::size_t>(std::count_if(outcomes.begin(), outcomes.end(), which));
  };
  std::printf(
      "\n%zu prompts; %zu in the chat format, %zu truncated, %zu whose response the context "
      "limits\n",
      outcomes.size(), count([](const Outcome& o) { return o.prompt.chat; }),
      count([](const Outcome& o) { return o.prompt.truncated; }),
      count([](const Outcome& o) { return o.prompt.max_tokens < o.task.max_tokens; }));
}

void run(Arguments& arguments, const std::string& command) {
  if (const auto seed = arguments.policy.options.find("seed");
      seed != arguments.policy.options.end()) {
    policies::parse("seed", seed->second, arguments.sampling.seed);
  }
  const std::vector<policies::PolicyChoice> all = choices(arguments.policy);
  (void)llama::Sampler(arguments.sampling);  // refuses options before anything is read
  std::vector<Task> tasks = load_tasks(arguments);
  const llama::ModelFiles files(arguments.model);
  llama::Model model = files.load();
  const auto tokenizer = files.load_tokenizer(model.config);
  const auto chat = load_chat(arguments.chat, files);
  if (chat) {
    const int end = tokenizer->token_of(std::string(chat->format().end_of_turn));
    if (end >= 0) model.config.stop_tokens.push_back(end);
  }
  std::vector<Outcome> outcomes =
      encode(std::move(tasks), PromptEncoder(*tokenizer, chat.get(), arguments.chat,
                                             {model.config.context, arguments.max_prompt}));
  for (const auto& choice : all) {  // refuses options before the first prompt is answered
    (void)make_cache(choice, model.shape(), outcomes.front().prompt.tokens.size(), 1);
  }

  const auto json = opened(arguments.json);
  const auto html = opened(arguments.html);
  const Runner runner{model, *tokenizer, all, arguments.sampling, arguments.threads};
  double seconds = 0;
  {
    std::size_t work = 0;
    for (const Outcome& outcome : outcomes) work += max_work(outcome, all.size());
    comparison::Progress progress(work, "tokens");
    answer(outcomes, runner, arguments.predictions, progress);
    seconds = progress.seconds();
  }

  Json report = report_json(outcomes, all);
  report["run"] = comparison::run_json(
      {command, files.name(), arguments.sampling.seed, arguments.threads, seconds});
  report["run"]["model"] = comparison::model_json(model, files.name());
  print_report(report);
  print_notes(outcomes);
  // A path on the command line need not be UTF-8.
  write(*json, comparison::json_text(report));
  write(*html, make_page(report));
  std::printf("%s, %s; predictions: %s/<policy> (%.0f s)\n", arguments.html.string().c_str(),
              arguments.json.string().c_str(), arguments.predictions.string().c_str(), seconds);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("LongGenBench, LongWriter, LongBench and RULER under any policy.");
  Arguments arguments;
  add_options(app, arguments);
  return support::run_program("papers", app, argc, argv,
                              [&] { run(arguments, support::command_text(argc, argv)); });
}
