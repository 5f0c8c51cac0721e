// SPDX-License-Identifier: Apache-2.0
/// \file
/// The results as the authors' files, as JSON and as tables.
#ifndef MORPHKV_BENCH_PAPERS_REPORT_HPP
#define MORPHKV_BENCH_PAPERS_REPORT_HPP

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "comparison/numbers.hpp"
#include "comparison/run_json.hpp"
#include "papers/caches.hpp"
#include "papers/run.hpp"
#include "papers/task.hpp"
#include "resample.hpp"
#include "support/output_file.hpp"

namespace morphkv::papers {

/// A file of predictions as the authors' scripts read it: a list for LongGenBench, lines otherwise.
[[nodiscard]] inline std::string predictions_text(std::span<const Outcome> outcomes,
                                                  std::size_t policy) {
  const bool is_list = outcomes.front().task.benchmark == "LongGenBench";
  Json list = Json::array();
  std::string lines;
  for (const Outcome& outcome : outcomes) {
    Json prediction = outcome.task.prediction(outcome.answers[policy].text);
    if (is_list) {
      list.push_back(std::move(prediction));
    } else {
      lines += prediction.dump() + "\n";
    }
  }
  return is_list ? list.dump(4) + "\n" : lines;
}

namespace detail {

/// The outcomes that have a mean.
struct Group {
  std::string benchmark;
  std::string name;
  std::string measure;
  std::vector<const Outcome*> outcomes;
};

/// The groups of each benchmark in the order of the tasks, then all of one measure together.
[[nodiscard]] inline std::vector<Group> groups_of(std::span<const Outcome> outcomes) {
  std::vector<Group> groups;
  const auto add = [](std::vector<Group>& to, const Outcome& outcome, const std::string& name) {
    const Task& task = outcome.task;
    auto found = std::find_if(to.begin(), to.end(), [&](const Group& group) {
      return group.benchmark == task.benchmark && group.name == name &&
             group.measure == task.measure;
    });
    if (found == to.end()) {
      to.push_back({task.benchmark, name, task.measure, {}});
      found = to.end() - 1;
    }
    found->outcomes.push_back(&outcome);
  };
  std::vector<Group> together;
  for (const Outcome& outcome : outcomes) {
    add(groups, outcome, outcome.task.group);
    if (outcome.task.score) add(together, outcome, "all");
  }
  for (Group& all : together) {
    const auto parts = std::count_if(groups.begin(), groups.end(), [&](const Group& group) {
      return group.benchmark == all.benchmark && group.measure == all.measure &&
             group.outcomes.front()->task.score;
    });
    if (parts > 1) groups.push_back(std::move(all));
  }
  return groups;
}

[[nodiscard]] inline std::string title(const Group& group) {
  const std::size_t count = group.outcomes.size();
  return group.benchmark + ", " + group.name + ": " + group.measure +
         (group.outcomes.front()->task.score ? "" : ", not scored here") + ", " +
         std::to_string(count) + (count == 1 ? " prompt" : " prompts");
}

/// The mean, in per cent, with an interval where there are several prompts.
[[nodiscard]] inline Json interval_of(const Group& group, const auto& value) {
  const std::size_t count = group.outcomes.size();
  if (count == 1) {
    return {{"mean", 100 * value(*group.outcomes[0])}, {"low", nullptr}, {"high", nullptr}};
  }
  return comparison::interval_json(bench::bootstrap(count, [&](const bench::Resample& resample) {
    return resample.mean(count, [&](std::size_t k) { return 100 * value(*group.outcomes[k]); });
  }));
}

[[nodiscard]] inline Json cache_json(const Group& group, std::size_t policy,
                                     const std::string& name) {
  double tokens = 0;
  double bytes = 0;
  for (const Outcome* outcome : group.outcomes) {
    tokens += static_cast<double>(outcome->answers[policy].tokens);
    bytes += static_cast<double>(outcome->answers[policy].bytes);
  }
  const auto count = static_cast<double>(group.outcomes.size());
  Json json = {{"policy", name},     {"score", nullptr},         {"minus_full", nullptr},
               {"of_full", nullptr}, {"tokens", tokens / count}, {"bytes", bytes / count}};
  if (!group.outcomes.front()->task.score) return json;
  const auto score = [](const Outcome& outcome, std::size_t k) {
    return *outcome.answers[k].score;
  };
  json["score"] = interval_of(group, [&](const Outcome& o) { return score(o, policy); });
  json["minus_full"] =
      interval_of(group, [&](const Outcome& o) { return score(o, policy) - score(o, 0); });
  double full = 0;
  for (const Outcome* outcome : group.outcomes) full += 100 * score(*outcome, 0) / count;
  if (full > 0) json["of_full"] = json["score"]["mean"].get<double>() / full;
  return json;
}

}  // namespace detail

/// \param policies the full cache first
[[nodiscard]] inline Json report_json(std::span<const Outcome> outcomes,
                                      std::span<const policies::PolicyChoice> policies) {
  Json json = {{"policies", Json::array()}, {"groups", Json::array()}, {"prompts", Json::array()}};
  for (const auto& choice : policies) {
    json["policies"].push_back({{"policy", choice.policy}, {"settings", settings(choice)}});
  }
  for (const detail::Group& group : detail::groups_of(outcomes)) {
    Json caches = Json::array();
    for (std::size_t p = 0; p < policies.size(); ++p) {
      caches.push_back(detail::cache_json(group, p, policies[p].policy));
    }
    json["groups"].push_back({{"title", detail::title(group)},
                              {"benchmark", group.benchmark},
                              {"group", group.name},
                              {"measure", group.measure},
                              {"prompts", group.outcomes.size()},
                              {"caches", caches}});
  }
  std::set<std::string> not_scored;
  for (const Outcome& outcome : outcomes) {
    const Task& task = outcome.task;
    if (!task.not_scored.empty()) not_scored.insert(task.benchmark + ", " + task.not_scored);
    Json answers = Json::array();
    for (const Answer& answer : outcome.answers) {
      answers.push_back({{"score", answer.score ? Json(100 * *answer.score) : Json()},
                         {"tokens", answer.tokens},
                         {"bytes", answer.bytes},
                         {"text", answer.text}});
    }
    json["prompts"].push_back({{"place", task.place},
                               {"benchmark", task.benchmark},
                               {"group", task.group},
                               {"prompt_tokens", outcome.prompt.tokens.size()},
                               {"max_tokens", outcome.prompt.max_tokens},
                               {"chat", outcome.prompt.chat},
                               {"truncated", outcome.prompt.truncated},
                               {"answers", answers}});
  }
  json["not_scored"] = not_scored;
  return json;
}

namespace detail {

[[nodiscard]] inline std::string interval_text(const Json& interval) {
  if (interval.is_null()) return "-";
  if (interval["low"].is_null()) return comparison::fixed(interval["mean"].get<double>(), 2);
  char text[64];
  std::snprintf(text, sizeof(text), "%.2f (%.2f, %.2f)", interval["mean"].get<double>(),
                interval["low"].get<double>(), interval["high"].get<double>());
  return text;
}

}  // namespace detail

inline void print_report(const Json& report) {
  for (const Json& group : report["groups"]) {
    std::printf("\n%s\n", group["title"].get<std::string>().c_str());
    std::printf("%-16s %-24s %-24s %8s %8s %10s\n", "policy", "score, 95 %", "minus full, 95 %",
                "of full", "tokens", "KiB");
    for (const Json& cache : group["caches"]) {
      const std::string ratio =
          cache["of_full"].is_null() ? "-" : comparison::percent(cache["of_full"].get<double>());
      std::printf("%-16s %-24s %-24s %8s %8.1f %10.0f\n",
                  cache["policy"].get<std::string>().c_str(),
                  detail::interval_text(cache["score"]).c_str(),
                  detail::interval_text(cache["minus_full"]).c_str(), ratio.c_str(),
                  cache["tokens"].get<double>(), cache["bytes"].get<double>() / 1024);
    }
  }
  for (const Json& note : report["not_scored"]) {
    std::printf("\nNot scored here: %s\n", note.get<std::string>().c_str());
  }
}

}  // namespace morphkv::papers

#endif  // MORPHKV_BENCH_PAPERS_REPORT_HPP
