// SPDX-License-Identifier: Apache-2.0
/// \file
/// A sequence as a file: llama.cpp's cells, and what the policies know of them.
#ifndef MORPHKV_TOOLS_LLAMA_CPP_STATE_FILE_HPP
#define MORPHKV_TOOLS_LLAMA_CPP_STATE_FILE_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "morphkv/core/crc32.hpp"
#include "morphkv/core/types.hpp"
#include "policies/registry.hpp"
#include "support/input_file.hpp"
#include "support/json_file.hpp"
#include "support/output_file.hpp"

namespace morphkv::llama_cpp {

/// The cells in use. llama.cpp saves them in their order, so a cell is named by its rank among
/// them.
struct SavedCells {
  Position next = 0;                             ///< of the sequence
  std::vector<Position> positions;               ///< of every cell
  std::vector<std::vector<std::int32_t>> slots;  ///< [units][slots]: the cell's rank, or -1
};

struct StateFile {
  std::string llama_cpp;  ///< its version
  std::string model;      ///< the name of its file
  std::uint64_t model_bytes = 0;
  std::string scope;
  std::string cache_type;
  bool flash_attention = false;
  policies::PolicyChoice policy;
  std::vector<std::int32_t> unread;  ///< tokens that were written last and not read
  SavedCells cells;
  std::vector<std::byte> policies;   ///< their states
  std::vector<std::uint8_t> memory;  ///< llama.cpp's state of the sequence

  /// \throws support::OutputError if the file cannot be written.
  void write(const std::filesystem::path& path) const;

  /// \throws std::runtime_error if there is no such file, it is of another kind or version, or it
  /// is
  ///         not what was written.
  [[nodiscard]] static StateFile read(const std::filesystem::path& path);
};

namespace detail {

/// The first bytes of a file. After them come the length of a JSON header in 8 bytes, the header,
/// the policies' states and llama.cpp's.
struct StateMark {
  static constexpr std::string_view expected_kind = "mkvstate";
  static constexpr std::uint32_t current_version = 2;

  std::array<char, expected_kind.size()> kind;
  std::uint32_t version;
  std::uint32_t checksum;  ///< CRC-32 of all that comes after
};

template <class T>
void append(std::vector<std::byte>& bytes, std::span<const T> more) {
  const auto added = std::as_bytes(more);
  bytes.insert(bytes.end(), added.begin(), added.end());
}

/// Every unit keeps a token in each cell.
inline void check(const SavedCells& cells, const std::filesystem::path& path) {
  std::vector<Position> positions = cells.positions;
  std::sort(positions.begin(), positions.end());
  const bool distinct = std::adjacent_find(positions.begin(), positions.end()) == positions.end();
  const bool in_range =
      positions.empty() || (positions.front() >= 0 && positions.back() < cells.next);
  if (!distinct || !in_range) {
    support::fail(path,
                  "positions: must be different, and below next = " + std::to_string(cells.next));
  }
  for (const std::vector<std::int32_t>& slots : cells.slots) {
    std::vector<std::int32_t> ranks = slots;
    std::erase(ranks, -1);
    std::sort(ranks.begin(), ranks.end());
    bool each_once = ranks.size() == positions.size();
    for (std::size_t i = 0; each_once && i < ranks.size(); ++i) {
      each_once = ranks[i] == static_cast<std::int32_t>(i);
    }
    if (!each_once) {
      support::fail(path, "slots: must name each of the " + std::to_string(positions.size()) +
                              " cells once, and -1 otherwise");
    }
  }
}

/// A field's value, which must be one of a few.
inline void expect_one_of(const std::filesystem::path& path, const char* field,
                          const std::string& value, const std::vector<std::string>& allowed) {
  support::expect(std::find(allowed.begin(), allowed.end(), value) != allowed.end(), path, field,
                  value, "one of " + policies::joined(allowed, ", "));
}

}  // namespace detail

inline void StateFile::write(const std::filesystem::path& path) const {
  const nlohmann::json header = {{"llama_cpp", llama_cpp},
                                 {"model", model},
                                 {"model_bytes", model_bytes},
                                 {"scope", scope},
                                 {"cache_type", cache_type},
                                 {"flash_attention", flash_attention},
                                 {"policy", policy.policy},
                                 {"options", policy.options},
                                 {"unread", unread},
                                 {"next", cells.next},
                                 {"positions", cells.positions},
                                 {"slots", cells.slots},
                                 {"policies_bytes", policies.size()},
                                 {"memory_bytes", memory.size()}};
  const std::string text = header.dump();
  const std::uint64_t length = text.size();
  std::vector<std::byte> body;
  detail::append(body, std::span(&length, 1));
  detail::append(body, std::span(text));
  detail::append(body, std::span(policies));
  detail::append(body, std::span(memory));
  detail::StateMark mark{
      .kind = {}, .version = detail::StateMark::current_version, .checksum = crc32(body)};
  std::copy(detail::StateMark::expected_kind.begin(), detail::StateMark::expected_kind.end(),
            mark.kind.begin());
  support::OutputFile file(path);
  file.stream().write(reinterpret_cast<const char*>(&mark), sizeof(mark));
  file.stream().write(reinterpret_cast<const char*>(body.data()),
                      static_cast<std::streamsize>(body.size()));
  file.finish();
}

inline StateFile StateFile::read(const std::filesystem::path& path) {
  using detail::StateMark;
  support::InputFile file(path);
  if (file.left() < sizeof(StateMark)) support::fail(path, "the file is not a state of llama_cpp");
  const auto mark = file.read_one<StateMark>("the first bytes");
  if (std::string_view(mark.kind.data(), mark.kind.size()) != StateMark::expected_kind) {
    support::fail(path, "the file is not a state of llama_cpp");
  }
  support::expect(mark.version == StateMark::current_version, path, "version", mark.version,
                  std::to_string(StateMark::current_version));
  const auto body = file.read<std::byte>(file.left(), "the state");
  const std::uint32_t checksum = crc32(body);
  support::expect(
      checksum == mark.checksum, path, "checksum", checksum,
      std::to_string(mark.checksum) + ", as written: the file is cut off or was changed");

  StateFile state;
  file.seek(sizeof(StateMark));
  try {
    const auto length = file.read_one<std::uint64_t>("the header's length");
    const nlohmann::json header = support::parse_object(path, file.read_text(length, "the header"));
    header.at("llama_cpp").get_to(state.llama_cpp);
    header.at("model").get_to(state.model);
    header.at("model_bytes").get_to(state.model_bytes);
    header.at("scope").get_to(state.scope);
    header.at("cache_type").get_to(state.cache_type);
    header.at("flash_attention").get_to(state.flash_attention);
    header.at("policy").get_to(state.policy.policy);
    header.at("options").get_to(state.policy.options);
    header.at("unread").get_to(state.unread);
    header.at("next").get_to(state.cells.next);
    header.at("positions").get_to(state.cells.positions);
    header.at("slots").get_to(state.cells.slots);
    state.policies = file.read<std::byte>(header.at("policies_bytes").get<std::uint64_t>(),
                                          "the policies' states");
    state.memory = file.read<std::uint8_t>(header.at("memory_bytes").get<std::uint64_t>(),
                                           "llama.cpp's state");
  } catch (const nlohmann::json::exception& error) {
    support::fail(path, std::string("not a state of llama_cpp: ") + error.what());
  }
  support::expect(file.left() == 0, path, "bytes after the state", file.left(), "0");
  detail::expect_one_of(path, "scope", state.scope, {"sequence", "layer", "head"});
  detail::expect_one_of(path, "cache_type", state.cache_type, {"f16", "f32", "bf16"});
  detail::check(state.cells, path);
  return state;
}

}  // namespace morphkv::llama_cpp

#endif  // MORPHKV_TOOLS_LLAMA_CPP_STATE_FILE_HPP
