// SPDX-License-Identifier: Apache-2.0
/// \file
/// One head of the host: a plan, rules and a score, that runs on plain memory.
#ifndef MORPHKV_EVICTION_EVICTION_HEAD_HPP
#define MORPHKV_EVICTION_EVICTION_HEAD_HPP

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "morphkv/core/aligned_buffer.hpp"
#include "morphkv/core/error.hpp"
#include "morphkv/core/memory_usage.hpp"
#include "morphkv/core/prompt_rows.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/eviction/block.hpp"
#include "morphkv/eviction/head_state.hpp"
#include "morphkv/eviction/pins.hpp"
#include "morphkv/eviction/rules.hpp"
#include "morphkv/eviction/step.hpp"
#include "morphkv/eviction/tiers.hpp"
#include "morphkv/kernels/prefetch_hint.hpp"
#include "morphkv/kernels/scores.hpp"
#include "morphkv/kernels/top_k.hpp"
#include "morphkv/score/score.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// The scores of a block's columns, and what is kept of them. The columns are the head's slots in
/// use, then the tokens of the block. One that is used again allocates only for more columns.
struct BlockSelection {
  Status status = Status::ok;
  BlockColumns columns{};
  std::vector<Slot> slots;           ///< of the block's tokens, from select() on; no_slot: not kept
  std::vector<Position> positions;   ///< of the columns; no_position where there is no token
  std::vector<std::uint32_t> order;  ///< columns with a token, by position
  std::uint32_t competing = 0;       ///< of them: all but the recent ones
  std::vector<std::uint64_t> values;  ///< scores of the competing tokens, by rank in `order`
  std::uint32_t rows = 0;             ///< rows that the columns' numbers have seen
  std::uint32_t pins = 0;             ///< tokens that are pinned, from select() on
  std::vector<TokenMove> moves;       ///< of tokens that were held, from select() on: see tiers.hpp
  AlignedBuffer<std::byte> memory;    ///< the numbers of the columns
  AlignedBuffer<std::byte> next;      ///< the head's state after the block, from select() on

  // Working memory.
  std::vector<float> row;
  std::vector<double> numbers;
  std::vector<double> attention;  ///< of the last pin_queries queries, [columns], where tokens pin
  std::vector<float> norms;       ///< of the columns' values, likewise
  std::vector<std::uint32_t> pin_ranks;
  std::vector<std::uint32_t> kept;
  std::vector<std::uint32_t> ranks;
  std::vector<std::uint64_t> compared;
  std::vector<std::uint32_t> best;

  /// Allocates all that a block of so many columns needs, whose numbers have `score_bytes`, in a
  /// head of so many bytes.
  void reserve(std::size_t max_columns, std::size_t score_bytes, std::size_t head_bytes) {
    numbers.reserve(3 * max_columns);
    for_each_vector(*this, [&](auto& vector) { vector.reserve(max_columns); });
    memory = AlignedBuffer<std::byte>(score_bytes);
    next = AlignedBuffer<std::byte>(head_bytes);
  }
  /// Bytes that it has allocated.
  [[nodiscard]] std::size_t bytes() const noexcept {
    std::size_t sum = memory.bytes() + next.bytes();
    for_each_vector(*this,
                    [&](const auto& vector) { sum += vector.capacity() * sizeof vector[0]; });
    return sum;
  }

 private:
  template <class Self, class Use>
  static void for_each_vector(Self& self, const Use& use) {
    const auto use_all = [&](auto&... vectors) { (use(vectors), ...); };
    use_all(self.slots, self.positions, self.order, self.values, self.row, self.numbers,
            self.attention, self.norms, self.pin_ranks, self.kept, self.ranks, self.compared,
            self.best);
  }
};

/// The eviction machine of one head: it evicts the token with the lowest score among those not
/// protected; of equal scores, the one with the lowest position.
///
/// After a prompt longer than the capacity, the score's scoring_queries() last queries score its
/// tokens, and the protected tokens stay with the best of the others. All of this holds for a block
/// that is appended to a head in use: a later turn, or a chunk of a long prompt. Rules with pins
/// protect some of a block's tokens for a while, see pins.hpp.
///
/// The state is one piece of plain memory, see head_state.hpp, and a device runs the same functions
/// on the same bytes (cuda/). A score whose rows offer `push_row` is vectorised here.
///
/// Memory: 4 bytes and 2 bits per slot, 4 bytes per protected recent token, and the score's.
/// Thread safety: none; one object per head, and heads are independent of each other.
template <Score S>
class EvictionHead {
 public:
  using Value = typename S::Value;
  using Plan = EvictionPlan<S>;

  explicit EvictionHead(const Plan& plan)
      : plan_(plan), layout_(layout_of(plan)), memory_(layout_.bytes) {
    reset();
  }

  [[nodiscard]] const Plan& plan() const noexcept { return plan_; }
  [[nodiscard]] std::size_t slots() const noexcept { return plan_.rules.slots; }
  /// Tokens that stay.
  [[nodiscard]] std::size_t capacity() const noexcept {
    return plan_.rules.schedule == Schedule::on_arrival ? state().quota : plan_.rules.capacity;
  }
  /// Slots in use: attention runs over the first `size()` rows of keys and values.
  [[nodiscard]] std::size_t size() const noexcept { return state().size; }
  /// The position of every slot in use, in no order; no_position where a token has been evicted and
  /// the next one has not yet come.
  [[nodiscard]] std::span<const Position> positions() const noexcept {
    return {view().positions, size()};
  }
  /// The greatest position that has come; no_position at first.
  [[nodiscard]] Position newest() const noexcept { return state().newest; }
  /// The state of the head, to be copied or saved. Its layout is layout_of(plan()).
  [[nodiscard]] std::span<const std::byte> state_bytes() const noexcept { return memory_.span(); }

  /// Takes over the state of a head with an equal plan, as its state_bytes() gave it.
  /// \throws std::invalid_argument if it has another size or is no state that such a head can be
  ///         in, and nothing has changed; std::bad_alloc. Scores are taken as they are.
  void restore(std::span<const std::byte> state_bytes) {
    require(state_bytes.size() == memory_.size(), "size of the state", state_bytes.size(),
            "that of this head's options: " + std::to_string(memory_.size()));
    EvictionHead restored(*this);
    std::copy(state_bytes.begin(), state_bytes.end(), restored.memory_.data());
    require(restored.is_consistent(), "state", "not one of a head", "what state_bytes() gave");
    *this = std::move(restored);
  }

  /// Gives a head that holds nothing another capacity; what it has beyond it stays. It allocates.
  /// \pre capacity >= recent tokens + sinks, and no token has come
  void set_capacity(std::size_t capacity) {
    MORPHKV_ASSERT(state().arrived == 0);
    EvictionHead resized(resized_plan(static_cast<std::uint32_t>(capacity)));
    *this = std::move(resized);
  }

  /// Makes a head that holds nothing hold the newest `window` tokens, and no more: for a layer
  /// whose attention slides. Rows are checked and score nothing; rules, pins and scores of the
  /// policy have no effect. It allocates. \throws std::invalid_argument if the window is 0 or too
  /// large \pre no token has come
  void set_window(std::size_t window) {
    MORPHKV_ASSERT(state().arrived == 0);
    Plan plan = plan_;
    plan.rules = make_sliding_rules(window);
    plan.rules.group = plan_.rules.group;
    *this = EvictionHead(plan);
  }

  // ---- Slots that heads share

  /// The token that a full head can spare, with its score.
  struct Cheapest {
    Slot slot = no_slot;  ///< none: fewer than two tokens are unprotected, or a slot is free
    double value = std::numeric_limits<double>::infinity();
  };
  /// O(slots) where no victim is known. It is known afterwards.
  /// \pre the newest token was observed
  [[nodiscard]] Cheapest find_cheapest() noexcept {
    if (has_free_slot() || count_candidates(view(), state().size, 2) < 2) return {};
    if (state().victim == no_slot) state().victim = lowest();
    return {state().victim, plan_.score.number(value(state().victim))};
  }
  /// The token in `slot` is gone, the head's capacity is one less, and the token of the last slot
  /// in use moves to its slot. \return the last slot. \pre find_cheapest().slot == slot
  Slot release_slot(Slot slot) noexcept {
    const Slot last = remove_token(plan_.rules, view(), slot, state());
    --state().quota;
    if (state().pins > 0) {  // one slot is left to the scores
      std::uint32_t stay = plan_.rules.recent;
      for (std::size_t word = 0; 64 * word < size(); ++word) {
        stay += static_cast<std::uint32_t>(std::popcount(view().permanent[word]));
      }
      const std::uint32_t room = state().quota - (std::min)(state().quota, stay);
      release_pins(plan_.rules, view(), true, room, state());
    }
    return last;
  }
  /// The capacity is one more. \pre capacity() < slots()
  void add_slot() noexcept { ++state().quota; }
  /// Whether the next token has a slot without an eviction.
  [[nodiscard]] bool has_free_slot() const noexcept { return morphkv::has_free_slot(state()); }

  // ---- Two tiers of slots

  /// Whether tokens are evicted by their scores while decoding: then slots can be of two tiers.
  [[nodiscard]] bool can_have_tiers() const noexcept { return plan_.rules.evicts(); }

  /// Makes the slot of the next token one of the first `hot`, and moves a token from there if need
  /// be. O(hot), and O(slots) where no victim is known.
  /// \pre can_have_tiers(), hot > 0, and the next token can be placed
  TokenMove make_hot_slot(std::size_t hot) noexcept {
    if (state().awaits_row != 0) skip_row(SequentialTeam{}, plan_, view(), state());
    const Slot to = next_slot();
    if (!has_free_slot()) state().victim = to;
    if (to < hot) return {};
    const Slot from =
        plan_.score.with_row(view().scores, newest_row(state().rows), [&](const auto& row) {
          return lowest_hot(plan_.rules, view(), state(), static_cast<std::uint32_t>(hot), row);
        });
    exchange_tokens(plan_.rules, view(), from, to, state());
    return {from, to};
  }

  // ---- Tokens one by one

  /// What place() would report. O(1), but O(slots / 64) where no victim is known.
  [[nodiscard]] Status can_place(Position position) const noexcept {
    return morphkv::can_place(plan_.rules, view(), position, state());
  }

  /// The slot that place() will choose, if it can place; no_slot where all slots are in use and the
  /// token before was not observed, so that the scores are not final. O(1), but O(slots) where no
  /// victim is known.
  [[nodiscard]] Slot next_slot() const noexcept {
    if (has_free_slot()) return free_slot(state());
    if (plan_.rules.schedule == Schedule::sliding) {
      return slot_of_arrival(plan_.rules, view(), state().arrived - plan_.rules.capacity);
    }
    if (state().awaits_row != 0) return no_slot;
    return state().victim != no_slot ? state().victim : lowest();
  }

  /// The slot for the next token: a free one, or that of the victim. O(1), but O(slots) where the
  /// token before was not observed.
  [[nodiscard]] Placement place(Position position) noexcept {
    return morphkv::place(SequentialTeam{}, plan_, view(), position, state());
  }

  /// Whether a row is expected: Status::ok, or Status::out_of_step if no token was placed since the
  /// last one.
  [[nodiscard]] Status can_observe() const noexcept {
    return size() > 0 && (state().awaits_row != 0 || !plan_.rules.evicts()) ? Status::ok
                                                                            : Status::out_of_step;
  }

  /// The memory that observe() reads, for whoever can prefetch it.
  [[nodiscard]] kernels::PrefetchHints prefetch_hints() const noexcept {
    kernels::PrefetchHints hints{};
    if (!plan_.rules.evicts()) return hints;
    (void)plan_.score.with_row(view().scores, state().rows, [&](const auto& row) {
      if constexpr (requires { row.prefetch_hints(std::size_t{}); }) {
        hints = row.prefetch_hints(size());
      }
      return no_slot;
    });
    return hints;
  }

  /// The attention row of the newest token, one weight per slot in use. O(slots).
  /// A row with NaN, infinity, minus zero or a weight outside [0, 1] is refused: nothing changes,
  /// and if no other row comes, the token scores no token.
  Status observe(std::span<const float> row) noexcept {
    if (row.size() != size()) return Status::wrong_size;
    if (!kernels::is_valid_row(row.data(), row.size())) return Status::bad_row;
    const Status status = can_observe();
    if (status != Status::ok || !plan_.rules.evicts()) return status;
    const Slot victim = plan_.score.with_row(view().scores, state().rows, [&](const auto& pushed) {
      return push(pushed, row, view().candidates(state().size));
    });
    finish_row(true, plan_.rules, view(), victim, state());
    return Status::ok;
  }

  // ---- Blocks

  /// Scores a block of tokens. Nothing changes; it allocates. O(scoring queries x columns).
  /// \param first the position of the block's first token
  void score_block(Position first, const PromptRows& rows, BlockSelection& out) const {
    out.status = Status::ok;
    out.columns = {.held = state().size,
                   .tokens = static_cast<std::uint32_t>(rows.tokens()),
                   .arrived = state().arrived,
                   .first = first};
    if (first <= newest()) {
      out.status = Status::position_backwards;
    } else if (rows.tokens() > static_cast<std::size_t>(max_position - first) + 1) {
      out.status = Status::position_too_large;
    }
    out.rows = state().rows;
    if (out.status != Status::ok) return;
    out.positions.assign(positions().begin(), positions().end());
    out.positions.resize(rows.columns());
    std::iota(out.positions.end() - static_cast<std::ptrdiff_t>(rows.tokens()), out.positions.end(),
              first);
    order_columns(out);
    if (plan_.rules.schedule == Schedule::sliding) {
      out.values.assign(out.competing, 0);  // none of these stays
      return;
    }
    const bool cuts = cuts_block(plan_.rules, state());
    if (cuts || plan_.rules.carries_scores) carry_scores(out);
    if (!cuts) return;
    out.status = score_columns(rows, out);
    if (out.status == Status::ok) rank_values(out);
  }

  /// Whether no score can evict the token of a column.
  [[nodiscard]] bool is_permanent(const BlockSelection& block,
                                  std::uint32_t column) const noexcept {
    const BlockColumns& c = block.columns;
    return column < c.held ? test_bit(view().permanent, column)
                           : is_permanent_arrival(plan_.rules, c.arrived + column - c.held);
  }

  /// The scores of a block's competing tokens, by position; infinity where one cannot be evicted.
  [[nodiscard]] std::vector<double> competing_scores(const BlockSelection& block) const {
    std::vector<double> scores;
    for (const std::uint64_t value : block.values) {
      scores.push_back(
          is_permanent(block, block.order[scores.size()]) ? std::numeric_limits<double>::infinity()
          : plan_.rules.pooling_kernel == 1 ? plan_.score.number(static_cast<Value>(value))
                                            : from_double_key(value));
    }
    return scores;
  }

  /// Finds what stays of a block's columns, and the state of the head afterwards. It allocates, and
  /// changes nothing but the selection. O(columns log columns).
  /// \param hot slots of the first tier, see tiers.hpp; by default there are no tiers
  /// \return Status::ok, or why the block cannot be held
  [[nodiscard]] Status select(BlockSelection& selection, std::size_t hot = max_head_slots) const {
    if (selection.status != Status::ok) return selection.status;
    const Status status = choose(selection);
    if (status == Status::ok) assign_slots(selection, hot);
    return status;
  }

  /// Takes over what select() has found. \pre select(selection) == Status::ok, and nothing has
  /// changed since score_block()
  void commit(BlockSelection& selection) noexcept {
    MORPHKV_ASSERT(selection.next.size() == memory_.size());
    std::swap(memory_, selection.next);
  }

  /// Gives the tokens positions without gaps, in their order, up to `newest` for the newest one
  /// that has come. What is evicted does not depend on it, but for a score that reads positions
  /// (Random). It allocates. O(slots log slots). \pre newest >= 0, and the tokens fit below it
  void renumber(Position newest) {
    const auto position_of = [this](Slot slot) { return view().positions[slot]; };
    std::vector<Slot> order(size());
    std::iota(order.begin(), order.end(), Slot{0});
    std::erase_if(order, [&](Slot slot) { return position_of(slot) == no_position; });
    std::ranges::sort(order, std::ranges::greater{}, position_of);
    const bool holds_newest = !order.empty() && position_of(order.front()) == state().newest;
    Position next = holds_newest ? newest : newest - 1;
    for (const Slot slot : order) view().positions[slot] = next--;
    state().newest = newest;
  }

  /// Resets the sequence; options stay.
  void reset() noexcept {
    std::fill_n(memory_.data(), memory_.size(), std::byte{0});
    state() = HeadState{.quota = plan_.rules.quota()};
  }

  [[nodiscard]] MemoryUsage memory() const noexcept {
    std::size_t window = 0;
    if constexpr (requires { plan_.score.window_memory(); }) {
      if (plan_.rules.carries_scores) window = plan_.score.window_memory().bytes(layout_.stride);
    }
    return {.positions = layout_.scores,
            .window = window,
            .scores = layout_.bytes - layout_.scores - window};
  }

 protected:
  /// The norms of the values of a block's columns; all alike where the caller has no values.
  void write_norms(const PromptRows& rows, float* norms) const {
    std::fill_n(norms, rows.columns(), 1.0F);
    std::vector<float> value(rows.value_dim() > 1 ? rows.value_dim() : 0);  // 1: ScoredEviction
    for (std::size_t c = 0; c < rows.columns() && rows.value_dim() > 0; ++c) {
      if (c < size() && positions()[c] == no_position) continue;
      float* numbers = rows.value_dim() > 1 ? value.data() : norms + c;
      rows.value(c, numbers);
      norms[c] = pin_norm(numbers, rows.value_dim());
    }
  }
  [[nodiscard]] HeadView view() const noexcept {
    // The view of a head that is not const: whoever calls decides what is written.
    return HeadView(const_cast<std::byte*>(memory_.data()), layout_);
  }
  /// It lies at the beginning of the memory; see HeadView.
  [[nodiscard]] const HeadState& state() const noexcept {
    return *reinterpret_cast<const HeadState*>(memory_.data());
  }
  [[nodiscard]] HeadState& state() noexcept {
    return *reinterpret_cast<HeadState*>(memory_.data());
  }

 private:
  [[nodiscard]] Plan resized_plan(std::uint32_t capacity) const noexcept {
    Plan plan = plan_;
    plan.rules.slots = plan.rules.slots - plan.rules.capacity + capacity;
    plan.rules.capacity = capacity;
    return plan;
  }

  /// Whether no number of the state points outside it, so that any step can follow.
  /// O(slots log slots).
  [[nodiscard]] bool is_consistent() const {
    const HeadState& s = state();
    const HeadView head = view();
    const auto in_use = [&](Slot slot) { return slot < s.size; };
    if (s.size > slots() || s.quota > slots() || s.size > s.arrived || s.pins > plan_.rules.pins ||
        s.pinned_at > s.arrived || s.newest > max_position ||
        (s.newest == no_position) != (s.size == 0) || s.status != Status::ok ||
        s.awaits_row > (plan_.rules.evicts() ? 1U : 0U) || s.generates > 1) {
      return false;
    }
    // A block that is cut to the capacity leaves one hole at most.
    const bool may_be_over = plan_.rules.schedule == Schedule::after_attention;
    if (cuts_block(plan_.rules, s) && s.size > capacity() + (may_be_over ? 1 : 0)) return false;
    if ((s.victim != no_slot && !in_use(s.victim)) || (s.hole != no_slot && !in_use(s.hole)) ||
        (s.hole != no_slot && s.hole == s.victim)) {
      return false;
    }
    // Every slot but the hole has a position of its own.
    std::vector<Position> sorted(head.positions, head.positions + s.size);
    if (s.hole != no_slot) {
      if (sorted[s.hole] != no_position) return false;
      sorted.erase(sorted.begin() + static_cast<std::ptrdiff_t>(s.hole));
    }
    std::sort(sorted.begin(), sorted.end());
    if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end() ||
        (!sorted.empty() && (sorted.front() < 0 || sorted.back() > s.newest))) {
      return false;
    }
    // The newest tokens' slots, as many as are kept of them.
    const std::uint32_t recent = (std::min)(plan_.rules.held_recent(), s.arrived);
    for (std::uint32_t back = 0; back < recent; ++back) {
      if (!in_use(slot_of_arrival(plan_.rules, head, s.arrived - 1 - back))) return false;
    }
    return std::all_of(head.pins, head.pins + s.pins, in_use);
  }

  /// The candidate with the lowest score. O(slots).
  [[nodiscard]] Slot lowest() const noexcept {
    return plan_.score.with_row(view().scores, newest_row(state().rows), [&](const auto& row) {
      if constexpr (requires { row.lowest(Candidates{}); }) {
        return row.lowest(view().candidates(state().size));
      } else {
        return find_victim(SequentialTeam{}, plan_, view(), state());
      }
    });
  }

  /// The score of a slot.
  [[nodiscard]] Value value(Slot slot) const noexcept {
    Value result{};
    (void)plan_.score.with_row(view().scores, newest_row(state().rows), [&](const auto& row) {
      result = row.value(slot);
      return no_slot;
    });
    return result;
  }

  /// Pushes a row to all of its slots. \return the candidate with the lowest score
  static Slot push(const auto& row, std::span<const float> weights, const Candidates& candidates) {
    if constexpr (requires { row.push_row(weights, candidates); }) {
      return row.push_row(weights, candidates);
    } else {
      LowestSeen<Value> seen;
      for (Slot slot = 0; slot < weights.size(); ++slot) {
        seen.see(slot, candidates.contain(slot), row.push(slot, weights[slot], row.fetch(slot)));
      }
      return lowest_slot(SequentialTeam{}, candidates, row, seen).slot();
    }
  }
  /// Pushes the row of a block's query to the columns.
  void push_columns(BlockSelection& block, std::span<const float> weights) const {
    (void)with_block_row(plan_.score, column_view(block), block.rows,
                         [&](const auto& row) { return push(row, weights, Candidates{}); });
    ++block.rows;
  }

  /// Live columns by position.
  void order_columns(BlockSelection& block) const {
    block.order.clear();
    for (std::uint32_t c = 0; c < block.positions.size(); ++c) {
      if (block.positions[c] != no_position) block.order.push_back(c);
    }
    const auto held_end =
        std::lower_bound(block.order.begin(), block.order.end(), block.columns.held);
    std::sort(block.order.begin(), held_end, [&](std::uint32_t a, std::uint32_t b) {
      return block.positions[a] < block.positions[b];
    });
    const auto live = static_cast<std::uint32_t>(block.order.size());
    block.competing = live - (std::min)(live, plan_.rules.recent);
    block.values.clear();
  }

  [[nodiscard]] ScoreView column_view(BlockSelection& block) const noexcept {
    return {block.memory.data(), plan_.score.memory(), score_stride(block.columns.size()),
            block.positions.data()};
  }

  /// The numbers of the columns before the block's rows.
  void carry_scores(BlockSelection& block) const {
    const std::size_t bytes = plan_.score.memory().bytes(score_stride(block.columns.size()));
    if (block.memory.size() < bytes) block.memory = AlignedBuffer<std::byte>(bytes);
    std::fill_n(block.memory.data(), bytes, std::byte{0});
    for_each_row(HeadView(this->view()).scores, column_view(block),
                 [&](const auto* from, auto* to) { std::copy_n(from, block.columns.held, to); });
  }

  /// The numbers of the columns after the block's rows.
  [[nodiscard]] Status score_columns(const PromptRows& rows, BlockSelection& block) const {
    const BlockColumns& columns = block.columns;
    const ScoreView view = column_view(block);
    block.row.assign(rows.columns(), 0.0F);
    if (state().awaits_row != 0) push_columns(block, block.row);
    const std::uint32_t scoring = scoring_queries(plan_.score, columns.tokens);
    const std::uint32_t pinning = plan_.rules.pins == 0 ? 0 : pin_queries;
    block.attention.assign(pinning == 0 ? 0 : columns.size(), 0.0);
    for (std::uint32_t query = 0; query < columns.tokens; ++query) {
      start_column(plan_, columns, this->view(), view, query, block.rows);
      const std::uint32_t queries_left = columns.tokens - query;
      if (queries_left > scoring && queries_left > pinning) continue;
      const Status status = rows.fused(query, block.row.data());
      if (status != Status::ok) return status;
      if (!kernels::is_valid_row(block.row.data(), block.row.size())) return Status::bad_row;
      const auto visible = std::span(block.row).first(columns.held + query + 1);
      if (queries_left <= scoring) push_columns(block, visible);
      for (std::size_t c = 0; queries_left <= pinning && c < visible.size(); ++c) {
        block.attention[c] += static_cast<double>(visible[c]);
      }
    }
    if (pinning > 0) {
      block.norms.resize(columns.size());
      write_norms(rows, block.norms.data());
    }
    return Status::ok;
  }

  /// The values of the competing tokens, pooled where the rules say so.
  void rank_values(BlockSelection& block) const {
    block.values.resize(block.competing);
    (void)plan_.score.with_row(column_view(block), newest_row(block.rows), [&](const auto& row) {
      for (std::uint32_t rank = 0; rank < block.competing; ++rank) {
        block.values[rank] = row.value(block.order[rank]);
      }
      return no_slot;
    });
    if (plan_.rules.pooling_kernel == 1) return;
    block.numbers.resize(block.competing);
    for (std::uint32_t rank = 0; rank < block.competing; ++rank) {
      block.numbers[rank] = plan_.score.number(static_cast<Value>(block.values[rank]));
    }
    for (std::uint32_t rank = 0; rank < block.competing; ++rank) {
      block.values[rank] = double_key(pooled(plan_.rules, block.competing, rank,
                                             [&](std::uint32_t r) { return block.numbers[r]; }));
    }
  }

  /// block.kept: the columns that stay, ascending.
  [[nodiscard]] Status choose(BlockSelection& block) const {
    const auto live = static_cast<std::uint32_t>(block.order.size());
    const bool cuts = cuts_block(plan_.rules, state());
    if (!cuts && live > slots()) return Status::full;
    block.pins = 0;
    block.kept.clear();
    block.ranks.clear();  // of the tokens that compete
    for (std::uint32_t rank = 0; rank < live; ++rank) {
      const std::uint32_t column = block.order[rank];
      const bool stays = !cuts || rank >= block.competing || is_permanent(block, column);
      stays ? block.kept.push_back(column) : block.ranks.push_back(rank);
    }
    if (cuts) {
      if (block.kept.size() > capacity()) return Status::nothing_to_evict;
      const std::size_t room = capacity() - block.kept.size();
      pin_tokens(block, static_cast<std::uint32_t>(room));
      keep_best(block, (std::min)(room, block.ranks.size()));
    }
    std::sort(block.kept.begin(), block.kept.end());
    return Status::ok;
  }

  /// Finds the tokens that are pinned. Those that compete get the highest value.
  void pin_tokens(BlockSelection& block, std::uint32_t room) const {
    const auto live = static_cast<std::uint32_t>(block.order.size());
    block.best.clear();  // ranks of the tokens that can be pinned
    for (std::uint32_t rank = 0; plan_.rules.pins > 0 && rank < live; ++rank) {
      if (!is_permanent(block, block.order[rank])) block.best.push_back(rank);
    }
    block.pins = count_pins(plan_.rules, block.columns, state(),
                            static_cast<std::uint32_t>(block.best.size()), room);
    if (block.pins == 0) return;
    // By rank: norms, attention, and what they give. Those of tokens that stay anyway are 0.
    block.numbers.assign(3 * std::size_t{live}, 0.0);
    double* norms = block.numbers.data();
    double* attention = norms + live;
    double* pin_values = attention + live;
    for (const std::uint32_t rank : block.best) {
      norms[rank] = static_cast<double>(block.norms[block.order[rank]]);
      attention[rank] = block.attention[block.order[rank]];
    }
    for (const std::uint32_t rank : block.best) {
      pin_values[rank] = pin_value(
          live, rank, [&](std::uint32_t r) { return norms[r]; },
          [&](std::uint32_t r) { return attention[r]; });
    }
    const auto key_of = [&](std::uint32_t rank) { return std::pair(pin_values[rank], rank); };
    const auto end = block.best.begin() + block.pins;
    std::ranges::nth_element(block.best, end, std::ranges::greater{}, key_of);
    std::ranges::sort(block.best.begin(), end, std::ranges::greater{}, key_of);
    block.pin_ranks.assign(block.columns.size(), BlockOutcome::no_pin);
    for (std::uint32_t pin = 0; pin < block.pins; ++pin) {
      const std::uint32_t rank = block.best[pin];
      block.pin_ranks[block.order[rank]] = pin;
      if (rank < block.competing) block.values[rank] = ~std::uint64_t{0};
    }
  }

  /// Of block.ranks, which are ascending, adds the columns of the `count` highest values to
  /// block.kept.
  static void keep_best(BlockSelection& block, std::size_t count) {
    block.compared.clear();
    for (const std::uint32_t rank : block.ranks) block.compared.push_back(block.values[rank]);
    kernels::top_k(std::span<const std::uint64_t>(block.compared), count,
                   [&](std::uint32_t i) { block.kept.push_back(block.order[block.ranks[i]]); });
  }

  /// block.best: of the kept columns that are not in a cold slot, those that go to one, ascending.
  void find_cold(BlockSelection& block, std::size_t hot) const {
    const std::uint32_t held = block.columns.held;
    block.best.clear();
    if (block.kept.size() <= hot) return;
    for (const std::uint32_t column : block.kept) {
      if (column < hot || column >= held) block.best.push_back(column);
    }
    const std::size_t count = block.best.size() - (std::min)(block.best.size(), hot);
    const Position recent_from = block.competing < block.order.size()
                                     ? block.positions[block.order[block.competing]]
                                     : (std::numeric_limits<Position>::max)();
    (void)plan_.score.with_row(column_view(block), newest_row(block.rows), [&](const auto& row) {
      const auto rank = [&](std::uint32_t column) {
        return tier_rank(row, column, block.positions[column], recent_from,
                         is_permanent(block, column));
      };
      std::ranges::nth_element(block.best, block.best.begin() + static_cast<std::ptrdiff_t>(count),
                               {}, rank);
      return no_slot;
    });
    block.best.resize(count);
    std::sort(block.best.begin(), block.best.end());
  }

  /// Tokens that are held keep their slots, but for those that go from a hot slot to a cold one.
  /// These and the tokens of the block take, in order, the slots of their tier that are free then.
  /// Writes the head's state after the block.
  void assign_slots(BlockSelection& selection, std::size_t hot) const {
    const BlockColumns& columns = selection.columns;
    find_cold(selection, hot);
    const auto goes_cold = [&](std::uint32_t column) {
      return std::binary_search(selection.best.begin(), selection.best.end(), column);
    };
    std::vector<std::uint32_t>& sources = selection.ranks;
    sources.assign((std::max)(size(), selection.kept.size()), no_slot);
    for (const std::uint32_t column : selection.kept) {
      if (column < columns.held && !goes_cold(column)) sources[column] = column;
    }
    selection.slots.assign(columns.tokens, no_slot);
    selection.moves.clear();
    auto hot_slot = sources.begin();
    auto cold_slot = sources.begin() + static_cast<std::ptrdiff_t>((std::min)(hot, sources.size()));
    for (const std::uint32_t column : selection.kept) {
      const bool is_cold = goes_cold(column);
      if (column < columns.held && !is_cold) continue;
      auto& slot = is_cold ? cold_slot : hot_slot;
      slot = std::find(slot, sources.end(), no_slot);
      *slot = column;
      const auto to = static_cast<Slot>(slot - sources.begin());
      if (column < columns.held) {
        selection.moves.push_back({column, to});
      } else {
        selection.slots[column - columns.held] = to;
      }
    }
    if (selection.next.size() != memory_.size()) {
      selection.next = AlignedBuffer<std::byte>(memory_.size());
    }
    std::fill_n(selection.next.data(), selection.next.size(), std::byte{0});
    HeadView from = view();
    if (!selection.moves.empty()) {  // recent tokens among them
      selection.best.assign(from.arrivals, from.arrivals + layout_.arrivals_size);
      for (Slot& arrival : selection.best) {
        const auto move = std::find_if(selection.moves.begin(), selection.moves.end(),
                                       [&](const TokenMove& m) { return m.from == arrival; });
        if (move != selection.moves.end()) arrival = move->to;
      }
      from.arrivals = selection.best.data();
    }
    const HeadView to(selection.next.data(), layout_);
    HeadState next = state();
    commit_block(
        SequentialTeam{}, plan_.rules,
        {.columns = columns,
         .sources = sources.data(),
         .size = static_cast<std::uint32_t>(sources.size()),
         .scores = column_view(selection),
         .rows = selection.rows,
         .pins = selection.pins,
         .pin_ranks = selection.pin_ranks.data()},
        from, [&](std::uint32_t token) { return selection.slots[token]; }, to, next);
    *to.head = next;
  }

  Plan plan_;
  HeadLayout layout_;
  AlignedBuffer<std::byte> memory_;
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_EVICTION_EVICTION_HEAD_HPP
