// SPDX-License-Identifier: Apache-2.0
/// \file
/// Reads a prompt, and says on standard error how far it is where that takes long.
#ifndef MORPHKV_TOOLS_LLAMA_CPP_READING_HPP
#define MORPHKV_TOOLS_LLAMA_CPP_READING_HPP

#include <llama.h>

#include <cstddef>
#include <cstdio>
#include <span>

#include "llama_cpp/session.hpp"
#include "support/parts.hpp"

namespace morphkv::llama_cpp {

/// \param block tokens that the session reads at once
template <class AnySession>
void read_prompt(AnySession& session, std::span<const llama_token> tokens, std::size_t block,
                 std::size_t sequence = 0) {
  constexpr std::size_t few = 4;  // blocks
  const bool is_long = tokens.size() > few * block;
  std::size_t done = 0;
  support::Parts tenths;
  in_blocks(tokens, block, [&](std::span<const llama_token> part) {
    session.read(part, sequence);
    done += part.size();
    if (is_long && tenths.is_next_done(done, tokens.size())) {
      std::fprintf(stderr, "read %zu of %zu tokens\n", done, tokens.size());
    }
  });
}

}  // namespace morphkv::llama_cpp

#endif  // MORPHKV_TOOLS_LLAMA_CPP_READING_HPP
