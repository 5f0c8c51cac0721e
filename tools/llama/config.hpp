// SPDX-License-Identifier: Apache-2.0
/// \file
/// The shape of a Llama-family model.
#ifndef MORPHKV_TOOLS_LLAMA_CONFIG_HPP
#define MORPHKV_TOOLS_LLAMA_CONFIG_HPP

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "morphkv/core/shape.hpp"
#include "support/input_file.hpp"

namespace morphkv::llama {

/// Which two elements of a head's vector rotate together: neighbours (2 i, 2 i + 1), as in
/// llama2.c, or (i, i + head_dim / 2), as in Hugging Face's files.
enum class RopePairs { neighbours, halves };

/// How frequencies change beyond the context that a model was first trained on.
struct RopeScaling {
  enum class Type {
    linear,  ///< all divided by the factor
    llama3,  ///< Llama 3.1: low ones divided by the factor
    yarn,    ///< YaRN (arXiv 2309.00071): the same with another ramp, and a scale of attention
  };
  Type type = Type::llama3;
  double factor = 8;
  double original_context = 8192;
  double low_frequency_factor = 1;   ///< llama3
  double high_frequency_factor = 4;  ///< llama3
  double beta_fast = 32;             ///< yarn
  double beta_slow = 1;              ///< yarn
  double attention_factor = 1;       ///< yarn: multiplies queries and keys
  bool truncate = true;              ///< yarn: the ramp begins and ends at whole dimensions
};

struct Config {
  std::string model_type = "llama";
  std::size_t dim = 0;     ///< of the residual stream
  std::size_t hidden = 0;  ///< of the feed-forward layer
  std::size_t layers = 0;
  std::size_t query_heads = 0;
  std::size_t kv_heads = 0;
  std::size_t head_dim = 0;
  std::size_t vocabulary = 0;
  std::size_t context = 0;     ///< tokens that the model is made for
  bool tied = true;            ///< the classifier is the embedding
  bool qkv_bias = false;       ///< of the query, key and value projections
  bool output_bias = false;    ///< of the attention's output projection
  bool qk_norm = false;        ///< RMSNorm of each query and key head, before RoPE
  bool fused = false;          ///< qkv_proj and gate_up_proj are one tensor each (Phi-3)
  std::vector<bool> use_rope;  ///< per layer; empty: all layers rotate queries and keys
  RopePairs rope_pairs = RopePairs::halves;
  double rope_theta = 10000;
  std::optional<RopeScaling> rope_scaling;
  float norm_epsilon = 1e-5F;
  std::vector<int> stop_tokens;

  [[nodiscard]] std::size_t query_dim() const noexcept { return query_heads * head_dim; }
  [[nodiscard]] std::size_t kv_dim() const noexcept { return kv_heads * head_dim; }
  [[nodiscard]] CacheShape shape() const noexcept {
    return {
        .layers = layers, .query_heads = query_heads, .kv_heads = kv_heads, .head_dim = head_dim};
  }
};

/// The maximum of a size in a file: products of two of them fit 64 bits.
inline constexpr std::size_t largest_size = std::size_t{1} << 24U;

/// \throws std::runtime_error naming `file` if the heads do not fit each other.
inline void check_heads(const Config& config, const std::filesystem::path& file) {
  support::expect(config.query_heads % config.kv_heads == 0, file, "KV heads", config.kv_heads,
                  "a divisor of the query heads = " + std::to_string(config.query_heads));
  support::expect(config.head_dim > 0 && config.head_dim % 2 == 0, file, "head_dim",
                  config.head_dim, "even and above 0");
}

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_CONFIG_HPP
