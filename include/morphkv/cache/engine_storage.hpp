// SPDX-License-Identifier: Apache-2.0
/// \file
/// Keys and values in memory that the engine owns: strided, or in pages of a pool.
#ifndef MORPHKV_CACHE_ENGINE_STORAGE_HPP
#define MORPHKV_CACHE_ENGINE_STORAGE_HPP

#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "morphkv/core/error.hpp"
#include "morphkv/core/kv_view.hpp"
#include "morphkv/core/memory_usage.hpp"
#include "morphkv/core/quantised.hpp"
#include "morphkv/core/shape.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// The order of an engine's memory, in the words of FlashInfer: NHD has the heads of a slot side by
/// side, [slot][kv_heads][head_dim]; HND has the slots of a head side by side,
/// [kv_heads][slot][head_dim]. Values likewise, of their own dimension. In pages, `slot` is within
/// a page, and pages lie one after another.
enum class HeadOrder { nhd, hnd };

/// Elements (of quantised numbers: blocks) between two neighbours, for memory in an order of the
/// engine's own.
struct MemoryStrides {
  std::size_t head = 0;  ///< between two KV heads
  std::size_t slot = 0;  ///< between two slots (of a page, where there are pages)
  std::size_t page = 0;  ///< between two pages of the pool; without pages it means nothing
};

/// Of `slots` slots of all heads, in rows of `row` elements, in one piece or in one page.
[[nodiscard]] inline MemoryStrides memory_strides(const CacheShape& shape, std::size_t row,
                                                  std::size_t slots, HeadOrder order) noexcept {
  const std::size_t page = slots * shape.kv_heads * row;
  return order == HeadOrder::nhd ? MemoryStrides{row, shape.kv_heads * row, page}
                                 : MemoryStrides{slots * row, row, page};
}

/// The keys and values of one layer. Without pages they begin at this sequence's first slot; with
/// pages, at the pool's first page. `values` is not read where they lie in the keys.
template <Storable T>
struct LayerMemory {
  T* keys = nullptr;
  T* values = nullptr;
};

/// The pages of one sequence, the same in every layer.
struct PageTable {
  std::span<const std::int32_t> pages;  ///< numbers of the pages in the pool, in order of slots
  std::size_t page_size = 16;           ///< slots of a page
};

/// The block tables of a batch, as paged attention kernels take them: sequence i has the pages
/// indices[indptr[i]] ... indices[indptr[i + 1] - 1], and last_page_len[i] slots in use in the last
/// of them. Nothing is owned.
struct PagedBatch {
  std::span<const std::int32_t> indptr;         ///< [sequences + 1]
  std::span<const std::int32_t> indices;        ///< [indptr.back()]
  std::span<const std::int32_t> last_page_len;  ///< [sequences]
  std::size_t page_size = 16;                   ///< slots of a page

  /// \throws std::invalid_argument if there is no such sequence, or its part of the tables is no
  ///         range of `indices`
  [[nodiscard]] PageTable sequence(std::size_t i) const {
    require(i < last_page_len.size() && i + 1 < indptr.size(), "sequence", i,
            "below the sequences of the batch");
    const std::int32_t begin = indptr[i];
    const std::int32_t end = indptr[i + 1];
    require(begin >= 0 && begin <= end && static_cast<std::size_t>(end) <= indices.size(),
            "indptr[" + std::to_string(i + 1) + "]", end,
            "from indptr[" + std::to_string(i) + "] = " + std::to_string(begin) + " to " +
                std::to_string(indices.size()));
    return {indices.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)),
            page_size};
  }
  /// Slots that sequence i uses.
  /// \throws std::invalid_argument likewise, also if last_page_len[i] is above page_size
  [[nodiscard]] std::size_t slots_in_use(std::size_t i) const {
    const std::size_t pages = sequence(i).pages.size();
    const std::int32_t last = last_page_len[i];
    require(last >= 0 && static_cast<std::size_t>(last) <= page_size,
            "last_page_len[" + std::to_string(i) + "]", last,
            "from 0 to page_size = " + std::to_string(page_size));
    return pages == 0 ? 0 : (pages - 1) * page_size + static_cast<std::size_t>(last);
  }
};

/// Pages that a sequence of `slots` slots needs. \pre page_size > 0
[[nodiscard]] constexpr std::size_t pages_for(std::size_t slots, std::size_t page_size) noexcept {
  return slots == 0 ? 0 : (slots - 1) / page_size + 1;
}

/// Slots in use of the last of those pages: the `last_page_len` of paged attention kernels.
[[nodiscard]] constexpr std::size_t last_page_len(std::size_t slots,
                                                  std::size_t page_size) noexcept {
  return slots == 0 ? 0 : (slots - 1) % page_size + 1;
}

/// A view of one sequence's keys and values in the engine's memory, for
/// `KVCache<T, Policy, EngineStorage<T>>`. Nothing is copied and nothing is owned: the memory has
/// to outlive the cache, and only the slots in use are ever written. It moves but does not copy,
/// since two caches over one memory would overwrite each other; to fork a sequence, give the fork
/// other memory and call KVCache::copy_from.
template <Storable T>
class EngineStorage {
 public:
  /// Memory in one piece per layer.
  /// \param layers [layers]; copied
  /// \param slots that every head has there
  /// \throws std::invalid_argument if a pointer is null, their number is not that of the layers, or
  ///         rows would overlap
  EngineStorage(const CacheShape& shape, std::span<const LayerMemory<T>> layers, std::size_t slots,
                HeadOrder order)
      : EngineStorage(shape, layers, slots,
                      memory_strides(shape, row_size<T>(shape.head_dim), slots, order),
                      memory_strides(shape, row_size<T>(shape.output_dim()), slots, order)) {}
  EngineStorage(const CacheShape& shape, std::span<const LayerMemory<T>> layers, std::size_t slots,
                const MemoryStrides& strides)
      : EngineStorage(shape, layers, slots, strides, strides) {}
  EngineStorage(const CacheShape& shape, std::span<const LayerMemory<T>> layers, std::size_t slots,
                const MemoryStrides& key_strides, const MemoryStrides& value_strides)
      : EngineStorage(shape, layers, key_strides, value_strides) {
    require(slots <= max_slots, "slots", slots, "at most " + std::to_string(max_slots));
    slots_ = slots;
  }

  /// Memory in pages.
  /// \param layers [layers]: where each layer's pool begins; copied
  /// \param table  read at every step, so that its numbers have to stay where they are; its pages
  ///               may be fewer than the cache's slots need, see set_pages
  /// \throws std::invalid_argument also if page_size is 0
  EngineStorage(const CacheShape& shape, std::span<const LayerMemory<T>> layers,
                const PageTable& table, HeadOrder order)
      : EngineStorage(
            shape, layers, table,
            memory_strides(shape, row_size<T>(shape.head_dim), table.page_size, order),
            memory_strides(shape, row_size<T>(shape.output_dim()), table.page_size, order)) {}
  EngineStorage(const CacheShape& shape, std::span<const LayerMemory<T>> layers,
                const PageTable& table, const MemoryStrides& strides)
      : EngineStorage(shape, layers, table, strides, strides) {}
  EngineStorage(const CacheShape& shape, std::span<const LayerMemory<T>> layers,
                const PageTable& table, const MemoryStrides& key_strides,
                const MemoryStrides& value_strides)
      : EngineStorage(shape, layers, key_strides, value_strides) {
    require(table.page_size > 0 && table.page_size <= max_slots, "page_size", table.page_size,
            "from 1 to " + std::to_string(max_slots));
    const RowSizes row = row_sizes<T>(shape);
    require_stride("a page", key_strides.page, row.key);
    require_stride("a page of values", value_strides.page, row.value);
    keys_.rows.page_rows = values_.rows.page_rows = table.page_size;
    keys_.rows.page_stride = key_strides.page;
    values_.rows.page_stride = value_strides.page;
    set_pages(table.pages);
  }

  EngineStorage(EngineStorage&&) noexcept = default;
  EngineStorage& operator=(EngineStorage&&) noexcept = default;
  EngineStorage(const EngineStorage&) = delete;
  EngineStorage& operator=(const EngineStorage&) = delete;
  ~EngineStorage() = default;

  /// Another table of the same pages and perhaps more: a sequence takes pages while it grows. A
  /// step that needs a slot beyond them reports Status::no_memory.
  /// \param pages read at every step; they have to stay where they are. No number is negative
  ///              (padding must be cut off) and none occurs twice
  /// \throws std::invalid_argument naming the entry, or if the storage has no pages; nothing
  /// changes O(pages log pages). It allocates.
  void set_pages(std::span<const std::int32_t> pages) {
    static constexpr std::int32_t none = 0;
    require(can_grow(), "pages", pages.size(), "set only in memory that was described as paged");
    std::set<std::int32_t> seen;
    for (std::size_t i = 0; i < pages.size(); ++i) {
      require(pages[i] >= 0 && seen.insert(pages[i]).second, "pages[" + std::to_string(i) + "]",
              pages[i], "at least 0, and different from the pages before it");
    }
    keys_.rows.pages = values_.rows.pages = pages.empty() ? &none : pages.data();
    slots_ = pages.size() * keys_.rows.page_rows;
  }

  [[nodiscard]] KvView<T> keys(std::size_t layer, std::size_t head) const noexcept {
    return keys_.of_head(layers_[layer].keys, head);
  }
  [[nodiscard]] KvView<T> values(std::size_t layer, std::size_t head) const noexcept {
    return values_in_keys_ ? keys(layer, head) : values_.of_head(layers_[layer].values, head);
  }
  /// Slots that every head has memory for.
  [[nodiscard]] std::size_t slots(std::size_t, std::size_t) const noexcept { return slots_; }
  /// Whether there are pages, so that more may come.
  [[nodiscard]] bool can_grow() const noexcept { return keys_.rows.page_rows > 0; }
  /// The engine counts its own bytes.
  [[nodiscard]] MemoryUsage memory() const noexcept { return {}; }

 private:
  /// How the keys, or the values, of every head lie.
  struct Layout {
    std::size_t head_stride = 0;
    KvView<T> rows;  ///< without data

    [[nodiscard]] KvView<T> of_head(T* layer, std::size_t head) const noexcept {
      KvView<T> result = rows;
      result.data = layer + head * head_stride;
      return result;
    }
  };

  EngineStorage(const CacheShape& shape, std::span<const LayerMemory<T>> layers,
                const MemoryStrides& key_strides, const MemoryStrides& value_strides)
      : layers_(layers.begin(), layers.end()),
        values_in_keys_(shape.values_in_keys),
        keys_{key_strides.head, {.data = nullptr, .stride = key_strides.slot}},
        values_{value_strides.head, {.data = nullptr, .stride = value_strides.slot}} {
    const RowSizes row = row_sizes<T>(shape);
    require(layers.size() == shape.layers, "layers of memory", layers.size(),
            "as many as the shape's: " + std::to_string(shape.layers));
    require_stride("a slot", key_strides.slot, row.key);
    require_stride("a slot of values", value_strides.slot, row.value);
    if (shape.kv_heads > 1) {
      require_stride("a head", key_strides.head, row.key);
      require_stride("a head of values", value_strides.head, row.value);
    }
    for (const LayerMemory<T>& layer : layers_) {
      require(layer.keys != nullptr && (layer.values != nullptr || values_in_keys_),
              "a layer's memory", "null", "pointers to keys and values");
    }
  }

  static void require_stride(const char* of, std::size_t stride, std::size_t dim) {
    require(stride >= dim, std::string("stride of ") + of, stride,
            "at least the elements of a row, " + std::to_string(dim));
  }

  /// Positions are 32-bit numbers, so no head needs more.
  static constexpr std::size_t max_slots = std::size_t{1} << 31U;

  std::vector<LayerMemory<T>> layers_;
  bool values_in_keys_;
  std::size_t slots_ = 0;
  Layout keys_;
  Layout values_;  ///< not used where they lie in the keys
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CACHE_ENGINE_STORAGE_HPP
