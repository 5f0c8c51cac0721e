// SPDX-License-Identifier: Apache-2.0
/// \file
/// The bytes of one model's caches: full, and under a policy.
#ifndef MORPHKV_TOOLS_MEMORY_ANSWER_HPP
#define MORPHKV_TOOLS_MEMORY_ANSWER_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "memory/expected_memory.hpp"
#include "memory/measured_loss.hpp"
#include "memory/model_config.hpp"
#include "memory/tables.hpp"
#include "policies/registry.hpp"

namespace morphkv::memory {

struct Question {
  ModelConfig model;
  std::size_t tokens = 0;    ///< of a sequence
  std::size_t response = 0;  ///< how many of them follow the prompt
  std::size_t batch = 1;     ///< sequences
  unsigned bits = 16;        ///< of an element of a key or value: 16 or 32
  policies::PolicyChoice policy;
  std::uint64_t memory = 0;  ///< for caches; 0: not given
};

struct Answer {
  std::size_t full = 0;  ///< keys and values of the full cache, per sequence
  MemoryUsage policy;    ///< all bytes of the cache under the policy, per sequence
  std::size_t slots = 0;
  nlohmann::ordered_json options;  ///< of the policy
  bool is_preset = false;          ///< `recommended` with no option but the capacity

  /// Whether a sequence has more tokens than slots.
  [[nodiscard]] bool evicts(const Question& question) const { return slots < question.tokens; }
};

namespace detail {

template <Scalar T>
[[nodiscard]] Answer answer_in(const Question& question) {
  const CacheShape shape = question.model.cache_shape();
  Answer answer;
  answer.full = full_bytes<T>(shape, question.tokens);
  policies::with_policy(question.policy, question.tokens - question.response, question.response,
                        [&]<class Policy>(const typename Policy::Options& options) {
                          CacheShape one_head = shape;
                          one_head.layers = one_head.kv_heads = 1;
                          one_head.query_heads = shape.group();
                          one_head.windows = nullptr;
                          policies::require_cache_memory<T>(one_head, options);
                          answer.policy = expected_memory<T, Policy>(shape, options);
                          answer.slots = policies::slots_of(options);
                          answer.options = policies::describe(options);
                        });
  const policies::OptionTexts& given = question.policy.options;
  answer.is_preset =
      question.policy.policy == policies::default_policy && given.size() == given.count("capacity");
  return answer;
}

}  // namespace detail

/// \throws std::invalid_argument naming the option that is not valid
[[nodiscard]] inline Answer answer_of(const Question& question) {
  if (question.response > question.tokens) {
    policies::refuse("response", std::to_string(question.response),
                     "at most --tokens = " + std::to_string(question.tokens));
  }
  Answer answer = question.bits == 32 ? detail::answer_in<float>(question)
                                      : detail::answer_in<Eigen::bfloat16>(question);
  const std::size_t largest =
      std::numeric_limits<std::size_t>::max() / (std::max)(answer.full, answer.policy.total());
  if (question.batch > largest) {
    policies::refuse("batch", std::to_string(question.batch), "at most " + std::to_string(largest));
  }
  return answer;
}

[[nodiscard]] inline nlohmann::ordered_json answer_json(const Question& question,
                                                        const Answer& answer) {
  const CacheShape& shape = question.model.shape;
  const auto caches = [&](std::size_t sequence) {
    nlohmann::ordered_json json = {{"bytes_per_sequence", sequence},
                                   {"bytes", question.batch * sequence}};
    if (question.memory > 0) json["sequences_that_fit"] = question.memory / sequence;
    return json;
  };
  nlohmann::ordered_json json = {{"model",
                                  {{"type", question.model.type},
                                   {"layers", shape.layers},
                                   {"query_heads", shape.query_heads},
                                   {"kv_heads", shape.kv_heads},
                                   {"head_dim", shape.head_dim},
                                   {"value_dim", shape.output_dim()},
                                   {"values_in_keys", shape.values_in_keys},
                                   {"windows", question.model.windows}}},
                                 {"tokens", question.tokens},
                                 {"batch", question.batch},
                                 {"bits", question.bits},
                                 {"full_cache", caches(answer.full)},
                                 {"policy", caches(answer.policy.total())}};
  if (question.memory > 0) json["memory"] = question.memory;
  nlohmann::ordered_json& policy = json["policy"];
  policy["name"] = question.policy.policy;
  policy["slots_per_head"] = answer.slots;
  policy["options"] = answer.options;
  policy["bytes_by_kind"] = {{"keys", answer.policy.keys},
                             {"values", answer.policy.values},
                             {"positions", answer.policy.positions},
                             {"window", answer.policy.window},
                             {"scores", answer.policy.scores},
                             {"history", answer.policy.history},
                             {"working_space", answer.policy.scratch}};
  json["factor_saved"] =
      static_cast<double>(answer.full) / static_cast<double>(answer.policy.total());
  json["share_of_tokens_kept"] =
      (std::min)(1.0, static_cast<double>(answer.slots) / static_cast<double>(question.tokens));
  if (answer.is_preset && answer.evicts(question)) {
    const MeasuredLoss& loss = nearest_measured_loss(json["share_of_tokens_kept"]);
    json["measured_loss"] = {{"model", measured_model}, {"tokens", measured_tokens},
                             {"slots", loss.slots},     {"share_of_tokens_kept", kept_share(loss)},
                             {"kl", loss.kl},           {"passkey_digits_of_5", loss.passkeys}};
  }
  return json;
}

namespace detail {

[[nodiscard]] inline std::string windows_text(const ModelConfig& model) {
  const auto sliding = std::count_if(model.windows.begin(), model.windows.end(),
                                     [](std::size_t window) { return window > 0; });
  if (sliding == 0) return "";
  const std::size_t window = *std::max_element(model.windows.begin(), model.windows.end());
  return std::to_string(sliding) + " of the layers slide over " + std::to_string(window) +
         " tokens; ";
}

[[nodiscard]] inline std::string percent(double share) { return text("%.3g %%", 100 * share); }

[[nodiscard]] inline std::string loss_text(const Question& question, const Answer& answer) {
  if (!answer.evicts(question)) return "Loss: none; no token is evicted.\n";
  const std::string source = "docs/choose_a_policy.md";
  if (!answer.is_preset) {
    return "Loss: " + source + " has what was measured for other policies than the preset\n" +
           std::string(policies::default_policy) + ", and ./run bench real measures a model.\n";
  }
  const double share = static_cast<double>(answer.slots) / static_cast<double>(question.tokens);
  const MeasuredLoss& nearest = nearest_measured_loss(share);
  std::string result =
      "Loss: not known for this model. Measured on " + std::string(measured_model) +
      ", which is not a prediction of\nyours (" + source + "; KL to the full cache in nats per " +
      "token, digits of 5 of a\npasskey asked in the prompt / in a later turn):\n\n" +
      row({"kept of " + std::to_string(measured_tokens) + " tokens", "share", "KL", "passkey"}) +
      "|---:|---:|---|---|\n";
  for (const MeasuredLoss& loss : measured_losses) {
    result += row({std::to_string(loss.slots), percent(kept_share(loss)), std::string(loss.kl),
                   std::string(loss.passkeys) + (&loss == &nearest ? " (nearest)" : "")});
  }
  result += "\nYours keeps " + percent(share) + " of the tokens.";
  if (share < kept_share(measured_losses.front())) {
    result +=
        " That is below every share that was measured: expect a\nhigher loss, and measure it: "
        "./run bench real --model FOLDER";
  }
  return result + "\n";
}

}  // namespace detail

/// For a terminal or a page: tables and sentences.
[[nodiscard]] inline std::string answer_text(const Question& question, const Answer& answer) {
  using namespace detail;
  const ModelConfig& model = question.model;
  const CacheShape& shape = model.shape;
  const std::size_t policy = answer.policy.total();
  std::string result =
      model.type + ": " + std::to_string(shape.layers) + " layers, " +
      std::to_string(shape.query_heads) + " query heads, " + std::to_string(shape.kv_heads) +
      " KV heads, head_dim " + std::to_string(shape.head_dim) + "; " +
      (shape.values_in_keys ? "values lie in the keys; " : "") + windows_text(model) +
      std::to_string(question.bits) + " bits; " + std::to_string(question.tokens) + " tokens";
  if (model.trained > 0 && question.tokens > model.trained) {
    result += " (more than the " + std::to_string(model.trained) + " that it was trained for)";
  }
  result += "\n\n";
  const auto line = [&](const std::string& name, std::size_t sequence) {
    std::string cells =
        "| " + name + " | " + bytes(sequence) + " | " + bytes(question.batch * sequence) + " |";
    if (question.memory > 0) cells += " " + std::to_string(question.memory / sequence) + " |";
    return cells + "\n";
  };
  result += "| cache | a sequence | batch of " + std::to_string(question.batch) + " |";
  if (question.memory > 0) result += " sequences in " + bytes(question.memory) + " |";
  result += question.memory > 0 ? "\n|---|---:|---:|---:|\n" : "\n|---|---:|---:|\n";
  result += line("full: keys and values", answer.full);
  result += line(
      question.policy.policy + ": " + std::to_string(answer.slots) + " slots per head, everything",
      policy);
  const double factor = static_cast<double>(answer.full) / static_cast<double>(policy);
  result += "\nFactor saved: " + text(factor < 10 ? "%.2f" : "%.1f", factor) + ".";
  if (model.windows.empty()) {
    result += " The policy's cache takes the bytes of a full cache of " +
              std::to_string(policy / (answer.full / question.tokens)) + " tokens.";
  }
  result += "\n";
  result += policy < answer.full ? "" : "The full cache takes less at this length.\n";
  result += "By kind: keys and values " + bytes(answer.policy.keys + answer.policy.values);
  const auto add_kind = [&](const char* name, std::size_t count) {
    if (count > 0) result += std::string(", ") + name + " " + bytes(count);
  };
  add_kind("positions and protection", answer.policy.positions);
  add_kind("window", answer.policy.window);
  add_kind("scores", answer.policy.scores);
  add_kind("history", answer.policy.history);
  add_kind("working space", answer.policy.scratch);
  result += ".\n\n";
  return result + loss_text(question, answer);
}

}  // namespace morphkv::memory

#endif  // MORPHKV_TOOLS_MEMORY_ANSWER_HPP
