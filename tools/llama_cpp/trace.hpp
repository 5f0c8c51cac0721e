// SPDX-License-Identifier: Apache-2.0
/// \file
/// Queries, keys and values of some layers, as traces for the program `replay`.
#ifndef MORPHKV_TOOLS_LLAMA_CPP_TRACE_HPP
#define MORPHKV_TOOLS_LLAMA_CPP_TRACE_HPP

#include <ggml-backend.h>
#include <ggml.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "llama_cpp/flash_inputs.hpp"
#include "llama_cpp/kv_tensors.hpp"
#include "support/safetensors.hpp"

namespace morphkv::llama_cpp {

/// Collects a sequence's tokens, block after block. Thread safety: none.
class Trace {
 public:
  explicit Trace(const std::vector<std::size_t>& layers) {
    for (const std::size_t layer : layers) layers_[layer] = {};
  }

  /// Whether a node is where a layer of interest multiplies queries and keys.
  [[nodiscard]] bool wants(const ggml_tensor* node) const {
    const std::string_view name = node->name;
    if (!name.starts_with("kq-") || node->op != GGML_OP_MUL_MAT) return false;
    return layers_.contains(layer_of(name));
  }

  /// The queries of the block that is being decoded. \pre wants(node), which has been computed
  void add_queries(const ggml_tensor* node) {
    const ggml_tensor* queries = node->src[1];
    head_dim_ = static_cast<std::size_t>(queries->ne[0]);
    query_heads_ = static_cast<std::size_t>(queries->ne[2]);
    const std::vector<float> rows = read_queries(queries);
    append(layers_.at(layer_of(node->name)).queries, rows);
    added_ = rows.size();
  }

  /// The softmax over the products of the queries that came last. Its scale moves into them,
  /// because a trace's logits are q k / sqrt(head_dim). \throws std::runtime_error if the attention
  /// is not softmax(scale q K^T).
  void add_softmax(const ggml_tensor* node) {
    const std::size_t layer = layer_of(node->name);
    if (!layers_.contains(layer)) return;
    std::array<float, 2> parameters{};  // scale, ALiBi's slope
    std::memcpy(parameters.data(), node->op_params, sizeof(parameters));
    if (parameters[1] != 0 || node->src[2] != nullptr || node->src[0]->op != GGML_OP_MUL_MAT) {
      throw std::runtime_error("--trace: layer " + std::to_string(layer) +
                               " has ALiBi, a soft cap or sinks, which a trace cannot hold");
    }
    const float factor = parameters[0] * std::sqrt(static_cast<float>(head_dim_));
    if (std::abs(factor - 1) < 1e-5F) return;
    std::vector<float>& queries = layers_.at(layer).queries;
    for (std::size_t i = queries.size() - added_; i < queries.size(); ++i) queries[i] *= factor;
  }

  /// Its keys and values, after it was decoded and before any cell is freed.
  void add_block(KVTensors& tensors, const std::vector<Cell>& cells) {
    tokens_ += cells.size();
    for (auto& [layer, numbers] : layers_) {
      append(numbers.keys, tensors.keys_in(layer, cells));
      append(numbers.values, tensors.values_in(layer, cells));
    }
  }

  /// The prompt is all that was read until now; the first call counts.
  void end_prompt() noexcept {
    if (prompt_length_ == 0) prompt_length_ = tokens_;
  }

  [[nodiscard]] std::size_t tokens() const noexcept { return tokens_; }

  /// Writes a file per layer: with several, trace.safetensors becomes trace.7.safetensors.
  /// \param words of the tokens
  /// \return the files
  /// \throws support::OutputError if one cannot be written.
  [[nodiscard]] std::vector<std::filesystem::path> write(
      const std::filesystem::path& path, const std::string& model,
      const std::vector<std::string>& words) const {
    std::vector<std::filesystem::path> files;
    const nlohmann::json list = words;
    const std::string text = list.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    for (const auto& [layer, numbers] : layers_) {
      if (numbers.queries.empty()) {
        throw std::runtime_error("--trace: llama.cpp has not shown the queries of layer " +
                                 std::to_string(layer));
      }
      const std::size_t kv_heads = numbers.keys.size() / tokens_ / head_dim_;
      const std::vector<std::size_t> kv_shape = {tokens_, kv_heads, head_dim_};
      std::filesystem::path file = path;
      if (layers_.size() > 1) {
        file.replace_extension(std::to_string(layer) + path.extension().string());
      }
      support::write_safetensors(file,
                                 {{"q", {{tokens_, query_heads_, head_dim_}, numbers.queries}},
                                  {"k", {kv_shape, numbers.keys}},
                                  {"v", {kv_shape, numbers.values}}},
                                 {{"prompt_length", std::to_string(prompt_length_)},
                                  {"layer", std::to_string(layer)},
                                  {"model", model},
                                  {"words", text}});
      files.push_back(file);
    }
    return files;
  }

 private:
  struct Numbers {
    std::vector<float> queries;
    std::vector<float> keys;
    std::vector<float> values;
  };

  [[nodiscard]] static std::size_t layer_of(std::string_view name) {
    return std::stoul(std::string(name.substr(name.rfind('-') + 1)));
  }
  static void append(std::vector<float>& all, const std::vector<float>& rows) {
    all.insert(all.end(), rows.begin(), rows.end());
  }

  std::map<std::size_t, Numbers> layers_;
  std::size_t tokens_ = 0;
  std::size_t prompt_length_ = 0;
  std::size_t query_heads_ = 0;
  std::size_t head_dim_ = 0;
  std::size_t added_ = 0;  ///< numbers of the queries that came last
};

}  // namespace morphkv::llama_cpp

#endif  // MORPHKV_TOOLS_LLAMA_CPP_TRACE_HPP
