// SPDX-License-Identifier: Apache-2.0
#include "oracle/tier_oracle.hpp"

#include <algorithm>
#include <tuple>

namespace morphkv::oracle {

Status TierOracle::block(Position first, const std::vector<Row>& rows,
                         const std::function<double(Position)>& norm) {
  const Status status = eviction_.block(first, rows, norm);
  if (status != Status::ok) return status;
  awaits_row_ = false;
  move_lowest(ranked(eviction_.options().protection.recent));
  return status;
}

Status TierOracle::arrive(Position position) {
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

void TierOracle::attend(const Row& row) {
  eviction_.attend(row);
  awaits_row_ = false;
  forget();
}

std::vector<TierOracle::Ranked> TierOracle::ranked(std::size_t recent) {
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

void TierOracle::move_lowest(std::vector<Ranked> order) {
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

void TierOracle::forget() {
  const std::vector<Position> held = eviction_.kept();
  std::erase_if(cold_,
                [&](Position p) { return !std::binary_search(held.begin(), held.end(), p); });
}

}  // namespace morphkv::oracle
