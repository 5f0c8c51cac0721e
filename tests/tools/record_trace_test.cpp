// SPDX-License-Identifier: Apache-2.0
// tools/record_trace.py, against the traces of our own engine: the same model, the same tokens.
// MORPHKV_PYTHON names a Python that has torch, transformers and safetensors, by default that of
// docs/transformers.md in build/python, or python3; without them there is nothing to test.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "llama/load.hpp"
#include "llama/session.hpp"
#include "llama/trace.hpp"
#include "llama/transformer.hpp"
#include "morphkv/morphkv.hpp"
#include "replay/trace.hpp"
#include "tools/random_model.hpp"
#include "tools/temporary_folder.hpp"

namespace morphkv::testing::record_trace_test { namespace {

constexpr const char* script = MORPHKV_SOURCE_DIR "/tools/record_trace.py";
constexpr const char* own_python = MORPHKV_SOURCE_DIR "/build/python/bin/python";
constexpr const char* text = "Hello 42, this is a text that the two engines read.";

class RecordTraceTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    const char* named = std::getenv("MORPHKV_PYTHON");
    const bool has_own = std::filesystem::exists(own_python);
    python = named != nullptr ? named : has_own ? own_python : "python3";
    has_packages = std::system(("'" + python +
                                "' -c 'import torch, transformers, safetensors' > /dev/null 2>&1")
                                   .c_str()) == 0;
  }
  void SetUp() override {
    if (!has_packages) {
      GTEST_SKIP() << python << " has no torch, transformers and safetensors (MORPHKV_PYTHON)";
    }
  }

  /// A random model of a family with a vocabulary and, if given, more of a configuration.
  void write_model(const std::string& family, const nlohmann::json& more = {}) {
    llama::Config config = family_config(family);
    config.vocabulary = 600;
    config.context = 256;
    write_hugging_face(random_model(config, 3), folder_.path(), support::TensorType::f32);
    std::filesystem::copy(MORPHKV_SOURCE_DIR "/tests/tools/tokenizers/digits.json",
                          folder_.file("tokenizer.json"),
                          std::filesystem::copy_options::overwrite_existing);
    (void)folder_.write("tokenizer_config.json",
                        R"({"tokenizer_class": "PreTrainedTokenizerFast"})");
    if (more.is_null()) return;
    nlohmann::json json = nlohmann::json::parse(bytes_of(folder_.file("config.json")));
    json.update(more);
    (void)folder_.write("config.json", json.dump());
  }
  [[nodiscard]] int record(const std::string& options) const {
    const std::string command =
        "'" + python + "' '" + script + "' --model '" + folder_.path().string() + "' --prompt '" +
        text + "' --output '" + folder_.file("trace.safetensors").string() + "' " + options +
        " > '" + folder_.file("out").string() + "' 2> '" + folder_.file("err").string() + "'";
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  [[nodiscard]] std::string said() const { return bytes_of(folder_.file("err")); }

  inline static std::string python;
  inline static bool has_packages = false;
  TemporaryFolder folder_;
};

#if defined(MORPHKV_TOKENIZER_JSON)
constexpr std::size_t written = 8;

/// What our engine computes for the same text and the most likely tokens after it.
replay::Trace own_trace(const std::filesystem::path& folder, std::size_t layer,
                        const std::filesystem::path& file) {
  const llama::ModelFiles files(folder);
  const llama::Model model = files.load();
  const std::vector<int> tokens = files.load_tokenizer(model.config)->encode(text);
  llama::Session<Full> session(model, {.max_tokens = 256});
  llama::Trace trace(layer);
  session.record(&trace);
  int next = llama::most_likely(session.prefill(tokens));
  for (std::size_t i = 1; i < written; ++i) next = llama::most_likely(session.step(next));
  trace.write(file, model.config);
  return replay::read_trace(file);
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return INFINITY;
  double difference = 0;
  double norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    norm += std::pow(static_cast<double>(b[i]), 2);
  }
  return std::sqrt(difference / norm);
}

TEST_F(RecordTraceTest, IsWhatOurEngineComputes) {
  for (const std::string family : {"llama", "qwen2", "qwen3"}) {
    SCOPED_TRACE(family);
    write_model(family);
    ASSERT_EQ(record("--layers 0,2 --tokens " + std::to_string(written) + " --block 7"), 0)
        << said();
    for (const std::size_t layer : {0U, 2U}) {
      const replay::Trace recorded =
          replay::read_trace(folder_.file("trace." + std::to_string(layer) + ".safetensors"));
      const replay::Trace own = own_trace(folder_.path(), layer, folder_.file("own"));
      EXPECT_EQ(recorded.prompt_length, own.prompt_length);
      EXPECT_EQ(recorded.tokens, own.prompt_length + written - 1);
      EXPECT_EQ(recorded.shape.kv_heads, 2U) << "keys are noted before they are repeated";
      EXPECT_LT(distance(recorded.queries, own.queries), 1e-4);
      EXPECT_LT(distance(recorded.keys, own.keys), 1e-4);
      EXPECT_LT(distance(recorded.values, own.values), 1e-4);
    }
  }
}

/// Granite is Llama with other factors. In the first layer only that of attention makes a
/// difference.
TEST_F(RecordTraceTest, AnotherScaleMovesIntoTheQueries) {
  write_model("llama");
  replay::Trace own = own_trace(folder_.path(), 0, folder_.file("own"));
  constexpr float scale = 0.7F;
  for (float& query : own.queries) {
    query *= scale * std::sqrt(static_cast<float>(own.shape.head_dim));
  }
  write_model("llama", {{"model_type", "granite"},
                        {"architectures", {"GraniteForCausalLM"}},
                        {"attention_multiplier", scale},
                        {"embedding_multiplier", 1.0},
                        {"residual_multiplier", 1.0},
                        {"logits_scaling", 1.0}});
  ASSERT_EQ(record("--layers 0"), 0) << said();
  const replay::Trace recorded = replay::read_trace(folder_.file("trace.safetensors"));
  ASSERT_EQ(recorded.tokens, own.prompt_length);
  own.queries.resize(recorded.queries.size());
  own.keys.resize(recorded.keys.size());
  EXPECT_LT(distance(recorded.queries, own.queries), 1e-4);
  EXPECT_LT(distance(recorded.keys, own.keys), 1e-4);
}
#endif

TEST_F(RecordTraceTest, TheTextCanBePromptAndResponseWithItsWords) {
  write_model("llama");
  ASSERT_EQ(record("--layers 1 --prompt-length 5 --attention eager"), 0) << said();
  support::SafetensorsFile file(folder_.file("trace.safetensors"));
  const replay::Trace trace = replay::read_trace(folder_.file("trace.safetensors"));
  EXPECT_EQ(trace.prompt_length, 5U);
  EXPECT_EQ(file.metadata().at("layer"), "1");
  std::string joined;
  const auto words = nlohmann::json::parse(file.metadata().at("words"));
  for (const auto& word : words) joined += word.get<std::string>();
  EXPECT_EQ(joined, text);
  EXPECT_EQ(words.size(), trace.tokens);
}

TEST_F(RecordTraceTest, RefusesWhatATraceCannotSay) {
  write_model("llama");
  EXPECT_EQ(record("--layers 3"), 2);
  EXPECT_NE(said().find("--layers = 3: must be below 3"), std::string::npos) << said();
  EXPECT_EQ(record("--layers x"), 2);
  EXPECT_NE(said().find("x: must be numbers from 0"), std::string::npos) << said();
  EXPECT_EQ(record("--prompt-length 1000"), 2);
  EXPECT_NE(said().find("--prompt-length = 1000: must be from 1"), std::string::npos) << said();
  write_model("mistral", {{"sliding_window", 4}});
  EXPECT_EQ(record("--layers 0"), 2);
  EXPECT_NE(said().find("layer 0 attends to 4 tokens"), std::string::npos) << said();
  EXPECT_FALSE(std::filesystem::exists(folder_.file("trace.safetensors")));
}

}  // namespace
}  // namespace morphkv::testing::record_trace_test
