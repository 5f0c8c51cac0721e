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
#include "morphkv/cache/engine_storage.hpp"
#include "morphkv/cache/owned_storage.hpp"
#include "morphkv/cache/shared_storage.hpp"
#include "morphkv/core/aligned_buffer.hpp"
#include "morphkv/core/executor.hpp"
#include "morphkv/core/fetch.hpp"
#include "morphkv/core/kv_view.hpp"
#include "morphkv/core/memory_usage.hpp"
#include "morphkv/core/scalar.hpp"
#include "morphkv/core/shape.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/kernels/row_check.hpp"
#include "morphkv/policy/eviction_policy.hpp"

namespace morphkv { inline namespace v0 {

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
/// Storage: OwnedStorage has a head's keys in one piece, [slot][head_dim], and all layers in one
/// allocation. EngineStorage is a view of memory that the engine owns, strided or in pages. In
/// SharedStorage all heads and layers share one total of slots. In each, a new token is written
/// over a victim, and no key ever moves.
///
/// Copies are independent: a copy forks the sequence (a cache over EngineStorage moves only; see
/// copy_from). Steps neither allocate nor throw; they report a Status, and nothing has changed
/// unless it is Status::ok (attend says what it leaves).
///
/// Thread safety: calls for one cache must not overlap; within `prefill` and `attend` the heads of
/// a layer run on the executor that the caller passes, and the result does not depend on it.
template <Scalar T, EvictionPolicy Policy, class Storage = OwnedStorage<T>>
class KVCache {
  static constexpr bool owns_memory = std::same_as<Storage, OwnedStorage<T>>;
  static constexpr bool shares_slots = std::same_as<Storage, SharedStorage<T>>;

 public:
  using Options = typename Policy::Options;

  // clang-format off
  /// \throws std::invalid_argument if the shape, the options or the budget do not fit, naming the
  ///         option, its value and the values allowed.
  KVCache(const CacheShape& shape, const Options& options,
          const Budget& budget = Budget::uniform()) requires owns_memory
      : KVCache(shape, options, budget, [&](std::span<const std::size_t> slots) {
          return OwnedStorage<T>(shape, slots);
        }) {}

  /// A cache over memory that the engine owns.
  /// \throws std::invalid_argument likewise, also if a head has less memory than slots (but for
  ///         pages, which may come later), or the budget is an adaptive one
  KVCache(const CacheShape& shape, const Options& options, Storage storage,
          const Budget& budget = Budget::uniform()) requires(!owns_memory && !shares_slots)
      : KVCache(shape, options, budget,
                [&](std::span<const std::size_t>) { return std::move(storage); }) {
    require(!budget.is_adaptive(), "budget", "adaptive",
            "another one: its heads share memory, which only a cache of its own memory divides");
    for (std::size_t head = 0; head < shape_.heads(); ++head) {
      require(storage_.can_grow() ||
          storage_.slots(head / shape_.kv_heads, head % shape_.kv_heads) >= slots(head),
              "slots of memory", storage_.slots(0, 0),
              "at least those of the policy: " + std::to_string(slots(head)));
    }
  }

  /// A cache whose heads share one constant total of slots: a token that comes takes the slot of
  /// the token with the lowest score of all heads and layers, within the bounds of `shared`; of
  /// equal scores its own head's goes, then the lowest layer's and head's. A block of tokens is
  /// cut to what its head has at the time.
  /// \throws std::invalid_argument likewise, also unless 0 <= floor <= 1 <= most
  KVCache(const CacheShape& shape, const Options& options,
          const SharedBudget& shared) requires(shares_slots && SharingPolicy<Policy>)
      : KVCache(shape, with_room(options, shared), Budget::uniform(),
                [&](std::span<const std::size_t> slots) {
                  return SharedStorage<T>(shape, options.capacity, slots[0]);
                }) {
    shared_ = shared;
    offers_.assign(shape_.heads(), no_offer);
  }
  // clang-format on

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
  /// \param placements [kv_heads] or empty: receives each head's slot and the position of the
  ///                   victim that lay there, for bookkeeping of the engine's own
  /// O(kv_heads x head_dim), and O(slots) where no victim is known yet.
  Status append(std::size_t layer, std::span<const float> key, std::span<const float> value,
                Position position, std::span<Placement> placements = {}) noexcept {
    return append_token<float>(layer, key, value, position, placements);
  }
  Status append(std::size_t layer, std::span<const T> key, std::span<const T> value,
                Position position, std::span<Placement> placements = {}) noexcept
      requires(!std::same_as<T, float>) {
    return append_token<T>(layer, key, value, position, placements);
  }

  /// The same for an engine that writes keys and values itself, to the slots that it is told. (With
  /// a history, what lay there is saved first.)
  Status place(std::size_t layer, Position position, std::span<Placement> placements) noexcept {
    if (placements.size() != shape_.kv_heads) return Status::wrong_size;
    return place_token(layer, position, placements, [](std::size_t, Slot) {});
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

  /// attend in two parts, for whoever schedules heads himself (a batch of sequences, say): first
  /// the attention of every head of the layer, in any order and at the same time, then the votes.
  /// \param query, output [group][head_dim]
  Status attend_head(std::size_t layer, std::size_t head, std::span<const float> query,
                     std::span<float> output) noexcept {
    return attend_one<float>(layer, head, query, output);
  }
  Status attend_head(std::size_t layer, std::size_t head, std::span<const T> query,
                     std::span<T> output) noexcept requires(!std::same_as<T, float>) {
    return attend_one<T>(layer, head, query, output);
  }
  /// Lets the heads vote, unless one of them could not attend: then its status, and none has voted.
  /// \pre attend_head was called for every head of the layer since the token was placed
  template <class Execute = SerialExecutor>
  Status observe_heads(std::size_t layer, Execute&& execute = {}) noexcept {
    if (const Status status = first_failure(); status != Status::ok) return status;
    execute(shape_.kv_heads, [&](std::size_t head) {
      const std::span<const float> row(scratch(head).row, size(layer, head));
      statuses_[head] = policy_at(layer, head).observe(row);
      update_offer(index(layer, head));
    });
    return first_failure();
  }

  /// The newest token's attention, computed by the engine.
  /// \param weights [query_heads][stride]: after softmax, one a slot in use, in slot order
  /// \param stride  elements between the rows of two query heads
  /// \return wrong_size, bad_row or out_of_step, and nothing has changed
  Status observe(std::size_t layer, std::span<const float> weights, std::size_t stride) noexcept {
    if (layer >= shape_.layers) return Status::wrong_size;
    for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
      const Status status = check_weights(layer, head, weights, stride);
      if (status != Status::ok) return status;
    }
    for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
      const std::size_t slots = size(layer, head);
      const float* rows = weights.data() + head * shape_.group() * stride;
      float* row = scratch(head).row;
      kernels::portable::fuse_group(rows, stride, slots, shape_.group(), options_.group, row);
      statuses_[head] = policy_at(layer, head).observe(std::span<const float>(row, slots));
      update_offer(index(layer, head));
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
    if constexpr (owns_memory) {
      if (budget_.is_adaptive()) {
        *this = KVCache(shape_, options_, budget_);
        return;
      }
    }
    if constexpr (shares_slots) {
      *this = KVCache(shape_, options_, shared_);
      return;
    }
    for (Policy& policy : policies_) policy.reset();
    std::fill(appended_.begin(), appended_.end(), std::size_t{0});
  }

  /// Becomes a fork of another cache of the same shape, options and budget, in memory of its own.
  /// It allocates nothing. O(slots in use x head_dim) a head.
  /// \throws std::invalid_argument if they are not the same, or this one's pages are too few
  void copy_from(const KVCache& other) {
    if (this == &other) return;
    require(shape_ == other.shape_, "other", "a cache of another shape", "one of the same shape");
    for (std::size_t head = 0; head < policies_.size(); ++head) {
      require(slots(head) == other.slots(head) && history() == other.history(), "other",
              "a cache of other slots or history", "one of the same options and budget");
      require(other.policies_[head].size() <=
                  storage_.slots(head / shape_.kv_heads, head % shape_.kv_heads),
              "slots of memory", storage_.slots(0, 0), "enough for the other's tokens");
    }
    policies_ = other.policies_;
    old_keys_ = other.old_keys_;
    old_values_ = other.old_values_;
    appended_ = other.appended_;
    offers_ = other.offers_;
    if constexpr (std::copyable<Storage>) {
      storage_ = other.storage_;
    } else {
      for (std::size_t layer = 0; layer < shape_.layers; ++layer) {
        for (std::size_t head = 0; head < shape_.kv_heads; ++head) copy_slots(other, layer, head);
      }
    }
  }

  [[nodiscard]] const CacheShape& shape() const noexcept { return shape_; }
  /// Where keys and values lie, and, for pages, EngineStorage::set_pages.
  [[nodiscard]] Storage& storage() noexcept { return storage_; }
  [[nodiscard]] const Storage& storage() const noexcept { return storage_; }
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
  /// [head_dim]: of one slot.
  [[nodiscard]] std::span<const T> key(std::size_t layer, std::size_t head,
                                       std::size_t slot) const noexcept {
    return {storage_.keys(layer, head)[slot], shape_.head_dim};
  }
  [[nodiscard]] std::span<const T> value(std::size_t layer, std::size_t head,
                                         std::size_t slot) const noexcept {
    return {storage_.values(layer, head)[slot], shape_.head_dim};
  }
  /// [size][head_dim], in slot order; valid until the next prefill.
  [[nodiscard]] std::span<const T> keys(std::size_t layer,
                                        std::size_t head) const noexcept requires owns_memory {
    return {storage_.keys(layer, head).data, size(layer, head) * shape_.head_dim};
  }
  [[nodiscard]] std::span<const T> values(std::size_t layer,
                                          std::size_t head) const noexcept requires owns_memory {
    return {storage_.values(layer, head).data, size(layer, head) * shape_.head_dim};
  }

  /// All bytes that the cache holds, by kind; keys and values only where the memory is its own.
  [[nodiscard]] MemoryUsage memory() const noexcept {
    MemoryUsage usage = storage_.memory();
    usage += {.history = old_keys_.bytes() + old_values_.bytes(), .scratch = scratch_.bytes()};
    for (const Policy& policy : policies_) usage += policy.memory();
    return usage;
  }

 private:
  using Selection = typename Policy::Selection;

  /// \param make_storage called with the slots of every head
  template <class MakeStorage>
  KVCache(const CacheShape& shape, const Options& options, const Budget& budget,
          const MakeStorage& make_storage)
      : shape_(validated(shape)),
        options_(options),
        budget_(budget),
        capacities_(budget.capacities(shape, options)),
        policies_(make_policies()),
        storage_(make_storage(slots_of_memory())),
        old_keys_(shape_.heads() * history() * shape_.head_dim),
        old_values_(old_keys_.size()),
        weight_stride_(aligned_stride<float>(most_slots())),
        scratch_(shape_.kv_heads * scratch_floats()),
        statuses_(shape_.kv_heads),
        placed_(shape_.kv_heads),
        appended_(shape_.layers) {}

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
  [[nodiscard]] std::size_t slots(std::size_t head) const noexcept {
    return policies_[head].slots();
  }
  [[nodiscard]] T* key_at(std::size_t layer, std::size_t head, std::size_t slot) noexcept {
    return storage_.keys(layer, head)[slot];
  }
  [[nodiscard]] T* value_at(std::size_t layer, std::size_t head, std::size_t slot) noexcept {
    return storage_.values(layer, head)[slot];
  }

  [[nodiscard]] static Options with_room(Options options, const SharedBudget& shared) {
    require(shared.min_ratio >= 0 && shared.min_ratio <= 1, "min_ratio", shared.min_ratio,
            "from 0 to 1");
    require(shared.max_ratio >= 1 && shared.max_ratio <= 1024, "max_ratio", shared.max_ratio,
            "from 1 to 1024");
    const auto most = static_cast<double>(options.capacity) * shared.max_ratio;
    options.spare_slots = static_cast<std::size_t>(most) - options.capacity;
    return options;
  }

  [[nodiscard]] std::vector<Policy> make_policies() const {
    if constexpr (!ResizablePolicy<Policy>) {
      require(!budget_.is_adaptive(), "budget", "adaptive",
              "another one: the policy's heads keep their size");
    }
    std::vector<Policy> policies;
    policies.reserve(shape_.heads());
    for (std::size_t head = 0; head < shape_.heads(); ++head) {
      policies.emplace_back(with_capacity(options_, capacities_[head]), head);
    }
    return policies;
  }

  /// [layers][kv_heads]: slots that every head needs memory for.
  [[nodiscard]] std::vector<std::size_t> slots_of_memory() const {
    std::vector<std::size_t> result;
    for (std::size_t head = 0; head < policies_.size(); ++head) {
      result.push_back(slots(head) + adaptive_slack());
    }
    return result;
  }

  /// Adaptive heads share their layer's memory: rounding the capacities may give a head a slot
  /// more, and beginning on a cache line may cost one more slot or part of one.
  [[nodiscard]] std::size_t adaptive_slack() const noexcept {
    constexpr std::size_t line = aligned_stride<T>(1);
    if (!budget_.is_adaptive()) return 0;
    return shape_.head_dim % line == 0 ? 1 : 1 + (line + shape_.head_dim - 1) / shape_.head_dim;
  }

  /// Slots of the greatest head there can be.
  [[nodiscard]] std::size_t most_slots() const {
    const std::vector<std::size_t> all = slots_of_memory();
    return *std::max_element(all.begin(), all.end()) *
           (budget_.is_adaptive() ? shape_.kv_heads : 1);
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
    auto selections = score_block(layer, first, block, execute);
    for (const Selection& selection : selections) {
      if (selection.status != Status::ok) return selection.status;
    }
    std::vector<Policy> adapted = adapt(layer, selections);
    for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
      const Policy& policy = adapted.empty() ? policy_at(layer, head) : adapted[head];
      const Status status = policy.select(selections[head]);
      if (status != Status::ok) return status;
      if (outgrows(layer, head, selections[head])) return Status::no_memory;
    }
    if (!adapted.empty()) divide(layer, adapted);
    for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
      commit(layer, head, selections[head], block);
      update_offer(index(layer, head));
    }
    return Status::ok;
  }

  template <class E>
  [[nodiscard]] PrefillHead<T, E> prefill_head(std::size_t layer, std::size_t head,
                                               const BlockSpans<E>& block) noexcept {
    const std::size_t query_offset = head * shape_.group() * shape_.head_dim;
    const std::size_t key_offset = head * shape_.head_dim;
    return {.positions = positions(layer, head),
            .keys = storage_.keys(layer, head),
            .values = storage_.values(layer, head),
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
  [[nodiscard]] std::vector<Selection> score_block(std::size_t layer, Position first,
                                                   const BlockSpans<E>& block, Execute& execute) {
    std::vector<std::optional<Selection>> selections(shape_.kv_heads);
    execute(shape_.kv_heads, [&](std::size_t head) {
      PrefillAttention<T, E> attention(prefill_head(layer, head, block));
      selections[head].emplace(policy(layer, head).score_block(first, attention.rows()));
      if (selections[head]->status == Status::ok)
        selections[head]->status = attention.finish_outputs();
    });
    std::vector<Selection> result;
    result.reserve(selections.size());
    for (auto& selection : selections) result.push_back(std::move(*selection));
    return result;
  }

  template <class E>
  void commit(std::size_t layer, std::size_t head, const Selection& selection,
              const BlockSpans<E>& block) {
    std::vector<Slot> slots(block.tokens);
    policy_at(layer, head).commit(selection, slots);
    for (std::size_t token = 0; token < block.tokens; ++token) {
      if (slots[token] == no_slot) continue;
      const std::size_t offset = token * key_width() + head * shape_.head_dim;
      write_elements(block.keys.data() + offset, shape_.head_dim,
                     key_at(layer, head, slots[token]));
      write_elements(block.values.data() + offset, shape_.head_dim,
                     value_at(layer, head, slots[token]));
    }
  }

  /// AdaKV: the layer's heads with the capacities that the votes on a first prompt give them; none
  /// if they stay as they are.
  [[nodiscard]] std::vector<Policy> adapt(std::size_t layer,
                                          std::span<const Selection> selections) const {
    std::vector<Policy> heads;
    if constexpr (ResizablePolicy<Policy>) {
      const std::size_t capacity = capacities_[index(layer, 0)];
      const bool first = selections[0].first == 0;
      if (!budget_.is_adaptive() || !first || selections[0].tokens <= capacity) return heads;
      std::vector<std::vector<double>> scores(selections.size());
      for (std::size_t head = 0; head < selections.size(); ++head) {
        scores[head].reserve(selections[head].values.size());
        for (std::size_t c = 0; c < selections[head].values.size(); ++c) {
          const bool stays = policy(layer, head).is_permanent(selections[head], c);
          scores[head].push_back(stays ? std::numeric_limits<double>::infinity()
                                       : static_cast<double>(selections[head].values[c]));
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
    std::vector<std::size_t> slots;
    for (std::size_t head = 0; head < heads.size(); ++head) {
      slots.push_back(heads[head].slots());
      policy_at(layer, head) = std::move(heads[head]);
    }
    if constexpr (owns_memory) storage_.divide(layer, slots);
  }

  // ---- steps

  /// Whether the head's next token, or a block, needs a slot that the pages so far do not have. (A
  /// head with a free slot below its greatest one has all its slots.)
  [[nodiscard]] bool outgrows(std::size_t layer, std::size_t head) const noexcept {
    const Policy& policy = this->policy(layer, head);
    return policy.size() < policy.slots() && policy.size() >= storage_.slots(layer, head);
  }
  [[nodiscard]] bool outgrows(std::size_t layer, std::size_t head,
                              const Selection& selection) const noexcept {
    std::size_t most = size(layer, head) + selection.tokens;
    if constexpr (requires { selection.kept.size(); }) most = selection.kept.size();
    return std::min(most, policy(layer, head).slots()) > storage_.slots(layer, head);
  }

  template <ElementOf<T> E>
  Status append_token(std::size_t layer, std::span<const E> key, std::span<const E> value,
                      Position position, std::span<Placement> placements) noexcept {
    if (key.size() != key_width() || value.size() != key_width() ||
        (!placements.empty() && placements.size() != shape_.kv_heads)) {
      return Status::wrong_size;
    }
    return place_token(layer, position, placements, [&](std::size_t head, Slot slot) {
      const std::size_t offset = head * shape_.head_dim;
      write_elements(key.data() + offset, shape_.head_dim, key_at(layer, head, slot));
      write_elements(value.data() + offset, shape_.head_dim, value_at(layer, head, slot));
    });
  }

  /// Finds every head's slot, and then calls write(head, slot) for each.
  template <class Write>
  Status place_token(std::size_t layer, Position position, std::span<Placement> placements,
                     const Write& write) noexcept {
    if (layer >= shape_.layers) return Status::wrong_size;
    for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
      const Status status = policy_at(layer, head).can_place(position);
      if (status != Status::ok) return status;
      if (outgrows(layer, head)) return Status::no_memory;
    }
    for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
      make_room(layer, head);
      const Placement placement = policy_at(layer, head).place(position);
      placed_[head] = placement.slot;
      fetch_to_write(key_at(layer, head, placement.slot), shape_.head_dim * sizeof(T));
      fetch_to_write(value_at(layer, head, placement.slot), shape_.head_dim * sizeof(T));
      if (!placements.empty()) placements[head] = placement;
    }
    for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
      save_history(layer, head, placed_[head]);
      write(head, placed_[head]);
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
    const std::size_t width = shape_.group() * shape_.head_dim;
    execute(shape_.kv_heads, [&](std::size_t head) {
      (void)attend_one(layer, head, query.subspan(head * width, width),
                       output.subspan(head * width, width));
    });
    return observe_heads(layer, execute);
  }

  [[nodiscard]] float scale() const noexcept {
    return 1.0F / std::sqrt(static_cast<float>(shape_.head_dim));
  }

  [[nodiscard]] std::size_t scratch_floats() const noexcept {
    return 2 * aligned_stride<float>(shape_.group() * shape_.head_dim) +
           (shape_.group() + 1) * weight_stride_;
  }

  /// The working space of a head, which all layers share.
  [[nodiscard]] DecodeScratch scratch(std::size_t head) noexcept {
    float* begin = scratch_.data() + head * scratch_floats();
    const std::size_t width = aligned_stride<float>(shape_.group() * shape_.head_dim);
    return {.query = begin,
            .output = begin + width,
            .weights = begin + 2 * width,
            .row = begin + 2 * width + shape_.group() * weight_stride_,
            .stride = weight_stride_};
  }

  template <class E>
  static void write_elements(const E* from, std::size_t count, auto* to) noexcept {
    using To = std::remove_pointer_t<decltype(to)>;
    std::transform(from, from + count, to, [](E x) { return static_cast<To>(x); });
  }
  template <ElementOf<T> E>
  Status attend_one(std::size_t layer, std::size_t head, std::span<const E> query,
                    std::span<E> output) noexcept {
    if (layer >= shape_.layers || head >= shape_.kv_heads ||
        query.size() != shape_.group() * shape_.head_dim || output.size() != query.size()) {
      return Status::wrong_size;
    }
    const DecodeScratch space = scratch(head);
    write_elements(query.data(), query.size(), space.query);
    const DecodeHead<T> stored{.keys = storage_.keys(layer, head),
                               .values = storage_.values(layer, head),
                               .group = shape_.group(),
                               .head_dim = shape_.head_dim,
                               .scale = scale(),
                               .fusion = options_.group};
    statuses_[head] = morphkv::attend_head(stored, policy(layer, head), space);
    write_elements(space.output, output.size(), output.data());
    return statuses_[head];
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

  // ---- shared slots

  static constexpr double no_offer = std::numeric_limits<double>::infinity();

  /// What a head could spare now. One that has placed a token since it last observed is not asked.
  void update_offer(std::size_t head) noexcept {
    if constexpr (shares_slots) offers_[head] = policies_[head].cheapest().value;
  }

  /// Whose token has to go for one that comes to `taker`.
  [[nodiscard]] std::size_t giver_for(std::size_t taker) const noexcept {
    const auto floor =
        static_cast<std::size_t>(shared_.min_ratio * static_cast<double>(options_.capacity));
    std::size_t giver = taker;
    for (std::size_t head = 0; head < offers_.size(); ++head) {
      if (offers_[head] < offers_[giver] && policies_[head].capacity() > floor) giver = head;
    }
    return giver;
  }

  /// Where slots are shared: a full head gets the slot of the least wanted token of all.
  void make_room(std::size_t layer, std::size_t head) noexcept {
    if constexpr (shares_slots) {
      const std::size_t taker = index(layer, head);
      Policy& policy = policies_[taker];
      if (policy.has_free_slot()) return;
      const std::size_t giver = policy.capacity() < policy.slots() ? giver_for(taker) : taker;
      offers_[taker] = no_offer;
      if (giver == taker) return;
      const Slot slot = policies_[giver].cheapest().slot;
      const Slot last = policies_[giver].release_slot(slot);
      storage_.pass(giver, slot, last, taker, policy.size());
      policy.add_slot();
      update_offer(giver);
    }
  }

  // ---- history

  [[nodiscard]] std::size_t history_offset(std::size_t layer, std::size_t head) const noexcept {
    return (index(layer, head) * history() + appended_[layer] % history()) * shape_.head_dim;
  }

  /// Keeps the key and the value that a token is about to be written over.
  void save_history(std::size_t layer, std::size_t head, Slot slot) noexcept {
    if (history() == 0) return;
    const std::size_t offset = history_offset(layer, head);
    std::copy_n(key_at(layer, head, slot), shape_.head_dim, old_keys_.data() + offset);
    std::copy_n(value_at(layer, head, slot), shape_.head_dim, old_values_.data() + offset);
  }

  void restore(std::size_t layer, std::size_t head) noexcept {
    const Slot slot = policy_at(layer, head).rollback();
    const std::size_t offset = history_offset(layer, head);
    std::copy_n(old_keys_.data() + offset, shape_.head_dim, key_at(layer, head, slot));
    std::copy_n(old_values_.data() + offset, shape_.head_dim, value_at(layer, head, slot));
  }

  void copy_slots(const KVCache& other, std::size_t layer, std::size_t head) noexcept {
    for (std::size_t slot = 0; slot < size(layer, head); ++slot) {
      std::ranges::copy(other.key(layer, head, slot), key_at(layer, head, slot));
      std::ranges::copy(other.value(layer, head, slot), value_at(layer, head, slot));
    }
  }

  CacheShape shape_;
  Options options_;
  Budget budget_;
  std::vector<std::size_t> capacities_;  ///< [layers][kv_heads], as the budget divides them first
  std::vector<Policy> policies_;         ///< [layers][kv_heads]
  Storage storage_;
  AlignedBuffer<T> old_keys_;  ///< [layers][kv_heads][history][head_dim]: rows written over
  AlignedBuffer<T> old_values_;
  std::size_t weight_stride_ = 0;
  AlignedBuffer<float> scratch_;       ///< [kv_heads][scratch_floats()]
  std::vector<Status> statuses_;       ///< [kv_heads], of the step that is under way
  std::vector<Slot> placed_;           ///< [kv_heads], of the token that is being appended
  std::vector<std::size_t> appended_;  ///< [layers]: tokens that came one by one
  SharedBudget shared_;                ///< where slots are shared
  std::vector<double> offers_;         ///< likewise, [layers][kv_heads]: scores of offered tokens
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CACHE_KV_CACHE_HPP
