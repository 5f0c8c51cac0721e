// SPDX-License-Identifier: Apache-2.0
/// \file
/// Many sequences in one block of memory: continuous batching.
#ifndef MORPHKV_CACHE_SEQUENCE_POOL_HPP
#define MORPHKV_CACHE_SEQUENCE_POOL_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "morphkv/cache/budget.hpp"
#include "morphkv/cache/kv_cache.hpp"
#include "morphkv/cache/page_pool.hpp"
#include "morphkv/cache/pending_block.hpp"
#include "morphkv/cache/pooled_storage.hpp"
#include "morphkv/core/error.hpp"
#include "morphkv/core/executor.hpp"
#include "morphkv/core/memory_usage.hpp"
#include "morphkv/core/quantised.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// Sequences whose keys and values lie in pages of one block of memory. Each has options and a
/// budget of its own; it takes pages while it grows, and gives them back when it is released, reset
/// or rolled back. A fork shares the pages of its origin until one of the two writes into them.
///
///     std::vector<T> memory(1000 * SequencePool<T, MorphKV>::page_elements(shape, 16));
///     SequencePool<T, MorphKV> pool(shape, memory, 16);
///     const auto id = pool.create({.capacity = 2048});
///     pool.prefill(layer, ids, indptr, queries, keys, values, outputs, statuses, execute);
///     pool.append(layer, ids, keys, values, statuses);
///     pool.attend(layer, ids, queries, outputs, statuses, execute);
///
/// A step that finds too few free pages reports Status::no_memory for that sequence, of which
/// nothing has changed; it succeeds when it is repeated after pages have come back. The number of
/// pages that a step needs is exact, with one exception: where a token is appended to a full head
/// whose last token was not attended, its slot is not known before, and a page that a fork shares
/// is taken to need a copy. (See also KVCache::rollback.)
///
/// The memory is the engine's, and has to outlive the pool. PageLayout says how a page lies, and
/// pool[id].storage().pages(layer) which pages a sequence has, for kernels of the engine's own.
///
/// Thread safety: calls for one pool must not overlap, nor calls for its sequences (`pool[id]`)
/// that write tokens, take them back or copy a sequence. Calls of KVCache::attend, read and observe
/// on different sequences may.
template <Storable T, EvictionPolicy Policy>
class SequencePool {
 public:
  using Options = typename Policy::Options;
  using Sequence = KVCache<T, Policy, PooledStorage<T>>;
  /// Names one sequence for as long as it lives: a place, and how often the place was released.
  using Id = std::uint64_t;

  /// Elements of a page, which holds `page_size` slots of all KV heads of a layer.
  /// \throws std::invalid_argument if the shape or page_size do not fit, see PageLayout
  [[nodiscard]] static std::size_t page_elements(const CacheShape& shape, std::size_t page_size) {
    return PageLayout::of<T>(shape, page_size, HeadOrder::hnd).elements();
  }

  /// \param memory as many pages as fit
  /// \throws std::invalid_argument if shape or page_size do not fit, or not one page fits;
  ///         std::bad_alloc
  SequencePool(const CacheShape& shape, std::span<T> memory, std::size_t page_size,
               HeadOrder order = HeadOrder::hnd)
      : shape_(shape),
        layout_(PageLayout::of<T>(shape, page_size, order)),
        pages_(std::make_unique<PagePool<T>>(memory, layout_.elements())) {}

  SequencePool(SequencePool&&) noexcept = default;
  SequencePool& operator=(SequencePool&&) = delete;

  /// An empty sequence, which has no page. It allocates: policies, working space and tables.
  /// \throws std::invalid_argument if the options or the budget do not fit, as KVCache does;
  ///         std::bad_alloc; and nothing has changed
  [[nodiscard]] Id create(const Options& options, const Budget& budget = Budget::uniform()) {
    return add(std::make_unique<Sequence>(shape_, options,
                                          PooledStorage<T>(shape_, layout_, *pages_), budget));
  }

  /// A sequence that continues from where `origin` is, with its options. It takes no page and
  /// copies no keys and values but those of a history (drafts). It allocates as create() does.
  /// O(slots) per head.
  /// \throws std::invalid_argument if there is no such sequence; std::bad_alloc; and nothing has
  ///         changed
  [[nodiscard]] Id fork(Id origin) {
    return add(std::make_unique<Sequence>(std::as_const(*this)[origin]));
  }

  /// Ends a sequence: pages that it does not share are free, and the id names none any more.
  /// \throws std::invalid_argument if it does not name one now, and nothing has changed
  void release(Id id) {
    Place& place = places_[checked(id)];
    place.sequence.reset();
    ++place.generation;
  }

  /// \throws std::invalid_argument if there is no such sequence
  [[nodiscard]] Sequence& operator[](Id id) { return *places_[checked(id)].sequence; }
  [[nodiscard]] const Sequence& operator[](Id id) const { return *places_[checked(id)].sequence; }

  /// A block of tokens for every sequence named: prompts, chunks or later turns of any lengths,
  /// side by side. The heads of all sequences go to the executor at once; then the sequences take
  /// their pages in the order of `ids`.
  /// \param indptr [ids + 1]: sequence i has the tokens indptr[i] ... indptr[i + 1] - 1; it begins
  ///               with 0 and never falls. A sequence without tokens does not change
  /// \param queries, keys, values, outputs [tokens][...] as in KVCache::prefill, all in T or all in
  ///               float; outputs may be empty
  /// \param statuses [ids]: receives what KVCache::prefill reports for each sequence; no_sequence
  ///                 for an id that names none, or one that occurred before in `ids`
  /// \return wrong_size if a span's size or indptr does not match, and nothing was written; else
  ///         the first status that is not ok
  /// \throws std::bad_alloc, or what the executor throws, and nothing has changed but `outputs` and
  ///         `statuses`
  /// It allocates as KVCache::prefill does, for all sequences at once.
  template <class Queries, class Keys, class Outputs, class Execute = SerialExecutor>
  Status prefill(std::size_t layer, std::span<const Id> ids, std::span<const std::int32_t> indptr,
                 const Queries& queries, const Keys& keys, const Keys& values, Outputs&& outputs,
                 std::span<Status> statuses, Execute&& execute = {}) {
    const std::span q(queries);
    const std::span k(keys);
    const std::span v(values);
    const std::span o(outputs);
    using E = typename decltype(o)::element_type;
    static_assert(std::same_as<std::remove_const_t<typename decltype(q)::element_type>, E>);
    if (layer >= shape_.layers || statuses.size() != ids.size() ||
        indptr.size() != ids.size() + 1 || indptr.front() != 0 || !std::ranges::is_sorted(indptr)) {
      return Status::wrong_size;
    }
    const auto tokens = static_cast<std::size_t>(indptr.back());
    if (q.size() != tokens * shape_.query_width() || k.size() != tokens * shape_.key_width() ||
        v.size() != tokens * shape_.value_width() ||
        (!o.empty() && o.size() != tokens * shape_.output_width())) {
      return Status::wrong_size;
    }
    std::ranges::fill(statuses, Status::ok);
    check_ids(ids, statuses);
    std::vector<std::optional<typename Sequence::template Block<E>>> blocks(ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (statuses[i] != Status::ok) continue;
      const auto begin = static_cast<std::size_t>(indptr[i]);
      const std::size_t count = static_cast<std::size_t>(indptr[i + 1]) - begin;
      const auto part = [&](auto all, std::size_t width) {
        return all.subspan(begin * width, count * width);
      };
      const LayerBlock<E> block{.tokens = count,
                                .queries = part(q, shape_.query_width()),
                                .keys = part(k, shape_.key_width()),
                                .values = part(v, shape_.value_width()),
                                .outputs = o.empty() ? o : part(o, shape_.output_width()),
                                .log_sum_exp = {}};
      statuses[i] = sequence(ids[i]).begin_block(layer, block, blocks[i]);
    }
    const std::size_t heads = shape_.kv_heads;
    run_bodies(execute, ids.size() * heads, [&](std::size_t i) {
      auto& block = blocks[i / heads];
      if (block) block->score(i % heads, sequence(ids[i / heads]).options().group);
    });
    // All of them before the first is written: select_block() may throw.
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (blocks[i]) statuses[i] = sequence(ids[i]).select_block(*blocks[i]);
    }
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (!blocks[i] || statuses[i] != Status::ok) continue;
      statuses[i] = sequence(ids[i]).commit_block(*blocks[i]);
    }
    return first_failure(statuses);
  }

  /// The next token of every sequence named.
  /// \param keys, values [ids][kv_heads][head_dim or value_dim], in T or float
  /// \param statuses [ids]: receives what KVCache::append reports for each sequence; no_sequence
  ///                 for an id that names none, or one that occurred before in `ids`
  /// \param placements [ids][kv_heads] or empty: receives each head's slot and the position of the
  ///                   victim that lay there; untouched where the status is not ok
  /// \return wrong_size if a span's size does not match, and nothing was written; else the first
  ///         status that is not ok
  template <class Keys>
  Status append(std::size_t layer, std::span<const Id> ids, const Keys& keys, const Keys& values,
                std::span<Status> statuses, std::span<Placement> placements = {}) noexcept {
    const std::size_t width = shape_.key_width();
    const std::size_t value_width = shape_.value_width();
    const std::span k(keys);
    const std::span v(values);
    if (k.size() != ids.size() * width || v.size() != ids.size() * value_width ||
        (!placements.empty() && placements.size() != ids.size() * shape_.kv_heads)) {
      return Status::wrong_size;
    }
    const std::size_t placed = placements.empty() ? 0 : shape_.kv_heads;
    return for_each_sequence(layer, ids, statuses, [&](std::size_t i, Sequence& sequence) {
      return sequence.append(layer, k.subspan(i * width, width),
                             v.subspan(i * value_width, value_width), sequence.next_position(layer),
                             placements.subspan(i * placed, placed));
    });
  }

  /// The same for an engine that writes keys and values itself, to the slots in `placements`,
  /// [ids][kv_heads]: their pages are not shared then. The engine attends, and passes the rows to
  /// KVCache::observe.
  Status place(std::size_t layer, std::span<const Id> ids, std::span<Placement> placements,
               std::span<Status> statuses) noexcept requires(!StoringPolicy<Policy>) {
    const std::size_t heads = shape_.kv_heads;
    if (placements.size() != ids.size() * heads) return Status::wrong_size;
    return for_each_sequence(layer, ids, statuses, [&](std::size_t i, Sequence& sequence) {
      return sequence.place(layer, sequence.next_position(layer),
                            placements.subspan(i * heads, heads));
    });
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
      (void)sequence(ids[i / heads])
          .attend_head(layer, i % heads, q.subspan(i * width, width),
                       o.subspan(i * output_width, output_width));
    });
    execute(ids.size(), [&](std::size_t i) {
      if (statuses[i] == Status::ok) {
        statuses[i] = sequence(ids[i]).observe_heads(layer);
      }
    });
    return first_failure(statuses);
  }

  [[nodiscard]] std::size_t pages() const noexcept { return pages_->pages(); }
  [[nodiscard]] std::size_t free_pages() const noexcept { return pages_->free_pages(); }
  [[nodiscard]] std::size_t page_size() const noexcept { return layout_.page_size; }
  [[nodiscard]] const PageLayout& layout() const noexcept { return layout_; }
  /// Whether the id names a sequence now.
  [[nodiscard]] bool is_taken(Id id) const noexcept {
    const std::size_t place = place_of(id);
    return place < places_.size() && places_[place].sequence &&
           places_[place].generation == id >> 32U;
  }

  /// The bytes of the pages that are not free, each counted once however many share it, and of the
  /// bookkeeping of pages and sequences.
  [[nodiscard]] MemoryUsage memory() const noexcept {
    const std::size_t used = pages() - free_pages();
    MemoryUsage usage{.keys = used * layout_.key_elements() * sizeof(T),
                      .values = used * (layout_.elements() - layout_.key_elements()) * sizeof(T),
                      .positions = pages_->bytes()};
    for (const Place& place : places_) {
      if (place.sequence) usage += place.sequence->memory();
    }
    return usage;
  }

 private:
  /// Of a sequence, or free.
  struct Place {
    std::unique_ptr<Sequence> sequence;
    std::uint32_t generation = 0;  ///< how often it was released
    bool is_named = false;         ///< by the call under way
  };

  [[nodiscard]] static std::size_t place_of(Id id) noexcept { return id & 0xffffffffU; }

  [[nodiscard]] std::size_t checked(Id id) const {
    require(is_taken(id), "sequence id", id, "one that the pool gave and that was not released");
    return place_of(id);
  }
  /// \pre is_taken(id)
  [[nodiscard]] Sequence& sequence(Id id) noexcept { return *places_[place_of(id)].sequence; }

  /// Gives a sequence the first free place.
  [[nodiscard]] Id add(std::unique_ptr<Sequence> sequence) {
    auto place = std::ranges::find_if(places_, [](const Place& p) { return !p.sequence; });
    if (place == places_.end()) place = places_.emplace(place);
    place->sequence = std::move(sequence);
    return Id{place->generation} << 32U | static_cast<Id>(place - places_.begin());
  }

  /// Statuses of step(i, sequence) for all ids.
  template <class Step>
  Status for_each_sequence(std::size_t layer, std::span<const Id> ids, std::span<Status> statuses,
                           const Step& step) noexcept {
    if (layer >= shape_.layers || statuses.size() != ids.size()) return Status::wrong_size;
    std::ranges::fill(statuses, Status::ok);
    check_ids(ids, statuses);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (statuses[i] == Status::ok) statuses[i] = step(i, sequence(ids[i]));
    }
    return first_failure(statuses);
  }

  /// no_sequence where an id names none, or the same as an id before it.
  void check_ids(std::span<const Id> ids, std::span<Status> statuses) noexcept {
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (!is_taken(ids[i]) || std::exchange(places_[place_of(ids[i])].is_named, true)) {
        statuses[i] = Status::no_sequence;
      }
    }
    for (const Id id : ids) {
      if (is_taken(id)) places_[place_of(id)].is_named = false;
    }
  }

  [[nodiscard]] static Status first_failure(std::span<const Status> statuses) noexcept {
    const auto failed = std::ranges::find_if(statuses, [](Status s) { return s != Status::ok; });
    return failed == statuses.end() ? Status::ok : *failed;
  }

  CacheShape shape_;
  PageLayout layout_;
  std::unique_ptr<PagePool<T>> pages_;  ///< storages point to it; they end before it
  std::vector<Place> places_;
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CACHE_SEQUENCE_POOL_HPP
