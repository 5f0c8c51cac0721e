// SPDX-License-Identifier: Apache-2.0
/// \file
/// A number that is stated once in a long text, and asked for at the end.
#ifndef MORPHKV_BENCH_REAL_PASSKEY_HPP
#define MORPHKV_BENCH_REAL_PASSKEY_HPP

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "llama/tokenizer.hpp"

namespace morphkv::real {

/// Where the question is: the end of the block that a policy selects from, or after it.
enum class Question { in_prompt, later_turn };
inline constexpr Question questions[] = {Question::in_prompt, Question::later_turn};
[[nodiscard]] inline const char* to_string(Question question) {
  return question == Question::in_prompt ? "asked in the prompt" : "asked in a later turn";
}

/// A text with a passkey, in the ChatML format.
struct Passkey {
  double depth = 0;  ///< where the number is stated, as a share of the text
  std::vector<int> tokens;
  std::size_t text_end = 0;         ///< tokens before the turn that asks
  std::size_t question_end = 0;     ///< tokens before the answer
  std::vector<std::size_t> digits;  ///< indices of the tokens that have digits of the answer

  [[nodiscard]] bool is_digit(std::size_t index) const {
    return std::find(digits.begin(), digits.end(), index) != digits.end();
  }
  /// Tokens of the block that a policy selects from.
  [[nodiscard]] std::size_t prompt(Question question) const {
    return question == Question::in_prompt ? question_end : text_end;
  }
};

inline constexpr std::size_t passkey_digits = 5;

/// \param filler tokens around the sentence that states the number
[[nodiscard]] inline Passkey make_passkey(const llama::Tokenizer& tokenizer,
                                          std::span<const int> filler, double depth,
                                          std::mt19937_64& random) {
  std::string number;
  for (std::size_t i = 0; i < passkey_digits; ++i) {
    number += static_cast<char>('0' + static_cast<int>(random() % 10));
  }
  Passkey passkey;
  passkey.depth = depth;
  const auto add = [&](const std::string& text) {
    const std::vector<int> tokens = tokenizer.encode_rendered(text);
    passkey.tokens.insert(passkey.tokens.end(), tokens.begin(), tokens.end());
  };
  const auto before = static_cast<std::size_t>(depth * static_cast<double>(filler.size()));
  const auto add_filler = [&](std::span<const int> part) {
    passkey.tokens.insert(passkey.tokens.end(), part.begin(), part.end());
  };
  add("<|im_start|>user\nRead this text.\n\n");
  add_filler(filler.first(before));
  add("\n\nThe secret pass key is " + number + ". Remember it.\n\n");
  add_filler(filler.subspan(before));
  add("<|im_end|>\n<|im_start|>assistant\nI have read the text.<|im_end|>\n");
  passkey.text_end = passkey.tokens.size();
  add("<|im_start|>user\nWhat is the secret pass key in the text?<|im_end|>\n"
      "<|im_start|>assistant\nThe secret pass key is");
  passkey.question_end = passkey.tokens.size();
  add(" " + number + ".");
  for (std::size_t i = passkey.question_end; i < passkey.tokens.size(); ++i) {
    const std::string piece = tokenizer.piece(passkey.tokens[i - 1], passkey.tokens[i]);
    if (std::any_of(piece.begin(), piece.end(),
                    [](unsigned char c) { return std::isdigit(c) != 0; })) {
      passkey.digits.push_back(i);
    }
  }
  return passkey;
}

}  // namespace morphkv::real

#endif  // MORPHKV_BENCH_REAL_PASSKEY_HPP
