// SPDX-License-Identifier: Apache-2.0
/// \file
/// The knobs that tuning has chosen, for each family, budget and policy: settings.json.
#ifndef MORPHKV_BENCH_ACCURACY_KNOB_TABLE_HPP
#define MORPHKV_BENCH_ACCURACY_KNOB_TABLE_HPP

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "comparison/contenders.hpp"
#include "comparison/knobs.hpp"
#include "support/output_file.hpp"

namespace morphkv::accuracy {

[[nodiscard]] inline nlohmann::ordered_json knobs_json(const comparison::Knobs& knobs) {
  return {{"window", knobs.window},         {"half_life", knobs.half_life},
          {"distance", knobs.distance},     {"fusion", knobs.fusion == Fusion::sum ? "sum" : "max"},
          {"sinks", knobs.sinks},           {"protect_prompt", knobs.protect_prompt},
          {"normalised", knobs.normalised}, {"kernel", knobs.kernel}};
}

[[nodiscard]] inline comparison::Knobs knobs_from(const nlohmann::ordered_json& json) {
  comparison::Knobs knobs;
  json.at("window").get_to(knobs.window);
  json.at("half_life").get_to(knobs.half_life);
  json.at("distance").get_to(knobs.distance);
  knobs.fusion = json.at("fusion") == "sum" ? Fusion::sum : Fusion::max;
  json.at("sinks").get_to(knobs.sinks);
  json.at("protect_prompt").get_to(knobs.protect_prompt);
  json.at("normalised").get_to(knobs.normalised);
  json.at("kernel").get_to(knobs.kernel);
  return knobs;
}

class KnobTable {
 public:
  KnobTable() = default;

  /// \throws std::runtime_error if the file is there and cannot be understood.
  explicit KnobTable(const std::filesystem::path& path) {
    std::ifstream file(path);
    if (!file) return;
    try {
      json_ = nlohmann::ordered_json::parse(file);
    } catch (const nlohmann::json::exception& error) {
      throw std::runtime_error(path.string() + ": " + error.what());
    }
  }

  void write(const std::filesystem::path& path) const {
    support::write_file(path, json_.dump(1) + "\n");
  }

  /// The knobs that were chosen, or the contender's default.
  [[nodiscard]] comparison::Knobs find(const std::string& family, double budget,
                                       const comparison::Contender& contender) const {
    const auto place = pointer(family, budget, contender.key);
    return json_.contains(place) ? knobs_from(json_.at(place)) : contender.candidates.front();
  }

  void set(const std::string& family, double budget, const std::string& policy,
           const comparison::Knobs& knobs) {
    json_[pointer(family, budget, policy)] = knobs_json(knobs);
  }

 private:
  using Pointer = nlohmann::ordered_json::json_pointer;

  [[nodiscard]] static Pointer pointer(const std::string& family, double budget,
                                       const std::string& policy) {
    return Pointer("/" + family + "/" + std::to_string(std::lround(100 * budget)) + " %/" + policy);
  }

  nlohmann::ordered_json json_ = nlohmann::ordered_json::object();
};

}  // namespace morphkv::accuracy

#endif  // MORPHKV_BENCH_ACCURACY_KNOB_TABLE_HPP
