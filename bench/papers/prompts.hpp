// SPDX-License-Identifier: Apache-2.0
/// \file
/// Prompts as the tokens of a model.
#ifndef MORPHKV_BENCH_PAPERS_PROMPTS_HPP
#define MORPHKV_BENCH_PAPERS_PROMPTS_HPP

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "llama/chat.hpp"
#include "llama/tokenizer.hpp"
#include "papers/task.hpp"
#include "papers/text.hpp"
#include "support/input_file.hpp"

namespace morphkv::papers {

struct EncodedPrompt {
  std::vector<int> tokens;
  std::size_t max_tokens = 0;  ///< of the response
  bool chat = false;           ///< in the model's chat format
  bool truncated = false;
};

/// When prompts are in the model's chat format.
enum class ChatUse { as_the_authors, always, never };

struct PromptLimits {
  std::size_t context = 0;                ///< tokens of prompt and response
  std::optional<std::size_t> max_prompt;  ///< tokens above which LongBench's prompts are cut
};

/// Thread safety: const; calls may be concurrent.
class PromptEncoder {
 public:
  /// \param chat null if the model has no chat format: prompts are then encoded as they are
  /// \pre tokenizer and chat outlive this
  PromptEncoder(const llama::Tokenizer& tokenizer, const llama::Chat* chat, ChatUse use,
                const PromptLimits& limits)
      : tokenizer_(tokenizer), chat_(chat), use_(use), limits_(limits) {}

  /// \throws std::runtime_error naming the task's place if the prompt leaves no token for the
  ///         response
  [[nodiscard]] EncodedPrompt operator()(const Task& task) const {
    EncodedPrompt result;
    result.chat = chat_ != nullptr &&
                  (use_ == ChatUse::always || (use_ == ChatUse::as_the_authors && task.chat));
    result.tokens = encode(task.prompt, result.chat);
    if (task.truncate) truncate(task, result);
    if (result.tokens.size() >= limits_.context) {
      support::fail(task.place, "the prompt has " + std::to_string(result.tokens.size()) +
                                    " tokens: must be below " + std::to_string(limits_.context) +
                                    ", the model's context");
    }
    result.max_tokens = (std::min)(task.max_tokens, limits_.context - result.tokens.size());
    return result;
  }

 private:
  [[nodiscard]] std::vector<int> encode(const std::string& prompt, bool chat) const {
    return chat ? tokenizer_.encode_rendered(chat_->render(prompt)) : tokenizer_.encode(prompt);
  }

  /// Keeps the first and the last half of the tokens that fit, as LongBench does: before the chat
  /// format, which is never cut.
  void truncate(const Task& task, EncodedPrompt& prompt) const {
    const std::size_t total =
        limits_.context > task.max_tokens ? limits_.context - task.max_tokens : 0;
    const std::vector<int> text = tokenizer_.encode(task.prompt);
    std::size_t kept = (std::min)({text.size(), total, limits_.max_prompt.value_or(total)});
    if (kept == text.size() && prompt.tokens.size() <= total) return;
    prompt.truncated = true;
    for (;;) {
      const auto half = static_cast<std::ptrdiff_t>(kept / 2);
      const std::string first = tokenizer_.decode({text.begin(), text.begin() + half});
      const std::string last = tokenizer_.decode({text.end() - half, text.end()});
      prompt.tokens = encode(valid_utf8(first) + valid_utf8(last), prompt.chat);
      if (prompt.tokens.size() <= total) return;
      // The chat format, or the place where the halves meet, takes more tokens.
      const std::size_t excess = prompt.tokens.size() - total;
      if (kept < excess + 2) {
        support::fail(task.place,
                      "a response of " + std::to_string(task.max_tokens) +
                          " tokens leaves none for the prompt: the model's context has " +
                          std::to_string(limits_.context));
      }
      kept -= excess;
    }
  }

  const llama::Tokenizer& tokenizer_;
  const llama::Chat* chat_;
  ChatUse use_;
  PromptLimits limits_;
};

}  // namespace morphkv::papers

#endif  // MORPHKV_BENCH_PAPERS_PROMPTS_HPP
