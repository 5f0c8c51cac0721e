// SPDX-License-Identifier: Apache-2.0
/// \file
/// The keys and values that a draft has replaced.
#ifndef MORPHKV_CACHE_DRAFT_HISTORY_HPP
#define MORPHKV_CACHE_DRAFT_HISTORY_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "morphkv/core/aligned_buffer.hpp"
#include "morphkv/core/byte_stream.hpp"
#include "morphkv/core/error.hpp"
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
  /// \param was_in_use whether the slot held a token or the rows of one before; else zeros are
  /// saved \return where to leave its key and value, if it comes in a block. \pre tokens() > 0
  NewRows save(std::size_t head, const KvView<const T>& keys, const KvView<const T>& values,
               Slot slot, bool was_in_use) noexcept {
    const std::size_t at = entry(head, next_[head]++);
    slots_[at] = slot;
    if (slot != no_slot && was_in_use) {
      std::copy_n(keys[slot], row_.key, row(at, old));
      std::copy_n(values[slot], row_.value, row(at, old) + row_.key);
    } else if (slot != no_slot) {
      std::fill_n(row(at, old), row_.key + row_.value, T{});
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
      (void)save(head, keys, values, slot, true);
      write(at, arriving);
    }
  }

  /// Writes the newest `count` tokens of a head, for take(). Their own rows are written where
  /// they may be written to a slot again.
  /// \param policy of the head. \pre policy.recorded() >= count
  template <class Policy>
  void put(std::size_t head, std::size_t count, const Policy& policy, ByteWriter& out) const {
    for (std::size_t back = count; back > 0; --back) {
      const std::size_t at = entry(head, next_[head] - back);
      const bool may_come_again = policy.undone_by(back - 1) >= back;
      out.put(slots_[at]);
      out.put(may_come_again ? 1 : 0);
      if (slots_[at] != no_slot) put_row(at, old, out);
      if (may_come_again) put_row(at, arriving, out);
    }
  }

  /// Becomes the newest `kept` of the `count` tokens that put() wrote of a head, whose slots have
  /// to be below `slots`. \throws std::invalid_argument otherwise \pre kept <= tokens()
  void take(std::size_t head, std::uint64_t count, std::size_t kept, std::size_t slots,
            ByteReader& in) {
    if (tokens_ > 0) next_[head] = 0;
    for (; count > 0; --count) {
      const std::uint64_t slot = in.take();
      const bool comes_again = in.take_at_most("rows of a draft", 1) != 0;
      const std::size_t rows = (slot != no_slot ? 1U : 0U) + (comes_again ? 1U : 0U);
      ByteReader from(in.take_bytes(rows * (row_.key + row_.value) * sizeof(T)));
      if (count > kept) continue;
      require(slot < slots || slot == no_slot, "slot of a draft", slot,
              "below those in use, " + std::to_string(slots));
      const std::size_t at = entry(head, next_[head]++);
      slots_[at] = static_cast<Slot>(slot);
      if (slot != no_slot) from.take_into(std::span(row(at, old), row_.key + row_.value));
      if (comes_again) from.take_into(std::span(row(at, arriving), row_.key + row_.value));
    }
  }

 private:
  /// A key and the value after it: what a token replaces, and the token's own.
  enum Row : std::size_t { old, arriving };

  [[nodiscard]] std::size_t entry(std::size_t head, std::size_t token) const noexcept {
    return head * tokens_ + token % tokens_;
  }
  [[nodiscard]] T* row(std::size_t entry, Row which) noexcept {
    return rows_.data() + offset(entry, which);
  }
  [[nodiscard]] std::size_t offset(std::size_t entry, Row which) const noexcept {
    return (2 * entry + which) * (row_.key + row_.value);
  }
  void put_row(std::size_t entry, Row which, ByteWriter& out) const {
    const T* from = rows_.data() + offset(entry, which);
    out.put_bytes(std::as_bytes(std::span(from, row_.key + row_.value)));
  }

  std::size_t tokens_;
  RowSizes row_;
  std::vector<std::size_t> next_;  ///< [heads]: tokens saved and not taken back
  AlignedBuffer<Slot> slots_;      ///< [heads][tokens]
  AlignedBuffer<T> rows_;          ///< [heads][tokens][2][row_.key + row_.value]
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CACHE_DRAFT_HISTORY_HPP
