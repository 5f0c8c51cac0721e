// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "llama/hugging_face.hpp"
#include "llama/session.hpp"
#include "morphkv/morphkv.hpp"
#include "tools/random_model.hpp"
#include "tools/reference_llama.hpp"
#include "tools/temporary_folder.hpp"

namespace morphkv::testing::llama_engine_test { namespace {

constexpr std::size_t tokens = 40;

std::vector<int> some_text(const llama::Config& config) {
  std::vector<int> text;
  for (std::size_t t = 0; t < tokens; ++t) {
    text.push_back(static_cast<int>((t * t + 3 * t + 1) % config.vocabulary));
  }
  return text;
}

void expect_near(std::span<const float> logits, const Eigen::VectorXd& expected, double tolerance) {
  ASSERT_EQ(logits.size(), static_cast<std::size_t>(expected.size()));
  for (std::size_t i = 0; i < logits.size(); ++i) {
    ASSERT_NEAR(static_cast<double>(logits[i]), expected(static_cast<Eigen::Index>(i)), tolerance);
  }
}

TEST(LlamaEngine, StepsAgreeWithTheReference) {
  for (const bool tied : {true, false}) {
    const llama::Model model = random_model(small_config(tied), 1);
    ReferenceLlama reference(model);
    llama::Session<Full> session(model, {.max_tokens = tokens});
    for (const int token : some_text(model.config)) {
      expect_near(session.step(token), reference.step(token), 1e-4);
    }
  }
}

/// A family's model, written as a Hugging Face folder and read again, against the reference.
void expect_computed(const llama::Config& config, double tolerance) {
  const llama::Model model = random_model(config, 7);
  for (const auto type : {support::TensorType::f32, support::TensorType::bf16}) {
    const TemporaryFolder folder;
    write_hugging_face(model, folder.path(), type);
    const llama::Model loaded = llama::load_hugging_face(folder.path());
    EXPECT_EQ(loaded.layers[0].query.weights.type(), type)
        << "weights stay in the type of the file";
    ReferenceLlama reference(model);
    llama::Session<Full> session(loaded, {.max_tokens = tokens}, 2);
    for (const int token : some_text(config)) {
      expect_near(session.step(token), reference.step(token), tolerance);
    }
  }
}

TEST(LlamaEngine, EveryFamilyAgreesWithTheReference) {
  for (const char* family : {"llama", "mistral", "qwen2", "qwen3", "smollm3", "phi3"}) {
    SCOPED_TRACE(family);
    expect_computed(family_config(family), 2e-4);
  }
  llama::Config config = small_config(false);
  config.qkv_bias = config.output_bias = config.mlp_bias = true;  // of Llama
  expect_computed(config, 2e-4);
}

TEST(LlamaEngine, LayersSlideWhereTheConfigurationSaysSo) {
  using Windows = std::vector<std::size_t>;
  for (const auto& [family, windows] :
       {std::pair("mistral", Windows{8, 8, 8}), std::pair("phi3", Windows{5, 5, 5}),
        std::pair("qwen2", Windows{0, 0, 9}), std::pair("qwen3", Windows{7, 0, 7}),
        std::pair("smollm3", Windows{0, 6, 0})}) {
    SCOPED_TRACE(family);
    llama::Config config = family_config(family);
    config.windows = windows;
    expect_computed(config, 2e-4);
  }
}

TEST(LlamaEngine, EveryRopeScalingAgreesWithTheReference) {
  using Type = llama::RopeScaling::Type;
  for (const auto type : {Type::linear, Type::llama3, Type::yarn}) {
    for (const bool truncate : {true, false}) {
      llama::Config config = small_config(true);
      config.head_dim = 16;
      config.rope_theta = 50;  // so that frequencies lie on both sides of the ramp, and on it
      config.rope_scaling = llama::RopeScaling{.type = type,
                                               .factor = 3,
                                               .original_context = 24,
                                               .beta_fast = 2,
                                               .beta_slow = 0.5,
                                               .attention_factor = 1.1,
                                               .truncate = truncate};
      SCOPED_TRACE(static_cast<int>(type));
      expect_computed(config, 2e-4);
    }
  }
}

TEST(LlamaEngine, ThreadsDoNotChangeALogit) {
  const llama::Model model = random_model(family_config("qwen3"), 8);
  const std::vector<int> text = some_text(model.config);
  llama::Session<Full> one(model, {.max_tokens = tokens}, 1);
  const llama::Matrix expected = one.prefill_with_all_logits(text);
  for (const std::size_t threads : {2U, 3U}) {
    llama::Session<Full> many(model, {.max_tokens = tokens}, threads);
    EXPECT_EQ(many.prefill_with_all_logits(text), expected);
  }
}

TEST(LlamaEngine, APromptAtOnceIsTheSameAsTokenByToken) {
  const llama::Model model = random_model(small_config(true), 2);
  const std::vector<int> text = some_text(model.config);
  llama::Session<Full> at_once(model, {.max_tokens = tokens});
  const llama::Matrix logits = at_once.prefill_with_all_logits(text);
  llama::Session<Full> stepwise(model, {.max_tokens = tokens});
  for (std::size_t t = 0; t < text.size(); ++t) {
    const auto row = logits.row(static_cast<Eigen::Index>(t)).transpose().cast<double>();
    expect_near(stepwise.step(text[t]), row, 1e-4);
  }
}

TEST(LlamaEngine, TurnsContinueAtTheNextPosition) {
  const llama::Model model = random_model(small_config(true), 3);
  const std::vector<int> text = some_text(model.config);
  llama::Session<Full> at_once(model, {.max_tokens = tokens});
  const std::span<const float> expected = at_once.prefill(text);
  llama::Session<Full> turns(model, {.max_tokens = tokens});
  const std::span<const int> all = text;
  turns.prefill(all.first(11));
  turns.step(text[11]);
  const std::span<const float> logits = turns.prefill(all.subspan(12));
  EXPECT_EQ(turns.position(), tokens);
  for (std::size_t i = 0; i < logits.size(); ++i) EXPECT_NEAR(logits[i], expected[i], 1e-4);
}

TEST(LlamaEngine, RefusesTokensThatAreNotInTheVocabulary) {
  const llama::Model model = random_model(small_config(true), 4);
  llama::Session<Full> session(model, {.max_tokens = tokens});
  EXPECT_THROW(session.step(31), std::invalid_argument);
  EXPECT_THROW(session.step(-1), std::invalid_argument);
  EXPECT_THROW(session.prefill({}), std::invalid_argument);
}

TEST(LlamaEngine, SaysWhyTheCacheRefusesAToken) {
  const llama::Model model = random_model(small_config(true), 4);
  llama::Session<Full> session(model, {.max_tokens = 2});
  session.prefill(std::vector<int>{1, 2});
  EXPECT_THROW(session.step(3), std::runtime_error);
}

/// Greedy tokens after a prompt of 10.
template <class Policy>
std::vector<int> greedy_text(const llama::Model& model, const typename Policy::Options& options) {
  llama::Session<Policy> session(model, options);
  const std::vector<int> text = some_text(model.config);
  int token = llama::most_likely(session.prefill(std::span<const int>(text).first(10)));
  std::vector<int> written = {token};
  while (written.size() < tokens - 10) {
    token = llama::most_likely(session.step(token));
    written.push_back(token);
  }
  return written;
}

TEST(LlamaEngine, APolicyWithRoomForAllWritesWhatTheFullCacheWrites) {
  const llama::Model model = random_model(small_config(false), 5);
  const std::vector<int> full = greedy_text<Full>(model, {.max_tokens = tokens});
  for (const Fusion fusion : {Fusion::sum, Fusion::max}) {
    EXPECT_EQ(full,
              greedy_text<MorphKV>(model, {.capacity = tokens, .window = 7, .fusion = fusion}));
  }
  EXPECT_EQ(full, greedy_text<SnapKV>(model, {.capacity = tokens, .max_tokens = tokens}));
  EXPECT_EQ(full, greedy_text<H2O>(model, {.heavy = tokens / 2, .recent = tokens / 2}));
  EXPECT_EQ(full, greedy_text<StreamingLLM>(model, {.capacity = tokens}));
  EXPECT_EQ(full, greedy_text<TOVA>(model, {.capacity = tokens}));
  EXPECT_EQ(full, greedy_text<morphkv::Random>(model, {.capacity = tokens}));
}

TEST(LlamaEngine, ASmallCacheHoldsItsCapacity) {
  const llama::Model model = random_model(small_config(false), 6);
  llama::Session<MorphKV> session(model, {.capacity = 12, .window = 5, .sinks = 2});
  for (const int token : some_text(model.config)) session.step(token);
  for (std::size_t layer = 0; layer < model.config.layers; ++layer) {
    for (std::size_t head = 0; head < model.config.kv_heads; ++head) {
      EXPECT_EQ(session.cache().size(layer, head), 12U);
    }
  }
}

}  // namespace
}  // namespace morphkv::testing::llama_engine_test
