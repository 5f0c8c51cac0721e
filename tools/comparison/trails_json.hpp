// SPDX-License-Identifier: Apache-2.0
/// \file
/// Responses to one prompt, and what each head held meanwhile, as JSON for a page.
#ifndef MORPHKV_TOOLS_COMPARISON_TRAILS_JSON_HPP
#define MORPHKV_TOOLS_COMPARISON_TRAILS_JSON_HPP

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "comparison/experiment.hpp"
#include "comparison/workload.hpp"
#include "llama/tokenizer.hpp"

namespace morphkv::comparison {

namespace detail {

/// 16-bit numbers, little-endian, in base64.
[[nodiscard]] inline std::string base64(std::span<const std::uint16_t> numbers) {
  constexpr std::string_view digits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  std::uint32_t bits = 0;
  int count = 0;
  for (const std::uint16_t number : numbers) {
    for (const std::uint32_t byte : {number & 0xFFU, static_cast<std::uint32_t>(number) >> 8U}) {
      bits = (bits << 8U) | byte;
      if (++count == 3) {
        for (int shift = 18; shift >= 0; shift -= 6) text += digits[(bits >> shift) & 63U];
        bits = 0;
        count = 0;
      }
    }
  }
  if (count > 0) {
    bits <<= 8U * static_cast<unsigned>(3 - count);
    for (int digit = 0; digit <= count; ++digit) text += digits[(bits >> (18 - 6 * digit)) & 63U];
    text.append(static_cast<std::size_t>(3 - count), '=');
  }
  return text;
}

/// The response to the first prompt under one variant.
[[nodiscard]] inline nlohmann::ordered_json trail_json(const Sample& sample) {
  nlohmann::ordered_json json = {{"response", sample.response.tokens},
                                 {"checks", nlohmann::ordered_json::array()},
                                 {"last", nlohmann::ordered_json::array()}};
  for (const Check& check : sample.score.checks) {
    json["checks"].push_back({check.begin, check.end, check.correct, check.label});
  }
  for (const auto& head : sample.response.lifetimes.last()) json["last"].push_back(base64(head));
  return json;
}

}  // namespace detail

/// The responses of some outcomes to the first prompt: what each head held, and the words.
[[nodiscard]] inline nlohmann::ordered_json trails_json(const Workload& workload,
                                                        std::span<const Outcome* const> outcomes,
                                                        const llama::Tokenizer& tokenizer) {
  const Prompt& prompt = workload.prompts.front();
  nlohmann::ordered_json json = {{"prompt", prompt.tokens},
                                 {"line_token", workload.line_token},
                                 {"needs", nlohmann::ordered_json::array()}};
  const Lifetimes& lifetimes = outcomes.front()->samples.front().response.lifetimes;
  json["layers"] = lifetimes.layers();
  json["heads"] = lifetimes.heads();
  for (const Need& need : prompt.needs) json["needs"].push_back({need.step, need.position});
  std::set<int> used(prompt.tokens.begin(), prompt.tokens.end());
  for (const Outcome* outcome : outcomes) {
    const Sample& sample = outcome->samples.front();
    used.insert(sample.response.tokens.begin(), sample.response.tokens.end());
    json["trails"].push_back(detail::trail_json(sample));
  }
  // Any token but the first one of a text: pieces keep their leading space.
  for (const int token : used) json["words"][std::to_string(token)] = tokenizer.piece(0, token);
  return json;
}

}  // namespace morphkv::comparison

#endif  // MORPHKV_TOOLS_COMPARISON_TRAILS_JSON_HPP
