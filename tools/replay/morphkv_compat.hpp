// SPDX-License-Identifier: Apache-2.0
/// \file
/// MorphKV as its authors' published code behaves. The library's MorphKV is the one of the paper.
#ifndef MORPHKV_TOOLS_REPLAY_MORPHKV_COMPAT_HPP
#define MORPHKV_TOOLS_REPLAY_MORPHKV_COMPAT_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "morphkv/core/aligned_buffer.hpp"
#include "morphkv/core/error.hpp"
#include "morphkv/core/memory_usage.hpp"
#include "morphkv/core/types.hpp"

namespace morphkv::replay {

/// The behaviour of the authors' Mistral, Phi-3 and Qwen2 code for one KV head, step for step:
///
/// - The prompt is kept whole. From then on, once a head holds (1 + capacity) x evict_after tokens
///   with the new one, it drops to capacity + 1 of them in one step.
/// - The scoring queries are those before the new one: as many as the window (or the prompt, if it
///   is shorter) less one.
/// - The weights of a scoring query are a softmax over the candidates alone: all tokens but the
///   newest window + 1.
/// - The step's attention sees the tokens before the drop, but each query head only its own best
///   capacity - window candidates, and the newest window + 1.
/// - The KV head keeps the best candidates by the fusion over the group.
///
/// With `evict_after` = 1, one query head per group and greedy decoding it keeps the tokens that
/// their code keeps. It has no sinks. A step costs O(window x group x tokens) exponentials.
class MorphKVCompat {
 public:
  struct Options {
    std::size_t capacity = 2048;  ///< M
    std::size_t window = 32;      ///< R
    Fusion fusion = Fusion::sum;
    GroupFusion group = GroupFusion::max;
    double evict_after = 1;      ///< at least 1
    std::size_t max_tokens = 0;  ///< slots, at least: the longest prompt and one token more
  };

  /// \param group_size query heads per KV head
  /// \throws std::invalid_argument if capacity is not above window, window or group_size is 0, or
  ///         evict_after is below 1.
  MorphKVCompat(const Options& options, std::size_t group_size)
      : options_(options),
        group_size_(group_size),
        trigger_(validated_trigger(options, group_size)),
        positions_(std::max({options.max_tokens, trigger_, options.capacity + 2}), no_position),
        visible_(group_size, std::vector<unsigned char>(positions_.size())),
        window_(options.window - 1, group_size * positions_.size()),
        fused_(positions_.size()),
        scores_(group_size + 1, std::vector<double>(positions_.size())),
        ring_size_(options.window - 1) {}

  [[nodiscard]] std::size_t slots() const { return positions_.size(); }
  [[nodiscard]] std::size_t size() const { return size_; }
  /// no_position in free slots, of which there may be many.
  [[nodiscard]] std::span<const Position> positions() const {
    return std::span(positions_).first(size_);
  }
  [[nodiscard]] Position newest() const { return newest_; }

  /// Adds the tokens of a prompt or of a later turn, none of which is evicted by it. Then
  /// observe_query() expects the last scoring_queries(slots.size()) of its queries.
  /// \param slots receives the slot of each token
  /// \return position_backwards or full, and nothing has changed
  Status append_block(Position first, std::span<Slot> slots) {
    if (first <= newest_) return Status::position_backwards;
    if (by_position_.size() + slots.size() > this->slots()) return Status::full;
    if (awaits_row_) end_step({});
    ring_size_ = ring_size_for(slots.size());
    for (std::size_t token = 0; token < slots.size(); ++token) {
      slots[token] = take_slot(first + static_cast<Position>(token));
    }
    return Status::ok;
  }

  /// How many of the last queries of the block that append_block() added are stored.
  [[nodiscard]] std::size_t scoring_queries(std::size_t block) const {
    return std::min(ring_size_, block);
  }

  /// The scaled logits of one query of a block: [group][size()], minus infinity where it sees no
  /// token.
  void observe_query(std::span<const float> logits) { store_logits(logits); }

  /// The slot for the next token. The step's masks and its drop are decided here.
  /// O(window x group x tokens).
  [[nodiscard]] Placement place(Position position) {
    if (position <= newest_) return {Status::position_backwards, no_slot, no_position};
    const std::size_t held = by_position_.size() - (awaits_row_ ? to_drop_ : 0);
    if (held >= slots()) return {Status::full, no_slot, no_position};
    if (awaits_row_) end_step({});
    const Slot slot = take_slot(position);
    awaits_row_ = true;
    decide_step();
    return {Status::ok, slot, no_position};
  }

  /// Which slots in use a query head of the group sees at this step: one byte per slot, 0 or 1.
  [[nodiscard]] std::span<const unsigned char> visible(std::size_t query_head) const {
    return std::span(visible_[query_head]).first(size_);
  }

  /// The scaled logits of the newest token over all slots in use, [group][size()]; those of free
  /// slots are ignored. Then the step's tokens are dropped.
  Status observe(std::span<const float> logits) {
    if (logits.size() != group_size_ * size_) return Status::wrong_size;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const bool is_free = positions_[i % size_] == no_position;
      if (!is_free && !(logits[i] < std::numeric_limits<float>::infinity())) return Status::bad_row;
    }
    if (!awaits_row_) return Status::out_of_step;
    end_step(logits);
    return Status::ok;
  }

  [[nodiscard]] MemoryUsage memory() const {
    return {.positions = positions_.size() * (sizeof(Position) + sizeof(Slot)),
            .window = window_.bytes(),
            .scores =
                slots() * (sizeof(float) + sizeof(double) + sizeof(std::uint32_t) +
                           group_size_ * sizeof(unsigned char) + scores_.size() * sizeof(double))};
  }

 private:
  [[nodiscard]] static std::size_t validated_trigger(const Options& options,
                                                     std::size_t group_size) {
    require(options.window > 0, "window", options.window, "at least 1");
    require(options.capacity > options.window, "capacity", options.capacity,
            "above window = " + std::to_string(options.window));
    require(group_size > 0, "group_size", group_size, "at least 1");
    require(options.evict_after >= 1 && options.evict_after < 1e6, "evict_after",
            options.evict_after, "from 1 to 1000000");
    return static_cast<std::size_t>(
        std::ceil(static_cast<double>(1 + options.capacity) * options.evict_after));
  }

  /// The scoring queries of a sequence: the first prompt sets their number, once.
  [[nodiscard]] std::size_t ring_size_for(std::size_t prompt) const {
    return newest_ == no_position ? std::min(options_.window, std::max<std::size_t>(prompt, 1)) - 1
                                  : ring_size_;
  }

  [[nodiscard]] Slot take_slot(Position position) {
    const auto free = std::find(positions_.begin(), positions_.end(), no_position);
    const auto slot = static_cast<Slot>(free - positions_.begin());
    positions_[slot] = position;
    by_position_.push_back(slot);
    size_ = std::max<std::size_t>(size_, slot + 1);
    newest_ = position;
    return slot;
  }

  /// What each query head sees at this step, and how many candidates are dropped after it.
  void decide_step() {
    for (auto& bytes : visible_) {
      for (std::size_t s = 0; s < size_; ++s) bytes[s] = positions_[s] != no_position ? 1 : 0;
    }
    to_drop_ = 0;
    const std::size_t held = by_position_.size();
    if (held < trigger_ || held < options_.window + 2) return;
    const std::size_t candidates = held - options_.window - 1;
    const std::size_t keep = options_.capacity - options_.window;
    if (candidates <= keep) return;
    score_candidates(candidates);
    for (std::size_t g = 0; g < group_size_; ++g) {
      rank_best(scores_[g], candidates, keep);
      for (std::size_t c = 0; c < candidates; ++c) visible_[g][by_position_[c]] = 0;
      for (const std::size_t rank : ranks_) visible_[g][by_position_[rank]] = 1;
    }
    rank_best(scores_.back(), candidates, keep);
    to_drop_ = candidates - keep;
  }

  /// ranks_ = the best `keep` candidates, ascending; of equal ones the newer stay. Candidates are
  /// numbered by position.
  void rank_best(const std::vector<double>& scores, std::size_t candidates, std::size_t keep) {
    ranks_.resize(candidates);
    std::iota(ranks_.begin(), ranks_.end(), std::size_t{0});
    const auto end = ranks_.begin() + static_cast<std::ptrdiff_t>(keep);
    std::nth_element(ranks_.begin(), end, ranks_.end(), [&](std::size_t a, std::size_t b) {
      return scores[a] != scores[b] ? scores[a] > scores[b] : a > b;
    });
    ranks_.erase(end, ranks_.end());
    std::sort(ranks_.begin(), ranks_.end());
  }

  /// scores_[g] of each query head, and scores_.back() of the group.
  void score_candidates(std::size_t candidates) {
    for (auto& scores : scores_) std::fill_n(scores.begin(), candidates, 0.0);
    for (std::size_t back = 0; back < std::min(pushed_, ring_size_); ++back) {
      add_query(window_.row((pushed_ - 1 - back) % ring_size_), candidates);
    }
  }

  void add_query(const float* row, std::size_t candidates) {
    std::fill_n(fused_.begin(), candidates, 0.0);
    for (std::size_t g = 0; g < group_size_; ++g) {
      const float* logits = row + g * slots();
      double greatest = -std::numeric_limits<double>::infinity();
      for (std::size_t c = 0; c < candidates; ++c) {
        greatest = std::max(greatest, static_cast<double>(logits[by_position_[c]]));
      }
      if (!std::isfinite(greatest)) continue;  // the query saw none of the candidates
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

  void fuse_row(double& score, double weight) const {
    score = options_.fusion == Fusion::max ? std::max(score, weight) : score + weight;
  }
  void fuse_group(double& fused, double weight) const {
    fused = options_.group == GroupFusion::max ? std::max(fused, weight) : fused + weight;
  }

  /// One more row of the ring; an empty one for a token that was not observed.
  void store_logits(std::span<const float> logits) {
    if (ring_size_ == 0) return;
    float* row = window_.row(pushed_++ % ring_size_);
    std::fill_n(row, window_.stride(), -std::numeric_limits<float>::infinity());
    for (std::size_t i = 0; i < logits.size(); ++i) {
      row[i / size_ * slots() + i % size_] = logits[i];
    }
  }

  void end_step(std::span<const float> logits) {
    store_logits(logits);
    if (to_drop_ > 0) drop();
    to_drop_ = 0;
    awaits_row_ = false;
  }

  /// Drops all candidates but those in ranks_.
  void drop() {
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
  std::size_t group_size_;
  std::size_t trigger_;              ///< tokens at which a head drops
  std::vector<Position> positions_;  ///< of every slot
  std::vector<std::vector<unsigned char>> visible_;
  RowMatrix<float> window_;    ///< logits of the scoring queries: [group][slots] per row
  std::vector<double> fused_;  ///< work: a fused row over the candidates
  std::vector<std::vector<double>> scores_;
  std::size_t ring_size_;           ///< scoring queries
  std::vector<Slot> by_position_;   ///< live slots, oldest token first
  std::vector<std::size_t> ranks_;  ///< the candidates that stay
  std::size_t size_ = 0;
  std::size_t pushed_ = 0;
  std::size_t to_drop_ = 0;
  Position newest_ = no_position;
  bool awaits_row_ = false;
};

}  // namespace morphkv::replay

#endif  // MORPHKV_TOOLS_REPLAY_MORPHKV_COMPAT_HPP
