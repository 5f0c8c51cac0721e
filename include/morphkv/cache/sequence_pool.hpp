// SPDX-License-Identifier: Apache-2.0
/// \file
/// Many sequences in one block of memory: continuous batching.
#ifndef MORPHKV_CACHE_SEQUENCE_POOL_HPP
#define MORPHKV_CACHE_SEQUENCE_POOL_HPP

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "morphkv/cache/engine_storage.hpp"
#include "morphkv/cache/kv_cache.hpp"
#include "morphkv/core/error.hpp"
#include "morphkv/core/executor.hpp"
#include "morphkv/core/memory_usage.hpp"

namespace morphkv { inline namespace v0 {

/// A fixed number of slabs, one a sequence. A cache of constant size makes this all that a batching
/// engine needs: no pages, no fragmentation, and admission is a question of a free slab. Sequences
/// come, go and are forked in any order; none of it allocates.
///
///     std::vector<T> memory(64 * SequencePool<T, MorphKV>::elements(shape, options));
///     SequencePool<T, MorphKV> pool(shape, options, memory);
///     const auto id = pool.create();                  // no value: every slab is taken
///     pool[*id].prefill(layer, queries, keys, values);
///     pool.append(layer, ids, keys, values, statuses);
///     pool.attend(layer, ids, queries, outputs, statuses, execute);
///
/// The memory is the engine's, and has to outlive the pool. In a slab every layer has its keys,
/// then its values, each in the order asked for.
///
/// Thread safety: calls for one pool must not overlap, but for calls on different sequences
/// (`pool[id]`), which are independent.
template <Scalar T, EvictionPolicy Policy>
class SequencePool {
 public:
  using Options = typename Policy::Options;
  using Sequence = KVCache<T, Policy, EngineStorage<T>>;
  using Id = std::uint32_t;

  /// Elements of a slab: the keys and values of one sequence.
  /// \throws std::invalid_argument if the options do not fit
  [[nodiscard]] static std::size_t elements(const CacheShape& shape, const Options& options) {
    validate(shape);
    return shape.layers * layer_elements(shape, options) * 2;
  }

  /// \param memory as many slabs as fit
  /// \throws std::invalid_argument if shape and options do not fit, or not one slab fits
  SequencePool(const CacheShape& shape, const Options& options, std::span<T> memory,
               HeadOrder order = HeadOrder::hnd)
      : shape_(shape), slab_elements_(elements(shape, options)) {
    const std::size_t slabs = memory.size() / slab_elements_;
    require(slabs > 0, "elements of memory", memory.size(),
            "at least those of a slab: " + std::to_string(slab_elements_));
    sequences_.reserve(slabs);
    for (std::size_t slab = 0; slab < slabs; ++slab) {
      const auto layers = layers_of(memory.subspan(slab * slab_elements_, slab_elements_));
      sequences_.emplace_back(shape, options,
                              EngineStorage<T>(shape, layers, Policy(options, 0).slots(), order));
      free_.push_back(static_cast<Id>(slabs - 1 - slab));
    }
    taken_.assign(slabs, 0);
  }

  /// An empty sequence, or nothing if every slab is taken. O(slots) a head.
  [[nodiscard]] std::optional<Id> create() {
    if (free_.empty()) return std::nullopt;
    const Id id = free_.back();
    free_.pop_back();
    taken_[id] = 1;
    sequences_[id].reset();
    return id;
  }

  /// A sequence that goes on from where `origin` is, or nothing if every slab is taken.
  /// O(slots x head_dim) a head. \pre `origin` is taken
  [[nodiscard]] std::optional<Id> fork(Id origin) {
    MORPHKV_ASSERT(is_taken(origin));
    const std::optional<Id> id = create();
    if (id) sequences_[*id].copy_from(sequences_[origin]);
    return id;
  }

  /// Gives the slab back. \pre `id` is taken
  void release(Id id) noexcept {
    MORPHKV_ASSERT(is_taken(id));
    taken_[id] = 0;
    free_.push_back(id);
  }

  /// \pre `id` is taken
  [[nodiscard]] Sequence& operator[](Id id) noexcept {
    MORPHKV_ASSERT(is_taken(id));
    return sequences_[id];
  }
  [[nodiscard]] const Sequence& operator[](Id id) const noexcept {
    MORPHKV_ASSERT(is_taken(id));
    return sequences_[id];
  }

  /// The next token of every sequence named.
  /// \param ids no two the same
  /// \param keys, values [ids][kv_heads][head_dim], in T or float
  /// \param statuses [ids]: see KVCache::append; wrong_size in all if a span does not fit
  template <class Keys>
  void append(std::size_t layer, std::span<const Id> ids, const Keys& keys, const Keys& values,
              std::span<Status> statuses) noexcept {
    const std::size_t width = shape_.kv_heads * shape_.head_dim;
    const std::span k(keys);
    const std::span v(values);
    if (k.size() != ids.size() * width || v.size() != k.size()) return fail(statuses);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      Sequence& sequence = (*this)[ids[i]];
      statuses[i] = sequence.append(layer, k.subspan(i * width, width), v.subspan(i * width, width),
                                    sequence.next_position(layer));
    }
  }

  /// Attention of these sequences' newest tokens, which then vote. All heads of all sequences go to
  /// the executor at once.
  /// \param queries, outputs [ids][query_heads][head_dim], in T or float
  /// \param statuses [ids]: see KVCache::attend
  template <class Queries, class Outputs, class Execute = SerialExecutor>
  void attend(std::size_t layer, std::span<const Id> ids, const Queries& queries, Outputs&& outputs,
              std::span<Status> statuses, Execute&& execute = {}) noexcept {
    const std::size_t heads = shape_.kv_heads;
    const std::size_t width = shape_.group() * shape_.head_dim;
    const std::span q(queries);
    const std::span o(outputs);
    if (q.size() != ids.size() * heads * width || o.size() != q.size() || layer >= shape_.layers) {
      return fail(statuses);
    }
    execute(ids.size() * heads, [&](std::size_t i) {
      (void)(*this)[ids[i / heads]].attend_head(layer, i % heads, q.subspan(i * width, width),
                                                o.subspan(i * width, width));
    });
    execute(ids.size(), [&](std::size_t i) { statuses[i] = (*this)[ids[i]].observe_heads(layer); });
  }

  [[nodiscard]] std::size_t slabs() const noexcept { return sequences_.size(); }
  [[nodiscard]] std::size_t free_slabs() const noexcept { return free_.size(); }
  [[nodiscard]] bool is_taken(Id id) const noexcept {
    return id < taken_.size() && taken_[id] != 0;
  }
  [[nodiscard]] std::size_t slab_bytes() const noexcept { return slab_elements_ * sizeof(T); }

  /// The bytes of all slabs, taken or not, and of the sequences' bookkeeping.
  [[nodiscard]] MemoryUsage memory() const noexcept {
    const std::size_t half = slabs() * slab_bytes() / 2;
    MemoryUsage usage{.keys = half, .values = half};
    for (const Sequence& sequence : sequences_) usage += sequence.memory();
    return usage;
  }

 private:
  [[nodiscard]] static std::size_t layer_elements(const CacheShape& shape, const Options& options) {
    return Policy(options, 0).slots() * shape.kv_heads * shape.head_dim;
  }

  [[nodiscard]] std::vector<LayerMemory<T>> layers_of(std::span<T> slab) const {
    const std::size_t elements = slab.size() / shape_.layers / 2;
    std::vector<LayerMemory<T>> layers;
    for (std::size_t layer = 0; layer < shape_.layers; ++layer) {
      T* keys = slab.data() + 2 * layer * elements;
      layers.push_back({keys, keys + elements});
    }
    return layers;
  }

  static void fail(std::span<Status> statuses) noexcept {
    for (Status& status : statuses) status = Status::wrong_size;
  }

  CacheShape shape_;
  std::size_t slab_elements_;
  std::vector<Sequence> sequences_;
  std::vector<Id> free_;  ///< the last one is given next; its room is never given up
  std::vector<char> taken_;
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CACHE_SEQUENCE_POOL_HPP
