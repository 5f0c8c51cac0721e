// SPDX-License-Identifier: Apache-2.0
/// \file
/// Reads prompts and writes text after them: a prompt, several at once, or a chat.
#ifndef MORPHKV_TOOLS_LLAMA_CPP_WRITING_HPP
#define MORPHKV_TOOLS_LLAMA_CPP_WRITING_HPP

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <iostream>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "llama/sampler.hpp"
#include "llama_cpp/arguments.hpp"
#include "llama_cpp/chat.hpp"
#include "llama_cpp/reading.hpp"
#include "llama_cpp/report.hpp"
#include "llama_cpp/session.hpp"
#include "support/program.hpp"

namespace morphkv::llama_cpp {

/// Writes with one session. What is written last is not read before it is needed.
template <class AnySession>
class Writing {
 public:
  Writing(AnySession& session, const Model& model, const Arguments& arguments, Report& report)
      : session_(&session),
        model_(&model),
        arguments_(&arguments),
        report_(&report),
        unread_(session.sequences()) {
    for (std::size_t i = 0; i < session.sequences(); ++i) {
      llama::SamplingOptions sampling = arguments.sampling;
      sampling.seed += i;
      samplers_.emplace_back(sampling);
    }
    report.texts.resize(session.sequences());
  }

  /// Tokens that an earlier run has written and not read.
  void set_unread(const std::vector<llama_token>& tokens) { unread_.front() = tokens; }
  [[nodiscard]] const std::vector<llama_token>& unread() const { return unread_.front(); }

  /// Tokens of a next prompt that the first sequence has room for.
  [[nodiscard]] std::size_t room() const {
    return session_->room() - (std::min)(unread().size(), session_->room());
  }
  /// \throws std::invalid_argument if there is no room for a prompt of so many tokens.
  void require_room(std::size_t tokens) const {
    if (tokens <= room()) return;
    throw std::invalid_argument("--prompt: has " + std::to_string(tokens) +
                                " tokens: must have at most " + std::to_string(room()) +
                                ", which the cache has room for");
  }

  /// Goes on with the text of an earlier run, as if that had not ended.
  void go_on() {
    if (unread().empty()) {
      throw std::invalid_argument("--load-state: its text has ended: needs --prompt");
    }
    if (unread().size() > session_->room()) {
      throw std::invalid_argument("--load-state: its cache is full");
    }
    std::vector<llama_token> tokens;
    tokens.swap(unread_.front());
    for (const llama_token token : tokens) {
      session_->step(token);
      samplers_.front().add(token);
    }
    report_->texts.front().prompt = tokens;
  }

  /// Reads what is new of a sequence.
  void read(std::span<const llama_token> tokens, std::size_t sequence = 0) {
    const auto start = Clock::now();
    std::vector<llama_token>& all = unread_[sequence];
    all.insert(all.end(), tokens.begin(), tokens.end());
    read_prompt(*session_, all, arguments_->context.block, sequence);
    for (const llama_token token : all) samplers_[sequence].add(token);
    std::vector<llama_token>& prompt = report_->texts[sequence].prompt;
    prompt.insert(prompt.end(), all.begin(), all.end());
    all.clear();
    report_->read_seconds += seconds_since(start);
  }

  /// Writes one text to the terminal, token after token. \return the text
  std::string write() {
    const auto start = Clock::now();
    Text& text = report_->texts.front();
    const std::size_t begin = text.text.size();
    for (std::size_t count = 0; count < arguments_->tokens; ++count) {
      const llama_token token = samplers_.front()(session_->context().logits());
      if (ends(token)) break;
      const std::string piece = add(token, 0);
      std::fwrite(piece.data(), 1, piece.size(), stdout);
      support::flush_standard_output();
      const bool is_last = count + 1 == arguments_->tokens;
      if (!is_last && session_->room() > 0) {
        session_->step(token);
        continue;
      }
      if (!is_last) std::fputs("\nThe text ends here: the cache is full.\n", stderr);
      unread_.front().push_back(token);
      break;
    }
    report_->write_seconds += seconds_since(start);
    return text.text.substr(begin);
  }

  /// Writes all sequences at once, a token of each in a step, until every one has ended.
  void write_all() {
    const auto start = Clock::now();
    std::vector<std::size_t> running(session_->sequences());
    for (std::size_t i = 0; i < running.size(); ++i) running[i] = i;
    std::vector<std::size_t> still;
    std::vector<Step> steps;
    while (!running.empty()) {
      steps.clear();
      still.clear();
      for (const std::size_t sequence : running) {
        const bool begins = report_->texts[sequence].written.empty();
        const llama_token token =
            begins ? first_[sequence] : samplers_[sequence](session_->context().logits(sequence));
        if (ends(token)) continue;
        (void)add(token, sequence);
        if (report_->texts[sequence].written.size() == arguments_->tokens) continue;
        steps.push_back({sequence, token});
        still.push_back(sequence);
      }
      running = still;
      if (!steps.empty()) session_->step(steps);
    }
    report_->write_seconds += seconds_since(start);
  }

  /// The first token of a sequence, from the logits after its prompt.
  void begin(std::size_t sequence) {
    first_.resize(session_->sequences());
    first_[sequence] = samplers_[sequence](session_->context().logits(sequence));
  }

 private:
  using Clock = std::chrono::steady_clock;
  [[nodiscard]] static double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  }
  [[nodiscard]] bool ends(llama_token token) const {
    return model_->ends(token) && !arguments_->ignore_end;
  }
  std::string add(llama_token token, std::size_t sequence) {
    Text& text = report_->texts[sequence];
    text.written.push_back(token);
    std::string piece = model_->piece(token);
    text.text += piece;
    return piece;
  }

  AnySession* session_;
  const Model* model_;
  const Arguments* arguments_;
  Report* report_;
  std::vector<llama::Sampler> samplers_;
  std::vector<std::vector<llama_token>> unread_;  ///< of every sequence
  std::vector<llama_token> first_;                ///< of every sequence
};

/// Messages from standard input, a line each, until it ends or the cache is full.
template <class AnySession>
void chat(Writing<AnySession>& writing, const Model& model, Chat& format, bool begins) {
  std::string line;
  while (std::fputs("> ", stderr), std::getline(std::cin, line)) {
    if (line.empty()) continue;
    const std::vector<llama_token> message = model.encode(format.ask(line), begins);
    if (message.size() > writing.room()) {
      std::fprintf(
          stderr,
          "The message has %zu tokens and the cache room for %zu: the chat ends. A policy that "
          "evicts has room for any number.\n",
          message.size(), writing.room());
      return;
    }
    writing.read(message);
    begins = false;
    format.answered(writing.write());
    std::fputs("\n", stdout);
    support::flush_standard_output();
  }
}

}  // namespace morphkv::llama_cpp

#endif  // MORPHKV_TOOLS_LLAMA_CPP_WRITING_HPP
