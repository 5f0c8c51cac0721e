// SPDX-License-Identifier: Apache-2.0
/// \file
/// A GGUF model and its tokenizer, through llama.cpp's C interface.
#ifndef MORPHKV_TOOLS_LLAMA_CPP_MODEL_HPP
#define MORPHKV_TOOLS_LLAMA_CPP_MODEL_HPP

#include <ggml-backend.h>
#include <llama.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "llama_cpp/devices.hpp"
#include "llama_cpp/shared_cells.hpp"

namespace morphkv::llama_cpp {

/// Where a model's layers, and their keys and values, lie.
struct Placement {
  std::vector<std::string> rpc;  ///< servers, "host:port"; they share all layers
  int gpu_layers = 0;            ///< on the devices of this machine
};

/// Thread safety: that of llama_model.
class Model {
 public:
  /// \throws std::runtime_error if llama.cpp cannot load the file.
  explicit Model(const std::filesystem::path& path, const Placement& placement = {})
      : is_offloaded_(placement.gpu_layers > 0 || !placement.rpc.empty()),
        model_(load(path, placement), &llama_model_free) {
    if (!model_) {
      throw std::runtime_error(path.string() + ": llama.cpp cannot load it as a GGUF model");
    }
  }

  [[nodiscard]] llama_model* get() const noexcept { return model_.get(); }

  /// Whether layers lie elsewhere than in host memory.
  [[nodiscard]] bool is_offloaded() const noexcept { return is_offloaded_; }
  /// Bytes of its tensors.
  [[nodiscard]] std::uint64_t bytes() const noexcept { return llama_model_size(get()); }
  /// The number of tokens that the model was trained for.
  [[nodiscard]] std::size_t trained_context() const noexcept {
    return static_cast<std::size_t>(llama_model_n_ctx_train(get()));
  }
  /// The window of the layers whose attention slides; 0: no layer's does.
  [[nodiscard]] std::size_t window() const noexcept {
    return static_cast<std::size_t>(llama_model_n_swa(get()));
  }
  /// The model's chat template; empty if it has none.
  [[nodiscard]] std::string chat_template() const {
    const char* text = llama_model_chat_template(get(), nullptr);
    return text == nullptr ? "" : text;
  }

  [[nodiscard]] HeadCounts heads() const noexcept {
    return {.layers = static_cast<std::size_t>(llama_model_n_layer(get())),
            .query_heads = static_cast<std::size_t>(llama_model_n_head(get())),
            .kv_heads = static_cast<std::size_t>(llama_model_n_head_kv(get()))};
  }

  /// Why tokens of this model's cache cannot be evicted one by one; empty if they can.
  [[nodiscard]] std::string obstacle(Scope scope) const {
    if (llama_model_is_recurrent(get()) || llama_model_is_hybrid(get())) {
      return "it has recurrent layers, whose state is not a cache of tokens";
    }
    if (llama_model_has_encoder(get()) || !llama_model_has_decoder(get())) {
      return "it is not a decoder-only model";
    }
    if (scope != Scope::sequence && llama_model_rope_type(get()) == LLAMA_ROPE_TYPE_NONE) {
      return "positions are not in its keys (RoPE), so tokens cannot change cells; --scope "
             "sequence "
             "needs no change";
    }
    return {};
  }

  [[nodiscard]] bool ends(llama_token token) const noexcept {
    return llama_vocab_is_eog(vocabulary(), token);
  }

  /// The tokens of a prompt, with the one that begins a sequence where the model wants it.
  /// \param begins whether the text begins a sequence
  [[nodiscard]] std::vector<llama_token> encode(const std::string& text, bool begins = true) const {
    const auto length = static_cast<std::int32_t>(text.size());
    std::vector<llama_token> tokens(text.size() + 8);
    std::int32_t count = llama_tokenize(vocabulary(), text.data(), length, tokens.data(),
                                        static_cast<std::int32_t>(tokens.size()), begins, true);
    if (count < 0) throw std::runtime_error("llama.cpp cannot tokenize the prompt");
    tokens.resize(static_cast<std::size_t>(count));
    return tokens;
  }

  /// What a token adds to a text.
  [[nodiscard]] std::string piece(llama_token token) const {
    std::string text(256, '\0');
    const std::int32_t length = llama_token_to_piece(
        vocabulary(), token, text.data(), static_cast<std::int32_t>(text.size()), 0, false);
    text.resize(length > 0 ? static_cast<std::size_t>(length) : 0);
    return text;
  }

 private:
  [[nodiscard]] static llama_model* load(const std::filesystem::path& path,
                                         const Placement& placement) {
    llama_model_params params = llama_model_default_params();
    params.n_gpu_layers = placement.gpu_layers;
    std::vector<ggml_backend_dev_t> devices = rpc_devices(placement.rpc);
    if (!devices.empty()) {
      devices.push_back(nullptr);
      params.devices = devices.data();
      params.n_gpu_layers = 1 << 20;  // all
    }
    return llama_model_load_from_file(path.c_str(), params);
  }
  [[nodiscard]] const llama_vocab* vocabulary() const noexcept {
    return llama_model_get_vocab(get());
  }

  bool is_offloaded_;
  std::unique_ptr<llama_model, void (*)(llama_model*)> model_;
};

}  // namespace morphkv::llama_cpp

#endif  // MORPHKV_TOOLS_LLAMA_CPP_MODEL_HPP
