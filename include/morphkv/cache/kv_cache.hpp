// SPDX-License-Identifier: Apache-2.0
/// \file
/// The container: keys and values of one sequence, for all layers and heads, with a policy a head.
#ifndef MORPHKV_CACHE_KV_CACHE_HPP
#define MORPHKV_CACHE_KV_CACHE_HPP

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "morphkv/attention/decode.hpp"
#include "morphkv/attention/prefill.hpp"
#include "morphkv/cache/budget.hpp"
#include "morphkv/core/aligned_buffer.hpp"
#include "morphkv/core/executor.hpp"
#include "morphkv/core/memory_usage.hpp"
#include "morphkv/core/scalar.hpp"
#include "morphkv/core/shape.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/kernels/row_check.hpp"
#include "morphkv/policy/eviction_policy.hpp"

namespace morphkv::inline v0 {

/// The key-value cache of one sequence, kept at a constant size by `Policy`.
///
///     CacheShape shape{.layers = 32, .query_heads = 32, .kv_heads = 8, .head_dim = 128};
///     KVCache<Eigen::bfloat16, MorphKV> cache(shape, {.capacity = 2048, .window = 32});
///     cache.prefill(layer, queries, keys, values, outputs);   // the prompt
///     cache.append(layer, key, value, position);              // then for each token
///     cache.attend(layer, query, output);
///
/// Spans hold heads side by side, as projections leave them: queries and outputs are [query_heads]
/// [head_dim], keys and values [kv_heads][head_dim], and a block has its tokens outermost. Their
/// elements are the cache's scalar or float. Keys come rotated (RoPE at the absolute position);
/// logits are scaled by 1 / sqrt(head_dim).
///
/// Storage: keys and values of a head are [slot][head_dim], contiguous, and begin on a cache line;
/// all layers lie in one allocation. A new token is written over the victim: nothing moves.
///
/// Copies are independent: a copy forks the sequence. Steps neither allocate nor throw; they report
/// a Status, and nothing has changed unless it is Status::ok (attend says what it leaves).
///
/// Thread safety: calls for one cache must not overlap; within `prefill` and `attend` the heads of
/// a layer run on the executor that the caller passes, and the result does not depend on it.
template <Scalar T, EvictionPolicy Policy>
class KVCache {
 public:
  using Options = typename Policy::Options;

  /// \throws std::invalid_argument if the shape, the options or the budget do not fit, naming the
  ///         option, its value and the values allowed.
  KVCache(const CacheShape& shape, const Options& options, const Budget& budget = Budget::uniform())
      : shape_(validated(shape)),
        options_(fitted(options, shape)),
        budget_(budget),
        capacities_(budget.capacities(shape, options)) {
    if constexpr (!ResizablePolicy<Policy>) {
      require(!budget.is_adaptive(), "budget", "adaptive",
              "another one: the policy's heads keep "
              "their size");
    }
    for (std::size_t head = 0; head < shape_.heads(); ++head) {
      policies_.emplace_back(with_capacity(options_, capacities_[head]), head);
    }
    lay_out();
  }

  /// Appends a block of tokens at the next positions: a prompt, a chunk of one, or a later turn.
  /// Queries attend causally to what each head holds and to the block. Then the policy lets the
  /// block's last queries vote, and what it does not keep is gone: a long prompt given in chunks
  /// never needs more than the capacity and a chunk.
  ///
  /// \param queries [tokens][query_heads][head_dim]
  /// \param keys, values [tokens][kv_heads][head_dim]
  /// \param outputs [tokens][query_heads][head_dim], or empty if the engine has its own attention
  /// \return wrong_size, bad_row, full or nothing_to_evict, and nothing has changed but `outputs`
  /// It allocates: a copy of each head's block and of what the head holds, while that head is
  /// judged. O(tokens x (slots + tokens)) with outputs, O(voters x (slots + tokens)) without.
  template <class Execute = SerialExecutor>
  Status prefill(std::size_t layer, std::span<const float> queries, std::span<const float> keys,
                 std::span<const float> values, std::span<float> outputs = {},
                 Execute&& execute = {}) {
    return prefill_block<float>(layer, queries, keys, values, outputs, execute);
  }
  template <class Execute = SerialExecutor>
  Status prefill(std::size_t layer, std::span<const T> queries, std::span<const T> keys,
                 std::span<const T> values, std::span<T> outputs = {},
                 Execute&& execute = {}) requires(!std::same_as<T, float>) {
    return prefill_block<T>(layer, queries, keys, values, outputs, execute);
  }

  /// Writes one token's keys and values, in each head to a free slot or over the victim.
  /// \param key, value [kv_heads][head_dim]
  /// \param position greater than every position before it
  /// O(kv_heads x head_dim), and O(slots) where no victim is known yet.
  Status append(std::size_t layer, std::span<const float> key, std::span<const float> value,
                Position position) noexcept {
    return append_token<float>(layer, key, value, position);
  }
  Status append(std::size_t layer, std::span<const T> key, std::span<const T> value,
                Position position) noexcept requires(!std::same_as<T, float>) {
    return append_token<T>(layer, key, value, position);
  }

  /// Attention of the newest token, which then votes.
  /// \param query, output [query_heads][head_dim]
  /// \return bad_row if a weight is not finite, and then `output` means nothing; out_of_step if no
  ///         token was appended since the last step. No head has voted in either case.
  /// O(query_heads x slots x head_dim).
  template <class Execute = SerialExecutor>
  Status attend(std::size_t layer, std::span<const float> query, std::span<float> output,
                Execute&& execute = {}) noexcept {
    return attend_token<float>(layer, query, output, execute);
  }
  template <class Execute = SerialExecutor>
  Status attend(std::size_t layer, std::span<const T> query, std::span<T> output,
                Execute&& execute = {}) noexcept requires(!std::same_as<T, float>) {
    return attend_token<T>(layer, query, output, execute);
  }

  /// The newest token's attention, computed by the engine.
  /// \param weights [query_heads][stride]: after softmax, one a slot in use, in slot order
  /// \param stride  elements between the rows of two query heads
  /// \return wrong_size, bad_row or out_of_step, and nothing has changed
  Status observe(std::size_t layer, std::span<const float> weights, std::size_t stride) noexcept
      requires(!PerQueryPolicy<Policy>) {
    if (layer >= shape_.layers) return Status::wrong_size;
    for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
      const Status status = check_weights(layer, head, weights, stride);
      if (status != Status::ok) return status;
    }
    for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
      const std::size_t slots = size(layer, head);
      const float* rows = weights.data() + head * shape_.group() * stride;
      float* row = scratch(head).rows;
      kernels::portable::fuse_group(rows, stride, slots, shape_.group(), options_.group, row);
      statuses_[head] = policy_at(layer, head).observe(std::span<const float>(row, slots));
    }
    return first_failure();
  }

  /// Takes the newest `tokens` tokens of all layers back, as if they had never come: the victims
  /// that they replaced are alive again. For a rejected draft. \return too_far_back, and nothing
  /// has changed, unless `tokens` is within the options' history
  ///         and since the last prefill, in every layer
  Status rollback(std::size_t tokens) noexcept requires RevocablePolicy<Policy> {
    for (const Policy& policy : policies_) {
      if (policy.recorded() < tokens) return Status::too_far_back;
    }
    for (std::size_t layer = 0; layer < shape_.layers; ++layer) {
      for (std::size_t count = 0; count < tokens; ++count) {
        --appended_[layer];
        for (std::size_t head = 0; head < shape_.kv_heads; ++head) restore(layer, head);
      }
    }
    return Status::ok;
  }

  /// Forgets the sequence; memory and options stay.
  void reset() {
    if (budget_.is_adaptive()) {
      *this = KVCache(shape_, options_, budget_);
      return;
    }
    for (Policy& policy : policies_) policy.reset();
    std::fill(appended_.begin(), appended_.end(), std::size_t{0});
  }

  [[nodiscard]] const CacheShape& shape() const noexcept { return shape_; }
  [[nodiscard]] const Options& options() const noexcept { return options_; }
  [[nodiscard]] const Policy& policy(std::size_t layer, std::size_t head) const noexcept {
    return policies_[index(layer, head)];
  }

  /// The position that the next block begins at: one after the newest token's.
  [[nodiscard]] Position next_position(std::size_t layer) const noexcept {
    return policy(layer, 0).newest() + 1;
  }
  /// Slots in use.
  [[nodiscard]] std::size_t size(std::size_t layer, std::size_t head) const noexcept {
    return policy(layer, head).size();
  }
  /// Position of every slot in use; no_position where no token is.
  [[nodiscard]] std::span<const Position> positions(std::size_t layer,
                                                    std::size_t head) const noexcept {
    return policy(layer, head).positions();
  }
  /// [size][head_dim], in slot order; valid until the next prefill.
  [[nodiscard]] std::span<const T> keys(std::size_t layer, std::size_t head) const noexcept {
    return {keys_.data() + offsets_[index(layer, head)], size(layer, head) * shape_.head_dim};
  }
  [[nodiscard]] std::span<const T> values(std::size_t layer, std::size_t head) const noexcept {
    return {values_.data() + offsets_[index(layer, head)], size(layer, head) * shape_.head_dim};
  }

  /// All bytes that the cache holds, by kind.
  [[nodiscard]] MemoryUsage memory() const noexcept {
    MemoryUsage usage{.keys = keys_.bytes(),
                      .values = values_.bytes(),
                      .history = old_keys_.bytes() + old_values_.bytes(),
                      .scratch = scratch_.bytes()};
    for (const Policy& policy : policies_) usage += policy.memory();
    return usage;
  }

 private:
  using Ballot = typename Policy::Ballot;

  template <class E>
  struct BlockSpans {
    std::size_t tokens;
    std::span<const E> queries;
    std::span<const E> keys;
    std::span<const E> values;
    std::span<E> outputs;
  };

  [[nodiscard]] static const CacheShape& validated(const CacheShape& shape) {
    validate(shape);
    return shape;
  }

  [[nodiscard]] static Options fitted(Options options, const CacheShape& shape) {
    if constexpr (PerQueryPolicy<Policy>) options.group_size = shape.group();
    return options;
  }

  [[nodiscard]] std::size_t history() const noexcept {
    if constexpr (requires { options_.history; })
      return options_.history;
    else
      return 0;
  }
  [[nodiscard]] std::size_t key_width() const noexcept { return shape_.kv_heads * shape_.head_dim; }
  [[nodiscard]] std::size_t query_width() const noexcept {
    return shape_.query_heads * shape_.head_dim;
  }
  [[nodiscard]] std::size_t index(std::size_t layer, std::size_t head) const noexcept {
    MORPHKV_ASSERT(layer < shape_.layers && head < shape_.kv_heads);
    return layer * shape_.kv_heads + head;
  }
  [[nodiscard]] Policy& policy_at(std::size_t layer, std::size_t head) noexcept {
    return policies_[index(layer, head)];
  }
  [[nodiscard]] T* key_row(std::size_t layer, std::size_t head, std::size_t slot) noexcept {
    return keys_.data() + offsets_[index(layer, head)] + slot * shape_.head_dim;
  }
  [[nodiscard]] T* value_row(std::size_t layer, std::size_t head, std::size_t slot) noexcept {
    return values_.data() + offsets_[index(layer, head)] + slot * shape_.head_dim;
  }
  [[nodiscard]] std::size_t head_elements(std::size_t slots) const noexcept {
    return aligned_stride<T>(slots * shape_.head_dim);
  }

  /// Where every head's rows begin, and all memory of the cache.
  void lay_out() {
    std::size_t elements = 0;
    std::size_t most_slots = 0;
    for (std::size_t head = 0; head < policies_.size(); ++head) {
      // Adaptive heads share their layer's rows: rounding may ask for a row more, and a cache line.
      const std::size_t slots = policies_[head].slots() + (budget_.is_adaptive() ? 1 : 0);
      offsets_.push_back(elements);
      elements += head_elements(slots) + (budget_.is_adaptive() ? aligned_stride<T>(1) : 0);
      most_slots = std::max(most_slots, slots);
    }
    if (budget_.is_adaptive()) most_slots *= shape_.kv_heads;
    keys_ = AlignedBuffer<T>(elements);
    values_ = AlignedBuffer<T>(elements);
    old_keys_ = AlignedBuffer<T>(shape_.heads() * history() * shape_.head_dim);
    old_values_ = AlignedBuffer<T>(old_keys_.size());
    weight_stride_ = aligned_stride<float>(most_slots);
    scratch_ = AlignedBuffer<float>(shape_.kv_heads * scratch_floats());
    statuses_.resize(shape_.kv_heads);
    appended_.resize(shape_.layers);
  }

  // ---- blocks

  template <ElementOf<T> E, class Execute>
  Status prefill_block(std::size_t layer, std::span<const E> queries, std::span<const E> keys,
                       std::span<const E> values, std::span<E> outputs, Execute& execute) {
    if (layer >= shape_.layers) return Status::wrong_size;
    const std::size_t tokens = keys.size() / key_width();
    if (keys.size() != tokens * key_width() || values.size() != keys.size() ||
        queries.size() != tokens * query_width() ||
        (!outputs.empty() && outputs.size() != queries.size())) {
      return Status::wrong_size;
    }
    if (tokens == 0) return Status::ok;
    const Position first = next_position(layer);
    if (tokens > static_cast<std::size_t>(std::numeric_limits<Position>::max() - first)) {
      return Status::full;
    }
    const BlockSpans<E> block{tokens, queries, keys, values, outputs};
    auto ballots = vote(layer, first, block, execute);
    for (const Ballot& ballot : ballots) {
      if (ballot.status != Status::ok) return ballot.status;
    }
    std::vector<Policy> adapted = adapt(layer, ballots);
    for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
      const Policy& policy = adapted.empty() ? policy_at(layer, head) : adapted[head];
      const Status status = policy.decide(ballots[head]);
      if (status != Status::ok) return status;
    }
    if (!adapted.empty()) divide(layer, adapted);
    for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
      admit(layer, head, ballots[head], block);
    }
    return Status::ok;
  }

  template <class E>
  [[nodiscard]] PrefillHead<T, E> prefill_head(std::size_t layer, std::size_t head,
                                               const BlockSpans<E>& block) noexcept {
    const std::size_t query_offset = head * shape_.group() * shape_.head_dim;
    const std::size_t key_offset = head * shape_.head_dim;
    return {.positions = positions(layer, head),
            .keys = key_row(layer, head, 0),
            .values = value_row(layer, head, 0),
            .layout = {.stride = shape_.head_dim},
            .tokens = block.tokens,
            .block_queries = block.queries.data() + query_offset,
            .block_keys = block.keys.data() + key_offset,
            .block_values = block.values.data() + key_offset,
            .block_outputs = block.outputs.empty() ? nullptr : block.outputs.data() + query_offset,
            .query_stride = query_width(),
            .key_stride = key_width(),
            .group = shape_.group(),
            .head_dim = shape_.head_dim,
            .scale = scale(),
            .fusion = options_.group};
  }

  template <class E, class Execute>
  [[nodiscard]] std::vector<Ballot> vote(std::size_t layer, Position first,
                                         const BlockSpans<E>& block, Execute& execute) {
    std::vector<std::optional<Ballot>> ballots(shape_.kv_heads);
    execute(shape_.kv_heads, [&](std::size_t head) {
      PrefillAttention<T, E> attention(prefill_head(layer, head, block));
      ballots[head].emplace(policy(layer, head).vote(first, attention.rows()));
      if (ballots[head]->status == Status::ok) ballots[head]->status = attention.finish_outputs();
    });
    std::vector<Ballot> result;
    result.reserve(ballots.size());
    for (auto& ballot : ballots) result.push_back(std::move(*ballot));
    return result;
  }

  template <class E>
  void admit(std::size_t layer, std::size_t head, const Ballot& ballot,
             const BlockSpans<E>& block) {
    std::vector<Slot> slots(block.tokens);
    policy_at(layer, head).admit(ballot, slots);
    for (std::size_t token = 0; token < block.tokens; ++token) {
      if (slots[token] == no_slot) continue;
      const std::size_t offset = token * key_width() + head * shape_.head_dim;
      write_row(key_row(layer, head, slots[token]), block.keys.data() + offset);
      write_row(value_row(layer, head, slots[token]), block.values.data() + offset);
    }
  }

  /// AdaKV: the layer's heads with the capacities that the votes on a first prompt give them; none
  /// if they stay as they are.
  [[nodiscard]] std::vector<Policy> adapt(std::size_t layer,
                                          std::span<const Ballot> ballots) const {
    std::vector<Policy> heads;
    if constexpr (ResizablePolicy<Policy>) {
      const std::size_t capacity = capacities_[index(layer, 0)];
      const bool first = ballots[0].first == 0;
      if (!budget_.is_adaptive() || !first || ballots[0].tokens <= capacity) return heads;
      std::vector<std::vector<double>> scores(ballots.size());
      for (std::size_t head = 0; head < ballots.size(); ++head) {
        scores[head].reserve(ballots[head].values.size());
        for (std::size_t c = 0; c < ballots[head].values.size(); ++c) {
          const bool stays = policy(layer, head).is_permanent(ballots[head], c);
          scores[head].push_back(stays ? std::numeric_limits<double>::infinity()
                                       : static_cast<double>(ballots[head].values[c]));
        }
      }
      const std::size_t recent = recent_of(options_);
      for (const std::size_t distant :
           adaptive_capacities(scores, capacity - recent, budget_.floor())) {
        heads.push_back(policy(layer, heads.size()));
        heads.back().set_capacity(distant + recent);
      }
    }
    return heads;
  }

  /// Gives the layer's heads their own shares of its rows.
  void divide(std::size_t layer, std::span<Policy> heads) {
    std::size_t offset = offsets_[index(layer, 0)];
    for (std::size_t head = 0; head < heads.size(); ++head) {
      policy_at(layer, head) = std::move(heads[head]);
      offsets_[index(layer, head)] = offset;
      offset += head_elements(policy_at(layer, head).slots());
    }
    MORPHKV_ASSERT(offset <=
                   (layer + 1 < shape_.layers ? offsets_[index(layer + 1, 0)] : keys_.size()));
  }

  // ---- steps

  template <ElementOf<T> E>
  Status append_token(std::size_t layer, std::span<const E> key, std::span<const E> value,
                      Position position) noexcept {
    if (layer >= shape_.layers || key.size() != key_width() || value.size() != key_width()) {
      return Status::wrong_size;
    }
    for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
      const Status status = policy_at(layer, head).can_place(position);
      if (status != Status::ok) return status;
    }
    for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
      const Placement placement = policy_at(layer, head).place(position);
      save_history(layer, head, placement.slot);
      write_row(key_row(layer, head, placement.slot), key.data() + head * shape_.head_dim);
      write_row(value_row(layer, head, placement.slot), value.data() + head * shape_.head_dim);
    }
    ++appended_[layer];
    return Status::ok;
  }

  template <ElementOf<T> E, class Execute>
  Status attend_token(std::size_t layer, std::span<const E> query, std::span<E> output,
                      Execute& execute) noexcept {
    if (layer >= shape_.layers || query.size() != query_width() || output.size() != query_width()) {
      return Status::wrong_size;
    }
    execute(shape_.kv_heads, [&](std::size_t head) {
      statuses_[head] = attend_one(layer, head, query.data(), output.data());
    });
    if (const Status status = first_failure(); status != Status::ok) return status;
    execute(shape_.kv_heads, [&](std::size_t head) {
      statuses_[head] = observe_head(policy_at(layer, head), shape_.group(), scratch(head));
    });
    return first_failure();
  }

  [[nodiscard]] float scale() const noexcept {
    return 1.0F / std::sqrt(static_cast<float>(shape_.head_dim));
  }

  [[nodiscard]] std::size_t scratch_floats() const noexcept {
    const std::size_t rows = shape_.group() + (PerQueryPolicy<Policy> ? shape_.group() : 1);
    return 2 * aligned_stride<float>(shape_.group() * shape_.head_dim) + rows * weight_stride_;
  }

  /// The working space of a head, which all layers share.
  [[nodiscard]] DecodeScratch scratch(std::size_t head) noexcept {
    float* begin = scratch_.data() + head * scratch_floats();
    const std::size_t width = aligned_stride<float>(shape_.group() * shape_.head_dim);
    return {.query = begin,
            .output = begin + width,
            .weights = begin + 2 * width,
            .rows = begin + 2 * width + shape_.group() * weight_stride_,
            .stride = weight_stride_};
  }

  template <class E>
  static void write_elements(const E* from, std::size_t count, auto* to) noexcept {
    using To = std::remove_pointer_t<decltype(to)>;
    std::transform(from, from + count, to, [](E x) { return static_cast<To>(x); });
  }
  template <class E>
  void write_row(T* row, const E* from) const noexcept {
    write_elements(from, shape_.head_dim, row);
  }

  template <class E>
  [[nodiscard]] Status attend_one(std::size_t layer, std::size_t head, const E* query,
                                  E* output) noexcept {
    const std::size_t width = shape_.group() * shape_.head_dim;
    const DecodeScratch space = scratch(head);
    write_elements(query + head * width, width, space.query);
    const DecodeHead<T> stored{.keys = key_row(layer, head, 0),
                               .values = value_row(layer, head, 0),
                               .stride = shape_.head_dim,
                               .group = shape_.group(),
                               .head_dim = shape_.head_dim,
                               .scale = scale(),
                               .fusion = options_.group};
    const Status status = attend_head(stored, policy(layer, head), space);
    write_elements(space.output, width, output + head * width);
    return status;
  }

  [[nodiscard]] Status check_weights(std::size_t layer, std::size_t head,
                                     std::span<const float> weights,
                                     std::size_t stride) const noexcept {
    const std::size_t slots = size(layer, head);
    if (stride < slots || weights.size() < (shape_.query_heads - 1) * stride + slots) {
      return Status::wrong_size;
    }
    for (std::size_t g = 0; g < shape_.group(); ++g) {
      const float* row = weights.data() + (head * shape_.group() + g) * stride;
      if (!kernels::is_valid_row(row, slots)) return Status::bad_row;
    }
    return policy(layer, head).can_observe();
  }

  [[nodiscard]] Status first_failure() const noexcept {
    const auto failed = std::find_if(statuses_.begin(), statuses_.end(),
                                     [](Status status) { return status != Status::ok; });
    return failed == statuses_.end() ? Status::ok : *failed;
  }

  // ---- history

  [[nodiscard]] std::size_t history_offset(std::size_t layer, std::size_t head) const noexcept {
    return (index(layer, head) * history() + appended_[layer] % history()) * shape_.head_dim;
  }

  /// Keeps the key and the value that a token is about to be written over.
  void save_history(std::size_t layer, std::size_t head, Slot slot) noexcept {
    if (history() == 0) return;
    const std::size_t offset = history_offset(layer, head);
    std::copy_n(key_row(layer, head, slot), shape_.head_dim, old_keys_.data() + offset);
    std::copy_n(value_row(layer, head, slot), shape_.head_dim, old_values_.data() + offset);
  }

  void restore(std::size_t layer, std::size_t head) noexcept {
    const Slot slot = policy_at(layer, head).rollback();
    const std::size_t offset = history_offset(layer, head);
    std::copy_n(old_keys_.data() + offset, shape_.head_dim, key_row(layer, head, slot));
    std::copy_n(old_values_.data() + offset, shape_.head_dim, value_row(layer, head, slot));
  }

  CacheShape shape_;
  Options options_;
  Budget budget_;
  std::vector<std::size_t>
      capacities_;                    ///< [layers][kv_heads], as the budget divides them at first
  std::vector<Policy> policies_;      ///< [layers][kv_heads]
  std::vector<std::size_t> offsets_;  ///< of each head's first element, in keys_ and values_
  AlignedBuffer<T> keys_;
  AlignedBuffer<T> values_;
  AlignedBuffer<T> old_keys_;  ///< [layers][kv_heads][history][head_dim]: rows written over
  AlignedBuffer<T> old_values_;
  std::size_t weight_stride_ = 0;
  AlignedBuffer<float> scratch_;       ///< [kv_heads][scratch_floats()]
  std::vector<Status> statuses_;       ///< [kv_heads], of the step that is under way
  std::vector<std::size_t> appended_;  ///< [layers]: tokens that came one by one
};

}  // namespace morphkv::inline v0

#endif  // MORPHKV_CACHE_KV_CACHE_HPP
