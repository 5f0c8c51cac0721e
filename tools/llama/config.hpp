// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a model computes: its sizes, and the options of its parts. Nothing depends on a family.
#ifndef MORPHKV_TOOLS_LLAMA_CONFIG_HPP
#define MORPHKV_TOOLS_LLAMA_CONFIG_HPP

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

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
  double latent_logit_factor = 1;    ///< yarn: multiplies the logits of latent attention
  bool truncate = true;              ///< yarn: the ramp begins and ends at whole dimensions
};

/// How a gated feed-forward network combines the outputs of its two projections.
enum class Gate {
  silu,          ///< silu(gate) up: SwiGLU (arXiv 2002.05202)
  gelu_tanh,     ///< gelu(gate) up, GELU in its approximation by tanh (Gemma)
  clamped_silu,  ///< gate sigmoid(1.702 gate) (up + 1) of clamped inputs (gpt-oss)
};

/// Queries, keys and values through low ranks: MLA (arXiv 2405.04434). The cache holds a token's
/// latent and its rotated part, for all query heads.
struct LatentAttention {
  std::size_t query_rank = 0;   ///< of the queries; 0: they are projected at once
  std::size_t latent_dim = 0;   ///< of a token's latent
  std::size_t plain_dim = 0;    ///< elements of a query head that are not rotated
  std::size_t rotated_dim = 0;  ///< and those that are
  std::size_t value_dim = 0;    ///< of a head's value
};

/// A layer of experts, of which a router chooses some for each token.
struct Mixture {
  std::size_t experts = 0;
  std::size_t per_token = 0;
  std::size_t hidden = 0;             ///< of an expert
  std::size_t shared_hidden = 0;      ///< of a network that all tokens take besides; 0: none
  std::size_t first_layer = 0;        ///< layers before it are dense
  std::size_t groups = 1;             ///< experts in a row form groups,
  std::size_t groups_per_token = 1;   ///< and those of the best groups are candidates
  bool softmax_of_the_chosen = true;  ///< or of all experts, so that the weights sum to less than 1
  double scale = 1;                   ///< of the weights
};

struct Config {
  std::string model_type = "llama";
  std::size_t dim = 0;     ///< of the residual stream
  std::size_t hidden = 0;  ///< of the feed-forward layer
  std::size_t layers = 0;
  std::size_t query_heads = 0;
  std::size_t kv_heads = 0;
  std::size_t head_dim = 0;  ///< of queries and keys, as the cache gets them
  std::size_t vocabulary = 0;
  std::size_t context = 0;     ///< tokens that the model is made for
  bool tied = true;            ///< the classifier is the embedding
  double embedding_scale = 1;  ///< of the embedding's rows
  double final_soft_cap = 0;   ///< c: a logit x becomes c tanh(x / c); 0: none
  bool qkv_bias = false;       ///< of the query, key and value projections
  bool output_bias = false;    ///< of the attention's output projection
  bool qk_norm = false;        ///< RMSNorm of each query and key head, before RoPE
  bool fused = false;          ///< qkv_proj and gate_up_proj are one tensor each (Phi-3)
  double attention_scale = 0;  ///< of the logits; 0: 1 / sqrt(head_dim)
  double attention_soft_cap = 0;
  bool sinks = false;                ///< a sink logit per query head
  std::vector<std::size_t> windows;  ///< per layer, see CacheShape; empty: none slides
  std::optional<LatentAttention> latent;
  bool mlp_bias = false;
  bool post_norms = false;   ///< RMSNorm also of what attention and feed-forward network add
  bool norm_offset = false;  ///< norms multiply by 1 + weight
  Gate gate = Gate::silu;
  double gate_limit = 7;  ///< of clamped_silu
  std::optional<Mixture> mixture;
  /// Tensors of all experts are one each, [experts, inputs, outputs]; gate and up alternate in it.
  bool packed_experts = false;
  std::vector<bool> use_rope;  ///< per layer; empty: all layers rotate queries and keys
  RopePairs rope_pairs = RopePairs::halves;
  double rope_theta = 10000;
  std::optional<RopeScaling> rope_scaling;
  float norm_epsilon = 1e-5F;
  std::vector<int> stop_tokens;

  [[nodiscard]] std::size_t query_dim() const noexcept { return query_heads * head_dim; }
  [[nodiscard]] std::size_t kv_dim() const noexcept { return kv_heads * head_dim; }
  /// Elements at the end of each head that RoPE rotates.
  [[nodiscard]] std::size_t rotated_dim() const noexcept {
    return latent ? latent->rotated_dim : head_dim;
  }
  [[nodiscard]] bool has_experts(std::size_t layer) const noexcept {
    return mixture && layer >= mixture->first_layer;
  }
};

/// The maximum of a size in a file: products of two of them fit 64 bits.
inline constexpr std::size_t largest_size = std::size_t{1} << 24U;

/// \throws std::runtime_error naming `file` if the heads do not fit each other.
inline void check_heads(const Config& config, const std::filesystem::path& file) {
  support::expect(config.query_heads % config.kv_heads == 0, file, "KV heads", config.kv_heads,
                  "a divisor of the query heads = " + std::to_string(config.query_heads));
  support::expect(config.rotated_dim() > 0 && config.rotated_dim() % 2 == 0, file,
                  config.latent ? "qk_rope_head_dim" : "head_dim", config.rotated_dim(),
                  "even and above 0");
}

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_CONFIG_HPP
