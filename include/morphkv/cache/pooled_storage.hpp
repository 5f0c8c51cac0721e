// SPDX-License-Identifier: Apache-2.0
/// \file
/// Keys and values in the pages of a PagePool, taken while a sequence grows and shared by forks.
#ifndef MORPHKV_CACHE_POOLED_STORAGE_HPP
#define MORPHKV_CACHE_POOLED_STORAGE_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "morphkv/cache/engine_storage.hpp"
#include "morphkv/cache/page_pool.hpp"
#include "morphkv/core/config.hpp"
#include "morphkv/core/error.hpp"
#include "morphkv/core/kv_view.hpp"
#include "morphkv/core/memory_usage.hpp"
#include "morphkv/core/quantised.hpp"
#include "morphkv/core/shape.hpp"
#include "morphkv/core/types.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// How a page lies in memory: `page_size` slots of all KV heads of one layer, their keys and then
/// their values. Under HeadOrder::hnd keys are [kv_heads][page_size][head_dim] and values
/// [kv_heads][page_size][value_dim], under HeadOrder::nhd [page_size][kv_heads][head_dim] and
/// [page_size][kv_heads][value_dim]; of quantised numbers the last dimension is in blocks. With
/// value_dim = head_dim this is [pages][2][...], as paged attention kernels take it.
struct PageLayout {
  /// \throws std::invalid_argument if the shape is not valid for T, or page_size is 0 or above 2^20
  template <Storable T>
  [[nodiscard]] static PageLayout of(const CacheShape& shape, std::size_t page_size,
                                     HeadOrder order) {
    constexpr std::size_t most = std::size_t{1} << 20U;
    require(page_size > 0 && page_size <= most, "page_size", page_size,
            "from 1 to " + std::to_string(most));
    const RowSizes row = row_sizes<T>(shape);
    return {page_size, shape.kv_heads, row, memory_strides(shape, row.key, page_size, order),
            memory_strides(shape, row.value, page_size, order)};
  }

  /// Elements of all keys of a page, where its values begin.
  [[nodiscard]] std::size_t key_elements() const noexcept { return page_size * kv_heads * row.key; }
  [[nodiscard]] std::size_t elements() const noexcept {
    return page_size * kv_heads * (row.key + row.value);
  }

  std::size_t page_size;
  std::size_t kv_heads;
  RowSizes row;
  MemoryStrides keys;    ///< its `page` is not used
  MemoryStrides values;  ///< likewise
};

/// One sequence's keys and values in pages of a pool, for `KVCache<T, Policy, PooledStorage<T>>`.
/// Every layer has a table of page numbers, and a page holds the same slots of all of its heads. A
/// page is taken when one of its slots is first written, and given back when the sequence ends, is
/// reset or rolled back. Copies share all pages; the first write of one of them into a shared page
/// copies that page before.
///
/// A cache asks before it writes (ClaimedStorage), so a step that finds too few free pages changes
/// nothing, not even which pages are shared. The pool has to outlive the storage and must not move.
/// Copying and reserve() allocate, nothing else does.
///
/// Thread safety: storages of one pool must not be changed at the same time, nor copied or
/// destroyed; they may be read.
template <Storable T>
class PooledStorage {
 public:
  /// A storage for the slots that reserve() is told; it has no page.
  /// \pre pool.page_elements() == layout.elements()
  PooledStorage(const CacheShape& shape, const PageLayout& layout, PagePool<T>& pool)
      : pool_(&pool), layout_(layout), first_(shape.layers + 1), used_(shape.layers) {
    MORPHKV_ASSERT(pool.page_elements() == layout.elements());
  }

  PooledStorage(const PooledStorage& other)
      : pool_(other.pool_),
        layout_(other.layout_),
        first_(other.first_),
        used_(other.used_),
        table_(other.table_),
        claims_(other.claims_),
        claim_(other.claim_) {
    for_each_page([this](std::int32_t page) { pool_->share(page); });
  }
  PooledStorage(PooledStorage&&) noexcept = default;
  PooledStorage& operator=(PooledStorage other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(layout_, other.layout_);
    first_.swap(other.first_);
    used_.swap(other.used_);
    table_.swap(other.table_);
    claims_.swap(other.claims_);
    std::swap(claim_, other.claim_);
    std::swap(claimed_, other.claimed_);
    return *this;
  }
  ~PooledStorage() {
    for_each_page([this](std::int32_t page) { pool_->give_back(page); });
  }

  [[nodiscard]] KvView<T> keys(std::size_t layer, std::size_t head) const noexcept {
    return rows(layer, pool_->data() + head * layout_.keys.head, layout_.keys);
  }
  [[nodiscard]] KvView<T> values(std::size_t layer, std::size_t head) const noexcept {
    if (layout_.row.value == 0) return keys(layer, head);
    return rows(layer, pool_->data() + layout_.key_elements() + head * layout_.values.head,
                layout_.values);
  }
  /// Slots that the layer's table has room for; pages come on request.
  [[nodiscard]] std::size_t slots(std::size_t layer, std::size_t) const noexcept {
    return (first_[layer + 1] - first_[layer]) * layout_.page_size;
  }
  /// The tables. Whoever made the pool counts its pages.
  [[nodiscard]] MemoryUsage memory() const noexcept {
    return {.positions = table_.size() * (sizeof table_[0] + sizeof claims_[0]) +
                         (first_.size() + used_.size()) * sizeof first_[0]};
  }

  /// The pages of a layer in order of slots, for the engine's own kernels: page p lies at
  /// `pool memory + p * layout().elements()`. The numbers lie where they are until
  /// KVCache::copy_from or the end of the sequence; a call that writes slots may add some, or
  /// replace those of shared pages.
  [[nodiscard]] PageTable pages(std::size_t layer) const noexcept {
    return {{table_.data() + first_[layer], used_[layer]}, layout_.page_size};
  }
  [[nodiscard]] const PageLayout& layout() const noexcept { return layout_; }
  /// Pages that the sequence will have when every slot of every layer is in use.
  [[nodiscard]] std::size_t max_pages() const noexcept { return table_.size(); }

  // ---- What ClaimedStorage asks for

  /// Makes the tables. \param slots of every head, [layers][kv_heads]. \pre there is no page yet
  void reserve(std::span<const std::size_t> slots) {
    for (std::size_t layer = 0; layer < used_.size(); ++layer) {
      const auto heads = slots.subspan(layer * layout_.kv_heads, layout_.kv_heads);
      const std::size_t most = *std::max_element(heads.begin(), heads.end());
      first_[layer + 1] = first_[layer] + pages_for(most, layout_.page_size);
    }
    table_.assign(first_.back(), no_page);
    claims_.assign(first_.back(), 0);
  }
  /// Notes that a slot is going to be written. no_slot: one in use that is not known yet, which may
  /// need a copy of any shared page. \pre slots that are known are claimed first
  void claim(std::size_t layer, Slot slot) noexcept {
    if (slot != no_slot) {
      claim_page(index(layer, slot));
      return;
    }
    const std::size_t end = first_[layer] + used_[layer];
    for (std::size_t at = first_[layer]; at < end; ++at) {
      if (claim_page(at)) return;
    }
  }
  /// Ends the claims. \return whether the pool has the pages that they need
  [[nodiscard]] bool grant() noexcept {
    ++claim_;
    return std::exchange(claimed_, 0) <= pool_->free_pages();
  }
  /// Gives the slot a page of the sequence's own. \pre its claim was granted
  void make_writable(std::size_t layer, Slot slot) noexcept {
    const std::size_t at = index(layer, slot);
    if (is_writable(at)) return;
    const std::int32_t before = table_[at];
    table_[at] = pool_->take();
    used_[layer] = std::max(used_[layer], at - first_[layer] + 1);
    if (before == no_page) return;
    std::copy_n(pool_->data(before), layout_.elements(), pool_->data(table_[at]));
    pool_->give_back(before);
  }
  /// Whether the other storage shares this one's pool.
  [[nodiscard]] bool can_become(const PooledStorage& other) const noexcept {
    return pool_ == other.pool_;
  }
  /// Gives the pages back that are not needed for the first `slots` slots of a layer.
  void shrink(std::size_t layer, std::size_t slots) noexcept {
    const std::size_t needed = pages_for(slots, layout_.page_size);
    for (; used_[layer] > needed; --used_[layer]) {
      const std::size_t last = first_[layer] + used_[layer] - 1;
      pool_->give_back(std::exchange(table_[last], no_page));
    }
  }

 private:
  static constexpr std::int32_t no_page = -1;

  [[nodiscard]] KvView<T> rows(std::size_t layer, T* head,
                               const MemoryStrides& strides) const noexcept {
    return {.data = head,
            .stride = strides.slot,
            .pages = table_.data() + first_[layer],
            .page_rows = layout_.page_size,
            .page_stride = layout_.elements()};
  }
  /// Of a slot's page in the table.
  [[nodiscard]] std::size_t index(std::size_t layer, Slot slot) const noexcept {
    return first_[layer] + slot / layout_.page_size;
  }
  [[nodiscard]] bool is_writable(std::size_t at) const noexcept {
    return table_[at] != no_page && !pool_->is_shared(table_[at]);
  }
  /// \return whether one page more is claimed now
  bool claim_page(std::size_t at) noexcept {
    if (is_writable(at) || std::exchange(claims_[at], claim_) == claim_) return false;
    ++claimed_;
    return true;
  }
  template <class Use>
  void for_each_page(const Use& use) const noexcept {
    for (std::size_t layer = 0; layer < used_.size(); ++layer) {
      for (const std::int32_t page : pages(layer).pages) use(page);
    }
  }

  PagePool<T>* pool_;
  PageLayout layout_;
  std::vector<std::size_t> first_;     ///< [layers + 1]: where each layer's table begins
  std::vector<std::size_t> used_;      ///< [layers]: pages that the layer has
  std::vector<std::int32_t> table_;    ///< [first_.back()]; no_page beyond those in use
  std::vector<std::uint64_t> claims_;  ///< likewise: the last claims that asked for the page
  std::uint64_t claim_ = 1;            ///< the number of the claims under way
  std::size_t claimed_ = 0;            ///< pages that they need
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CACHE_POOLED_STORAGE_HPP
