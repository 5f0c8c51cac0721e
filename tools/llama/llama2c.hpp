// SPDX-License-Identifier: Apache-2.0
/// \file
/// Checkpoints of llama2.c (version 0): seven int32, then the weights in the order in which run.c
/// maps them.
#ifndef MORPHKV_TOOLS_LLAMA_LLAMA2C_HPP
#define MORPHKV_TOOLS_LLAMA_LLAMA2C_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "llama/config.hpp"
#include "llama/model.hpp"
#include "support/input_file.hpp"

namespace morphkv::llama {

namespace detail {

[[nodiscard]] inline Config read_llama2c_header(support::InputFile& file) {
  const std::array<const char*, 7> names = {"dim",        "hidden_dim", "n_layers", "n_heads",
                                            "n_kv_heads", "vocab_size", "seq_len"};
  std::array<std::size_t, 7> sizes{};
  bool tied = true;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    std::int64_t value = file.read_one<std::int32_t>("the header");
    if (i == 5) {  // a negative vocabulary means that a classifier follows at the end
      tied = value > 0;
      value = std::abs(value);
    }
    support::expect(value > 0 && value <= static_cast<std::int64_t>(largest_size), file.path(),
                    names[i], value, "from 1 to " + std::to_string(largest_size));
    sizes[i] = static_cast<std::size_t>(value);
  }
  Config config;
  config.dim = sizes[0];
  config.hidden = sizes[1];
  config.layers = sizes[2];
  config.query_heads = sizes[3];
  config.kv_heads = sizes[4];
  config.vocabulary = sizes[5];
  config.context = sizes[6];
  config.tied = tied;
  config.rope_pairs = RopePairs::neighbours;
  config.stop_tokens = {1, 2};
  support::expect(config.dim % config.query_heads == 0, file.path(), "n_heads", config.query_heads,
                  "a divisor of dim = " + std::to_string(config.dim));
  config.head_dim = config.dim / config.query_heads;
  check_heads(config, file.path());
  return config;
}

[[nodiscard]] inline Matrix read_matrix(support::InputFile& file, std::size_t rows,
                                        std::size_t columns, const std::string& what) {
  const auto numbers = file.read<float>(std::uint64_t{rows} * columns, what);
  return Eigen::Map<const Matrix>(numbers.data(), static_cast<Eigen::Index>(rows),
                                  static_cast<Eigen::Index>(columns));
}

/// The same matrix of all layers is contiguous.
template <class Part>
void read_layers(support::InputFile& file, Model& model, Part part, std::size_t rows,
                 std::size_t columns, const std::string& what) {
  for (Layer& layer : model.layers) {
    std::invoke(part, layer).weights = read_matrix(file, rows, columns, what);
  }
}

inline void read_norms(support::InputFile& file, Model& model, RowVector Layer::*member,
                       const std::string& what) {
  for (Layer& layer : model.layers) {
    layer.*member = read_matrix(file, 1, model.config.dim, what).row(0);
  }
}

}  // namespace detail

/// \throws std::runtime_error if the file's length does not match its header.
[[nodiscard]] inline Model load_llama2c(const std::filesystem::path& path) {
  support::InputFile file(path);
  Model model;
  model.config = detail::read_llama2c_header(file);
  const Config& c = model.config;
  // A layer has at least a norm: more layers than its bytes allow are refused.
  support::expect(c.layers <= file.left() / (sizeof(float) * c.dim), path, "n_layers", c.layers,
                  "what fits the file's " + std::to_string(file.size()) + " bytes");
  model.layers.resize(c.layers);
  model.embedding = detail::read_matrix(file, c.vocabulary, c.dim, "the embedding");
  detail::read_norms(file, model, &Layer::attention_norm, "rms_att_weight");
  detail::read_layers(file, model, &Layer::query, c.query_dim(), c.dim, "wq");
  detail::read_layers(file, model, &Layer::key, c.kv_dim(), c.dim, "wk");
  detail::read_layers(file, model, &Layer::value, c.kv_dim(), c.dim, "wv");
  detail::read_layers(file, model, &Layer::output, c.dim, c.query_dim(), "wo");
  detail::read_norms(file, model, &Layer::feed_forward_norm, "rms_ffn_weight");
  const auto of_mlp = [](Linear Mlp::*part) {
    return [=](Layer& layer) -> Linear& { return layer.mlp.*part; };
  };
  detail::read_layers(file, model, of_mlp(&Mlp::gate), c.hidden, c.dim, "w1");
  detail::read_layers(file, model, of_mlp(&Mlp::down), c.dim, c.hidden, "w2");
  detail::read_layers(file, model, of_mlp(&Mlp::up), c.hidden, c.dim, "w3");
  model.norm = detail::read_matrix(file, 1, c.dim, "rms_final_weight").row(0);
  // Two tables of angles, which readers ignore.
  (void)file.read<float>(std::uint64_t{c.context} * c.head_dim, "freq_cis");
  if (!c.tied) model.untied_classifier = detail::read_matrix(file, c.vocabulary, c.dim, "wcls");
  if (file.left() != 0) {
    support::fail(path, std::to_string(file.left()) + " bytes follow the last weight");
  }
  return model;
}

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_LLAMA2C_HPP
