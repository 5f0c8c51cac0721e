// SPDX-License-Identifier: Apache-2.0
/// \file
/// Chat templates of the supported families. A model's template is a program (Jinja), which is not
/// run: the format is recognised by its marks and rendered here.
#ifndef MORPHKV_TOOLS_LLAMA_CHAT_HPP
#define MORPHKV_TOOLS_LLAMA_CHAT_HPP

#include <array>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>

namespace morphkv::llama {

/// The texts around the messages of a chat.
struct ChatFormat {
  std::string_view name;
  std::array<std::string_view, 2> marks;  ///< what a template of this format contains
  std::string_view begin;
  std::string_view system_begin;  ///< empty: the format has no system message
  std::string_view system_end;
  std::string_view user_begin;
  std::string_view user_end;
  std::string_view assistant_begin;
  std::string_view end_of_turn;  ///< the special token after an answer
};

namespace detail {

// Of several formats whose marks a template contains, the first is its format.
inline constexpr std::array<ChatFormat, 7> chat_formats = {{
    {"Phi-4",
     {"<|im_start|>", "<|im_sep|>"},
     "",
     "<|im_start|>system<|im_sep|>",
     "<|im_end|>",
     "<|im_start|>user<|im_sep|>",
     "<|im_end|>",
     "<|im_start|>assistant<|im_sep|>",
     "<|im_end|>"},
    {"ChatML (SmolLM2, Qwen)",
     {"<|im_start|>", "<|im_end|>"},
     "",
     "<|im_start|>system\n",
     "<|im_end|>\n",
     "<|im_start|>user\n",
     "<|im_end|>\n",
     "<|im_start|>assistant\n",
     "<|im_end|>"},
    {"Llama 3",
     {"<|start_header_id|>", "<|eot_id|>"},
     "<|begin_of_text|>",
     "<|start_header_id|>system<|end_header_id|>\n\n",
     "<|eot_id|>",
     "<|start_header_id|>user<|end_header_id|>\n\n",
     "<|eot_id|>",
     "<|start_header_id|>assistant<|end_header_id|>\n\n",
     "<|eot_id|>"},
    {"Phi-3",
     {"<|user|>", "<|end|>"},
     "",
     "<|system|>\n",
     "<|end|>\n",
     "<|user|>\n",
     "<|end|>\n",
     "<|assistant|>\n",
     "<|end|>"},
    {"Llama 2",
     {"[INST]", "<<SYS>>"},
     "<s>[INST] ",
     "<<SYS>>\n",
     "\n<</SYS>>\n\n",
     "",
     " [/INST]",
     "",
     "</s>"},
    {"Mistral v0.1 and v0.2",
     {"[INST]", "' [/INST]"},
     "<s>[INST] ",
     "",
     "",
     "",
     " [/INST]",
     "",
     "</s>"},
    {"Mistral v0.3", {"[INST]", "[/INST]"}, "<s>[INST] ", "", "", "", "[/INST]", "", "</s>"},
}};

/// Llama 3.1's template writes these lines before the system message, with this date by default.
inline constexpr std::string_view llama31_dates =
    "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n";

}  // namespace detail

/// The chat format of one model.
class Chat {
 public:
  /// \param source the model's chat template
  /// \throws std::invalid_argument if it is empty, or of no format that is known
  explicit Chat(std::string source) {
    for (std::size_t at = source.find("\\n"); at != std::string::npos; at = source.find("\\n")) {
      source.replace(at, 2, "\n");
    }
    const auto has = [&](std::string_view text) { return source.find(text) != std::string::npos; };
    for (const ChatFormat& format : detail::chat_formats) {
      if (format_ == nullptr && has(format.marks[0]) && has(format.marks[1])) format_ = &format;
    }
    // SmolLM3's system message is computed from its settings.
    if (source.empty() || format_ == nullptr || has("## Metadata")) {
      throw std::invalid_argument(std::string(source.empty()
                                                  ? "the model has no chat template"
                                                  : "the model's chat template is not supported") +
                                  "; write the chat with its special tokens as --prompt");
    }
    has_dates_ = has("Cutting Knowledge Date: December 2023");
    find_default_system(source);
  }

  [[nodiscard]] const ChatFormat& format() const noexcept { return *format_; }

  /// A chat of one user message, up to where the answer begins.
  /// \param system empty: the template's own, if it has one
  /// \throws std::invalid_argument if the format has no system message
  [[nodiscard]] std::string render(const std::string& user, std::string system = {}) const {
    const ChatFormat& f = *format_;
    if (!system.empty() && f.system_begin.empty()) {
      throw std::invalid_argument("--system: the chat format " + std::string(f.name) +
                                  " has no system message");
    }
    if (system.empty()) system = default_system_;
    if (has_dates_) system.insert(0, detail::llama31_dates);
    std::string text(f.begin);
    if (!system.empty()) text.append(f.system_begin).append(system).append(f.system_end);
    return text.append(f.user_begin).append(user).append(f.user_end).append(f.assistant_begin);
  }

 private:
  /// A system message that stands as a whole in the template, as SmolLM2's and Qwen2's do.
  void find_default_system(const std::string& source) {
    const ChatFormat& f = *format_;
    if (f.system_begin.empty()) return;
    for (std::size_t at = source.find(f.system_begin); at != std::string::npos;
         at = source.find(f.system_begin, at + 1)) {
      const std::size_t begin = at + f.system_begin.size();
      const std::size_t end = source.find(f.end_of_turn, begin);
      if (end == std::string::npos || end == begin) continue;
      const std::string text = source.substr(begin, end - begin);
      if (text.find_first_of("'\"{}") != std::string::npos) continue;
      default_system_ = text;
      return;
    }
  }

  const ChatFormat* format_ = nullptr;
  bool has_dates_ = false;
  std::string default_system_;
};

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_CHAT_HPP
