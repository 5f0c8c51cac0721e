// SPDX-License-Identifier: Apache-2.0
/// \file
/// The families of tasks, and the model that was trained for them.
#ifndef MORPHKV_BENCH_ACCURACY_FAMILIES_HPP
#define MORPHKV_BENCH_ACCURACY_FAMILIES_HPP

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "accuracy/workloads.hpp"
#include "comparison/travel_log_workload.hpp"
#include "comparison/workload.hpp"

namespace morphkv::accuracy {

struct Family {
  std::string key;
  std::string title;
  std::filesystem::path model;
  std::size_t length = 0;            ///< as `make` takes it, where policies are compared
  std::vector<std::size_t> lengths;  ///< where lengths are compared; may be empty
  std::function<comparison::Workload(std::size_t prompts, Seeds seeds, std::size_t length)> make;
};

inline constexpr int log_prompt_tokens = 1000;

/// The log of a journey, of about `length` tokens; the prompt has as many as the shortest log.
[[nodiscard]] inline comparison::Workload instructions_workload(std::size_t prompts, Seeds seeds,
                                                                std::size_t length) {
  return comparison::travel_log_workload(
      prompts, seeds, tasks::long_response(static_cast<int>(length), log_prompt_tokens));
}

[[nodiscard]] inline std::vector<Family> all_families() {
  const std::filesystem::path model = "bench/models/three-tasks";
  return {
      {.key = "instructions",
       .title = "Long responses with instructions",
       .model = model,
       .length = 1000,
       .lengths = {1000, 2000, 4000, 8000, 12000},
       .make = instructions_workload},
      {.key = "writing",
       .title = "Open writing",
       .model = model,
       .length = 1000,
       .lengths = {},
       .make = saga_workload},
      {.key = "questions",
       .title = "Questions over a long prompt",
       .model = model,
       .length = 1000,
       .lengths = {},
       .make = questions_workload},
  };
}

}  // namespace morphkv::accuracy

#endif  // MORPHKV_BENCH_ACCURACY_FAMILIES_HPP
