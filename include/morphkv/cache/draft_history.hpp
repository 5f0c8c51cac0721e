// SPDX-License-Identifier: Apache-2.0
/// \file
/// The keys and values that a draft was written over.
#ifndef MORPHKV_CACHE_DRAFT_HISTORY_HPP
#define MORPHKV_CACHE_DRAFT_HISTORY_HPP

#include <algorithm>
#include <cstddef>
#include <vector>

#include "morphkv/core/aligned_buffer.hpp"
#include "morphkv/core/kv_view.hpp"
#include "morphkv/core/scalar.hpp"
#include "morphkv/core/types.hpp"

namespace morphkv { inline namespace v0 {

/// For every head, the keys and values that its newest `tokens` tokens have replaced. Heads are
/// numbered through all layers. It allocates in its constructor alone.
template <Scalar T>
class DraftHistory {
 public:
  DraftHistory(std::size_t heads, std::size_t tokens, std::size_t head_dim)
      : tokens_(tokens),
        head_dim_(head_dim),
        saved_(tokens == 0 ? 0 : heads),
        slots_(heads * tokens),
        keys_(heads * tokens * head_dim),
        values_(keys_.size()) {}

  /// Saves what lies in `slot` before the head's next token is written there.
  void save(std::size_t head, const KvView<const T>& keys, const KvView<const T>& values,
            Slot slot) noexcept {
    if (tokens_ == 0) return;
    const std::size_t at = offset(head, saved_[head]++);
    slots_[at / head_dim_] = slot;
    std::copy_n(keys[slot], head_dim_, keys_.data() + at);
    std::copy_n(values[slot], head_dim_, values_.data() + at);
  }

  /// Restores what the newest token of the head has overwritten, and drops it from the history.
  /// \pre at most `tokens` tokens are restored without a save in between
  void restore(std::size_t head, const KvView<T>& keys, const KvView<T>& values) noexcept {
    const std::size_t at = offset(head, --saved_[head]);
    const Slot slot = slots_[at / head_dim_];
    std::copy_n(keys_.data() + at, head_dim_, keys[slot]);
    std::copy_n(values_.data() + at, head_dim_, values[slot]);
  }

  /// A block has come to the head: what came before it cannot be restored.
  void clear(std::size_t head) noexcept {
    if (tokens_ > 0) saved_[head] = 0;
  }
  /// Tokens of the head that were saved since then, and not restored.
  [[nodiscard]] std::size_t saved(std::size_t head) const noexcept {
    return tokens_ == 0 ? 0 : saved_[head];
  }

  [[nodiscard]] std::size_t bytes() const noexcept {
    return keys_.bytes() + values_.bytes() + slots_.size() * sizeof(Slot);
  }

 private:
  [[nodiscard]] std::size_t offset(std::size_t head, std::size_t token) const noexcept {
    return (head * tokens_ + token % tokens_) * head_dim_;
  }

  std::size_t tokens_;
  std::size_t head_dim_;
  std::vector<std::size_t> saved_;  ///< tokens saved and not restored, per head
  std::vector<Slot> slots_;         ///< [heads][tokens]: where the tokens were written
  AlignedBuffer<T> keys_;           ///< [heads][tokens][head_dim], a ring per head
  AlignedBuffer<T> values_;
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CACHE_DRAFT_HISTORY_HPP
