// SPDX-License-Identifier: Apache-2.0
/// \file
/// A model and its tokenizer from a path of either format.
#ifndef MORPHKV_EXAMPLES_LLAMA_LOAD_HPP
#define MORPHKV_EXAMPLES_LLAMA_LOAD_HPP

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "llama/hugging_face.hpp"
#include "llama/llama2c.hpp"
#include "llama/model.hpp"
#include "llama/tokenizer.hpp"
#include "support/input_file.hpp"

namespace morphkv::llama {

/// The files of a folder that end in `extension`, in the order of their names.
[[nodiscard]] inline std::vector<std::filesystem::path> files_in(
    const std::filesystem::path& folder, const std::string& extension) {
  std::vector<std::filesystem::path> files;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.path().extension() == extension) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// Where a model lies: a folder with a config.json, or a checkpoint of llama2.c. A folder that
/// holds one checkpoint beside its tokenizer stands for the checkpoint.
class ModelFiles {
 public:
  /// \throws std::runtime_error if `path` is neither.
  explicit ModelFiles(const std::filesystem::path& path) : path_(path) {
    is_folder_ = std::filesystem::exists(path / "config.json");
    if (is_folder_ || std::filesystem::is_regular_file(path)) return;
    for (const auto& file : files_in(path, ".bin")) {
      if (!is_tokenizer(file)) path_ = file;
    }
    if (path_ == path) {
      support::fail(path, "there is no model: a folder with config.json, or a llama2.c checkpoint");
    }
  }

  [[nodiscard]] Model load() const {
    return is_folder_ ? load_hugging_face(path_) : load_llama2c(path_);
  }

  /// \throws std::runtime_error if there is no tokenizer, or one of a kind that is not supported.
  [[nodiscard]] std::unique_ptr<Tokenizer> load_tokenizer(const Config& config) const {
    return is_folder_ ? word_tokenizer(config) : byte_pair_tokenizer(config);
  }

  [[nodiscard]] std::string name() const {
    const auto path = path_.has_filename() ? path_ : path_.parent_path();
    return (is_folder_ ? path.filename() : path.stem()).string();
  }

 private:
  static bool is_tokenizer(const std::filesystem::path& file) {
    return file.filename().string().starts_with("tok");
  }

  [[nodiscard]] std::unique_ptr<Tokenizer> word_tokenizer(const Config& config) const {
    if (std::filesystem::exists(path_ / "merges.txt") ||
        std::filesystem::exists(path_ / "tokenizer.json")) {
      support::fail(path_, "only word-level vocab.json tokenizers are supported");
    }
    return std::make_unique<WordTokenizer>(path_ / "vocab.json", config.vocabulary);
  }

  [[nodiscard]] std::unique_ptr<Tokenizer> byte_pair_tokenizer(const Config& config) const {
    for (const auto& file : files_in(path_.parent_path(), ".bin")) {
      if (is_tokenizer(file)) return std::make_unique<BytePairTokenizer>(file, config.vocabulary);
    }
    support::fail(path_, "there is no tokenizer (tok*.bin) beside the checkpoint");
  }

  std::filesystem::path path_;
  bool is_folder_ = false;
};

}  // namespace morphkv::llama

#endif  // MORPHKV_EXAMPLES_LLAMA_LOAD_HPP
