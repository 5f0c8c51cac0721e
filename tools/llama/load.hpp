// SPDX-License-Identifier: Apache-2.0
/// \file
/// A model and its tokenizer from a path of either format.
#ifndef MORPHKV_TOOLS_LLAMA_LOAD_HPP
#define MORPHKV_TOOLS_LLAMA_LOAD_HPP

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "llama/model.hpp"
#include "llama/tokenizer.hpp"

namespace morphkv::llama {

/// The files of a folder that end in `extension`, in the order of their names.
[[nodiscard]] std::vector<std::filesystem::path> files_in(const std::filesystem::path& folder,
                                                          const std::string& extension);

/// The files of a model: a folder with config.json, or a checkpoint of llama2.c, which may be named
/// by its folder.
class ModelFiles {
 public:
  /// \throws std::runtime_error if `path` is neither.
  explicit ModelFiles(const std::filesystem::path& path);

  [[nodiscard]] Model load() const;

  /// \throws std::runtime_error if there is no tokenizer, or one of a kind that is not supported.
  [[nodiscard]] std::unique_ptr<Tokenizer> load_tokenizer(const Config& config) const;

  /// The chat template's text, from chat_template.jinja or tokenizer_config.json; empty if the
  /// model has none.
  [[nodiscard]] std::string chat_template() const;

  [[nodiscard]] std::string name() const;

 private:
  std::filesystem::path path_;
  bool is_folder_ = false;
};

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_LOAD_HPP
