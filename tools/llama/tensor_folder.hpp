// SPDX-License-Identifier: Apache-2.0
/// \file
/// The tensors of a Hugging Face folder: model.safetensors, or its shards and
/// model.safetensors.index.json.
#ifndef MORPHKV_TOOLS_LLAMA_TENSOR_FOLDER_HPP
#define MORPHKV_TOOLS_LLAMA_TENSOR_FOLDER_HPP

#include <cstddef>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "llama/config.hpp"
#include "llama/model.hpp"
#include "support/input_file.hpp"
#include "support/json_file.hpp"
#include "support/safetensors.hpp"

namespace morphkv::llama {

/// The tensors of a folder. With an index, each comes from the file that the index names.
class TensorFolder {
 public:
  explicit TensorFolder(const std::filesystem::path& folder) : source_(folder) {
    const std::filesystem::path index = folder / "model.safetensors.index.json";
    if (!std::filesystem::exists(index)) {
      support::SafetensorsFile& file = open(folder / "model.safetensors");
      for (const auto& entry : file.entries()) files_of_.emplace(entry.first, &file);
      source_ = file.path();
      return;
    }
    source_ = index;
    const support::JsonFile map = support::JsonFile(index).part("weight_map");
    for (const auto& [tensor, value] : map.object().items()) {
      const std::string name = map.text(tensor);
      const bool plain = !name.empty() && std::filesystem::path(name).filename() == name;
      support::expect(plain, index, tensor, name, "the name of a file in the same folder");
      support::SafetensorsFile& file = open(folder / name);
      if (!file.contains(tensor)) {
        support::fail(file.path(), "there is no tensor " + tensor + ", which " +
                                       index.filename().string() + " says is here");
      }
      files_of_.emplace(tensor, &file);
    }
  }

  [[nodiscard]] Weights matrix(const std::string& name, std::size_t rows, std::size_t columns) {
    support::SafetensorsFile& file = checked(name, {rows, columns});
    const auto bytes = file.view(name);
    return {*file.entries().at(name).type, rows, columns, bytes.get(), bytes};
  }

  /// Matrices that lie one after the other in one tensor, [count, rows, columns].
  [[nodiscard]] std::vector<Weights> matrices(const std::string& name, std::size_t count,
                                              std::size_t rows, std::size_t columns) {
    support::SafetensorsFile& file = checked(name, {count, rows, columns});
    const auto bytes = file.view(name);
    const Weights all(*file.entries().at(name).type, count * rows, columns, bytes.get(), bytes);
    std::vector<Weights> result;
    for (std::size_t i = 0; i < count; ++i) result.push_back(all.middle_rows(i * rows, rows));
    return result;
  }

  /// `name`.weight, and `name`.bias if there must be one.
  [[nodiscard]] Linear linear(const std::string& name, std::size_t outputs, std::size_t inputs,
                              bool has_bias = false) {
    return {matrix(name + ".weight", outputs, inputs),
            has_bias ? vector(name + ".bias", outputs) : RowVector()};
  }

  [[nodiscard]] RowVector vector(const std::string& name, std::size_t size) {
    const support::Tensor tensor = checked(name, {size}).read(name);
    return Eigen::Map<const RowVector>(tensor.data.data(), static_cast<Eigen::Index>(size));
  }

  /// Refuses a tensor that no call has read: the model computes something with it.
  void refuse_unread(const Config& config) const {
    for (const auto& [name, file] : files_of_) {
      if (read_.contains(name) || name.ends_with(".rotary_emb.inv_freq")) continue;
      if (config.tied && name == "lm_head.weight") continue;  // a copy of the embedding
      support::fail(file->path(), "the tensor " + name +
                                      " is not used: the model computes something that is not "
                                      "supported");
    }
  }

 private:
  [[nodiscard]] support::SafetensorsFile& open(const std::filesystem::path& path) {
    const auto found = files_.find(path.filename().string());
    if (found != files_.end()) return found->second;
    return files_.emplace(path.filename().string(), path).first->second;
  }

  /// The file of a tensor that has this shape.
  [[nodiscard]] support::SafetensorsFile& checked(const std::string& name,
                                                  const std::vector<std::size_t>& shape) {
    const auto found = files_of_.find(name);
    if (found == files_of_.end()) support::fail(source_, "there is no tensor " + name);
    support::SafetensorsFile& file = *found->second;
    const std::vector<std::size_t>& given = file.entries().at(name).shape;
    support::expect(given == shape, file.path(), name + ".shape", nlohmann::json(given).dump(),
                    nlohmann::json(shape).dump() + ", as config.json says");
    read_.insert(name);
    return file;
  }

  std::filesystem::path source_;
  std::map<std::string, support::SafetensorsFile> files_;      ///< by file name
  std::map<std::string, support::SafetensorsFile*> files_of_;  ///< by tensor
  std::set<std::string> read_;
};

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_TENSOR_FOLDER_HPP
