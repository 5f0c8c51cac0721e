// SPDX-License-Identifier: Apache-2.0
/// \file
/// The chat template of a GGUF model.
#ifndef MORPHKV_TOOLS_LLAMA_CPP_CHAT_TEMPLATE_HPP
#define MORPHKV_TOOLS_LLAMA_CPP_CHAT_TEMPLATE_HPP

#include <llama.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "llama_cpp/chat.hpp"

namespace morphkv::llama_cpp {

/// llama.cpp knows the formats of many families by their templates.
/// \param source the model's chat template, or llama.cpp's name of one
/// \throws std::invalid_argument if it is empty; the template, if it is of no format that llama.cpp
///         knows
[[nodiscard]] inline ChatTemplate chat_template(std::string source) {
  if (source.empty()) {
    throw std::invalid_argument(
        "--chat: the model has no chat template: needs --chat-template, or the chat with its "
        "special "
        "tokens as --prompt");
  }
  return [source = std::move(source)](const std::vector<ChatMessage>& messages) {
    std::vector<llama_chat_message> list;
    std::size_t size = 1024;
    for (const ChatMessage& message : messages) {
      list.push_back({message.role.c_str(), message.content.c_str()});
      size += 2 * message.content.size() + 256;
    }
    std::string text(size, '\0');
    const auto write = [&] {
      return llama_chat_apply_template(source.c_str(), list.data(), list.size(), true, text.data(),
                                       static_cast<std::int32_t>(text.size()));
    };
    std::int32_t length = write();
    if (length > static_cast<std::int32_t>(text.size())) {
      text.resize(static_cast<std::size_t>(length));
      length = write();
    }
    if (length < 0) {
      throw std::invalid_argument(
          "--chat: llama.cpp does not know the format of the chat template: needs --chat-template, "
          "or "
          "the chat with its special tokens as --prompt");
    }
    text.resize(static_cast<std::size_t>(length));
    return text;
  };
}

}  // namespace morphkv::llama_cpp

#endif  // MORPHKV_TOOLS_LLAMA_CPP_CHAT_TEMPLATE_HPP
