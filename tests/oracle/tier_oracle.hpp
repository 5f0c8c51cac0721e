// SPDX-License-Identifier: Apache-2.0
/// \file
/// Two tiers of one head by brute force: an eviction oracle, and the tokens that lie in cold slots.
/// Written from the rule at the top of morphkv/eviction/tiers.hpp, without slots.
#ifndef MORPHKV_TESTS_ORACLE_TIER_ORACLE_HPP
#define MORPHKV_TESTS_ORACLE_TIER_ORACLE_HPP

#include <algorithm>
#include <cstddef>
#include <functional>
#include <limits>
#include <set>
#include <tuple>
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
               const std::function<double(Position)>& norm = norm_at) {
    const Status status = eviction_.block(first, rows, norm);
    if (status != Status::ok) return status;
    awaits_row_ = false;
    move_lowest(ranked(eviction_.options().protection.recent));
    return status;
  }

  Status arrive(Position position) {
    if (awaits_row_) {  // it scores nothing; then the rank of what is held is known
      const TierOracle before = *this;
      attend({});
      const Status status = arrive(position);
      if (status != Status::ok) *this = before;
      return status;
    }
    const bool counts_arriving = eviction_.options().timing == Timing::before_arrival;
    const std::size_t recent = eviction_.options().protection.recent;
    std::vector<Ranked> order = ranked(recent - (counts_arriving && recent > 0 ? 1 : 0));
    const Status status = eviction_.arrive(position);
    if (status != Status::ok) return status;
    awaits_row_ = true;
    // The arriving token ranks highest: whatever went, it stays hot.
    const std::vector<Position> held = eviction_.kept();
    std::erase_if(order, [&](const Ranked& token) {
      return !std::binary_search(held.begin(), held.end(), token.position);
    });
    order.push_back({true, true, std::numeric_limits<double>::max(), position});
    move_lowest(std::move(order));
    return status;
  }

  void attend(const Row& row) {
    eviction_.attend(row);
    awaits_row_ = false;
    forget();
  }

 private:
  struct Ranked {
    bool is_permanent;
    bool is_recent;
    double score;
    Position position;

    friend auto operator<=>(const Ranked&, const Ranked&) = default;
  };

  /// Of what is held and not cold, with so many recent tokens.
  [[nodiscard]] std::vector<Ranked> ranked(std::size_t recent) {
    forget();
    const std::vector<Position> held = eviction_.kept();
    const std::vector<double> scores = eviction_.scores();
    std::vector<Ranked> order;
    for (std::size_t i = 0; i < held.size(); ++i) {
      if (is_cold(held[i])) continue;
      const bool is_recent = i + recent >= held.size();
      order.push_back({eviction_.permanent(i), is_recent, is_recent ? 0 : scores[i], held[i]});
    }
    return order;
  }

  /// The tokens that rank lowest go to cold slots until there is room for the others.
  void move_lowest(std::vector<Ranked> order) {
    moved_.clear();
    margin_ = std::numeric_limits<double>::infinity();
    forget();
    if (order.size() <= hot_) return;
    std::sort(order.begin(), order.end());
    const std::size_t count = order.size() - hot_;
    for (std::size_t i = 0; i < count; ++i) moved_.push_back(order[i].position);
    cold_.insert(moved_.begin(), moved_.end());
    const Ranked& goes = order[count - 1];
    const Ranked& stays = order[count];
    if (std::tie(goes.is_permanent, goes.is_recent) ==
        std::tie(stays.is_permanent, stays.is_recent)) {
      margin_ = stays.score > 0 ? (stays.score - goes.score) / stays.score : 0;
      if (goes.is_recent) margin_ = std::numeric_limits<double>::infinity();
    }
  }

  void forget() {
    const std::vector<Position> held = eviction_.kept();
    std::erase_if(cold_,
                  [&](Position p) { return !std::binary_search(held.begin(), held.end(), p); });
  }

  EvictionOracle eviction_;
  std::size_t hot_;
  std::set<Position> cold_;
  std::vector<Position> moved_;
  double margin_ = std::numeric_limits<double>::infinity();
  bool awaits_row_ = false;
};

}  // namespace morphkv::oracle

#endif  // MORPHKV_TESTS_ORACLE_TIER_ORACLE_HPP
