// SPDX-License-Identifier: Apache-2.0
#include "morphkv/policy/recommended.hpp"

#include <gtest/gtest.h>

#include <cstddef>

#include "support/errors.hpp"

namespace morphkv::testing::recommended_test { namespace {

TEST(Recommended, FitsEveryCapacity) {
  for (std::size_t capacity = 2; capacity < 3000; ++capacity) {
    const DecayedMax::Options options = recommended(capacity);
    ASSERT_NO_THROW(DecayedMax{options}) << capacity;
    ASSERT_EQ(options.capacity, capacity);
    ASSERT_LT(options.recent + options.sinks, capacity) << "the score decides over some";
    const std::size_t others = capacity - options.recent - options.sinks;
    ASSERT_EQ(options.pins, capacity < 256 ? 0 : others);
  }
  EXPECT_EQ(recommended(255).recent, 159U);
  EXPECT_EQ(recommended(256).recent, 128U);
  EXPECT_EQ(recommended(2048).recent, 1024U);
  EXPECT_EQ(recommended(2048).pins, 1020U);
  EXPECT_EQ(recommended(2048).pin_half_life, 512U);
  EXPECT_EQ(recommended(2048).distance, 32U);
  EXPECT_EQ(recommended(2048).half_life, 1024);
}

TEST(Recommended, RefusesLessThanTwo) {
  expect_refused([] { (void)recommended(1); }, "capacity = 1");
}

}  // namespace
}  // namespace morphkv::testing::recommended_test
