// SPDX-License-Identifier: Apache-2.0
/// \file
/// Two tiers of one head by brute force: an eviction oracle, and the tokens that lie in cold slots.
/// Written from the rule at the top of morphkv/eviction/tiers.hpp, without slots.
#ifndef MORPHKV_TESTS_ORACLE_TIER_ORACLE_HPP
#define MORPHKV_TESTS_ORACLE_TIER_ORACLE_HPP

#include <cstddef>
#include <functional>
#include <limits>
#include <set>
#include <utility>
#include <vector>

#include "oracle/eviction_oracle.hpp"

namespace morphkv::oracle {

class TierOracle {
 public:
  TierOracle(EvictionOracle eviction, std::size_t hot)
      : eviction_(std::move(eviction)), hot_(hot) {}

  [[nodiscard]] const EvictionOracle& eviction() const { return eviction_; }
  [[nodiscard]] bool is_cold(Position position) const { return cold_.contains(position); }
  /// The tokens that the last call moved, or left in a cold slot at once.
  [[nodiscard]] const std::vector<Position>& moved() const { return moved_; }
  /// How clear the last choice of the tokens that move was, as EvictionOracle::margin().
  [[nodiscard]] double margin() const { return margin_; }

  Status block(Position first, const std::vector<Row>& rows,
               const std::function<double(Position)>& norm = norm_at);

  Status arrive(Position position);

  void attend(const Row& row);

 private:
  struct Ranked {
    bool is_permanent;
    bool is_recent;
    double score;
    Position position;

    friend auto operator<=>(const Ranked&, const Ranked&) = default;
  };

  /// Of what is held and not cold, with so many recent tokens.
  [[nodiscard]] std::vector<Ranked> ranked(std::size_t recent);

  /// The tokens that rank lowest go to cold slots until there is room for the others.
  void move_lowest(std::vector<Ranked> order);

  void forget();

  EvictionOracle eviction_;
  std::size_t hot_;
  std::set<Position> cold_;
  std::vector<Position> moved_;
  double margin_ = std::numeric_limits<double>::infinity();
  bool awaits_row_ = false;
};

}  // namespace morphkv::oracle

#endif  // MORPHKV_TESTS_ORACLE_TIER_ORACLE_HPP
