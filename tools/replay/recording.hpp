// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a page shows of one policy: its losses over the steps, and what each head kept.
#ifndef MORPHKV_TOOLS_REPLAY_RECORDING_HPP
#define MORPHKV_TOOLS_REPLAY_RECORDING_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "comparison/lifetimes.hpp"
#include "policies/option_values.hpp"
#include "replay/replay.hpp"
#include "replay/session.hpp"
#include "replay/trace.hpp"

namespace morphkv::replay {

/// The mean over heads of one number, over at most `most` bins of the steps after the prompt:
/// [[middle step, mean], ...]; without bins where it is not defined.
[[nodiscard]] inline nlohmann::ordered_json binned(const Losses& losses, double Loss::*number,
                                                   std::size_t most = 64) {
  nlohmann::ordered_json bins = nlohmann::ordered_json::array();
  if (losses.size() < 2) return bins;
  const std::size_t steps = losses.size() - 1;
  const std::size_t count = std::min(steps, most);
  for (std::size_t bin = 0; bin < count; ++bin) {
    const std::size_t begin = 1 + bin * steps / count;
    const std::size_t end = 1 + (bin + 1) * steps / count;
    double sum = 0;
    double numbers = 0;
    for (std::size_t step = begin; step < end; ++step) {
      for (const Loss& loss : losses[step]) {
        if (std::isnan(loss.*number)) continue;
        sum += loss.*number;
        ++numbers;
      }
    }
    if (numbers > 0) bins.push_back({(begin + end - 1) / 2, sum / numbers});
  }
  return bins;
}

class Recording {
 public:
  explicit Recording(const Trace& trace) : lifetimes_(trace.shape, trace.tokens) {}

  void add(std::size_t step, const KeptOfHeads& kept) {
    struct Heads {
      const KeptOfHeads* kept;
      [[nodiscard]] const std::vector<Position>& positions(std::size_t, std::size_t head) const {
        return (*kept)[head];
      }
    };
    lifetimes_.record(Heads{&kept}, step);
  }

  void finish(const Session& session, const Losses& losses) {
    const nlohmann::ordered_json description = session.description();
    std::string settings;
    for (const auto& [name, value] : description["options"].items()) {
      settings += (settings.empty() ? "" : ", ") + name + " " + policies::text_of(value);
    }
    figures_ = {{"policy", description["policy"]},
                {"settings", settings},
                {"capacity", session.capacity(0)},
                {"bytes", session.memory().total()},
                {"lost_mass", mean_after_prompt(losses, &Loss::lost_mass)},  // NaN becomes null
                {"output_error", mean_after_prompt(losses, &Loss::output_error)},
                {"lost_mass_over_steps", binned(losses, &Loss::lost_mass)},
                {"output_error_over_steps", binned(losses, &Loss::output_error)}};
  }

  [[nodiscard]] const nlohmann::ordered_json& figures() const noexcept { return figures_; }
  [[nodiscard]] const comparison::Lifetimes& lifetimes() const noexcept { return lifetimes_; }

 private:
  comparison::Lifetimes lifetimes_;
  nlohmann::ordered_json figures_;
};

}  // namespace morphkv::replay

#endif  // MORPHKV_TOOLS_REPLAY_RECORDING_HPP
