// SPDX-License-Identifier: Apache-2.0
/// \file
/// The container: keys and values of one sequence, for all layers and heads, and their policies.
#ifndef MORPHKV_CACHE_KV_CACHE_HPP
#define MORPHKV_CACHE_KV_CACHE_HPP

#include <algorithm>
#include <atomic>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "morphkv/attention/block_mask.hpp"
#include "morphkv/attention/decode.hpp"
#include "morphkv/cache/budget.hpp"
#include "morphkv/cache/draft_history.hpp"
#include "morphkv/cache/engine_storage.hpp"
#include "morphkv/cache/owned_storage.hpp"
#include "morphkv/cache/pending_block.hpp"
#include "morphkv/cache/shared_storage.hpp"
#include "morphkv/cache/slot_allocator.hpp"
#include "morphkv/cache/snapshot.hpp"
#include "morphkv/cache/storage.hpp"
#include "morphkv/cache/tiered_storage.hpp"
#include "morphkv/core/executor.hpp"
#include "morphkv/core/kv_view.hpp"
#include "morphkv/core/memory_usage.hpp"
#include "morphkv/core/quantised.hpp"
#include "morphkv/core/rope.hpp"
#include "morphkv/core/shape.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/eviction/rules.hpp"
#include "morphkv/kernels/convert.hpp"
#include "morphkv/kernels/scores.hpp"
#include "morphkv/kernels/tiered_attention.hpp"
#include "morphkv/policy/eviction_policy.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

template <Storable T, EvictionPolicy Policy>
class SequencePool;

/// The key-value cache of one sequence, kept at a constant size by `Policy`.
///
///     CacheShape shape{.layers = 32, .query_heads = 32, .kv_heads = 8, .head_dim = 128};
///     KVCache<Eigen::bfloat16, MorphKV> cache(shape, {.capacity = 2048, .window = 32});
///     cache.prefill(layer, queries, keys, values, outputs);   // the prompt
///     cache.append(layer, key, value, position);              // then for each token
///     cache.attend(layer, query, output);
///
/// Spans hold heads side by side, as projections leave them: queries are [query_heads][head_dim],
/// outputs [query_heads][value_dim], keys [kv_heads][head_dim], values [kv_heads][value_dim], and a
/// block has its tokens outermost. value_dim is head_dim unless the shape has one of its own. Where
/// values lie in the keys, none are passed: spans of values are empty. Their elements are float, or
/// the cache's 16-bit type. Keys are rotated already (RoPE at the absolute position); logits are
/// those of the shape.
///
/// The storage is OwnedStorage, EngineStorage, SharedStorage, PooledStorage (see SequencePool),
/// TieredStorage, or another CacheStorage. A new token overwrites a victim, and no key ever moves,
/// but where a slot passes between heads that share them, or from tier to tier.
///
/// Copies are independent: a copy forks the sequence (a cache over EngineStorage moves only, see
/// copy_from; one over PooledStorage shares its pages until they are written). Steps neither
/// allocate nor throw: they report a Status, and unless it is Status::ok nothing has changed, but
/// for what attend says of its output. Accessors throw std::invalid_argument for a layer, head or
/// slot that does not exist.
///
/// Thread safety: calls for one cache must not overlap; within `prefill` and `attend` the heads of
/// a layer run on the executor that the caller passes, and the result does not depend on it.
template <Storable T, EvictionPolicy Policy, CacheStorage<T> Storage = OwnedStorage<T>>
class KVCache {
  friend class SequencePool<T, Policy>;
  /// Whether callers may also pass what is stored, and not floats alone.
  static constexpr bool is_16_bit = SixteenBits<T>;
  /// Whether a key can be turned where it lies, and loses no more than it did when it came.
  static constexpr bool can_turn_keys =
      !TieringStorage<Storage> && (is_16_bit || std::same_as<T, float>);
  static constexpr bool shares_slots = SharingStorage<Storage> && SharingPolicy<Policy>;
  static constexpr bool divides_layers = DivisibleStorage<Storage> && ResizablePolicy<Policy>;
  static constexpr bool claims_slots = ClaimedStorage<Storage>;
  static_assert(!claims_slots || ForeseeingPolicy<Policy>, "such a storage needs next_slot()");
  static constexpr bool has_tiers = TieringStorage<Storage>;
  static_assert(!has_tiers || (TieringPolicy<Policy> && !StoringPolicy<Policy>),
                "tiers need make_hot_slot(), and no copy of keys and values by slot");

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
          requires (!OwningStorage<Storage> && !SharingStorage<Storage> && !has_tiers)
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

  /// A cache whose heads have two tiers of slots; see TieredStorage and eviction/tiers.hpp. The
  /// policy evicts while it decodes, and has no history.
  /// \throws std::invalid_argument likewise, also if `tiers.hot` is 0 or not below the slots of
  ///         a head
  KVCache(const CacheShape& shape, const Options& options, const Tiers& tiers,
          const Budget& budget = Budget::uniform()) requires has_tiers
      : KVCache(shape, options, budget, {}, [&](std::span<const std::size_t> slots) {
          return Storage(shape, slots, tiers);
        }) {
    require(history_.tokens() == 0, "history", history_.tokens(), "0 where heads have tiers");
    require(policies_[0].can_have_tiers(), "tiers", "two",
            "under a policy that evicts while it decodes");
  }
  // clang-format on

  /// Appends a block of tokens at the next positions: a prompt, a chunk of one, or a later turn.
  /// Queries attend causally to what each head holds and to the block. Then the policy scores the
  /// tokens by the block's last queries and drops those that it does not keep: a long prompt given
  /// in chunks never needs more than the capacity and a chunk.
  ///
  /// \param queries [tokens][query_heads][head_dim]
  /// \param keys, values [tokens][kv_heads][head_dim or value_dim]
  /// \param outputs [tokens][query_heads][value_dim], or empty if the engine has its own attention
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
    return prefill_block<float>(layer, {0, queries, keys, values, outputs, {}, nullptr}, execute);
  }
  template <class Execute = SerialExecutor>
  Status prefill(std::size_t layer, std::span<const T> queries, std::span<const T> keys,
                 std::span<const T> values, std::span<T> outputs = {},
                 Execute&& execute = {}) requires(is_16_bit) {
    return prefill_block<T>(layer, {0, queries, keys, values, outputs, {}, nullptr}, execute);
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
    return prefill_block<E>(layer, {0, queries, keys, values, {}, log_sum_exp, nullptr}, execute);
  }

  /// The same for a block in which the tokens of some spans see each other too, also later ones:
  /// the tokens of an image (Gemma 3, PaliGemma). A span lies in one block. As elsewhere, a token
  /// is scored by its own query and later ones: the weights that earlier tokens of its span give it
  /// do not count.
  /// \param spans ascending, apart from each other, of at least one token each
  /// \return wrong_size also for other spans
  template <ElementOf<T> E, class Execute = SerialExecutor>
  Status prefill_spans(std::size_t layer, std::span<const E> queries, std::span<const E> keys,
                       std::span<const E> values, std::span<E> outputs,
                       std::span<const TokenSpan> spans, Execute&& execute = {}) {
    const auto mask = BlockMask::of_spans(spans, keys.size() / shape_.key_width());
    if (!mask) return Status::wrong_size;
    return prefill_block<E>(layer, {0, queries, keys, values, outputs, {}, &*mask}, execute);
  }

  /// Attention of a tree of draft tokens, each over what the layer holds and over its ancestors.
  /// The cache does not change: tokens that are accepted come afterwards, by prefill() or append().
  /// The others need no rollback().
  /// \param parents [tokens]: an earlier token of the tree, or no_parent
  /// \return wrong_size, also for other parents, not_finite or bad_row
  /// \throws std::bad_alloc, or what the executor throws. It allocates: a copy of each head's block
  /// and of what the head holds. O(tokens x (slots + tokens)).
  template <ElementOf<T> E, class Execute = SerialExecutor>
  Status attend_tree(std::size_t layer, std::span<const E> queries, std::span<const E> keys,
                     std::span<const E> values, std::span<const std::int32_t> parents,
                     std::span<E> outputs, Execute&& execute = {}) {
    const auto mask = BlockMask::of_tree(parents);
    LayerBlock<E> block{parents.size(),         queries, keys, values, outputs, {},
                        mask ? &*mask : nullptr};
    if (!mask || !fits(layer, block) || outputs.size() != block.tokens * shape_.output_width()) {
      return Status::wrong_size;
    }
    if (block.tokens == 0) return Status::ok;
    if (!are_finite<T>(keys) || !are_finite<T>(values)) return Status::not_finite;
    return PendingBlock<T, Policy, Storage, E>(shape_, layer, heads_of(layer), storage_, block)
        .attend(execute);
  }

  /// Writes one token's keys and values, in each head to a free slot or over the victim.
  /// \param key, value [kv_heads][head_dim or value_dim]
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
      requires(is_16_bit) {
    return append_token<T>(layer, key, value, position, placements);
  }

  /// The same for an engine that writes keys and values itself, to the slots in `placements`,
  /// [kv_heads]. (With a history, what lay there is saved first; pages of a pool are not shared
  /// afterwards.)
  Status place(std::size_t layer, Position position, std::span<Placement> placements) noexcept
      requires(!StoringPolicy<Policy>) {
    if (placements.size() != shape_.kv_heads) return Status::wrong_size;
    return place_token(layer, position, placements, [](std::size_t, Slot) {});
  }

  /// Attention of the newest token, whose row then updates the scores.
  /// \param query, output [query_heads][head_dim or value_dim]
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
                Execute&& execute = {}) noexcept requires(is_16_bit) {
    return attend_token<T>(layer, query, output, execute);
  }

  /// attend in two parts, for an engine that schedules heads itself (a batch of sequences): first
  /// the attention of every head of the layer, in any order and at the same time, then
  /// observe_heads.
  /// \param query, output [group][head_dim or value_dim]
  Status attend_head(std::size_t layer, std::size_t head, std::span<const float> query,
                     std::span<float> output) noexcept {
    return attend_one<float>(layer, head, query, output);
  }
  Status attend_head(std::size_t layer, std::size_t head, std::span<const T> query,
                     std::span<T> output) noexcept requires(is_16_bit) {
    return attend_one<T>(layer, head, query, output);
  }
  /// Attention of a layer that has no cache of its own and reads that of `layer` (Gemma 3n,
  /// cross-layer sharing): over what is held now.
  ///
  /// With CacheShape::readers, reads between a token's attend() and the next token vote, as if
  /// their query heads were of the owner's groups: the scores are updated by the last of them, and
  /// not before. Where fewer come, the token scores nothing. Other reads change nothing, neither
  /// scores nor rows of attend_head.
  /// \param query, output [query_heads][head_dim or value_dim]
  /// \return wrong_size, or out_of_step if a head holds no token, and `output` is untouched; or
  ///         bad_row if a weight is not finite, and `output` holds the heads that are finite: it
  ///         has not voted then, and may be repeated
  /// An executor that throws here ends the program. O(query_heads x slots x head_dim).
  template <ElementOf<T> E, class Execute = SerialExecutor>
  Status read(std::size_t layer, std::span<const E> query, std::span<E> output,
              Execute&& execute = {}) noexcept {
    if (layer >= shape_.layers || query.size() != shape_.query_width() ||
        output.size() != shape_.output_width()) {
      return Status::wrong_size;
    }
    for (const Policy& policy : heads_of(layer)) {
      if (policy.size() == 0) return Status::out_of_step;
    }
    std::atomic<bool> is_finite = true;
    for_each_head(execute, query, output, [&](std::size_t head, auto head_query, auto head_output) {
      const Status status = workspace_.read(layer, head, stored(layer, head),
                                            policies_[index(layer, head)], head_query, head_output);
      if (status != Status::ok) is_finite.store(false, std::memory_order_relaxed);
    });
    if (!is_finite) return Status::bad_row;
    if (workspace_.count_vote(layer)) {
      execute(shape_.kv_heads, [&](std::size_t head) {
        const std::size_t slots = policies_[index(layer, head)].size();
        observe_row(layer, head, workspace_.fused_row(layer, head, slots, options_.group));
      });
      finish(layer);
    }
    return Status::ok;
  }

  /// Updates the scores of all heads of the layer by the rows of attend_head, or lets the layer's
  /// voting readers follow; see read().
  /// \return the status of the first head that could not attend, or out_of_step if attend_head was
  ///         not called for one since its token was placed; and no score has changed
  template <class Execute = SerialExecutor>
  Status observe_heads(std::size_t layer, Execute&& execute = {}) noexcept {
    if (layer >= shape_.layers) return Status::wrong_size;
    const Status status = workspace_.check_rows(layer);
    if (status != Status::ok) return status;
    if (workspace_.awaits_votes(layer)) {
      workspace_.open_votes(layer);
      return Status::ok;
    }
    execute(shape_.kv_heads,
            [&](std::size_t head) { observe_row(layer, head, workspace_.row(head)); });
    finish(layer);
    return Status::ok;
  }

  /// The newest token's attention, computed by the engine. No reader votes on it afterwards.
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
      observe_row(layer, head, workspace_.row(head));
    }
    finish(layer);
    return Status::ok;
  }

  /// Takes the newest `tokens` tokens back, as if they had never come: the victims that they
  /// replaced are alive again. For a rejected draft, appended one by one or as a block, and for a
  /// step that failed in some layer: the tokens are counted in the layer that has most, and all
  /// layers end at the same token.
  /// \return too_far_back if the history of a layer does not hold them (a block longer than the
  ///         options' history ends it), out_of_step if a layer does not have the token to end at,
  ///         or no_memory if pages that a fork shares need more copies than there are free pages
  ///         (where a part of a block stays, each of its tokens is taken to need one); and nothing
  ///         has changed
  /// O(history x slots) per head, or what the policy says.
  Status rollback(std::size_t tokens) noexcept requires RevocablePolicy<Policy> {
    const std::size_t most = *std::max_element(tokens_.begin(), tokens_.end());
    if (tokens > most) return Status::too_far_back;
    for (std::size_t head = 0; head < policies_.size(); ++head) {
      const std::size_t held = tokens_[head / shape_.kv_heads];
      if (held < most - tokens) return Status::out_of_step;
      if (policies_[head].recorded() < held - (most - tokens)) return Status::too_far_back;
    }
    const auto count_of = [&](std::size_t head) {
      return tokens_[head / shape_.kv_heads] - (most - tokens);
    };
    if constexpr (claims_slots) {
      for (std::size_t head = 0; head < policies_.size(); ++head) {
        history_.for_each_slot(head, policies_[head].undone_by(count_of(head)),
                               [&](Slot slot) { storage_.claim(head / shape_.kv_heads, slot); });
      }
      // The first tokens of a block that is taken back in part are written again.
      for (std::size_t head = 0; head < policies_.size(); ++head) {
        const std::size_t again = policies_[head].undone_by(count_of(head)) - count_of(head);
        for (std::size_t i = 0; i < again; ++i) storage_.claim(head / shape_.kv_heads, no_slot);
      }
      if (!storage_.grant()) return Status::no_memory;
    }
    for (std::size_t head = 0; head < policies_.size(); ++head) {
      const std::size_t count = count_of(head);
      if (count == 0) continue;
      history_.rollback(head, count, policies_[head], keys_of(head), values_of(head),
                        [&](Slot slot) { make_writable(head, slot); });
    }
    std::fill(tokens_.begin(), tokens_.end(), most - tokens);
    shrink();
    workspace_.discard();
    return Status::ok;
  }

  /// Gives the tokens of every head the positions that end at next_position() - 1 and have no gaps,
  /// and turns their keys by as much: positions within the cache (StreamingLLM, arXiv 2309.17453,
  /// section 3.2). For a text that comes near the end of the trained context; the next token's
  /// position is next_position(): the tokens of the largest head, and one more where the newest is
  /// not among them. No token can be taken back afterwards.
  /// \param rope how the stored keys were rotated. A 16-bit key is rounded once more. Without it
  ///             keys stay: the engine stores them before it rotates them.
  /// \return out_of_step if the layers do not end at the same position, wrong_size if a key has
  ///         fewer elements than `rope` rotates, or no_memory as in rollback(); and nothing has
  ///         changed
  /// \throws std::bad_alloc, and nothing has changed. O(slots x head_dim) per head.
  Status renumber(const Rope& rope) requires RenumberingPolicy<Policy> && can_turn_keys {
    if (rope.dims() > shape_.head_dim) return Status::wrong_size;
    std::vector<float> key(shape_.head_dim);
    return renumber_with([&](T* stored, Position by) {
      kernels::convert(stored, key.size(), key.data());
      rope.rotate(key.data(), by);
      kernels::convert(key.data(), key.size(), stored);
    });
  }
  Status renumber() requires RenumberingPolicy<Policy> { return renumber_with(nullptr); }

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
    shrink();
    workspace_.discard();
  }

  /// Becomes a fork of another cache of the same shape, options and budget, in memory of its own
  /// (over PooledStorage in shared pages). It allocates nothing over EngineStorage.
  /// O(slots in use x head_dim) per head.
  /// \throws std::invalid_argument if they are not the same, this one's pages are too few, or the
  ///         other lies in another pool; and nothing has changed
  void copy_from(const KVCache& other) requires std::equality_comparable<Options> {
    if (this == &other) return;
    require(shape_ == other.shape_, "other", "a cache of another shape", "one of the same shape");
    require(options_ == other.options_ && budget_ == other.budget_ && shared_ == other.shared_,
            "other", "a cache of other options or budget", "one of the same options and budget");
    if constexpr (has_tiers) {
      require(storage_.hot_slots() == other.storage_.hot_slots(), "other", "a cache of other tiers",
              "one of the same tiers");
    }
    if constexpr (claims_slots) {
      require(storage_.can_become(other.storage_), "other", "a cache in another pool",
              "one in the same pool");
    }
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
          std::copy_n(keys[slot], row_.key, keys_of(head)[slot]);
          std::copy_n(values[slot], row_.value, values_of(head)[slot]);
        }
      }
    }
  }

  /// All that the cache holds, as bytes: keys, values, positions, scores and drafts, for restore()
  /// in this process or another one, also from a file. They have a version and a checksum, and are
  /// those of a machine with the same byte order. It allocates. O(bytes).
  [[nodiscard]] std::vector<std::byte> save() const requires SavablePolicy<Policy> &&
      (!shares_slots && !has_tiers) {
    SnapshotWriter out;
    for_each_property([&](const char*, std::uint64_t value) { out.put(value); });
    for (const std::size_t count : tokens_) out.put(count);
    for (std::size_t head = 0; head < policies_.size(); ++head) {
      policies_[head].save(out);
      out.put(policies_[head].size());
      const KvView<const T> keys = storage_.keys(head / shape_.kv_heads, head % shape_.kv_heads);
      const KvView<const T> values =
          storage_.values(head / shape_.kv_heads, head % shape_.kv_heads);
      for (std::size_t slot = 0; slot < policies_[head].size(); ++slot) {
        out.put_bytes(std::as_bytes(std::span(keys[slot], row_.key)));
        out.put_bytes(std::as_bytes(std::span(values[slot], row_.value)));
      }
      const std::size_t drafts = recorded(policies_[head]);
      out.put(drafts);
      if constexpr (RevocablePolicy<Policy>) history_.put(head, drafts, policies_[head], out);
    }
    return std::move(out).finish();
  }

  /// Continues where the saved cache was. With equal options it does so bit for bit, and rollback()
  /// takes back what it would have there, as far as this cache's history reaches.
  ///
  /// The options and the budget may be others, of the same kind of policy. Where a head has another
  /// capacity, recent tokens, pins, distance or window, it takes over what transfer()
  /// (eviction/transfer.hpp) says: all tokens if they fit; else the protected ones and those with
  /// the highest scores, as if its next selection had to shrink it. No draft can be taken back
  /// then. Sinks, a protected prompt and pins are those that the saved cache had; of pins as many
  /// as the options still allow.
  /// \throws std::invalid_argument if the bytes are not what save() gave; were saved by a cache of
  ///         another shape, element type or kind of policy; or tokens that must stay do not fit
  ///         into a head, or into this one's pages, naming the option, its value and those allowed;
  ///         std::bad_alloc. Nothing has changed then.
  /// O(bytes), O(slots log slots) per head of other options, and O(history x slots).
  void restore(std::span<const std::byte> saved) requires SavablePolicy<Policy> &&
      (!shares_slots && !has_tiers) {
    SnapshotReader in(saved);
    for_each_property([&](const char* name, std::uint64_t value) { in.expect(name, value); });
    std::vector<std::size_t> tokens(shape_.layers);
    for (std::size_t& count : tokens) count = static_cast<std::size_t>(in.take());
    std::vector<Policy> policies = policies_;
    DraftHistory<T> history = history_;
    const std::size_t row_bytes = (row_.key + row_.value) * sizeof(T);
    std::vector<std::vector<Slot>> sources;  // of every head: the saved row of each slot
    std::vector<std::span<const std::byte>> rows;
    for (std::size_t head = 0; head < policies.size(); ++head) {
      sources.push_back(policies[head].restore(in));
      const std::uint64_t saved_slots = in.take_at_most("slots in use", max_head_slots);
      rows.push_back(in.take_bytes(saved_slots * row_bytes));
      for (const Slot source : sources.back()) require_below("slot", source, saved_slots);
      const std::size_t slots = storage_.slots(head / shape_.kv_heads, head % shape_.kv_heads);
      require(slots >= policies[head].size(), "slots of memory", slots,
              "enough for the tokens of the snapshot: " + std::to_string(policies[head].size()));
      // The oldest drafts that do not fit are passed over.
      const std::uint64_t drafts = in.take();
      const std::size_t kept = recorded(policies[head]);
      require(drafts >= kept, "drafts of the snapshot", drafts,
              "at least those of the policy: " + std::to_string(kept));
      history.take(head, drafts, kept, policies[head].size(), in);
    }
    in.expect_end();
    if constexpr (claims_slots) {
      for (std::size_t head = 0; head < policies.size(); ++head) {
        for (Slot slot = 0; slot < policies[head].size(); ++slot) {
          storage_.claim(head / shape_.kv_heads, slot);
        }
      }
      require(storage_.grant(), "free pages", "too few", "enough for the tokens of the snapshot");
    }
    policies_ = std::move(policies);
    history_ = std::move(history);
    tokens_ = std::move(tokens);
    workspace_.discard();
    for (std::size_t head = 0; head < policies_.size(); ++head) {
      for (Slot slot = 0; slot < policies_[head].size(); ++slot) {
        make_writable(head, slot);
        const std::byte* from = rows[head].data() + sources[head][slot] * row_bytes;
        std::memcpy(static_cast<void*>(keys_of(head)[slot]), from, row_.key * sizeof(T));
        if (row_.value == 0) continue;  // it lies in the key
        std::memcpy(static_cast<void*>(values_of(head)[slot]), from + row_.key * sizeof(T),
                    row_.value * sizeof(T));
      }
    }
    shrink();
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
  /// [head_dim], and [value_dim]: of one slot in use. Numbers of E4M3 lack the scale of their head.
  /// Where heads have tiers, of a hot slot: see TieredStorage::all_keys for the others.
  [[nodiscard]] std::span<const T> key(std::size_t layer, std::size_t head,
                                       std::size_t slot) const {
    require_below("slot", slot, slots_in_t(layer, head));
    return {storage_.keys(layer, head)[slot], row_.key};
  }
  [[nodiscard]] std::span<const T> value(std::size_t layer, std::size_t head,
                                         std::size_t slot) const {
    require_below("slot", slot, slots_in_t(layer, head));
    return {storage_.values(layer, head)[slot], row_size<T>(shape_.output_dim())};
  }
  /// [size][head_dim], and [size][value_dim], in slot order; valid until the next prefill.
  /// \throws std::invalid_argument from `values` also where they lie in the keys
  [[nodiscard]] std::span<const T> keys(std::size_t layer, std::size_t head) const requires
      ContiguousStorage<Storage> {
    const std::size_t elements = size(layer, head) * row_.key;
    return {storage_.keys(layer, head).data, elements};
  }
  [[nodiscard]] std::span<const T> values(std::size_t layer, std::size_t head) const requires
      ContiguousStorage<Storage> {
    require(!shape_.values_in_keys, "values", "those in the keys", "asked for one by one");
    const std::size_t elements = size(layer, head) * row_size<T>(shape_.output_dim());
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
      : row_(row_sizes<T>(shape)),
        shape_(shape),
        options_(options),
        budget_(budget),
        shared_(shared),
        policies_(make_policies()),
        storage_(make_storage(slots_of_memory())),
        history_(shape_.heads(), history_of(options), row_),
        workspace_(shape_, max_slots(),
                   has_tiers ? kernels::tiered_workspace(shape_.group(), shape_.output_dim()) : 0),
        placed_(shape_.kv_heads),
        tokens_(shape_.layers),
        allocator_(make_allocator()) {
    if constexpr (claims_slots) storage_.reserve(slots_of_memory());
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
      const std::size_t window = shape_.window(head / shape_.kv_heads);
      if (window == 0) continue;
      require(!shares_slots, "window", window, "0 where heads share their slots");
      require(!has_tiers, "window", window, "0 where heads have tiers");
      if constexpr (SlidingPolicy<Policy>) {
        policies.back().set_window(window);
      } else {
        require(false, "window", window, "0 under a policy that cannot slide");
      }
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

  /// Calls use(name, value) for what two caches must share if one is to continue the other.
  template <class Use>
  void for_each_property(const Use& use) const {
    use("layers", shape_.layers);
    use("query_heads", shape_.query_heads);
    use("kv_heads", shape_.kv_heads);
    use("head_dim", shape_.head_dim);
    use("value_dim", shape_.output_dim());
    use("values_in_keys", shape_.values_in_keys ? 1 : 0);
    const Logits logits = shape_.logits(0, 0);
    use("scale (its bits)", std::bit_cast<std::uint32_t>(logits.scale));
    use("soft_cap (its bits)", std::bit_cast<std::uint32_t>(logits.soft_cap));
    const std::size_t sinks = shape_.sinks == nullptr ? 0 : shape_.layers * shape_.query_heads;
    const std::size_t slopes = shape_.slopes == nullptr ? 0 : shape_.query_heads;
    use("checksum of the sinks and slopes",
        crc32(std::as_bytes(std::span(shape_.sinks, sinks))) +
            3 * crc32(std::as_bytes(std::span(shape_.slopes, slopes))));
    use("bytes of an element", sizeof(T));
    use("kind of an element", element_kind<T>);
    for (std::size_t i = 0; std::same_as<T, E4M3> && i < shape_.heads(); ++i) {
      const std::size_t layer = i / shape_.kv_heads;
      const std::size_t head = i % shape_.kv_heads;
      use("key_scales (their bits)", std::bit_cast<std::uint32_t>(shape_.key_scale(layer, head)));
      use("value_scales (their bits)",
          std::bit_cast<std::uint32_t>(shape_.value_scale(layer, head)));
    }
    for (std::size_t layer = 0; layer < shape_.layers; ++layer) use("window", shape_.window(layer));
  }
  /// Tokens that a head can take back.
  [[nodiscard]] static std::size_t recorded(const Policy& policy) noexcept {
    if constexpr (RevocablePolicy<Policy>)
      return policy.recorded();
    else
      return 0;
  }

  static void require_below(const char* name, std::size_t number, std::size_t bound) {
    if (number < bound) return;  // before a message is composed
    require(false, name, number, "below " + std::to_string(bound));
  }
  [[nodiscard]] std::size_t index(std::size_t layer, std::size_t head) const noexcept {
    return layer * shape_.kv_heads + head;
  }
  /// Slots in use whose rows are of T.
  [[nodiscard]] std::size_t slots_in_t(std::size_t layer, std::size_t head) const {
    if constexpr (has_tiers)
      return std::min(size(layer, head), storage_.hot_slots());
    else
      return size(layer, head);
  }
  /// The rows of head `at`, numbered through all layers.
  [[nodiscard]] KvView<T> keys_of(std::size_t at) noexcept {
    return storage_.keys(at / shape_.kv_heads, at % shape_.kv_heads);
  }
  [[nodiscard]] KvView<T> values_of(std::size_t at) noexcept {
    return storage_.values(at / shape_.kv_heads, at % shape_.kv_heads);
  }
  /// Before a slot of head `at` is written.
  void make_writable([[maybe_unused]] std::size_t at, [[maybe_unused]] Slot slot) noexcept {
    if constexpr (claims_slots) storage_.make_writable(at / shape_.kv_heads, slot);
  }
  /// Whether the next token of a layer can be written.
  [[nodiscard]] bool claim_next(std::size_t layer) noexcept requires claims_slots {
    std::size_t unknown = 0;
    for (const Policy& policy : heads_of(layer)) {
      const Slot slot = policy.next_slot();
      slot == no_slot ? static_cast<void>(++unknown) : storage_.claim(layer, slot);
    }
    for (; unknown > 0; --unknown) storage_.claim(layer, no_slot);
    return storage_.grant();
  }
  /// After tokens were taken away.
  void shrink() noexcept {
    if constexpr (claims_slots) {
      for (std::size_t layer = 0; layer < shape_.layers; ++layer) {
        std::size_t slots = 0;
        for (const Policy& policy : heads_of(layer)) slots = std::max(slots, policy.size());
        storage_.shrink(layer, slots);
      }
    }
  }

  [[nodiscard]] bool can_grow() const noexcept {
    if constexpr (GrowingStorage<Storage>)
      return storage_.can_grow();
    else
      return false;
  }

  /// The policies of a layer.
  [[nodiscard]] std::span<Policy> heads_of(std::size_t layer) noexcept {
    return std::span(policies_).subspan(index(layer, 0), shape_.kv_heads);
  }
  /// Whether a block's spans are as long as its tokens ask for.
  template <class E>
  [[nodiscard]] bool fits(std::size_t layer, const LayerBlock<E>& block) const noexcept {
    return layer < shape_.layers && block.keys.size() == block.tokens * shape_.key_width() &&
           block.values.size() == block.tokens * shape_.value_width() &&
           block.queries.size() == block.tokens * shape_.query_width() &&
           (block.outputs.empty() || block.outputs.size() == block.tokens * shape_.output_width());
  }

  template <ElementOf<T> E>
  using Block = PendingBlock<T, Policy, Storage, E>;

  template <ElementOf<T> E, class Execute>
  Status prefill_block(std::size_t layer, const LayerBlock<E>& block, Execute& execute) {
    std::optional<Block<E>> pending;
    Status status = begin_block(layer, block, pending);
    if (!pending) return status;
    run_bodies(execute, shape_.kv_heads,
               [&](std::size_t head) { pending->score(head, options_.group); });
    status = select_block(*pending);
    return status == Status::ok ? commit_block(*pending) : status;
  }

  /// A prefill has three parts, and the heads are scored between the first two.
  /// \param pending receives the block if it is valid and has a token
  template <ElementOf<T> E>
  Status begin_block(std::size_t layer, LayerBlock<E> block, std::optional<Block<E>>& pending) {
    block.tokens = block.keys.size() / shape_.key_width();
    if (!fits(layer, block)) return Status::wrong_size;
    if (block.tokens == 0) return Status::ok;
    if (!are_finite<T>(block.keys) || !are_finite<T>(block.values)) return Status::not_finite;
    pending.emplace(shape_, layer, heads_of(layer), storage_, block);
    return Status::ok;
  }
  template <ElementOf<T> E>
  Status select_block(Block<E>& pending) {
    const Status status = pending.status();
    if (status != Status::ok) return status;
    if constexpr (divides_layers) {
      if (budget_.is_adaptive() && shape_.window(pending.layer()) == 0) {
        pending.divide(capacity_of(options_), recent_of(options_), budget_.floor());
      }
    }
    return pending.select();
  }
  template <ElementOf<T> E>
  Status commit_block(Block<E>& pending) noexcept {
    if (!pending.has_memory()) return Status::no_memory;
    pending.commit(history_);
    tokens_[pending.layer()] += pending.tokens();
    finish(pending.layer());
    return Status::ok;
  }

  template <ElementOf<T> E>
  Status append_token(std::size_t layer, std::span<const E> key, std::span<const E> value,
                      Position position, std::span<Placement> placements) noexcept {
    if (key.size() != shape_.key_width() || value.size() != shape_.value_width() ||
        (!placements.empty() && placements.size() != shape_.kv_heads)) {
      return Status::wrong_size;
    }
    if (!are_finite<T>(key) || !are_finite<T>(value)) return Status::not_finite;
    return place_token(layer, position, placements, [&](std::size_t head, Slot slot) {
      const std::size_t value_dim = shape_.stored_value_dim();
      T* const stored_key = storage_.keys(layer, head)[slot];
      T* const stored_value = storage_.values(layer, head)[slot];
      const float key_scale = shape_.key_scale(layer, head);
      const float value_scale = shape_.value_scale(layer, head);
      kernels::store_row(key.data() + head * shape_.head_dim, shape_.head_dim, key_scale,
                         stored_key);
      kernels::store_row(value.data() + head * value_dim, value_dim, value_scale, stored_value);
      if constexpr (StoringPolicy<Policy>) {
        float* const numbers = workspace_.spare(head);
        kernels::load_row(stored_key, shape_.head_dim, key_scale, numbers);
        kernels::load_row(stored_value, shape_.output_dim(), value_scale,
                          numbers + shape_.head_dim);
        policies_[index(layer, head)].store(slot, {numbers, shape_.head_dim},
                                            {numbers + shape_.head_dim, shape_.output_dim()});
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
    if constexpr (claims_slots) {
      if (!claim_next(layer)) return Status::no_memory;
    }
    for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
      const std::size_t at = index(layer, head);
      if constexpr (shares_slots) allocator_.reserve(at, std::span(policies_), storage_);
      const std::size_t size = policies_[at].size();
      if constexpr (has_tiers) {
        const TokenMove move = policies_[at].make_hot_slot(storage_.hot_slots());
        if (move.from != no_slot) storage_.demote(layer, head, move.from, move.to);
      }
      const Placement placement = policies_[at].place(position);
      placed_[head] = placement.slot;
      make_writable(at, placement.slot);
      fetch_to_write(keys_of(at)[placement.slot], row_.key * sizeof(T));
      fetch_to_write(values_of(at)[placement.slot], row_.value * sizeof(T));
      if (history_.tokens() > 0) {
        history_.save(at, keys_of(at), values_of(at), placement.slot, placement.slot < size);
      }
      if (!placements.empty()) placements[head] = placement;
    }
    for (std::size_t head = 0; head < shape_.kv_heads; ++head) write(head, placed_[head]);
    ++tokens_[layer];
    workspace_.discard(layer);
    return Status::ok;
  }

  template <ElementOf<T> E, class Execute>
  Status attend_token(std::size_t layer, std::span<const E> query, std::span<E> output,
                      Execute& execute) noexcept {
    if (layer >= shape_.layers || query.size() != shape_.query_width() ||
        output.size() != shape_.output_width()) {
      return Status::wrong_size;
    }
    for (std::size_t head = 0; head < shape_.kv_heads; ++head) {
      const Status status = policies_[index(layer, head)].can_observe();
      if (status != Status::ok) return status;
    }
    for_each_head(execute, query, output, [&](std::size_t head, auto head_query, auto head_output) {
      (void)attend_one(layer, head, head_query, head_output);
    });
    return observe_heads(layer, execute);
  }

  /// Calls use(head, its part of the queries, its part of the outputs) for each head of a layer.
  template <class E, class Execute, class Use>
  void for_each_head(Execute& execute, std::span<const E> query, std::span<E> output,
                     const Use& use) const noexcept {
    const std::size_t width = shape_.group() * shape_.head_dim;
    const std::size_t output_width = shape_.group() * shape_.output_dim();
    execute(shape_.kv_heads, [&](std::size_t head) {
      use(head, query.subspan(head * width, width),
          output.subspan(head * output_width, output_width));
    });
  }

  /// Where the keys and values of a head lie, and its logits.
  [[nodiscard]] auto stored(std::size_t layer, std::size_t head) const noexcept {
    const kernels::DecodeAttention<T> stored{.keys = storage_.keys(layer, head),
                                             .values = storage_.values(layer, head),
                                             .logits = shape_.stored_logits(layer, head),
                                             .value_scale = shape_.value_scale(layer, head),
                                             .fusion = options_.group};
    if constexpr (has_tiers) {
      return kernels::TieredAttention(stored, storage_.all_keys(layer, head),
                                      storage_.all_values(layer, head));
    } else {
      return stored;
    }
  }

  template <ElementOf<T> E>
  Status attend_one(std::size_t layer, std::size_t head, std::span<const E> query,
                    std::span<E> output) noexcept {
    if (layer >= shape_.layers || head >= shape_.kv_heads) return Status::wrong_size;
    return workspace_.attend(layer, head, stored(layer, head), policies_[index(layer, head)], query,
                             output);
  }

  /// Renumbers all tokens, and calls turn(its key, by) for each that moves, unless that is null.
  template <class Turn>
  Status renumber_with(const Turn& turn) {
    const Position newest = policies_[0].newest();
    std::size_t positions = 0;
    for (const Policy& policy : policies_) {
      if (policy.newest() != newest) return Status::out_of_step;
      const auto held = policy.positions();  // that of an evicted token is no_position
      const auto tokens = std::count_if(held.begin(), held.end(), [newest](Position position) {
        return position != no_position && position != newest;
      });
      positions = std::max(positions, static_cast<std::size_t>(tokens) + 1);
    }
    if (newest == no_position) return Status::ok;
    std::vector<Policy> renumbered = policies_;
    for (Policy& policy : renumbered) policy.renumber(static_cast<Position>(positions) - 1);
    if constexpr (!std::is_null_pointer_v<Turn>) {
      const auto for_each_moved = [&](const auto& use) {
        for (std::size_t head = 0; head < policies_.size(); ++head) {
          const auto before = policies_[head].positions();
          const auto after = renumbered[head].positions();
          for (Slot slot = 0; slot < before.size(); ++slot) {
            if (before[slot] != after[slot]) use(head, slot, after[slot] - before[slot]);
          }
        }
      };
      if constexpr (claims_slots) {
        for_each_moved([&](std::size_t head, Slot slot, Position) {
          storage_.claim(head / shape_.kv_heads, slot);
        });
        if (!storage_.grant()) return Status::no_memory;
      }
      for_each_moved([&](std::size_t head, Slot slot, Position by) {
        make_writable(head, slot);
        turn(keys_of(head)[slot], by);
      });
    }
    policies_ = std::move(renumbered);
    workspace_.discard();
    return Status::ok;
  }

  /// Updates a head's scores by a valid row that lies in the workspace.
  void observe_row(std::size_t layer, std::size_t head, const float* row) noexcept {
    Policy& policy = policies_[index(layer, head)];
    [[maybe_unused]] const Status status = policy.observe({row, policy.size()});
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

  RowSizes row_;
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
