// SPDX-License-Identifier: Apache-2.0
/// \file
/// Sequences in llama.cpp, whose attention weights are passed to a listener.
#ifndef MORPHKV_TOOLS_LLAMA_CPP_CONTEXT_HPP
#define MORPHKV_TOOLS_LLAMA_CPP_CONTEXT_HPP

#include <ggml-backend.h>
#include <ggml.h>
#include <llama.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "llama_cpp/cell_table.hpp"
#include "llama_cpp/kv_tensors.hpp"
#include "llama_cpp/model.hpp"
#include "llama_cpp/row_fusion.hpp"
#include "llama_cpp/trace.hpp"

namespace morphkv::llama_cpp {

/// Called during a decode: first with the cells of the tokens' keys, then for each full layer, by
/// its number among these.
class AttentionListener {
 public:
  AttentionListener() = default;
  AttentionListener(const AttentionListener&) = delete;
  AttentionListener& operator=(const AttentionListener&) = delete;
  virtual ~AttentionListener() = default;

  virtual void arrived(std::span<const Cell> cells) = 0;
  virtual void attended(std::size_t layer, const AttentionWeights& weights) = 0;
  /// With flash attention, which returns no weights.
  /// \param node its node, with the queries, the scale and more
  /// \param keys [cells][kv_heads x head_dim], in host memory, and so the values
  virtual void attended(std::size_t layer, const ggml_tensor* node, const ggml_tensor* keys,
                        const ggml_tensor* values) = 0;
};

/// A token to decode.
struct Entry {
  llama_token token = 0;
  Position position = 0;
  std::size_t sequence = 0;
};

struct ContextOptions {
  std::size_t cells = 512;  ///< minimum; llama.cpp rounds up
  std::size_t block = 512;  ///< maximum number of tokens decoded at once
  std::size_t sequences = 1;
  int threads = 0;  ///< 0: llama.cpp's choice
  ggml_type cache_type = GGML_TYPE_F16;
  bool flash_attention = false;  ///< a listener gets queries and keys instead of weights
};

/// Thread safety: none.
class Context {
 public:
  /// \param listener null: llama.cpp runs unobserved
  /// \pre `model` and `listener` outlive the context.
  Context(const Model& model, const ContextOptions& options, AttentionListener* listener)
      : listener_(listener),
        heads_(model.heads()),
        tensors_(heads_.layers, heads_.kv_heads),
        context_(make(model, options), &llama_free),
        vocabulary_(
            static_cast<std::size_t>(llama_vocab_n_tokens(llama_model_get_vocab(model.get())))),
        last_of_(options.sequences, -1),
        batch_(llama_batch_init(static_cast<std::int32_t>(batch_size(options)), 0, 1)) {
    if (!context_) throw std::runtime_error("llama.cpp cannot make a context");
    full_layers_.resize(heads_.layers);
    std::iota(full_layers_.begin(), full_layers_.end(), std::size_t{0});
    if (listener_ == nullptr || model.window() == 0) return;
    find_tensors();
    full_layers_ = tensors_.layers_of(cells());
    if (full_layers_.empty()) {
      throw std::invalid_argument("--model: all of its layers slide: there is nothing to evict");
    }
  }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context() { llama_batch_free(batch_); }

  [[nodiscard]] std::size_t cells() const noexcept { return llama_n_ctx(context_.get()); }
  /// The layers that attend to all cells. The others slide: they keep the tokens of their window in
  /// a cache of their own.
  [[nodiscard]] const std::vector<std::size_t>& full_layers() const noexcept {
    return full_layers_;
  }
  [[nodiscard]] const KVTensors& tensors() const noexcept { return tensors_; }
  [[nodiscard]] KVTensors& tensors() noexcept { return tensors_; }
  /// Bytes of a sequence's state as llama.cpp saves it.
  [[nodiscard]] std::size_t state_bytes(std::size_t sequence = 0) const {
    return llama_state_seq_get_size(context_.get(), id_of(sequence));
  }

  /// A sequence's state as llama.cpp saves it: its cells, in their order.
  [[nodiscard]] std::vector<std::uint8_t> save(std::size_t sequence = 0) const {
    std::vector<std::uint8_t> bytes(state_bytes(sequence));
    bytes.resize(
        llama_state_seq_get_data(context_.get(), bytes.data(), bytes.size(), id_of(sequence)));
    return bytes;
  }
  /// Takes over such a state, in cells 0, 1, ... \pre nothing has been decoded
  /// \throws std::invalid_argument if it does not fit.
  void restore(std::span<const std::uint8_t> bytes, std::size_t sequence = 0) {
    find_tensors();
    if (llama_state_seq_set_data(context_.get(), bytes.data(), bytes.size(), id_of(sequence)) !=
        bytes.size()) {
      throw std::invalid_argument("llama.cpp cannot take over the state of its cells");
    }
  }

  /// Records what is decoded from now on. \pre `trace` outlives the context
  void record(Trace* trace) noexcept { trace_ = trace; }

  /// Decodes tokens; those of a sequence are in order.
  /// \throws std::runtime_error if llama.cpp fails; any exception of the listener
  void decode(std::span<const Entry> entries) {
    batch_.n_tokens = static_cast<std::int32_t>(entries.size());
    for (std::size_t i = 0; i < entries.size(); ++i) {
      batch_.token[i] = entries[i].token;
      batch_.pos[i] = entries[i].position;
      batch_.n_seq_id[i] = 1;
      batch_.seq_id[i][0] = id_of(entries[i].sequence);
      batch_.logits[i] = 0;
      last_of_[entries[i].sequence] = static_cast<std::int32_t>(i);
    }
    for (const Entry& entry : entries) batch_.logits[last_of_[entry.sequence]] = 1;
    cells_.clear();
    layers_seen_ = 0;
    const std::int32_t status = llama_decode(context_.get(), batch_);
    llama_synchronize(context_.get());
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    if (status != 0) {
      throw std::runtime_error(status == 1 ? "llama.cpp has no cell left for the token"
                                           : "llama_decode failed: " + std::to_string(status));
    }
    if (listener_ != nullptr && layers_seen_ != heads_.layers) {
      throw std::runtime_error("llama.cpp computed the attention of " +
                               std::to_string(layers_seen_) + " of " +
                               std::to_string(heads_.layers) + " layers");
    }
    if (trace_ != nullptr) trace_->add_block(tensors_, cells_);
  }

  /// Of the token after the last one of a sequence, which was in the last decode.
  [[nodiscard]] std::span<const float> logits(std::size_t sequence = 0) const {
    return {llama_get_logits_ith(context_.get(), last_of_[sequence]), vocabulary_};
  }

  /// Removes the cell of one position.
  void remove(Position position, std::size_t sequence = 0) {
    if (!llama_memory_seq_rm(llama_get_memory(context_.get()), id_of(sequence), position,
                             position + 1)) {
      throw std::runtime_error("llama.cpp cannot remove position " + std::to_string(position));
    }
  }

 private:
  /// The tensors of keys and values are seen in a decode, and the first step after restore() may
  /// copy some of them: a token is decoded and forgotten.
  void find_tensors() {
    is_observed_ = false;
    batch_.n_tokens = 1;
    batch_.token[0] = 0;
    batch_.pos[0] = 0;
    batch_.n_seq_id[0] = 1;
    batch_.seq_id[0][0] = 0;
    batch_.logits[0] = 0;
    const std::int32_t status = llama_decode(context_.get(), batch_);
    llama_memory_clear(llama_get_memory(context_.get()), true);
    is_observed_ = true;
    if (status != 0) throw std::runtime_error("llama_decode failed: " + std::to_string(status));
  }

  [[nodiscard]] static llama_seq_id id_of(std::size_t sequence) noexcept {
    return static_cast<llama_seq_id>(sequence);
  }
  /// A block of one sequence, or a token of each.
  [[nodiscard]] static std::size_t batch_size(const ContextOptions& options) {
    return (std::max)(options.block, options.sequences);
  }

  [[nodiscard]] llama_context* make(const Model& model, const ContextOptions& options) {
    llama_context_params params = llama_context_default_params();
    params.n_ctx = static_cast<std::uint32_t>(options.cells);
    params.swa_full = false;
    if (listener_ != nullptr && model.window() > 0) {
      // More than the cells of layers that slide, which are rounded up to 256: so that the number
      // tells them apart.
      const std::size_t sliding = model.window() * options.sequences + batch_size(options);
      params.n_ctx = (std::max)(params.n_ctx, static_cast<std::uint32_t>(sliding + 256));
    }
    params.n_batch = params.n_ubatch = static_cast<std::uint32_t>(batch_size(options));
    params.n_seq_max = static_cast<std::uint32_t>(options.sequences);
    params.kv_unified = true;  // sequences share the cells
    if (options.threads > 0) params.n_threads = params.n_threads_batch = options.threads;
    params.type_k = params.type_v = options.cache_type;
    params.flash_attn_type =
        options.flash_attention ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    params.offload_kqv = model.is_offloaded();
    if (listener_ != nullptr) {
      params.cb_eval = &Context::on_node;
      params.cb_eval_user_data = this;
    }
    return llama_init_from_model(model.get(), params);
  }

  /// llama.cpp's scheduler asks for every node whether it is observed, and calls again with its
  /// result.
  static bool on_node(ggml_tensor* node, bool ask, void* context) {
    auto& self = *static_cast<Context*>(context);
    if (self.failure_) return false;
    try {
      return ask ? self.wants(node) : self.take(node);
    } catch (...) {
      self.failure_ = std::current_exception();  // exceptions must not pass through C code
      return false;
    }
  }

  bool wants(const ggml_tensor* node) {
    // Which cells are written is an input of the graph, so it can be read before the node runs.
    const std::optional<std::size_t> layer = tensors_.note(node);
    if (!is_observed_) return false;
    if (layer == full_layers_.front()) {
      cells_ = KVTensors::cells_of(node);
      listener_->arrived(cells_);
    }
    if (trace_ != nullptr && trace_->wants(node)) return true;
    if (node->op == GGML_OP_FLASH_ATTN_EXT) return true;
    return std::string_view(node->name).starts_with("kq_soft_max");
  }

  bool take(const ggml_tensor* node) {
    if (trace_ != nullptr && trace_->wants(node)) {
      trace_->add_queries(node);
      return true;
    }
    if (node->op == GGML_OP_FLASH_ATTN_EXT) {
      take_flash(node);
      return true;
    }
    const bool expected = node->type == GGML_TYPE_F32 && ggml_is_contiguous(node) &&
                          node->ne[1] == batch_.n_tokens &&
                          node->ne[2] == static_cast<std::int64_t>(heads_.query_heads) &&
                          node->ne[3] == 1 && layers_seen_ < heads_.layers;
    if (!expected) {
      throw std::runtime_error(std::string(node->name) + " is not the attention of " +
                               std::to_string(heads_.query_heads) + " heads in one of " +
                               std::to_string(heads_.layers) + " layers");
    }
    if (trace_ != nullptr) trace_->add_softmax(node);
    const std::optional<std::size_t> number = number_of(layers_seen_++);
    if (!number) return true;
    listener_->attended(*number, {.data = weights_of(node),
                                  .tokens = static_cast<std::size_t>(node->ne[1]),
                                  .columns = static_cast<std::size_t>(node->ne[0])});
    return true;
  }

  void take_flash(const ggml_tensor* node) {
    const std::size_t layer = layers_seen_++;
    if (layer >= heads_.layers) throw std::runtime_error("llama.cpp has more layers than heads");
    const std::optional<std::size_t> number = number_of(layer);
    if (!number) return;
    const ggml_tensor* keys = tensors_.host_keys(layer);
    const ggml_tensor* values = tensors_.host_values(layer);
    if (keys == nullptr || values == nullptr) {
      throw std::runtime_error(
          "--flash-attention: keys and values must be in host memory, where the policies see them; "
          "run without it on other backends");
    }
    listener_->attended(*number, node, keys, values);
  }

  /// Of a full layer among these.
  [[nodiscard]] std::optional<std::size_t> number_of(std::size_t layer) const {
    const auto at = std::lower_bound(full_layers_.begin(), full_layers_.end(), layer);
    if (at == full_layers_.end() || *at != layer) return std::nullopt;
    return static_cast<std::size_t>(at - full_layers_.begin());
  }

  [[nodiscard]] const float* weights_of(const ggml_tensor* node) {
    if (ggml_backend_buffer_is_host(node->buffer)) return static_cast<const float*>(node->data);
    weights_.resize(static_cast<std::size_t>(ggml_nelements(node)));
    ggml_backend_tensor_get(node, weights_.data(), 0, ggml_nbytes(node));
    return weights_.data();
  }

  AttentionListener* listener_;
  HeadCounts heads_;
  KVTensors tensors_;
  std::unique_ptr<llama_context, void (*)(llama_context*)> context_;
  std::size_t vocabulary_;
  std::vector<std::size_t> full_layers_;
  std::vector<std::int32_t> last_of_;  ///< of every sequence: its last token in the batch
  llama_batch batch_;
  std::vector<Cell> cells_;  ///< of the tokens of this decode
  bool is_observed_ = true;  ///< by the listener
  Trace* trace_ = nullptr;
  std::size_t layers_seen_ = 0;  ///< of this decode
  std::exception_ptr failure_;   ///< of the listener
  std::vector<float> weights_;   ///< of a layer whose weights are not in host memory
};

}  // namespace morphkv::llama_cpp

#endif  // MORPHKV_TOOLS_LLAMA_CPP_CONTEXT_HPP
