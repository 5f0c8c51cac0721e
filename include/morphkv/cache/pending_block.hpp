// SPDX-License-Identifier: Apache-2.0
/// \file
/// A block of tokens on its way into a layer of a cache.
#ifndef MORPHKV_CACHE_PENDING_BLOCK_HPP
#define MORPHKV_CACHE_PENDING_BLOCK_HPP

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "morphkv/attention/prefill.hpp"
#include "morphkv/cache/budget.hpp"
#include "morphkv/cache/draft_history.hpp"
#include "morphkv/cache/storage.hpp"
#include "morphkv/core/executor.hpp"
#include "morphkv/core/quantised.hpp"
#include "morphkv/core/shape.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/kernels/convert.hpp"
#include "morphkv/policy/eviction_policy.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// The tokens of one layer, as the engine passes them. Nothing is owned.
template <class E>
struct LayerBlock {
  std::size_t tokens;
  std::span<const E> queries;  ///< [tokens][query_heads][head_dim]
  std::span<const E> keys;     ///< [tokens][kv_heads][head_dim]
  std::span<const E> values;   ///< [tokens][kv_heads][value_dim]; empty where they lie in the keys
  std::span<E> outputs;        ///< [tokens][query_heads][value_dim], or empty
  /// [tokens][query_heads], where the engine has attended, or empty
  std::span<const float> log_sum_exp;
  const BlockMask* mask = nullptr;  ///< null: causal
};

/// Takes a block through score() of every head, divide() where heads share a budget, select(),
/// has_memory() and commit(). Until commit(), which neither fails nor allocates, no head has
/// changed.
template <Storable T, EvictionPolicy Policy, CacheStorage<T> Storage, ElementOf<T> E>
class PendingBlock {
  /// The views of what a head holds.
  [[nodiscard]] static auto held_keys(const Storage& storage, std::size_t layer,
                                      std::size_t head) noexcept {
    if constexpr (TieringStorage<Storage>)
      return storage.all_keys(layer, head);
    else
      return KvView<const T>(storage.keys(layer, head));
  }
  [[nodiscard]] static auto held_values(const Storage& storage, std::size_t layer,
                                        std::size_t head) noexcept {
    if constexpr (TieringStorage<Storage>)
      return storage.all_values(layer, head);
    else
      return KvView<const T>(storage.values(layer, head));
  }
  using Held = decltype(held_keys(std::declval<const Storage&>(), 0, 0));

 public:
  /// \param heads the policies of the layer, [kv_heads]
  PendingBlock(const CacheShape& shape, std::size_t layer, std::span<Policy> heads,
               Storage& storage, const LayerBlock<E>& block)
      : shape_(shape),
        layer_(layer),
        heads_(heads),
        storage_(storage),
        block_(block),
        selections_(heads.size()) {}

  /// Attention of the block alone. Heads run on the executor.
  template <class Execute>
  [[nodiscard]] Status attend(Execute& execute) {
    std::vector<Status> statuses(heads_.size());
    run_bodies(execute, heads_.size(), [&](std::size_t head) {
      PrefillAttention<T, E, Held> attention(prefill_head(head, GroupFusion::max));
      statuses[head] = attention.finish_outputs();
    });
    const auto failed = std::find_if(statuses.begin(), statuses.end(),
                                     [](Status status) { return status != Status::ok; });
    return failed == statuses.end() ? Status::ok : *failed;
  }

  [[nodiscard]] std::size_t layer() const noexcept { return layer_; }
  [[nodiscard]] std::size_t tokens() const noexcept { return block_.tokens; }

  /// Attention of the block in one head, and the scores that its queries give. Heads may be scored
  /// at the same time.
  void score(std::size_t head, GroupFusion fusion) {
    PrefillAttention<T, E, Held> attention(prefill_head(head, fusion));
    auto& selection = selections_[head].emplace(
        heads_[head].score_block(heads_[head].newest() + 1, attention.rows()));
    if (selection.status == Status::ok) selection.status = attention.finish_outputs();
  }

  /// Of the first head whose score failed.
  [[nodiscard]] Status status() const noexcept {
    for (const auto& selection : selections_) {
      if (selection->status != Status::ok) return selection->status;
    }
    return Status::ok;
  }

  /// AdaKV: gives the heads capacities by their scores of a first prompt, if it is longer than the
  /// capacity.
  /// \param capacity of a head on average, `recent` tokens included
  void divide(std::size_t capacity, std::size_t recent,
              double floor) requires ResizablePolicy<Policy> {
    if (heads_[0].newest() != no_position || block_.tokens <= capacity) return;
    std::vector<std::vector<double>> scores;
    for (std::size_t head = 0; head < heads_.size(); ++head) {
      scores.push_back(heads_[head].competing_scores(*selections_[head]));
    }
    for (const std::size_t distant : adaptive_capacities(scores, capacity - recent, floor)) {
      Policy& head = resized_.emplace_back(heads_[resized_.size()]);
      head.set_capacity(distant + recent);
      resized_slots_.push_back(head.slots());
    }
  }

  /// Finds what stays. \return why the block cannot be held, if it cannot
  [[nodiscard]] Status select() {
    for (std::size_t head = 0; head < heads_.size(); ++head) {
      const Policy& policy = resized_.empty() ? heads_[head] : resized_[head];
      Status status{};
      if constexpr (TieringStorage<Storage>) {
        status = policy.select(*selections_[head], storage_.hot_slots());
      } else {
        status = policy.select(*selections_[head]);
      }
      if (status != Status::ok) return status;
    }
    return Status::ok;
  }

  /// Whether there is memory for the tokens that stay. \pre select() == Status::ok
  [[nodiscard]] bool has_memory() noexcept {
    bool has_all = true;
    if constexpr (ClaimedStorage<Storage> || GrowingStorage<Storage>) {
      for (std::size_t head = 0; head < heads_.size(); ++head) {
        for (const Slot slot : selections_[head]->slots) {
          if (slot == no_slot) continue;
          if constexpr (ClaimedStorage<Storage>) {
            storage_.claim(layer_, slot);
          } else {
            has_all = has_all && slot < storage_.slots(layer_, head);
          }
        }
      }
    }
    if constexpr (ClaimedStorage<Storage>) has_all = storage_.grant();
    return has_all;
  }

  /// Writes the tokens that stay. \pre has_memory(), and nothing was written to the storage since
  void commit(DraftHistory<T>& history) noexcept {
    if constexpr (DivisibleStorage<Storage>) {
      if (!resized_.empty()) storage_.divide(layer_, resized_slots_);
    }
    std::move(resized_.begin(), resized_.end(), heads_.begin());
    const bool is_recorded = block_.tokens <= history.tokens();
    for (std::size_t head = 0; head < heads_.size(); ++head) {
      const std::size_t size = heads_[head].size();
      heads_[head].commit(*selections_[head]);
      if constexpr (TieringStorage<Storage>) {
        for (const TokenMove& move : selections_[head]->moves) {
          storage_.demote(layer_, head, move.from, move.to);
        }
      }
      const KvView<T> keys = storage_.keys(layer_, head);
      const KvView<T> values = storage_.values(layer_, head);
      const float key_scale = shape_.key_scale(layer_, head);
      const float value_scale = shape_.value_scale(layer_, head);
      const std::size_t value_dim = shape_.stored_value_dim();
      const E* from_key = block_.keys.data() + head * shape_.head_dim;
      const E* from_value = block_.values.data() + head * value_dim;
      for (const Slot slot : selections_[head]->slots) {
        if constexpr (ClaimedStorage<Storage>) {
          if (slot != no_slot) storage_.make_writable(layer_, slot);
        }
        const auto write = [&](auto* key, auto* value) {
          kernels::store_row(from_key, shape_.head_dim, key_scale, key);
          kernels::store_row(from_value, value_dim, value_scale, value);
        };
        if (is_recorded) {
          const auto rows =
              history.save(layer_ * heads_.size() + head, keys, values, slot, slot < size);
          write(rows.key, rows.value);
        }
        if (slot != no_slot && is_hot(slot)) write(keys[slot], values[slot]);
        if constexpr (TieringStorage<Storage>) {
          if (slot != no_slot && !is_hot(slot)) {
            const std::size_t cold = slot - storage_.hot_slots();
            write(storage_.all_keys(layer_, head).cold[cold],
                  storage_.all_values(layer_, head).cold[cold]);
          }
        }
        from_key += shape_.key_width();
        from_value += shape_.value_width();
      }
    }
  }

 private:
  /// Whether a slot's key and value are stored as T.
  [[nodiscard]] bool is_hot([[maybe_unused]] Slot slot) const noexcept {
    if constexpr (TieringStorage<Storage>)
      return slot < storage_.hot_slots();
    else
      return true;
  }
  [[nodiscard]] PrefillHead<T, E, Held> prefill_head(std::size_t head,
                                                     GroupFusion fusion) noexcept {
    const std::size_t queries = head * shape_.group() * shape_.head_dim;
    const std::size_t outputs = head * shape_.group() * shape_.output_dim();
    const E* keys = block_.keys.data() + head * shape_.head_dim;
    const E* values = block_.values.data() + head * shape_.stored_value_dim();
    return {.positions = heads_[head].positions(),
            .keys = held_keys(storage_, layer_, head),
            .values = held_values(storage_, layer_, head),
            .tokens = block_.tokens,
            .block_queries = block_.queries.data() + queries,
            .block_keys = keys,
            .block_values = shape_.values_in_keys ? keys : values,
            .block_outputs = block_.outputs.empty() ? nullptr : block_.outputs.data() + outputs,
            .block_log_sum_exp = block_.log_sum_exp.empty()
                                     ? nullptr
                                     : block_.log_sum_exp.data() + head * shape_.group(),
            .log_sum_exp_stride = shape_.query_heads,
            .query_stride = shape_.query_width(),
            .key_stride = shape_.key_width(),
            .value_stride = shape_.values_in_keys ? shape_.key_width() : shape_.value_width(),
            .output_stride = shape_.output_width(),
            .group = shape_.group(),
            .head_dim = shape_.head_dim,
            .value_dim = shape_.output_dim(),
            .window = shape_.window(layer_),
            .first_position = heads_[head].newest() + 1,
            .mask = block_.mask,
            .key_scale = shape_.key_scale(layer_, head),
            .value_scale = shape_.value_scale(layer_, head),
            .logits = shape_.stored_logits(layer_, head),
            .fusion = fusion};
  }

  CacheShape shape_;
  std::size_t layer_;
  std::span<Policy> heads_;
  Storage& storage_;
  LayerBlock<E> block_;
  std::vector<std::optional<typename Policy::Selection>> selections_;
  std::vector<Policy> resized_;  ///< the heads with other capacities, or none
  std::vector<std::size_t> resized_slots_;
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CACHE_PENDING_BLOCK_HPP
