// SPDX-License-Identifier: Apache-2.0
/// \file
/// The figures that have a target, with their intervals.
#ifndef MORPHKV_BENCH_REAL_ROWS_HPP
#define MORPHKV_BENCH_REAL_ROWS_HPP

#include <algorithm>
#include <cstddef>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "comparison/numbers.hpp"
#include "comparison/statistics.hpp"
#include "real/study.hpp"
#include "resample.hpp"

namespace morphkv::real {

struct Row {
  std::string measure;
  comparison::Interval value;  ///< 95 %, over texts or passkeys
  std::string target;
  bool met = false;
};

/// The mean KL of a cache over texts.
[[nodiscard]] inline double mean_kl(const Results& results, std::size_t cache,
                                    const bench::Resample& resample) {
  return resample.mean(results.texts.size(),
                       [&](std::size_t t) { return results.texts[t].caches[cache].kl; });
}

/// The passkeys of a kind. \param depth negative: of all depths
[[nodiscard]] inline std::vector<const PasskeyResult*> passkeys_of(const Results& results,
                                                                   Question question,
                                                                   double depth = -1) {
  std::vector<const PasskeyResult*> found;
  for (const PasskeyResult& passkey : results.passkeys) {
    if (passkey.question == question && (depth < 0 || passkey.depth == depth)) {
      found.push_back(&passkey);
    }
  }
  return found;
}

/// The mean number of right digits of a cache.
[[nodiscard]] inline double mean_digits(const std::vector<const PasskeyResult*>& passkeys,
                                        std::size_t cache, const bench::Resample& resample) {
  return resample.mean(passkeys.size(), [&](std::size_t k) { return passkeys[k]->digits[cache]; });
}

namespace detail {

[[nodiscard]] inline std::string at(std::size_t slots) {
  return " at capacity " + std::to_string(slots);
}

/// The index of a policy with the bytes of so many slots.
/// \throws std::invalid_argument if there is none.
[[nodiscard]] inline std::size_t find(const Results& results, const std::string& policy,
                                      std::size_t slots) {
  for (std::size_t c = 0; c < results.contenders.size(); ++c) {
    const Contender& contender = results.contenders[c];
    if (contender.policy == policy && contender.slots == slots) return c;
  }
  throw std::invalid_argument("policy = " + policy + at(slots) + ": is not among the results");
}

/// How much less KL `ours` has than the best of `others`, in per cent.
[[nodiscard]] inline Row less_kl(const Results& results, std::string measure, std::size_t ours,
                                 const std::vector<std::size_t>& others, double target) {
  Row row{
      std::move(measure) + ": KL less, %", {}, "at least " + std::to_string(int(target)), false};
  row.value = bench::bootstrap(results.texts.size(), [&](const bench::Resample& resample) {
    double best = std::numeric_limits<double>::infinity();
    for (const std::size_t other : others) {
      best = (std::min)(best, mean_kl(results, other, resample));
    }
    return 100 * (1 - mean_kl(results, ours, resample) / best);
  });
  row.met = row.value.mean >= target;
  return row;
}

[[nodiscard]] inline Row digits_row(const Results& results, std::size_t slots, Question question,
                                    double target) {
  const auto passkeys = passkeys_of(results, question);
  const std::size_t ours = find(results, "recommended", slots);
  Row row{"recommended, passkey " + std::string(to_string(question)) + at(slots) +
              ": digits right of 5",
          bench::bootstrap(passkeys.size(),
                           [&](const bench::Resample& resample) {
                             return mean_digits(passkeys, ours, resample);
                           }),
          "at least " + comparison::fixed(target, 1), false};
  row.met = row.value.mean >= target;
  return row;
}

/// The least margin over H2O of all depths and both questions.
[[nodiscard]] inline Row margin_over_h2o(const Results& results, std::size_t slots,
                                         const std::vector<double>& depths) {
  const std::size_t ours = find(results, "recommended", slots);
  const std::size_t h2o = find(results, "h2o", slots);
  Row row{"recommended, passkey" + at(slots) + ": digits more than H2O at the worst depth",
          bench::bootstrap(passkeys_of(results, Question::in_prompt, depths.front()).size(),
                           [&](const bench::Resample& resample) {
                             double least = passkey_digits;
                             for (const Question question : questions) {
                               for (const double depth : depths) {
                                 const auto passkeys = passkeys_of(results, question, depth);
                                 least =
                                     (std::min)(least, mean_digits(passkeys, ours, resample) -
                                                           mean_digits(passkeys, h2o, resample));
                               }
                             }
                             return least;
                           }),
          "at least 0", false};
  row.met = row.value.mean >= 0;
  return row;
}

}  // namespace detail

/// What the library claims of its policies on a real model.
[[nodiscard]] inline std::vector<Row> target_rows(const Results& results, const Plan& plan) {
  std::vector<Row> rows;
  for (const std::size_t slots : plan.capacities) {
    std::vector<std::size_t> others;
    for (const char* name : {"h2o", snapkv_policy, "tova", "streaming_llm", "random"}) {
      others.push_back(detail::find(results, name, slots));
    }
    rows.push_back(detail::less_kl(
        results,
        "recommended against the best of H2O, SnapKV + window, TOVA, StreamingLLM, random" +
            detail::at(slots),
        detail::find(results, "recommended", slots), others, 25));
  }
  constexpr std::size_t slots = 512;
  if (std::find(plan.capacities.begin(), plan.capacities.end(), slots) == plan.capacities.end()) {
    return rows;
  }
  rows.push_back(
      detail::less_kl(results, "morphkv, default options, against StreamingLLM" + detail::at(slots),
                      detail::find(results, "morphkv", slots),
                      {detail::find(results, "streaming_llm", slots)}, 20));
  rows.push_back(detail::digits_row(results, slots, Question::in_prompt, 5.0));
  rows.push_back(detail::digits_row(results, slots, Question::later_turn, 4.5));
  rows.push_back(detail::margin_over_h2o(results, slots, plan.depths));
  return rows;
}

}  // namespace morphkv::real

#endif  // MORPHKV_BENCH_REAL_ROWS_HPP
