// SPDX-License-Identifier: Apache-2.0
// What a chat adds to a text, with templates that render answers as they are, without the blanks at
// their ends, and otherwise.
#include "llama_cpp/chat.hpp"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <vector>

namespace morphkv::testing::chat_turns_test { namespace {

using llama_cpp::Chat;
using llama_cpp::ChatMessage;

std::string trimmed(const std::string& text) {
  const std::size_t begin = text.find_first_not_of(" \n");
  return begin == std::string::npos ? ""
                                    : text.substr(begin, text.find_last_not_of(" \n") + 1 - begin);
}

std::string render(const std::vector<ChatMessage>& messages, bool trims) {
  std::string text = "<s>";
  for (const ChatMessage& message : messages) {
    text +=
        "[" + message.role + "]" + (trims ? trimmed(message.content) : message.content) + "<end>\n";
  }
  return text + "[assistant]";
}
std::string verbatim(const std::vector<ChatMessage>& messages) { return render(messages, false); }
std::string trims(const std::vector<ChatMessage>& messages) { return render(messages, true); }

TEST(LlamaCppChat, AddsTheEndOfTheAnswerAndTheNextMessage) {
  Chat chat(verbatim, "Be brief.");
  EXPECT_EQ(chat.ask("one"), "<s>[system]Be brief.<end>\n[user]one<end>\n[assistant]");
  chat.answered(" An answer. \n");
  EXPECT_EQ(chat.ask("two"), "<end>\n[user]two<end>\n[assistant]");
  chat.answered("");
  EXPECT_EQ(chat.ask("three"), "<end>\n[user]three<end>\n[assistant]");
}

TEST(LlamaCppChat, ATemplateMayTakeTheBlanksFromAnAnswer) {
  Chat chat(trims);
  (void)chat.ask(" one ");
  for (const char* answer : {" An answer. \n", "\nno end", "start ", "inner  blanks", "  ", ""}) {
    chat.answered(answer);
    EXPECT_EQ(chat.ask("next"), "<end>\n[user]next<end>\n[assistant]") << '"' << answer << '"';
  }
}

TEST(LlamaCppChat, GoesOnAfterAnAnswerOfAnEarlierRun) {
  Chat chat(trims, "", true);
  EXPECT_EQ(chat.ask("more"), "<end>\n[user]more<end>\n[assistant]");
}

TEST(LlamaCppChat, ATemplateThatChangesWhatWasReadIsRefused) {
  Chat shouts([](const std::vector<ChatMessage>& messages) {
    std::vector<ChatMessage> changed = messages;
    for (ChatMessage& message : changed) {
      if (message.role == "assistant") message.content += "!";
    }
    return "last of " + std::to_string(messages.size()) + verbatim(changed);
  });
  (void)shouts.ask("one");
  shouts.answered("yes");
  EXPECT_THROW((void)shouts.ask("two"), std::invalid_argument);

  Chat hides([](const std::vector<ChatMessage>& messages) {
    std::vector<ChatMessage> changed = messages;
    for (ChatMessage& message : changed) {
      if (message.role == "assistant") message.content = "(earlier)";
    }
    return verbatim(changed);
  });
  (void)hides.ask("one");
  hides.answered("yes");
  EXPECT_THROW((void)hides.ask("two"), std::invalid_argument);
}

}  // namespace
}  // namespace morphkv::testing::chat_turns_test
