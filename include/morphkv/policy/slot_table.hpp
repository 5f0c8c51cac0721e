// SPDX-License-Identifier: Apache-2.0
/// \file
/// Which token lies in which slot of one head, and which slots are protected.
#ifndef MORPHKV_POLICY_SLOT_TABLE_HPP
#define MORPHKV_POLICY_SLOT_TABLE_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "morphkv/core/aligned_buffer.hpp"
#include "morphkv/core/bit_mask.hpp"
#include "morphkv/core/memory_usage.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/policy/protection.hpp"
#include "morphkv/score/score.hpp"

namespace morphkv { inline namespace v0 {

/// The bookkeeping that all policies share. Slots 0 ... size() - 1 are in use; at most one of them,
/// the hole, holds a token that has been evicted already and waits for the next one.
///
/// Memory: 4 bytes and 2 bits a slot, 4 bytes a protected recent token.
/// Complexity: constant a step; admit and rollback are linear in the slots.
class SlotTable {
 public:
  /// \param slots      how many the head has
  /// \param protection `recent` counts the tokens already held, not the one about to come
  /// \param history    how many tokens rollback() can take back
  SlotTable(std::size_t slots, const Protection& protection, std::size_t history)
      : protection_(protection),
        positions_(slots),
        permanent_(slots),
        protected_(slots),
        arrivals_(protection.recent + history + 1),
        journal_(history),
        quota_(slots) {}

  [[nodiscard]] std::size_t slots() const noexcept { return positions_.size(); }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool has_free_slot() const noexcept { return hole_ != no_slot || size_ < quota_; }
  /// How many of the slots may be used: all, at first. \pre size() <= quota <= slots()
  void set_quota(std::size_t quota) noexcept {
    MORPHKV_ASSERT(size_ <= quota && quota <= slots());
    quota_ = quota;
  }

  [[nodiscard]] Position newest() const noexcept { return newest_; }
  /// The position of every slot in use; no_position in the hole.
  [[nodiscard]] std::span<const Position> positions() const noexcept {
    return {positions_.data(), size_};
  }
  /// The slots among which a victim may be sought.
  [[nodiscard]] Candidates candidates() const noexcept {
    return {size_, protected_.data(), positions_.data()};
  }

  /// Whether a slot in use is not protected.
  [[nodiscard]] bool has_candidate() const noexcept { return candidate_count() > 0; }
  /// Slots in use that are not protected. O(slots / 64).
  [[nodiscard]] std::size_t candidate_count() const noexcept { return size_ - protected_.count(); }

  /// The hole, or a slot that was never used. \pre has_free_slot()
  [[nodiscard]] Slot free_slot() const noexcept {
    return hole_ != no_slot ? hole_ : static_cast<Slot>(size_);
  }

  /// Puts the next token into a free slot or over a victim. \return the position that lay there
  Position place(Slot slot, Position position) noexcept {
    const bool grows = slot == size_;
    const Position before = grows ? no_position : positions_[slot];
    if (!journal_.span().empty()) {
      journal_[arrived_ % journal_.size()] = {slot, before, no_slot, no_position, newest_, grows};
      recorded_ = std::min(recorded_ + 1, journal_.size());
    }
    size_ += grows ? 1 : 0;
    if (slot == hole_) hole_ = no_slot;
    positions_[slot] = position;
    if (arrived_ < protection_.sinks) permanent_.set(slot);
    newest_ = position;
    protect_arrival(slot);
    ++arrived_;
    return before;
  }

  /// The token in `slot` is gone; the slot is the next one to be used. \pre there is no hole
  void evict(Slot slot) noexcept {
    MORPHKV_ASSERT(hole_ == no_slot && slot < size_);
    if (recorded_ > 0) {
      Entry& entry = journal_[(arrived_ - 1) % journal_.size()];
      entry.evicted_slot = slot;
      entry.evicted_position = positions_[slot];
    }
    positions_[slot] = no_position;
    hole_ = slot;
  }

  /// The token in `slot` is gone, and the one in the last slot in use moves there. O(recent
  /// tokens). \return the slot that it moved from, which is no longer in use \pre there is no hole
  /// and no history, and the token is not protected
  Slot remove(Slot slot) noexcept {
    MORPHKV_ASSERT(hole_ == no_slot && journal_.size() == 0 && slot < size_);
    const auto last = static_cast<Slot>(--size_);
    assign(slot, positions_[last], permanent_.test(last));
    protected_.test(last) ? protected_.set(slot) : protected_.clear(slot);
    assign(last, no_position, false);
    protected_.clear(last);
    if (slot != last) std::replace(arrivals_.span().begin(), arrivals_.span().end(), last, slot);
    return last;
  }

  /// Whether a token of a block is one that no score may evict: `index` counts the tokens of the
  /// sequence that have come before it.
  [[nodiscard]] bool is_permanent_arrival(std::size_t index) const noexcept {
    return protection_.prompt || index < protection_.sinks;
  }
  [[nodiscard]] bool is_permanent(Slot slot) const noexcept { return permanent_.test(slot); }
  [[nodiscard]] std::size_t arrived() const noexcept { return arrived_; }

  /// A block of `slots.size()` tokens from position `first` on, of which some stay.
  /// \param kept  the columns that stay, ascending: the slots in use (size() of them, never the
  ///              hole), then the block's tokens; at most slots() of them, and at most one fewer
  ///              than size()
  /// \param slots receives the slot of each of the block's tokens, no_slot where it does not stay
  /// The history begins anew. It allocates; O(slots log slots).
  void commit(Position first, std::span<const std::uint32_t> kept, std::span<Slot> slots) {
    const auto first_new = std::lower_bound(kept.begin(), kept.end(), size_);
    auto next_old = kept.begin();
    auto next_new = first_new;
    const std::size_t old_size = size_;
    size_ = std::max(size_, kept.size());
    hole_ = no_slot;
    std::fill(slots.begin(), slots.end(), no_slot);
    for (Slot slot = 0; slot < size_; ++slot) {
      if (next_old != first_new && *next_old == slot) {
        ++next_old;
      } else if (next_new != kept.end()) {
        const std::size_t token = *next_new++ - old_size;
        slots[token] = slot;
        assign(slot, first + static_cast<Position>(token), is_permanent_arrival(arrived_ + token));
      } else {
        MORPHKV_ASSERT(hole_ == no_slot);
        assign(slot, no_position, false);
        hole_ = slot;
      }
    }
    arrived_ += slots.size();
    newest_ = first + static_cast<Position>(slots.size()) - 1;
    recorded_ = 0;
    rebuild_protection();
  }

  /// How many tokens rollback() can take back now.
  [[nodiscard]] std::size_t recorded() const noexcept { return recorded_; }

  /// Takes the newest token back. \return the slot it had: the owner restores the key and the value
  /// that lay there before, whose token may be alive again. \pre recorded() > 0
  Slot rollback() noexcept {
    MORPHKV_ASSERT(recorded_ > 0);
    --arrived_;
    --recorded_;
    const Entry& entry = journal_[arrived_ % journal_.size()];
    if (entry.evicted_slot != no_slot) positions_[entry.evicted_slot] = entry.evicted_position;
    positions_[entry.slot] = entry.before;
    permanent_.clear(entry.slot);
    protected_.clear(entry.slot);
    if (protection_.recent > 0 && arrived_ >= protection_.recent) protected_.set(left_behind());
    size_ -= entry.grew ? 1 : 0;
    hole_ = !entry.grew && entry.before == no_position ? entry.slot : no_slot;
    newest_ = entry.newest_before;
    return entry.slot;
  }

  void clear() noexcept {
    permanent_.clear();
    protected_.clear();
    size_ = arrived_ = recorded_ = 0;
    hole_ = no_slot;
    newest_ = no_position;
  }

  [[nodiscard]] MemoryUsage memory() const noexcept {
    return {.positions =
                positions_.bytes() + permanent_.bytes() + protected_.bytes() + arrivals_.bytes(),
            .history = journal_.bytes()};
  }

 private:
  /// What one placement changed. 32 bytes, so that entries do not straddle cache lines.
  struct alignas(32) Entry {
    Slot slot;
    Position before;    ///< what lay there
    Slot evicted_slot;  ///< evicted after the token's attention, if any
    Position evicted_position;
    Position newest_before;
    bool grew;  ///< the slot had never been used
  };

  void assign(Slot slot, Position position, bool permanent) noexcept {
    positions_[slot] = position;
    permanent ? permanent_.set(slot) : permanent_.clear(slot);
  }

  /// The slot of the token that is no longer recent once another one arrives.
  [[nodiscard]] Slot left_behind() const noexcept {
    return arrivals_[(arrived_ - protection_.recent) % arrivals_.size()];
  }

  /// The newest `recent` tokens are protected; the one that leaves them is not, unless permanent.
  void protect_arrival(Slot slot) noexcept {
    arrivals_[arrived_ % arrivals_.size()] = slot;
    if (protection_.recent > 0 || permanent_.test(slot)) protected_.set(slot);
    if (protection_.recent == 0 || arrived_ < protection_.recent) return;
    if (!permanent_.test(left_behind())) protected_.clear(left_behind());
  }

  /// From the positions alone: which tokens are the newest, and who is protected.
  void rebuild_protection() {
    protected_.assign(permanent_);
    std::vector<Slot> by_age;
    for (Slot slot = 0; slot < size_; ++slot) {
      if (slot != hole_) by_age.push_back(slot);
    }
    const std::size_t recent = std::min(protection_.recent, by_age.size());
    const auto end = by_age.begin() + static_cast<std::ptrdiff_t>(recent);
    std::partial_sort(by_age.begin(), end, by_age.end(),
                      [&](Slot a, Slot b) { return positions_[a] > positions_[b]; });
    for (std::size_t back = 0; back < recent; ++back) {
      arrivals_[(arrived_ - 1 - back) % arrivals_.size()] = by_age[back];
      protected_.set(by_age[back]);
    }
  }

  Protection protection_;
  AlignedBuffer<Position> positions_;
  BitMask permanent_;             ///< sinks, and the prompt where it is protected
  BitMask protected_;             ///< those, and the recent tokens
  AlignedBuffer<Slot> arrivals_;  ///< the slots of the newest tokens, by order of arrival
  AlignedBuffer<Entry> journal_;  ///< the newest placements, for rollback
  std::size_t quota_;             ///< slots that may be used
  std::size_t size_ = 0;
  std::size_t arrived_ = 0;   ///< tokens that have come since the sequence began
  std::size_t recorded_ = 0;  ///< entries of the journal that can be undone
  Slot hole_ = no_slot;
  Position newest_ = no_position;
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_POLICY_SLOT_TABLE_HPP
