// SPDX-License-Identifier: Apache-2.0
/// \file
/// The container: keys and values of one sequence, for all layers and heads, with one policy per
/// head.
#ifndef MORPHKV_CACHE_KV_CACHE_HPP
#define MORPHKV_CACHE_KV_CACHE_HPP

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "morphkv/attention/decode.hpp"
#include "morphkv/cache/budget.hpp"
#include "morphkv/cache/draft_history.hpp"
#include "morphkv/cache/engine_storage.hpp"
#include "morphkv/cache/owned_storage.hpp"
#include "morphkv/cache/pending_block.hpp"
#include "morphkv/cache/shared_storage.hpp"
#include "morphkv/cache/slot_allocator.hpp"
#include "morphkv/cache/storage.hpp"
#include "morphkv/core/aligned_buffer.hpp"
#include "morphkv/core/executor.hpp"
#include "morphkv/core/fetch.hpp"
#include "morphkv/core/memory_usage.hpp"
#include "morphkv/core/scalar.hpp"
#include "morphkv/core/shape.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/kernels/convert.hpp"
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
/// elements are the cache's scalar or float. Keys are rotated already (RoPE at the absolute
/// position); logits are scaled by 1 / sqrt(head_dim).
///
/// Storage, see CacheStorage: OwnedStorage has a head's keys in one piece, [slot][head_dim], and
/// all layers in one allocation. EngineStorage is a view of memory that the engine owns, strided or
/// in pages. In SharedStorage all heads and layers share one total of slots. In each, a new token
/// is written over a victim, and no key ever moves.
///
/// Copies are independent: a copy forks the sequence (a cache over EngineStorage moves only; see
/// copy_from). Steps neither allocate nor throw: they report a Status, and unless it is Status::ok
/// nothing has changed, but for what attend says of its output. Accessors throw
/// std::invalid_argument for a layer, head or slot that does not exist.
///
/// Thread safety: calls for one cache must not overlap; within `prefill` and `attend` the heads of
/// a layer run on the executor that the caller passes, and the result does not depend on it.
template <Scalar T, EvictionPolicy Policy, CacheStorage<T> Storage = OwnedStorage<T>>
class KVCache {
  static constexpr bool shares_slots = SharingStorage<Storage> && SharingPolicy<Policy>;

 public:
  using Options = typename Policy::Options;

  // clang-format off
  /// A cache that owns its memory.
  /// \throws std::invalid_argument if the shape, the options or the budget do not fit, naming the
  ///         option, its value and the values allowed; std::bad_alloc
  KVCache(const CacheShape& shape, const Options& options,
          const Budget& budget = Budget::uniform()) requires OwningStorage<Storage>
      : KVCache(shape, options, budget, [&](std::span<const std::size_t> slots) {
          return Storage(shape, slots);
        }) {}

  /// A cache over memory that the engine owns.
  /// \throws std::invalid_argument likewise, also if a head has less memory than slots, unless the
  ///         storage can grow
  KVCache(const CacheShape& shape, const Options& options, Storage storage,
          const Budget& budget = Budget::uniform())
          requires (!OwningStorage<Storage> && !SharingStorage<Storage>)
      : KVCache(shape, options, budget,
                [&](std::span<const std::size_t>) { return std::move(storage); }) {
    for (std::size_t head = 0; head < shape_.heads(); ++head) {
      const std::size_t slots = storage_.slots(head / shape_.kv_heads, head % shape_.kv_heads);
      require(slots >= policies_[head].slots() || can_grow(), "slots of memory", slots,
              "at least those of the policy: " + std::to_string(policies_[head].slots()));
    }
  }

  /// A cache whose heads share one constant total of slots; see SlotAllocator and SharedBudget. A
  /// block of tokens is cut to what its head has at the time.
  /// \throws std::invalid_argument likewise, also unless 0 <= min_ratio <= 1 <= max_ratio <= 1024
  KVCache(const CacheShape& shape, const Options& options, const SharedBudget& shared)
          requires shares_slots
      : KVCache(shape, with_spare_slots(options, shared), Budget::uniform(),
                [&](std::span<const std::size_t> slots) {
                  return Storage(shape, options.capacity, slots[0]);
                }, shared) {}
  // clang-format on

  /// Appends a block of tokens at the next positions: a prompt, a chunk of one, or a later turn.
  /// Queries attend causally to what each head holds and to the block. Then the policy scores the
  /// tokens by the block's last queries, and those that it does not keep are dropped: a long prompt
  /// given in chunks never needs more than the capacity and a chunk.
  ///
  /// \param queries [tokens][query_heads][head_dim]
  /// \param keys, values [tokens][kv_heads][head_dim]
  /// \param outputs [tokens][query_heads][head_dim], or empty if the engine has its own attention
  /// \return wrong_size, not_finite, bad_row, full, nothing_to_evict or no_memory, and nothing has
  ///         changed but `outputs`
  /// \throws std::bad_alloc, or what the executor throws, and nothing has changed but `outputs`
  /// It allocates: a copy of each head's block and of what the head holds, while that head is
  /// scored. O(tokens x (slots + tokens)) with outputs, O(scoring queries x (slots + tokens))
  /// without.
  template <class Execute = SerialExecutor>
  Status prefill(std::size_t layer, std::span<const float> queries, std::span<const float> keys,
                 std::span<const float> values, std::span<float> outputs = {},
                 Execute&& execute = {}) {
    return prefill_block<float>(layer, {0, queries, keys, values, outputs, {}}, execute);
  }
  template <class Execute = SerialExecutor>
  Status prefill(std::size_t layer, std::span<const T> queries, std::span<const T> keys,
                 std::span<const T> values, std::span<T> outputs = {},
                 Execute&& execute = {}) requires(!std::same_as<T, float>) {
    return prefill_block<T>(layer, {0, queries, keys, values, outputs, {}}, execute);
  }

  /// The same for a block that the engine has attended with a kernel of its own, whose log-sum-exp
  /// spares the rows their softmax. A wrong one is bad_row where it makes a weight exceed 1.
  /// \param log_sum_exp [tokens][query_heads]: the natural logarithm of the sum of exponentials of
  ///                    the scaled logits, over all that a query sees of what the cache holds and
  ///                    of the block
  template <ElementOf<T> E, class Execute = SerialExecutor>
  Status prefill_attended(std::size_t layer, std::span<const E> queries, std::span<const E> keys,
                          std::span<const E> values, std::span<const float> log_sum_exp,
                          Execute&& execute = {}) {
    if (queries.size() != log_sum_exp.size() * shape_.head_dim) return Status::wrong_size;
    return prefill_block<E>(layer, {0, queries, keys, values, {}, log_sum_exp}, execute);
  }

  /// Writes one token's keys and values, in each head to a free slot or over the victim.
  /// \param key, value [kv_heads][head_dim]
  /// \param position greater than every position before it
  /// \param placements [kv_heads] or empty: receives each head's slot and the position of the
  ///                   victim that lay there, for an engine that tracks them
  /// \return wrong_size, not_finite, no_memory, or what Policy::can_place says of a head
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

  /// The same for an engine that writes keys and values itself, to the slots in `placements`,
  /// [kv_heads]. (With a history, what lay there is saved first.)
  Status place(std::size_t layer, Position position, std::span<Placement> placements) noexcept {
    if (placements.size() != shape_.kv_heads) return Status::wrong_size;
    return place_token(layer, position, placements, [](std::size_t, Slot) {});
  }

  /// Attention of the newest token, whose row then updates the scores.
  /// \param query, output [query_heads][head_dim]
  /// \return wrong_size, or out_of_step if no token was appended since the last step, and `output`
  ///         is untouched; bad_row if a weight is not finite, and `output` holds the heads that are
  ///         finite. No score has changed in either case.
  /// The executor must not throw here: that ends the program. O(query_heads x slots x head_dim).
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

  /// attend in two parts, for an engine that schedules heads itself (a batch of sequences): first
  /// the attention of every head of the layer, in any order and at the same time, then
  /// observe_heads.
  /// \param query, output [group][head_dim]
  Status attend_head(std::size_t layer, std::size_t head, std::span<const float> query,
                     std::span<float> output) noexcept {
    return attend_one<float>(layer, head, query, output);
  }
  Status attend_head(std::size_t layer, std::size_t head, std::span<const T> query,
                     std::span<T> output) noexcept requires(!std::same_as<T, float>) {
    return attend_one<T>(layer, head, query, output);
  }
  /// Updates the scores of all heads of the layer by the rows of attend_head.
  /// \return the status of the first head that could not attend, out_of_step if attend_head was not
  ///         called for one since its token was placed, wrong_size if there is no such layer; and
  ///         no score has changed
  template <class Execute = SerialExecutor>
  Status observe_heads(std::size_t layer, Execute&& execute = {}) noexcept {
    if (layer >= shape_.layers) return Status::wrong_size;
    for (const Attended& head : attended_) {
      if (head.status != Status::ok) return head.status;
      if (head.layer != layer) return Status::out_of_step;
    }
    execute(shape_.kv_heads, [&](std::size_t head) { observe_row(layer, head); });
    update_allocator(layer);
    return Status::ok;
  }

  /// The newest token's attention, computed by the engine.
  /// \param weights [query_heads][stride]: after softmax, one per slot in use, in slot order
  /// \param stride  elements between the rows of two query heads
  /// \return wrong_size, bad_row or out_of_step, and nothing has changed
  Status observe(std::size_t layer, std::span<const float> weights, std::size_t stride) noexcept {
    if (layer >= shape_.layers) return Status::wrong_size;
    for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
      const Status status = check_weights(layer, head, weights, stride);
      if (status != Status::ok) return status;
    }
    for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
      kernels::portable::fuse_group(weights.data() + head * shape_.group() * stride, stride,
                                    policies_[index(layer, head)].size(), shape_.group(),
                                    options_.group, scratch(head).row);
      observe_row(layer, head);
    }
    update_allocator(layer);
    return Status::ok;
  }

  /// Takes the newest `tokens` tokens back, as if they had never come: the victims that they
  /// replaced are alive again. For a rejected draft, and for a step that failed in some layer: the
  /// tokens are counted in the layer that has most, and all layers end at the same token.
  /// \return too_far_back if a layer's part is not within the options' history and since its last
  ///         prefill, or out_of_step if a layer does not have the token to end at; and nothing has
  ///         changed
  /// O(tokens x slots) per head, or what the policy says.
  Status rollback(std::size_t tokens) noexcept requires RevocablePolicy<Policy> {
    const std::size_t most = *std::max_element(tokens_.begin(), tokens_.end());
    if (tokens > most) return Status::too_far_back;
    for (std::size_t head = 0; head < policies_.size(); ++head) {
      const std::size_t held = tokens_[head / shape_.kv_heads];
      if (held < most - tokens) return Status::out_of_step;
      const std::size_t count = held - (most - tokens);
      if ((std::min)(policies_[head].recorded(), history_.saved(head)) < count) {
        return Status::too_far_back;
      }
    }
    for (std::size_t layer = 0; layer < shape_.layers; ++layer) {
      forget_rows(layer);
      const std::size_t count = tokens_[layer] - (most - tokens);
      for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
        for (std::size_t token = 0; token < count; ++token) {
          history_.restore(index(layer, head), storage_.keys(layer, head),
                           storage_.values(layer, head));
        }
        (void)policies_[index(layer, head)].rollback(count);
      }
      tokens_[layer] -= count;
    }
    return Status::ok;
  }

  /// Removes all tokens; memory and options stay. It allocates where heads share memory.
  void reset() {
    if constexpr (shares_slots) {
      *this = KVCache(shape_, options_, shared_);
      return;
    }
    if constexpr (DivisibleStorage<Storage>) {
      if (budget_.is_adaptive()) {
        *this = KVCache(shape_, options_, budget_);
        return;
      }
    }
    for (Policy& policy : policies_) policy.reset();
    std::fill(tokens_.begin(), tokens_.end(), std::size_t{0});
    std::fill(attended_.begin(), attended_.end(), Attended{});
  }

  /// Becomes a fork of another cache of the same shape, options and budget, in memory of its own.
  /// It allocates nothing over EngineStorage. O(slots in use x head_dim) per head.
  /// \throws std::invalid_argument if they are not the same, or this one's pages are too few; and
  ///         nothing has changed
  void copy_from(const KVCache& other) {
    if (this == &other) return;
    require(shape_ == other.shape_, "other", "a cache of another shape", "one of the same shape");
    bool is_same = budget_ == other.budget_ && shared_ == other.shared_;
    if constexpr (std::equality_comparable<Options>) {
      is_same = is_same && options_ == other.options_;
    }
    require(is_same, "other", "a cache of other options or budget",
            "one of the same options and budget");
    if constexpr (std::copyable<Storage>) {
      *this = KVCache(other);
    } else {
      for (std::size_t head = 0; head < policies_.size(); ++head) {
        const std::size_t slots = storage_.slots(head / shape_.kv_heads, head % shape_.kv_heads);
        require(slots >= other.policies_[head].size(), "slots of memory", slots,
                "enough for the other's tokens: " + std::to_string(other.policies_[head].size()));
      }
      policies_ = other.policies_;
      history_ = other.history_;
      tokens_ = other.tokens_;
      std::fill(attended_.begin(), attended_.end(), Attended{});
      for (std::size_t head = 0; head < policies_.size(); ++head) copy_slots(other, head);
    }
  }

  [[nodiscard]] const CacheShape& shape() const noexcept { return shape_; }
  /// Where keys and values lie, and, for pages, EngineStorage::set_pages.
  [[nodiscard]] Storage& storage() noexcept { return storage_; }
  [[nodiscard]] const Storage& storage() const noexcept { return storage_; }
  [[nodiscard]] const Options& options() const noexcept { return options_; }
  [[nodiscard]] const Policy& policy(std::size_t layer, std::size_t head) const {
    require(layer < shape_.layers, "layer", layer, "below " + std::to_string(shape_.layers));
    require(head < shape_.kv_heads, "head", head, "below " + std::to_string(shape_.kv_heads));
    return policies_[index(layer, head)];
  }

  /// The position that the next block begins at: one after the newest token's.
  [[nodiscard]] Position next_position(std::size_t layer) const {
    return policy(layer, 0).newest() + 1;
  }
  /// Slots in use.
  [[nodiscard]] std::size_t size(std::size_t layer, std::size_t head) const {
    return policy(layer, head).size();
  }
  /// Position of every slot in use; no_position where no token is.
  [[nodiscard]] std::span<const Position> positions(std::size_t layer, std::size_t head) const {
    return policy(layer, head).positions();
  }
  /// [head_dim]: of one slot in use.
  [[nodiscard]] std::span<const T> key(std::size_t layer, std::size_t head,
                                       std::size_t slot) const {
    return {storage_.keys(layer, head)[checked_slot(layer, head, slot)], shape_.head_dim};
  }
  [[nodiscard]] std::span<const T> value(std::size_t layer, std::size_t head,
                                         std::size_t slot) const {
    return {storage_.values(layer, head)[checked_slot(layer, head, slot)], shape_.head_dim};
  }
  /// [size][head_dim], in slot order; valid until the next prefill.
  [[nodiscard]] std::span<const T> keys(std::size_t layer, std::size_t head) const requires
      ContiguousStorage<Storage> {
    const std::size_t elements = size(layer, head) * shape_.head_dim;
    return {storage_.keys(layer, head).data, elements};
  }
  [[nodiscard]] std::span<const T> values(std::size_t layer, std::size_t head) const requires
      ContiguousStorage<Storage> {
    const std::size_t elements = size(layer, head) * shape_.head_dim;
    return {storage_.values(layer, head).data, elements};
  }

  /// All bytes that the cache holds, by kind; keys and values only where the memory is its own.
  [[nodiscard]] MemoryUsage memory() const noexcept {
    MemoryUsage usage = storage_.memory();
    usage += {.history = history_.bytes(), .scratch = scratch_.bytes()};
    for (const Policy& policy : policies_) usage += policy.memory();
    return usage;
  }

 private:
  using Allocator = std::conditional_t<shares_slots, SlotAllocator<Policy>, std::monostate>;

  /// What lies in a head's scratch: the row of a layer whose attention it computed last.
  struct Attended {
    Status status = Status::out_of_step;
    std::size_t layer = 0;
  };

  /// \param make_storage called with the slots of every head
  template <class MakeStorage>
  KVCache(const CacheShape& shape, const Options& options, const Budget& budget,
          const MakeStorage& make_storage, const SharedBudget& shared = {})
      : shape_((validate(shape), shape)),
        options_(options),
        budget_(budget),
        policies_(make_policies()),
        storage_(make_storage(slots_of_memory())),
        history_(shape_.heads(), history_of(options), shape_.head_dim),
        weight_stride_(aligned_stride<float>(max_slots())),
        scratch_(shape_.kv_heads * scratch_floats()),
        attended_(shape_.kv_heads),
        placed_(shape_.kv_heads),
        tokens_(shape_.layers),
        shared_(shared),
        allocator_(make_allocator()) {}

  [[nodiscard]] static std::size_t history_of(const Options& options) noexcept {
    if constexpr (requires { options.history; })
      return options.history;
    else
      return 0;
  }

  [[nodiscard]] static Options with_spare_slots(Options options,
                                                const SharedBudget& shared) requires shares_slots {
    require(shared.min_ratio >= 0 && shared.min_ratio <= 1, "min_ratio", shared.min_ratio,
            "from 0 to 1");
    require(shared.max_ratio >= 1 && shared.max_ratio <= 1024, "max_ratio", shared.max_ratio,
            "from 1 to 1024");
    options.spare_slots = 0;
    (void)Policy(options, 0);  // checks the capacity before it is multiplied
    const auto most = static_cast<double>(options.capacity) * shared.max_ratio;
    options.spare_slots = static_cast<std::size_t>(most) - options.capacity;
    return options;
  }

  [[nodiscard]] Allocator make_allocator() const {
    if constexpr (shares_slots) {
      const double least = shared_.min_ratio * static_cast<double>(options_.capacity);
      return Allocator(shape_.heads(), static_cast<std::size_t>(least));
    } else {
      return {};
    }
  }

  [[nodiscard]] std::vector<Policy> make_policies() const {
    require(!budget_.is_adaptive() || (ResizablePolicy<Policy> && DivisibleStorage<Storage>),
            "budget", "adaptive",
            "another one: heads are divided only in memory of the cache's own, and only under a "
            "policy that scores prompts");
    std::vector<Policy> policies;
    policies.reserve(shape_.heads());
    (void)Policy(options_, 0);  // so that a wrong option is reported as it was given
    const std::vector<std::size_t> capacities = budget_.capacities(shape_, options_);
    for (std::size_t head = 0; head < shape_.heads(); ++head) {
      policies.emplace_back(with_capacity(options_, capacities[head]), head);
    }
    return policies;
  }

  /// [layers][kv_heads]: slots that every head needs memory for.
  [[nodiscard]] std::vector<std::size_t> slots_of_memory() const {
    std::vector<std::size_t> result;
    for (const Policy& policy : policies_) result.push_back(policy.slots());
    if constexpr (DivisibleStorage<Storage>) {
      for (std::size_t& slots : result) {
        if (budget_.is_adaptive()) slots = Storage::divisible_slots(shape_, slots);
      }
    }
    return result;
  }

  /// Slots of the largest head there can be.
  [[nodiscard]] std::size_t max_slots() const {
    const std::vector<std::size_t> all = slots_of_memory();
    return *std::max_element(all.begin(), all.end()) *
           (budget_.is_adaptive() ? shape_.kv_heads : 1);
  }

  [[nodiscard]] std::size_t index(std::size_t layer, std::size_t head) const noexcept {
    return layer * shape_.kv_heads + head;
  }
  [[nodiscard]] std::size_t checked_slot(std::size_t layer, std::size_t head,
                                         std::size_t slot) const {
    const std::size_t slots = size(layer, head);
    require(slot < slots, "slot", slot, "below the slots in use: " + std::to_string(slots));
    return slot;
  }
  [[nodiscard]] bool can_grow() const noexcept {
    if constexpr (GrowingStorage<Storage>)
      return storage_.can_grow();
    else
      return false;
  }
  [[nodiscard]] float scale() const noexcept {
    return 1.0F / std::sqrt(static_cast<float>(shape_.head_dim));
  }

  // ---- blocks

  template <ElementOf<T> E, class Execute>
  Status prefill_block(std::size_t layer, LayerBlock<E> block, Execute& execute) {
    const std::size_t tokens = block.tokens = block.keys.size() / shape_.key_width();
    if (layer >= shape_.layers || block.keys.size() != tokens * shape_.key_width() ||
        block.values.size() != block.keys.size() ||
        block.queries.size() != tokens * shape_.query_width() ||
        (!block.outputs.empty() && block.outputs.size() != block.queries.size())) {
      return Status::wrong_size;
    }
    if (tokens == 0) return Status::ok;
    if (!are_finite<T>(block.keys) || !are_finite<T>(block.values)) return Status::not_finite;
    const Position first = policies_[index(layer, 0)].newest() + 1;
    if (tokens > static_cast<std::size_t>(std::numeric_limits<Position>::max() - first)) {
      return Status::full;
    }
    PendingBlock<T, Policy, Storage, E> pending(
        shape_, layer, std::span(policies_).subspan(index(layer, 0), shape_.kv_heads), storage_,
        block);
    Status status = pending.score(scale(), options_.group, execute);
    if (status != Status::ok) return status;
    if constexpr (ResizablePolicy<Policy> && DivisibleStorage<Storage>) {
      if (budget_.is_adaptive()) {
        pending.divide(capacity_of(options_), recent_of(options_), budget_.floor());
      }
    }
    status = pending.select();
    if (status != Status::ok) return status;
    pending.commit();
    for (std::size_t head = 0; head < shape_.kv_heads; ++head) history_.clear(index(layer, head));
    tokens_[layer] += tokens;
    forget_rows(layer);
    update_allocator(layer);
    return Status::ok;
  }

  // ---- steps

  template <ElementOf<T> E>
  Status append_token(std::size_t layer, std::span<const E> key, std::span<const E> value,
                      Position position, std::span<Placement> placements) noexcept {
    if (key.size() != shape_.key_width() || value.size() != key.size() ||
        (!placements.empty() && placements.size() != shape_.kv_heads)) {
      return Status::wrong_size;
    }
    if (!are_finite<T>(key) || !are_finite<T>(value)) return Status::not_finite;
    return place_token(layer, position, placements, [&](std::size_t head, Slot slot) {
      const std::size_t offset = head * shape_.head_dim;
      kernels::convert(key.data() + offset, shape_.head_dim, storage_.keys(layer, head)[slot]);
      kernels::convert(value.data() + offset, shape_.head_dim, storage_.values(layer, head)[slot]);
    });
  }

  /// Finds every head's slot, and then calls write(head, slot) for each.
  template <class Write>
  Status place_token(std::size_t layer, Position position, std::span<Placement> placements,
                     const Write& write) noexcept {
    if (layer >= shape_.layers) return Status::wrong_size;
    for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
      const Policy& policy = policies_[index(layer, head)];
      if (const Status status = policy.can_place(position); status != Status::ok) return status;
      // A head with a free slot below the last one in use needs no more memory.
      if (policy.size() < policy.slots() && policy.size() >= storage_.slots(layer, head)) {
        return Status::no_memory;
      }
    }
    for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
      const std::size_t at = index(layer, head);
      if constexpr (shares_slots) allocator_.reserve(at, std::span(policies_), storage_);
      const Placement placement = policies_[at].place(position);
      placed_[head] = placement.slot;
      fetch_to_write(storage_.keys(layer, head)[placement.slot], shape_.head_dim * sizeof(T));
      fetch_to_write(storage_.values(layer, head)[placement.slot], shape_.head_dim * sizeof(T));
      if (!placements.empty()) placements[head] = placement;
    }
    for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
      history_.save(index(layer, head), storage_.keys(layer, head), storage_.values(layer, head),
                    placed_[head]);
      write(head, placed_[head]);
    }
    ++tokens_[layer];
    forget_rows(layer);
    return Status::ok;
  }

  template <ElementOf<T> E, class Execute>
  Status attend_token(std::size_t layer, std::span<const E> query, std::span<E> output,
                      Execute& execute) noexcept {
    if (layer >= shape_.layers || query.size() != shape_.query_width() ||
        output.size() != query.size()) {
      return Status::wrong_size;
    }
    for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
      const Status status = policies_[index(layer, head)].can_observe();
      if (status != Status::ok) return status;
    }
    const std::size_t width = shape_.group() * shape_.head_dim;
    execute(shape_.kv_heads, [&](std::size_t head) {
      (void)attend_one(layer, head, query.subspan(head * width, width),
                       output.subspan(head * width, width));
    });
    return observe_heads(layer, execute);
  }

  template <ElementOf<T> E>
  Status attend_one(std::size_t layer, std::size_t head, std::span<const E> query,
                    std::span<E> output) noexcept {
    if (head >= shape_.kv_heads) return Status::wrong_size;
    attended_[head] = {Status::wrong_size, layer};
    if (layer >= shape_.layers || query.size() != shape_.group() * shape_.head_dim ||
        output.size() != query.size()) {
      return Status::wrong_size;
    }
    const DecodeScratch space = scratch(head);
    kernels::convert(query.data(), query.size(), space.query);
    const DecodeHead<T> stored{.keys = storage_.keys(layer, head),
                               .values = storage_.values(layer, head),
                               .group = shape_.group(),
                               .head_dim = shape_.head_dim,
                               .scale = scale(),
                               .fusion = options_.group};
    const Status status = morphkv::attend_head(stored, policies_[index(layer, head)], space);
    attended_[head].status = status;
    if (status == Status::ok) kernels::convert(space.output, output.size(), output.data());
    return status;
  }

  /// Updates a head's scores by the valid row that lies in its scratch.
  void observe_row(std::size_t layer, std::size_t head) noexcept {
    Policy& policy = policies_[index(layer, head)];
    const Status status = policy.observe(std::span<const float>(scratch(head).row, policy.size()));
    MORPHKV_ASSERT(status == Status::ok);
    attended_[head].status = status == Status::ok ? Status::out_of_step : status;
  }

  /// A row in the scratch is no longer that of the layer's newest token.
  void forget_rows(std::size_t layer) noexcept {
    for (Attended& head : attended_) {
      if (head.layer == layer) head = {};
    }
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

  [[nodiscard]] Status check_weights(std::size_t layer, std::size_t head,
                                     std::span<const float> weights,
                                     std::size_t stride) const noexcept {
    const Policy& policy = policies_[index(layer, head)];
    const std::size_t slots = policy.size();
    if (stride < slots || weights.size() < slots ||
        (shape_.query_heads > 1 && stride > (weights.size() - slots) / (shape_.query_heads - 1))) {
      return Status::wrong_size;
    }
    for (std::size_t g = 0; g < shape_.group(); ++g) {
      const float* row = weights.data() + (head * shape_.group() + g) * stride;
      if (!kernels::is_valid_row(row, slots)) return Status::bad_row;
    }
    return policy.can_observe();
  }

  void update_allocator(std::size_t layer) noexcept {
    if constexpr (shares_slots) {
      for (std::size_t head = index(layer, 0); head < index(layer + 1, 0); ++head) {
        allocator_.update(head, policies_[head]);
      }
    }
  }

  void copy_slots(const KVCache& other, std::size_t at) noexcept {
    const std::size_t layer = at / shape_.kv_heads;
    const std::size_t head = at % shape_.kv_heads;
    for (std::size_t slot = 0; slot < policies_[at].size(); ++slot) {
      std::copy_n(other.storage_.keys(layer, head)[slot], shape_.head_dim,
                  storage_.keys(layer, head)[slot]);
      std::copy_n(other.storage_.values(layer, head)[slot], shape_.head_dim,
                  storage_.values(layer, head)[slot]);
    }
  }

  CacheShape shape_;
  Options options_;
  Budget budget_;
  std::vector<Policy> policies_;  ///< [layers][kv_heads]
  Storage storage_;
  DraftHistory<T> history_;
  std::size_t weight_stride_ = 0;
  AlignedBuffer<float> scratch_;     ///< [kv_heads][scratch_floats()]
  std::vector<Attended> attended_;   ///< [kv_heads]
  std::vector<Slot> placed_;         ///< [kv_heads], of the token that is being appended
  std::vector<std::size_t> tokens_;  ///< [layers]: tokens that have come and were not taken back
  SharedBudget shared_;              ///< where heads share their slots
  [[no_unique_address]] Allocator allocator_;
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CACHE_KV_CACHE_HPP
