// SPDX-License-Identifier: Apache-2.0
/// \file
/// The weights of a Llama-family model, in float32.
#ifndef MORPHKV_EXAMPLES_LLAMA_MODEL_HPP
#define MORPHKV_EXAMPLES_LLAMA_MODEL_HPP

#include <Eigen/Core>
#include <vector>

#include "llama/config.hpp"

namespace morphkv::llama {

/// A weight is [outputs, inputs]; activations are [tokens, size].
using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using RowVector = Eigen::RowVectorXf;

struct Layer {
  RowVector attention_norm;
  Matrix query;
  Matrix key;
  Matrix value;
  Matrix output;
  RowVector feed_forward_norm;
  Matrix gate;
  Matrix up;
  Matrix down;
};

struct Model {
  Config config;
  Matrix embedding;
  std::vector<Layer> layers;
  RowVector norm;
  Matrix untied_classifier;  ///< empty if tied

  [[nodiscard]] const Matrix& classifier() const noexcept {
    return config.tied ? embedding : untied_classifier;
  }
};

}  // namespace morphkv::llama

#endif  // MORPHKV_EXAMPLES_LLAMA_MODEL_HPP
