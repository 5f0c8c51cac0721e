// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a cache asks of a policy.
#ifndef MORPHKV_POLICY_EVICTION_POLICY_HPP
#define MORPHKV_POLICY_EVICTION_POLICY_HPP

#include <concepts>
#include <cstddef>
#include <span>
#include <vector>

#include "morphkv/core/byte_stream.hpp"
#include "morphkv/core/memory_usage.hpp"
#include "morphkv/core/prompt_rows.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/eviction/tiers.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

// clang-format off

/// A policy decides, for one head, which token lies in which slot. It knows no cache: an engine
/// with its own attention drives one by `place` and `observe`, and a test by rows it makes up.
///
/// Most policies derive from ScoredEviction, which has all of this, and state only their Options.
template <class P>
concept EvictionPolicy =
    std::copyable<P> &&
    requires(P policy, const P& constant, const typename P::Options& options, std::size_t head,
             Position position, std::span<const float> row, const PromptRows& rows,
             typename P::Selection& selection) {
      /// `head` numbers the heads of a cache: seeds and phases differ from one to the next.
      P(options, head);
      { options.group } -> std::convertible_to<GroupFusion>;
      /// Rows of keys and values to provide.
      { constant.slots() } -> std::same_as<std::size_t>;
      /// Slots in use: attention runs over 0 ... size() - 1.
      { constant.size() } -> std::same_as<std::size_t>;
      /// The position of every slot in use; no_position where no token is.
      { constant.positions() } -> std::same_as<std::span<const Position>>;
      /// The greatest position that has come; no_position at first.
      { constant.newest() } noexcept -> std::same_as<Position>;
      /// What place() would report.
      { constant.can_place(position) } noexcept -> std::same_as<Status>;
      /// The slot for the next token.
      { policy.place(position) } noexcept -> std::same_as<Placement>;
      /// Whether a row is expected.
      { constant.can_observe() } noexcept -> std::same_as<Status>;
      /// The attention row of the newest token.
      { policy.observe(row) } noexcept -> std::same_as<Status>;
      /// A block of tokens is scored, then what stays is selected; both change nothing but the
      /// selection, and may allocate. Then it is committed.
      { constant.score_block(position, rows) } -> std::same_as<typename P::Selection>;
      { constant.select(selection) } -> std::same_as<Status>;
      { policy.commit(selection) } noexcept;
      /// [tokens], after select(): the slot of each of the block's tokens; no_slot: not kept.
      { selection.slots[head] } -> std::convertible_to<Slot>;
      { policy.reset() } noexcept;
      { constant.memory() } -> std::same_as<MemoryUsage>;
    };

/// A policy that can take tokens back; see ScoredEviction.
template <class P>
concept RevocablePolicy = EvictionPolicy<P> && requires(P policy, const P& constant) {
  { constant.recorded() } -> std::same_as<std::size_t>;
  { constant.undone_by(std::size_t{}) } -> std::same_as<std::size_t>;
  { policy.rollback(std::size_t{}) } noexcept -> std::same_as<std::span<const Slot>>;
};

/// A policy that says which slot place() will choose; see ScoredEviction. A cache whose storage is
/// asked before it is written (ClaimedStorage) needs it.
template <class P>
concept ForeseeingPolicy = EvictionPolicy<P> && requires(const P& constant) {
  /// no_slot if it is not known: that of a victim which no row has chosen yet.
  { constant.next_slot() } noexcept -> std::same_as<Slot>;
};

/// A policy that ranks tokens by their keys or values. For a block it finds them in PromptRows.
template <class P>
concept StoringPolicy =
    EvictionPolicy<P> && requires(P policy, Slot slot, std::span<const float> numbers) {
      /// The key and the value that lie in `slot` now, [head_dim] each: called after place().
      { policy.store(slot, numbers, numbers) } noexcept;
    };

/// A policy whose empty heads can be given another capacity, by the scores of a selection; see
/// ScoredEviction and Budget::adaptive.
template <class P>
concept ResizablePolicy =
    EvictionPolicy<P> && requires(P policy, const P& constant, const typename P::Selection& selection,
                                  std::size_t count) {
      { policy.set_capacity(count) };
      /// Of the tokens that compete, by position; infinity where one cannot be evicted.
      { constant.competing_scores(selection) } -> std::same_as<std::vector<double>>;
    };

/// A policy whose empty heads can be made to hold the newest tokens alone, for layers whose
/// attention slides; see CacheShape::windows and ScoredEviction.
template <class P>
concept SlidingPolicy =
    EvictionPolicy<P> && requires(P policy, std::size_t count) { policy.set_window(count); };

/// A policy that can be saved, and continue from what another one with the same or other options
/// saved; see ScoredEviction.
template <class P>
concept SavablePolicy =
    EvictionPolicy<P> && requires(P policy, const P& constant, ByteWriter& out, ByteReader& in) {
      /// All that it knows, what it can take back among it.
      { constant.save(out) };
      /// [size()]: the slot that each token had when it was saved. It may throw
      /// std::invalid_argument; then nothing has changed.
      { policy.restore(in) } -> std::same_as<std::vector<Slot>>;
    };

/// A policy whose tokens can be given other positions in the same order; see ScoredEviction.
template <class P>
concept RenumberingPolicy =
    EvictionPolicy<P> && requires(P policy, Position newest) { policy.renumber(newest); };

/// A policy whose tokens can be in two tiers of slots; see eviction/tiers.hpp and TieredStorage.
template <class P>
concept TieringPolicy = EvictionPolicy<P> && requires(P policy, const P& constant,
                                                      typename P::Selection& selection,
                                                      std::size_t hot) {
  /// Whether tokens evict each other while decoding.
  { constant.can_have_tiers() } noexcept -> std::same_as<bool>;
  { policy.make_hot_slot(hot) } noexcept -> std::same_as<TokenMove>;
  { constant.select(selection, hot) } -> std::same_as<Status>;
  /// After select(): the tokens that change their slots.
  { selection.moves } -> std::convertible_to<std::span<const TokenMove>>;
};

/// A policy whose heads can pass slots on to each other while they decode; see ScoredEviction and
/// SharedStorage.
template <class P>
concept SharingPolicy = EvictionPolicy<P> && requires(P policy, const P& constant, Slot slot,
                                                      typename P::Options options) {
  { options.spare_slots } -> std::convertible_to<std::size_t>;
  { options.capacity } -> std::convertible_to<std::size_t>;
  { constant.capacity() } -> std::same_as<std::size_t>;
  { constant.has_free_slot() } -> std::same_as<bool>;
  { policy.find_cheapest().slot } -> std::convertible_to<Slot>;
  { policy.find_cheapest().value } -> std::convertible_to<double>;
  { policy.release_slot(slot) } noexcept -> std::same_as<Slot>;
  { policy.add_slot() } noexcept;
};
// clang-format on

}}  // namespace morphkv::v0

#endif  // MORPHKV_POLICY_EVICTION_POLICY_HPP
