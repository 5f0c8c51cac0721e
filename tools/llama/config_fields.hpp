// SPDX-License-Identifier: Apache-2.0
/// \file
/// Fields of config.json that change nothing of what this engine computes. All others are read, or
/// refused by name.
#ifndef MORPHKV_TOOLS_LLAMA_CONFIG_FIELDS_HPP
#define MORPHKV_TOOLS_LLAMA_CONFIG_FIELDS_HPP

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "support/input_file.hpp"
#include "support/json_file.hpp"

namespace morphkv::llama::detail {

inline constexpr std::array harmless_fields = std::to_array<std::string_view>({
    // where it comes from, and how others load it
    "architectures",
    "auto_map",
    "cache_implementation",
    "dtype",
    "is_llama_config",
    "name_or_path",
    "tokenizer_class",
    "torch_dtype",
    "transformers.js_config",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
    // training
    "attention_dropout",
    "aux_loss_alpha",
    "embd_pdrop",
    "hidden_dropout",
    "initializer_range",
    "output_router_logits",
    "resid_pdrop",
    "router_aux_loss_coef",
    "seq_aux",
    // how others divide the work
    "ep_size",
    "pretraining_tp",
    // sampling, and tokens that the tokenizer knows
    "bos_token_id",
    "do_sample",
    "max_length",
    "pad_token_id",
    "repetition_penalty",
    "temperature",
    "top_k",
    "top_p",
    "unk_token_id",
    // outputs of transformers
    "id2label",
    "is_decoder",
    "is_encoder_decoder",
    "label2id",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
    "task_specific_params",
    // a second name of a field that is read
    "experts_per_token",
    "initial_context_length",
    "sliding_window_size",
});

/// \param prefix of the names in messages
/// \throws std::runtime_error naming a field that no call has asked for and that is not harmless
inline void refuse_unknown_fields(const support::JsonFile& json, const std::string& prefix = "") {
  for (const std::string& name : json.unasked()) {
    const bool harmless =
        name.starts_with('_') ||
        std::find(harmless_fields.begin(), harmless_fields.end(), name) != harmless_fields.end();
    if (harmless) continue;
    support::fail(json.path(), "the field " + prefix + name + " = " +
                                   json.object().at(name).dump() +
                                   " is not supported (remove it if it changes nothing)");
  }
}

}  // namespace morphkv::llama::detail

#endif  // MORPHKV_TOOLS_LLAMA_CONFIG_FIELDS_HPP
