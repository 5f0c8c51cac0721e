// SPDX-License-Identifier: Apache-2.0
// A real checkpoint: llama2.c's stories260K. It is not in the repository, so these tests exist
// where it lies beside it (../shared/models/stories260K).

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "llama/load.hpp"
#include "llama/session.hpp"
#include "morphkv/morphkv.hpp"

namespace morphkv::testing::story_test { namespace {

/// What the checkpoint writes greedily, to its stop token: checked against a separate program in
/// float64, which agrees with the engine's logits to 2e-5 on all 342 tokens.
constexpr char known_story[] =
    R"(Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball. She wanted to play with it, but it was too high.
Lily's mom said, "Lily, let's go to the park." Lily was sad and didn't know what to do. She said, "I want to play with your ball, but I can't find it."
Lily was sad and didn't know what to do. She said, "I'm sorry, Lily. I didn't know what to do."
Lily didn't want to help her mom, so she said, "I'm sorry, mom. I didn't know what to do." Her mom said, "Don't worry, Lily. We can help you."
Lily and her mom went to the park to play. They played together and had fun. After a while, Lily's mom came into the room and saw the park. She was so happy and said, "Thank you, Lily! You are a good friend.")";

std::vector<std::filesystem::path> story_models() {
  const auto folder =
      std::filesystem::path(MORPHKV_SOURCE_DIR) / ".." / "shared" / "models" / "stories260K";
  if (!std::filesystem::is_directory(folder)) return {};
  return {std::filesystem::canonical(folder)};
}

class Story : public ::testing::TestWithParam<std::filesystem::path> {
 protected:
  [[nodiscard]] bool is_stop(int token) const {
    const auto& stops = model_.config.stop_tokens;
    return std::find(stops.begin(), stops.end(), token) != stops.end();
  }

  template <class Policy, Scalar Stored = float>
  [[nodiscard]] std::vector<int> write(const typename Policy::Options& options) const {
    std::vector<int> text = tokenizer_->encode("Once upon a time");
    llama::Session<Policy, Stored> session(model_, options);
    int token = llama::most_likely(session.prefill(text));
    while (!is_stop(token) && text.size() < model_.config.context) {
      text.push_back(token);
      token = llama::most_likely(session.step(token));
    }
    return text;
  }

  llama::ModelFiles files_{GetParam()};
  llama::Model model_ = files_.load();
  std::unique_ptr<llama::Tokenizer> tokenizer_ = files_.load_tokenizer(model_.config);
};

TEST_P(Story, TheFullCacheWritesTheKnownStory) {
  const std::vector<int> text = write<Full>({.max_tokens = 512});
  EXPECT_EQ(tokenizer_->decode(text), known_story);
  EXPECT_EQ(text.size(), 346U);
}

TEST_P(Story, HalfPrecisionWritesTheSameStory) {
  const std::vector<int> text = write<Full, Eigen::half>({.max_tokens = 512});
  EXPECT_EQ(tokenizer_->decode(text), known_story);
}

TEST_P(Story, PoliciesWithRoomWriteTheKnownStory) {
  EXPECT_EQ(tokenizer_->decode(write<MorphKV>({.capacity = 512, .window = 32})), known_story);
  EXPECT_EQ(tokenizer_->decode(write<H2O>({.heavy = 256, .recent = 256})), known_story);
}

TEST_P(Story, ASmallCacheStillTellsAStory) {
  const std::vector<int> text = write<MorphKV>({.capacity = 96, .window = 48});
  EXPECT_GT(text.size(), 100U);
  const std::string start = "Once upon a time, there was a little girl named Lily.";
  EXPECT_EQ(tokenizer_->decode(text).substr(0, start.size()), start);
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Story);
INSTANTIATE_TEST_SUITE_P(Shared, Story, ::testing::ValuesIn(story_models()),
                         [](const auto& model) { return model.param.filename().string(); });

}  // namespace
}  // namespace morphkv::testing::story_test
