// SPDX-License-Identifier: Apache-2.0
/// \file
/// A model and its tokenizer from a path of either format.
#ifndef MORPHKV_TOOLS_LLAMA_LOAD_HPP
#define MORPHKV_TOOLS_LLAMA_LOAD_HPP

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#if defined(MORPHKV_TOKENIZER_JSON)
#include "llama/hub_tokenizer.hpp"
#endif
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

/// The files of a model: a folder with config.json, or a checkpoint of llama2.c, which may be named
/// by its folder.
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
    return is_folder_ ? folder_tokenizer(config) : byte_pair_tokenizer(config);
  }

  /// The chat template's text, from chat_template.jinja or tokenizer_config.json; empty if the
  /// model has none.
  [[nodiscard]] std::string chat_template() const {
    if (!is_folder_) return {};
    if (const auto file = path_ / "chat_template.jinja"; std::filesystem::exists(file)) {
      support::InputFile input(file);
      return input.read_text(input.size(), "the template");
    }
    const auto file = path_ / "tokenizer_config.json";
    if (!std::filesystem::exists(file)) return {};
    const support::JsonFile config(file);
    return config.has("chat_template") ? config.text("chat_template") : std::string();
  }

  [[nodiscard]] std::string name() const {
    const auto path = path_.has_filename() ? path_ : path_.parent_path();
    return (is_folder_ ? path.filename() : path.stem()).string();
  }

 private:
  static bool is_tokenizer(const std::filesystem::path& file) {
    return file.filename().string().starts_with("tok");
  }

  [[nodiscard]] std::unique_ptr<Tokenizer> folder_tokenizer(const Config& config) const {
    const std::filesystem::path json = path_ / "tokenizer.json";
    if (std::filesystem::exists(json)) {
#if defined(MORPHKV_TOKENIZER_JSON)
      return std::make_unique<HubTokenizer>(json, config.vocabulary);
#else
      support::fail(json, "this program was built without PCRE2 and utf8proc, which it needs");
#endif
    }
    if (std::filesystem::exists(path_ / "vocab.json") &&
        !std::filesystem::exists(path_ / "merges.txt")) {
      return std::make_unique<WordTokenizer>(path_ / "vocab.json", config.vocabulary);
    }
    support::fail(path_, "there is no tokenizer: tokenizer.json, or vocab.json of whole words");
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

#endif  // MORPHKV_TOOLS_LLAMA_LOAD_HPP
