// SPDX-License-Identifier: Apache-2.0
/// \file
/// The inputs of one layer's attention, for the program `replay`.
#ifndef MORPHKV_TOOLS_LLAMA_TRACE_HPP
#define MORPHKV_TOOLS_LLAMA_TRACE_HPP

#include <cstddef>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "llama/config.hpp"
#include "llama/model.hpp"
#include "morphkv/core/shape.hpp"
#include "support/safetensors.hpp"

namespace morphkv::llama {

/// Collects the queries, keys and values of a layer, after RoPE.
class Trace {
 public:
  /// \throws std::invalid_argument if the layer's attention is not softmax(q k^T / sqrt(head_dim))
  /// v
  ///         over all tokens, which is what `replay` computes
  static void require_plain_attention(const CacheShape& shape, std::size_t layer) {
    const bool plain = shape.scale == 0 && shape.soft_cap == 0 && shape.sinks == nullptr &&
                       !shape.values_in_keys && shape.window(layer) == 0;
    if (plain) return;
    throw std::invalid_argument(
        "layer " + std::to_string(layer) +
        " cannot be traced: its attention has a window, a latent, sinks, a soft cap or a scale of "
        "its own");
  }

  explicit Trace(std::size_t layer) : layer_(layer) {}

  void add(std::size_t layer, const Matrix& queries, const Matrix& keys, const Matrix& values) {
    if (layer != layer_) return;
    const auto append = [](std::vector<float>& all, const Matrix& rows) {
      all.insert(all.end(), rows.data(), rows.data() + rows.size());
    };
    if (tokens_ == 0) prompt_length_ = static_cast<std::size_t>(queries.rows());
    tokens_ += static_cast<std::size_t>(queries.rows());
    append(queries_, queries);
    append(keys_, keys);
    append(values_, values);
  }

  /// q [tokens, query_heads, head_dim], k and v [tokens, kv_heads, head_dim].
  void write(const std::filesystem::path& path, const Config& config) const {
    const std::vector<std::size_t> kv_shape = {tokens_, config.kv_heads, config.head_dim};
    support::write_safetensors(
        path,
        {{"q", {{tokens_, config.query_heads, config.head_dim}, queries_}},
         {"k", {kv_shape, keys_}},
         {"v", {kv_shape, values_}}},
        {{"prompt_length", std::to_string(prompt_length_)}, {"layer", std::to_string(layer_)}});
  }

 private:
  std::size_t layer_;
  std::size_t tokens_ = 0;
  std::size_t prompt_length_ = 0;
  std::vector<float> queries_;
  std::vector<float> keys_;
  std::vector<float> values_;
};

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_TRACE_HPP
