// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "llama/llama2c.hpp"
#include "llama/load.hpp"
#include "llama/session.hpp"
#include "morphkv/policy/full.hpp"
#include "tools/random_model.hpp"
#include "tools/temporary_folder.hpp"

namespace morphkv::testing::model_files_test { namespace {

llama::Matrix logits_of(const llama::Model& model) {
  const std::vector<int> text = {1, 5, 9, 2, 30, 0, 7, 7, 12, 3};
  llama::Session<Full> session(model, {.max_tokens = text.size()});
  return session.prefill_with_all_logits(text);
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(ModelFiles, BothFormatsAndAllTypesGiveTheSameModel) {
  for (const bool tied : {true, false}) {
    const llama::Model model = random_model(small_config(tied), 11);
    const llama::Matrix expected = logits_of(model);
    const TemporaryFolder checkpoint;
    write_llama2c(model, checkpoint.file("model.bin"));
    EXPECT_EQ(logits_of(llama::ModelFiles(checkpoint.file("model.bin")).load()), expected);
    for (const auto type :
         {support::TensorType::f32, support::TensorType::f16, support::TensorType::bf16}) {
      const TemporaryFolder folder;
      write_hugging_face(model, folder.path(), type);
      EXPECT_TRUE(logits_of(llama::ModelFiles(folder.path()).load()).isApprox(expected, 1e-5F));
    }
    const TemporaryFolder folder;
    write_sharded(model, folder.path());
    EXPECT_TRUE(logits_of(llama::ModelFiles(folder.path()).load()).isApprox(expected, 1e-5F));
  }
}

TEST(ModelFiles, ACheckpointMayBeNamedByItsFolder) {
  const TemporaryFolder folder;
  write_llama2c(random_model(small_config(true), 12), folder.file("model.bin"));
  (void)folder.write("tok31.bin", "not a checkpoint");
  EXPECT_EQ(llama::ModelFiles(folder.path()).load().config.dim, 24U);
  EXPECT_EQ(llama::ModelFiles(folder.path()).name(), "model");
}

TEST(ModelFiles, SaysThatThereIsNoModel) {
  const TemporaryFolder folder;
  EXPECT_TRUE(contains(complaint([&] { llama::ModelFiles{folder.path()}; }), "there is no model"));
}

TEST(Llama2c, EveryTruncationIsRefused) {
  const TemporaryFolder folder;
  write_llama2c(random_model(small_config(false), 13), folder.file("model.bin"));
  const std::string bytes = bytes_of(folder.file("model.bin"));
  for (std::size_t size = 0; size < bytes.size(); size += size < 40 ? 1 : 997) {
    const auto cut = folder.write("cut.bin", bytes.substr(0, size));
    EXPECT_FALSE(complaint([&] { (void)llama::load_llama2c(cut); }).empty()) << size;
  }
  const auto longer = folder.write("longer.bin", bytes + "more");
  EXPECT_TRUE(contains(complaint([&] { (void)llama::load_llama2c(longer); }), "4 bytes follow"));
}

TEST(Llama2c, HostileHeadersAreRefused) {
  const TemporaryFolder folder;
  write_llama2c(random_model(small_config(true), 14), folder.file("model.bin"));
  const std::string bytes = bytes_of(folder.file("model.bin"));
  for (std::size_t field = 0; field < 7; ++field) {
    for (const std::int32_t value : {0, -5, 3, 1 << 24, 0x7FFFFFFF, -0x7FFFFFFF - 1}) {
      std::string changed = bytes;
      changed.replace(4 * field, 4, reinterpret_cast<const char*>(&value), 4);
      if (changed == bytes) continue;
      const auto file = folder.write("changed.bin", changed);
      const std::string message = complaint([&] { (void)llama::load_llama2c(file); });
      EXPECT_TRUE(contains(message, "changed.bin")) << field << " = " << value << ": " << message;
    }
  }
}

/// What the loader says when one field of config.json is changed.
std::string complaint_about(const std::string& field, const nlohmann::json& value) {
  const llama::Model model = random_model(small_config(false), 15);
  const TemporaryFolder folder;
  write_hugging_face(model, folder.path(), support::TensorType::f32);
  nlohmann::json config = hugging_face_config(model.config);
  config[field] = value;
  std::ofstream(folder.file("config.json")) << config;
  return complaint([&] { (void)llama::load_hugging_face(folder.path()); });
}

TEST(HuggingFace, ComplaintsNameTheField) {
  for (const char* field :
       {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "head_dim", "vocab_size"}) {
    for (const nlohmann::json& value : {nlohmann::json(0), nlohmann::json(-1), nlohmann::json("4"),
                                        nlohmann::json(1.5), nlohmann::json(1ULL << 60U)}) {
      EXPECT_TRUE(
          contains(complaint_about(field, value), std::string(field) + " = " + value.dump()))
          << complaint_about(field, value);
    }
  }
  EXPECT_TRUE(contains(complaint_about("hidden_act", "relu"), "hidden_act = relu"));
  EXPECT_TRUE(contains(complaint_about("mlp_bias", true), "no tensor model.layers.0.mlp.gate"));
  EXPECT_TRUE(contains(complaint_about("attention_bias", true), "no tensor model.layers.0."));
  EXPECT_TRUE(
      contains(complaint_about("model_type", "gemma"), "model_type = gemma: must be one of"));
  EXPECT_TRUE(contains(complaint_about("model_type", nullptr), "model_type is missing"));
  EXPECT_TRUE(contains(complaint_about("rms_norm_eps", nullptr), "rms_norm_eps is missing"));
  EXPECT_TRUE(contains(complaint_about("partial_rotary_factor", 0.5), "partial_rotary_factor"));
  EXPECT_TRUE(contains(complaint_about("quantization_config", {{"bits", 4}}), "absent: quantised"));
  EXPECT_TRUE(contains(complaint_about("quantization_config", {{"quant_method", "mxfp4"}}),
                       "quant_method = mxfp4"));
  EXPECT_TRUE(contains(complaint_about("rope_theta", -1), "rope_theta = -1"));
  EXPECT_TRUE(contains(complaint_about("rope_scaling", {{"type", "longrope"}}),
                       "rope_scaling.type = longrope"));
  EXPECT_TRUE(contains(complaint_about("rope_scaling", {{"type", "yarn"}}), "factor is missing"));
  EXPECT_TRUE(contains(
      complaint_about("rope_scaling", {{"type", "yarn"}, {"factor", 4}, {"mscale", 1}}), "mscale"));
}

TEST(HuggingFace, FieldsThatAreNotKnownAreRefused) {
  for (const auto& [field, value] : {std::pair<std::string, nlohmann::json>("sliding_window", 32),
                                     {"layer_types", {"full_attention"}},
                                     {"attn_logit_softcapping", 50.0},
                                     {"num_local_experts", 8},
                                     {"kv_lora_rank", 512},
                                     {"attention_multiplier", 0.5},
                                     {"rope_interleaved", true},
                                     {"use_mrope", true}}) {
    EXPECT_TRUE(contains(complaint_about(field, value), field + " = " + value.dump())) << field;
    EXPECT_EQ(complaint_about(field, nullptr), "") << field;
  }
  EXPECT_TRUE(contains(complaint_about("rope_scaling", {{"mrope_section", {16, 24, 24}}}),
                       "rope_scaling.mrope_section = [16,24,24]"));
  for (const char* field : {"torch_dtype", "architectures", "_name_or_path", "use_cache"}) {
    EXPECT_EQ(complaint_about(field, "x"), "") << field;
  }
}

TEST(HuggingFace, TensorsMustFitTheConfiguration) {
  EXPECT_TRUE(contains(complaint_about("hidden_size", 25), "embed_tokens.weight.shape = [31,24]"));
  EXPECT_TRUE(contains(complaint_about("num_key_value_heads", 4), "k_proj.weight.shape"));
  EXPECT_TRUE(contains(complaint_about("num_hidden_layers", 4), "no tensor model.layers.3."));
  EXPECT_TRUE(contains(complaint_about("num_key_value_heads", 3), "KV heads = 3"));
}

TEST(HuggingFace, FieldsThatMayBeMissing) {
  const llama::Model model = random_model(small_config(true), 16);
  const TemporaryFolder folder;
  write_hugging_face(model, folder.path(), support::TensorType::f32);
  nlohmann::json config = hugging_face_config(model.config);
  for (const char* field : {"head_dim", "rope_theta", "hidden_act"}) {
    config[field] = nullptr;
  }
  config["eos_token_id"] = {2, 5};
  (void)folder.write("generation_config.json", R"({"eos_token_id": [5, 7]})");
  std::ofstream(folder.file("config.json")) << config;
  const llama::Model loaded = llama::load_hugging_face(folder.path());
  EXPECT_EQ(loaded.config.head_dim, 6U);
  EXPECT_EQ(loaded.config.stop_tokens, (std::vector<int>{2, 5, 7}));
  EXPECT_TRUE(logits_of(loaded).isApprox(logits_of(model), 1e-5F));
}

TEST(HuggingFace, ShardsStayInTheirFolder) {
  const TemporaryFolder folder;
  write_sharded(random_model(small_config(true), 17), folder.path());
  nlohmann::json index;
  index["weight_map"]["model.norm.weight"] = "../part-1.safetensors";
  std::ofstream(folder.file("model.safetensors.index.json")) << index;
  EXPECT_TRUE(contains(complaint([&] { (void)llama::load_hugging_face(folder.path()); }),
                       "in the same folder"));
}

/// Changes tensors of a folder with one file. \return what the loader says
template <class Change>
std::string complaint_after(const llama::Config& config, const Change& change) {
  const llama::Model model = random_model(config, 18);
  const TemporaryFolder folder;
  std::ofstream(folder.file("config.json")) << hugging_face_config(config);
  support::Tensors tensors = hugging_face_tensors(model);
  change(tensors);
  support::write_safetensors(folder.file("model.safetensors"), tensors);
  return complaint([&] { (void)llama::load_hugging_face(folder.path()); });
}

TEST(HuggingFace, ATensorThatIsNotUsedIsRefusedByName) {
  const support::Tensor vector{{24}, std::vector<float>(24)};
  const auto with = [&](const std::string& name, const llama::Config& config) {
    return complaint_after(config, [&](support::Tensors& tensors) { tensors[name] = vector; });
  };
  for (const std::string name : {"self_attn.q_proj.bias", "self_attn.q_norm.weight",
                                 "mlp.gate_proj.bias", "post_feedforward_layernorm.weight"}) {
    EXPECT_TRUE(contains(with("model.layers.1." + name, small_config(true)),
                         "model.layers.1." + name + " is not used"));
  }
  EXPECT_TRUE(
      contains(with("model.layers.3.input_layernorm.weight", small_config(true)), "layers.3"));
  EXPECT_EQ(with("lm_head.weight", small_config(true)), "") << "a copy of the embedding";
  EXPECT_EQ(with("model.layers.0.self_attn.rotary_emb.inv_freq", small_config(true)), "");
  EXPECT_TRUE(contains(complaint_after(family_config("qwen2"),
                                       [](support::Tensors& tensors) {
                                         tensors.erase("model.layers.2.self_attn.k_proj.bias");
                                       }),
                       "no tensor model.layers.2.self_attn.k_proj.bias"));
}

/// The windows of a model of three layers and a context of 64.
llama::Config config_with(const std::string& family, const nlohmann::json& more) {
  nlohmann::json config = hugging_face_config(family_config(family));
  config.update(more);
  return llama::read_config({"config.json", nlohmann::json::parse(config.dump())});
}

TEST(HuggingFace, SlidingWindowsOfQwenNeedTheirSwitch) {
  using Windows = std::vector<std::size_t>;
  nlohmann::json fields = {{"sliding_window", 8}, {"max_window_layers", 1}};
  EXPECT_EQ(config_with("qwen2", fields).windows, Windows());
  fields["layer_types"] = {"full_attention", "sliding_attention", "full_attention"};
  EXPECT_TRUE(contains(complaint([&] { (void)config_with("qwen2", fields); }),
                       "layer_types = \"sliding_attention\""));
  fields["use_sliding_window"] = true;
  EXPECT_EQ(config_with("qwen2", fields).windows, (Windows{0, 8, 0})) << "the list decides";
  fields.erase("layer_types");
  EXPECT_EQ(config_with("qwen2", fields).windows, (Windows{0, 8, 8}));
  fields["sliding_window"] = 64;
  EXPECT_EQ(config_with("qwen2", fields).windows, Windows()) << "a window as long as the context";
  fields["layer_types"] = {"chunked_attention", "full_attention", "full_attention"};
  EXPECT_TRUE(contains(complaint([&] { (void)config_with("qwen2", fields); }),
                       "layer_types = \"chunked_attention\""));
}

TEST(HuggingFace, AFieldThatIsMissingHasTheDefaultOfItsFamily) {
  using Windows = std::vector<std::size_t>;
  const nlohmann::json context = {{"max_position_embeddings", 8192}};
  EXPECT_EQ(config_with("mistral", context).windows, (Windows{4096, 4096, 4096}));
  EXPECT_EQ(config_with("phi3", context).windows, Windows());
  nlohmann::json fields = context;
  fields["sliding_window"] = nullptr;
  EXPECT_EQ(config_with("mistral", fields).windows, Windows());
  EXPECT_EQ(config_with("smollm3", {{"max_window_layers", 28}}).windows, Windows());
  fields = {{"rope_theta", nullptr}};
  EXPECT_EQ(config_with("smollm3", fields).rope_theta, 2e6);
  EXPECT_EQ(config_with("llama", fields).rope_theta, 1e4);
}

TEST(HuggingFace, TheIndexSaysWhichFileHasATensor) {
  const llama::Model model = random_model(small_config(true), 20);
  const TemporaryFolder folder;
  write_sharded(model, folder.path());
  // The first file by name has another tensor of the same name.
  support::Tensors others = hugging_face_tensors(random_model(small_config(true), 21));
  support::write_safetensors(folder.file("a-part.safetensors"), others);
  auto index = nlohmann::json::parse(bytes_of(folder.file("model.safetensors.index.json")));
  support::write_safetensors(folder.file("part-3.safetensors"),
                             {{"model.norm.weight", tensor_of(model.norm)}});
  index["weight_map"]["model.norm.weight"] = "part-3.safetensors";
  std::ofstream(folder.file("model.safetensors.index.json")) << index;
  EXPECT_TRUE(logits_of(llama::load_hugging_face(folder.path())).isApprox(logits_of(model), 1e-5F));
  index["weight_map"]["model.norm.weight"] = "part-2.safetensors";
  std::ofstream(folder.file("model.safetensors.index.json")) << index;
  EXPECT_TRUE(contains(complaint([&] { (void)llama::load_hugging_face(folder.path()); }),
                       "part-2.safetensors: there is no tensor model.norm.weight"));
  for (const std::string text : {R"({"weight_map":{}})", "{}", R"({"weight_map":[]})", "[",
                                 R"({"weight_map":{"model.norm.weight":3}})"}) {
    (void)folder.write("model.safetensors.index.json", text);
    EXPECT_TRUE(contains(complaint([&] { (void)llama::load_hugging_face(folder.path()); }),
                         "model.safetensors.index.json"))
        << text;
  }
}

TEST(HuggingFace, DeeplyNestedTextIsRefused) {
  const TemporaryFolder folder;
  for (const std::string open : {"[", "{\"a\":"}) {
    std::string text = R"({"model_type":)";
    for (int i = 0; i < 100000; ++i) text += open;
    (void)folder.write("config.json", text);
    EXPECT_TRUE(contains(complaint([&] { (void)llama::load_hugging_face(folder.path()); }),
                         "nesting of the JSON text = 100001"));
  }
  (void)folder.write("config.json", R"({"model_type":"[[[\\\"[[[", "x":[[)" + std::string(97, '['));
  EXPECT_TRUE(contains(complaint([&] { (void)llama::load_hugging_face(folder.path()); }),
                       "must be a JSON object"))
      << "brackets in a string do not count";
}

/// Llama 3.1's published frequencies: a wavelength below 1024 tokens stays, above 8192 it grows.
TEST(Rope, LlamaThreeDividesLowFrequenciesOnly) {
  llama::Config config = small_config(true);
  config.head_dim = 128;
  config.rope_theta = 500000;
  const auto rotated = [&](std::size_t pair) {
    llama::Rope rope(config);
    rope.move_to(64);
    std::vector<float> head(128);
    head[2 * pair] = 1;
    rope.rotate(head, head.size());
    return std::atan2(head[2 * pair + 1], head[2 * pair]);
  };
  const float fast = rotated(20);
  const float slow = rotated(60);
  config.rope_scaling = llama::RopeScaling{};
  EXPECT_FLOAT_EQ(rotated(20), fast);
  EXPECT_NEAR(rotated(60), slow / 8, 1e-7);
}

}  // namespace
}  // namespace morphkv::testing::model_files_test
