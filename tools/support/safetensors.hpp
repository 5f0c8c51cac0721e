// SPDX-License-Identifier: Apache-2.0
/// \file
/// The safetensors format: 8 bytes with the length of a JSON header, the header, and the tensors.
/// Tensors of F32, F16 and BF16 are read as float32, or viewed as they are.
#ifndef MORPHKV_TOOLS_SUPPORT_SAFETENSORS_HPP
#define MORPHKV_TOOLS_SUPPORT_SAFETENSORS_HPP

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/input_file.hpp"
#include "support/json_file.hpp"
#include "support/mapped_file.hpp"
#include "support/output_file.hpp"

namespace morphkv::support {

enum class TensorType { f32, f16, bf16 };

inline constexpr std::array<std::string_view, 3> tensor_type_names = {"F32", "F16", "BF16"};

[[nodiscard]] constexpr std::size_t element_bytes(TensorType type) {
  return type == TensorType::f32 ? 4 : 2;
}

/// Elements of a file as float32. \param from any alignment
inline void to_float(TensorType type, const std::byte* from, std::size_t count, float* to) {
  const auto convert = [&]<class Element>(Element) {
    for (std::size_t i = 0; i < count; ++i) {
      Element element;
      std::memcpy(&element, from + i * sizeof(Element), sizeof(Element));
      to[i] = static_cast<float>(element);
    }
  };
  switch (type) {
    case TensorType::f32:
      return convert(float{});
    case TensorType::f16:
      return convert(Eigen::half{});
    case TensorType::bf16:
      return convert(Eigen::bfloat16{});
  }
}

struct Tensor {
  std::vector<std::size_t> shape;
  std::vector<float> data;  ///< row-major
};

using Tensors = std::map<std::string, Tensor>;
using Metadata = std::map<std::string, std::string>;

/// A file whose header has been read and checked; tensors are read one by one.
class SafetensorsFile {
 public:
  /// Where a tensor lies. No type: one that is not read here, such as I64.
  struct Entry {
    std::optional<TensorType> type;
    std::string type_name;
    std::vector<std::size_t> shape;
    std::uint64_t begin = 0;  ///< in the file
    std::uint64_t end = 0;
  };

  /// \throws std::runtime_error if the file is not there or its header does not fit its length.
  explicit SafetensorsFile(const std::filesystem::path& path) : file_(path) {
    const auto length = file_.read_one<std::uint64_t>("the header's length");
    expect(length <= (std::min)(file_.left(), longest_header), path, "header length", length,
           "at most " + std::to_string((std::min)(file_.left(), longest_header)));
    const nlohmann::json header = parse_object(path, file_.read_text(length, "the header"));
    data_begin_ = file_.position();
    for (const auto& [name, value] : header.items()) {
      if (name == "__metadata__") {
        read_metadata(value);
      } else {
        entries_.emplace(name, read_entry(name, value));
      }
    }
    check_layout();
  }

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return file_.path(); }
  [[nodiscard]] const Metadata& metadata() const noexcept { return metadata_; }
  [[nodiscard]] const std::map<std::string, Entry>& entries() const noexcept { return entries_; }
  [[nodiscard]] bool contains(const std::string& name) const { return entries_.contains(name); }

  /// \throws std::runtime_error if there is no such tensor, or its type is not a float of 16 or 32
  ///         bits.
  [[nodiscard]] Tensor read(const std::string& name) {
    const Entry& entry = readable(name);
    file_.seek(entry.begin);
    const auto bytes = file_.read<std::byte>(entry.end - entry.begin, name);
    std::vector<float> numbers(bytes.size() / element_bytes(*entry.type));
    to_float(*entry.type, bytes.data(), numbers.size(), numbers.data());
    return {entry.shape, std::move(numbers)};
  }

  /// A tensor's bytes where they lie; the file stays mapped as long as they are used.
  /// \throws std::runtime_error as read()
  [[nodiscard]] std::shared_ptr<const std::byte> view(const std::string& name) {
    const Entry& entry = readable(name);
    if (!map_) map_ = std::make_shared<const MappedFile>(path());
    expect(map_->bytes().size() == file_.size(), path(), "the file's size", map_->bytes().size(),
           "as it was when the file was opened");
    return {map_, map_->bytes().data() + entry.begin};
  }

 private:
  /// The reference implementation's limit: a larger length must not exhaust memory.
  static constexpr std::uint64_t longest_header = 100'000'000;

  [[nodiscard]] const Entry& readable(const std::string& name) const {
    const auto found = entries_.find(name);
    if (found == entries_.end()) fail(path(), "there is no tensor " + name);
    expect(found->second.type.has_value(), path(), name + ".dtype", found->second.type_name,
           "F32, F16 or BF16");
    return found->second;
  }

  /// The tensors must cover the data once, as the format demands.
  void check_layout() const {
    std::vector<std::pair<const Entry*, std::string_view>> order;
    for (const auto& [name, entry] : entries_) order.emplace_back(&entry, name);
    std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
      return std::pair(a.first->begin, a.first->end) < std::pair(b.first->begin, b.first->end);
    });
    std::uint64_t end = data_begin_;
    std::string before = "the header";
    for (const auto& [entry, name] : order) {
      expect(entry->begin == end, path(), std::string(name) + ".data_offsets begin",
             entry->begin - data_begin_,
             std::to_string(end - data_begin_) + ", the end of " + before);
      end = entry->end;
      before = "the tensor " + std::string(name);
    }
    expect(end == file_.size(), path(), "bytes after the last tensor", file_.size() - end, "0");
  }

  void read_metadata(const nlohmann::json& value) {
    if (!value.is_object()) fail(path(), "__metadata__ must be an object");
    for (const auto& [key, text] : value.items()) {
      expect(text.is_string(), path(), "__metadata__." + key, text.dump(), "a text");
      metadata_[key] = text.get<std::string>();
    }
  }

  [[nodiscard]] Entry read_entry(const std::string& name, const nlohmann::json& value) const {
    if (!value.is_object()) fail(path(), "the tensor " + name + " must be an object");
    const auto dtype = value.find("dtype");
    if (dtype == value.end()) fail(path(), name + ".dtype is missing");
    expect(dtype->is_string(), path(), name + ".dtype", dtype->dump(), "a text");
    Entry entry;
    entry.type_name = dtype->get<std::string>();
    const auto type =
        std::find(tensor_type_names.begin(), tensor_type_names.end(), entry.type_name);
    if (type != tensor_type_names.end()) {
      entry.type = static_cast<TensorType>(type - tensor_type_names.begin());
    }
    for (const std::uint64_t size : numbers(name, value, "shape")) {
      entry.shape.push_back(static_cast<std::size_t>(size));
    }
    const auto offsets = numbers(name, value, "data_offsets");
    const std::uint64_t bytes = file_.size() - data_begin_;
    const bool inside = offsets.size() == 2 && offsets[0] <= offsets[1] && offsets[1] <= bytes;
    expect(inside, path(), name + ".data_offsets", value["data_offsets"].dump(),
           "[begin, end] within " + std::to_string(bytes) + " bytes");
    entry.begin = data_begin_ + offsets[0];
    entry.end = data_begin_ + offsets[1];
    if (entry.type) check_size(name, entry);
    return entry;
  }

  [[nodiscard]] std::vector<std::uint64_t> numbers(const std::string& name,
                                                   const nlohmann::json& value,
                                                   const std::string& field) const {
    const auto list = value.find(field);
    if (list == value.end() || !list->is_array()) {
      fail(path(), name + "." + field + " must be a list of unsigned integers");
    }
    std::vector<std::uint64_t> result;
    for (const nlohmann::json& number : *list) {
      expect(number.is_number_unsigned(), path(), name + "." + field, list->dump(),
             "a list of unsigned integers");
      result.push_back(number.get<std::uint64_t>());
    }
    return result;
  }

  void check_size(const std::string& name, const Entry& entry) const {
    const std::uint64_t given = entry.end - entry.begin;
    std::uint64_t bytes = element_bytes(*entry.type);
    for (const std::size_t size : entry.shape) {
      const bool fits = size == 0 || bytes <= (std::numeric_limits<std::uint64_t>::max)() / size;
      bytes = fits ? bytes * size : (std::numeric_limits<std::uint64_t>::max)();
    }
    expect(bytes == given, path(), name + ".data_offsets", std::to_string(given) + " bytes",
           "the " + std::to_string(bytes) + " bytes that its shape needs");
  }

  InputFile file_;
  std::uint64_t data_begin_ = 0;
  std::map<std::string, Entry> entries_;
  Metadata metadata_;
  std::shared_ptr<const MappedFile> map_;
};

namespace detail {

template <class Element>
void append_bytes(const std::vector<float>& numbers, std::string& bytes) {
  for (const float number : numbers) {
    const auto element = static_cast<Element>(number);
    bytes.append(reinterpret_cast<const char*>(&element), sizeof(element));
  }
}

}  // namespace detail

/// Writes float32 tensors, rounded to `type`.
/// \throws OutputError if the file cannot be written.
inline void write_safetensors(const std::filesystem::path& path, const Tensors& tensors,
                              const Metadata& metadata = {}, TensorType type = TensorType::f32) {
  nlohmann::json header;
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    const std::size_t begin = data.size();
    switch (type) {
      case TensorType::f32:
        detail::append_bytes<float>(tensor.data, data);
        break;
      case TensorType::f16:
        detail::append_bytes<Eigen::half>(tensor.data, data);
        break;
      case TensorType::bf16:
        detail::append_bytes<Eigen::bfloat16>(tensor.data, data);
        break;
    }
    header[name] = {{"dtype", tensor_type_names[static_cast<std::size_t>(type)]},
                    {"shape", tensor.shape},
                    {"data_offsets", {begin, data.size()}}};
  }
  std::string text = header.is_null() ? "{}" : header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');  // the data begin aligned
  const std::uint64_t length = text.size();
  OutputFile file(path);
  file.stream().write(reinterpret_cast<const char*>(&length), sizeof(length));
  file.stream() << text << data;
  file.finish();
}

}  // namespace morphkv::support

#endif  // MORPHKV_TOOLS_SUPPORT_SAFETENSORS_HPP
