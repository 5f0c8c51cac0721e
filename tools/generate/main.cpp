// SPDX-License-Identifier: Apache-2.0
// Continues a text with any model of the Llama family and any policy:
//
//   generate --model stories260K --prompt "Once upon a time" --tokens 200 --capacity 64

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "llama/load.hpp"
#include "llama/session.hpp"
#include "llama/trace.hpp"
#include "support/policy_choice.hpp"

namespace {

using namespace morphkv;

struct Arguments {
  std::filesystem::path model;
  std::string prompt = "Once upon a time";
  std::size_t tokens = 200;
  support::PolicyChoice policy;
  std::filesystem::path trace;
  std::size_t trace_layer = 0;
};

void add_options(CLI::App& app, Arguments& arguments) {
  app.add_option("--model", arguments.model,
                 "folder with config.json and safetensors, or a llama2.c checkpoint")
      ->required();
  app.add_option("--prompt", arguments.prompt, "the text to continue")->capture_default_str();
  app.add_option("--tokens", arguments.tokens, "tokens to write at most")->capture_default_str();
  support::add_policy_options(app, arguments.policy);
  app.add_option("--trace", arguments.trace, "write a layer's q, k and v here, for replay");
  app.add_option("--trace-layer", arguments.trace_layer, "which layer, from 0")
      ->capture_default_str();
}

struct Result {
  std::size_t written = 0;
  double seconds = 0;
  MemoryUsage memory;
};

/// Writes token after token to the terminal, greedily.
template <class Policy>
Result write_text(llama::Session<Policy>& session, const llama::Config& config,
                  const llama::Tokenizer& tokenizer, const std::vector<int>& prompt,
                  std::size_t tokens) {
  Result result;
  std::span<const float> logits = session.prefill(prompt);
  const auto start = std::chrono::steady_clock::now();
  int previous = prompt.back();
  while (result.written < tokens) {
    const int token = llama::most_likely(logits);
    if (std::count(config.stop_tokens.begin(), config.stop_tokens.end(), token) > 0) break;
    const std::string piece = tokenizer.piece(previous, token);
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
    previous = token;
    if (++result.written < tokens) logits = session.step(token);
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  result.memory = session.cache().memory();
  return result;
}

void print_result(const Result& result, std::size_t prompt_tokens) {
  const double rate = result.seconds > 0 ? static_cast<double>(result.written) / result.seconds : 0;
  const MemoryUsage& m = result.memory;
  std::fprintf(
      stderr,
      "\n\n%zu tokens read, %zu written, %.0f a second. Cache: %zu bytes (keys %zu, values "
      "%zu, positions %zu, window %zu, scores %zu, scratch %zu).\n",
      prompt_tokens, result.written, rate, m.total(), m.keys, m.values, m.positions, m.window,
      m.scores, m.scratch);
}

void run(const Arguments& arguments) {
  const llama::ModelFiles files(arguments.model);
  const llama::Model model = files.load();
  const std::unique_ptr<llama::Tokenizer> tokenizer = files.load_tokenizer(model.config);
  const std::vector<int> prompt = tokenizer->encode(arguments.prompt);
  if (arguments.trace_layer >= model.config.layers) {
    throw std::invalid_argument("--trace-layer = " + std::to_string(arguments.trace_layer) +
                                ": must be below " + std::to_string(model.config.layers));
  }
  llama::Trace trace(arguments.trace_layer);
  const auto use = [&]<class Policy>(const typename Policy::Options& options) {
    llama::Session<Policy> session(model, options);
    if (!arguments.trace.empty()) session.record(&trace);
    std::fputs(arguments.prompt.c_str(), stdout);
    print_result(write_text(session, model.config, *tokenizer, prompt, arguments.tokens),
                 prompt.size());
  };
  support::with_policy(arguments.policy, prompt.size(), arguments.tokens, use);
  if (!arguments.trace.empty()) trace.write(arguments.trace, model.config);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Continues a text, with the KV cache under any eviction policy.");
  Arguments arguments;
  add_options(app, arguments);
  CLI11_PARSE(app, argc, argv);
  try {
    run(arguments);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "generate: %s\n", error.what());
    return 1;
  }
  return 0;
}
