// SPDX-License-Identifier: Apache-2.0
// Runs a GGUF model with unmodified llama.cpp, its cache under any policy:
//
//   llama_cpp --model model.gguf --prompt "Once upon a time" --capacity 64

#include <llama.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "llama_cpp/arguments.hpp"
#include "llama_cpp/chat.hpp"
#include "llama_cpp/chat_template.hpp"
#include "llama_cpp/evaluation.hpp"
#include "llama_cpp/model.hpp"
#include "llama_cpp/reading.hpp"
#include "llama_cpp/report.hpp"
#include "llama_cpp/session.hpp"
#include "llama_cpp/state_file.hpp"
#include "llama_cpp/trace.hpp"
#include "llama_cpp/writing.hpp"
#include "support/output_file.hpp"
#include "support/program.hpp"

namespace {

using namespace morphkv;
using namespace morphkv::llama_cpp;

Scope scope_of(const std::string& name) {
  if (name == "sequence") return Scope::sequence;
  return name == "layer" ? Scope::layer : Scope::head;
}

/// What a session that sees attention tells of itself, added to what earlier ones told.
template <class Policy>
void note(const Session<Policy>& session, Report& report) {
  report.cells = larger_of(session.cell_use(), report.cells);
  report.costs += session.costs();
  report.places = session.context().tensors().places();
}

/// Tokens of each sequence.
struct Length {
  std::size_t prompt = 0;
  std::size_t response = 0;
  bool is_known = true;  ///< otherwise they are what a policy that keeps everything has room for
};

/// A chat or a saved sequence goes on for as long as its user wants, so its prompts must not fill
/// the cache.
template <class Policy>
void require_room_for_turns(const typename Policy::Options& options) {
  const EvictionRules rules = Policy::plan_of(options).rules;
  if (!rules.evicts() || !rules.protect_prompt) return;
  throw std::invalid_argument(
      "--protect-prompt: must be without a chat line by line, --save-state and --load-state, whose "
      "prompts would fill the cache");
}

/// body(session) with a session for texts of that length.
template <class Body>
void with_session(const Arguments& arguments, const Model& model, const Length& length,
                  Report& report, const Body& body) {
  const std::size_t tokens = arguments.context.sequences * (length.prompt + length.response);
  ContextOptions context = arguments.context;
  context.block = (std::min)(context.block, (std::max)(length.prompt, std::size_t{1}));
  if (arguments.scope == "none") {
    PlainSession session(model, context, tokens);
    body(session);
    return;
  }
  const Scope scope = scope_of(arguments.scope);
  if (const std::string obstacle = model.obstacle(scope); !obstacle.empty()) {
    throw std::invalid_argument("--model " + arguments.model.string() + ": " + obstacle);
  }
  policies::with_policy(arguments.policy, length.prompt, length.response,
                        [&]<class Policy>(const typename Policy::Options& options) {
                          if (!length.is_known) require_room_for_turns<Policy>(options);
                          report.options = policies::describe(options);
                          Session<Policy> session(model, scope, options, context,
                                                  length.is_known ? tokens : unlimited);
                          body(session);
                          note(session, report);
                        });
}

/// Records what one session decodes, and writes it at the end.
class Recording {
 public:
  Recording(const Arguments& arguments, const Model& model)
      : arguments_(&arguments), model_(&model) {
    if (arguments.trace.empty()) return;
    for (const std::size_t layer : arguments.layers) {
      if (layer >= model.heads().layers) {
        throw std::invalid_argument("--layers = " + std::to_string(layer) + ": must be below " +
                                    std::to_string(model.heads().layers) +
                                    ", the layers of the model");
      }
    }
    trace_.emplace(arguments.layers);
  }

  template <class Policy>
  void watch(Session<Policy>& session) {
    if (!trace_) return;
    const std::vector<std::size_t>& full = session.context().full_layers();
    for (const std::size_t layer : arguments_->layers) {
      if (std::find(full.begin(), full.end(), layer) == full.end()) {
        throw std::invalid_argument("--layers = " + std::to_string(layer) +
                                    ": must be a layer whose attention does not slide");
      }
    }
    session.context().record(&*trace_);
  }
  void watch(PlainSession& /*session*/) {}
  void end_prompt() {
    if (trace_) trace_->end_prompt();
  }
  void write(const std::vector<llama_token>& tokens) const {
    if (!trace_) return;
    std::vector<std::string> words;
    words.reserve(tokens.size());
    for (const llama_token token : tokens) words.push_back(model_->piece(token));
    words.resize(trace_->tokens());
    for (const auto& file :
         trace_->write(arguments_->trace, arguments_->model.filename().string(), words)) {
      std::fprintf(stderr, "Wrote %s.\n", file.c_str());
    }
  }

 private:
  const Arguments* arguments_;
  const Model* model_;
  std::optional<Trace> trace_;
};

std::vector<llama_token> read_text(const Arguments& arguments, const Model& model) {
  std::ifstream file(arguments.evaluate, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!file)
    throw std::invalid_argument("--evaluate = " + arguments.evaluate.string() + ": must be a file");
  std::vector<llama_token> tokens = model.encode(text);
  tokens.resize((std::min)(tokens.size(), arguments.max_tokens));
  if (tokens.size() <= arguments.prompt_length) {
    throw std::invalid_argument("--prompt-length = " + std::to_string(arguments.prompt_length) +
                                ": must be below " + std::to_string(tokens.size()) +
                                ", the tokens of the text");
  }
  return tokens;
}

Report evaluate(const Arguments& arguments, const Model& model) {
  const std::vector<llama_token> tokens = read_text(arguments, model);
  const std::size_t response = tokens.size() - arguments.prompt_length;
  Report report;
  Recording recording(arguments, model);
  with_session(arguments, model, {arguments.prompt_length, response}, report, [&](auto& session) {
    recording.watch(session);
    read_prompt(session, std::span(tokens).first(arguments.prompt_length), arguments.context.block);
    recording.end_prompt();
    const double nll = mean_nll_after(session, tokens, arguments.prompt_length);
    report.measured = {{"text", arguments.evaluate.filename().string()},
                       {"prompt_length", arguments.prompt_length},
                       {"response_length", response},
                       {"nll", nll},
                       {"perplexity", std::exp(nll)}};
    std::printf("NLL %.4f nats per token (perplexity %.3f) over %zu tokens after %zu\n", nll,
                std::exp(nll), response, arguments.prompt_length);
  });
  recording.write(tokens);
  return report;
}

Report find_passkeys(const Arguments& arguments, const Model& model) {
  constexpr std::size_t answer_tokens = 10;
  Report report;
  std::size_t right = 0;
  Tenths progress("passkey", arguments.passkeys);
  nlohmann::ordered_json keys = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < arguments.passkeys; ++i) {
    const Passkey key =
        make_passkey(model, i, arguments.passkeys, arguments.max_tokens, arguments.sampling.seed);
    with_session(arguments, model, {key.prompt.size(), answer_tokens}, report, [&](auto& session) {
      const std::string text = answer(session, model, key.prompt, answer_tokens);
      const std::size_t digits = right_digits(text, key.digits);
      right += digits;
      keys.push_back({{"digits", key.digits},
                      {"depth", key.depth},
                      {"prompt_tokens", key.prompt.size()},
                      {"answer", text},
                      {"right", digits}});
      progress.show(i + 1, static_cast<double>(right) / static_cast<double>(i + 1),
                    "digits right of 5");
    });
  }
  const double mean = static_cast<double>(right) / static_cast<double>(arguments.passkeys);
  report.measured = {{"passkeys", keys}, {"digits_right", mean}};
  std::printf("%.2f of %zu digits right, mean of %zu\n", mean, tasks::passkey_digits,
              arguments.passkeys);
  return report;
}

/// \param begins whether it begins a sequence
Chat new_chat(const Arguments& arguments, const Model& model, bool begins) {
  const std::string& named = arguments.chat_template;
  return Chat(chat_template(named.empty() ? model.chat_template() : named), arguments.system,
              !begins);
}

/// The prompts' tokens. \param begins whether they begin a sequence
std::vector<std::vector<llama_token>> encode_prompts(const Arguments& arguments, const Model& model,
                                                     bool begins) {
  std::vector<std::vector<llama_token>> prompts;
  for (const std::string& prompt : arguments.prompts) {
    std::string text = prompt;
    if (arguments.chat) text = new_chat(arguments, model, begins).ask(prompt);
    prompts.push_back(model.encode(text, begins));
    if (prompts.back().empty()) {
      throw std::invalid_argument("--prompt: there is no token in it");
    }
  }
  return prompts;
}

/// Takes over the settings of a state. \throws std::invalid_argument if the state is of another
/// model or the command line asks for others
std::optional<StateFile> load_state(Arguments& arguments, const Model& model) {
  if (arguments.load_state.empty()) return std::nullopt;
  StateFile state = StateFile::read(arguments.load_state);
  const auto expect = [](const std::string& what, const std::string& given,
                         const std::string& saved) {
    if (given == saved) return;
    throw std::invalid_argument(what + " = " + given + ": must be " + saved +
                                ", as in --load-state");
  };
  const auto expect_if_given = [&](const char* option, const std::string& given,
                                   const std::string& saved) {
    if (arguments.is_given(option)) expect(option, given, saved);
  };
  expect("--model", arguments.model.filename().string(), state.model);
  expect("--model: bytes of its tensors", std::to_string(model.bytes()),
         std::to_string(state.model_bytes));
  expect("llama.cpp", MORPHKV_LLAMA_CPP_VERSION, state.llama_cpp);
  expect_if_given("--scope", arguments.scope, state.scope);
  expect_if_given("--cache-type", ggml_type_name(arguments.context.cache_type), state.cache_type);
  expect_if_given("--flash-attention", "on", state.flash_attention ? "on" : "off");
  expect_if_given("--policy", arguments.policy.policy, state.policy.policy);
  for (const auto& [name, text] : arguments.policy.options) {
    const auto saved = state.policy.options.find(name);
    expect(policies::flag_name(name), text,
           saved == state.policy.options.end() ? "absent" : saved->second);
  }
  arguments.policy = state.policy;
  arguments.scope = state.scope;
  arguments.context.cache_type = cache_types.at(state.cache_type);
  arguments.context.flash_attention = state.flash_attention;
  return state;
}

template <class Policy>
void restore(Session<Policy>& session, const StateFile& state) {
  session.restore(state);
}
void restore(PlainSession& /*session*/, const StateFile& /*state*/) {}

template <class Policy>
void save(const Session<Policy>& session, const Arguments& arguments, const Model& model,
          const Report& report, const std::vector<llama_token>& unread) {
  if (arguments.save_state.empty()) return;
  StateFile state;
  state.llama_cpp = MORPHKV_LLAMA_CPP_VERSION;
  state.model = arguments.model.filename().string();
  state.model_bytes = model.bytes();
  state.scope = arguments.scope;
  state.cache_type = ggml_type_name(arguments.context.cache_type);
  state.flash_attention = arguments.context.flash_attention;
  state.policy = {arguments.policy.policy, policies::option_texts(report.options)};
  state.unread = unread;
  session.save(state);
  state.write(arguments.save_state);
}
void save(const PlainSession& /*session*/, const Arguments& /*arguments*/, const Model& /*model*/,
          const Report& /*report*/, const std::vector<llama_token>& /*unread*/) {}

/// One text, or a chat.
Report write_one(Arguments& arguments, const Model& model) {
  Report report;
  const std::optional<StateFile> state = load_state(arguments, model);
  const bool begins = !state;
  const bool reads_lines = arguments.chat && arguments.prompts.empty();
  std::vector<llama_token> prompt;
  if (!arguments.prompts.empty()) prompt = encode_prompts(arguments, model, begins).front();
  std::optional<Chat> format;
  if (reads_lines) format.emplace(new_chat(arguments, model, begins));
  Length length = {prompt.size(), arguments.tokens};
  if (reads_lines || state || !arguments.save_state.empty()) {
    const std::size_t half = model.trained_context() / 2;
    if (reads_lines || state) length.prompt = half;
    length.response = (std::max)(half, arguments.tokens);
    length.is_known = false;
  }
  Recording recording(arguments, model);
  with_session(arguments, model, length, report, [&](auto& session) {
    if (state) restore(session, *state);
    recording.watch(session);
    Writing writing(session, model, arguments, report);
    if (state) writing.set_unread(state->unread);
    if (reads_lines) {
      chat(writing, model, *format, begins);
    } else {
      if (!arguments.chat && !prompt.empty()) {
        std::fputs(arguments.prompts.front().c_str(), stdout);
      }
      if (prompt.empty()) {
        writing.go_on();
      } else {
        writing.require_room(prompt.size());
        writing.read(prompt);
      }
      recording.end_prompt();
      (void)writing.write();
    }
    report.state_bytes = session.context().state_bytes();
    save(session, arguments, model, report, writing.unread());
  });
  std::vector<llama_token> tokens = report.texts.front().prompt;
  const std::vector<llama_token>& written = report.texts.front().written;
  tokens.insert(tokens.end(), written.begin(), written.end());
  recording.write(tokens);
  return report;
}

/// Several texts at once.
Report write_several(Arguments& arguments, const Model& model) {
  Report report;
  const std::vector<std::vector<llama_token>> prompts = encode_prompts(arguments, model, true);
  std::size_t longest = 0;
  for (const auto& prompt : prompts) longest = (std::max)(longest, prompt.size());
  arguments.context.sequences = prompts.size();
  with_session(arguments, model, {longest, arguments.tokens}, report, [&](auto& session) {
    Writing writing(session, model, arguments, report);
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      writing.read(prompts[i], i);
      writing.begin(i);
    }
    writing.write_all();
    report.state_bytes = session.context().state_bytes();
  });
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    std::printf("--- %zu ---\n%s%s\n", i + 1, arguments.chat ? "" : arguments.prompts[i].c_str(),
                report.texts[i].text.c_str());
  }
  return report;
}

/// llama.cpp's errors; all of its log with --verbose.
void log(ggml_log_level level, const char* text, void* verbose) {
  if (verbose != nullptr || level == GGML_LOG_LEVEL_ERROR) std::fputs(text, stderr);
}

Report run_mode(Arguments& arguments, const Model& model) {
  if (!arguments.evaluate.empty()) return evaluate(arguments, model);
  if (arguments.passkeys > 0) return find_passkeys(arguments, model);
  if (arguments.prompts.empty() && !arguments.chat && arguments.load_state.empty()) {
    arguments.prompts = {"Once upon a time"};
  }
  return arguments.prompts.size() > 1 ? write_several(arguments, model)
                                      : write_one(arguments, model);
}

void run(Arguments& arguments) {
  check(arguments);
  llama::take_seed(arguments.policy, arguments.sampling);
  (void)llama::Sampler(arguments.sampling);  // its options are checked before a model is read
  llama_log_set(log, arguments.verbose ? &arguments : nullptr);
  ggml_backend_load_all();
  const Model model(arguments.model, arguments.placement);
  const Report report = run_mode(arguments, model);
  print_report(report);
  if (arguments.json.empty()) return;
  support::write_file(arguments.json, to_json(arguments, report).dump(2) + '\n');
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Continues a text with llama.cpp, its KV cache under any eviction policy.");
  Arguments arguments;
  add_options(app, arguments);
  return support::run_program("llama_cpp", app, argc, argv, [&] { run(arguments); });
}
