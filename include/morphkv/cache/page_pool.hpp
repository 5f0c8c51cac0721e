// SPDX-License-Identifier: Apache-2.0
/// \file
/// Pages of equal size in the engine's memory, with a free list and reference counts.
#ifndef MORPHKV_CACHE_PAGE_POOL_HPP
#define MORPHKV_CACHE_PAGE_POOL_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "morphkv/core/config.hpp"
#include "morphkv/core/error.hpp"
#include "morphkv/core/quantised.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// Divides memory into pages: page p has the elements p * page_elements() and those after it. A
/// page is free or has one owner or more. The memory is the engine's and has to outlive the pool;
/// what lies in a page is neither read nor written here. All functions but the constructor take
/// constant time and neither allocate nor throw. Memory: 8 bytes per page.
/// Thread safety: none.
template <Storable T>
class PagePool {
 public:
  /// \param memory as many pages as fit, at most 2^31 - 1
  /// \throws std::invalid_argument if page_elements is 0 or not one page fits; std::bad_alloc
  PagePool(std::span<T> memory, std::size_t page_elements)
      : data_(memory.data()), page_elements_(page_elements) {
    require(page_elements > 0, "elements of a page", page_elements, "at least 1");
    constexpr std::size_t most = std::numeric_limits<std::int32_t>::max();
    const std::size_t pages = std::min(memory.size() / page_elements, most);
    require(pages > 0, "elements of memory", memory.size(),
            "at least those of a page: " + std::to_string(page_elements));
    owners_.resize(pages);
    free_.reserve(pages);
    for (std::size_t page = pages; page > 0; --page) {
      free_.push_back(static_cast<std::int32_t>(page - 1));
    }
  }

  [[nodiscard]] T* data() const noexcept { return data_; }
  [[nodiscard]] T* data(std::int32_t page) const noexcept {
    return data_ + static_cast<std::size_t>(page) * page_elements_;
  }
  [[nodiscard]] std::size_t page_elements() const noexcept { return page_elements_; }
  [[nodiscard]] std::size_t pages() const noexcept { return owners_.size(); }
  [[nodiscard]] std::size_t free_pages() const noexcept { return free_.size(); }
  /// Bytes that the pool has allocated.
  [[nodiscard]] std::size_t bytes() const noexcept {
    return owners_.size() * sizeof owners_[0] + free_.capacity() * sizeof free_[0];
  }

  /// A free page, which has one owner now. \pre free_pages() > 0
  [[nodiscard]] std::int32_t take() noexcept {
    MORPHKV_ASSERT(!free_.empty());
    const std::int32_t page = free_.back();
    free_.pop_back();
    owners(page) = 1;
    return page;
  }
  /// One owner more. \pre the page has an owner
  void share(std::int32_t page) noexcept {
    MORPHKV_ASSERT(owners(page) > 0);
    ++owners(page);
  }
  /// One owner less; a page without one is free. \pre the page has an owner
  void give_back(std::int32_t page) noexcept {
    MORPHKV_ASSERT(owners(page) > 0);
    if (--owners(page) == 0) free_.push_back(page);  // within the memory it has had for all pages
  }
  [[nodiscard]] bool is_shared(std::int32_t page) const noexcept {
    return owners_[static_cast<std::size_t>(page)] > 1;
  }

 private:
  [[nodiscard]] std::uint32_t& owners(std::int32_t page) noexcept {
    return owners_[static_cast<std::size_t>(page)];
  }

  T* data_;
  std::size_t page_elements_;
  std::vector<std::uint32_t> owners_;  ///< [pages]; 0: free
  std::vector<std::int32_t> free_;     ///< the last one is taken next
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CACHE_PAGE_POOL_HPP
