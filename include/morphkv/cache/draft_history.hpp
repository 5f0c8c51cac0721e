// SPDX-License-Identifier: Apache-2.0
/// \file
/// The keys and values that a draft has replaced.
#ifndef MORPHKV_CACHE_DRAFT_HISTORY_HPP
#define MORPHKV_CACHE_DRAFT_HISTORY_HPP

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "morphkv/core/aligned_buffer.hpp"
#include "morphkv/core/kv_view.hpp"
#include "morphkv/core/quantised.hpp"
#include "morphkv/core/types.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// For every head, what its newest tokens have replaced: a ring of as many tokens as the policy's
/// history. Heads are numbered through all layers. Memory: two keys and two values per token,
/// since a token of a block may be written again. It allocates in its constructor alone.
template <Storable T>
class DraftHistory {
 public:
  DraftHistory(std::size_t heads, std::size_t tokens, const RowSizes& row)
      : tokens_(tokens),
        row_(row),
        next_(tokens == 0 ? 0 : heads),
        slots_(heads * tokens),
        rows_(heads * tokens * 2 * (row.key + row.value)) {}

  [[nodiscard]] std::size_t tokens() const noexcept { return tokens_; }
  [[nodiscard]] std::size_t bytes() const noexcept { return rows_.bytes() + slots_.bytes(); }

  /// The key and the value of a token that comes in a block.
  struct NewRows {
    T* key;
    T* value;
  };

  /// Saves what the head's next token replaces.
  /// \param slot of the token, which nothing has been written to; no_slot if it is not kept
  /// \return where to leave its key and value, if it comes in a block. \pre tokens() > 0
  NewRows save(std::size_t head, const KvView<const T>& keys, const KvView<const T>& values,
               Slot slot) noexcept {
    const std::size_t at = entry(head, next_[head]++);
    slots_[at] = slot;
    if (slot != no_slot) {
      std::copy_n(keys[slot], row_.key, row(at, old));
      std::copy_n(values[slot], row_.value, row(at, old) + row_.key);
    }
    return {row(at, arriving), row(at, arriving) + row_.key};
  }

  /// Calls use(slot) for the slots of the newest `count` tokens of a head that are kept.
  template <class Use>
  void for_each_slot(std::size_t head, std::size_t count, const Use& use) const noexcept {
    for (std::size_t back = 1; back <= count; ++back) {
      const Slot slot = slots_[entry(head, next_[head] - back)];
      if (slot != no_slot) use(slot);
    }
  }

  /// Takes the newest `count` tokens of a head back.
  /// \param policy of the head. \pre policy.recorded() >= count
  /// \param make_writable called for each slot before it is written
  template <class Policy, class MakeWritable>
  void rollback(std::size_t head, std::size_t count, Policy& policy, const KvView<T>& keys,
                const KvView<T>& values, const MakeWritable& make_writable) noexcept {
    const auto write = [&](std::size_t entry, Row which) {
      const Slot slot = slots_[entry];
      if (slot == no_slot) return;
      make_writable(slot);
      std::copy_n(row(entry, which), row_.key, keys[slot]);
      std::copy_n(row(entry, which) + row_.key, row_.value, values[slot]);
    };
    for (std::size_t undone = policy.undone_by(count); undone > 0; --undone) {
      write(entry(head, --next_[head]), old);
    }
    // The first tokens of a block that was taken back in part, whose slots may differ now.
    for (const Slot slot : std::span<const Slot>(policy.rollback(count))) {
      const std::size_t at = entry(head, next_[head]);
      (void)save(head, keys, values, slot);
      write(at, arriving);
    }
  }

 private:
  /// A key and the value after it: what a token replaces, and the token's own.
  enum Row : std::size_t { old, arriving };

  [[nodiscard]] std::size_t entry(std::size_t head, std::size_t token) const noexcept {
    return head * tokens_ + token % tokens_;
  }
  [[nodiscard]] T* row(std::size_t entry, Row which) noexcept {
    return rows_.data() + (2 * entry + which) * (row_.key + row_.value);
  }
  std::size_t tokens_;
  RowSizes row_;
  std::vector<std::size_t> next_;  ///< [heads]: tokens saved and not taken back
  AlignedBuffer<Slot> slots_;      ///< [heads][tokens]
  AlignedBuffer<T> rows_;          ///< [heads][tokens][2][row_.key + row_.value]
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CACHE_DRAFT_HISTORY_HPP
