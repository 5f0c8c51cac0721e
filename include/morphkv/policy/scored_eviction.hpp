// SPDX-License-Identifier: Apache-2.0
/// \file
/// A score and a protection make a policy.
#ifndef MORPHKV_POLICY_SCORED_EVICTION_HPP
#define MORPHKV_POLICY_SCORED_EVICTION_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "morphkv/core/error.hpp"
#include "morphkv/core/memory_usage.hpp"
#include "morphkv/core/prompt_rows.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/kernels/row_check.hpp"
#include "morphkv/kernels/top_k.hpp"
#include "morphkv/policy/protection.hpp"
#include "morphkv/policy/slot_table.hpp"
#include "morphkv/score/score.hpp"

namespace morphkv { inline namespace v0 {

struct EvictionRules {
  std::size_t capacity = 0;  ///< tokens that stay; with Schedule::never the slots
  Schedule schedule = Schedule::on_arrival;
  Protection protection;        ///< `recent` tokens stay, the one that arrives among them
  std::size_t max_tokens = 0;   ///< slots of a schedule that lets a head grow
  std::size_t history = 0;      ///< how many tokens rollback() can take back
  std::size_t spare_slots = 0;  ///< slots beyond the capacity, for a shared budget to give
};

/// A policy for one head: it evicts the token with the lowest score among those not protected; of
/// equal scores, the one with the lowest position.
///
/// After a prompt longer than the capacity, the score's `voters()` last queries vote, and the
/// protected tokens stay with the best of the others. All of this holds for a block of tokens that
/// is appended to a head already in use: a later turn, or a chunk of a long prompt.
///
/// Thread safety: none; one object a head, and heads are independent of each other.
template <Score S>
class ScoredEviction {
 public:
  using Value = typename S::Value;

  /// The outcome of a vote over a block of tokens, to be passed to select() and commit().
  /// Its columns are the head's slots in use, then the tokens of the block.
  struct Selection {
    Status status = Status::ok;
    Position first = 0;               ///< of the block
    std::size_t tokens = 0;           ///< of the block
    std::vector<Position> positions;  ///< of the columns; no_position where there is no token
    std::vector<Value> values;        ///< of the columns, but for the block's recent tokens
    S score;                          ///< over the columns
    std::vector<std::uint32_t> kept;  ///< the columns that stay, ascending: select() finds them
  };

  /// \param rules checked() ones; in a braced list, that comes before the score takes memory
  ScoredEviction(const EvictionRules& rules, S score)
      : rules_(rules),
        table_(slots_of(rules), held_protection(rules), rules.history),
        score_(std::move(score)) {
    if (rules.spare_slots > 0) table_.set_quota(rules.capacity);
  }

  /// \return the rules
  /// \throws std::invalid_argument if the capacity leaves no token to choose.
  [[nodiscard]] static const EvictionRules& checked(const EvictionRules& rules) {
    constexpr std::size_t most = std::numeric_limits<Position>::max();
    if (rules.schedule == Schedule::never) {
      require(rules.capacity > 0 && rules.capacity <= most, "max_tokens", rules.capacity,
              "from 1 to " + std::to_string(most));
      return rules;
    }
    const std::size_t recent = rules.protection.recent;
    require(rules.capacity <= most, "capacity", rules.capacity, "at most " + std::to_string(most));
    require(rules.capacity > recent, "capacity", rules.capacity,
            "above window = " + std::to_string(recent));
    require(rules.protection.sinks <= rules.capacity - recent, "sinks", rules.protection.sinks,
            "at most capacity - window = " + std::to_string(rules.capacity - recent));
    require(rules.max_tokens <= most, "max_tokens", rules.max_tokens,
            "at most " + std::to_string(most));
    require(rules.spare_slots <= most - rules.capacity, "spare_slots", rules.spare_slots,
            "at most " + std::to_string(most - rules.capacity));
    require(rules.spare_slots == 0 || rules.history == 0, "history", rules.history,
            "0 where heads share their slots");
    return rules;
  }

  /// Gives a head that holds nothing another capacity; what it has beyond it stays. It allocates.
  /// \pre capacity >= recent tokens + sinks
  void set_capacity(std::size_t capacity) {
    MORPHKV_ASSERT(table_.arrived() == 0);
    rules_.max_tokens = rules_.max_tokens - std::min(rules_.max_tokens, rules_.capacity) + capacity;
    rules_.capacity = capacity;
    table_ = SlotTable(slots_of(rules_), held_protection(rules_), rules_.history);
    if (evicts()) score_ = score_.remapped({}, table_.slots());
  }

  /// Slots of keys and values that the head needs, and the columns of its score.
  [[nodiscard]] static std::size_t slots_of(const EvictionRules& rules) noexcept {
    switch (rules.schedule) {
      case Schedule::on_arrival:
        return rules.capacity + rules.spare_slots;
      case Schedule::after_attention:
        return rules.capacity + 1;
      case Schedule::after_prompt:
        return std::max(rules.capacity, rules.max_tokens);
      case Schedule::never:
        break;
    }
    return rules.capacity;
  }

  [[nodiscard]] std::size_t slots() const noexcept { return table_.slots(); }
  [[nodiscard]] std::size_t capacity() const noexcept { return rules_.capacity; }
  /// Slots in use: attention runs over the first `size()` rows of keys and values.
  [[nodiscard]] std::size_t size() const noexcept { return table_.size(); }
  /// The position of every slot in use, in no order; no_position where a token has been evicted and
  /// the next one has not yet come.
  [[nodiscard]] std::span<const Position> positions() const noexcept { return table_.positions(); }
  /// The greatest position that has come; no_position at first.
  [[nodiscard]] Position newest() const noexcept { return table_.newest(); }
  [[nodiscard]] const S& score() const noexcept { return score_; }

  /// The token that a full head can spare, with its score. O(slots).
  struct Cheapest {
    Slot slot = no_slot;  ///< none: fewer than two tokens are unprotected, or a slot is free
    double value = std::numeric_limits<double>::infinity();
  };
  // clang-format off
  [[nodiscard]] Cheapest cheapest() const noexcept
    requires requires(const S& score, Slot slot) { score.value(slot); }
  {
    if (table_.has_free_slot() || table_.candidate_count() < 2) return {};
    const Slot slot = victim_known_ ? victim_ : score_.least(table_.candidates());
    return slot == no_slot ? Cheapest{} : Cheapest{slot, static_cast<double>(score_.value(slot))};
  }

  /// The token offered is gone, the head's capacity is one less, and the token of the last slot in
  /// use moves to its slot. \return the last slot. \pre cheapest().slot == slot, and spare_slots > 0
  Slot release_slot(Slot slot) noexcept
    requires requires(S& score, Slot to) { score.move(to, to); }
  {
    const Slot last = table_.remove(slot);
    score_.move(last, slot);
    victim_known_ = false;
    table_.set_quota(--rules_.capacity);
    return last;
  }
  // clang-format on

  /// The capacity is one more. \pre capacity() < slots(), and spare_slots > 0
  void add_slot() noexcept { table_.set_quota(++rules_.capacity); }

  /// Whether the next token has a slot that nobody has to leave.
  [[nodiscard]] bool has_free_slot() const noexcept { return table_.has_free_slot(); }

  /// What place() would report. O(1), but O(slots / 64) where no victim is known.
  [[nodiscard]] Status can_place(Position position) const noexcept {
    if (position <= table_.newest()) return Status::position_backwards;
    if (table_.has_free_slot()) return Status::ok;
    if (!evicts()) return Status::full;
    return victim_known_ || table_.has_candidate() ? Status::ok : Status::nothing_to_evict;
  }

  /// The slot for the next token: a free one, or that of the victim. O(1), but O(slots) where the
  /// token before was not observed.
  [[nodiscard]] Placement place(Position position) noexcept {
    const Status status = can_place(position);
    if (status != Status::ok) return {status, no_slot, no_position};
    if (awaits_row_) score_.skip();  // the token before paid no attention: it votes for nobody
    const Slot slot = table_.has_free_slot() ? table_.free_slot() : victim();
    const Position evicted = table_.place(slot, position);
    if (evicts()) score_.renew(slot);
    generates_ = true;
    awaits_row_ = evicts();
    victim_known_ = false;
    return {Status::ok, slot, evicted};
  }

  /// Whether a row is expected: Status::ok, or Status::out_of_step if none was placed since the
  /// last one.
  [[nodiscard]] Status can_observe() const noexcept {
    return size() > 0 && (awaits_row_ || !evicts()) ? Status::ok : Status::out_of_step;
  }

  /// The memory that observe() reads next, for whoever can fetch it in time.
  // clang-format off
  [[nodiscard]] auto prefetch_hints() const noexcept
    requires requires(const S& score) { score.prefetch_hints(); }
  {
    return score_.prefetch_hints();
  }
  // clang-format on

  /// The attention row of the newest token, a weight for every slot in use. O(slots).
  /// A row with NaN, infinity or a weight outside [0, 1] is refused: nothing changes, and if no
  /// other row comes, the token votes for nobody.
  Status observe(std::span<const float> row) noexcept {
    if (row.size() != size()) return Status::wrong_size;
    if (!kernels::is_valid_row(row.data(), row.size())) return Status::bad_row;
    const Status status = can_observe();
    if (status != Status::ok || !evicts()) return status;
    awaits_row_ = false;
    victim_ = score_.push(row, table_.candidates());
    victim_known_ = victim_ != no_slot;
    if (victim_known_ && rules_.schedule == Schedule::after_attention && size() > rules_.capacity) {
      table_.evict(victim_);
      victim_known_ = false;
    }
    return Status::ok;
  }

  /// Lets a block of tokens vote. Nothing changes; it allocates. O(voters columns).
  /// \param first the position of the block's first token
  [[nodiscard]] Selection score_block(Position first, const PromptRows& rows) const {
    Selection selection{Status::ok, first, rows.tokens(), {}, {}, score_, {}};
    if (first <= table_.newest()) {
      selection.status = Status::position_backwards;
      return selection;
    }
    selection.positions.assign(positions().begin(), positions().end());
    selection.positions.resize(rows.columns());
    std::iota(selection.positions.end() - static_cast<std::ptrdiff_t>(rows.tokens()),
              selection.positions.end(), first);
    if (!judges_block()) return selection;
    std::vector<Slot> same(evicts() ? size() : 0);  // a score that judges prompts holds nothing
    std::iota(same.begin(), same.end(), Slot{0});
    selection.score = score_.remapped(same, rows.columns());
    if (awaits_row_) selection.score.skip();
    selection.status = push_rows(rows, selection.positions, selection.score);
    selection.values.resize(rows.columns() - std::min(rows.tokens(), rules_.protection.recent));
    selection.score.values(selection.positions, selection.values);
    return selection;
  }

  /// Whether the score may evict a token of the block, or one that was there before it.
  [[nodiscard]] bool is_permanent(const Selection& selection, std::size_t column) const noexcept {
    const std::size_t held = selection.positions.size() - selection.tokens;
    return column < held ? table_.is_permanent(static_cast<Slot>(column))
                         : table_.is_permanent_arrival(table_.arrived() + column - held);
  }

  /// Finds what stays of a selection's columns. It allocates. O(columns log columns).
  /// \return Status::ok, or why the block cannot be held
  Status select(Selection& selection) const {
    if (selection.status == Status::ok) selection.status = choose(selection, selection.kept);
    return selection.status;
  }

  /// Keeps what a selection has decided. It allocates.
  /// \param slots [tokens]: receives the slot of each of the block's tokens, no_slot where it does
  ///              not stay; the keys and values of the slots named here are to be overwritten
  /// \pre select(selection) == Status::ok, and nothing has changed since score_block()
  void commit(const Selection& selection, std::span<Slot> slots) {
    MORPHKV_ASSERT(selection.status == Status::ok && slots.size() == selection.tokens);
    table_.commit(selection.first, selection.kept, slots);
    if (evicts()) score_ = selection.score.remapped(sources(selection, slots), table_.slots());
    awaits_row_ = false;
    victim_known_ = false;
  }

  /// How many tokens can be taken back now; a prompt cannot.
  [[nodiscard]] std::size_t recorded() const noexcept { return table_.recorded(); }

  /// Takes the newest token back, as if it had never come. \pre recorded() > 0
  /// \return the slot it had: the owner restores the key and the value that lay there before, whose
  ///         token may be alive again. O(window x slots) for a window, else O(slots).
  Slot rollback() noexcept {
    if (awaits_row_) score_.skip();
    if (evicts()) score_.pop(1);
    awaits_row_ = false;
    victim_known_ = false;
    return table_.rollback();
  }

  /// Forgets the sequence; options stay.
  void reset() noexcept {
    table_.clear();
    score_.clear();
    awaits_row_ = false;
    victim_known_ = false;
    generates_ = false;
  }

  [[nodiscard]] MemoryUsage memory() const noexcept {
    MemoryUsage usage = table_.memory();
    usage += score_.memory();
    return usage;
  }

 private:
  /// A victim that makes room for a token is sought among those held: of the recent ones, one less.
  [[nodiscard]] static Protection held_protection(const EvictionRules& rules) noexcept {
    Protection protection = rules.protection;
    if (rules.schedule != Schedule::after_attention && protection.recent > 0) --protection.recent;
    return protection;
  }

  [[nodiscard]] bool evicts() const noexcept {
    return rules_.schedule == Schedule::on_arrival || rules_.schedule == Schedule::after_attention;
  }

  /// Whether a block of tokens is cut down to the capacity.
  [[nodiscard]] bool judges_block() const noexcept {
    return evicts() || (rules_.schedule == Schedule::after_prompt && !generates_);
  }

  [[nodiscard]] Slot victim() const noexcept {
    return victim_known_ ? victim_ : score_.least(table_.candidates());
  }

  [[nodiscard]] Status push_rows(const PromptRows& rows, std::span<const Position> positions,
                                 S& score) const {
    std::vector<float> row(rows.columns());
    const BitMask nobody(rows.columns());
    const Candidates none{
        .slots = 0, .protected_bits = nobody.data(), .positions = positions.data()};
    const std::size_t voters = std::min(score.voters(), rows.tokens());
    for (std::size_t query = 0; query < rows.tokens(); ++query) {
      score.renew(static_cast<Slot>(size() + query));
      if (query + voters < rows.tokens()) continue;
      const Status status = rows.fused(query, row.data());
      if (status != Status::ok) return status;
      if (!kernels::is_valid_row(row.data(), row.size())) return Status::bad_row;
      (void)score.push(std::span(row).first(size() + query + 1), none);
    }
    return Status::ok;
  }

  /// The columns that stay, ascending.
  [[nodiscard]] Status choose(const Selection& selection, std::vector<std::uint32_t>& kept) const {
    for (std::uint32_t c = 0; c < selection.positions.size(); ++c) {
      if (selection.positions[c] != no_position) kept.push_back(c);
    }
    if (!judges_block()) return kept.size() <= table_.slots() ? Status::ok : Status::full;
    if (kept.size() <= rules_.capacity) return Status::ok;
    std::sort(kept.begin(), kept.end(), [&](std::uint32_t a, std::uint32_t b) {
      return selection.positions[a] < selection.positions[b];
    });
    const auto recent = kept.end() - static_cast<std::ptrdiff_t>(rules_.protection.recent);
    const auto judged = std::stable_partition(
        kept.begin(), recent, [&](std::uint32_t c) { return is_permanent(selection, c); });
    const auto certain = kept.size() - static_cast<std::size_t>(recent - judged);
    if (certain > rules_.capacity) return Status::nothing_to_evict;
    std::vector<std::uint32_t> others(judged, recent);
    kept.erase(judged, recent);
    keep_best(selection.values, rules_.capacity - certain, others);
    kept.insert(kept.end(), others.begin(), others.end());
    std::sort(kept.begin(), kept.end());
    return Status::ok;
  }

  /// Of columns in the order of their positions, keeps the `count` with the highest values.
  static void keep_best(std::span<const Value> values, std::size_t count,
                        std::vector<std::uint32_t>& columns) {
    std::vector<Value> ranked(columns.size());
    for (std::size_t rank = 0; rank < columns.size(); ++rank) ranked[rank] = values[columns[rank]];
    std::vector<std::uint32_t> ranks(columns.size());
    std::iota(ranks.begin(), ranks.end(), 0U);
    kernels::keep_top_k<Value>(ranked, count, ranks);
    for (std::size_t k = 0; k < ranks.size(); ++k) columns[k] = columns[ranks[k]];
    columns.resize(ranks.size());
  }

  /// For every slot the column whose token it holds now.
  [[nodiscard]] std::vector<Slot> sources(const Selection& selection,
                                          std::span<const Slot> slots) const {
    const std::size_t held = selection.positions.size() - selection.tokens;
    std::vector<Slot> columns(table_.slots(), no_slot);
    for (const std::uint32_t column : selection.kept) {
      if (column < held) columns[column] = column;
    }
    for (std::size_t token = 0; token < slots.size(); ++token) {
      if (slots[token] != no_slot) columns[slots[token]] = static_cast<Slot>(held + token);
    }
    return columns;
  }

  EvictionRules rules_;
  SlotTable table_;
  S score_;
  Slot victim_ = no_slot;
  bool victim_known_ = false;
  bool awaits_row_ = false;  ///< the newest token has not been observed yet
  bool generates_ = false;   ///< a token has come by itself, so the first prompt is over
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_POLICY_SCORED_EVICTION_HPP
