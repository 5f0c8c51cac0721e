// SPDX-License-Identifier: Apache-2.0
// A head that takes over the state of another goes on like it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "support/contenders.hpp"
#include "support/duel.hpp"
#include "support/errors.hpp"
#include "support/weights.hpp"

namespace morphkv::testing::state_test { namespace {

template <class Contender>
class State : public ::testing::Test {};
using Contenders = ::testing::Types<MorphKVSum, MorphKVMax, SnapKVAverage, H2OPlain,
                                    DecayedMaxWithPins, TOVAContender, RandomContender>;
TYPED_TEST_SUITE(State, Contenders);

/// The next token of both, with the same row. \return whether they did the same
template <class Policy>
bool step_alike(Policy& a, Policy& b, Random& random) {
  const Position position = a.newest() + 1;
  const Placement first = a.place(position);
  const Placement second = b.place(position);
  std::vector<float> row(a.size());
  for (float& weight : row) weight = draw_weight(Weights::grid, random);
  return first.status == Status::ok && first.slot == second.slot &&
         first.evicted == second.evicted && a.observe(row) == Status::ok &&
         b.observe(row) == Status::ok && std::ranges::equal(a.state_bytes(), b.state_bytes());
}

TYPED_TEST(State, ARestoredHeadGoesOnLikeTheOriginal) {
  const Setting setting{.capacity = 20, .window = 4, .sinks = 2, .max_tokens = 200, .history = 3};
  typename TypeParam::Policy original(TypeParam::options(setting));
  typename TypeParam::Policy other = original;
  Random random(3);
  for (int t = 0; t < 50; ++t) ASSERT_TRUE(step_alike(original, other, random));
  typename TypeParam::Policy restored(TypeParam::options(setting));
  restored.restore(original.state_bytes());
  ASSERT_TRUE(std::ranges::equal(restored.state_bytes(), original.state_bytes()));
  EXPECT_EQ(restored.recorded(), 0U) << "what came before cannot be taken back";
  for (int t = 0; t < 50; ++t) ASSERT_TRUE(step_alike(original, restored, random));
  (void)original.rollback(2);
  (void)restored.rollback(2);
  EXPECT_TRUE(std::ranges::equal(restored.state_bytes(), original.state_bytes()));
}

TYPED_TEST(State, OneOfAnotherSizeIsRefused) {
  const Setting setting{.capacity = 20, .window = 4, .max_tokens = 200};
  typename TypeParam::Policy policy(TypeParam::options(setting));
  const auto before = policy;
  const std::vector<std::byte> bytes(policy.state_bytes().size() + 8);
  for (const std::size_t size : {std::size_t{0}, bytes.size() - 16, bytes.size()}) {
    expect_refused([&] { policy.restore(std::span(bytes).first(size)); },
                   "size of the state = " + std::to_string(size));
    EXPECT_TRUE(std::ranges::equal(policy.state_bytes(), before.state_bytes()));
  }
}

/// A head with pins, right after a prompt, and its state with one number altered.
class AlteredState {
 public:
  AlteredState() : head_({.capacity = 20, .recent = 5, .sinks = 2, .pins = 8}) {
    const std::vector<oracle::Row> rows(40, oracle::Row(40, 0.0));
    EXPECT_EQ(append_block(head_, 0, rows), Status::ok);
    EXPECT_GT(state().pins, 0U);
  }

  [[nodiscard]] HeadState state() const {
    HeadState state;
    std::memcpy(&state, head_.state_bytes().data(), sizeof state);
    return state;
  }
  [[nodiscard]] HeadLayout layout() const { return layout_of(head_.plan()); }
  [[nodiscard]] std::uint32_t held_recent() const { return head_.plan().rules.held_recent(); }

  /// Whether a head takes over the state with another HeadState, or other bytes somewhere.
  template <class Number>
  [[nodiscard]] bool is_taken(std::size_t at, const Number& number) const {
    std::vector<std::byte> bytes(head_.state_bytes().begin(), head_.state_bytes().end());
    std::memcpy(bytes.data() + at, &number, sizeof number);
    DecayedMax other = head_;
    return refusal([&] { other.restore(bytes); }) == "nothing was thrown";
  }
  [[nodiscard]] bool is_taken(void (*alter)(HeadState&)) const {
    HeadState altered = state();
    alter(altered);
    return is_taken(0, altered);
  }

 private:
  DecayedMax head_;
};

TEST(AlteredStates, NumbersAtTheirLimitsAreTaken) {
  const AlteredState head;
  EXPECT_EQ(head.state().pinned_at, head.state().arrived);
  EXPECT_TRUE(head.is_taken([](HeadState&) {}));
  EXPECT_TRUE(head.is_taken([](HeadState& s) { s.newest = max_position; }));
  EXPECT_TRUE(head.is_taken([](HeadState& s) { s.victim = s.size - 1; }));
  const std::size_t next = head.state().arrived % (head.held_recent() + 1);
  EXPECT_TRUE(head.is_taken(head.layout().arrivals + next * sizeof(Slot), no_slot))
      << "the next token's entry is written before it is read";
}

TEST(AlteredStates, NumbersThatPointOutsideAreRefused) {
  const AlteredState head;
  EXPECT_FALSE(head.is_taken([](HeadState& s) { s.size = 21; }));
  EXPECT_FALSE(head.is_taken([](HeadState& s) { s.quota = 21; }));
  EXPECT_FALSE(head.is_taken([](HeadState& s) { s.quota = s.size - 1; })) << "a block is cut to it";
  EXPECT_FALSE(head.is_taken([](HeadState& s) { s.arrived = s.size - 1; }));
  EXPECT_FALSE(head.is_taken([](HeadState& s) { s.pins = 9; }));
  EXPECT_FALSE(head.is_taken([](HeadState& s) { s.pinned_at = s.arrived + 1; }));
  EXPECT_FALSE(head.is_taken([](HeadState& s) { s.newest = max_position + 1; }));
  EXPECT_FALSE(head.is_taken([](HeadState& s) { s.newest = no_position; }));
  EXPECT_FALSE(head.is_taken([](HeadState& s) { s.victim = s.size; }));
  EXPECT_FALSE(head.is_taken([](HeadState& s) { s.hole = s.size; }));
  EXPECT_FALSE(head.is_taken([](HeadState& s) { s.hole = 0; })) << "there is a token";
  const Slot outside = head.state().size;
  for (std::uint32_t back = 0; back < head.held_recent(); ++back) {
    const std::size_t entry = (head.state().arrived - 1 - back) % (head.held_recent() + 1);
    EXPECT_FALSE(head.is_taken(head.layout().arrivals + entry * sizeof(Slot), outside)) << back;
  }
  for (std::size_t pin = 0; pin < head.state().pins; ++pin) {
    EXPECT_FALSE(head.is_taken(head.layout().pins + pin * sizeof(Slot), outside)) << pin;
  }
}

/// SnapKV has slots for what it generates; before that a block is cut to the capacity.
TEST(AlteredStates, MoreThanTheCapacityBeforeATokenIsGeneratedIsRefused) {
  SnapKV head({.capacity = 30, .window = 5, .max_tokens = 200});
  const std::vector<oracle::Row> rows(40, oracle::Row(40, 0.0));
  ASSERT_EQ(append_block(head, 0, rows), Status::ok);
  SnapKV smaller({.capacity = 29, .window = 5, .max_tokens = 200});
  EXPECT_NE(refusal([&] { smaller.restore(head.state_bytes()); }), "nothing was thrown");
  ASSERT_EQ(head.place(40).status, Status::ok);
  smaller.restore(head.state_bytes());
  EXPECT_EQ(smaller.size(), 31U);
}

/// Of few tokens, of which a state says that many have come: the slots of those that would be
/// recent are looked at too.
TEST(AlteredStates, SlotsOfRecentTokensThatAreGoneAreRefused) {
  DecayedMax head({.capacity = 20, .recent = 5, .sinks = 2});
  for (Position position : {0, 1}) ASSERT_EQ(head.place(position).status, Status::ok);
  std::vector<std::byte> bytes(head.state_bytes().begin(), head.state_bytes().end());
  HeadState state;
  std::memcpy(&state, bytes.data(), sizeof state);
  state.arrived = 12;
  std::memcpy(bytes.data(), &state, sizeof state);
  const std::size_t entry = (12 - 4) % 5;  // 4 tokens are protected beside the arriving one
  for (const Slot slot : {Slot{1}, Slot{2}, Slot{1000}}) {
    const std::size_t at = layout_of(head.plan()).arrivals + entry * sizeof(Slot);
    std::memcpy(bytes.data() + at, &slot, sizeof slot);
    DecayedMax other = head;
    EXPECT_EQ(refusal([&] { other.restore(bytes); }) == "nothing was thrown", slot == 1) << slot;
  }
}

/// A slot that is given away: the last token moves there, and no other one changes. Here the slots
/// of the recent tokens end where the positions begin.
TEST(ReleasedSlot, TakesTheLastTokenAlone) {
  DecayedMax head({.capacity = 20, .recent = 16, .sinks = 0, .spare_slots = 4});
  const HeadLayout layout = layout_of(head.plan());
  ASSERT_EQ(layout.arrivals + layout.arrivals_size * sizeof(Slot), layout.positions);
  for (Position position = 19; position < 39; ++position) {
    ASSERT_EQ(head.place(position).status, Status::ok);
    std::vector<float> row(head.size());
    row[0] = 0.5F;
    ASSERT_EQ(head.observe(row), Status::ok);
  }
  std::vector<Position> expected(head.positions().begin(), head.positions().end());
  EXPECT_EQ(expected[0], 19) << "the number of the last slot";
  ASSERT_EQ(head.find_cheapest().slot, 1U);
  EXPECT_EQ(head.release_slot(1), 19U);
  expected[1] = expected.back();
  expected.pop_back();
  EXPECT_TRUE(std::ranges::equal(head.positions(), expected));
}

}  // namespace
}  // namespace morphkv::testing::state_test
