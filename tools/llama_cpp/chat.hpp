// SPDX-License-Identifier: Apache-2.0
/// \file
/// A chat, turn by turn: what is added to a text that the model has read and written.
#ifndef MORPHKV_TOOLS_LLAMA_CPP_CHAT_HPP
#define MORPHKV_TOOLS_LLAMA_CPP_CHAT_HPP

#include <cstddef>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace morphkv::llama_cpp {

struct ChatMessage {
  std::string role;  ///< system, user or assistant
  std::string content;
};

/// A chat template: the text of messages, up to where the next answer begins.
using ChatTemplate = std::function<std::string(const std::vector<ChatMessage>&)>;

/// The answers stay in the cache as the model wrote them. A template renders them again, some
/// without the blanks at their ends, so it is found in the rendered text where each of them ends.
class Chat {
 public:
  /// \param goes_on whether the model's last answer is the end of what it has read
  explicit Chat(ChatTemplate render, const std::string& system = {}, bool goes_on = false)
      : render_(std::move(render)) {
    if (!system.empty()) messages_.push_back({"system", system});
    if (!goes_on) return;
    (void)ask("...");  // stands for what has been said: only the end of the answer is to come
    answered("");
  }

  /// What is added to the text for a user's message, up to where the answer begins.
  /// \throws std::invalid_argument if the template changes what it rendered before.
  [[nodiscard]] std::string ask(const std::string& message) {
    messages_.push_back({"user", message});
    const std::string text = render_(messages_);
    const std::size_t begin = end_of_answer(text);
    seen_ = text;
    has_answer_ = false;
    return text.substr(begin);
  }

  /// The answer, without the token that ends it.
  void answered(const std::string& text) {
    messages_.push_back({"assistant", text});
    has_answer_ = true;
  }

 private:
  [[nodiscard]] std::size_t end_of_answer(const std::string& text) const {
    if (text.starts_with(seen_)) {
      if (!has_answer_) return seen_.size();
      const std::string& answer = messages_[messages_.size() - 2].content;
      for (const std::string& rendered : {answer, without_blanks(answer)}) {
        if (text.compare(seen_.size(), rendered.size(), rendered) == 0) {
          return seen_.size() + rendered.size();
        }
      }
    }
    throw std::invalid_argument(
        "--chat: the model's chat template changes messages that it has rendered before, and they "
        "are "
        "in the cache: a chat must be one --prompt for this model");
  }

  [[nodiscard]] static std::string without_blanks(const std::string& text) {
    constexpr const char* blanks = " \t\r\n\v\f";
    const std::size_t begin = text.find_first_not_of(blanks);
    if (begin == std::string::npos) return {};
    return text.substr(begin, text.find_last_not_of(blanks) + 1 - begin);
  }

  ChatTemplate render_;
  std::vector<ChatMessage> messages_;
  std::string seen_;  ///< what was rendered last
  bool has_answer_ = false;
};

}  // namespace morphkv::llama_cpp

#endif  // MORPHKV_TOOLS_LLAMA_CPP_CHAT_HPP
