// SPDX-License-Identifier: Apache-2.0
// The device's bookkeeping, run by the host, against the portable library: slot for slot and step
// for step. (tests/policy compares the portable library with oracles in double.)
#include "morphkv/cuda/eviction.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <limits>
#include <vector>

#include "cuda/contenders.hpp"
#include "cuda/host_head.hpp"
#include "support/random.hpp"
#include "support/weights.hpp"

namespace morphkv::testing::eviction_test {
namespace {

std::vector<Position> to_vector(std::span<const Position> positions) {
  return {positions.begin(), positions.end()};
}

/// Both take the same tokens and rows, and must report and hold the same.
template <class Contender>
class Pair {
 public:
  explicit Pair(const Setting& setting, std::uint64_t seed)
      : portable_(Contender::options(setting)),
        device_(device_policy<Contender>(setting)),
        random_(seed) {}

  [[nodiscard]] Random& random() { return random_; }

  void step(Weights kind, bool mute, Position gap) {
    const Position position = portable_.newest() + 1 + gap;
    const Placement expected = portable_.place(position);
    const Placement placement = device_.place(position);
    ASSERT_EQ(placement.status, expected.status) << "token " << position;
    ASSERT_EQ(placement.slot, expected.slot) << "token " << position;
    ASSERT_EQ(placement.evicted, expected.evicted) << "token " << position;
    compare();
    if (expected.status != Status::ok || mute) return;
    std::vector<float> row(portable_.size());
    for (float& weight : row) weight = draw_weight(kind, random_);
    ASSERT_EQ(device_.observe(row), portable_.observe(row));
    compare();
  }

  void bad_row() {
    std::vector<float> row(portable_.size(), 0.0F);
    row[row.size() / 2] = std::numeric_limits<float>::quiet_NaN();
    ASSERT_EQ(device_.observe(row), Status::bad_row);
    compare();
  }

 private:
  void compare() { ASSERT_EQ(to_vector(device_.positions()), to_vector(portable_.positions())); }

  typename Contender::Policy portable_;
  HostHead device_;
  Random random_;
};

template <class Contender>
class DeviceEviction : public ::testing::Test {
 protected:
  static void play(const Setting& setting, std::size_t steps, Weights kind,
                   std::size_t mute_every = 0, Position gaps = 1) {
    SCOPED_TRACE(::testing::Message() << setting << ", " << kind);
    Pair<Contender> pair(setting, 1 + setting.capacity);
    for (std::size_t s = 1; s <= steps; ++s) {
      const auto gap = static_cast<Position>(pair.random().below(static_cast<std::uint64_t>(gaps)));
      pair.step(kind, mute_every > 0 && s % mute_every == 0, gap);
      if (::testing::Test::HasFailure()) return;
    }
  }
};

TYPED_TEST_SUITE(DeviceEviction, DeviceContenders);

TYPED_TEST(DeviceEviction, SmallSizesAllWeights) {
  for (const std::size_t window : {1U, 2U, 3U, 7U, 8U}) {
    for (const std::size_t distant : {1U, 2U, 5U, 12U}) {
      for (const std::size_t sinks : {0U, 1U, 4U}) {
        if (sinks > distant) continue;
        for (const Weights kind : all_weights) {
          this->play({.capacity = window + distant, .window = window, .sinks = sinks},
                     4 * (window + distant), kind);
          if (this->HasFailure()) return;
        }
      }
    }
  }
}

TYPED_TEST(DeviceEviction, WindowsOfThePapersAndTheirLimits) {
  for (const std::size_t window : {31U, 32U, 200U, 255U}) {
    const Setting setting{.capacity = window + 37, .window = window, .max_tokens = 4 * window};
    this->play(setting, 3 * window + 140, Weights::fine);
    this->play(setting, 3 * window + 140, Weights::coarse);
    if (this->HasFailure()) return;
  }
}

TYPED_TEST(DeviceEviction, ThousandsOfSteps) {
  for (const Weights kind : {Weights::grid, Weights::sparse, Weights::fine}) {
    this->play({.capacity = 45, .window = 9, .max_tokens = 2100}, 2000, kind);
  }
}

TYPED_TEST(DeviceEviction, TokensThatDoNotAttendVoteForNobody) {
  for (const Weights kind : all_weights) {
    for (const std::size_t mute_every : {1U, 2U, 3U, 5U}) {
      this->play({.capacity = 13, .window = 5, .sinks = 2, .max_tokens = 200}, 150, kind,
                 mute_every);
    }
  }
}

TYPED_TEST(DeviceEviction, PositionsMaySkip) {
  this->play({.capacity = 12, .window = 4, .sinks = 2, .max_tokens = 200}, 100, Weights::grid, 0,
             4);
}

TYPED_TEST(DeviceEviction, EverySlotMayBeASink) {
  this->play({.capacity = 8, .window = 3, .sinks = 5}, 40, Weights::grid);
}

TYPED_TEST(DeviceEviction, ABadRowChangesNothing) {
  Pair<TypeParam> pair({.capacity = 10, .window = 3, .max_tokens = 200}, 3);
  for (std::size_t s = 0; s < 60; ++s) {
    pair.step(Weights::grid, s % 2 == 0, 0);
    if (s % 2 == 0) pair.bad_row();
    if (this->HasFailure()) return;
  }
}

TEST(DeviceEviction, APositionMustGoForwards) {
  HostHead head(cuda::morphkv(4, 2, Fusion::sum, 0));
  EXPECT_EQ(head.place(5).status, Status::ok);
  EXPECT_EQ(head.place(5).status, Status::position_backwards);
  EXPECT_EQ(head.place(4).status, Status::position_backwards);
  EXPECT_EQ(head.place(6).status, Status::ok);
}

TEST(DeviceEviction, ARowIsObservedOnce) {
  HostHead head(cuda::morphkv(4, 2, Fusion::sum, 0));
  const std::vector<float> row{1.0F};
  EXPECT_EQ(head.observe({}), Status::out_of_step);
  EXPECT_EQ(head.place(0).status, Status::ok);
  EXPECT_EQ(head.observe(row), Status::ok);
  EXPECT_EQ(head.observe(row), Status::out_of_step);
}

TEST(DeviceEviction, CandidatesAreCountedWithinTheSize) {
  HostHead head(cuda::morphkv(100, 2, Fusion::sum, 0));
  for (const std::uint32_t size : {1U, 31U, 32U, 33U, 64U, 65U, 100U}) {
    for (std::uint32_t word = 0; word < 4; ++word) head.view().protection[word] = ~0U;
    EXPECT_FALSE(cuda::has_candidate(head.view(), size)) << size;
    cuda::HeadView::clear_bit(head.view().protection, size - 1);
    EXPECT_TRUE(cuda::has_candidate(head.view(), size)) << size;
    cuda::HeadView::set_bit(head.view().protection, size - 1);
    if (size < 100) cuda::HeadView::clear_bit(head.view().protection, size);
    EXPECT_FALSE(cuda::has_candidate(head.view(), size)) << size;
  }
}

}  // namespace
}  // namespace morphkv::testing::eviction_test
