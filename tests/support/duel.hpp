// SPDX-License-Identifier: Apache-2.0
/// \file
/// A policy and its oracle, fed the same tokens and rows and compared after every step.
#ifndef MORPHKV_TESTS_SUPPORT_DUEL_HPP
#define MORPHKV_TESTS_SUPPORT_DUEL_HPP

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "morphkv/core/byte_stream.hpp"
#include "morphkv/core/prompt_rows.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/eviction/transfer.hpp"
#include "oracle/eviction_oracle.hpp"
#include "support/errors.hpp"
#include "support/random.hpp"
#include "support/weights.hpp"

namespace morphkv::testing {

/// The tokens a policy holds, ascending.
template <class Policy>
std::vector<Position> kept(const Policy& policy) {
  const std::span<const Position> all = policy.positions();
  std::vector<Position> positions(all.begin(), all.end());
  std::erase(positions, no_position);
  std::sort(positions.begin(), positions.end());
  return positions;
}

/// After a block: expects the pins of the oracle. Rounding may rank two tokens otherwise whose
/// values are nearly equal: norms of rounded values, times the 16th root of attention. \return
/// whether it did
template <class Policy>
bool pins_differ(const Policy& policy, const oracle::EvictionOracle& truth) {
  const HeadView head = view_of(policy);
  if (!cuts_block(policy.plan().rules, *head.head)) return false;  // nothing will be evicted
  const std::vector<Position> expected = truth.pins();
  EXPECT_EQ(head.head->pins, expected.size());
  bool differ = false;
  for (std::size_t rank = 0; rank < expected.size() && rank < head.head->pins; ++rank) {
    const Position given = head.positions[head.pins[rank]];
    if (given == expected[rank]) continue;
    differ = true;
    const double value = truth.pin_value(expected[rank]);
    EXPECT_NEAR(truth.pin_value(given), value, 0x1p-10 * value)
        << "pin " << rank << " is " << given << " instead of " << expected[rank];
  }
  return differ;
}

/// Random rows by position for these tokens.
inline oracle::Row draw_row(Weights kind, std::span<const Position> tokens, Random& random) {
  oracle::Row row(static_cast<std::size_t>(tokens.back()) + 1, 0.0);
  for (const Position token : tokens) {
    row[static_cast<std::size_t>(token)] = double{draw_weight(kind, random)};
  }
  return row;
}

/// A row by position in the order of slots.
inline std::vector<float> in_slot_order(const oracle::Row& row,
                                        std::span<const Position> positions) {
  std::vector<float> weights(positions.size());
  float* weight = weights.data();
  for (const Position position : positions) {
    *weight++ = position == no_position ? 0.0F : static_cast<float>(oracle::weight(row, position));
  }
  return weights;
}

/// The rows of a block, as a policy asks for them.
class BlockRows {
 public:
  /// \param norms of the values of the block's tokens; empty: oracle::norm_at
  BlockRows(std::span<const Position> held, Position first, const std::vector<oracle::Row>& rows,
            std::span<const float> norms = {})
      : columns_(held.begin(), held.end()), rows_(&rows), held_(held.size()), norms_(norms) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      columns_.push_back(first + static_cast<Position>(i));
    }
  }

  [[nodiscard]] PromptRows view() {
    return {rows_->size(),    columns_.size(), this, &BlockRows::fused, 0, nullptr, 2,
            &BlockRows::value};
  }

 private:
  static Status fused(void* context, std::size_t query, float* row) {
    const auto& self = *static_cast<const BlockRows*>(context);
    const std::vector<float> weights = in_slot_order((*self.rows_)[query], self.columns_);
    std::copy(weights.begin(), weights.end(), row);
    return Status::ok;
  }

  static void value(void* context, std::size_t column, float* numbers) {
    const auto& self = *static_cast<const BlockRows*>(context);
    const bool given = column >= self.held_ && !self.norms_.empty();
    numbers[0] = 0;
    numbers[1] = given ? self.norms_[column - self.held_]
                       : static_cast<float>(-oracle::norm_at(self.columns_[column]));
  }

  std::vector<Position> columns_;
  const std::vector<oracle::Row>* rows_;
  std::size_t held_;
  std::span<const float> norms_;
};

/// Appends a block to a policy, if it can be held.
template <class Policy>
Status append_block(Policy& policy, Position first, const std::vector<oracle::Row>& rows,
                    std::span<const float> norms = {}) {
  BlockRows source(policy.positions(), first, rows, norms);
  auto selection = policy.score_block(first, source.view());
  const Status status = policy.select(selection);
  if (status != Status::ok) return status;
  EXPECT_EQ(policy.select(selection), status) << "selecting again changes nothing";
  policy.commit(selection);
  std::ptrdiff_t stay = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Slot slot = selection.slots[i];
    if (slot == no_slot) continue;
    EXPECT_EQ(policy.positions()[slot], first + static_cast<Position>(i));
    ++stay;
  }
  EXPECT_EQ(stay,
            std::ranges::count_if(policy.positions(), [&](Position p) { return p >= first; }));
  return status;
}

template <class Policy>
class Duel {
 public:
  Duel(Policy policy, oracle::EvictionOracle reference, std::uint64_t seed)
      : policy_(std::move(policy)), oracle_(std::move(reference)), random_(seed) {}

  [[nodiscard]] Policy& policy() { return policy_; }
  [[nodiscard]] const oracle::EvictionOracle& reference() const { return oracle_; }
  [[nodiscard]] Random& random() { return random_; }
  [[nodiscard]] Position next() const { return oracle_.newest() + 1; }

  /// A block of `tokens` tokens.
  void block(std::size_t tokens, Weights kind) {
    if (tokens == 0) return;
    const Position first = next();
    std::vector<Position> seen = oracle_.kept();
    std::vector<oracle::Row> rows;
    for (std::size_t i = 0; i < tokens; ++i) {
      seen.push_back(first + static_cast<Position>(i));
      rows.push_back(draw_row(kind, seen, random_));
    }
    const Status expected = oracle_.block(first, rows);
    EXPECT_EQ(append_block(policy_, first, rows), expected);
    compare();
  }

  /// Goes on as `policy`, of other options, which takes over what was saved.
  /// \param rows of a window that begins anew
  /// \return whether it could
  bool take_over(Policy policy, const oracle::OracleOptions& options,
                 const std::vector<oracle::Row>* rows = nullptr) {
    ByteWriter out;
    policy_.save(out);
    const std::vector<std::byte> before(policy.state_bytes().begin(), policy.state_bytes().end());
    const bool fits = oracle_.take_over(options, rows) == Status::ok;
    ByteReader in(out.bytes());
    std::vector<Slot> sources;
    const std::string message = refusal([&] { sources = policy.restore(in); });
    EXPECT_EQ(message == "nothing was thrown", fits) << message;
    if (!fits) {
      EXPECT_NE(message.find("a head = "), std::string::npos) << message;
      EXPECT_TRUE(std::ranges::equal(policy.state_bytes(), before));
      return false;
    }
    EXPECT_TRUE(in.is_empty());
    EXPECT_EQ(sources.size(), policy.size());
    for (Slot slot = 0; slot < sources.size(); ++slot) {
      EXPECT_EQ(policy.positions()[slot], policy_.positions()[sources[slot]]);
    }
    policy_ = std::move(policy);
    compare();
    return true;
  }

  /// One token comes at the next position but `gap`, and attends unless it is `mute`.
  void step(Weights kind, bool mute = false, Position gap = 0) {
    const Position position = next() + gap;
    const std::vector<Position> before = oracle_.kept();
    const Status expected = oracle_.arrive(position);
    const Placement placement = policy_.place(position);
    EXPECT_EQ(placement.status, expected);
    compare();
    if (expected != Status::ok) return;
    check_placement(placement, position, before);
    if (mute) return;
    const oracle::Row row = draw_row(kind, oracle_.kept(), random_);
    EXPECT_EQ(policy_.observe(in_slot_order(row, policy_.positions())), Status::ok);
    oracle_.attend(row);
    compare();
  }

 private:
  void compare() { ASSERT_EQ(kept(policy_), oracle_.kept()) << "next token " << next(); }

  void check_placement(const Placement& placement, Position position,
                       const std::vector<Position>& before) {
    ASSERT_LT(placement.slot, policy_.size());
    EXPECT_EQ(policy_.positions()[placement.slot], position);
    const bool held = std::binary_search(before.begin(), before.end(), placement.evicted);
    EXPECT_EQ(placement.evicted != no_position, held);
  }

  Policy policy_;
  oracle::EvictionOracle oracle_;
  Random random_;
};

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_SUPPORT_DUEL_HPP
