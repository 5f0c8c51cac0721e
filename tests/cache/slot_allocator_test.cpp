// SPDX-License-Identifier: Apache-2.0
// The allocator of shared slots: the tournament tree against a search over all heads, and the rules
// of a pass.
#include "morphkv/cache/slot_allocator.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "morphkv/policy/decayed_max.hpp"
#include "support/random.hpp"

namespace morphkv::testing::slot_allocator_test { namespace {

TEST(LowestValue, EqualsASearchOverAllHeads) {
  for (const std::size_t heads : {1U, 2U, 3U, 4U, 7U, 8U, 9U, 64U, 1000U}) {
    LowestValue tree(heads);
    std::vector<double> values(heads, LowestValue::none);
    Random random(heads);
    EXPECT_EQ(tree.head(), 0U) << "of equal values the lowest head, also where there are none";
    for (int i = 0; i < 2000; ++i) {
      const std::size_t head = random.below(heads);
      const bool is_none = random.chance(0.2);
      values[head] = is_none ? LowestValue::none : static_cast<double>(random.below(5));
      tree.set(head, values[head]);
      ASSERT_EQ(tree[head], values[head]);
      const auto lowest = std::min_element(values.begin(), values.end());  // the first of equals
      ASSERT_EQ(tree.head(), static_cast<std::size_t>(lowest - values.begin())) << heads;
    }
  }
}

TEST(LowestValue, AHeadThatWasNeverSetIsNotTheWinnerOfOthers) {
  LowestValue tree(8);
  tree.set(0, 1);
  tree.set(4, 5);
  tree.set(0, LowestValue::none);
  EXPECT_EQ(tree.head(), 4U);
}

/// Notes the slots that pass, in place of a storage.
struct PassLog {
  struct Pass {
    std::size_t from;
    Slot slot;
    Slot last;
    std::size_t to;
    Slot new_slot;
    friend bool operator==(const Pass&, const Pass&) = default;
  };
  std::vector<Pass> passes;

  void pass(std::size_t from, Slot slot, Slot last, std::size_t to, Slot new_slot) noexcept {
    passes.push_back({from, slot, last, to, new_slot});
  }
};

class SlotAllocatorTest : public ::testing::Test {
 protected:
  static constexpr std::size_t capacity = 6;
  static constexpr std::size_t heads = 3;

  SlotAllocatorTest() {
    for (std::size_t head = 0; head < heads; ++head) {
      policies_.emplace_back(DecayedMax::Options{.capacity = capacity,
                                                 .recent = 2,
                                                 .half_life = 1e9,
                                                 .sinks = 1,
                                                 .spare_slots = capacity});
    }
  }

  /// Makes a head full: the token in slot 1 has the lowest score.
  void fill(std::size_t head, float lowest, float others = 0.9F) {
    DecayedMax& policy = policies_[head];
    for (Position p = 0; p < static_cast<Position>(capacity); ++p) {
      EXPECT_EQ(policy.place(p).status, Status::ok);
      std::vector<float> row(policy.size(), others);
      if (row.size() > 1) row[1] = lowest;
      EXPECT_EQ(policy.observe(row), Status::ok);
    }
    allocator_.update(head, policy);
  }

  Placement append(std::size_t head) {
    allocator_.reserve(head, std::span(policies_), storage_);
    return policies_[head].place(policies_[head].newest() + 1);
  }

  std::vector<DecayedMax> policies_;
  SlotAllocator<DecayedMax> allocator_{heads, 4};
  PassLog storage_;
};

TEST_F(SlotAllocatorTest, TheHeadWithTheLowestScoreGivesItsSlot) {
  for (std::size_t head = 0; head < heads; ++head) {
    fill(head, 0.1F * static_cast<float>(3 - head));
  }
  const Placement placement = append(0);
  EXPECT_EQ(placement.status, Status::ok);
  EXPECT_EQ(placement.evicted, no_position) << "no token of its own was replaced";
  EXPECT_EQ(storage_.passes, (std::vector<PassLog::Pass>{{2, 1, 5, 0, 6}}));
  EXPECT_EQ(policies_[0].capacity(), capacity + 1);
  EXPECT_EQ(policies_[2].capacity(), capacity - 1);
}

TEST_F(SlotAllocatorTest, OfEqualScoresItsOwnTokenGoes) {
  for (std::size_t head = 0; head < heads; ++head) fill(head, 0.25F);
  EXPECT_EQ(append(1).evicted, 1);
  EXPECT_TRUE(storage_.passes.empty());
}

TEST_F(SlotAllocatorTest, OfEqualScoresOfOthersTheLowestHeadGives) {
  fill(0, 0.25F);
  fill(1, 0.25F);
  fill(2, 0.5F);
  EXPECT_EQ(append(2).evicted, no_position);
  ASSERT_EQ(storage_.passes.size(), 1U);
  EXPECT_EQ(storage_.passes[0].from, 0U);
}

TEST_F(SlotAllocatorTest, AFreeSlotIsUsedFirst) {
  fill(1, 0.125F);
  EXPECT_EQ(append(0).status, Status::ok);
  EXPECT_TRUE(storage_.passes.empty());
}

TEST_F(SlotAllocatorTest, AHeadKeepsItsMinimum) {
  fill(0, 0.5F);
  fill(1, 0.125F, 0.125F);
  fill(2, 0.75F);
  for (int i = 0; i < 4; ++i) {
    (void)append(0);
    std::vector<float> row(policies_[0].size(), 0.5F);
    ASSERT_EQ(policies_[0].observe(row), Status::ok);
    allocator_.update(0, policies_[0]);
  }
  EXPECT_EQ(policies_[1].capacity(), 4U);
  EXPECT_EQ(policies_[2].capacity(), capacity) << "its scores are the highest";
}

TEST_F(SlotAllocatorTest, AHeadWhoseNewestTokenWasNotObservedGivesNothing) {
  fill(0, 0.5F);
  fill(1, 0.125F);
  EXPECT_EQ(append(1).evicted, 1);  // its own lowest
  EXPECT_EQ(append(0).evicted, 1);
  EXPECT_TRUE(storage_.passes.empty());
}

TEST_F(SlotAllocatorTest, AHeadThatHasAllItsSlotsReplacesATokenOfItsOwn) {
  for (std::size_t head = 0; head < heads; ++head) fill(head, 0.25F);
  while (policies_[0].capacity() < policies_[0].slots()) policies_[0].add_slot();
  while (policies_[0].has_free_slot()) {
    ASSERT_EQ(policies_[0].place(policies_[0].newest() + 1).status, Status::ok);
    ASSERT_EQ(policies_[0].observe(std::vector<float>(policies_[0].size(), 0.75F)), Status::ok);
  }
  allocator_.update(0, policies_[0]);
  EXPECT_NE(append(0).evicted, no_position);
  EXPECT_TRUE(storage_.passes.empty());
}

}  // namespace
}  // namespace morphkv::testing::slot_allocator_test
