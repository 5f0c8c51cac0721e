// SPDX-License-Identifier: Apache-2.0
/// \file
/// Shares with their uncertainty.
#ifndef MORPHKV_TOOLS_COMPARISON_STATISTICS_HPP
#define MORPHKV_TOOLS_COMPARISON_STATISTICS_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>

namespace morphkv::comparison {

struct Interval {
  double mean = 0;
  double low = 0;
  double high = 0;
};

namespace detail {

[[nodiscard]] inline double mean_of(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

/// Wilson's 95 % interval for a share seen in `count` independent trials.
[[nodiscard]] inline Interval wilson(double share, double count) {
  constexpr double z = 1.959964;
  const double centre = share + z * z / (2 * count);
  const double spread = z * std::sqrt(share * (1 - share) / count + z * z / (4 * count * count));
  const double scale = 1 + z * z / count;
  return {share, (std::max)((centre - spread) / scale, 0.0),
          (std::min)((centre + spread) / scale, 1.0)};
}

}  // namespace detail

/// The mean of one share per prompt, with a 95 % interval over prompts like these.
///
/// The checks of one response are not independent, so the sample consists of prompts: their
/// variance determines the number of independent checks that the `checks` are equivalent to, at
/// least one per prompt. Wilson's interval has a positive width even at 0 and 1.
[[nodiscard]] inline Interval share_interval(std::span<const double> shares, std::size_t checks) {
  if (shares.empty()) return {};
  const double mean = detail::mean_of(shares);
  const auto prompts = static_cast<double>(shares.size());
  double squares = 0;
  for (const double share : shares) squares += (share - mean) * (share - mean);
  const double variance = prompts > 1 ? squares / (prompts - 1) / prompts : 0;
  const double most = (std::max)(static_cast<double>(checks), prompts);
  const double worth = variance > 0 ? mean * (1 - mean) / variance : most;
  return detail::wilson(mean, std::clamp(worth, prompts, most));
}

}  // namespace morphkv::comparison

#endif  // MORPHKV_TOOLS_COMPARISON_STATISTICS_HPP
