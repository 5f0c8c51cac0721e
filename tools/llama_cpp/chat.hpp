// SPDX-License-Identifier: Apache-2.0
/// \file
/// A chat in the format of a GGUF model, turn by turn.
#ifndef MORPHKV_TOOLS_LLAMA_CPP_CHAT_HPP
#define MORPHKV_TOOLS_LLAMA_CPP_CHAT_HPP

#include <llama.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace morphkv::llama_cpp {

/// llama.cpp knows the formats of many families by their templates.
class Chat {
 public:
  /// \param source the model's chat template
  /// \param goes_on whether the model's last answer is the end of what it has read
  /// \throws std::invalid_argument if it is empty, or not of a format that llama.cpp knows
  Chat(std::string source, const std::string& system, bool goes_on = false)
      : source_(std::move(source)) {
    if (source_.empty()) {
      throw std::invalid_argument(
          "--chat: the model has no chat template; write the chat with its special tokens as "
          "--prompt");
    }
    if (!system.empty()) messages_.push_back({"system", system});
    if (!goes_on) return;
    (void)ask("...");  // stands for what has been said: only the end of the answer is to come
    answered("");
  }

  /// What is added to the text for a user's message, up to where the answer begins.
  [[nodiscard]] std::string ask(const std::string& message) {
    messages_.push_back({"user", message});
    const std::string text = render();
    if (text.size() < seen_)
      throw std::invalid_argument("--chat: the chat template takes back text");
    std::string added = text.substr(seen_);
    seen_ = text.size();
    return added;
  }

  /// The answer, without the token that ends it.
  void answered(const std::string& text) {
    messages_.push_back({"assistant", text});
    seen_ += text.size();
  }

 private:
  struct Message {
    std::string role;
    std::string content;
  };

  [[nodiscard]] std::string render() const {
    std::vector<llama_chat_message> list;
    std::size_t size = 1024;
    for (const Message& message : messages_) {
      list.push_back({message.role.c_str(), message.content.c_str()});
      size += 2 * message.content.size() + 256;
    }
    std::string text(size, '\0');
    const auto write = [&] {
      return llama_chat_apply_template(source_.c_str(), list.data(), list.size(), true, text.data(),
                                       static_cast<std::int32_t>(text.size()));
    };
    std::int32_t length = write();
    if (length > static_cast<std::int32_t>(text.size())) {
      text.resize(static_cast<std::size_t>(length));
      length = write();
    }
    if (length < 0) {
      throw std::invalid_argument(
          "--chat: llama.cpp does not know the format of the model's chat template; write the chat "
          "with its special tokens as --prompt");
    }
    text.resize(static_cast<std::size_t>(length));
    return text;
  }

  std::string source_;
  std::vector<Message> messages_;
  std::size_t seen_ = 0;  ///< of the rendered text: what the model has read or written
};

}  // namespace morphkv::llama_cpp

#endif  // MORPHKV_TOOLS_LLAMA_CPP_CHAT_HPP
