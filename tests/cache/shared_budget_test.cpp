// SPDX-License-Identifier: Apache-2.0
// One total of slots for all heads and layers: the token that is evicted is the one that a
// brute-force search over all tokens of all heads finds.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "morphkv/policy/decayed_max.hpp"
#include "morphkv/policy/recommended.hpp"
#include "support/cache_duel.hpp"
#include "support/errors.hpp"
#include "support/script.hpp"

namespace morphkv::testing::shared_budget_test { namespace {

using Cache = KVCache<float, DecayedMax, SharedStorage<float>>;

const CacheShape shape{.layers = 3, .query_heads = 2, .kv_heads = 2, .head_dim = 4};
const DecayedMax::Options options{.capacity = 16, .recent = 4, .half_life = 10, .sinks = 2};
const SharedBudget budget{.min_ratio = 0.5, .max_ratio = 2};

/// The rule, token by token, with no slots.
class SharedOracle {
 public:
  SharedOracle() : heads_(shape.heads()) {}

  void append(std::size_t layer, Position position) {
    for (std::size_t head = layer * 2; head < layer * 2 + 2; ++head) {
      if (heads_[head].scores.size() == heads_[head].capacity) free_slot(head);
      heads_[head].scores[position] = 0;
      heads_[head].observed = false;
    }
  }

  void observe(std::size_t head, const std::map<Position, float>& row) {
    const auto decay = static_cast<float>(std::exp2(-1 / options.half_life));
    for (auto& [position, score] : heads_[head].scores) {
      score = std::max(decay * score, row.at(position));
    }
    heads_[head].observed = true;
  }

  [[nodiscard]] std::vector<Position> kept(std::size_t head) const {
    std::vector<Position> positions;
    for (const auto& [position, score] : heads_[head].scores) positions.push_back(position);
    return positions;
  }
  [[nodiscard]] std::size_t passed() const { return passed_; }

 private:
  struct Head {
    std::map<Position, float> scores;
    std::size_t capacity = options.capacity;
    bool observed = true;
  };

  /// The tokens that may go: neither sinks nor, beside the one that comes, recent.
  [[nodiscard]] static std::vector<std::pair<float, Position>> candidates(const Head& head) {
    std::vector<std::pair<float, Position>> found;
    std::size_t newer = head.scores.size();
    for (const auto& [position, score] : head.scores) {
      if (--newer < options.recent - 1) break;
      if (position >= static_cast<Position>(options.sinks)) found.emplace_back(score, position);
    }
    return found;
  }

  void free_slot(std::size_t head) {
    std::size_t donor = head;
    const auto least = [&](std::size_t h) {
      const auto found = candidates(heads_[h]);
      return *std::min_element(found.begin(), found.end());
    };
    // A head with a single candidate left keeps it from the others, and from itself cannot.
    const auto spare = [&](std::size_t h) {
      return candidates(heads_[h]).size() < 2 ? std::numeric_limits<float>::infinity()
                                              : least(h).first;
    };
    if (heads_[head].capacity < 32) {
      for (std::size_t h = 0; h < heads_.size(); ++h) {
        const Head& other = heads_[h];
        if (!other.observed || other.scores.size() < other.capacity || other.capacity <= 8)
          continue;
        if (spare(h) < spare(donor)) donor = h;
      }
    }
    heads_[donor].scores.erase(least(donor).second);
    if (donor == head) return;
    --heads_[donor].capacity;
    ++heads_[head].capacity;
    ++passed_;
  }

  std::vector<Head> heads_;
  std::size_t passed_ = 0;
};

/// A head's weights: some heads pay attention far back, some do not.
std::map<Position, float> draw_row(const std::vector<Position>& seen, std::size_t head,
                                   Random& random, bool coarse) {
  std::map<Position, float> row;
  for (const Position position : seen) {
    const auto steps = coarse ? 4U : 1000U;  // coarse: many ties
    const float weight = static_cast<float>(random.below(steps + 1)) / static_cast<float>(steps);
    row[position] = weight / static_cast<float>(1 + head);
  }
  return row;
}

void decode(Cache& cache, SharedOracle& oracle, std::size_t tokens, Random& random, bool coarse) {
  for (std::size_t token = 0; token < tokens; ++token) {
    const Position position = cache.next_position(0);
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      const Tokens drawn = Script().at(shape, layer, position);
      ASSERT_EQ(cache.append(layer, drawn.keys, drawn.values, position), Status::ok);
      oracle.append(layer, position);
      constexpr std::size_t stride = 40;
      std::vector<float> weights(2 * stride);
      for (std::size_t head = 0; head < 2; ++head) {
        const auto row = draw_row(oracle.kept(layer * 2 + head), layer * 2 + head, random, coarse);
        const auto positions = cache.positions(layer, head);
        ASSERT_EQ(positions.size(), row.size());
        for (std::size_t slot = 0; slot < positions.size(); ++slot) {
          ASSERT_TRUE(row.contains(positions[slot]));
          weights[head * stride + slot] = row.at(positions[slot]);
        }
        oracle.observe(layer * 2 + head, row);
      }
      ASSERT_EQ(cache.observe(layer, weights, stride), Status::ok);
    }
    std::size_t total = 0;
    for (std::size_t head = 0; head < shape.heads(); ++head) {
      ASSERT_EQ(kept(cache, head / 2, head % 2), oracle.kept(head))
          << "head " << head << ", position " << position;
      total += cache.size(head / 2, head % 2);
    }
    ASSERT_LE(total, shape.heads() * options.capacity);
  }
}

/// Every slot holds the key and the value of the position that it says, and no two share a row.
void check_rows(const Cache& cache, const Script& script) {
  std::set<const float*> rows;
  for (std::size_t layer = 0; layer < shape.layers; ++layer) {
    for (std::size_t head = 0; head < 2; ++head) {
      const auto positions = cache.positions(layer, head);
      for (std::size_t slot = 0; slot < positions.size(); ++slot) {
        const Tokens token = script.at(shape, layer, positions[slot]);
        const auto at = static_cast<std::ptrdiff_t>(4 * head);
        const auto key = cache.key(layer, head, slot);
        const auto value = cache.value(layer, head, slot);
        ASSERT_TRUE(rows.insert(key.data()).second);
        ASSERT_TRUE(std::equal(key.begin(), key.end(), token.keys.begin() + at));
        ASSERT_TRUE(std::equal(value.begin(), value.end(), token.values.begin() + at));
      }
    }
  }
}

TEST(SharedBudget, TheLowestScoreOfAllHeadsIsEvicted) {
  for (const bool coarse : {false, true}) {
    Cache cache(shape, options, budget);
    SharedOracle oracle;
    Random random(coarse ? 5 : 6);
    decode(cache, oracle, 300, random, coarse);
    if (::testing::Test::HasFatalFailure()) return;
    check_rows(cache, Script());
    EXPECT_GT(oracle.passed(), 100U);
    std::size_t least = 99;
    std::size_t most = 0;
    for (std::size_t head = 0; head < shape.heads(); ++head) {
      least = std::min(least, cache.size(head / 2, head % 2));
      most = std::max(most, cache.size(head / 2, head % 2));
    }
    EXPECT_EQ(least, 8U) << "the floor";
    EXPECT_GT(most, 16U);
    EXPECT_LE(most, 32U);
  }
}

TEST(SharedBudget, AttentionReadsTheRightRows) {
  Cache cache(shape, options, budget);
  const Script script;
  (void)script.prefill(cache, 40);
  (void)script.decode(cache, 200);
  check_rows(cache, script);
  for (std::size_t layer = 0; layer < shape.layers; ++layer) {
    const Position position = cache.next_position(layer);
    const Tokens token = script.at(shape, layer, position);
    ASSERT_EQ(cache.append(layer, token.keys, token.values, position), Status::ok);
    std::vector<float> output(token.queries.size());
    ASSERT_EQ(cache.attend(layer, token.queries, output), Status::ok);
    for (std::size_t head = 0; head < 2; ++head) {
      oracle::Sequence sequence{shape.head_dim, {}, {}};
      const auto positions = kept(cache, layer, head);
      for (Position p = 0; p <= position; ++p) {
        const Tokens t = script.at(shape, layer, p);
        const auto at = static_cast<std::ptrdiff_t>(4 * head);
        sequence.keys.emplace_back(t.keys.begin() + at, t.keys.begin() + at + 4);
        sequence.values.emplace_back(t.values.begin() + at, t.values.begin() + at + 4);
      }
      const auto query = std::span<const float>(token.queries).subspan(4 * head, 4);
      const auto expected = oracle::weighted_values(
          oracle::weights_over(query, sequence, positions), sequence, positions);
      for (std::size_t d = 0; d < 4; ++d) {
        EXPECT_NEAR(double{output[4 * head + d]}, expected[d], 1e-5);  // float, numbers of about 1
      }
    }
  }
}

TEST(SharedBudget, PagesPassWhole) {
  for (const std::size_t capacity : {67U, 130U, 301U, 512U}) {  // in pages of 2, 4, 8 and 16 rows
    Cache cache(shape, {.capacity = capacity, .recent = 4, .half_life = 10}, budget);
    const Script script;
    (void)script.prefill(cache, 30);
    std::size_t least = capacity;
    for (int part = 0; part < 5; ++part) {
      (void)script.decode(cache, capacity);
      check_rows(cache, script);
      for (std::size_t head = 0; head < shape.heads(); ++head) {
        least = std::min(least, cache.size(head / 2, head % 2));
      }
    }
    EXPECT_LT(least + capacity / 32, capacity);
  }
}

TEST(SharedBudget, CopiesAndResetsAreWhole) {
  Cache cache(shape, options, budget);
  const Script script;
  (void)script.decode(cache, 150);
  Cache fork = cache;
  Cache other(shape, options, budget);
  other.copy_from(cache);
  (void)Script(7).decode(cache, 50);
  ASSERT_EQ(state_of(fork), state_of(other));
  ASSERT_EQ(script.decode(fork, 50), script.decode(other, 50));
  ASSERT_EQ(state_of(fork), state_of(other));
  cache.reset();
  Cache fresh(shape, options, budget);
  ASSERT_EQ(script.decode(cache, 100), script.decode(fresh, 100));
  ASSERT_EQ(state_of(cache), state_of(fresh));
}

TEST(SharedBudget, PinsLeaveEveryHeadATokenToEvict) {
  DecayedMax::Options pinning = options;
  pinning.pins = 10;
  pinning.pin_half_life = 100;
  Cache cache(shape, pinning, budget);
  const Script script;
  for (int turn = 0; turn < 3; ++turn) {
    (void)script.prefill(cache, 60);
    (void)script.decode(cache, 150);
    std::size_t slots = 0;
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      for (std::size_t head = 0; head < shape.kv_heads; ++head) {
        slots += cache.policy(layer, head).size();
      }
    }
    EXPECT_EQ(slots, shape.heads() * options.capacity);
  }
}

TEST(SharedBudget, CountsItsBytes) {
  const Cache cache(shape, options, budget);
  EXPECT_EQ(cache.memory().keys, shape.heads() * options.capacity * shape.head_dim * sizeof(float));
  EXPECT_EQ(cache.memory().values, cache.memory().keys);
  // In pages of one row: a table entry per slot that a head may have, a free page per row.
  std::size_t policies = 0;
  for (std::size_t head = 0; head < shape.heads(); ++head) {
    policies += cache.policy(head / 2, head % 2).memory().positions;
  }
  const std::size_t slots = cache.policy(0, 0).slots();
  EXPECT_EQ(cache.memory().positions - policies,
            shape.heads() * (slots + options.capacity) * sizeof(std::int32_t));
  const Cache paged(shape, recommended(1024), budget);  // in pages of 32 rows
  EXPECT_EQ(paged.memory().keys,
            shape.heads() * (1024 + 31) / 32 * 32 * shape.head_dim * sizeof(float));
}

TEST(SharedBudget, RefusesWhatDoesNotFit) {
  expect_refused(
      [] { (void)Cache(shape, options, SharedBudget{.min_ratio = 1.5, .max_ratio = 2}); },
      "min_ratio = 1.5");
  expect_refused(
      [] { (void)Cache(shape, options, SharedBudget{.min_ratio = 0.5, .max_ratio = 0.5}); },
      "max_ratio = 0.5");
  auto with_history = options;
  with_history.history = 2;
  expect_refused([&] { (void)Cache(shape, with_history, budget); }, "history = 2");
  const auto for_prompts = recommended_for_prompts(64, 100);
  for (const double max_ratio : {1.0, 1.01, 2.0}) {
    expect_refused(
        [&] {
          (void)Cache(shape, for_prompts, SharedBudget{.min_ratio = 0.5, .max_ratio = max_ratio});
        },
        "slots = 164");
  }
}

}  // namespace
}  // namespace morphkv::testing::shared_budget_test
