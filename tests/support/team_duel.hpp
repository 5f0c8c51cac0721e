// SPDX-License-Identifier: Apache-2.0
/// \file
/// The host's driver of the eviction machine, which is vectorised, against a team, which is how a
/// device runs it: the same script, and the same bytes after every step.
#ifndef MORPHKV_TESTS_SUPPORT_TEAM_DUEL_HPP
#define MORPHKV_TESTS_SUPPORT_TEAM_DUEL_HPP

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "oracle/eviction_oracle.hpp"
#include "support/contenders.hpp"
#include "support/duel.hpp"
#include "support/random.hpp"
#include "support/team_head.hpp"
#include "support/weights.hpp"

namespace morphkv::testing {

/// \param threads of the team; 0: the caller's
template <class Contender>
void play_beside_a_team(const Setting& setting, std::size_t steps, Weights kind,
                        std::uint32_t threads, std::size_t mute_every = 0, std::size_t prompt = 0) {
  SCOPED_TRACE(::testing::Message() << setting << ", " << kind << ", threads " << threads);
  typename Contender::Policy host(Contender::options(setting));
  TeamHead team(host.plan(), threads);
  testing::Random random(1 + setting.capacity);
  if (prompt > 0) {
    std::vector<Position> tokens;
    std::vector<oracle::Row> rows;
    for (std::size_t t = 0; t < prompt; ++t) {
      tokens.push_back(static_cast<Position>(t));
      rows.push_back(draw_row(kind, tokens, random));
    }
    ASSERT_EQ(append_block(host, 0, rows), Status::ok);
    team.take_over(host.state_bytes());
  }
  for (std::size_t s = 1; s <= steps; ++s) {
    const Position position = host.newest() + 1 + static_cast<Position>(random.below(2));
    const Placement expected = host.place(position);
    const Placement placement = team.place(position);
    ASSERT_EQ(placement.status, expected.status) << "token " << position;
    ASSERT_EQ(placement.slot, expected.slot) << "token " << position;
    ASSERT_EQ(placement.evicted, expected.evicted) << "token " << position;
    ASSERT_TRUE(std::ranges::equal(team.state_bytes(), host.state_bytes()))
        << "placed " << position;
    if (expected.status != Status::ok || (mute_every > 0 && s % mute_every == 0)) continue;
    std::vector<float> row(host.size());
    for (float& weight : row) weight = draw_weight(kind, random);
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -0.0F, 1.5F}) {
      std::vector<float> broken = row;
      broken[random.below(row.size())] = bad;
      ASSERT_EQ(team.observe(broken), Status::bad_row);
      ASSERT_EQ(host.observe(broken), Status::bad_row);
    }
    ASSERT_EQ(team.observe(row), host.observe(row));
    ASSERT_TRUE(std::ranges::equal(team.state_bytes(), host.state_bytes()))
        << "row of " << position;
  }
}

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_SUPPORT_TEAM_DUEL_HPP
