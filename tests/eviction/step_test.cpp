// SPDX-License-Identifier: Apache-2.0
// The functions on a head's plain state that steps are made of, alone; some of them devices call
// and the host does not. (team_test plays whole steps.)
#include "morphkv/eviction/step.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "morphkv/core/aligned_buffer.hpp"
#include "morphkv/eviction/head_state.hpp"
#include "morphkv/score/last_row.hpp"
#include "support/team_head.hpp"

namespace morphkv::testing::step_test { namespace {

TEST(Lowest, OfEqualValuesTheOldestGoesFirst) {
  const Lowest lowest{5, 7};
  EXPECT_TRUE(lowest.goes_before({6, 0}));
  EXPECT_TRUE(lowest.goes_before({5, 8}));
  EXPECT_FALSE(lowest.goes_before(lowest));
  EXPECT_FALSE(lowest.goes_before({5, 6}));
  EXPECT_FALSE(lowest.goes_before({4, 8}));
}

TEST(KnowsSlot, WhereOneIsFreeOrTheVictimIsKnown) {
  HeadState state{.size = 3, .quota = 4};
  EXPECT_TRUE(knows_slot(state));
  EXPECT_EQ(known_slot(state), 3U);
  state.awaits_row = 1;
  EXPECT_FALSE(knows_slot(state)) << "the row may change the victim";
  state = {.size = 4, .quota = 4};
  EXPECT_FALSE(knows_slot(state));
  state.victim = 2;
  EXPECT_TRUE(knows_slot(state));
  EXPECT_EQ(known_slot(state), 2U);
  state = {.size = 4, .quota = 4, .hole = 1};
  EXPECT_TRUE(knows_slot(state));
  EXPECT_EQ(known_slot(state), 1U);
}

TEST(HeadView, CellsLieOneBehindTheOther) {
  const HeadLayout layout = layout_of(EvictionRules{.slots = 5, .recent = 2}, LastRow::memory());
  AlignedBuffer<std::byte> memory(3 * layout.bytes);
  for (std::size_t cell = 0; cell < 3; ++cell) {
    const HeadView view(memory.data(), layout, cell);
    const HeadView alone(memory.data() + cell * layout.bytes, layout);
    EXPECT_EQ(view.head, alone.head);
    EXPECT_EQ(view.positions, alone.positions);
    EXPECT_EQ(view.scores.memory, alone.scores.memory);
  }
}

TEST(CountCandidates, GoesAsFarAsTheLimit) {
  for (const std::uint32_t size : {0U, 1U, 63U, 64U, 65U, 128U, 130U}) {
    std::vector<std::uint64_t> bits(4);  // those beyond the slots in use are not set either
    HeadView view;
    view.protection = bits.data();
    for (std::uint32_t is_protected = 0; is_protected <= size; ++is_protected) {
      for (const std::uint32_t limit : {1U, 2U, 1000U}) {
        ASSERT_EQ(count_candidates(view, size, limit), std::min(limit, size - is_protected))
            << is_protected << " of " << size;
      }
      set_bit(bits.data(), is_protected);
    }
  }
}

constexpr std::uint32_t capacity = 9;

/// The newest row, of which no number is touched beyond `capacity`.
struct CheckedScore {
  using Value = LastRow::Value;
  struct Row {
    using Value = LastRow::Value;
    LastRow::Row row;

    [[nodiscard]] LastRow::Row::Fetched fetch(Slot slot) const {
      EXPECT_LT(slot, capacity);
      return {};
    }
    [[nodiscard]] Value push(Slot slot, float weight, LastRow::Row::Fetched fetched) const {
      EXPECT_LT(slot, capacity);
      return row.push(slot, weight, fetched);
    }
    [[nodiscard]] Value value(Slot slot) const {
      EXPECT_LT(slot, capacity);
      return row.value(slot);
    }
  };

  [[nodiscard]] static double number(Value value) { return LastRow::number(value); }
  [[nodiscard]] static ScoreMemory memory() { return LastRow::memory(); }
  [[nodiscard]] static std::uint32_t scoring_queries() { return 1; }
  template <class Function>
  auto with_row(const ScoreView& view, std::uint32_t, const Function& function) const {
    return function(Row{{view.row_float(0)}});
  }
  void start(const ScoreView&, Slot, std::uint32_t) const {}
};

/// Among equal scores the oldest token is searched, with rows and without.
TEST(Steps, TouchNoSlotBeyondThoseInUse) {
  const EvictionPlan<CheckedScore> plan{make_rules({.capacity = capacity, .recent = 2, .sinks = 1}),
                                        {}};
  TeamHead head(plan, 0);
  for (Position position = 0; position < 40; ++position) {
    const Placement placement = head.place(position);
    ASSERT_EQ(placement.status, Status::ok);
    const Position oldest = position + 1 - static_cast<Position>(capacity);
    EXPECT_EQ(placement.evicted, oldest > 0 ? oldest : no_position);
    if (position % 3 == 0) continue;
    ASSERT_EQ(head.observe(std::vector<float>(head.size(), 0.0F)), Status::ok);
  }
}

}  // namespace
}  // namespace morphkv::testing::step_test
