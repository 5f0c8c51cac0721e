// SPDX-License-Identifier: Apache-2.0
/// \file
/// Which tokens of a block its queries see, where that is not the causal order.
#ifndef MORPHKV_ATTENTION_BLOCK_MASK_HPP
#define MORPHKV_ATTENTION_BLOCK_MASK_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "morphkv/core/config.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// Tokens `begin` ... `end` - 1 of a block.
struct TokenSpan {
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// The parent of a draft token that follows what the cache holds.
inline constexpr std::int32_t no_parent = -1;

/// Who sees whom in a block of tokens. What a cache holds is seen by all, within the window.
class BlockMask {
 public:
  /// Causal, and the tokens of a span see each other: those of an image (Gemma 3, PaliGemma). A
  /// span is seen as a whole, whatever the window.
  /// \return nothing unless spans ascend, hold at least one token each, do not overlap and end
  ///         within the block
  [[nodiscard]] static std::optional<BlockMask> of_spans(std::span<const TokenSpan> spans,
                                                         std::size_t tokens) {
    BlockMask mask;
    for (std::size_t t = 0; t < tokens; ++t) mask.spans_.push_back({t, t + 1});
    std::size_t free_from = 0;
    for (const TokenSpan& span : spans) {
      if (span.begin < free_from || span.begin >= span.end || span.end > tokens) return {};
      std::fill(mask.spans_.begin() + static_cast<std::ptrdiff_t>(span.begin),
                mask.spans_.begin() + static_cast<std::ptrdiff_t>(span.end), span);
      free_from = span.end;
    }
    return mask;
  }

  /// A token sees itself and its ancestors: a tree of drafts (Medusa, arXiv 2401.10774, section
  /// 2.1.2). It lies one position after its parent, or after the newest token that the cache holds.
  /// \param parents of each token: an earlier one, or no_parent
  /// \return nothing if one is neither
  [[nodiscard]] static std::optional<BlockMask> of_tree(std::span<const std::int32_t> parents) {
    BlockMask mask;
    const std::size_t tokens = parents.size();
    mask.words_ = (tokens + 63) / 64;
    mask.ancestors_.resize(tokens * mask.words_);
    mask.depths_.resize(tokens);
    for (std::size_t t = 0; t < tokens; ++t) {
      std::uint64_t* bits = mask.ancestors_.data() + t * mask.words_;
      if (parents[t] != no_parent) {
        const auto parent = static_cast<std::size_t>(parents[t]);
        if (parents[t] < 0 || parent >= t) return {};
        std::copy_n(mask.ancestors_.data() + parent * mask.words_, mask.words_, bits);
        mask.depths_[t] = mask.depths_[parent] + 1;
      }
      bits[t / 64] |= std::uint64_t{1} << t % 64;
    }
    return mask;
  }

  /// Positions between the first token of the block and token `t`.
  [[nodiscard]] std::size_t depth(std::size_t t) const noexcept {
    return is_tree() ? depths_[t] : t;
  }
  /// No query from `begin` to `end` sees a token from here on.
  [[nodiscard]] std::size_t seen_end(std::size_t end) const noexcept {
    return is_tree() ? end : (std::max)(end, spans_[end - 1].end);
  }
  /// Causal order and the window alone do not say who of the queries from `begin` on sees the
  /// columns from this one on: `held` tokens of the cache, and then the block.
  [[nodiscard]] std::size_t masked_from(std::size_t begin, std::size_t held,
                                        std::size_t window) const noexcept {
    if (is_tree()) return window > 0 ? 0 : held;
    return held + (window > 0 ? spans_[begin].begin : begin);
  }
  /// Whether query `q` sees a column.
  [[nodiscard]] bool sees(std::size_t q, std::size_t column, std::size_t held,
                          std::size_t window) const noexcept {
    const auto is_near = [&](std::size_t distance) { return window == 0 || distance < window; };
    if (column < held) return is_near(depth(q) + held - column);
    const std::size_t t = column - held;
    if (is_tree()) {
      const bool is_ancestor = (ancestors_[q * words_ + t / 64] >> t % 64 & 1U) != 0;
      return is_ancestor && is_near(depths_[q] - depths_[t]);
    }
    return (t <= q && is_near(q - t)) || (t >= spans_[q].begin && t < spans_[q].end);
  }

 private:
  [[nodiscard]] bool is_tree() const noexcept { return !depths_.empty(); }

  std::vector<TokenSpan> spans_;          ///< [tokens]: the one that each lies in
  std::vector<std::uint64_t> ancestors_;  ///< [tokens][words_], or none
  std::vector<std::size_t> depths_;       ///< [tokens], or none
  std::size_t words_ = 0;
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_ATTENTION_BLOCK_MASK_HPP
