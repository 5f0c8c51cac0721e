// SPDX-License-Identifier: Apache-2.0
/// \file
/// The results as JSON.
#ifndef MORPHKV_BENCH_REAL_REPORT_HPP
#define MORPHKV_BENCH_REAL_REPORT_HPP

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
                    {"met", row.met ? Json(*row.met) : Json()}});
  }
  return json;
}

namespace detail {

[[nodiscard]] inline Json contender_json(const Contender& contender) {
  return {{"policy", contender.policy},
          {"slots", contender.slots},
          {"capacity", contender.capacity},
          {"bytes", contender.bytes}};
}

/// The mean of value(item) over items, with its interval.
template <class Items, class Value>
[[nodiscard]] Json mean_json(const Items& items, const Value& value) {
  return comparison::interval_json(
      bench::bootstrap(items.size(), [&](const bench::Resample& resample) {
        return resample.mean(items.size(), [&](std::size_t k) { return value(items[k]); });
      }));
}

/// What one cache lost of some texts, as fields of `json`.
inline void add_texts(const std::vector<TextResult>& texts, std::size_t cache, Json& json) {
  const auto over_texts = [&](double Divergence::*measure) {
    return mean_json(texts, [&](const TextResult& text) { return text.caches[cache].*measure; });
  };
  json["nll_lost"] = over_texts(&Divergence::nll_lost);
  json["kl"] = over_texts(&Divergence::kl);
  json["agreement"] = over_texts(&Divergence::agreement);
  for (const TextResult& text : texts) {
    const Divergence& d = text.caches[cache];
    json["texts"].push_back(
        {{"text", text.name}, {"nll_lost", d.nll_lost}, {"kl", d.kl}, {"agreement", d.agreement}});
  }
}

/// The shares of answers that one cache got right, by task, question and depth.
[[nodiscard]] inline Json lookups_json(const Results& results, const Plan& plan,
                                       std::size_t cache) {
  Json json = Json::array();
  for (const LookupTask& task : lookup_tasks) {
    for (const Question question : questions) {
      Json depths = Json::array();
      for (const double depth : plan.depths) {
        depths.push_back(mean_right(lookups_of(results, task.name, question, depth), cache, {}));
      }
      const auto all = lookups_of(results, task.name, question);
      json.push_back({{"task", task.name},
                      {"question", to_string(question)},
                      {"right", comparison::interval_json(
                                    bench::bootstrap(all.size(),
                                                     [&](const bench::Resample& resample) {
                                                       return mean_right(all, cache, resample);
                                                     }))},
                      {"depths", depths}});
    }
  }
  return json;
}

/// What one cache wrote.
[[nodiscard]] inline Json written_json(const Results& results, std::size_t cache) {
  const auto over_prompts = [&](auto Written::*measure) {
    return mean_json(results.responses, [&](const ResponseResult& response) {
      return static_cast<double>(response.caches[cache].*measure);
    });
  };
  Json json = contender_json(results.writers[cache]);
  json["full_nll"] = over_prompts(&Written::full_nll);
  json["distinct"] = over_prompts(&Written::distinct);
  json["names"] = over_prompts(&Written::names);
  for (const ResponseResult& response : results.responses) {
    const Written& written = response.caches[cache];
    json["responses"].push_back({{"prompt", response.prompt},
                                 {"full_nll", written.full_nll},
                                 {"distinct", written.distinct},
                                 {"names", written.names},
                                 {"text", written.text}});
  }
  return json;
}

/// Some texts under some caches.
[[nodiscard]] inline Json texts_json(const std::vector<TextResult>& texts,
                                     const std::vector<Contender>& contenders) {
  Json json = Json::array();
  if (texts.empty()) return json;
  for (std::size_t c = 0; c < contenders.size(); ++c) {
    Json cache = contender_json(contenders[c]);
    add_texts(texts, c, cache);
    json.push_back(cache);
  }
  return json;
}

}  // namespace detail

/// Lists of measures that were left out are empty; `caches` then have no such fields.
[[nodiscard]] inline Json report_json(const Results& results, const Plan& plan,
                                      const std::vector<Row>& rows) {
  Json json = {{"rows", rows_json(rows)},
               {"prompt", plan.prompt},
               {"response", plan.response},
               {"long_prompt", plan.long_prompt},
               {"long_response", plan.long_response},
               {"depths", plan.depths},
               {"lookups_per_depth", plan.lookups},
               {"lookup_tokens", plan.lookup_tokens},
               {"story_tokens", plan.story_tokens},
               {"texts", Json::array()},
               {"caches", Json::array()}};
  for (const TextResult& text : results.texts) {
    json["texts"].push_back({{"text", text.name}, {"full_nll", text.full_nll}});
  }
  for (std::size_t c = 0; c < results.contenders.size(); ++c) {
    Json cache = detail::contender_json(results.contenders[c]);
    if (!results.texts.empty()) detail::add_texts(results.texts, c, cache);
    if (!results.lookups.empty()) cache["lookups"] = detail::lookups_json(results, plan, c);
    json["caches"].push_back(cache);
  }
  json["long"] = detail::texts_json(results.long_texts, results.contenders);
  json["formats"] = detail::texts_json(results.format_texts, results.formats);
  json["prompt_cut"] = detail::texts_json(results.cut_texts, results.presses);
  json["responses"] = Json::array();
  if (!results.responses.empty()) {
    for (std::size_t c = 0; c < results.writers.size(); ++c) {
      json["responses"].push_back(detail::written_json(results, c));
    }
  }
  return json;
}

/// For the picture of held positions; null if no text was watched.
[[nodiscard]] inline Json trails_json(const Results& results, const llama::Tokenizer& tokenizer) {
  const Trails& trails = results.trails;
  if (trails.tokens.empty()) return {};
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

}  // namespace morphkv::real

#endif  // MORPHKV_BENCH_REAL_REPORT_HPP
