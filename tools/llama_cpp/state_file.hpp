// SPDX-License-Identifier: Apache-2.0
/// \file
/// A sequence as a file: llama.cpp's cells, and what the policies know of them.
#ifndef MORPHKV_TOOLS_LLAMA_CPP_STATE_FILE_HPP
#define MORPHKV_TOOLS_LLAMA_CPP_STATE_FILE_HPP

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "policies/registry.hpp"
#include "support/input_file.hpp"
#include "support/json_file.hpp"
#include "support/output_file.hpp"

namespace morphkv::llama_cpp {

/// 8 bytes with the length of a JSON header, the header, the policies' states, llama.cpp's state.
struct StateFile {
  std::string model;  ///< the name of its file
  std::string scope;
  std::string cache_type;
  policies::PolicyChoice policy;
  std::vector<std::int32_t> unread;  ///< tokens that were written last and not read
  nlohmann::json cells;              ///< see Session::save
  std::vector<std::byte> policies;
  std::vector<std::uint8_t> llama;

  static constexpr const char* format = "morphkv-llama-cpp-state-1";

  /// \throws support::OutputError if the file cannot be written.
  void write(const std::filesystem::path& path) const {
    const nlohmann::json header = {{"format", format},
                                   {"model", model},
                                   {"scope", scope},
                                   {"cache_type", cache_type},
                                   {"policy", policy.policy},
                                   {"options", policy.options},
                                   {"unread", unread},
                                   {"cells", cells},
                                   {"policies_bytes", policies.size()},
                                   {"llama_bytes", llama.size()}};
    const std::string text = header.dump();
    const std::uint64_t length = text.size();
    support::OutputFile file(path);
    file.stream().write(reinterpret_cast<const char*>(&length), sizeof(length));
    file.stream() << text;
    file.stream().write(reinterpret_cast<const char*>(policies.data()),
                        static_cast<std::streamsize>(policies.size()));
    file.stream().write(reinterpret_cast<const char*>(llama.data()),
                        static_cast<std::streamsize>(llama.size()));
    file.finish();
  }

  /// \throws std::runtime_error if there is no such file, or it is of another kind.
  [[nodiscard]] static StateFile read(const std::filesystem::path& path) {
    support::InputFile file(path);
    const auto length = file.read_one<std::uint64_t>("the header's length");
    support::expect(length <= file.left(), path, "header length", length,
                    "at most " + std::to_string(file.left()));
    const nlohmann::json header = support::parse_object(path, file.read_text(length, "the header"));
    StateFile state;
    try {
      const auto kind = header.at("format").get<std::string>();
      support::expect(kind == format, path, "format", kind, format);
      header.at("model").get_to(state.model);
      header.at("scope").get_to(state.scope);
      header.at("cache_type").get_to(state.cache_type);
      header.at("policy").get_to(state.policy.policy);
      header.at("options").get_to(state.policy.options);
      header.at("unread").get_to(state.unread);
      state.cells = header.at("cells");
      const auto policies = header.at("policies_bytes").get<std::uint64_t>();
      const auto llama = header.at("llama_bytes").get<std::uint64_t>();
      const bool fits = policies <= file.left() && llama == file.left() - policies;
      support::expect(fits, path, "bytes after the header", file.left(),
                      std::to_string(policies) + " + " + std::to_string(llama));
      state.policies = file.read<std::byte>(policies, "the policies' states");
      state.llama = file.read<std::uint8_t>(llama, "llama.cpp's state");
    } catch (const nlohmann::json::exception& error) {
      support::fail(path, std::string("not a state of llama_cpp: ") + error.what());
    }
    return state;
  }
};

/// Options by name as texts, from those that policies::describe() lists.
[[nodiscard]] inline policies::OptionTexts option_texts(const nlohmann::ordered_json& options) {
  policies::OptionTexts texts;
  for (const auto& [name, value] : options.items()) {
    if (value.is_null()) continue;
    const bool infinite = value.is_number_float() && value.dump() == "null";
    texts[name] = infinite ? "inf" : value.is_string() ? value.get<std::string>() : value.dump();
  }
  return texts;
}

}  // namespace morphkv::llama_cpp

#endif  // MORPHKV_TOOLS_LLAMA_CPP_STATE_FILE_HPP
