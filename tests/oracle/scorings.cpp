// SPDX-License-Identifier: Apache-2.0
#include "oracle/scorings.hpp"

#include <algorithm>
#include <cmath>

#include "oracle/half_rounding.hpp"

namespace morphkv::oracle {

Scoring window_score(std::size_t window, Combine combine) {
  return [=](const History& history, std::size_t count) {
    std::vector<double> scores(count, 0.0);
    const std::size_t scoring = std::min(window, history.rows.size());
    for (std::size_t i = history.rows.size() - scoring; i < history.rows.size(); ++i) {
      for (std::size_t t = 0; t < count; ++t) {
        const double a = weight(*history.rows[i], history.tokens[t].position);
        scores[t] = combine == Combine::sum ? scores[t] + a : std::max(scores[t], a);
      }
    }
    return scores;
  };
}

Scoring running_score(bool normalised) {
  return [=](const History& history, std::size_t count) {
    std::vector<double> scores(count, 0.0);
    for (const auto& row : history.rows) {
      for (std::size_t t = 0; t < count; ++t) {
        scores[t] += weight(*row, history.tokens[t].position);
      }
    }
    if (!normalised) return scores;
    for (std::size_t t = 0; t < count; ++t) {
      const auto position = static_cast<std::size_t>(history.tokens[t].position);
      const std::size_t attended = history.queries - history.seen[position];
      if (attended > 0) scores[t] /= static_cast<double>(attended);
    }
    return scores;
  };
}

Scoring decayed_max_score(double decay, std::size_t distance) {
  return [=](const History& history, std::size_t count) {
    std::vector<double> scores(count, 0.0);
    auto arrival = history.arrivals.begin();
    for (const auto& row : history.rows) {
      for (std::size_t t = 0; t < count; ++t) {
        const Token& token = history.tokens[t];
        if (token.arrival + distance > *arrival) break;  // nor do later ones count, which are at 0
        const double paid = weight(*row, token.position);
        scores[t] = double{static_cast<float>(std::max(decay * scores[t], paid))};
      }
      ++arrival;
    }
    return scores;
  };
}

std::vector<double> last_row_score(const History& history, std::size_t count) {
  std::vector<double> scores(count, 0.0);
  if (history.rows.empty()) return scores;
  for (std::size_t t = 0; t < count; ++t) {
    scores[t] = weight(*history.rows.back(), history.tokens[t].position);
  }
  return scores;
}

std::vector<double> age_score(const History& history, std::size_t count) {
  std::vector<double> scores(count);
  for (std::size_t t = 0; t < count; ++t) scores[t] = history.tokens[t].position;
  return scores;
}

std::vector<double> pool1d(const std::vector<double>& s, std::size_t kernel, Combine combine) {
  const auto size = static_cast<std::ptrdiff_t>(s.size());
  const auto reach = static_cast<std::ptrdiff_t>(kernel / 2);
  std::vector<double> pooled(s.size());
  for (std::ptrdiff_t j = 0; j < size; ++j) {
    double sum = 0;
    double highest = 0;
    for (std::ptrdiff_t k = std::max<std::ptrdiff_t>(0, j - reach);
         k <= std::min(size - 1, j + reach); ++k) {
      sum += s[static_cast<std::size_t>(k)];
      highest = std::max(highest, s[static_cast<std::size_t>(k)]);
    }
    pooled[static_cast<std::size_t>(j)] =
        combine == Combine::sum ? sum / static_cast<double>(kernel) : highest;
  }
  return pooled;
}

Scoring snap_score(std::size_t window, std::size_t kernel, Combine combine) {
  return [=](const History& history, std::size_t count) {
    std::vector<double> sums(count, 0.0);
    const std::size_t scoring = std::min({window, history.block, history.rows.size()});
    for (std::size_t i = history.rows.size() - scoring; i < history.rows.size(); ++i) {
      for (std::size_t t = 0; t < count; ++t) {
        sums[t] += weight(*history.rows[i], history.tokens[t].position);
      }
    }
    return pool1d(sums, kernel, combine);
  };
}

EvictionOracle morphkv_oracle(std::size_t capacity, std::size_t window, Combine combine,
                              std::size_t sinks, bool protect_prompt) {
  return EvictionOracle({.capacity = capacity,
                         .slots = capacity,
                         .timing = Timing::before_arrival,
                         .protection = {sinks, window, protect_prompt},
                         .memory = window,
                         .scoring = window_score(window, combine),
                         .rounding = round_to_half});
}

EvictionOracle decayed_max_oracle(std::size_t capacity, std::size_t window, double half_life,
                                  std::size_t distance, std::size_t sinks, bool protect_prompt,
                                  std::size_t pins, std::size_t pin_half_life,
                                  std::size_t max_tokens) {
  return EvictionOracle({.capacity = capacity,
                         .slots = std::max(capacity, max_tokens),
                         .timing = max_tokens > 0 ? Timing::after_prompt : Timing::before_arrival,
                         .protection = {sinks, window, protect_prompt},
                         .scoring = decayed_max_score(std::exp2(-1 / half_life), distance),
                         .pins = pins,
                         .pin_half_life = pin_half_life});
}

EvictionOracle snapkv_oracle(std::size_t capacity, std::size_t window, std::size_t kernel,
                             Combine combine, std::size_t sinks, bool protect_prompt,
                             std::size_t max_tokens) {
  return EvictionOracle({.capacity = capacity,
                         .slots = std::max(capacity, max_tokens),
                         .timing = Timing::after_prompt,
                         .protection = {sinks, window, protect_prompt},
                         .memory = window,
                         .scoring = snap_score(window, kernel, combine)});
}

EvictionOracle h2o_oracle(std::size_t heavy, std::size_t recent, bool normalised, std::size_t sinks,
                          bool protect_prompt) {
  return EvictionOracle({.capacity = heavy + recent,
                         .slots = heavy + recent + 1,
                         .timing = Timing::after_attention,
                         .protection = {sinks, recent, protect_prompt},
                         .scoring = running_score(normalised)});
}

EvictionOracle streaming_llm_oracle(std::size_t capacity, std::size_t sinks, bool protect_prompt) {
  return EvictionOracle({.capacity = capacity,
                         .slots = capacity,
                         .timing = Timing::before_arrival,
                         .protection = {sinks, 1, protect_prompt},
                         .memory = 1,
                         .scoring = age_score});
}

EvictionOracle tova_oracle(std::size_t capacity, std::size_t window, std::size_t sinks,
                           bool protect_prompt) {
  return EvictionOracle({.capacity = capacity,
                         .slots = capacity,
                         .timing = Timing::before_arrival,
                         .protection = {sinks, window, protect_prompt},
                         .memory = 1,
                         .scoring = last_row_score});
}

EvictionOracle full_oracle(std::size_t max_tokens) {
  return EvictionOracle({.capacity = max_tokens,
                         .slots = max_tokens,
                         .timing = Timing::never,
                         .protection = {},
                         .memory = 1,
                         .scoring = age_score});
}

}  // namespace morphkv::oracle
