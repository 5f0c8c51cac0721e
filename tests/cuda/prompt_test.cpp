// SPDX-License-Identifier: Apache-2.0
// The device's way with a prompt, run by the host, against the portable library: the same tokens in
// the same slots, after the prompt and at every step that follows.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "cuda/contenders.hpp"
#include "cuda/host_prompt.hpp"
#include "morphkv/kernels/top_k.hpp"
#include "support/duel.hpp"

namespace morphkv::testing::prompt_test {
namespace {

template <class Contender>
class DevicePrompt : public ::testing::Test {
 protected:
  static void play(const Setting& setting, std::size_t tokens, std::size_t steps, Weights kind) {
    SCOPED_TRACE(::testing::Message() << setting << ", prompt " << tokens << ", " << kind);
    typename Contender::Policy portable(Contender::options(setting));
    HostHead device(device_policy<Contender>(setting));
    Random random(tokens);
    if (!take_prompt(portable, device, tokens, kind, random)) return;
    for (std::size_t s = 0; s < steps; ++s) {
      const Position position = portable.newest() + 1;
      const Placement expected = portable.place(position);
      const Placement placement = device.place(position);
      ASSERT_EQ(placement.status, expected.status);
      ASSERT_EQ(placement.slot, expected.slot) << "token " << position;
      if (expected.status != Status::ok) return;
      if (s % 4 == 3) continue;  // it does not attend
      std::vector<float> row(portable.size());
      for (float& weight : row) weight = draw_weight(kind, random);
      ASSERT_EQ(device.observe(row), portable.observe(row));
      compare(portable, device);
    }
  }

  static bool take_prompt(typename Contender::Policy& portable, HostHead& device,
                          std::size_t tokens, Weights kind, Random& random) {
    std::vector<Position> seen;
    std::vector<oracle::Row> rows;
    std::vector<std::vector<float>> weights;
    for (std::size_t t = 0; t < tokens; ++t) {
      seen.push_back(static_cast<Position>(t));
      rows.push_back(draw_row(kind, seen, random));
      std::vector<float> row(rows.back().begin(), rows.back().end());
      row.resize(tokens, 0.0F);
      weights.push_back(row);
    }
    const Status expected = append_block(portable, 0, rows);
    EXPECT_EQ(admit_prompt(device, 0, weights), expected);
    if (expected == Status::ok) compare(portable, device);
    return expected == Status::ok;
  }

  static void compare(const typename Contender::Policy& portable, const HostHead& device) {
    const std::vector<Position> expected(portable.positions().begin(), portable.positions().end());
    const std::vector<Position> actual(device.positions().begin(), device.positions().end());
    ASSERT_EQ(actual, expected);
  }
};

TYPED_TEST_SUITE(DevicePrompt, DeviceContenders);

TYPED_TEST(DevicePrompt, AllLengthsAroundTheCapacity) {
  for (const std::size_t window : {1U, 2U, 3U, 7U}) {
    for (const std::size_t distant : {1U, 2U, 5U, 12U}) {
      for (const std::size_t sinks : {0U, 1U, 4U}) {
        if (sinks > distant) continue;
        const std::size_t capacity = window + distant;
        const Setting setting{.capacity = capacity, .window = window, .sinks = sinks};
        for (const std::size_t tokens : std::array{std::size_t{1}, window, capacity - 1, capacity,
                                                   capacity + 1, 2 * capacity + 3}) {
          if (tokens == 0) continue;
          for (const Weights kind : all_weights) {
            this->play(setting, tokens, 3 * capacity, kind);
            if (this->HasFailure()) return;
          }
        }
      }
    }
  }
}

TYPED_TEST(DevicePrompt, WindowsOfThePapers) {
  for (const std::size_t window : {31U, 32U, 200U}) {
    const Setting setting{.capacity = window + 37, .window = window, .max_tokens = 4 * window};
    for (const std::size_t tokens : {window - 5, window + 30, window + 150}) {
      this->play(setting, tokens, window + 40, Weights::fine);
      this->play(setting, tokens, window + 40, Weights::coarse);
      if (this->HasFailure()) return;
    }
  }
}

TYPED_TEST(DevicePrompt, TheProtectedPromptStays) {
  for (const std::size_t tokens : {1U, 6U, 10U, 14U, 16U, 17U}) {
    this->play({.capacity = 16, .window = 3, .sinks = 2, .protect_prompt = true}, tokens, 60,
               Weights::grid);
  }
}

template <class Score>
void expect_same_top_k(const std::vector<Score>& scores, std::uint32_t wanted) {
  std::vector<std::uint32_t> keys;
  for (const Score score : scores) keys.push_back(cuda::ranked_key(score));
  std::vector<std::uint32_t> expected(wanted);
  std::vector<std::uint32_t> workspace(kernels::top_k_workspace(scores.size()));
  ASSERT_TRUE(
      kernels::top_k(scores.data(), scores.size(), wanted, expected.data(), workspace.data()));
  ASSERT_EQ(host_top_k(keys, wanted), expected) << scores.size() << " scores, " << wanted;
}

TEST(DeviceTopK, AgreesWithThePortableLibrary) {
  Random random(5);
  for (const std::size_t count : {1U, 2U, 17U, 256U, 1000U}) {
    for (const std::uint64_t values : {1U, 2U, 30U, 1U << 30U}) {
      std::vector<std::uint32_t> integers;
      std::vector<float> numbers;
      for (std::size_t i = 0; i < count; ++i) {
        integers.push_back(static_cast<std::uint32_t>(random.below(values)));
        numbers.push_back(static_cast<float>(random.below(values)) -
                          static_cast<float>(values / 2));
      }
      numbers[count / 2] = -0.0F;
      numbers[count - 1] = std::numeric_limits<float>::infinity();
      for (const std::size_t wanted : {std::size_t{1}, count / 2, count - 1, count}) {
        if (wanted == 0) continue;
        expect_same_top_k(integers, static_cast<std::uint32_t>(wanted));
        expect_same_top_k(numbers, static_cast<std::uint32_t>(wanted));
      }
    }
  }
}

}  // namespace
}  // namespace morphkv::testing::prompt_test
