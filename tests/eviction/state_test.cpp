// SPDX-License-Identifier: Apache-2.0
// A head that takes over the state of another goes on like it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "support/contenders.hpp"
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

}  // namespace
}  // namespace morphkv::testing::state_test
