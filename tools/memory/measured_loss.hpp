// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the preset `recommended` lost on a real model: the figures of docs/choose_a_policy.md,
/// which a test compares with the page.
#ifndef MORPHKV_TOOLS_MEMORY_MEASURED_LOSS_HPP
#define MORPHKV_TOOLS_MEMORY_MEASURED_LOSS_HPP

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <string_view>

namespace morphkv::memory {

struct MeasuredLoss {
  std::size_t slots;
  std::string_view kl;        ///< nats per token, with its 95 % interval over texts
  std::string_view passkeys;  ///< digits of 5, asked in the prompt / in a later turn
};

inline constexpr std::string_view measured_model = "SmolLM2-135M-Instruct";
inline constexpr std::size_t measured_tokens = 2048;
inline constexpr std::array<MeasuredLoss, 3> measured_losses = {{
    {256, ".150 (.082 to .242)", "5.00 / 4.30"},
    {512, ".055 (.032 to .089)", "5.00 / 4.90"},
    {1024, ".0120 (.0056 to .0199)", "5.00 / 5.00"},
}};

/// Of the tokens that were read, the share that a cache of so many slots kept.
[[nodiscard]] constexpr double kept_share(const MeasuredLoss& loss) {
  return static_cast<double>(loss.slots) / static_cast<double>(measured_tokens);
}

/// The measurement whose share is nearest, as a ratio. \pre share > 0
[[nodiscard]] inline const MeasuredLoss& nearest_measured_loss(double share) {
  return *std::min_element(measured_losses.begin(), measured_losses.end(),
                           [share](const MeasuredLoss& a, const MeasuredLoss& b) {
                             return std::abs(std::log(kept_share(a) / share)) <
                                    std::abs(std::log(kept_share(b) / share));
                           });
}

}  // namespace morphkv::memory

#endif  // MORPHKV_TOOLS_MEMORY_MEASURED_LOSS_HPP
