// SPDX-License-Identifier: Apache-2.0
/// \file
/// A fact that a long text states, and that is asked for at its end.
#ifndef MORPHKV_BENCH_REAL_LOOKUP_HPP
#define MORPHKV_BENCH_REAL_LOOKUP_HPP

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <span>
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

struct Fact {
  std::string statement;     ///< a paragraph of the text
  std::size_t mentions = 1;  ///< of the statement
  std::string question;
  std::string lead;    ///< how the answer begins
  std::string answer;  ///< the rest of it
};

/// A text that states a fact, in the ChatML format, and the question for it.
struct Lookup {
  double depth = 0;  ///< of the last mention, as a share of the text
  std::vector<int> tokens;
  std::size_t text_end = 0;         ///< tokens before the turn that asks
  std::size_t question_end = 0;     ///< tokens before the answer
  std::vector<std::size_t> answer;  ///< indices of the answer's tokens with letters or digits

  [[nodiscard]] bool is_answer(std::size_t index) const {
    return std::find(answer.begin(), answer.end(), index) != answer.end();
  }
  /// Tokens of the block that a policy selects from.
  [[nodiscard]] std::size_t prompt(Question question) const {
    return question == Question::in_prompt ? question_end : text_end;
  }
};

/// \param filler tokens around the mentions: the last one is at `depth`, and the others divide what
///               is before it into equal parts
[[nodiscard]] inline Lookup make_lookup(const llama::Tokenizer& tokenizer,
                                        std::span<const int> filler, double depth,
                                        const Fact& fact) {
  Lookup lookup;
  lookup.depth = depth;
  const auto add_tokens = [&](std::span<const int> tokens) {
    lookup.tokens.insert(lookup.tokens.end(), tokens.begin(), tokens.end());
  };
  const auto add = [&](const std::string& text) { add_tokens(tokenizer.encode_rendered(text)); };
  add("<|im_start|>user\nRead this text.\n\n");
  std::size_t begin = 0;
  for (std::size_t mention = 1; mention <= fact.mentions; ++mention) {
    const double part = static_cast<double>(mention) / static_cast<double>(fact.mentions);
    const auto end = static_cast<std::size_t>(depth * part * static_cast<double>(filler.size()));
    add_tokens(filler.subspan(begin, end - begin));
    add("\n\n" + fact.statement + "\n\n");
    begin = end;
  }
  add_tokens(filler.subspan(begin));
  add("<|im_end|>\n<|im_start|>assistant\nI have read the text.<|im_end|>\n");
  lookup.text_end = lookup.tokens.size();
  add("<|im_start|>user\n" + fact.question + "<|im_end|>\n<|im_start|>assistant\n" + fact.lead);
  lookup.question_end = lookup.tokens.size();
  add(fact.answer);
  for (std::size_t i = lookup.question_end; i < lookup.tokens.size(); ++i) {
    const std::string piece = tokenizer.piece(lookup.tokens[i - 1], lookup.tokens[i]);
    if (std::any_of(piece.begin(), piece.end(),
                    [](unsigned char c) { return std::isalnum(c) != 0; })) {
      lookup.answer.push_back(i);
    }
  }
  return lookup;
}

}  // namespace morphkv::real

#endif  // MORPHKV_BENCH_REAL_LOOKUP_HPP
