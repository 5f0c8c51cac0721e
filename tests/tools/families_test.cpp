// SPDX-License-Identifier: Apache-2.0
// Families beyond Llama: random models of their real names, against slow models in double that
// share no code with the engine. The whole sequence is computed there at once; what an eviction
// policy has dropped is a mask.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "llama/feed_forward.hpp"
#include "llama/hugging_face.hpp"
#include "llama/session.hpp"
#include "llama/trace.hpp"
#include "morphkv/morphkv.hpp"
#include "tools/random_families.hpp"
#include "tools/temporary_folder.hpp"

namespace morphkv::testing::families_test { namespace {

constexpr std::size_t tokens = 40;
constexpr double tolerance = 5e-5;

/// Lengths of the blocks in which the text is read; a block of one token is a step.
using Blocks = std::vector<std::size_t>;
const Blocks at_once = {tokens};
const Blocks stepwise(tokens, 1);
const Blocks mixed = {11, 1, 1, 7, 1, 9, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

/// What the loader says of a folder.
std::string complaint_about(const RandomFamily& family) {
  const TemporaryFolder folder;
  family.write(folder.path(), support::TensorType::bf16);
  return complaint([&] { (void)llama::load_hugging_face(folder.path()); });
}

class FamiliesTest : public ::testing::TestWithParam<RandomFamily> {
 protected:
  FamiliesTest() {
    for (std::size_t t = 0; t < tokens; ++t) {
      text_.push_back(static_cast<int>((t * t + 3 * t + 1) % 31));
    }
  }

  [[nodiscard]] llama::Model load(support::TensorType type = support::TensorType::f32) const {
    const TemporaryFolder folder;
    GetParam().write(folder.path(), type);
    return llama::load_hugging_face(folder.path());
  }

  [[nodiscard]] oracle::Rows expected(const oracle::Visible& visible) const {
    const RandomFamily& family = GetParam();
    return family.oracle(family.config, family.weights(), text_, visible);
  }

  /// The logits after each token. \param after called after each block with its first token and end
  template <class Session>
  [[nodiscard]] llama::Matrix read(
      Session& session, const Blocks& blocks,
      const std::function<void(std::size_t, std::size_t)>& after = {}) const {
    llama::Matrix all(tokens, 31);
    std::size_t begin = 0;
    for (const std::size_t count : blocks) {
      const std::span<const int> block = std::span(text_).subspan(begin, count);
      all.middleRows(static_cast<Eigen::Index>(begin), static_cast<Eigen::Index>(count)) =
          session.prefill_with_all_logits(block);
      begin += count;
      if (after) after(begin - count, begin);
    }
    EXPECT_EQ(begin, tokens);
    return all;
  }

  static void expect_near(const llama::Matrix& logits, const oracle::Rows& expected) {
    for (std::size_t t = 0; t < tokens; ++t) {
      for (std::size_t i = 0; i < expected[t].size(); ++i) {
        const float logit = logits(static_cast<Eigen::Index>(t), static_cast<Eigen::Index>(i));
        ASSERT_NEAR(static_cast<double>(logit), expected[t][i], tolerance)
            << "token " << t << ", logit " << i;
      }
    }
  }

  std::vector<int> text_;
};

TEST_P(FamiliesTest, AllLogitsAreThoseOfTheOracle) {
  const oracle::Rows wanted = expected([](auto...) { return true; });
  for (const auto type : {support::TensorType::f32, support::TensorType::bf16}) {
    const llama::Model model = load(type);
    for (const Blocks& blocks : {at_once, stepwise, mixed}) {
      llama::Session<Full> session(model, {.max_tokens = tokens}, 2);
      expect_near(read(session, blocks), wanted);
    }
  }
}

/// Blocks attend to what was held before them and to their own tokens; a step evicts first.
TEST_P(FamiliesTest, StreamingLLMIsAMask) {
  constexpr std::size_t capacity = 12;
  constexpr std::size_t sinks = 2;
  const llama::Model model = load();
  for (const Blocks& blocks : {at_once, stepwise, mixed}) {
    std::vector<std::size_t> oldest;  // of the newest tokens that a query sees
    for (const std::size_t count : blocks) {
      const std::size_t begin = oldest.size();
      const std::size_t seen_before = count == 1 && begin > 0 ? begin + 1 : begin;
      const std::size_t newest = capacity - sinks;
      oldest.resize(begin + count, seen_before > newest ? seen_before - newest : 0);
    }
    llama::Session<StreamingLLM> session(model, {.capacity = capacity, .sinks = sinks});
    const llama::Matrix logits = read(session, blocks);
    expect_near(logits,
                expected([&](std::size_t layer, std::size_t, std::size_t query, std::size_t token) {
                  return GetParam().slides[layer] || token < sinks || token >= oldest[query];
                }));
  }
}

/// The tokens that a policy holds, taken from the cache, are the mask.
template <class Policy>
void expect_masked_by_positions(const llama::Model& model, const typename Policy::Options& options,
                                const auto& read, const auto& compare,
                                const std::vector<bool>& slides) {
  const std::size_t kv_heads = model.config.kv_heads;
  llama::Session<Policy> session(model, options, 2);
  // [token][layer x kv_heads]: what each query sees of the tokens before its block
  using Held = std::vector<std::vector<Position>>;
  std::vector<Held> seen;
  std::vector<std::size_t> begins;  // of each token's block
  Held held(model.config.layers * kv_heads);
  const auto after = [&](std::size_t begin, std::size_t end) {
    const bool is_step = end - begin == 1 && begin > 0;
    Held before = held;
    for (std::size_t i = 0; i < held.size(); ++i) {
      const auto& policy = session.cache().policy(i / kv_heads, i % kv_heads);
      const auto positions = policy.positions();
      // A step in a full head evicts before it attends.
      const bool evicts = is_step && held[i].size() == policy.slots();
      held[i].assign(positions.begin(), positions.end());
      std::erase(held[i], no_position);
      if (evicts) before[i] = held[i];
    }
    seen.resize(end, before);
    begins.resize(end, begin);
  };
  const llama::Matrix logits = read(session, after);
  compare(logits, [&](std::size_t layer, std::size_t head, std::size_t query, std::size_t token) {
    const std::vector<Position>& before = seen[query][layer * kv_heads + head];
    return slides[layer] || token >= begins[query] ||
           std::find(before.begin(), before.end(), static_cast<Position>(token)) != before.end();
  });
  for (std::size_t i = 0; i < held.size(); ++i) {
    if (slides[i / kv_heads]) {
      EXPECT_EQ(held[i].size(), model.config.windows[i / kv_heads]);
    } else {
      EXPECT_LE(held[i].size(), 13U) << "most of the text was evicted";
    }
  }
}

TEST_P(FamiliesTest, EveryPolicyIsAMask) {
  const llama::Model model = load();
  for (const Blocks& blocks : {stepwise, mixed}) {
    const auto reading = [&](auto& session, const auto& after) {
      return read(session, blocks, after);
    };
    const auto compare = [&](const llama::Matrix& logits, const oracle::Visible& visible) {
      expect_near(logits, expected(visible));
    };
    expect_masked_by_positions<MorphKV>(model, {.capacity = 12, .window = 4, .sinks = 2}, reading,
                                        compare, GetParam().slides);
    expect_masked_by_positions<DecayedMax>(model, {.capacity = 13, .recent = 4, .sinks = 2},
                                           reading, compare, GetParam().slides);
    expect_masked_by_positions<H2O>(model, {.heavy = 6, .recent = 6}, reading, compare,
                                    GetParam().slides);
  }
}

TEST_P(FamiliesTest, EveryTensorIsNeeded) {
  for (const auto& tensor : GetParam().tensors) {
    RandomFamily changed = GetParam();
    changed.tensors.erase(tensor.first);
    const std::string said = complaint_about(changed);
    EXPECT_NE(said.find("no tensor " + tensor.first), std::string::npos) << said;
  }
}

/// The program writes the words that the oracle finds most likely, with all tokens and with few.
TEST_P(FamiliesTest, GenerateWritesWhatTheOracleWrites) {
  constexpr std::size_t written = 20;
  constexpr std::size_t capacity = 12;
  constexpr std::size_t sinks = 2;
  const TemporaryFolder folder;
  GetParam().write(folder.path(), support::TensorType::bf16);
  nlohmann::json words;
  for (int token = 0; token < 31; ++token) words["w" + std::to_string(token)] = token;
  (void)folder.write("vocab.json", words.dump());
  for (const bool evicts : {false, true}) {
    std::vector<int> text = {3, 14, 15, 9, 26, 5};
    std::string shown = "w3 w14 w15 w9 w26 w5";
    const std::string prompt = shown;
    for (std::size_t i = 0; i < written; ++i) {
      const oracle::Rows logits = GetParam().oracle(
          GetParam().config, GetParam().weights(), text,
          [&](std::size_t layer, std::size_t, std::size_t query, std::size_t token) {
            return !evicts || GetParam().slides[layer] || token < sinks ||
                   token + (capacity - sinks) > query;
          });
      const auto best = std::max_element(logits.back().begin(), logits.back().end());
      text.push_back(static_cast<int>(best - logits.back().begin()));
      shown += " w" + std::to_string(text.back());
    }
    const std::string command =
        std::string("'") + MORPHKV_PROGRAM_DIR + "/generate' --model '" + folder.path().string() +
        "' --prompt '" + prompt + "' --tokens " + std::to_string(written) + " --threads 2 " +
        (evicts ? "--policy streaming_llm --capacity 12 --sinks 2" : "--policy full") + " > '" +
        folder.file("out").string() + "' 2> '" + folder.file("err").string() + "'";
    ASSERT_EQ(std::system(command.c_str()), 0) << bytes_of(folder.file("err"));
    EXPECT_EQ(bytes_of(folder.file("out")), shown);
  }
}

TEST_P(FamiliesTest, OnlyPlainAttentionIsTraced) {
  const llama::Model model = load();
  const std::string said =
      complaint([&] { llama::Trace::require_plain_attention(model.shape(), 0); });
  EXPECT_EQ(said.empty(), GetParam().config.at("model_type") == "qwen3") << said;
}

/// What the loader says of each family with one field changed.
std::string complaint_with(RandomFamily family, const std::string& field,
                           const nlohmann::json& value) {
  family.config[field] = value;
  return complaint_about(family);
}

TEST(Families, WhatIsNotComputedIsRefusedByName) {
  const auto expect_refused = [](const RandomFamily& family, const std::string& field,
                                 const nlohmann::json& value) {
    const std::string said = complaint_with(family, field, value);
    const std::string shown = value.is_string() ? value.get<std::string>() : value.dump();
    EXPECT_NE(said.find(field + " = " + shown), std::string::npos) << family.name << ": " << said;
  };
  expect_refused(random_qwen3(true), "hidden_act", "gelu");
  expect_refused(random_gemma2(), "hidden_activation", "gelu");
  expect_refused(random_gemma2(), "hidden_act", "silu");
  expect_refused(random_gemma2(), "use_bidirectional_attention", true);
  expect_refused(random_gemma2(), "query_pre_attn_scalar", 0);
  expect_refused(random_gemma2(), "attn_logit_softcapping", -1);
  expect_refused(random_gpt_oss(), "num_experts_per_tok", 6);
  expect_refused(random_gpt_oss(), "swiglu_limit", 0);
  expect_refused(random_gpt_oss(), "layer_types", nlohmann::json({"full_attention"}));
  const RandomFamily deepseek = random_deepseek_v2(true);
  expect_refused(deepseek, "scoring_func", "sigmoid");
  expect_refused(deepseek, "topk_method", "noaux_tc");
  expect_refused(deepseek, "norm_topk_prob", true);
  expect_refused(deepseek, "moe_layer_freq", 2);
  expect_refused(deepseek, "n_group", 4);
  expect_refused(deepseek, "topk_group", 4);
  expect_refused(deepseek, "num_experts_per_tok", 5);
  expect_refused(deepseek, "qk_rope_head_dim", 7);
  expect_refused(deepseek, "sliding_window", 8);
  EXPECT_NE(complaint_with(random_gpt_oss(), "quantization_config", {{"quant_method", "mxfp4"}})
                .find("quantization_config.quant_method = mxfp4"),
            std::string::npos);
}

TEST(Families, GatesAreTheirDefinitions) {
  const auto sigmoid = [](double a) { return 1 / (1 + std::exp(-a)); };
  const auto value = [&](llama::Gate gate, double x, double up) {
    switch (gate) {
      case llama::Gate::silu:
        return x * sigmoid(x) * up;
      case llama::Gate::gelu_tanh:  // tanh(a) = 2 sigmoid(2 a) - 1
        return x * sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x)) * up;
      case llama::Gate::clamped_silu:
        return std::min(x, 3.0) * sigmoid(1.702 * std::min(x, 3.0)) *
               (std::clamp(up, -3.0, 3.0) + 1);
    }
    return 0.0;
  };
  for (const auto kind : {llama::Gate::silu, llama::Gate::gelu_tanh, llama::Gate::clamped_silu}) {
    llama::Matrix gate(1, 41);
    llama::Matrix up(1, 41);
    for (Eigen::Index i = 0; i < 41; ++i) {
      gate(0, i) = static_cast<float>(i - 20) / 4;
      up(0, i) = static_cast<float>(i % 9 - 4);
    }
    const llama::Matrix inputs = gate;
    const llama::Matrix factors = up;
    llama::Config config;
    config.gate = kind;
    config.gate_limit = 3;
    llama::combine(config, gate, up);
    for (Eigen::Index i = 0; i < 41; ++i) {
      const double expected =
          value(kind, static_cast<double>(inputs(0, i)), static_cast<double>(factors(0, i)));
      EXPECT_NEAR(static_cast<double>(gate(0, i)), expected, 2e-6 + 1e-6 * std::abs(expected)) << i;
    }
  }
}

/// Soft caps of null are none, and not the default.
TEST(Families, NullIsNoSoftCap) {
  nlohmann::json config = random_gemma2().config;
  const auto expect_caps = [&](double attention, double final) {
    const auto read = llama::read_config({"config.json", nlohmann::json::parse(config.dump())});
    EXPECT_EQ(read.attention_soft_cap, attention);
    EXPECT_EQ(read.final_soft_cap, final);
  };
  config["attn_logit_softcapping"] = config["final_logit_softcapping"] = nullptr;
  expect_caps(0, 0);
  config.erase("attn_logit_softcapping");
  config.erase("final_logit_softcapping");
  expect_caps(50, 30);
}

INSTANTIATE_TEST_SUITE_P(All, FamiliesTest, ::testing::ValuesIn(random_families()),
                         [](const auto& family) {
                           std::string name = family.param.name;
                           std::erase(name, ',');
                           std::replace(name.begin(), name.end(), ' ', '_');
                           return name;
                         });

}  // namespace
}  // namespace morphkv::testing::families_test
