// SPDX-License-Identifier: Apache-2.0
/// \file
/// What llama.cpp's attention is computed from, where it returns no weights.
#ifndef MORPHKV_TOOLS_LLAMA_CPP_FLASH_INPUTS_HPP
#define MORPHKV_TOOLS_LLAMA_CPP_FLASH_INPUTS_HPP

#include <ggml-backend.h>
#include <ggml.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <vector>

namespace morphkv::llama_cpp {

/// The queries that a node of attention reads: [tokens][query_heads][head_dim].
/// \param queries a tensor [head_dim, tokens, query_heads], or a view of one
[[nodiscard]] inline std::vector<float> read_queries(const ggml_tensor* queries) {
  if (queries->type != GGML_TYPE_F32 || queries->nb[0] != sizeof(float)) {
    throw std::runtime_error("llama.cpp's queries are not in float32");
  }
  std::vector<char> bytes(ggml_nbytes(queries));
  ggml_backend_tensor_get(queries, bytes.data(), 0, bytes.size());
  const auto dim = static_cast<std::size_t>(queries->ne[0]);
  const auto tokens = static_cast<std::size_t>(queries->ne[1]);
  const auto heads = static_cast<std::size_t>(queries->ne[2]);
  std::vector<float> rows(tokens * heads * dim);
  for (std::size_t token = 0; token < tokens; ++token) {
    for (std::size_t head = 0; head < heads; ++head) {
      std::memcpy(&rows[(token * heads + head) * dim],
                  bytes.data() + token * queries->nb[1] + head * queries->nb[2],
                  dim * sizeof(float));
    }
  }
  return rows;
}

struct FlashInputs {
  std::vector<float> queries;  ///< [tokens][query_heads][head_dim]
  std::size_t head_dim = 0;
  float scale = 1;
};

/// Of a node of flash attention, which has been computed.
/// \throws std::runtime_error if its attention is not softmax(scale q K^T).
[[nodiscard]] inline FlashInputs read_flash(const ggml_tensor* node) {
  std::array<float, 3> parameters{};  // scale, ALiBi's slope, soft cap
  std::memcpy(parameters.data(), node->op_params, sizeof(parameters));
  if (parameters[1] != 0 || parameters[2] != 0 || node->src[4] != nullptr) {
    throw std::runtime_error(
        "--flash-attention: the model has ALiBi, a soft cap or sinks: run it without");
  }
  return {.queries = read_queries(node->src[0]),
          .head_dim = static_cast<std::size_t>(node->src[0]->ne[0]),
          .scale = parameters[0]};
}

}  // namespace morphkv::llama_cpp

#endif  // MORPHKV_TOOLS_LLAMA_CPP_FLASH_INPUTS_HPP
