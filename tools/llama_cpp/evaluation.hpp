// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a cache costs a model: the NLL of a text, and numbers that it should find again.
#ifndef MORPHKV_TOOLS_LLAMA_CPP_EVALUATION_HPP
#define MORPHKV_TOOLS_LLAMA_CPP_EVALUATION_HPP

#include <llama.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "llama/transformer.hpp"
#include "llama_cpp/model.hpp"
#include "support/parts.hpp"
#include "tasks/passkey.hpp"

namespace morphkv::llama_cpp {

/// -log of the probability of a token, in nats.
[[nodiscard]] inline double nll_of(std::span<const float> logits, llama_token token) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit - largest));
  return std::log(sum) + static_cast<double>(largest - logits[static_cast<std::size_t>(token)]);
}

/// A line per tenth on standard error.
class Tenths {
 public:
  Tenths(const char* what, std::size_t total) : what_(what), total_(total) {}
  void show(std::size_t done, double figure, const char* unit) {
    if (!tenths_.is_next_done(done, total_)) return;
    std::fprintf(stderr, "%s %zu of %zu: %.4f %s\n", what_, done, total_, figure, unit);
  }

 private:
  const char* what_;
  std::size_t total_;
  support::Parts tenths_;
};

/// The mean NLL of the tokens after the prompt, which are read one by one.
/// \pre the session has read the prompt
template <class AnySession>
[[nodiscard]] double mean_nll_after(AnySession& session, std::span<const llama_token> tokens,
                                    std::size_t prompt) {
  double sum = 0;
  Tenths progress("token", tokens.size() - prompt);
  for (std::size_t i = prompt; i < tokens.size(); ++i) {
    sum += nll_of(session.context().logits(), tokens[i]);
    const std::size_t done = i + 1 - prompt;
    progress.show(done, sum / static_cast<double>(done), "nats per token");
    if (i + 1 < tokens.size()) session.step(tokens[i]);
  }
  return sum / static_cast<double>(tokens.size() - prompt);
}

/// A number that is hidden in a text that says nothing.
struct Passkey {
  std::string digits;
  double depth = 0;  ///< 0: at the beginning of the text, 1: at its end
  std::vector<llama_token> prompt;
};

/// \param tokens of the prompt, about
[[nodiscard]] inline Passkey make_passkey(const Model& model, std::size_t index, std::size_t count,
                                          std::size_t tokens, std::uint64_t seed) {
  static constexpr const char* filler =
      "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.\n";
  std::mt19937_64 random(seed + index);
  Passkey key;
  key.depth = count == 1 ? 0.5 : static_cast<double>(index) / static_cast<double>(count - 1);
  key.digits = tasks::random_passkey(random);
  const std::size_t each = std::max<std::size_t>(model.encode(filler, false).size(), 1);
  const std::size_t lines = std::max<std::size_t>(tokens / each, 4) - 3;
  const auto before = static_cast<std::size_t>(std::lround(key.depth * static_cast<double>(lines)));
  std::string text = "There is a pass key in a lot of text that does not matter. Remember it.\n";
  for (std::size_t line = 0; line <= lines; ++line) {
    if (line == before) {
      text +=
          "The pass key is " + key.digits + ". Remember it. " + key.digits + " is the pass key.\n";
    }
    if (line < lines) text += filler;
  }
  key.prompt = model.encode(text + "What is the pass key? The pass key is");
  return key;
}

/// The digits at the beginning of an answer that are right, each at its place.
[[nodiscard]] inline std::size_t right_digits(const std::string& answer,
                                              const std::string& digits) {
  const std::size_t begin = std::min(answer.find_first_of("0123456789"), answer.size());
  std::size_t right = 0;
  for (std::size_t i = 0; i < digits.size() && begin + i < answer.size(); ++i) {
    if (answer[begin + i] == digits[i]) ++right;
  }
  return right;
}

/// What the model writes after a prompt, the most likely tokens.
template <class AnySession>
[[nodiscard]] std::string answer(AnySession& session, const Model& model,
                                 std::span<const llama_token> prompt, std::size_t tokens) {
  session.read(prompt);
  std::string text;
  for (std::size_t i = 0; i < tokens; ++i) {
    const llama_token token = llama::most_likely(session.context().logits());
    if (model.ends(token)) break;
    text += model.piece(token);
    if (i + 1 < tokens) session.step(token);
  }
  return text;
}

}  // namespace morphkv::llama_cpp

#endif  // MORPHKV_TOOLS_LLAMA_CPP_EVALUATION_HPP
