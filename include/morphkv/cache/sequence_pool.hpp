// SPDX-License-Identifier: Apache-2.0
/// \file
/// Many sequences in one block of memory: continuous batching.
#ifndef MORPHKV_CACHE_SEQUENCE_POOL_HPP
#define MORPHKV_CACHE_SEQUENCE_POOL_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "morphkv/cache/engine_storage.hpp"
#include "morphkv/cache/kv_cache.hpp"
#include "morphkv/core/error.hpp"
#include "morphkv/core/executor.hpp"
#include "morphkv/core/memory_usage.hpp"
#include "morphkv/core/quantised.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// A fixed number of slabs, one per sequence. A cache of constant size makes this all that a
/// batching engine needs: no pages, no fragmentation, and a request is admitted when a slab is
/// free. Sequences are created, forked and released in any order; none of it allocates.
///
///     std::vector<T> memory(64 * SequencePool<T, MorphKV>::elements(shape, options));
///     SequencePool<T, MorphKV> pool(shape, options, memory);
///     const auto id = pool.create();                  // no value: every slab is in use
///     pool[*id].prefill(layer, queries, keys, values);
///     pool.append(layer, ids, keys, values, statuses);
///     pool.attend(layer, ids, queries, outputs, statuses, execute);
///
/// The memory is the engine's, and has to outlive the pool. In a slab every layer has its keys,
/// then its values, each in the order asked for.
///
/// Thread safety: calls for one pool must not overlap, but for calls on different sequences
/// (`pool[id]`), which are independent.
template <Storable T, EvictionPolicy Policy>
class SequencePool {
 public:
  using Options = typename Policy::Options;
  using Sequence = KVCache<T, Policy, EngineStorage<T>>;
  /// Names one sequence for as long as it lives: a slab, and how often the slab was released.
  using Id = std::uint64_t;

  /// Elements of a slab: the keys and values of one sequence.
  /// \throws std::invalid_argument if the options do not fit
  [[nodiscard]] static std::size_t elements(const CacheShape& shape, const Options& options) {
    const RowSizes row = row_sizes<T>(shape);
    return shape.layers * slots(shape, options) * shape.kv_heads * (row.key + row.value);
  }

  /// \param memory as many slabs as fit
  /// \throws std::invalid_argument if shape and options do not fit, or not one slab fits
  SequencePool(const CacheShape& shape, const Options& options, std::span<T> memory,
               HeadOrder order = HeadOrder::hnd)
      : shape_(shape), row_(row_sizes<T>(shape)), slab_elements_(elements(shape, options)) {
    const std::size_t slabs = memory.size() / slab_elements_;
    require(slabs > 0, "elements of memory", memory.size(),
            "at least those of a slab: " + std::to_string(slab_elements_));
    const std::size_t slots = SequencePool::slots(shape, options);
    sequences_.reserve(slabs);
    for (std::size_t slab = 0; slab < slabs; ++slab) {
      const auto layers = layers_of(memory.subspan(slab * slab_elements_, slab_elements_));
      sequences_.emplace_back(shape, options, EngineStorage<T>(shape, layers, slots, order));
      free_.push_back(slabs - 1 - slab);
    }
    states_.resize(slabs);
  }

  /// An empty sequence, or nothing if every slab is in use. O(slots) per head.
  [[nodiscard]] std::optional<Id> create() {
    if (free_.empty()) return std::nullopt;
    const std::size_t slab = free_.back();
    sequences_[slab].reset();
    free_.pop_back();
    states_[slab].is_taken = true;
    return Id{states_[slab].generation} << 32U | slab;
  }

  /// A sequence that continues from where `origin` is, or nothing if every slab is in use.
  /// O(slots x head_dim) per head. \throws std::invalid_argument if there is no such sequence
  [[nodiscard]] std::optional<Id> fork(Id origin) {
    const Sequence& from = (*this)[origin];
    const std::optional<Id> id = create();
    if (id) (*this)[*id].copy_from(from);
    return id;
  }

  /// Frees the slab; the id names no sequence any more.
  /// \throws std::invalid_argument if it does not name one now, and nothing has changed
  void release(Id id) {
    State& state = states_[checked(id)];
    state.is_taken = false;
    ++state.generation;
    free_.push_back(slab_of(id));  // never beyond the memory it has had for all slabs
  }

  /// \throws std::invalid_argument if there is no such sequence
  [[nodiscard]] Sequence& operator[](Id id) { return sequences_[checked(id)]; }
  [[nodiscard]] const Sequence& operator[](Id id) const { return sequences_[checked(id)]; }

  /// The next token of every sequence named.
  /// \param keys, values [ids][kv_heads][head_dim or value_dim], in T or float
  /// \param statuses [ids]: receives what KVCache::append reports for each sequence; no_sequence
  ///                 for an id that names none, or one that occurred before in `ids`
  /// \return wrong_size if a span's size does not match, and nothing was written; else the first
  ///         status that is not ok
  template <class Keys>
  Status append(std::size_t layer, std::span<const Id> ids, const Keys& keys, const Keys& values,
                std::span<Status> statuses) noexcept {
    const std::size_t width = shape_.key_width();
    const std::size_t value_width = shape_.value_width();
    const std::span k(keys);
    const std::span v(values);
    if (layer >= shape_.layers || statuses.size() != ids.size() || k.size() != ids.size() * width ||
        v.size() != ids.size() * value_width) {
      return Status::wrong_size;
    }
    std::ranges::fill(statuses, Status::ok);
    check_ids(ids, statuses);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (statuses[i] != Status::ok) continue;
      Sequence& sequence = sequences_[slab_of(ids[i])];
      statuses[i] =
          sequence.append(layer, k.subspan(i * width, width),
                          v.subspan(i * value_width, value_width), sequence.next_position(layer));
    }
    return first_failure(statuses);
  }

  /// Attention of these sequences' newest tokens, whose rows then update the scores. All heads of
  /// all sequences go to the executor at once.
  /// \param queries, outputs [ids][query_heads][head_dim or value_dim], in T or float
  /// \param statuses [ids]: a sequence takes part if its status is ok: pass those of append, and
  ///                 where it failed the sequence is left out and its status stays. The others
  ///                 receive what KVCache::attend reports, or no_sequence as in append
  /// \return as append
  template <class Queries, class Outputs, class Execute = SerialExecutor>
  Status attend(std::size_t layer, std::span<const Id> ids, const Queries& queries,
                Outputs&& outputs, std::span<Status> statuses, Execute&& execute = {}) noexcept {
    const std::size_t heads = shape_.kv_heads;
    const std::size_t width = shape_.group() * shape_.head_dim;
    const std::size_t output_width = shape_.group() * shape_.output_dim();
    const std::span q(queries);
    const std::span o(outputs);
    if (layer >= shape_.layers || statuses.size() != ids.size() ||
        q.size() != ids.size() * heads * width || o.size() != ids.size() * heads * output_width) {
      return Status::wrong_size;
    }
    check_ids(ids, statuses);
    execute(ids.size() * heads, [&](std::size_t i) {
      if (statuses[i / heads] != Status::ok) return;
      (void)sequences_[slab_of(ids[i / heads])].attend_head(
          layer, i % heads, q.subspan(i * width, width), o.subspan(i * output_width, output_width));
    });
    execute(ids.size(), [&](std::size_t i) {
      if (statuses[i] == Status::ok) {
        statuses[i] = sequences_[slab_of(ids[i])].observe_heads(layer);
      }
    });
    return first_failure(statuses);
  }

  [[nodiscard]] std::size_t slabs() const noexcept { return sequences_.size(); }
  [[nodiscard]] std::size_t free_slabs() const noexcept { return free_.size(); }
  /// Whether the id names a sequence now.
  [[nodiscard]] bool is_taken(Id id) const noexcept {
    const std::size_t slab = slab_of(id);
    return slab < states_.size() && states_[slab].is_taken && states_[slab].generation == id >> 32U;
  }
  [[nodiscard]] std::size_t slab_bytes() const noexcept { return slab_elements_ * sizeof(T); }

  /// The bytes of all slabs, in use or not, and of the sequences' bookkeeping.
  [[nodiscard]] MemoryUsage memory() const noexcept {
    const std::size_t bytes = slabs() * slab_bytes();
    const std::size_t keys = bytes / (row_.key + row_.value) * row_.key;
    MemoryUsage usage{.keys = keys, .values = bytes - keys};
    for (const Sequence& sequence : sequences_) usage += sequence.memory();
    return usage;
  }

 private:
  struct State {
    std::uint32_t generation = 0;  ///< how often the slab was released
    bool is_taken = false;
    bool is_named = false;  ///< by the call under way
  };

  /// Slots of every head: those of the policy, or of the longest window.
  [[nodiscard]] static std::size_t slots(const CacheShape& shape, const Options& options) {
    std::size_t most = Policy(options, 0).slots();
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      most = std::max(most, shape.window(layer));
    }
    return most;
  }

  [[nodiscard]] static std::size_t slab_of(Id id) noexcept { return id & 0xffffffffU; }

  [[nodiscard]] std::size_t checked(Id id) const {
    require(is_taken(id), "sequence id", id, "one that the pool gave and that was not released");
    return slab_of(id);
  }

  /// no_sequence where an id names none, or the same as an id before it.
  void check_ids(std::span<const Id> ids, std::span<Status> statuses) noexcept {
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (!is_taken(ids[i]) || std::exchange(states_[slab_of(ids[i])].is_named, true)) {
        statuses[i] = Status::no_sequence;
      }
    }
    for (const Id id : ids) {
      if (is_taken(id)) states_[slab_of(id)].is_named = false;
    }
  }

  [[nodiscard]] static Status first_failure(std::span<const Status> statuses) noexcept {
    const auto failed = std::ranges::find_if(statuses, [](Status s) { return s != Status::ok; });
    return failed == statuses.end() ? Status::ok : *failed;
  }

  [[nodiscard]] std::vector<LayerMemory<T>> layers_of(std::span<T> slab) const {
    const std::size_t elements = slab.size() / shape_.layers;
    const std::size_t rows = elements / (row_.key + row_.value);
    std::vector<LayerMemory<T>> layers;
    for (std::size_t layer = 0; layer < shape_.layers; ++layer) {
      T* keys = slab.data() + layer * elements;
      layers.push_back({keys, keys + rows * row_.key});
    }
    return layers;
  }

  CacheShape shape_;
  RowSizes row_;
  std::size_t slab_elements_;
  std::vector<Sequence> sequences_;  ///< [slabs]
  std::vector<State> states_;        ///< [slabs]
  std::vector<std::size_t> free_;    ///< the last one is used next
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CACHE_SEQUENCE_POOL_HPP
