// SPDX-License-Identifier: Apache-2.0
// Continues a text with a model of its own engine and any policy:
//
//   generate --model build/models/smollm2 --chat --prompt "What is a cache?" --capacity 512

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "llama/chat.hpp"
#include "llama/load.hpp"
#include "llama/sampler.hpp"
#include "llama/sampling_command_line.hpp"
#include "llama/session.hpp"
#include "llama/trace.hpp"
#include "policies/command_line.hpp"
#include "support/program.hpp"

namespace {

using namespace morphkv;

struct Arguments {
  std::filesystem::path model;
  std::string prompt = "Once upon a time";
  bool chat = false;
  std::string system;
  std::size_t tokens = 200;
  llama::SamplingOptions sampling;
  std::size_t threads = (std::max)(std::thread::hardware_concurrency(), 1U);
  policies::PolicyChoice policy;
  std::filesystem::path trace;
  std::size_t trace_layer = 0;
};

void add_options(CLI::App& app, Arguments& a) {
  app.add_option("--model", a.model,
                 "Hugging Face folder (config.json, safetensors), or a llama2.c checkpoint")
      ->required();
  app.add_option("--prompt", a.prompt, "the text to continue")->capture_default_str();
  app.add_flag("--chat", a.chat, "the prompt is a user's message, in the model's chat format");
  app.add_option("--system", a.system, "with --chat: the system message");
  app.add_option("--tokens", a.tokens, "maximum of tokens to write")->capture_default_str();
  llama::add_sampling_options(app, a.sampling);
  app.add_option("--threads", a.threads, "threads that compute")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  policies::add_policy_options(app, a.policy);
  app.add_option("--trace", a.trace, "write a layer's q, k and v here, for replay");
  app.add_option("--trace-layer", a.trace_layer, "which layer, from 0")->capture_default_str();
}

struct Prompt {
  std::vector<int> tokens;
  std::string shown;  ///< printed before what is written
};

Prompt make_prompt(const Arguments& arguments, const llama::ModelFiles& files,
                   const llama::Tokenizer& tokenizer, llama::Config& config) {
  if (!arguments.chat) {
    if (!arguments.system.empty()) {
      throw std::invalid_argument("--system: needs --chat");
    }
    return {tokenizer.encode(arguments.prompt), arguments.prompt};
  }
  const llama::Chat chat(files.chat_template());
  const int end = tokenizer.token_of(std::string(chat.format().end_of_turn));
  if (end >= 0) config.stop_tokens.push_back(end);
  return {tokenizer.encode_rendered(chat.render(arguments.prompt, arguments.system)), ""};
}

struct Result {
  std::size_t written = 0;
  double read_seconds = 0;
  double write_seconds = 0;
  MemoryUsage memory;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Writes token after token to the terminal.
template <class Policy>
Result write_text(llama::Session<Policy>& session, const llama::Config& config,
                  const llama::Tokenizer& tokenizer, const std::vector<int>& prompt,
                  const Arguments& arguments) {
  Result result;
  llama::Sampler sampler(arguments.sampling);
  for (const int token : prompt) sampler.add(token);
  auto start = std::chrono::steady_clock::now();
  std::span<const float> logits = session.prefill(prompt);
  result.read_seconds = seconds_since(start);
  start = std::chrono::steady_clock::now();
  int previous = prompt.back();
  while (result.written < arguments.tokens) {
    const int token = sampler(logits);
    if (std::count(config.stop_tokens.begin(), config.stop_tokens.end(), token) > 0) break;
    const std::string piece = tokenizer.piece(previous, token);
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    support::flush_standard_output();
    previous = token;
    if (++result.written < arguments.tokens) logits = session.step(token);
  }
  result.write_seconds = seconds_since(start);
  result.memory = session.cache().memory();
  return result;
}

void print_result(const Result& result, std::size_t prompt_tokens) {
  const auto rate = [](std::size_t tokens, double seconds) {
    return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
  };
  const MemoryUsage& m = result.memory;
  std::fprintf(
      stderr,
      "\n\n%zu tokens read (%.1f per second), %zu written (%.1f per second). Cache: %zu "
      "bytes (keys %zu, values %zu, positions %zu, window %zu, scores %zu, scratch %zu).\n",
      prompt_tokens, rate(prompt_tokens, result.read_seconds), result.written,
      rate(result.written, result.write_seconds), m.total(), m.keys, m.values, m.positions,
      m.window, m.scores, m.scratch);
}

void run(Arguments& arguments) {
  llama::take_seed(arguments.policy, arguments.sampling);
  const llama::ModelFiles files(arguments.model);
  llama::Model model = files.load();
  const std::unique_ptr<llama::Tokenizer> tokenizer = files.load_tokenizer(model.config);
  const Prompt prompt = make_prompt(arguments, files, *tokenizer, model.config);
  if (arguments.trace_layer >= model.config.layers) {
    throw std::invalid_argument("--trace-layer = " + std::to_string(arguments.trace_layer) +
                                ": must be below " + std::to_string(model.config.layers));
  }
  std::optional<llama::Trace> trace;
  if (!arguments.trace.empty()) {
    llama::Trace::require_plain_attention(model.shape(), arguments.trace_layer);
    trace.emplace(arguments.trace_layer);
  }
  const auto use = [&]<class Policy>(const typename Policy::Options& options) {
    policies::require_cache_memory<float>(model.shape(), options);
    llama::Session<Policy> session(model, options, arguments.threads);
    if (trace) session.record(&*trace);
    std::fputs(prompt.shown.c_str(), stdout);
    print_result(write_text(session, model.config, *tokenizer, prompt.tokens, arguments),
                 prompt.tokens.size());
  };
  policies::with_policy(arguments.policy, prompt.tokens.size(), arguments.tokens, use);
  if (trace) trace->write(arguments.trace, model.config);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Continues a text, with the KV cache under any eviction policy.");
  Arguments arguments;
  add_options(app, arguments);
  return support::run_program("generate", app, argc, argv, [&] { run(arguments); });
}
