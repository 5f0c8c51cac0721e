// SPDX-License-Identifier: Apache-2.0
/// \file
/// MorphKV as its authors' published code behaves, for those who compare with it.
#ifndef MORPHKV_POLICY_MORPHKV_COMPAT_HPP
#define MORPHKV_POLICY_MORPHKV_COMPAT_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "morphkv/core/error.hpp"
#include "morphkv/core/row_matrix.hpp"
#include "morphkv/kernels/row_check.hpp"
#include "morphkv/kernels/top_k.hpp"
#include "morphkv/policy/eviction_policy.hpp"
#include "morphkv/score/recent_window.hpp"

namespace morphkv { inline namespace v0 {

/// The behaviour of the authors' Mistral, Phi-3 and Qwen2 code, step for step:
///
/// - a prompt is kept whole; from then on, once a head holds (1 + capacity) x evict_after tokens
///   with the new one, it drops to capacity + 1 of them in one step;
/// - the queries before the new one vote, as many as the window (or the prompt, if shorter) less
/// one;
/// - a vote is a softmax over the candidates alone: all tokens but the newest window + 1;
/// - the step's attention sees the tokens before the drop, but each query head only its own best
///   capacity - window candidates, and the newest window + 1;
/// - per KV head, the candidates that stay are the best by the fusion over the group.
///
/// With `evict_after` = 1, one query head a group and greedy decoding it keeps the tokens that
/// their code keeps. There are no sinks. It is made to be compared with, not to be fast: a step
/// costs O(window x group x tokens) exponentials and the logits of the window are kept in float.
///
/// Thread safety: none; one object a head.
class MorphKVCompat {
 public:
  struct Options {
    std::size_t capacity = 2048;  ///< M
    std::size_t window = 32;      ///< R
    Fusion fusion = Fusion::sum;
    GroupFusion group = GroupFusion::max;
    double evict_after = 1;      ///< at least 1
    std::size_t group_size = 1;  ///< query heads to a KV head; KVCache fills it in
    std::size_t max_tokens = 0;  ///< slots, at least: the longest prompt and one token more
  };

  struct Selection {
    Status status = Status::ok;
    Position first = 0;
    std::size_t tokens = 0;
    std::size_t columns = 0;
    std::size_t voters = 0;
    std::vector<float> logits;  ///< [voters][group][columns]
  };

  /// \throws std::invalid_argument if capacity is not above window, or window or group_size is 0,
  /// or
  ///         evict_after is below 1.
  explicit MorphKVCompat(const Options& options, std::size_t /*head*/ = 0)
      : options_(options),
        trigger_(validated_trigger(options)),
        positions_(std::max({options.max_tokens, trigger_, options.capacity + 2}), no_position),
        visible_(options.group_size, std::vector<unsigned char>(positions_.size())),
        window_(options.window - 1, options.group_size * positions_.size()),
        logits_(positions_.size()),
        fused_(positions_.size()),
        scores_(options.group_size + 1, std::vector<double>(positions_.size())),
        ring_size_(options.window - 1) {
    by_position_.reserve(positions_.size());
    ranks_.reserve(positions_.size());
  }

  [[nodiscard]] std::size_t slots() const noexcept { return positions_.size(); }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// no_position in slots that are free; there may be many.
  [[nodiscard]] std::span<const Position> positions() const noexcept {
    return std::span(positions_).first(size_);
  }
  [[nodiscard]] Position newest() const noexcept { return newest_; }

  [[nodiscard]] Status can_place(Position position) const noexcept {
    if (position <= newest_) return Status::position_backwards;
    const std::size_t held = by_position_.size() - (awaits_row_ ? to_drop_ : 0);
    return held < slots() ? Status::ok : Status::full;
  }

  /// The slot for the next token, and with it the decision of this step. O(window group slots).
  [[nodiscard]] Placement place(Position position) noexcept {
    const Status status = can_place(position);
    if (status != Status::ok) return {status, no_slot, no_position};
    if (awaits_row_) end_step({});
    const Slot slot = take_slot(position);
    awaits_row_ = true;
    decide_step();
    return {Status::ok, slot, no_position};
  }

  /// Which slots in use a query head of the group sees at this step: a byte each, 0 or 1.
  [[nodiscard]] std::span<const unsigned char> visible(std::size_t query_head) const noexcept {
    return std::span(visible_[query_head]).first(size_);
  }

  [[nodiscard]] Status can_observe() const noexcept {
    return awaits_row_ ? Status::ok : Status::out_of_step;
  }

  /// The scaled logits of the newest token over all slots in use, [group][size()]; those of free
  /// slots count for nothing. Then the step's tokens are dropped.
  Status observe_logits(std::span<const float> logits) noexcept {
    if (logits.size() != options_.group_size * size_) return Status::wrong_size;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const bool counts = positions_[i % size_] != no_position;
      if (counts && !(logits[i] < std::numeric_limits<float>::infinity())) return Status::bad_row;
    }
    if (!awaits_row_) return Status::out_of_step;
    end_step(logits);
    return Status::ok;
  }

  /// As observe_logits, from one row of softmax weights; for a group of one.
  Status observe(std::span<const float> row) noexcept {
    if (row.size() != size_ || options_.group_size != 1) return Status::wrong_size;
    if (!kernels::is_valid_row(row.data(), row.size())) return Status::bad_row;
    if (!awaits_row_) return Status::out_of_step;
    std::transform(row.begin(), row.end(), logits_.begin(), [](float w) { return std::log(w); });
    end_step(std::span(logits_).first(size_));
    return Status::ok;
  }

  /// The logits of a block's last queries. Nothing changes; it allocates.
  [[nodiscard]] Selection score_block(Position first, const PromptRows& rows) const {
    Selection selection;
    selection.first = first;
    selection.tokens = rows.tokens();
    selection.columns = rows.columns();
    selection.voters = std::min(ring_size_for(rows.tokens()), rows.tokens());
    selection.logits.resize(selection.voters * rows.group() * rows.columns());
    if (first <= newest_) selection.status = Status::position_backwards;
    for (std::size_t v = 0; v < selection.voters && selection.status == Status::ok; ++v) {
      selection.status = rows.logits(rows.tokens() - selection.voters + v,
                                     selection.logits.data() + v * rows.group() * rows.columns());
    }
    return selection;
  }

  /// Nothing is evicted by a prompt: there is room for it or not.
  Status select(Selection& selection) const {
    if (selection.status == Status::ok && by_position_.size() + selection.tokens > slots()) {
      selection.status = Status::full;
    }
    return selection.status;
  }

  /// \param slots [tokens]: receives the slot of each token.
  void commit(const Selection& selection, std::span<Slot> slots) {
    if (awaits_row_) end_step({});
    ring_size_ = ring_size_for(selection.tokens);
    std::vector<Slot> columns(selection.columns);
    const std::size_t held = selection.columns - selection.tokens;
    std::iota(columns.begin(), columns.begin() + static_cast<std::ptrdiff_t>(held), Slot{0});
    for (std::size_t token = 0; token < selection.tokens; ++token) {
      slots[token] = take_slot(selection.first + static_cast<Position>(token));
      columns[held + token] = slots[token];
    }
    for (std::size_t v = 0; v < selection.voters; ++v) {
      float* row = next_window_row();
      if (row == nullptr) break;
      for (std::size_t g = 0; g < options_.group_size; ++g) {
        const float* from =
            selection.logits.data() + (v * options_.group_size + g) * selection.columns;
        for (std::size_t c = 0; c < selection.columns; ++c)
          row[g * this->slots() + columns[c]] = from[c];
      }
    }
  }

  void reset() noexcept {
    std::fill(positions_.begin(), positions_.end(), no_position);
    by_position_.clear();
    size_ = pushed_ = to_drop_ = 0;
    ring_size_ = options_.window - 1;
    newest_ = no_position;
    awaits_row_ = false;
  }

  [[nodiscard]] MemoryUsage memory() const noexcept {
    return {.positions = positions_.size() * (sizeof(Position) + sizeof(Slot)),
            .window = window_.bytes(),
            .scores = slots() * (sizeof(float) + sizeof(double) + sizeof(std::uint32_t) +
                                 options_.group_size * sizeof(unsigned char) +
                                 scores_.size() * sizeof(double))};
  }

 private:
  [[nodiscard]] static std::size_t validated_trigger(const Options& options) {
    require(options.window > 0, "window", options.window, "at least 1");
    require(options.capacity > options.window, "capacity", options.capacity,
            "above window = " + std::to_string(options.window));
    require(options.group_size > 0, "group_size", options.group_size, "at least 1");
    require(options.evict_after >= 1 && options.evict_after < 1e6, "evict_after",
            options.evict_after, "from 1 to 1000000");
    return static_cast<std::size_t>(
        std::ceil(static_cast<double>(1 + options.capacity) * options.evict_after));
  }

  /// The voters of a sequence: the first prompt sets their number, once.
  [[nodiscard]] std::size_t ring_size_for(std::size_t prompt) const noexcept {
    return newest_ == no_position ? std::min(options_.window, std::max<std::size_t>(prompt, 1)) - 1
                                  : ring_size_;
  }

  [[nodiscard]] Slot take_slot(Position position) noexcept {
    const auto free = std::find(positions_.begin(), positions_.end(), no_position);
    const auto slot = static_cast<Slot>(free - positions_.begin());
    positions_[slot] = position;
    by_position_.push_back(slot);
    size_ = std::max<std::size_t>(size_, slot + 1);
    newest_ = position;
    return slot;
  }

  /// Who sees what at this step, and how many candidates are dropped after it.
  void decide_step() noexcept {
    for (auto& bytes : visible_) {
      for (std::size_t s = 0; s < size_; ++s) bytes[s] = positions_[s] != no_position ? 1 : 0;
    }
    to_drop_ = 0;
    const std::size_t held = by_position_.size();
    if (held < trigger_ || held < options_.window + 2) return;
    const std::size_t candidates = held - options_.window - 1;
    const std::size_t keep = options_.capacity - options_.window;
    if (candidates <= keep) return;
    count_votes(candidates);
    for (std::size_t g = 0; g < options_.group_size; ++g) {
      rank_best(scores_[g], candidates, keep);
      for (std::size_t c = 0; c < candidates; ++c) visible_[g][by_position_[c]] = 0;
      for (const std::uint32_t rank : ranks_) visible_[g][by_position_[rank]] = 1;
    }
    rank_best(scores_.back(), candidates, keep);
    to_drop_ = candidates - keep;
  }

  /// ranks_ = the best `keep` candidates, ascending. Candidates are numbered by position.
  void rank_best(const std::vector<double>& scores, std::size_t candidates,
                 std::size_t keep) noexcept {
    ranks_.resize(candidates);
    std::iota(ranks_.begin(), ranks_.end(), 0U);
    kernels::keep_top_k<double>(std::span(scores).first(candidates), keep, ranks_);
  }

  /// scores_[g] of each query head, and scores_.back() of the group.
  void count_votes(std::size_t candidates) noexcept {
    for (auto& scores : scores_) std::fill_n(scores.begin(), candidates, 0.0);
    for (std::size_t back = 0; back < std::min(pushed_, ring_size_); ++back) {
      const float* row = window_.row((pushed_ - 1 - back) % ring_size_);
      count_row(row, candidates);
    }
  }

  void count_row(const float* row, std::size_t candidates) noexcept {
    std::fill_n(fused_.begin(), candidates, 0.0);
    for (std::size_t g = 0; g < options_.group_size; ++g) {
      const float* logits = row + g * slots();
      double greatest = -std::numeric_limits<double>::infinity();
      for (std::size_t c = 0; c < candidates; ++c) {
        greatest = std::max(greatest, static_cast<double>(logits[by_position_[c]]));
      }
      if (!std::isfinite(greatest)) continue;  // the row votes for nobody
      double sum = 0;
      for (std::size_t c = 0; c < candidates; ++c)
        sum += std::exp(logits[by_position_[c]] - greatest);
      for (std::size_t c = 0; c < candidates; ++c) {
        const double weight = std::exp(logits[by_position_[c]] - greatest) / sum;
        fuse_row(scores_[g][c], weight);
        fuse_group(fused_[c], weight);
      }
    }
    for (std::size_t c = 0; c < candidates; ++c) fuse_row(scores_.back()[c], fused_[c]);
  }

  void fuse_row(double& score, double weight) const noexcept {
    score = options_.fusion == Fusion::max ? std::max(score, weight) : score + weight;
  }
  void fuse_group(double& fused, double weight) const noexcept {
    fused = options_.group == GroupFusion::max ? std::max(fused, weight) : fused + weight;
  }

  /// The row of the ring to be written next; null if nobody ever votes.
  [[nodiscard]] float* next_window_row() noexcept {
    return ring_size_ == 0 ? nullptr : window_.row(pushed_++ % ring_size_);
  }

  /// Stores the newest token's logits, none if it was not observed, and drops what was decided.
  void end_step(std::span<const float> logits) noexcept {
    if (float* row = next_window_row(); row != nullptr) {
      std::fill_n(row, window_.stride(), -std::numeric_limits<float>::infinity());
      for (std::size_t i = 0; i < logits.size(); ++i) {
        row[i / size_ * slots() + i % size_] = logits[i];
      }
    }
    if (to_drop_ > 0) drop();
    to_drop_ = 0;
    awaits_row_ = false;
  }

  /// All candidates but those in ranks_.
  void drop() noexcept {
    const std::size_t candidates = by_position_.size() - options_.window - 1;
    auto kept = ranks_.begin();
    std::size_t out = 0;
    for (std::size_t c = 0; c < by_position_.size(); ++c) {
      const bool stays = c >= candidates || (kept != ranks_.end() && *kept == c);
      if (c < candidates && stays) ++kept;
      if (stays) {
        by_position_[out++] = by_position_[c];
      } else {
        positions_[by_position_[c]] = no_position;
      }
    }
    by_position_.resize(out);
    while (size_ > 0 && positions_[size_ - 1] == no_position) --size_;
  }

  Options options_;
  std::size_t trigger_;              ///< tokens at which a head drops
  std::vector<Position> positions_;  ///< of every slot
  std::vector<std::vector<unsigned char>> visible_;
  RowMatrix<float> window_;    ///< logits of the voters: [group][slots] a row
  std::vector<float> logits_;  ///< work: of a row that came as weights
  std::vector<double> fused_;  ///< work: a fused row over the candidates
  std::vector<std::vector<double>> scores_;
  std::size_t ring_size_;             ///< voters
  std::vector<Slot> by_position_;     ///< live slots, oldest token first
  std::vector<std::uint32_t> ranks_;  ///< the candidates that stay
  std::size_t size_ = 0;
  std::size_t pushed_ = 0;
  std::size_t to_drop_ = 0;
  Position newest_ = no_position;
  bool awaits_row_ = false;
};

static_assert(PerQueryPolicy<MorphKVCompat>);

}}  // namespace morphkv::v0

#endif  // MORPHKV_POLICY_MORPHKV_COMPAT_HPP
