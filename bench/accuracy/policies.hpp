// SPDX-License-Identifier: Apache-2.0
/// \file
/// The policies that the benchmark compares: those of the library, and controls.
#ifndef MORPHKV_BENCH_ACCURACY_POLICIES_HPP
#define MORPHKV_BENCH_ACCURACY_POLICIES_HPP

#include <string>
#include <vector>

#include "comparison/contenders.hpp"

namespace morphkv::accuracy {

/// What the rows of the report call MorphKV, SnapKV and H2O.
inline constexpr char recommended_key[] = "recommended";
inline constexpr char recommended_shared_key[] = "recommended_shared";
inline constexpr char morphkv_key[] = "morphkv";
inline constexpr char plain_key[] = "morphkv_plain";
inline constexpr char snapkv_key[] = "snapkv";
inline constexpr char snapkv_recent_key[] = "snapkv_recent";
inline constexpr char h2o_key[] = "h2o";

/// To enter another, add it in policies.cpp; what tuning may choose for it are its candidates.
[[nodiscard]] const std::vector<comparison::Contender>& all_contenders();

/// Those that are compared unless others are asked for: all but DecayedMax with settings of its own
/// for every budget, beside which stands the library's recommendation.
[[nodiscard]] std::vector<std::string> usual_policies();

/// Those that are compared with the targets.
[[nodiscard]] std::vector<std::string> target_policies();

/// Those that are compared at every length.
[[nodiscard]] std::vector<std::string> length_policies();

}  // namespace morphkv::accuracy

#endif  // MORPHKV_BENCH_ACCURACY_POLICIES_HPP
