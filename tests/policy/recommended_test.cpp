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

TEST(RecommendedForPrompts, FitsEveryCapacity) {
  for (std::size_t capacity = 2; capacity < 1000; ++capacity) {
    const DecayedMax::Options options = recommended_for_prompts(capacity, 7);
    const DecayedMax policy(options);
    ASSERT_EQ(policy.capacity(), capacity);
    ASSERT_EQ(policy.slots(), capacity + 7);
    ASSERT_LT(options.recent + options.sinks, capacity) << "the score decides over some";
  }
  EXPECT_EQ(recommended_for_prompts(256).recent, 48U);
  EXPECT_EQ(recommended_for_prompts(256).distance, 32U);
  EXPECT_EQ(recommended_for_prompts(256).pins, 102U);
  EXPECT_EQ(recommended_for_prompts(256).response_slots, 4096U);
}

TEST(RecommendedForPrompts, RefusesWhatItCannotHold) {
  expect_refused([] { (void)recommended_for_prompts(1); }, "capacity = 1");
  expect_refused([] { (void)recommended_for_prompts(2, 0); }, "response_slots = 0");
  constexpr std::size_t huge = ~std::size_t{0};
  expect_refused([] { DecayedMax{recommended_for_prompts(2, huge)}; },
                 "response_slots = 18446744073709551615");
  expect_refused(
      [] {
        DecayedMax::Options options = recommended_for_prompts(64);
        options.spare_slots = 1;
        DecayedMax{options};
      },
      "spare_slots = 1");
}

}  // namespace
}  // namespace morphkv::testing::recommended_test
