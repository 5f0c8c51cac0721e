// SPDX-License-Identifier: Apache-2.0
/// \file
/// The result, as JSON that is written while the replay runs: the kept positions are
/// never in memory as a whole.
#ifndef MORPHKV_TOOLS_REPLAY_RESULT_WRITER_HPP
#define MORPHKV_TOOLS_REPLAY_RESULT_WRITER_HPP

#include <cstddef>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <string>

#include "support/output_file.hpp"

namespace morphkv::replay {

/// One JSON object, field by field. A file appears under its name once it is complete, so no
/// reader finds half of one.
class ResultWriter {
 public:
  /// \param path "-" for the standard output
  /// \throws support::OutputError if it cannot be written.
  explicit ResultWriter(const std::string& path) : path_(path) {
    if (path != "-") out_ = &file_.emplace(path).stream();
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
    if (file_) file_->finish();
  }

 private:
  void begin_field(const std::string& name) {
    *out_ << (is_empty_ ? "{\n  " : ",\n  ") << nlohmann::json(name).dump() << ": ";
    is_empty_ = false;
  }

  void check() const {
    if (!*out_) throw support::OutputError(path_ + ": the file cannot be written");
  }

  std::string path_;
  std::optional<support::OutputFile> file_;  ///< none for the standard output
  std::ostream* out_ = &std::cout;
  std::size_t rows_ = 0;
  bool is_empty_ = true;
};

}  // namespace morphkv::replay

#endif  // MORPHKV_TOOLS_REPLAY_RESULT_WRITER_HPP
