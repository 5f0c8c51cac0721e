// SPDX-License-Identifier: Apache-2.0
/// \file
/// llama.cpp's keys and values, found in the graphs that it computes, and copied from cell to cell.
#ifndef MORPHKV_TOOLS_LLAMA_CPP_KV_TENSORS_HPP
#define MORPHKV_TOOLS_LLAMA_CPP_KV_TENSORS_HPP

#include <ggml-backend.h>
#include <ggml.h>

#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "llama_cpp/cell_table.hpp"

namespace morphkv::llama_cpp {

/// The tensors `cache_k_l<layer>` and `cache_v_l<layer>` live as long as the context. A graph names
/// them where it writes a token's key or value: a node SET_ROWS, which is a view of the tensor.
///
/// Keys are [cells][kv_heads x head_dim]. Without flash attention values are transposed,
/// [kv_heads x head_dim][cells], so that a head's value in one cell is head_dim single elements.
///
/// Thread safety: none.
class KVTensors {
 public:
  KVTensors(std::size_t layers, std::size_t kv_heads)
      : kv_heads_(kv_heads), keys_(layers), values_(layers) {}

  /// Records a node that writes to the cache.
  /// \return whether it writes the keys of the first layer; their cells are cells_of(node)
  bool note(const ggml_tensor* node) {
    if (node->op != GGML_OP_SET_ROWS || node->view_src == nullptr) return false;
    const std::string_view name = node->view_src->name;
    if (name.starts_with("cache_v_l")) {
      const std::size_t layer = layer_of(name, values_.size());
      values_[layer] = node->view_src;
      // A row that is written is one element of a transposed tensor, or all of a token's values.
      transposed_ = node->ne[0] == 1;
      return false;
    }
    if (!name.starts_with("cache_k_l")) return false;
    const std::size_t layer = layer_of(name, keys_.size());
    keys_[layer] = node->view_src;
    return layer == 0;
  }

  /// The cells of the tokens that are written, in order.
  [[nodiscard]] static std::vector<Cell> cells_of(const ggml_tensor* node) {
    const ggml_tensor* rows = node->src[1];
    if (rows == nullptr || rows->type != GGML_TYPE_I64) {
      throw std::runtime_error(
          "this version of llama.cpp writes keys in a way that is not supported");
    }
    std::vector<std::int64_t> indices(static_cast<std::size_t>(ggml_nelements(rows)));
    ggml_backend_tensor_get(rows, indices.data(), 0, indices.size() * sizeof(std::int64_t));
    return {indices.begin(), indices.end()};
  }

  /// Copies a head's key and value.
  /// \throws std::runtime_error if they are not in host memory, as float, half or bfloat16.
  void copy(std::size_t layer, std::size_t kv_head, Cell from, Cell to) const {
    const HostTensor keys = host_tensor(keys_[layer]);
    std::memcpy(keys.base + to * keys.row + kv_head * keys.head,
                keys.base + from * keys.row + kv_head * keys.head, keys.head);
    const HostTensor values = host_tensor(values_[layer]);
    if (!transposed_) {
      std::memcpy(values.base + to * values.row + kv_head * values.head,
                  values.base + from * values.row + kv_head * values.head, values.head);
      return;
    }
    const std::size_t column = values.element * values.cells;
    char* begin = values.base + kv_head * (values.head / values.element) * column;
    for (char* at = begin; at < begin + values.head / values.element * column; at += column) {
      std::memcpy(at + to * values.element, at + from * values.element, values.element);
    }
  }

  /// Keys and values of one cell, in all layers.
  [[nodiscard]] std::size_t bytes_of_cell() const noexcept {
    std::size_t bytes = 0;
    for (const auto* tensors : {&keys_, &values_}) {
      for (const ggml_tensor* tensor : *tensors) {
        if (tensor != nullptr) bytes += tensor->nb[1];
      }
    }
    return bytes;
  }

 private:
  struct HostTensor {
    char* base;
    std::size_t row;      ///< bytes of a cell's heads
    std::size_t head;     ///< bytes of one head
    std::size_t element;  ///< bytes
    std::size_t cells;
  };

  [[nodiscard]] HostTensor host_tensor(ggml_tensor* tensor) const {
    if (tensor == nullptr || !ggml_backend_buffer_is_host(tensor->buffer) ||
        ggml_is_quantized(tensor->type)) {
      throw std::runtime_error(
          "keys or values cannot be copied: they are absent, quantized or not in host memory");
    }
    return {.base = static_cast<char*>(tensor->data),
            .row = tensor->nb[1],
            .head = tensor->nb[1] / kv_heads_,
            .element = ggml_type_size(tensor->type),
            .cells = static_cast<std::size_t>(tensor->ne[1])};
  }

  /// The number that a tensor's name ends with.
  [[nodiscard]] static std::size_t layer_of(std::string_view name, std::size_t layers) {
    const std::size_t layer = std::stoul(std::string(name.substr(name.rfind('l') + 1)));
    if (layer >= layers) throw std::runtime_error("unexpected layer: " + std::string(name));
    return layer;
  }

  std::size_t kv_heads_;
  std::vector<ggml_tensor*> keys_;    ///< of every layer
  std::vector<ggml_tensor*> values_;  ///< of every layer
  bool transposed_ = true;            ///< the values
};

}  // namespace morphkv::llama_cpp

#endif  // MORPHKV_TOOLS_LLAMA_CPP_KV_TENSORS_HPP
