// SPDX-License-Identifier: Apache-2.0
/// \file
/// A real model that reads a text and writes about it, with the full cache and with `recommended`.
#ifndef MORPHKV_TOOLS_DEMO_REAL_TEXT_HPP
#define MORPHKV_TOOLS_DEMO_REAL_TEXT_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "comparison/contenders.hpp"
#include "comparison/experiment.hpp"
#include "comparison/trails_json.hpp"
#include "comparison/workload.hpp"
#include "llama/chat.hpp"
#include "llama/load.hpp"
#include "llama/sampler.hpp"
#include "support/input_file.hpp"

namespace morphkv::demo {

using namespace comparison;

/// What is read, and how much is written about it.
struct RealTextOptions {
  std::filesystem::path text = "docs/start_here.md";
  std::size_t text_tokens = 1000;
  std::size_t response_tokens = 400;
  double budget = 0.25;  ///< of the full cache's bytes, for `recommended`
};

/// One message: the text, and a request to write about it. Both responses are drawn with the same
/// random numbers.
[[nodiscard]] inline Workload real_text_workload(const llama::ModelFiles& files,
                                                 const llama::Tokenizer& tokenizer,
                                                 const RealTextOptions& options,
                                                 std::uint64_t seed) {
  support::InputFile file(options.text);
  std::vector<int> tokens = tokenizer.encode_rendered(file.read_text(file.size(), "the text"));
  tokens.resize((std::min)(tokens.size(), options.text_tokens));
  const llama::Chat chat(files.chat_template());
  Prompt prompt;
  prompt.tokens = tokenizer.encode_rendered(chat.render(
      "Read this text.\n\n" + tokenizer.decode(tokens) +
      "\n\nExplain in your own words what the text is about, and list its most important points."));
  prompt.response_tokens = options.response_tokens;
  prompt.make_chooser = [seed, read = prompt.tokens] {
    llama::Sampler sampler({.repetition_penalty = 1.05, .temperature = 0.5, .seed = seed});
    for (const int token : read) sampler.add(token);
    return Chooser(std::move(sampler));
  };
  Workload workload;
  workload.task = "a real text";
  workload.description = options.text.string();
  workload.prompts.push_back(std::move(prompt));
  workload.loss_prompts = 1;
  return workload;
}

/// For the page: both responses, what each head held, and the bytes of the caches.
[[nodiscard]] inline nlohmann::ordered_json real_text_json(const std::filesystem::path& folder,
                                                           const RealTextOptions& options,
                                                           std::uint64_t seed,
                                                           std::size_t threads) {
  const llama::ModelFiles files(folder);
  const llama::Model model = files.load();
  const std::unique_ptr<llama::Tokenizer> tokenizer = files.load_tokenizer(model.config);
  const Workload workload = real_text_workload(files, *tokenizer, options, seed);
  const CacheShape shape = model.shape();
  const double full = full_bytes(shape, workload);
  std::vector<Variant> variants = {full_variant()};
  for (const comparison::Contender& contender : library_contenders()) {
    if (contender.key != "recommended") continue;
    const auto fitted =
        contender.fit(shape, task_of(workload, seed), contender.candidates.front(), options.budget,
                      static_cast<std::size_t>(options.budget * full));
    if (fitted) variants.push_back(*fitted);
  }
  const std::vector<Outcome> outcomes =
      run_experiment(model, workload, std::move(variants), {.threads = threads});
  std::vector<const Outcome*> all;
  nlohmann::ordered_json json = {
      {"model", files.name()},
      {"text", options.text.string()},
      {"bytes_per_token", 2 * shape.layers * shape.kv_heads * shape.head_dim * sizeof(Stored)}};
  for (const Outcome& outcome : outcomes) {
    all.push_back(&outcome);
    json["results"].push_back({{"name", outcome.variant.name},
                               {"slots", outcome.variant.capacity},
                               {"bytes", outcome.bytes},
                               {"loss", outcome.loss},
                               {"agreeing_start", outcome.agreeing_start}});
  }
  json["trails"] = trails_json(workload, all, *tokenizer);
  return json;
}

}  // namespace morphkv::demo

#endif  // MORPHKV_TOOLS_DEMO_REAL_TEXT_HPP
