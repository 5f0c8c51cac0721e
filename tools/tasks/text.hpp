// SPDX-License-Identifier: Apache-2.0
#ifndef MORPHKV_BENCH_TASKS_TEXT_HPP
#define MORPHKV_BENCH_TASKS_TEXT_HPP

// What the examples of all tasks have in common: a prompt, and the response that is expected to it.

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace morphkv::tasks {

// What a token is. The kinds from `once` on are graded, except `chosen`.
enum class TokenKind : std::uint8_t {
  prompt,
  structure,  // entry markers, filler, "in", "out", "done"
  name,       // which traveller, scene or question is next
  number,     // the day, the scene, or a countdown
  term,       // "once", "for-3", "every-5"
  once,
  range,
  periodic,
  chosen,  // the writer is free: what is told here for the first time, and filler
  home,    // what the response itself has told before
  trade,
  keepsake,
  retrieval,
  multi_hop,
  few_shot,
  count
};

inline constexpr std::array<const char*, 16> token_kind_names = {
    "prompt", "structure", "name",  "number",   "term",      "once",      "range",    "periodic",
    "chosen", "home",      "trade", "keepsake", "retrieval", "multi_hop", "few_shot", "count"};

[[nodiscard]] inline const char* to_string(TokenKind kind) {
  return token_kind_names[static_cast<std::size_t>(kind)];
}

[[nodiscard]] inline bool is_graded(TokenKind kind) {
  return kind >= TokenKind::once && kind != TokenKind::chosen;
}

// One token of the expected response.
struct ResponseToken {
  int id = 0;
  TokenKind kind = TokenKind::structure;
  int source = -1;  // latest earlier position (0 = first prompt token) that tells this one, or -1
  int entry = 0;    // the entry, scene or answer to which it belongs, from 1
};

struct Text {
  std::vector<int> prompt;
  std::size_t lines_end = 0;  // up to here the prompt consists of lines that end with "."
  std::vector<ResponseToken> response;

  // Appends to the response; returns the position, counted from the first token of the prompt.
  int add(const ResponseToken& token) {
    response.push_back(token);
    return static_cast<int>(prompt.size() + response.size()) - 1;
  }
};

// Of what was demanded; 0 if nothing was.
[[nodiscard]] inline double share(int part, int whole) {
  return whole > 0 ? static_cast<double>(part) / whole : 0;
}

}  // namespace morphkv::tasks

#endif  // MORPHKV_BENCH_TASKS_TEXT_HPP
