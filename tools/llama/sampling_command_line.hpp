// SPDX-License-Identifier: Apache-2.0
/// \file
/// Sampling options on a command line.
#ifndef MORPHKV_TOOLS_LLAMA_SAMPLING_COMMAND_LINE_HPP
#define MORPHKV_TOOLS_LLAMA_SAMPLING_COMMAND_LINE_HPP

#include <CLI/CLI.hpp>

#include "llama/sampler.hpp"
#include "policies/option_values.hpp"
#include "policies/registry.hpp"

namespace morphkv::llama {

/// Adds all but the seed, which the policy Random has too: policies/command_line.hpp adds it.
inline void add_sampling_options(CLI::App& app, SamplingOptions& sampling) {
  app.add_option("--temperature", sampling.temperature,
                 "0: the most likely token; above 0: drawn with --seed")
      ->capture_default_str();
  app.add_option("--top-p", sampling.top_p,
                 "draw from the most likely tokens of this total probability")
      ->capture_default_str();
  app.add_option("--min-p", sampling.min_p,
                 "draw from tokens this many times as likely as the most likely one")
      ->capture_default_str();
  app.add_option("--repetition-penalty", sampling.repetition_penalty,
                 "divides the logits of tokens that occurred; 1: none")
      ->capture_default_str();
}

/// --seed is that of the sampling, and of the policy Random.
inline void take_seed(policies::PolicyChoice& choice, SamplingOptions& sampling) {
  const auto seed = choice.options.find("seed");
  if (seed == choice.options.end()) return;
  policies::parse("seed", seed->second, sampling.seed);
  if (choice.policy != "random") choice.options.erase(seed);
}

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_SAMPLING_COMMAND_LINE_HPP
