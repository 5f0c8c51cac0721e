// SPDX-License-Identifier: Apache-2.0
/// \file
/// The results as JSON and as tables.
#ifndef MORPHKV_BENCH_REAL_REPORT_HPP
#define MORPHKV_BENCH_REAL_REPORT_HPP

#include <cstdio>
#include <set>
#include <string>
#include <vector>

#include "comparison/run_json.hpp"
#include "comparison/trails_json.hpp"
#include "real/rows.hpp"
#include "real/study.hpp"

namespace morphkv::real {

using comparison::Json;

[[nodiscard]] inline Json rows_json(const std::vector<Row>& rows) {
  Json json = Json::array();
  for (const Row& row : rows) {
    json.push_back({{"measure", row.measure},
                    {"value", row.value.mean},
                    {"interval", {row.value.low, row.value.high}},
                    {"target", row.target},
                    {"met", row.met}});
  }
  return json;
}

/// What one cache cost: over texts, and over the passkeys of each kind and depth.
[[nodiscard]] inline Json cache_json(const Results& results, const Plan& plan, std::size_t cache) {
  const Contender& contender = results.contenders[cache];
  const auto over_texts = [&](double Divergence::*measure) {
    return comparison::interval_json(
        bench::bootstrap(results.texts.size(), [&](const bench::Resample& resample) {
          return resample.mean(results.texts.size(), [&](std::size_t t) {
            return results.texts[t].caches[cache].*measure;
          });
        }));
  };
  Json json = {{"policy", contender.policy},
               {"slots", contender.slots},
               {"capacity", contender.capacity},
               {"bytes", contender.bytes},
               {"nll_lost", over_texts(&Divergence::nll_lost)},
               {"kl", over_texts(&Divergence::kl)},
               {"agreement", over_texts(&Divergence::agreement)}};
  for (const TextResult& text : results.texts) {
    const Divergence& d = text.caches[cache];
    json["texts"].push_back(
        {{"text", text.name}, {"nll_lost", d.nll_lost}, {"kl", d.kl}, {"agreement", d.agreement}});
  }
  for (const Question question : questions) {
    Json depths = Json::array();
    for (const double depth : plan.depths) {
      depths.push_back(mean_digits(passkeys_of(results, question, depth), cache, {}));
    }
    const auto all = passkeys_of(results, question);
    json["passkeys"].push_back({{"question", to_string(question)},
                                {"digits", comparison::interval_json(bench::bootstrap(
                                               all.size(),
                                               [&](const bench::Resample& resample) {
                                                 return mean_digits(all, cache, resample);
                                               }))},
                                {"depths", depths}});
  }
  return json;
}

[[nodiscard]] inline Json report_json(const Results& results, const Plan& plan) {
  Json json = {{"rows", rows_json(target_rows(results, plan))},
               {"prompt", plan.prompt},
               {"response", plan.response},
               {"depths", plan.depths},
               {"passkeys_per_depth", plan.passkeys},
               {"passkey_tokens", plan.passkey_tokens},
               {"texts", Json::array()},
               {"caches", Json::array()}};
  for (const TextResult& text : results.texts) {
    json["texts"].push_back({{"text", text.name}, {"full_nll", text.full_nll}});
  }
  for (std::size_t c = 0; c < results.contenders.size(); ++c) {
    json["caches"].push_back(cache_json(results, plan, c));
  }
  return json;
}

/// For the picture of held positions.
[[nodiscard]] inline Json trails_json(const Results& results, const llama::Tokenizer& tokenizer) {
  const Trails& trails = results.trails;
  const auto prompt_end = trails.tokens.begin() + static_cast<std::ptrdiff_t>(trails.prompt);
  const std::vector<int> response(prompt_end, trails.tokens.end() - 1);
  Json json = {{"prompt", std::vector<int>(trails.tokens.begin(), prompt_end)},
               {"needs", Json::array()},
               {"labels", Json::array()},
               {"trails", Json::array()}};
  for (std::size_t c = 0; c < trails.caches.size(); ++c) {
    const comparison::Lifetimes& lifetimes = trails.caches[c];
    if (lifetimes.last().empty()) continue;
    json["layers"] = lifetimes.layers();
    json["heads"] = lifetimes.heads();
    json["labels"].push_back(results.contenders[c].policy);
    Json last = Json::array();
    for (const auto& head : lifetimes.last()) last.push_back(comparison::detail::base64(head));
    json["trails"].push_back({{"response", response}, {"last", last}});
  }
  for (const int token : std::set<int>(trails.tokens.begin(), trails.tokens.end())) {
    json["words"][std::to_string(token)] = tokenizer.piece(trails.tokens.front(), token);
  }
  return json;
}

inline void print_report(const Json& report) {
  std::printf("\n%-16s %6s %9s   %-22s %9s %7s   %s\n", "policy", "slots", "KiB", "KL, 95 %",
              "NLL lost", "top-1", "passkey digits: in prompt, later turn");
  for (const Json& cache : report["caches"]) {
    std::printf("%-16s %6zu %9.0f   %.4f (%.4f, %.4f) %9.4f %6.1f%%  ",
                cache["policy"].get<std::string>().c_str(), cache["capacity"].get<std::size_t>(),
                cache["bytes"].get<double>() / 1024, cache["kl"]["mean"].get<double>(),
                cache["kl"]["low"].get<double>(), cache["kl"]["high"].get<double>(),
                cache["nll_lost"]["mean"].get<double>(),
                100 * cache["agreement"]["mean"].get<double>());
    for (const Json& kind : cache["passkeys"]) {
      std::printf(" %.2f", kind["digits"]["mean"].get<double>());
    }
    std::printf("\n");
  }
  std::printf("\n");
  for (const Json& row : report["rows"]) {
    std::printf("%s  %s: %.2f (%.2f to %.2f), target %s\n", row["met"] ? "met    " : "not met",
                row["measure"].get<std::string>().c_str(), row["value"].get<double>(),
                row["interval"][0].get<double>(), row["interval"][1].get<double>(),
                row["target"].get<std::string>().c_str());
  }
}

}  // namespace morphkv::real

#endif  // MORPHKV_BENCH_REAL_REPORT_HPP
