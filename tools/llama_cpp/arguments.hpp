// SPDX-License-Identifier: Apache-2.0
/// \file
/// The command line of llama_cpp.
#ifndef MORPHKV_TOOLS_LLAMA_CPP_ARGUMENTS_HPP
#define MORPHKV_TOOLS_LLAMA_CPP_ARGUMENTS_HPP

#include <ggml.h>

#include <CLI/CLI.hpp>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "llama/sampler.hpp"
#include "llama/sampling_command_line.hpp"
#include "llama_cpp/context.hpp"
#include "llama_cpp/model.hpp"
#include "policies/command_line.hpp"

namespace morphkv::llama_cpp {

struct Arguments {
  std::filesystem::path model;
  Placement placement;
  std::vector<std::string> prompts;
  bool chat = false;
  std::string system;
  std::string chat_template;  ///< llama.cpp's name of one; empty: the model's
  std::size_t tokens = 200;
  std::string scope = "head";
  policies::PolicyChoice policy;
  llama::SamplingOptions sampling;
  ContextOptions context;
  bool ignore_end = false;
  std::filesystem::path trace;
  std::vector<std::size_t> layers = {0};
  std::filesystem::path evaluate;
  std::size_t prompt_length = 1024;
  std::size_t max_tokens = 2048;
  std::size_t passkeys = 0;
  std::filesystem::path save_state;
  std::filesystem::path load_state;
  std::filesystem::path json;
  bool verbose = false;
  std::function<bool(const char* option)> is_given;  ///< whether the command line has an option
};

/// Of keys and values.
inline const std::map<std::string, ggml_type> cache_types = {
    {"f16", GGML_TYPE_F16}, {"f32", GGML_TYPE_F32}, {"bf16", GGML_TYPE_BF16}};

namespace detail {

inline void add_model_options(CLI::App& app, Arguments& arguments) {
  app.add_option("--model", arguments.model, "a GGUF file")->required();
  app.add_option("--rpc", arguments.placement.rpc,
                 "servers that hold the layers, with their keys and values: host:port,host:port")
      ->delimiter(',');
  app.add_option("--gpu-layers", arguments.placement.gpu_layers,
                 "layers on the devices of this machine, with their keys and values")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  app.add_option("--threads", arguments.context.threads, "of llama.cpp; 0 is its own choice")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
}

inline void add_text_options(CLI::App& app, Arguments& arguments) {
  app.add_option("--prompt", arguments.prompts,
                 "the text to continue; several of them are sequences that run at once [Once upon "
                 "a time]")
      ->take_all()
      ->allow_extra_args(false);
  app.add_flag("--chat", arguments.chat,
               "the prompt is a user's message, in the model's chat format; without a prompt, "
               "messages are read line by line");
  app.add_option("--system", arguments.system, "with --chat: the system message");
  app.add_option("--chat-template", arguments.chat_template,
                 "with --chat: llama.cpp's name of a format (chatml, llama3, ...) [the model's]");
  app.add_option("--tokens", arguments.tokens, "maximum of tokens to write, in chat per answer")
      ->check(CLI::Range(1, 1 << 30))
      ->capture_default_str();
  app.add_flag("--ignore-end", arguments.ignore_end, "continue after a token that ends a text");
  llama::add_sampling_options(app, arguments.sampling);
}

inline void add_cache_options(CLI::App& app, Arguments& arguments) {
  app.add_option("--scope", arguments.scope,
                 "heads that share one policy: all (sequence), those of a layer, each KV head; "
                 "none: llama.cpp alone, for comparison")
      ->check(CLI::IsMember({"sequence", "layer", "head", "none"}))
      ->capture_default_str();
  policies::add_policy_options(app, arguments.policy);
  app.add_option("--block", arguments.context.block, "tokens of the prompt per block")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--cache-type", arguments.context.cache_type, "of keys and values: f16, f32, bf16")
      ->transform(CLI::CheckedTransformer(cache_types))
      ->default_str("f16");
  app.add_flag("--flash-attention", arguments.context.flash_attention,
               "llama.cpp's attention without weights; rows for the policies are computed from its "
               "keys. With --scope head or none");
}

inline void add_result_options(CLI::App& app, Arguments& arguments) {
  app.add_option("--trace", arguments.trace, "write q, k and v of --layers here, for replay");
  app.add_option("--layers", arguments.layers, "layers of the trace, from 0: 0,7,15")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--evaluate", arguments.evaluate,
                 "measure the NLL of this text instead of writing one");
  app.add_option("--prompt-length", arguments.prompt_length,
                 "with --evaluate: its tokens that are the prompt")
      ->check(CLI::Range(1, 1 << 30))
      ->capture_default_str();
  app.add_option("--max-tokens-read", arguments.max_tokens,
                 "with --evaluate: tokens of the text; with --passkeys: of a prompt, about")
      ->check(CLI::Range(2, 1 << 30))
      ->capture_default_str();
  app.add_option("--passkeys", arguments.passkeys,
                 "hide so many numbers in texts, at depths from the beginning to the end, and "
                 "count the digits that the model finds again")
      ->check(CLI::Range(1, 10000));
  app.add_option("--save-state", arguments.save_state,
                 "write the sequence here at the end: cells and policies");
  app.add_option(
      "--load-state", arguments.load_state,
      "continue such a sequence: the prompt comes after it; without one, its text goes on");
  app.add_option("--json", arguments.json, "write the result to this file");
  app.add_flag("--verbose", arguments.verbose, "print llama.cpp's log");
}

inline void require(bool holds, const std::string& message) {
  if (!holds) throw std::invalid_argument(message);
}

}  // namespace detail

inline void add_options(CLI::App& app, Arguments& arguments) {
  detail::add_model_options(app, arguments);
  detail::add_text_options(app, arguments);
  detail::add_cache_options(app, arguments);
  detail::add_result_options(app, arguments);
  arguments.is_given = [&app](const char* option) { return app.count(option) > 0; };
}

/// \throws std::invalid_argument if options exclude each other.
inline void check(const Arguments& a) {
  using detail::require;
  require(!a.context.flash_attention || a.scope == "none" || a.scope == "head",
          "--flash-attention with --scope " + a.scope + ": must be with --scope head or none");
  require(!a.context.flash_attention || a.trace.empty(),
          "--trace: must be without --flash-attention");
  require(a.system.empty() || a.chat, "--system: needs --chat");
  require(a.chat_template.empty() || a.chat, "--chat-template: needs --chat");
  require(a.system.empty() || a.load_state.empty(),
          "--system: must be without --load-state: a chat has its system message at its beginning");
  const int modes = (a.evaluate.empty() ? 0 : 1) + (a.passkeys > 0 ? 1 : 0) +
                    (a.prompts.empty() && !a.chat ? 0 : 1);
  require(modes <= 1, "--evaluate, --passkeys and --prompt or --chat: must be one of them");
  const bool has_state = !a.save_state.empty() || !a.load_state.empty();
  require(
      a.scope != "none" || (!has_state && a.trace.empty()),
      "--scope none: must be with a policy for --trace, --save-state and --load-state; --policy "
      "full keeps every token");
  require(a.prompts.size() <= 1 || (!has_state && a.trace.empty()),
          "--prompt: must be one for --trace, --save-state and --load-state");
  require((a.evaluate.empty() && a.passkeys == 0) || !has_state,
          "--save-state, --load-state: must be without --evaluate and --passkeys");
  require(a.passkeys == 0 || a.trace.empty(), "--trace: must be without --passkeys");
  // Its queries are to be those of full attention, its tokens all of them.
  require(a.trace.empty() || a.policy.policy == "full",
          "--trace with --policy " + a.policy.policy + ": must be with --policy full");
  require(a.trace.empty() || !a.chat || !a.prompts.empty(), "--trace: needs --prompt with --chat");
}

}  // namespace morphkv::llama_cpp

#endif  // MORPHKV_TOOLS_LLAMA_CPP_ARGUMENTS_HPP
