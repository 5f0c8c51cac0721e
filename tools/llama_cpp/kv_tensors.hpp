// SPDX-License-Identifier: Apache-2.0
/// \file
/// llama.cpp's keys and values, found in the graphs that it computes, and copied from cell to cell.
#ifndef MORPHKV_TOOLS_LLAMA_CPP_KV_TENSORS_HPP
#define MORPHKV_TOOLS_LLAMA_CPP_KV_TENSORS_HPP

#include <ggml-backend.h>
#include <ggml.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <optional>
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
/// They lie on any backend: in host memory they are copied in place, elsewhere (a GPU, another
/// machine) they come here and go back.
///
/// Thread safety: none.
class KVTensors {
 public:
  KVTensors(std::size_t layers, std::size_t kv_heads)
      : kv_heads_(kv_heads), keys_(layers), values_(layers) {}

  /// Records a node that writes to the cache.
  /// \return the layer whose keys it writes; their cells are cells_of(node)
  std::optional<std::size_t> note(const ggml_tensor* node) {
    if (node->op != GGML_OP_SET_ROWS || node->view_src == nullptr) return std::nullopt;
    const std::string_view name = node->view_src->name;
    if (name.starts_with("cache_v_l")) {
      const std::size_t layer = layer_of(name, values_.size());
      values_[layer] = node->view_src;
      // A row that is written is one element of a transposed tensor, or all of a token's values.
      transposed_ = node->ne[0] == 1;
      return std::nullopt;
    }
    if (!name.starts_with("cache_k_l")) return std::nullopt;
    const std::size_t layer = layer_of(name, keys_.size());
    keys_[layer] = node->view_src;
    return layer;
  }

  /// The layers whose keys lie in a cache of so many cells, ascending: llama.cpp keeps those whose
  /// attention slides in another one. \pre all layers have been noted
  [[nodiscard]] std::vector<std::size_t> layers_of(std::size_t cells) const {
    std::vector<std::size_t> layers;
    for (std::size_t layer = 0; layer < keys_.size(); ++layer) {
      if (layout_of(keys_[layer]).cells == cells) layers.push_back(layer);
    }
    return layers;
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
  /// \throws std::runtime_error if they are absent or quantized.
  void copy(std::size_t layer, std::size_t kv_head, Cell from, Cell to) {
    const Layout keys = layout_of(keys_[layer]);
    copy_piece(keys, from * keys.row + kv_head * keys.head, to * keys.row + kv_head * keys.head);
    const Layout values = layout_of(values_[layer]);
    if (!transposed_) {
      copy_piece(values, from * values.row + kv_head * values.head,
                 to * values.row + kv_head * values.head);
      return;
    }
    copy_column(values, kv_head, from, to);
  }

  /// The keys, or the values, of all heads of a layer in some cells: [cells][kv_heads x head_dim].
  [[nodiscard]] std::vector<float> keys_in(std::size_t layer, const std::vector<Cell>& cells) {
    const Layout keys = layout_of(keys_[layer]);
    std::vector<float> rows;
    for (const Cell cell : cells) {
      work_.resize(keys.row);
      ggml_backend_tensor_get(keys.tensor, work_.data(), cell * keys.row, keys.row);
      append_floats(keys, rows);
    }
    return rows;
  }
  [[nodiscard]] std::vector<float> values_in(std::size_t layer, const std::vector<Cell>& cells) {
    const Layout values = layout_of(values_[layer]);
    std::vector<float> rows;
    for (const Cell cell : cells) {
      work_.resize(values.row);
      if (transposed_) {
        ggml_backend_tensor_get_2d(values.tensor, work_.data(), cell * values.element,
                                   values.element, values.row / values.element,
                                   values.element * values.cells, values.element);
      } else {
        ggml_backend_tensor_get(values.tensor, work_.data(), cell * values.row, values.row);
      }
      append_floats(values, rows);
    }
    return rows;
  }

  /// The keys of a layer, where they lie in host memory; null elsewhere.
  [[nodiscard]] const ggml_tensor* host_keys(std::size_t layer) const {
    return in_host_memory(keys_[layer]);
  }
  /// Its values, where they lie in host memory and are not transposed; null elsewhere.
  [[nodiscard]] const ggml_tensor* host_values(std::size_t layer) const {
    return transposed_ ? nullptr : in_host_memory(values_[layer]);
  }

  /// Keys and values of one cell, in these layers.
  [[nodiscard]] std::size_t bytes_of_cell(const std::vector<std::size_t>& layers) const noexcept {
    std::size_t bytes = 0;
    for (const auto* tensors : {&keys_, &values_}) {
      for (const std::size_t layer : layers) {
        if ((*tensors)[layer] != nullptr) bytes += (*tensors)[layer]->nb[1];
      }
    }
    return bytes;
  }

  /// The names of the backends' buffers that keys lie in, each once.
  [[nodiscard]] std::vector<std::string> places() const {
    std::vector<std::string> names;
    for (const ggml_tensor* tensor : keys_) {
      if (tensor == nullptr) continue;
      const std::string name = ggml_backend_buffer_name(tensor->buffer);
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
    return names;
  }

 private:
  [[nodiscard]] static const ggml_tensor* in_host_memory(const ggml_tensor* tensor) {
    return tensor != nullptr && ggml_backend_buffer_is_host(tensor->buffer) ? tensor : nullptr;
  }

  struct Layout {
    ggml_tensor* tensor;
    bool is_host;
    std::size_t row;      ///< bytes of a cell's heads
    std::size_t head;     ///< bytes of one head
    std::size_t element;  ///< bytes
    std::size_t cells;
  };

  [[nodiscard]] Layout layout_of(ggml_tensor* tensor) const {
    if (tensor == nullptr || ggml_is_quantized(tensor->type)) {
      throw std::runtime_error("keys or values cannot be copied: they are absent or quantized");
    }
    return {.tensor = tensor,
            .is_host = ggml_backend_buffer_is_host(tensor->buffer),
            .row = tensor->nb[1],
            .head = tensor->nb[1] / kv_heads_,
            .element = ggml_type_size(tensor->type),
            .cells = static_cast<std::size_t>(tensor->ne[1])};
  }

  /// Copies a head's bytes from one offset to another.
  void copy_piece(const Layout& at, std::size_t from, std::size_t to) {
    if (at.is_host) {
      char* base = static_cast<char*>(at.tensor->data);
      std::memcpy(base + to, base + from, at.head);
      return;
    }
    work_.resize(at.head);
    ggml_backend_tensor_get(at.tensor, work_.data(), from, at.head);
    ggml_backend_tensor_set(at.tensor, work_.data(), to, at.head);
  }

  /// Copies a head's column of a transposed tensor. Elsewhere than in host memory all of the head's
  /// columns from one to the other come and go in one piece, because each transfer has a price.
  void copy_column(const Layout& at, std::size_t kv_head, Cell from, Cell to) {
    const std::size_t column = at.element * at.cells;
    const std::size_t rows = at.head / at.element;
    const std::size_t first = std::min(from, to) * at.element;
    const std::size_t begin = kv_head * rows * column + first;
    char* piece = static_cast<char*>(at.tensor->data) + begin;
    std::size_t bytes = 0;
    if (!at.is_host) {
      bytes = (rows - 1) * column + std::max(from, to) * at.element + at.element - first;
      work_.resize(bytes);
      ggml_backend_tensor_get(at.tensor, work_.data(), begin, bytes);
      piece = work_.data();
    }
    for (std::size_t row = 0; row < rows; ++row, piece += column) {
      std::memcpy(piece + to * at.element - first, piece + from * at.element - first, at.element);
    }
    if (!at.is_host) ggml_backend_tensor_set(at.tensor, work_.data(), begin, bytes);
  }

  /// Appends the row in work_.
  void append_floats(const Layout& at, std::vector<float>& rows) const {
    const std::size_t count = at.row / at.element;
    const std::size_t begin = rows.size();
    rows.resize(begin + count);
    const auto n = static_cast<std::int64_t>(count);
    if (at.tensor->type == GGML_TYPE_F16) {
      ggml_fp16_to_fp32_row(reinterpret_cast<const ggml_fp16_t*>(work_.data()), &rows[begin], n);
    } else if (at.tensor->type == GGML_TYPE_BF16) {
      ggml_bf16_to_fp32_row(reinterpret_cast<const ggml_bf16_t*>(work_.data()), &rows[begin], n);
    } else {
      std::memcpy(&rows[begin], work_.data(), at.row);
    }
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
  std::vector<char> work_;            ///< bytes on their way
};

}  // namespace morphkv::llama_cpp

#endif  // MORPHKV_TOOLS_LLAMA_CPP_KV_TENSORS_HPP
