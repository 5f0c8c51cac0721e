// SPDX-License-Identifier: Apache-2.0
/// \file
/// The result, as JSON that is written while the replay runs: what the heads keep never lies in
/// memory as a whole.
#ifndef MORPHKV_EXAMPLES_REPLAY_RESULT_WRITER_HPP
#define MORPHKV_EXAMPLES_REPLAY_RESULT_WRITER_HPP

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <ostream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

namespace morphkv::replay {

/// The result cannot be written: nothing that the user gave is to blame.
class OutputError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// One JSON object, field by field. A file appears under its name once it is complete, so that
/// nobody reads half of one.
class ResultWriter {
 public:
  /// \param path "-" for the standard output
  /// \throws OutputError if it cannot be written.
  explicit ResultWriter(const std::string& path) : path_(path) {
    if (path == "-") return;
    std::error_code error;
    const auto type = std::filesystem::status(path_, error).type();
    const bool is_special = type != std::filesystem::file_type::not_found &&
                            type != std::filesystem::file_type::regular;
    written_ = is_special ? path_ : std::filesystem::path(path + ".part");
    file_.open(written_, std::ios::binary);
    out_ = &file_;
    check();
  }
  ResultWriter(const ResultWriter&) = delete;
  ResultWriter& operator=(const ResultWriter&) = delete;
  ~ResultWriter() {
    std::error_code ignored;
    if (!finished_ && is_provisional()) std::filesystem::remove(written_, ignored);
  }

  /// The fields of an object, one after the other.
  void fields(const nlohmann::ordered_json& object) {
    for (const auto& [name, value] : object.items()) {
      begin_field(name);
      *out_ << value.dump();
    }
    check();
  }

  /// A field that is a list, and comes row by row.
  void begin_list(const std::string& name) {
    begin_field(name);
    *out_ << '[';
    rows_ = 0;
  }
  void row(const nlohmann::json& value) {
    *out_ << (rows_++ == 0 ? "\n    " : ",\n    ") << value.dump();
    check();
  }
  void end_list() { *out_ << "\n  ]"; }

  void finish() {
    *out_ << "\n}\n" << std::flush;
    check();
    if (is_provisional()) {
      file_.close();
      std::error_code error;
      std::filesystem::rename(written_, path_, error);
      if (error) throw OutputError(path_.string() + ": " + error.message());
    }
    finished_ = true;
  }

 private:
  [[nodiscard]] bool is_provisional() const { return !written_.empty() && written_ != path_; }

  void begin_field(const std::string& name) {
    *out_ << (is_empty_ ? "{\n  " : ",\n  ") << nlohmann::json(name).dump() << ": ";
    is_empty_ = false;
  }

  void check() const {
    if (!*out_) throw OutputError(path_.string() + ": the result cannot be written");
  }

  std::filesystem::path path_;
  std::filesystem::path written_;  ///< what is open; empty for the standard output
  std::ofstream file_;
  std::ostream* out_ = &std::cout;
  std::size_t rows_ = 0;
  bool is_empty_ = true;
  bool finished_ = false;
};

}  // namespace morphkv::replay

#endif  // MORPHKV_EXAMPLES_REPLAY_RESULT_WRITER_HPP
