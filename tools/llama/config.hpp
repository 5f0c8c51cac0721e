// SPDX-License-Identifier: Apache-2.0
/// \file
/// The shape of a Llama-family model.
#ifndef MORPHKV_EXAMPLES_LLAMA_CONFIG_HPP
#define MORPHKV_EXAMPLES_LLAMA_CONFIG_HPP

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "morphkv/core/shape.hpp"
#include "support/input_file.hpp"

namespace morphkv::llama {

/// Which two numbers of a head's vector turn together: neighbours (2 i, 2 i + 1), as in llama2.c,
/// or the halves (i, i + head_dim / 2), as in Hugging Face's files.
enum class RopePairs { neighbours, halves };

/// Llama 3.1's stretching of the slow frequencies.
struct RopeScaling {
  double factor = 8;
  double low_frequency_factor = 1;
  double high_frequency_factor = 4;
  double original_context = 8192;
};

struct Config {
  std::size_t dim = 0;     ///< of the residual stream
  std::size_t hidden = 0;  ///< of the feed-forward layer
  std::size_t layers = 0;
  std::size_t query_heads = 0;
  std::size_t kv_heads = 0;
  std::size_t head_dim = 0;
  std::size_t vocabulary = 0;
  std::size_t context = 0;  ///< tokens the model was made for
  bool tied = true;         ///< the classifier is the embedding
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

/// The greatest size that a field of a file may claim: products of two of them fit 64 bits.
inline constexpr std::size_t largest_size = std::size_t{1} << 24U;

/// \throws std::runtime_error naming `file` if the heads do not fit each other.
inline void check_heads(const Config& config, const std::filesystem::path& file) {
  support::expect(config.query_heads % config.kv_heads == 0, file, "KV heads", config.kv_heads,
                  "a divisor of the query heads = " + std::to_string(config.query_heads));
  support::expect(config.head_dim > 0 && config.head_dim % 2 == 0, file, "head_dim",
                  config.head_dim, "even and above 0");
}

}  // namespace morphkv::llama

#endif  // MORPHKV_EXAMPLES_LLAMA_CONFIG_HPP
