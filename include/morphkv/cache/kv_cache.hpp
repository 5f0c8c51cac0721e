// SPDX-License-Identifier: Apache-2.0
/// \file
/// The container: keys and values of one sequence, for all layers and heads, and their policies.
#ifndef MORPHKV_CACHE_KV_CACHE_HPP
#define MORPHKV_CACHE_KV_CACHE_HPP

#include <algorithm>
#include <concepts>
#include <cstddef>
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
#include "morphkv/core/executor.hpp"
#include "morphkv/core/kv_view.hpp"
#include "morphkv/core/memory_usage.hpp"
#include "morphkv/core/scalar.hpp"
#include "morphkv/core/shape.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/kernels/convert.hpp"
#include "morphkv/kernels/scores.hpp"
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
/// position); logits are those of the shape.
///
/// The storage is OwnedStorage, EngineStorage, SharedStorage, or another CacheStorage. A new token
/// overwrites a victim, and no key ever moves, but where a slot passes between heads that share
/// them.
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
  static constexpr bool divides_layers = DivisibleStorage<Storage> && ResizablePolicy<Policy>;

 public:
  using Options = typename Policy::Options;

  // clang-format off
  /// A cache that owns its memory.
  /// \throws std::invalid_argument if the shape, the options or the budget do not fit, naming the
  ///         option, its value and the values allowed; std::bad_alloc
  KVCache(const CacheShape& shape, const Options& options,
          const Budget& budget = Budget::uniform()) requires OwningStorage<Storage>
      : KVCache(shape, options, budget, {}, [&](std::span<const std::size_t> slots) {
          return Storage(shape, slots);
        }) {}

  /// A cache over memory that the engine owns.
  /// \throws std::invalid_argument likewise, also if a head has less memory than slots, unless the
  ///         storage can grow
  KVCache(const CacheShape& shape, const Options& options, Storage storage,
          const Budget& budget = Budget::uniform())
          requires (!OwningStorage<Storage> && !SharingStorage<Storage>)
      : KVCache(shape, options, budget, {}, [&](std::span<const std::size_t>) {
          return std::move(storage);
        }) {}

  /// A cache whose heads share one constant total of slots; see SlotAllocator and SharedBudget. A
  /// block of tokens is cut to what its head has at the time.
  /// \throws std::invalid_argument likewise, also unless 0 <= min_ratio <= 1 <= max_ratio <= 1024
  KVCache(const CacheShape& shape, const Options& options, const SharedBudget& shared)
          requires shares_slots
      : KVCache(shape, with_spare_slots(options, shared), Budget::uniform(), shared,
                [&](std::span<const std::size_t> slots) {
                  return Storage(shape, options.capacity, slots[0]);
                }) {}
  // clang-format on

  /// Appends a block of tokens at the next positions: a prompt, a chunk of one, or a later turn.
  /// Queries attend causally to what each head holds and to the block. Then the policy scores the
  /// tokens by the block's last queries and drops those that it does not keep: a long prompt given
  /// in chunks never needs more than the capacity and a chunk.
  ///
  /// \param queries [tokens][query_heads][head_dim]
  /// \param keys, values [tokens][kv_heads][head_dim]
  /// \param outputs [tokens][query_heads][head_dim], or empty if the engine has its own attention
  /// \return wrong_size, not_finite, bad_row, full, nothing_to_evict, no_memory or
  ///         position_too_large, and nothing has changed but `outputs`
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
  ///                    the logits, over all that a query sees of what the cache holds and of
  ///                    the block, and of its sink
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
  Status place(std::size_t layer, Position position, std::span<Placement> placements) noexcept
      requires(!StoringPolicy<Policy>) {
    if (placements.size() != shape_.kv_heads) return Status::wrong_size;
    return place_token(layer, position, placements, [](std::size_t, Slot) {});
  }

  /// Attention of the newest token, whose row then updates the scores.
  /// \param query, output [query_heads][head_dim]
  /// \return wrong_size, or out_of_step if no token was appended since the last step, and `output`
  ///         is untouched; bad_row if a weight is not finite, and `output` holds the heads that are
  ///         finite. No score has changed in either case.
  /// An executor that throws here ends the program. O(query_heads x slots x head_dim).
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
  /// \return the status of the first head that could not attend, or out_of_step if attend_head was
  ///         not called for one since its token was placed; and no score has changed
  template <class Execute = SerialExecutor>
  Status observe_heads(std::size_t layer, Execute&& execute = {}) noexcept {
    if (layer >= shape_.layers) return Status::wrong_size;
    const Status status = workspace_.check_rows(layer);
    if (status != Status::ok) return status;
    execute(shape_.kv_heads, [&](std::size_t head) { observe_row(layer, head); });
    finish(layer);
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
                                    options_.group, workspace_.row(head));
      observe_row(layer, head);
    }
    finish(layer);
    return Status::ok;
  }

  /// Takes the newest `tokens` tokens back, as if they had never come: the victims that they
  /// replaced are alive again. For a rejected draft, appended one by one or as a block, and for a
  /// step that failed in some layer: the tokens are counted in the layer that has most, and all
  /// layers end at the same token.
  /// \return too_far_back if the history of a layer does not hold them (a block longer than the
  ///         options' history ends it), or out_of_step if a layer does not have the token to end
  ///         at; and nothing has changed
  /// O(history x slots) per head, or what the policy says.
  Status rollback(std::size_t tokens) noexcept requires RevocablePolicy<Policy> {
    const std::size_t most = *std::max_element(tokens_.begin(), tokens_.end());
    if (tokens > most) return Status::too_far_back;
    for (std::size_t head = 0; head < policies_.size(); ++head) {
      const std::size_t held = tokens_[head / shape_.kv_heads];
      if (held < most - tokens) return Status::out_of_step;
      if (policies_[head].recorded() < held - (most - tokens)) return Status::too_far_back;
    }
    for (std::size_t head = 0; head < policies_.size(); ++head) {
      const std::size_t count = tokens_[head / shape_.kv_heads] - (most - tokens);
      if (count == 0) continue;
      history_.rollback(head, count, policies_[head], keys_of(head), values_of(head));
    }
    std::fill(tokens_.begin(), tokens_.end(), most - tokens);
    workspace_.discard();
    return Status::ok;
  }

  /// Removes all tokens; memory and options stay. It allocates where heads share memory or
  /// an adaptive budget; if that fails, nothing has changed.
  void reset() {
    if constexpr (shares_slots) {
      *this = KVCache(shape_, options_, shared_);
      return;
    }
    if constexpr (divides_layers) {
      if (budget_.is_adaptive()) {
        *this = KVCache(shape_, options_, budget_);
        return;
      }
    }
    for (Policy& policy : policies_) policy.reset();
    std::fill(tokens_.begin(), tokens_.end(), std::size_t{0});
    workspace_.discard();
  }

  /// Becomes a fork of another cache of the same shape, options and budget, in memory of its own.
  /// It allocates nothing over EngineStorage. O(slots in use x head_dim) per head.
  /// \throws std::invalid_argument if they are not the same, or this one's pages are too few; and
  ///         nothing has changed
  void copy_from(const KVCache& other) requires std::equality_comparable<Options> {
    if (this == &other) return;
    require(shape_ == other.shape_, "other", "a cache of another shape", "one of the same shape");
    require(options_ == other.options_ && budget_ == other.budget_ && shared_ == other.shared_,
            "other", "a cache of other options or budget", "one of the same options and budget");
    if constexpr (std::copyable<Storage>) {
      *this = KVCache(other);
    } else {
      for (std::size_t head = 0; head < policies_.size(); ++head) {
        const std::size_t slots = storage_.slots(head / shape_.kv_heads, head % shape_.kv_heads);
        require(slots >= other.policies_[head].size(), "slots of memory", slots,
                "enough for the tokens of the other cache");
      }
      policies_ = other.policies_;
      history_ = other.history_;
      tokens_ = other.tokens_;
      workspace_.discard();
      for (std::size_t head = 0; head < policies_.size(); ++head) {
        const std::size_t layer = head / shape_.kv_heads;
        const KvView<const T> keys = other.storage_.keys(layer, head % shape_.kv_heads);
        const KvView<const T> values = other.storage_.values(layer, head % shape_.kv_heads);
        for (std::size_t slot = 0; slot < policies_[head].size(); ++slot) {
          std::copy_n(keys[slot], shape_.head_dim, keys_of(head)[slot]);
          std::copy_n(values[slot], shape_.head_dim, values_of(head)[slot]);
        }
      }
    }
  }

  [[nodiscard]] const CacheShape& shape() const noexcept { return shape_; }
  /// Where keys and values lie, and, for pages, EngineStorage::set_pages.
  [[nodiscard]] Storage& storage() noexcept { return storage_; }
  [[nodiscard]] const Storage& storage() const noexcept { return storage_; }
  [[nodiscard]] const Options& options() const noexcept { return options_; }
  [[nodiscard]] const Policy& policy(std::size_t layer, std::size_t head) const {
    require_below("layer", layer, shape_.layers);
    require_below("head", head, shape_.kv_heads);
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
    require_below("slot", slot, size(layer, head));
    return {storage_.keys(layer, head)[slot], shape_.head_dim};
  }
  [[nodiscard]] std::span<const T> value(std::size_t layer, std::size_t head,
                                         std::size_t slot) const {
    require_below("slot", slot, size(layer, head));
    return {storage_.values(layer, head)[slot], shape_.head_dim};
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
    usage += {.history = history_.bytes(), .scratch = workspace_.bytes()};
    for (const Policy& policy : policies_) usage += policy.memory();
    return usage;
  }

 private:
  using Allocator = std::conditional_t<shares_slots, SlotAllocator<Policy>, std::monostate>;

  /// \param make_storage called with the slots of every head, [layers][kv_heads]
  template <class MakeStorage>
  KVCache(const CacheShape& shape, const Options& options, const Budget& budget,
          const SharedBudget& shared, const MakeStorage& make_storage)
      : shape_((validate(shape), shape)),
        options_(options),
        budget_(budget),
        shared_(shared),
        policies_(make_policies()),
        storage_(make_storage(slots_of_memory())),
        history_(shape_.heads(), history_of(options), shape_.head_dim),
        workspace_(shape_.kv_heads, shape_.group(), shape_.head_dim, max_slots()),
        placed_(shape_.kv_heads),
        tokens_(shape_.layers),
        allocator_(make_allocator()) {
    for (std::size_t head = 0; head < policies_.size(); ++head) {
      const std::size_t slots = storage_.slots(head / shape_.kv_heads, head % shape_.kv_heads);
      require(slots >= policies_[head].slots() || can_grow(), "slots of memory", slots,
              "at least those of the policy: " + std::to_string(policies_[head].slots()));
    }
  }

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
    const std::size_t slots = Policy(options, 0).slots();  // refuses a capacity that is too large
    require(slots == options.capacity, "slots", slots, "the capacity, where heads share slots");
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
    require(!budget_.is_adaptive() || divides_layers, "budget", "adaptive",
            "another one: heads are divided only in memory of the cache's own, and only under a "
            "policy that scores prompts");
    (void)Policy(options_, 0);  // so that a wrong option is reported as it was given
    const std::vector<std::size_t> capacities = budget_.capacities(shape_, options_);
    std::vector<Policy> policies;
    policies.reserve(shape_.heads());
    for (std::size_t head = 0; head < shape_.heads(); ++head) {
      policies.emplace_back(with_capacity(options_, capacities[head]), head);
    }
    return policies;
  }

  [[nodiscard]] std::vector<std::size_t> slots_of_memory() const {
    std::vector<std::size_t> result;
    for (const Policy& policy : policies_) {
      result.push_back(policy.slots());
      if constexpr (divides_layers) {
        if (budget_.is_adaptive()) result.back() = Storage::divisible_slots(shape_, result.back());
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

  static void require_below(const char* name, std::size_t number, std::size_t bound) {
    if (number < bound) return;  // before a message is composed
    require(false, name, number, "below " + std::to_string(bound));
  }
  [[nodiscard]] std::size_t index(std::size_t layer, std::size_t head) const noexcept {
    return layer * shape_.kv_heads + head;
  }
  /// The rows of head `at`, numbered through all layers.
  [[nodiscard]] KvView<T> keys_of(std::size_t at) noexcept {
    return storage_.keys(at / shape_.kv_heads, at % shape_.kv_heads);
  }
  [[nodiscard]] KvView<T> values_of(std::size_t at) noexcept {
    return storage_.values(at / shape_.kv_heads, at % shape_.kv_heads);
  }
  [[nodiscard]] bool can_grow() const noexcept {
    if constexpr (GrowingStorage<Storage>)
      return storage_.can_grow();
    else
      return false;
  }

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
    PendingBlock<T, Policy, Storage, E> pending(
        shape_, layer, std::span(policies_).subspan(index(layer, 0), shape_.kv_heads), storage_,
        block);
    Status status = pending.score(options_.group, execute);
    if (status != Status::ok) return status;
    if constexpr (divides_layers) {
      if (budget_.is_adaptive()) {
        pending.divide(capacity_of(options_), recent_of(options_), budget_.floor());
      }
    }
    status = pending.select();
    if (status != Status::ok) return status;
    pending.commit(history_);
    tokens_[layer] += tokens;
    finish(layer);
    return Status::ok;
  }

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
      T* const stored_key = storage_.keys(layer, head)[slot];
      T* const stored_value = storage_.values(layer, head)[slot];
      kernels::convert(key.data() + offset, shape_.head_dim, stored_key);
      kernels::convert(value.data() + offset, shape_.head_dim, stored_value);
      if constexpr (StoringPolicy<Policy>) {
        float* const numbers = workspace_.spare(head);
        kernels::convert(stored_key, shape_.head_dim, numbers);
        kernels::convert(stored_value, shape_.head_dim, numbers + shape_.head_dim);
        policies_[index(layer, head)].store(slot, {numbers, shape_.head_dim},
                                            {numbers + shape_.head_dim, shape_.head_dim});
      }
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
      fetch_to_write(keys_of(at)[placement.slot], shape_.head_dim * sizeof(T));
      fetch_to_write(values_of(at)[placement.slot], shape_.head_dim * sizeof(T));
      if (!placements.empty()) placements[head] = placement;
    }
    for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
      const std::size_t at = index(layer, head);
      if (history_.tokens() > 0) history_.save(at, keys_of(at), values_of(at), placed_[head]);
      write(head, placed_[head]);
    }
    ++tokens_[layer];
    workspace_.discard(layer);
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
    if (layer >= shape_.layers || head >= shape_.kv_heads) return Status::wrong_size;
    const kernels::DecodeAttention<T> stored{.keys = storage_.keys(layer, head),
                                             .values = storage_.values(layer, head),
                                             .logits = shape_.logits(layer, head),
                                             .fusion = options_.group};
    return workspace_.attend(layer, head, stored, policies_[index(layer, head)], query, output);
  }

  /// Updates a head's scores by the valid row that lies in the workspace.
  void observe_row(std::size_t layer, std::size_t head) noexcept {
    Policy& policy = policies_[index(layer, head)];
    const std::span<const float> row(workspace_.row(head), policy.size());
    [[maybe_unused]] const Status status = policy.observe(row);
    MORPHKV_ASSERT(status == Status::ok);
  }

  /// After tokens have come to a layer, or their rows were observed.
  void finish(std::size_t layer) noexcept {
    workspace_.discard(layer);
    if constexpr (shares_slots) {
      for (std::size_t head = index(layer, 0); head < index(layer + 1, 0); ++head) {
        allocator_.update(head, policies_[head]);
      }
    }
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

  CacheShape shape_;
  Options options_;
  Budget budget_;
  SharedBudget shared_;           ///< where heads share their slots
  std::vector<Policy> policies_;  ///< [layers][kv_heads]
  Storage storage_;
  DraftHistory<T> history_;
  DecodeWorkspace workspace_;
  std::vector<Slot> placed_;         ///< [kv_heads], of the token that is being appended
  std::vector<std::size_t> tokens_;  ///< [layers]: tokens that have come and were not taken back
  [[no_unique_address]] Allocator allocator_;
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CACHE_KV_CACHE_HPP
