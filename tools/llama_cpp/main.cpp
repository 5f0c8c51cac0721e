// SPDX-License-Identifier: Apache-2.0
// Runs a GGUF model with unmodified llama.cpp, its cache under any policy:
//
//   llama_cpp --model model.gguf --prompt "Once upon a time" --capacity 64

#include <llama.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "llama/sampler.hpp"
#include "llama/sampling_command_line.hpp"
#include "llama_cpp/model.hpp"
#include "llama_cpp/session.hpp"
#include "policies/command_line.hpp"
#include "support/output_file.hpp"
#include "support/program.hpp"

namespace {

using namespace morphkv;
using llama_cpp::Scope;

struct Arguments {
  std::filesystem::path model;
  std::string prompt = "Once upon a time";
  std::size_t tokens = 200;
  std::string scope = "head";
  policies::PolicyChoice policy;
  llama::SamplingOptions sampling;
  llama_cpp::ContextOptions context;
  bool ignore_end = false;
  bool verbose = false;
  std::filesystem::path json;
};

void add_options(CLI::App& app, Arguments& arguments) {
  const std::map<std::string, ggml_type> types = {
      {"f16", GGML_TYPE_F16}, {"f32", GGML_TYPE_F32}, {"bf16", GGML_TYPE_BF16}};
  app.add_option("--model", arguments.model, "a GGUF file")->required();
  app.add_option("--prompt", arguments.prompt, "the text to continue")->capture_default_str();
  app.add_option("--tokens", arguments.tokens, "maximum of tokens to write")
      ->check(CLI::Range(1, 1 << 30))
      ->capture_default_str();
  app.add_option("--scope", arguments.scope,
                 "heads that share one policy: all (sequence), those of a layer, each KV head; "
                 "none: llama.cpp alone, for comparison")
      ->check(CLI::IsMember({"sequence", "layer", "head", "none"}))
      ->capture_default_str();
  llama::add_sampling_options(app, arguments.sampling);
  policies::add_policy_options(app, arguments.policy);
  app.add_option("--block", arguments.context.block, "tokens of the prompt per block")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--threads", arguments.context.threads, "of llama.cpp; 0 is its own choice")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--cache-type", arguments.context.cache_type, "of keys and values: f16, f32, bf16")
      ->transform(CLI::CheckedTransformer(types))
      ->default_str("f16");
  app.add_flag("--flash-attention", arguments.context.flash_attention,
               "with --scope none only: it computes no weights for a policy to see");
  app.add_flag("--ignore-end", arguments.ignore_end, "continue after a token that ends a text");
  app.add_option("--json", arguments.json, "write the result to this file");
  app.add_flag("--verbose", arguments.verbose, "print llama.cpp's log");
}

struct Result {
  std::vector<llama_token> prompt;
  std::vector<llama_token> written;
  std::string text;
  double read_seconds = 0;
  double write_seconds = 0;
  std::size_t state_bytes = 0;     ///< as llama.cpp counts them
  nlohmann::ordered_json options;  ///< of the policy
  std::optional<llama_cpp::CellUse> cells;
  llama_cpp::Costs costs;  ///< of writing
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Writes token after token to the terminal.
template <class AnySession>
void write_text(AnySession& session, const llama_cpp::Model& model, const Arguments& arguments,
                llama::Sampler sampler, Result& result) {
  auto start = std::chrono::steady_clock::now();
  session.read(result.prompt);
  result.read_seconds = seconds_since(start);
  for (const llama_token token : result.prompt) sampler.add(token);
  start = std::chrono::steady_clock::now();
  while (result.written.size() < arguments.tokens) {
    const llama_token token = sampler(session.context().logits());
    if (model.ends(token) && !arguments.ignore_end) break;
    result.written.push_back(token);
    const std::string piece = model.piece(token);
    result.text += piece;
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    support::flush_standard_output();
    if (result.written.size() < arguments.tokens) session.step(token);
  }
  result.write_seconds = seconds_since(start);
  result.state_bytes = session.context().state_bytes();
}

Scope scope_of(const std::string& name) {
  if (name == "sequence") return Scope::sequence;
  return name == "layer" ? Scope::layer : Scope::head;
}

Result generate(Arguments& arguments) {
  const llama_cpp::Model model(arguments.model);
  const llama::Sampler sampler(arguments.sampling);
  Result result;
  result.prompt = model.encode(arguments.prompt);
  if (result.prompt.empty()) throw std::invalid_argument("--prompt: there is no token in it");
  const std::size_t tokens = result.prompt.size() + arguments.tokens;
  arguments.context.block = (std::min)(arguments.context.block, result.prompt.size());
  std::fputs(arguments.prompt.c_str(), stdout);
  if (arguments.scope == "none") {
    llama_cpp::PlainSession session(model, arguments.context, tokens);
    write_text(session, model, arguments, sampler, result);
    return result;
  }
  const Scope scope = scope_of(arguments.scope);
  if (const std::string obstacle = model.obstacle(scope); !obstacle.empty()) {
    throw std::invalid_argument("--model " + arguments.model.string() + ": " + obstacle);
  }
  policies::with_policy(arguments.policy, result.prompt.size(), arguments.tokens,
                        [&]<class Policy>(const typename Policy::Options& options) {
                          llama_cpp::Session<Policy> session(model, scope, options,
                                                             arguments.context, tokens);
                          write_text(session, model, arguments, sampler, result);
                          result.options = policies::describe(options);
                          result.cells = session.cell_use();
                          result.costs = session.costs();
                        });
  return result;
}

/// Costs in microseconds, divided between the tokens written.
nlohmann::ordered_json costs_per_token(const Result& result) {
  const double scale =
      1e6 / static_cast<double>(result.written.empty() ? 1 : result.written.size());
  return {{"policy", result.costs.policy * scale},
          {"fusion", result.costs.fusion * scale},
          {"copying", result.costs.copying * scale},
          {"removal", result.costs.removal * scale}};
}

nlohmann::ordered_json to_json(const Arguments& arguments, const Result& result) {
  nlohmann::ordered_json json = {{"format", "morphkv-llama-cpp-1"},
                                 {"llama_cpp", MORPHKV_LLAMA_CPP_VERSION},
                                 {"model", arguments.model.filename().string()},
                                 {"scope", arguments.scope}};
  if (result.cells) {
    json["policy"] = arguments.policy.policy;
    json["options"] = result.options;
    const llama_cpp::CellUse& cells = *result.cells;
    json["cells"] = {{"in_use", cells.in_use},
                     {"most_reading", cells.most_reading},
                     {"most_writing", cells.most_writing},
                     {"allocated", cells.allocated},
                     {"bytes_each", cells.bytes_each}};
    json["policy_bytes"] = cells.policy_bytes;
    json["microseconds_per_token"] = costs_per_token(result);
  }
  json["state_bytes"] = result.state_bytes;
  json["read_seconds"] = result.read_seconds;
  json["write_seconds"] = result.write_seconds;
  json["prompt_tokens"] = result.prompt;
  json["tokens"] = result.written;
  json["text"] = result.text;
  return json;
}

void print_result(const Result& result) {
  const double rate = result.write_seconds > 0
                          ? static_cast<double>(result.written.size()) / result.write_seconds
                          : 0;
  std::fprintf(stderr, "\n\n%zu tokens read, %zu written, %.1f per second.\n", result.prompt.size(),
               result.written.size(), rate);
  if (!result.cells) return;
  const llama_cpp::CellUse& c = *result.cells;
  std::fprintf(stderr,
               "Cells in use: %zu; maximum %zu while reading, %zu while writing, of %zu; %zu "
               "bytes each, %zu in use. Policies: %zu bytes.\n",
               c.in_use, c.most_reading, c.most_writing, c.allocated, c.bytes_each,
               c.in_use * c.bytes_each, c.policy_bytes);
  std::fprintf(stderr, "Microseconds per token:");
  const auto costs = costs_per_token(result);
  for (const auto& [name, value] : costs.items()) {
    std::fprintf(stderr, " %s %.1f", name.c_str(), value.get<double>());
  }
  std::fprintf(stderr, ".\n");
}

/// llama.cpp's errors; all of its log with --verbose.
void log(ggml_log_level level, const char* text, void* verbose) {
  if (verbose != nullptr || level == GGML_LOG_LEVEL_ERROR) std::fputs(text, stderr);
}

void run(Arguments& arguments) {
  if (arguments.context.flash_attention && arguments.scope != "none") {
    throw std::invalid_argument("--flash-attention with --scope " + arguments.scope +
                                ": must be with --scope none, since it computes no weights");
  }
  llama::take_seed(arguments.policy, arguments.sampling);
  llama_log_set(log, arguments.verbose ? &arguments : nullptr);
  ggml_backend_load_all();
  const Result result = generate(arguments);
  print_result(result);
  if (arguments.json.empty()) return;
  support::write_file(arguments.json, to_json(arguments, result).dump(2) + '\n');
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Continues a text with llama.cpp, its KV cache under any eviction policy.");
  Arguments arguments;
  add_options(app, arguments);
  return support::run_program("llama_cpp", app, argc, argv, [&] { run(arguments); });
}
