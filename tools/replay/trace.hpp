// SPDX-License-Identifier: Apache-2.0
/// \file
/// The inputs of one layer's attention, from a file. Every number is checked before it is used, and
/// every message names the file, the tensor, the value and the allowed values. Files that other
/// programs wrote are expected.
#ifndef MORPHKV_TOOLS_REPLAY_TRACE_HPP
#define MORPHKV_TOOLS_REPLAY_TRACE_HPP

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "morphkv/core/shape.hpp"
#include "morphkv/core/types.hpp"
#include "support/safetensors.hpp"

namespace morphkv::replay {

/// One layer, one sequence: a prompt and the tokens after it.
struct Trace {
  CacheShape shape;
  std::size_t tokens = 0;
  std::size_t prompt_length = 0;
  std::vector<float> queries;  ///< [tokens][query_heads][head_dim], after RoPE
  std::vector<float> keys;     ///< [tokens][kv_heads][head_dim], after RoPE
  std::vector<float> values;   ///< [tokens][kv_heads][head_dim]

  /// The rows of `count` tokens from `begin` on.
  [[nodiscard]] std::span<const float> queries_of(std::size_t begin, std::size_t count) const {
    return rows(queries, shape.query_heads, begin, count);
  }
  [[nodiscard]] std::span<const float> keys_of(std::size_t begin, std::size_t count) const {
    return rows(keys, shape.kv_heads, begin, count);
  }
  [[nodiscard]] std::span<const float> values_of(std::size_t begin, std::size_t count) const {
    return rows(values, shape.kv_heads, begin, count);
  }
  /// The tokens that have a step: the prompt's last one, and all that follow.
  [[nodiscard]] std::size_t steps() const { return tokens - prompt_length + 1; }

 private:
  [[nodiscard]] std::span<const float> rows(const std::vector<float>& all, std::size_t heads,
                                            std::size_t begin, std::size_t count) const {
    const std::size_t width = heads * shape.head_dim;
    return std::span(all).subspan(begin * width, count * width);
  }
};

namespace detail {

using support::SafetensorsFile;

/// "[2, 3, 4]".
[[nodiscard]] inline std::string to_text(const std::vector<std::size_t>& shape) {
  std::string text = "[";
  for (const std::size_t size : shape) {
    text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  }
  return text + "]";
}

[[nodiscard]] inline const SafetensorsFile::Entry& entry_of(const SafetensorsFile& file,
                                                            const std::string& name) {
  const auto found = file.entries().find(name);
  if (found != file.entries().end()) return found->second;
  std::string others;
  for (const auto& entry : file.entries()) others += (others.empty() ? "" : ", ") + entry.first;
  support::fail(file.path(), "there is no tensor " + name + "; a trace has q, k and v, and this " +
                                 "file has " + (others.empty() ? "none" : others));
}

/// Three dimensions, none of them 0.
inline void check_rank(const SafetensorsFile& file, const std::string& name,
                       const std::string& dimensions) {
  const std::vector<std::size_t>& shape = entry_of(file, name).shape;
  const bool valid = shape.size() == 3 && std::count(shape.begin(), shape.end(), 0U) == 0;
  support::expect(valid, file.path(), name + ".shape", to_text(shape),
                  dimensions + ", each at least 1");
}

/// The shapes of q, k and v, which have to agree.
[[nodiscard]] inline Trace checked_shape(const SafetensorsFile& file) {
  check_rank(file, "q", "[tokens, query_heads, head_dim]");
  check_rank(file, "k", "[tokens, kv_heads, head_dim]");
  const std::vector<std::size_t>& q = entry_of(file, "q").shape;
  const std::vector<std::size_t>& k = entry_of(file, "k").shape;
  const std::vector<std::size_t>& v = entry_of(file, "v").shape;
  constexpr std::size_t most = std::numeric_limits<Position>::max();
  support::expect(q[0] < most, file.path(), "q.shape", to_text(q),
                  "of fewer than " + std::to_string(most) + " tokens");
  support::expect(k[0] == q[0] && k[2] == q[2] && q[1] % k[1] == 0, file.path(), "k.shape",
                  to_text(k),
                  "[" + std::to_string(q[0]) + ", a divisor of " + std::to_string(q[1]) + ", " +
                      std::to_string(q[2]) + "], for q.shape = " + to_text(q));
  support::expect(v == k, file.path(), "v.shape", to_text(v), "that of k: " + to_text(k));
  Trace trace;
  trace.shape = {.layers = 1, .query_heads = q[1], .kv_heads = k[1], .head_dim = q[2]};
  trace.tokens = q[0];
  return trace;
}

[[nodiscard]] inline std::size_t prompt_length_of(const SafetensorsFile& file, std::size_t tokens) {
  const auto found = file.metadata().find("prompt_length");
  const std::string text = found == file.metadata().end() ? "" : found->second;
  std::size_t length = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
  const bool valid = error == std::errc{} && end == text.data() + text.size();
  support::expect(valid && length >= 1 && length <= tokens, file.path(),
                  "__metadata__.prompt_length",
                  found == file.metadata().end() ? "(missing)" : "\"" + text + "\"",
                  "the text of an integer from 1 to the " + std::to_string(tokens) + " tokens");
  return length;
}

/// The numbers of a tensor, all of them finite.
[[nodiscard]] inline std::vector<float> read_finite(SafetensorsFile& file,
                                                    const std::string& name) {
  support::Tensor tensor = file.read(name);
  const auto bad = std::find_if(tensor.data.begin(), tensor.data.end(),
                                [](float number) { return !std::isfinite(number); });
  if (bad == tensor.data.end()) return std::move(tensor.data);
  const auto index = static_cast<std::size_t>(bad - tensor.data.begin());
  const std::size_t row = index / tensor.shape[2];
  support::expect(
      false, file.path(),
      name + to_text({row / tensor.shape[1], row % tensor.shape[1], index % tensor.shape[2]}), *bad,
      "finite");
  return {};
}

/// The list of words in the metadata, one per token; empty if there is none.
[[nodiscard]] inline std::vector<std::string> words_of(const SafetensorsFile& file,
                                                       std::size_t tokens) {
  const auto found = file.metadata().find("words");
  if (found == file.metadata().end()) return {};
  const nlohmann::json list = nlohmann::json::parse(found->second, nullptr, false);
  const bool valid =
      list.is_array() && list.size() == tokens &&
      std::all_of(list.begin(), list.end(), [](const auto& word) { return word.is_string(); });
  support::expect(valid, file.path(), "__metadata__.words",
                  list.is_array() ? std::to_string(list.size()) + " words" : "\"...\"",
                  "a JSON list of " + std::to_string(tokens) + " texts, one per token");
  return list.get<std::vector<std::string>>();
}

}  // namespace detail

/// What a page says of a trace; all of it may be absent.
struct TraceNotes {
  std::string model;
  std::optional<long> layer;
  std::vector<std::string> words;  ///< of every token
};

/// \throws std::runtime_error if the notes do not fit the trace.
[[nodiscard]] inline TraceNotes read_notes(const std::filesystem::path& path, const Trace& trace) {
  const support::SafetensorsFile file(path);
  TraceNotes notes;
  notes.words = detail::words_of(file, trace.tokens);
  if (const auto model = file.metadata().find("model"); model != file.metadata().end()) {
    notes.model = model->second;
  }
  if (const auto layer = file.metadata().find("layer"); layer != file.metadata().end()) {
    long number = 0;
    const std::string& text = layer->second;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const bool valid = error == std::errc{} && end == text.data() + text.size() && number >= 0;
    support::expect(valid, path, "__metadata__.layer", '"' + text + '"', "a number from 0");
    notes.layer = number;
  }
  return notes;
}

/// \throws std::runtime_error if there is no such file, or it is not a trace.
[[nodiscard]] inline Trace read_trace(const std::filesystem::path& path) {
  support::SafetensorsFile file(path);
  Trace trace = detail::checked_shape(file);
  trace.prompt_length = detail::prompt_length_of(file, trace.tokens);
  trace.queries = detail::read_finite(file, "q");
  trace.keys = detail::read_finite(file, "k");
  trace.values = detail::read_finite(file, "v");
  return trace;
}

}  // namespace morphkv::replay

#endif  // MORPHKV_TOOLS_REPLAY_TRACE_HPP
