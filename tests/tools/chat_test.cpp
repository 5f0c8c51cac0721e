// SPDX-License-Identifier: Apache-2.0
// Rendered chats, as the templates of the models write them (rendered with Jinja once, and stored).
#include <gtest/gtest.h>

#include <string>

#include "llama/chat.hpp"
#include "tools/temporary_folder.hpp"

namespace morphkv::testing::chat_test { namespace {

using llama::Chat;

const std::string smollm2 =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ "
    "'<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
    "Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ "
    "'<|im_start|>assistant\n' }}{% endif %}";

TEST(Chat, SmolLM2) {
  EXPECT_EQ(Chat(smollm2).render("Hi"),
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
            "Face<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(Chat(smollm2).render("Hi", "Be brief."),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\n");
}

TEST(Chat, QwenWithToolsBeforeItsDefault) {
  const std::string qwen25 =
      "{%- if tools %}{{- '<|im_start|>system\\n' }}{{- messages[0]['content'] }}{{- "
      "'<|im_end|>\\n' }}{%- else %}{{- '<|im_start|>system\\nYou are Qwen, created by Alibaba "
      "Cloud. You are a helpful assistant.<|im_end|>\\n' }}{%- endif %}";
  EXPECT_EQ(Chat(qwen25).render("Hi"),
            "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
            "assistant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  const std::string qwen3 =
      "{%- if messages[0].role == 'system' %}{{- '<|im_start|>system\\n' + messages[0].content + "
      "'<|im_end|>\\n' }}{%- endif %}";
  EXPECT_EQ(Chat(qwen3).render("Hi"), "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST(Chat, Llama3) {
  const std::string llama3 =
      "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ "
      "message['content'] | trim + '<|eot_id|>' %}";
  EXPECT_EQ(Chat(llama3).render("Hi"),
            "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n");
  const std::string llama31 =
      llama3 + "{{- \"Cutting Knowledge Date: December 2023\\n\" }}{{- \"Today Date: \" }}";
  EXPECT_EQ(Chat(llama31).render("Hi", "Be brief."),
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge "
            "Date: December 2023\nToday Date: 26 Jul 2024\n\nBe brief.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n");
}

TEST(Chat, OtherFamilies) {
  EXPECT_EQ(Chat("'<s>[INST] <<SYS>>\\n' '\\n<</SYS>>\\n\\n' ' [/INST]'").render("Hi", "Be brief."),
            "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST]");
  EXPECT_EQ(Chat("{{ '[INST] ' + message['content'] + ' [/INST]' }}").render("Hi"),
            "<s>[INST] Hi [/INST]");
  EXPECT_EQ(Chat("{{- \"[INST] \" + message[\"content\"] + \"[/INST]\" }}").render("Hi"),
            "<s>[INST] Hi[/INST]");
  EXPECT_EQ(Chat("{{'<|user|>' + '\\n' + message['content'] + '<|end|>' + '\\n'}}").render("Hi"),
            "<|user|>\nHi<|end|>\n<|assistant|>\n");
  EXPECT_EQ(Chat("'<|im_start|>user<|im_sep|>'").render("Hi"),
            "<|im_start|>user<|im_sep|>Hi<|im_end|><|im_start|>assistant<|im_sep|>");
}

TEST(Chat, WhatIsNotKnownIsRefused) {
  EXPECT_NE(complaint([] { Chat(""); }).find("no chat template"), std::string::npos);
  EXPECT_NE(complaint([] { Chat("{{ 'USER: ' }}"); }).find("not supported"), std::string::npos);
  EXPECT_NE(complaint([] { Chat(smollm2 + "## Metadata"); }).find("not supported"),
            std::string::npos);
  EXPECT_NE(complaint([] {
              (void)Chat("'[INST] ' ' [/INST]'").render("Hi", "Be brief.");
            }).find("no system message"),
            std::string::npos);
}

}  // namespace
}  // namespace morphkv::testing::chat_test
