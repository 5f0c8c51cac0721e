// SPDX-License-Identifier: Apache-2.0
/// \file
/// A model of the pages of a SequencePool.
#ifndef MORPHKV_TESTS_SUPPORT_PAGE_MODEL_HPP
#define MORPHKV_TESTS_SUPPORT_PAGE_MODEL_HPP

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "morphkv/cache/sequence_pool.hpp"

namespace morphkv::testing {

/// Which pages every sequence has, and what a write needs: a page where there is none, and another
/// one where the page has two owners or more.
template <class Pool>
class PageModel {
 public:
  using Id = typename Pool::Id;

  PageModel(const Pool& pool, const std::vector<Id>& ids, std::size_t layers)
      : free_(pool.free_pages()), page_size_(pool.page_size()) {
    for (const Id id : ids) {
      for (std::size_t layer = 0; layer < layers; ++layer) {
        const auto pages = pool[id].storage().pages(layer).pages;
        tables_[{id, layer}].assign(pages.begin(), pages.end());
      }
    }
  }

  /// Writes to some slots of a layer. \return false if pages are missing, and nothing has changed
  bool write(Id id, std::size_t layer, const std::vector<Slot>& slots) {
    std::vector<std::int64_t>& table = tables_[{id, layer}];
    const auto counts = count_owners();
    std::set<std::size_t> needed;
    for (const Slot slot : slots) {
      const std::size_t at = slot / page_size_;
      if (at >= table.size() || counts.at(table[at]) > 1) needed.insert(at);
    }
    if (needed.size() > free_) return false;
    free_ -= needed.size();
    for (const std::size_t at : needed) {
      if (at < table.size()) ++copies_;
      if (at >= table.size()) table.resize(at + 1);
      table[at] = ++new_page_;
    }
    return true;
  }

  /// How many owners every page has, by sequence, layer and place in the table.
  [[nodiscard]] std::map<std::pair<Id, std::size_t>, std::vector<std::size_t>> owners() const {
    const auto counts = count_owners();
    std::map<std::pair<Id, std::size_t>, std::vector<std::size_t>> result;
    for (const auto& [key, table] : tables_) {
      for (const std::int64_t page : table) result[key].push_back(counts.at(page));
    }
    return result;
  }
  [[nodiscard]] bool shares(Id id, std::size_t layer) const {
    const auto& table = tables_.at({id, layer});
    const auto counts = count_owners();
    return std::any_of(table.begin(), table.end(), [&](auto page) { return counts.at(page) > 1; });
  }
  [[nodiscard]] std::size_t free() const { return free_; }
  [[nodiscard]] std::size_t copies() const { return copies_; }

  /// What holds at any time: a page has one place in a layer's table, the same in all sequences
  /// that share it, and those that nobody has are free.
  void expect_consistent(const Pool& pool) const {
    std::map<std::int64_t, std::pair<std::size_t, std::size_t>> places;
    for (const auto& [key, table] : tables_) {
      const auto& sequence = pool[key.first];
      std::size_t slots = 0;
      for (std::size_t head = 0; head < sequence.shape().kv_heads; ++head) {
        slots = std::max(slots, sequence.size(key.second, head));
      }
      ASSERT_EQ(table.size(), pages_for(slots, page_size_));
      for (std::size_t at = 0; at < table.size(); ++at) {
        const std::pair place{key.second, at};
        ASSERT_EQ(places.try_emplace(table[at], place).first->second, place);
      }
    }
    ASSERT_EQ(places.size() + pool.free_pages(), pool.pages());
  }

 private:
  [[nodiscard]] std::map<std::int64_t, std::size_t> count_owners() const {
    std::map<std::int64_t, std::size_t> counts;
    for (const auto& [key, table] : tables_) {
      for (const std::int64_t page : table) ++counts[page];
    }
    return counts;
  }

  std::size_t free_;
  std::size_t page_size_;
  std::size_t copies_ = 0;
  std::int64_t new_page_ = std::int64_t{1} << 40U;
  std::map<std::pair<Id, std::size_t>, std::vector<std::int64_t>> tables_;
};

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_SUPPORT_PAGE_MODEL_HPP
