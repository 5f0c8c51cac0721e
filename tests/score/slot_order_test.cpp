// SPDX-License-Identifier: Apache-2.0
//
// The same tokens in other slots: the same token goes.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "morphkv/core/bit_mask.hpp"
#include "morphkv/score/age.hpp"
#include "morphkv/score/last_row.hpp"
#include "morphkv/score/random_score.hpp"
#include "morphkv/score/recent_window.hpp"
#include "morphkv/score/running_sum.hpp"

namespace morphkv::testing::slot_order_test {
namespace {

constexpr std::size_t slots = 37;

/// Pushes the same rows, full of ties, into two copies of a score whose slots are shuffled.
template <Score S>
void expect_the_same_victims(const S& score) {
  std::mt19937 random(7);
  std::vector<Slot> order(slots);
  std::iota(order.begin(), order.end(), Slot{0});
  std::shuffle(order.begin(), order.end(), random);
  std::vector<Position> positions(slots);
  std::vector<Position> shuffled(slots);
  BitMask guard(slots);
  BitMask shuffled_guard(slots);
  for (std::size_t s = 0; s < slots; ++s) {
    positions[s] = static_cast<Position>(3 * s + 1);
    shuffled[order[s]] = positions[s];
    if (s % 5 == 0) guard.set(s);
    if (s % 5 == 0) shuffled_guard.set(order[s]);
  }
  S straight = score;
  S mixed = score;
  for (int step = 0; step < 200; ++step) {
    std::vector<float> row(slots);
    std::vector<float> mixed_row(slots);
    for (std::size_t s = 0; s < slots; ++s) {
      row[s] = static_cast<float>(random() % 3) / 16;
      mixed_row[order[s]] = row[s];
    }
    const Slot victim = straight.push(row, {slots, guard.data(), positions.data()});
    const Slot other = mixed.push(mixed_row, {slots, shuffled_guard.data(), shuffled.data()});
    ASSERT_LT(victim, slots);
    ASSERT_EQ(other, order[victim]) << "step " << step;
  }
}

TEST(SlotOrder, DoesNotMatterToAnyScore) {
  for (const Fusion fusion : {Fusion::sum, Fusion::max}) {
    expect_the_same_victims(RecentWindow({.columns = slots, .rows = 8, .fusion = fusion}));
    expect_the_same_victims(
        RecentWindow({.columns = slots, .rows = 8, .fusion = fusion, .panes = 2}));
  }
  expect_the_same_victims(RunningSum({.columns = slots}));
  expect_the_same_victims(LastRow({.columns = slots}));
  expect_the_same_victims(Age());
  expect_the_same_victims(RandomScore(3));
}

}  // namespace
}  // namespace morphkv::testing::slot_order_test
