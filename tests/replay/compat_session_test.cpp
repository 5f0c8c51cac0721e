// SPDX-License-Identifier: Apache-2.0
// The session of the authors' code: every query head attends to what it sees, and to no more.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "oracle/attention_oracle.hpp"
#include "replay/compat_oracle.hpp"
#include "replay/compat_session.hpp"
#include "support/duel.hpp"
#include "support/script.hpp"

namespace morphkv::testing::compat_session_test { namespace {

/// One KV head with its group.
class CompatSessionDuel {
 public:
  CompatSessionDuel(const CacheShape& shape, std::size_t capacity, std::size_t window,
                    Fusion fusion)
      : shape_(shape),
        session_(shape,
                 {.capacity = capacity, .window = window, .fusion = fusion, .max_tokens = 80}, {}),
        oracle_({.capacity = capacity,
                 .window = window,
                 .combine = fusion == Fusion::sum ? oracle::Combine::sum : oracle::Combine::max,
                 .fusion = GroupFusion::max,
                 .evict_after = 1,
                 .group = shape.group()}),
        sequence_{shape.head_dim, {}, {}} {}

  void prefill(std::size_t tokens) {
    const Tokens block = Script().at(shape_, 0, 0, tokens);
    std::vector<float> outputs(block.queries.size());
    ASSERT_EQ(session_.prefill(block.queries, block.keys, block.values, std::span(outputs)),
              Status::ok);
    std::vector<oracle::LogitRows> rows;
    std::vector<Position> seen;
    const std::size_t width = shape_.group() * shape_.head_dim;
    for (std::size_t t = 0; t < tokens; ++t) {
      remember(block, t);
      seen.push_back(static_cast<Position>(t));
      rows.push_back(logits(std::span(block.queries).subspan(t * width, width)));
      check(std::span(block.queries).subspan(t * width, width),
            std::span(outputs).subspan(t * width, width), {shape_.group(), seen});
    }
    oracle_.block(0, rows);
    ASSERT_EQ(session_.kept(0), oracle_.kept());
  }

  void step() {
    const auto position = static_cast<Position>(sequence_.keys.size());
    const Tokens token = Script().at(shape_, 0, position);
    remember(token, 0);
    ASSERT_EQ(session_.append(token.keys, token.values, position), Status::ok);
    oracle_.arrive(position);
    std::vector<std::vector<Position>> seen;
    for (std::size_t g = 0; g < shape_.group(); ++g) {
      seen.push_back(oracle_.visible(g));
      ASSERT_EQ(session_.visible(g), seen.back());
    }
    std::vector<float> output(token.queries.size());
    ASSERT_EQ(session_.attend(token.queries, std::span(output)), Status::ok);
    check(token.queries, output, seen);
    oracle_.attend(logits(token.queries));
    ASSERT_EQ(session_.kept(0), oracle_.kept());
  }

 private:
  void remember(const Tokens& tokens, std::size_t t) {
    const auto row = [&](const std::vector<float>& all) {
      const auto begin = all.begin() + static_cast<std::ptrdiff_t>(t * shape_.head_dim);
      return std::vector<double>(begin, begin + static_cast<std::ptrdiff_t>(shape_.head_dim));
    };
    sequence_.keys.push_back(row(tokens.keys));
    sequence_.values.push_back(row(tokens.values));
  }

  [[nodiscard]] std::span<const float> head_of(std::span<const float> query, std::size_t g) const {
    return query.subspan(g * shape_.head_dim, shape_.head_dim);
  }

  /// Over every token that ever came.
  [[nodiscard]] oracle::LogitRows logits(std::span<const float> query) const {
    std::vector<Position> all;
    for (std::size_t t = 0; t < sequence_.keys.size(); ++t) all.push_back(static_cast<Position>(t));
    oracle::LogitRows rows;
    for (std::size_t g = 0; g < shape_.group(); ++g) {
      rows.push_back(oracle::logits_over(head_of(query, g), sequence_, all));
    }
    return rows;
  }

  void check(std::span<const float> query, std::span<const float> output,
             const std::vector<std::vector<Position>>& seen) const {
    for (std::size_t g = 0; g < shape_.group(); ++g) {
      const auto weights = oracle::weights_over(head_of(query, g), sequence_, seen[g]);
      const auto expected = oracle::weighted_values(weights, sequence_, seen[g]);
      for (std::size_t d = 0; d < shape_.head_dim; ++d) {
        ASSERT_NEAR(double{head_of(output, g)[d]}, expected[d], 5e-5) << "query head " << g;
      }
    }
  }

  CacheShape shape_;
  replay::CompatSession<float> session_;
  oracle::CompatOracle oracle_;
  oracle::Sequence sequence_;
};

TEST(CompatSession, EqualsTheOracle) {
  for (const std::size_t group : {1U, 3U, 4U, 8U}) {
    for (const std::size_t prompt : {1U, 7U, 18U, 50U}) {
      for (const Fusion fusion : {Fusion::sum, Fusion::max}) {
        SCOPED_TRACE(::testing::Message() << "group " << group << ", prompt " << prompt);
        CompatSessionDuel duel({.query_heads = group, .head_dim = 8}, 18, 6, fusion);
        duel.prefill(prompt);
        for (int s = 0; s < 60; ++s) duel.step();
        if (::testing::Test::HasFailure()) return;
      }
    }
  }
}

}  // namespace
}  // namespace morphkv::testing::compat_session_test
