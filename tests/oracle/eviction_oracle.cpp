// SPDX-License-Identifier: Apache-2.0
#include "oracle/eviction_oracle.hpp"

#include <algorithm>
#include <cmath>
#include <type_traits>

namespace morphkv::oracle {

std::vector<Position> EvictionOracle::kept() const {
  std::vector<Position> positions;
  for (const Token& token : history_.tokens) positions.push_back(token.position);
  return positions;
}

Status EvictionOracle::block(Position first, const std::vector<Row>& rows,
                             const std::function<double(Position)>& norm) {
  if (first <= newest_) return Status::position_backwards;
  EvictionOracle next = *this;
  if (awaits_row_) next.record({});  // zeros; what leaves is decided with the block
  next.awaits_row_ = false;
  next.history_.block = rows.size();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    next.add(first + static_cast<Position>(i), true);
    next.record(rows[i]);
  }
  const Status status = next.shrink(rows, norm);
  if (status == Status::ok) *this = std::move(next);
  return status;
}

Status EvictionOracle::arrive(Position position) {
  if (position <= newest_) return Status::position_backwards;
  const Status status = can_arrive();
  if (status != Status::ok) return status;
  settle();
  if (takes_a_place()) evict_least(places_kept());
  add(position, false);
  generates_ = true;
  awaits_row_ = true;
  return Status::ok;
}

void EvictionOracle::attend(const Row& row) {
  record(row);
  awaits_row_ = false;
  if (options_.timing == Timing::after_attention && over_capacity()) {
    evict_least(options_.protection.recent);
  }
}

void EvictionOracle::renumber(Position newest) {
  std::vector<Token>& tokens = history_.tokens;
  const bool holds_newest = !tokens.empty() && tokens.back().position == newest_;
  const Position last = holds_newest ? newest : newest - 1;
  const auto renumbered = [&](const auto& by_position) {
    std::decay_t<decltype(by_position)> result(static_cast<std::size_t>(newest) + 1);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const auto before = static_cast<std::size_t>(tokens[i].position);
      if (before >= by_position.size()) continue;
      result[static_cast<std::size_t>(last) + 1 + i - tokens.size()] = by_position[before];
    }
    return result;
  };
  for (auto& row : history_.rows) row = std::make_shared<const Row>(renumbered(*row));
  history_.seen = renumbered(history_.seen);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    tokens[i].position = last + 1 - static_cast<Position>(tokens.size() - i);
  }
  newest_ = newest;
}

Status EvictionOracle::take_over(OracleOptions options, const std::vector<Row>* rows) {
  EvictionOracle next = *this;
  for (Token& token : next.history_.tokens) {
    if (!pinned(token)) token.pin = Token::no_pin;
  }
  next.options_ = std::move(options);
  const Status status = next.shrink_to_options(options_);
  if (status != Status::ok) return status;
  std::vector<Token>& tokens = next.history_.tokens;
  if (tokens.size() < next.options_.protection.recent && tokens.size() < arrivals_) {
    // No other tokens have come.
    next.pinned_at_ = tokens.size() - std::min(tokens.size(), arrivals_ - pinned_at_);
    next.arrivals_ = tokens.size();
    for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i].arrival = i;
    for (std::size_t& arrival : next.history_.arrivals) arrival = tokens.size() - 1;
  }
  if (rows != nullptr) {
    next.history_.rows.clear();
    for (const Row& row : *rows) next.history_.rows.push_back(std::make_shared<const Row>(row));
    next.history_.arrivals.assign(rows->size(), next.arrivals_ - 1);
  }
  *this = std::move(next);
  return Status::ok;
}

std::vector<double> EvictionOracle::scores() const {
  return options_.scoring(history_, history_.tokens.size());
}

bool EvictionOracle::is_below_units() const {
  return gap_ < static_cast<double>(history_.queries) * 0x1p-40;
}

std::vector<Position> EvictionOracle::pins() const {
  std::vector<Token> tokens;
  for (const Token& token : history_.tokens) {
    if (pinned(token)) tokens.push_back(token);
  }
  std::sort(tokens.begin(), tokens.end(), [](auto& a, auto& b) { return a.pin < b.pin; });
  std::vector<Position> positions;
  for (const Token& token : tokens) positions.push_back(token.position);
  return positions;
}

double EvictionOracle::pin_value(Position position) const {
  const auto found = pin_values_.find(position);
  return found == pin_values_.end() ? 0 : found->second;
}

bool EvictionOracle::permanent(std::size_t index) const {
  const Token& token = history_.tokens[index];
  return token.arrival < options_.protection.sinks ||
         (options_.protection.prompt && token.of_prompt);
}

void EvictionOracle::add(Position position, bool of_prompt) {
  history_.tokens.push_back({position, arrivals_++, of_prompt, Token::no_pin});
  history_.seen.resize(static_cast<std::size_t>(position) + 1, 0);
  history_.seen.back() = history_.queries;
  newest_ = position;
}

void EvictionOracle::record(Row row) {
  if (options_.rounding != nullptr) {
    for (double& weight : row) weight = options_.rounding(weight);
  }
  history_.rows.push_back(std::make_shared<const Row>(std::move(row)));
  history_.arrivals.push_back(arrivals_ - 1);
  ++history_.queries;
  if (history_.rows.size() > options_.memory) {
    history_.rows.pop_front();
    history_.arrivals.pop_front();
  }
}

void EvictionOracle::settle() {
  if (awaits_row_) attend({});
}

bool EvictionOracle::takes_a_place() const {
  if (options_.timing == Timing::before_arrival) {
    return history_.tokens.size() == options_.capacity;
  }
  return options_.timing == Timing::after_attention && over_capacity();
}

std::size_t EvictionOracle::places_kept() const {
  return options_.protection.recent - (options_.timing == Timing::before_arrival ? 1 : 0);
}

Status EvictionOracle::can_arrive() const {
  if (options_.timing == Timing::after_prompt || options_.timing == Timing::never) {
    return history_.tokens.size() < options_.slots ? Status::ok : Status::full;
  }
  return takes_a_place() && candidates(places_kept()).empty() ? Status::nothing_to_evict
                                                              : Status::ok;
}

std::size_t EvictionOracle::pins_left() const {
  const std::size_t elapsed = arrivals_ - pinned_at_;
  std::size_t high = options_.pins;
  for (std::size_t i = 0; i < elapsed / options_.pin_half_life; ++i) high /= 2;
  const std::size_t rest = elapsed % options_.pin_half_life;
  return high - (high - high / 2) * rest / options_.pin_half_life;
}

bool EvictionOracle::pinned(const Token& token) const {
  return token.pin != Token::no_pin && token.pin < pins_left();
}

void EvictionOracle::pin(const std::vector<Row>& rows,
                         const std::function<double(Position)>& norm) {
  std::vector<Token>& tokens = history_.tokens;
  for (Token& token : tokens) token.pin = Token::no_pin;
  if (rows.size() >= 32) pinned_at_ = arrivals_;
  const std::size_t recent = std::min(options_.protection.recent, tokens.size());
  std::vector<std::size_t> order = candidates(0);
  std::size_t stay = recent;
  for (std::size_t i = 0; i + recent < tokens.size(); ++i) stay += permanent(i) ? 1U : 0U;
  if (stay >= options_.capacity) return;
  const std::size_t count = std::min({pins_left(), order.size(), options_.capacity - stay});
  const auto around = [&](std::size_t centre, std::size_t kernel, const auto& of_token) {
    double sum = 0;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (i + kernel / 2 >= centre && i <= centre + kernel / 2 && !permanent(i)) sum += of_token(i);
    }
    return sum / static_cast<double>(kernel);
  };
  std::vector<double> value(tokens.size());
  pin_values_.clear();
  for (const std::size_t index : order) {
    const double size = around(index, 13, [&](std::size_t i) { return norm(tokens[i].position); });
    const double attention = around(index, 25, [&](std::size_t i) {
      double sum = 0;
      for (std::size_t r = rows.size() - std::min<std::size_t>(rows.size(), 4); r < rows.size();
           ++r) {
        sum += weight(rows[r], tokens[i].position);
      }
      return sum;
    });
    value[index] = size * std::pow(attention + std::exp2(-30), 1.0 / 16);
    pin_values_[tokens[index].position] = value[index];
  }
  std::reverse(order.begin(), order.end());  // of equal ones the newest
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return value[a] > value[b] * (1 + 1e-12); });
  for (std::size_t i = 0; i < count; ++i) tokens[order[i]].pin = i;
}

Status EvictionOracle::shrink(const std::vector<Row>& rows,
                              const std::function<double(Position)>& norm) {
  if (options_.timing == Timing::never || (options_.timing == Timing::after_prompt && generates_)) {
    return history_.tokens.size() <= options_.slots ? Status::ok : Status::full;
  }
  if (options_.pins > 0) pin(rows, norm);
  if (!over_capacity()) return Status::ok;
  const std::vector<std::size_t> going = leaving(history_.tokens.size() - options_.capacity);
  if (going.empty()) return Status::nothing_to_evict;
  for (auto index = going.rbegin(); index != going.rend(); ++index) erase(*index);
  return Status::ok;
}

Status EvictionOracle::shrink_to_options(const OracleOptions& before) {
  std::vector<Token>& tokens = history_.tokens;
  if (options_.timing == Timing::never || options_.timing == Timing::after_prompt) {
    const bool cuts_blocks = options_.timing == Timing::after_prompt && !generates_;
    if (tokens.size() > (cuts_blocks ? options_.capacity : options_.slots)) return Status::full;
  }
  const bool evicts = options_.timing != Timing::never && options_.timing != Timing::after_prompt;
  const bool is_over = options_.timing == Timing::after_attention && awaits_row_;
  const std::size_t limit = evicts ? options_.capacity + (is_over ? 1U : 0U) : options_.slots;
  std::size_t stay = 0;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const bool is_recent = i + options_.protection.recent >= tokens.size();
    stay += is_recent || permanent(i) ? 1U : 0U;
  }
  if (stay > limit) return Status::nothing_to_evict;
  for (Token& token : tokens) {
    if (!pinned(token) || token.pin >= limit - stay) token.pin = Token::no_pin;
  }
  if (tokens.size() <= limit) return Status::ok;
  const std::size_t count = tokens.size() - limit;
  EvictionOracle ranked = *this;
  ranked.options_.scoring = before.scoring;
  ranked.options_.memory = before.memory;
  if (awaits_row_) ranked.record({});
  const std::vector<std::size_t> going = ranked.leaving(count);
  margin_ = ranked.margin_;
  gap_ = ranked.gap_;
  for (auto index = going.rbegin(); index != going.rend(); ++index) erase(*index);
  return Status::ok;
}

std::vector<std::size_t> EvictionOracle::candidates(std::size_t recent) const {
  const std::size_t held = history_.tokens.size();
  std::vector<std::size_t> indices;
  for (std::size_t i = 0; i + std::min(recent, held) < held; ++i) {
    if (!permanent(i) && !pinned(history_.tokens[i])) indices.push_back(i);
  }
  return indices;
}

std::vector<std::size_t> EvictionOracle::leaving(std::size_t count) {
  const std::size_t recent = std::min(options_.protection.recent, history_.tokens.size());
  std::vector<std::size_t> order = candidates(recent);
  if (order.size() < count) return {};
  rank(order, options_.scoring(history_, history_.tokens.size() - recent), count);
  std::sort(order.begin(), order.end());
  return order;
}

void EvictionOracle::evict_least(std::size_t recent) {
  std::vector<std::size_t> order = candidates(recent);
  if (order.empty()) return;
  rank(order, scores(), 1);
  erase(order.front());
}

void EvictionOracle::rank(std::vector<std::size_t>& order, const std::vector<double>& score,
                          std::size_t count) {
  // Tokens are in order of position, so a stable sort lets the older of two equals go first.
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return score[a] < score[b]; });
  margin_ = gap_ = std::numeric_limits<double>::infinity();
  if (count < order.size()) {
    const double stays = score[order[count]];
    gap_ = stays - score[order[count - 1]];
    margin_ = stays > 0 ? gap_ / stays : 0;
  }
  order.resize(count);
}

void EvictionOracle::erase(std::size_t index) {
  history_.tokens.erase(history_.tokens.begin() + static_cast<std::ptrdiff_t>(index));
}

}  // namespace morphkv::oracle
