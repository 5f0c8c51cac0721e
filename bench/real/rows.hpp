// SPDX-License-Identifier: Apache-2.0
/// \file
/// The figures that have a target, with their intervals.
#ifndef MORPHKV_BENCH_REAL_ROWS_HPP
#define MORPHKV_BENCH_REAL_ROWS_HPP

#include <algorithm>
#include <cstddef>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "comparison/numbers.hpp"
#include "comparison/statistics.hpp"
#include "real/study.hpp"
#include "resample.hpp"

namespace morphkv::real {

struct Row {
  std::string measure;
  comparison::Interval value;  ///< 95 %, over texts, look-ups or prompts
  std::string target;
  std::optional<bool> met;  ///< none: what it is compared with is not known
};

/// The mean KL of a cache over texts.
[[nodiscard]] inline double mean_kl(const Results& results, std::size_t cache,
                                    const bench::Resample& resample) {
  return resample.mean(results.texts.size(),
                       [&](std::size_t t) { return results.texts[t].caches[cache].kl; });
}

/// The look-ups of a kind. \param depth negative: of all depths
[[nodiscard]] inline std::vector<const LookupResult*> lookups_of(const Results& results,
                                                                 const std::string& task,
                                                                 Question question,
                                                                 double depth = -1) {
  std::vector<const LookupResult*> found;
  for (const LookupResult& lookup : results.lookups) {
    if (lookup.task == task && lookup.question == question &&
        (depth < 0 || lookup.depth == depth)) {
      found.push_back(&lookup);
    }
  }
  return found;
}

/// The mean share of the answers' tokens that a cache predicts.
[[nodiscard]] inline double mean_right(const std::vector<const LookupResult*>& lookups,
                                       std::size_t cache, const bench::Resample& resample) {
  return resample.mean(lookups.size(), [&](std::size_t k) {
    return static_cast<double>(lookups[k]->right[cache]) / static_cast<double>(lookups[k]->length);
  });
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
[[nodiscard]] inline Row less_kl(const Results& results, const std::string& measure,
                                 std::size_t ours, const std::vector<std::size_t>& others,
                                 double target) {
  Row row{measure + ": KL less, %", {}, "at least " + comparison::fixed(target, 0), {}};
  row.value = bench::bootstrap(results.texts.size(), [&](const bench::Resample& resample) {
    double best = std::numeric_limits<double>::infinity();
    for (const std::size_t other : others) {
      best = (std::min)(best, mean_kl(results, other, resample));
    }
    return best > 0 ? 100 * (1 - mean_kl(results, ours, resample) / best) : 0;
  });
  row.met = row.value.mean >= target;
  return row;
}

/// What bits cost and bring, against the 16-bit cache with the same slots or the same bytes, and
/// two tiers against the best single format.
inline void add_format_rows(const Results& results, const Plan& plan, std::vector<Row>& rows) {
  const auto find_format = [&](const std::string& name, std::size_t slots) {
    const auto found = std::ranges::find_if(
        results.formats, [&](const Contender& c) { return c.policy == name && c.slots == slots; });
    return static_cast<std::size_t>(found - results.formats.begin());
  };
  const auto kl = [&](std::size_t cache, const bench::Resample& resample) {
    return resample.mean(results.format_texts.size(),
                         [&](std::size_t t) { return results.format_texts[t].caches[cache].kl; });
  };
  for (const std::size_t slots : plan.format_slots) {
    const std::size_t plain = find_format("recommended", slots);
    const auto change = [&](std::size_t cache, std::size_t base, double sign) {
      return bench::bootstrap(results.format_texts.size(), [&](const bench::Resample& resample) {
        return sign * 100 * (kl(cache, resample) / kl(base, resample) - 1);
      });
    };
    Row more{"recommended, q8_0 against 16 bits, both" + at(slots) + ": KL more, %",
             change(find_format(same_slots_name<Q8_0>(), slots), plain, 1),
             "at most 5",
             {}};
    more.met = more.value.mean <= 5;
    rows.push_back(more);
    Row less{"recommended, q8_0 with the bytes of 16 bits" + at(slots) + ": KL less, %",
             change(find_format(format_name<Q8_0>("recommended"), slots), plain, -1),
             "at least 30",
             {}};
    less.met = less.value.mean >= 30;
    rows.push_back(less);
    Row tiers{
        "recommended, a quarter in q8_0 and the others in q4_0 against q8_0, with the bytes of "
        "16 bits" +
            at(slots) + ": KL less, %",
        change(find_format(tiers_name<Q8_0, Q4_0>(2), slots),
               find_format(format_name<Q8_0>("recommended"), slots), -1),
        "at least 0",
        {}};
    tiers.met = tiers.value.mean >= 0;
    rows.push_back(tiers);
  }
}

/// The capacity at which the passkeys have a target.
inline constexpr std::size_t passkey_slots = 512;

[[nodiscard]] inline Row digits_row(const Results& results, Question question, double target) {
  const auto passkeys = lookups_of(results, passkey_task, question);
  const std::size_t ours = find(results, "recommended", passkey_slots);
  Row row{"recommended, passkey " + std::string(to_string(question)) + at(passkey_slots) +
              ": digits right of 5",
          bench::bootstrap(passkeys.size(),
                           [&](const bench::Resample& resample) {
                             return passkey_digits * mean_right(passkeys, ours, resample);
                           }),
          "at least " + comparison::fixed(target, 1),
          {}};
  row.met = row.value.mean >= target;
  return row;
}

/// The least margin over H2O of all depths and both questions.
[[nodiscard]] inline Row margin_over_h2o(const Results& results,
                                         const std::vector<double>& depths) {
  const std::size_t ours = find(results, "recommended", passkey_slots);
  const std::size_t h2o = find(results, "h2o", passkey_slots);
  const auto least_margin = [&](const bench::Resample& resample) {
    double least = passkey_digits;
    for (const Question question : questions) {
      for (const double depth : depths) {
        const auto passkeys = lookups_of(results, passkey_task, question, depth);
        least = (std::min)(least, passkey_digits * (mean_right(passkeys, ours, resample) -
                                                    mean_right(passkeys, h2o, resample)));
      }
    }
    return least;
  };
  const std::size_t each =
      lookups_of(results, passkey_task, Question::in_prompt, depths.front()).size();
  Row row{"recommended, passkey" + at(passkey_slots) + ": digits more than H2O at the worst depth",
          bench::bootstrap(each, least_margin),
          "at least 0",
          {}};
  row.met = row.value.mean >= 0;
  return row;
}

inline void add_language_rows(const Results& results, const Plan& plan, std::vector<Row>& rows) {
  for (const std::size_t slots : plan.capacities) {
    std::vector<std::size_t> others;
    for (const char* name : {"h2o", snapkv_policy, "tova", "streaming_llm", "random"}) {
      others.push_back(find(results, name, slots));
    }
    rows.push_back(
        less_kl(results,
                "recommended against the best of H2O, SnapKV + window, TOVA, StreamingLLM, random" +
                    at(slots),
                find(results, "recommended", slots), others, 25));
  }
  constexpr std::size_t slots = 512;
  if (std::ranges::count(plan.capacities, slots) == 0) return;
  rows.push_back(less_kl(results, "morphkv, default options, against StreamingLLM" + at(slots),
                         find(results, "morphkv", slots), {find(results, "streaming_llm", slots)},
                         20));
}

}  // namespace detail

/// What the library claims of its policies on a real model, of the measures that were taken.
[[nodiscard]] inline std::vector<Row> target_rows(const Results& results, const Plan& plan) {
  std::vector<Row> rows;
  if (!results.texts.empty()) detail::add_language_rows(results, plan, rows);
  if (!results.format_texts.empty()) detail::add_format_rows(results, plan, rows);
  if (!results.lookups.empty() && std::ranges::count(plan.capacities, detail::passkey_slots) > 0) {
    rows.push_back(detail::digits_row(results, Question::in_prompt, 5.0));
    rows.push_back(detail::digits_row(results, Question::later_turn, 4.5));
    rows.push_back(detail::margin_over_h2o(results, plan.depths));
  }
  return rows;
}

}  // namespace morphkv::real

#endif  // MORPHKV_BENCH_REAL_ROWS_HPP
