// SPDX-License-Identifier: Apache-2.0
// Pages are given to one owner at a time, and come back when the last of them gives them back.
#include "morphkv/cache/page_pool.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

#include "support/allocation_counter.hpp"
#include "support/errors.hpp"

namespace morphkv::testing::page_pool_test { namespace {

TEST(PagePool, GivesEveryPageOnce) {
  std::vector<float> memory(5 * 7 + 6);
  PagePool<float> pool(memory, 7);
  EXPECT_EQ(pool.pages(), 5U);
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(pool.free_pages(), 5U);
    std::set<std::int32_t> taken;
    for (std::size_t left = 5; left > 0; --left) {
      EXPECT_EQ(pool.free_pages(), left);
      const std::int32_t page = pool.take();
      EXPECT_EQ(pool.data(page), memory.data() + 7 * page);
      EXPECT_FALSE(pool.is_shared(page));
      taken.insert(page);
    }
    EXPECT_EQ(taken, (std::set<std::int32_t>{0, 1, 2, 3, 4}));
    for (const std::int32_t page : taken) pool.give_back(page);
  }
}

TEST(PagePool, APageIsFreeWhenItsLastOwnerGivesItBack) {
  std::vector<float> memory(2);
  PagePool<float> pool(memory, 1);
  const std::size_t before = allocations.count;
  const std::int32_t page = pool.take();
  pool.share(page);
  pool.share(page);
  EXPECT_TRUE(pool.is_shared(page));
  pool.give_back(page);
  EXPECT_TRUE(pool.is_shared(page));
  pool.give_back(page);
  EXPECT_FALSE(pool.is_shared(page));
  EXPECT_EQ(pool.free_pages(), 1U);
  pool.give_back(page);
  EXPECT_EQ(pool.free_pages(), 2U);
  EXPECT_EQ(allocations.count, before);
}

TEST(PagePool, RefusesMemoryWithoutAPage) {
  std::vector<float> memory(6);
  expect_refused([&] { (void)PagePool<float>(memory, 7); }, "elements of memory = 6");
  expect_refused([&] { (void)PagePool<float>(memory, 0); }, "elements of a page = 0");
  EXPECT_EQ(PagePool<float>(memory, 6).pages(), 1U);
}

}  // namespace
}  // namespace morphkv::testing::page_pool_test
