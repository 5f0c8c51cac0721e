// SPDX-License-Identifier: Apache-2.0
#include "llama/load.hpp"

#include <algorithm>
#include <system_error>

#if defined(MORPHKV_TOKENIZER_JSON)
#include "llama/hub_tokenizer.hpp"
#endif
#include "llama/hugging_face.hpp"
#include "llama/llama2c.hpp"
#include "support/input_file.hpp"
#include "support/json_file.hpp"

namespace morphkv::llama {

namespace {

using std::filesystem::path;

bool is_tokenizer(const path& file) { return file.filename().string().starts_with("tok"); }

std::unique_ptr<Tokenizer> folder_tokenizer(const path& folder, const Config& config) {
  const path json = folder / "tokenizer.json";
  if (std::filesystem::exists(json)) {
#if defined(MORPHKV_TOKENIZER_JSON)
    return std::make_unique<HubTokenizer>(json, config.vocabulary);
#else
    support::fail(json, "this program was built without PCRE2 and utf8proc, which it needs");
#endif
  }
  if (std::filesystem::exists(folder / "vocab.json") &&
      !std::filesystem::exists(folder / "merges.txt")) {
    return std::make_unique<WordTokenizer>(folder / "vocab.json", config.vocabulary);
  }
  support::fail(folder, "there is no tokenizer: tokenizer.json, or vocab.json of whole words");
}

std::unique_ptr<Tokenizer> byte_pair_tokenizer(const path& checkpoint, const Config& config) {
  for (const path& file : files_in(checkpoint.parent_path(), ".bin")) {
    if (is_tokenizer(file)) return std::make_unique<BytePairTokenizer>(file, config.vocabulary);
  }
  support::fail(checkpoint, "there is no tokenizer (tok*.bin) beside the checkpoint");
}

}  // namespace

std::vector<path> files_in(const path& folder, const std::string& extension) {
  std::vector<path> files;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.path().extension() == extension) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

ModelFiles::ModelFiles(const path& path) : path_(path) {
  is_folder_ = std::filesystem::exists(path / "config.json");
  if (is_folder_ || std::filesystem::is_regular_file(path)) return;
  for (const auto& file : files_in(path, ".bin")) {
    if (!is_tokenizer(file)) path_ = file;
  }
  if (path_ == path) {
    support::fail(path, "there is no model: a folder with config.json, or a llama2.c checkpoint");
  }
}

Model ModelFiles::load() const {
  return is_folder_ ? load_hugging_face(path_) : load_llama2c(path_);
}

std::unique_ptr<Tokenizer> ModelFiles::load_tokenizer(const Config& config) const {
  return is_folder_ ? folder_tokenizer(path_, config) : byte_pair_tokenizer(path_, config);
}

std::string ModelFiles::chat_template() const {
  if (!is_folder_) return {};
  if (const path file = path_ / "chat_template.jinja"; std::filesystem::exists(file)) {
    support::InputFile input(file);
    return input.read_text(input.size(), "the template");
  }
  const path file = path_ / "tokenizer_config.json";
  if (!std::filesystem::exists(file)) return {};
  const support::JsonFile config(file);
  return config.has("chat_template") ? config.text("chat_template") : std::string();
}

std::string ModelFiles::name() const {
  const path named = path_.has_filename() ? path_ : path_.parent_path();
  return (is_folder_ ? named.filename() : named.stem()).string();
}

}  // namespace morphkv::llama
