// SPDX-License-Identifier: Apache-2.0
// Converts a model that tools/llama reads into a GGUF file for llama.cpp, in float32:
//
//   to_gguf --model stories260K --output stories260K.gguf

#include <ggml.h>
#include <gguf.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "llama/load.hpp"
#include "llama/model.hpp"
#include "llama/tokenizer.hpp"
#include "support/program.hpp"

namespace {

using namespace morphkv;

/// A GGUF file that grows in memory and is written at the end.
class GgufWriter {
 public:
  GgufWriter() : file_(gguf_init_empty(), &gguf_free) {}

  void set(const std::string& key, const std::string& value) {
    gguf_set_val_str(file_.get(), key.c_str(), value.c_str());
  }
  void set(const std::string& key, float value) {
    gguf_set_val_f32(file_.get(), key.c_str(), value);
  }
  void set(const std::string& key, bool value) {
    gguf_set_val_bool(file_.get(), key.c_str(), value);
  }
  void set(const std::string& key, std::size_t value) {
    gguf_set_val_u32(file_.get(), key.c_str(), static_cast<std::uint32_t>(value));
  }
  void set(const std::string& key, const std::vector<std::string>& values) {
    std::vector<const char*> texts(values.size());
    std::transform(values.begin(), values.end(), texts.begin(),
                   [](const std::string& value) { return value.c_str(); });
    gguf_set_arr_str(file_.get(), key.c_str(), texts.data(), texts.size());
  }
  void set(const std::string& key, const std::vector<float>& values) {
    gguf_set_arr_data(file_.get(), key.c_str(), GGUF_TYPE_FLOAT32, values.data(), values.size());
  }
  void set(const std::string& key, const std::vector<std::int32_t>& values) {
    gguf_set_arr_data(file_.get(), key.c_str(), GGUF_TYPE_INT32, values.data(), values.size());
  }

  void add(const std::string& name, const llama::Weights& weights) {
    const llama::Matrix& matrix = matrices_.emplace_back(weights.to_matrix());
    add(name, matrix.data(), matrix.cols(), matrix.rows(), 2);
  }
  /// \param weight it has to live until save()
  void add(const std::string& name, const llama::RowVector& weight) {
    add(name, weight.data(), weight.size(), 1, 1);
  }

  void save(const std::filesystem::path& path) const {
    if (!gguf_write_to_file(file_.get(), path.c_str(), false)) {
      throw std::runtime_error(path.string() + ": cannot be written");
    }
  }

 private:
  void add(const std::string& name, const float* data, std::int64_t columns, std::int64_t rows,
           int dimensions) {
    const ggml_init_params params = {
        .mem_size = ggml_tensor_overhead(), .mem_buffer = nullptr, .no_alloc = true};
    const std::unique_ptr<ggml_context, void (*)(ggml_context*)> context(ggml_init(params),
                                                                         &ggml_free);
    const std::int64_t sizes[] = {columns, rows};
    ggml_tensor* tensor = ggml_new_tensor(context.get(), GGML_TYPE_F32, dimensions, sizes);
    ggml_set_name(tensor, name.c_str());
    gguf_add_tensor(file_.get(), tensor);
    gguf_set_tensor_data(file_.get(), name.c_str(), data);
  }

  std::unique_ptr<gguf_context, void (*)(gguf_context*)> file_;
  std::deque<llama::Matrix> matrices_;  ///< which the file refers to until it is saved
};

/// Llama, or Gemma 2, whose even layers slide.
void write_shape(const llama::Config& config, GgufWriter& file) {
  const bool is_gemma = config.model_type == "gemma2";
  if (config.rope_scaling || config.qkv_bias || config.mlp_bias || config.qk_norm ||
      !config.use_rope.empty() || config.latent || config.mixture ||
      (!is_gemma && (!config.windows.empty() || config.post_norms))) {
    throw std::runtime_error(
        "a model with RoPE scaling, biases, QK-norm, layers without RoPE or with a window, latent "
        "attention, experts or norms of outputs is not converted, but for Gemma 2");
  }
  const std::string name = is_gemma ? "gemma2" : "llama";
  const auto set = [&](const char* key, const auto& value) { file.set(name + '.' + key, value); };
  file.set("general.architecture", name);
  set("context_length", config.context);
  set("embedding_length", config.dim);
  set("block_count", config.layers);
  set("feed_forward_length", config.hidden);
  set("attention.head_count", config.query_heads);
  set("attention.head_count_kv", config.kv_heads);
  set("attention.key_length", config.head_dim);
  set("attention.value_length", config.head_dim);
  set("attention.layer_norm_rms_epsilon", config.norm_epsilon);
  set("rope.dimension_count", config.head_dim);
  set("rope.freq_base", static_cast<float>(config.rope_theta));
  set("vocab_size", config.vocabulary);
  if (!is_gemma) return;
  if (config.windows.empty())
    throw std::runtime_error("a Gemma 2 without windows is not converted");
  set("attention.sliding_window", config.windows.front());
  set("attn_logit_softcapping", static_cast<float>(config.attention_soft_cap));
  set("final_logit_softcapping", static_cast<float>(config.final_soft_cap));
}

/// llama.cpp's Gemma 2 divides logits by the root of head_dim: the rest is put into the queries.
void scale_queries(const llama::Config& config, llama::Weights& weights) {
  const double root = std::sqrt(static_cast<double>(config.head_dim));
  if (config.attention_scale == 0 || config.attention_scale == 1 / root) return;
  weights = llama::Matrix(weights.to_matrix() * static_cast<float>(config.attention_scale * root));
}

/// llama.cpp rotates neighbours (2 i, 2 i + 1) in Llama; where a model rotates (i, i + head_dim /
/// 2), the rows of its queries and keys change places.
void pair_neighbours(const llama::Config& config, llama::Weights& weights) {
  if (config.rope_pairs == llama::RopePairs::neighbours || config.model_type == "gemma2") return;
  const llama::Matrix old = weights.to_matrix();
  llama::Matrix weight = old;
  const auto dim = static_cast<Eigen::Index>(config.head_dim);
  for (Eigen::Index row = 0; row < weight.rows(); ++row) {
    const Eigen::Index in_head = row % dim;
    weight.row(row) = old.row(row - in_head + in_head / 2 + in_head % 2 * (dim / 2));
  }
  weights = weight;
}

void write_weights(const llama::Model& model, GgufWriter& file) {
  file.add("token_embd.weight", model.embedding);
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    const llama::Layer& layer = model.layers[i];
    const std::string prefix = "blk." + std::to_string(i) + '.';
    file.add(prefix + "attn_norm.weight", layer.attention_norm);
    file.add(prefix + "attn_q.weight", layer.query.weights);
    file.add(prefix + "attn_k.weight", layer.key.weights);
    file.add(prefix + "attn_v.weight", layer.value.weights);
    file.add(prefix + "attn_output.weight", layer.output.weights);
    file.add(prefix + "ffn_norm.weight", layer.feed_forward_norm);
    file.add(prefix + "ffn_gate.weight", layer.mlp.gate.weights);
    file.add(prefix + "ffn_down.weight", layer.mlp.down.weights);
    file.add(prefix + "ffn_up.weight", layer.mlp.up.weights);
    if (!model.config.post_norms) continue;
    file.add(prefix + "post_attention_norm.weight", layer.attention_post_norm);
    file.add(prefix + "post_ffw_norm.weight", layer.feed_forward_post_norm);
  }
  file.add("output_norm.weight", model.norm);
  if (!model.config.tied) file.add("output.weight", model.untied_classifier);
}

/// llama.cpp's sign for a space in a token.
const std::string space = "\xe2\x96\x81";

enum TokenType : std::int32_t { normal = 1, unknown = 2, control = 3, byte = 6 };

bool is_byte(const std::string& word) {
  return word.size() == 6 && word.starts_with("<0x") && word.ends_with('>');
}

/// Of llama2.c: a byte-pair vocabulary as sentencepiece's.
void write_byte_pairs(const llama::BytePairTokenizer& tokenizer, GgufWriter& file) {
  std::vector<std::string> words;
  std::vector<std::int32_t> types;
  for (const std::string& word : tokenizer.words()) {
    std::string escaped;
    for (const char c : word) escaped += c == ' ' ? space : std::string(1, c);
    words.push_back(escaped);
    types.push_back(is_byte(word) ? byte : normal);
  }
  words[0] = "<unk>";
  words[1] = "<s>";
  words[2] = "</s>";
  types[0] = unknown;
  types[1] = types[2] = control;
  file.set("tokenizer.ggml.model", std::string("llama"));
  file.set("tokenizer.ggml.tokens", words);
  file.set("tokenizer.ggml.scores", tokenizer.scores());
  file.set("tokenizer.ggml.token_type", types);
  file.set("tokenizer.ggml.unknown_token_id", std::size_t{0});
  file.set("tokenizer.ggml.bos_token_id", std::size_t{1});
  file.set("tokenizer.ggml.eos_token_id", std::size_t{2});
}

/// One token a word: a unigram vocabulary in which no word is made of others.
void write_whole_words(const llama::WordTokenizer& tokenizer, GgufWriter& file) {
  std::vector<std::string> words;
  std::vector<std::int32_t> types;
  for (const std::string& word : tokenizer.words()) {
    const bool is_control = word.starts_with('<') && word.ends_with('>');
    words.push_back(is_control ? word : space + word);
    types.push_back(is_control ? control : normal);
  }
  const auto begin = std::find(words.begin(), words.end(), "<bos>");
  file.set("tokenizer.ggml.model", std::string("t5"));
  file.set("tokenizer.ggml.tokens", words);
  file.set("tokenizer.ggml.scores", std::vector<float>(words.size(), -1.0F));
  file.set("tokenizer.ggml.token_type", types);
  file.set("tokenizer.ggml.add_space_prefix", true);
  file.set("tokenizer.ggml.remove_extra_whitespaces", true);
  file.set("tokenizer.ggml.add_eos_token", false);
  file.set("tokenizer.ggml.add_bos_token", begin != words.end());
  file.set("tokenizer.ggml.unknown_token_id", std::size_t{0});
  file.set("tokenizer.ggml.eos_token_id", std::size_t{0});
  if (begin != words.end()) {
    file.set("tokenizer.ggml.bos_token_id", static_cast<std::size_t>(begin - words.begin()));
  }
}

void write_tokenizer(const llama::Tokenizer& tokenizer, GgufWriter& file) {
  if (const auto* pairs = dynamic_cast<const llama::BytePairTokenizer*>(&tokenizer)) {
    write_byte_pairs(*pairs, file);
  } else if (const auto* words = dynamic_cast<const llama::WordTokenizer*>(&tokenizer)) {
    write_whole_words(*words, file);
  } else {
    throw std::runtime_error("a model with tokenizer.json is not converted");
  }
}

void convert(const std::filesystem::path& from, const std::filesystem::path& to) {
  const llama::ModelFiles files(from);
  llama::Model model = files.load();
  for (llama::Layer& layer : model.layers) {
    pair_neighbours(model.config, layer.query.weights);
    pair_neighbours(model.config, layer.key.weights);
    scale_queries(model.config, layer.query.weights);
  }
  GgufWriter file;
  write_shape(model.config, file);
  file.set("general.name", files.name());
  write_tokenizer(*files.load_tokenizer(model.config), file);
  write_weights(model, file);
  file.save(to);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Converts a llama2.c checkpoint or a Hugging Face folder to GGUF, in float32.");
  std::filesystem::path model;
  std::filesystem::path output;
  app.add_option("--model", model,
                 "folder with config.json and safetensors, or a llama2.c checkpoint")
      ->required();
  app.add_option("--output", output, "the GGUF file")->required();
  return support::run_program("to_gguf", app, argc, argv, [&] { convert(model, output); });
}
