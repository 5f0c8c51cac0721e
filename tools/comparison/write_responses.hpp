// SPDX-License-Identifier: Apache-2.0
/// \file
/// Responses to one prompt, written freely by the model, one for each of several caches.
#ifndef MORPHKV_TOOLS_COMPARISON_WRITE_RESPONSES_HPP
#define MORPHKV_TOOLS_COMPARISON_WRITE_RESPONSES_HPP

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <memory>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "comparison/any_cache.hpp"
#include "comparison/lifetimes.hpp"
#include "comparison/workload.hpp"
#include "llama/session.hpp"
#include "llama/transformer.hpp"
#include "morphkv/core/memory_usage.hpp"
#include "morphkv/policy/full.hpp"

namespace morphkv::comparison {

struct Response {
  std::vector<int> tokens;
  double cache_seconds = 0;  ///< in `append` and `attend`, not in the model
  MemoryUsage memory;        ///< of the whole cache, at the end
  Lifetimes lifetimes;       ///< empty unless recorded
};

[[nodiscard]] inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Writes the responses side by side, so that each weight of the model is read once per step for
/// all of them; the prompt's pass through the model is shared too. The model chooses every token:
/// the most likely one, or a sample as the prompt says.
class ResponseWriter {
 public:
  /// \param caches empty ones, of the model's shape
  /// \param record whether the responses say what each head held
  ResponseWriter(const llama::Model& model, const Prompt& prompt,
                 std::vector<std::unique_ptr<AnyCache>> caches, bool record)
      : model_(model),
        prompt_(prompt),
        transformer_(model),
        caches_(std::move(caches)),
        responses_(caches_.size()),
        record_(record) {}

  [[nodiscard]] std::vector<Response> write() && {
    if (caches_.empty()) return {};
    read_prompt();
    while (!writing_.empty()) step();
    for (std::size_t i = 0; i < caches_.size(); ++i) responses_[i].memory = caches_[i]->memory();
    return std::move(responses_);
  }

 private:
  /// Every cache gets the prompt; within a first block, all attend alike.
  void read_prompt() {
    std::vector<std::size_t> positions(prompt_.tokens.size());
    std::iota(positions.begin(), positions.end(), std::size_t{0});
    transformer_.forward(prompt_.tokens, positions, [&](const llama::AttentionBlock& block) {
      std::span<float> outputs = llama::elements(block.outputs);
      for (const auto& cache : caches_) {
        llama::check(cache->prefill(block.layer, llama::elements(block.queries),
                                    llama::elements(block.keys), llama::elements(block.values),
                                    outputs));
        outputs = {};
      }
    });
    const std::span<const float> logits = transformer_.last_logits();
    for (std::size_t i = 0; i < caches_.size(); ++i) {
      choosers_.push_back(prompt_.make_chooser ? prompt_.make_chooser() : llama::most_likely);
      if (record_) {
        const std::size_t positions_in_all = prompt_.tokens.size() + prompt_.response_tokens;
        responses_[i].lifetimes = Lifetimes(model_.shape(), positions_in_all);
      }
      add(i, logits);
    }
  }

  /// Appends a token to a response, which goes on unless it is complete.
  void add(std::size_t index, std::span<const float> logits) {
    Response& response = responses_[index];
    if (prompt_.response_tokens == 0) return;
    const int token = choosers_[index](logits);
    if (record_) caches_[index]->record(response.lifetimes, response.tokens.size());
    response.tokens.push_back(token);
    const std::vector<int>& stops = model_.config.stop_tokens;
    if (std::find(stops.begin(), stops.end(), token) != stops.end()) return;
    if (prompt_.is_complete && prompt_.is_complete(response.tokens)) return;
    if (response.tokens.size() < prompt_.response_tokens) writing_.push_back(index);
  }

  void step() {
    std::vector<int> tokens;
    for (const std::size_t index : writing_) tokens.push_back(responses_[index].tokens.back());
    const std::size_t position =
        prompt_.tokens.size() + responses_[writing_.front()].tokens.size() - 1;
    const std::vector<std::size_t> positions(tokens.size(), position);
    transformer_.forward(tokens, positions, [&](const llama::AttentionBlock& block) {
      for (std::size_t row = 0; row < writing_.size(); ++row) attend(block, row, position);
    });
    const llama::Matrix& logits = transformer_.logits();
    const std::vector<std::size_t> written = std::exchange(writing_, {});
    for (std::size_t row = 0; row < written.size(); ++row) {
      add(written[row], row_of(logits, row));
    }
  }

  void attend(const llama::AttentionBlock& block, std::size_t row, std::size_t position) {
    const auto start = std::chrono::steady_clock::now();
    const auto output = block.outputs.row(static_cast<Eigen::Index>(row));
    llama::check(caches_[writing_[row]]->step(
        block.layer, static_cast<Position>(position), row_of(block.queries, row),
        row_of(block.keys, row), row_of(block.values, row),
        {block.outputs.data() + output.size() * static_cast<Eigen::Index>(row),
         static_cast<std::size_t>(output.size())}));
    responses_[writing_[row]].cache_seconds += seconds_since(start);
  }

  [[nodiscard]] static std::span<const float> row_of(const llama::Matrix& matrix, std::size_t row) {
    const auto width = static_cast<std::size_t>(matrix.cols());
    return {matrix.data() + row * width, width};
  }

  const llama::Model& model_;
  const Prompt& prompt_;
  llama::Transformer transformer_;
  std::vector<std::unique_ptr<AnyCache>> caches_;
  std::vector<Response> responses_;  ///< one per cache, like the next
  std::vector<Chooser> choosers_;
  std::vector<std::size_t> writing_;  ///< those that are not complete
  bool record_;
};

/// The mean of -ln p per token of a response, given all tokens before it.
[[nodiscard]] inline double full_cache_loss(const llama::Model& model, const Prompt& prompt,
                                            std::span<const int> response) {
  std::vector<int> text = prompt.tokens;
  text.insert(text.end(), response.begin(), response.end());
  llama::Session<Full, Stored> session(model, Full::Options{.max_tokens = text.size()});
  const llama::Matrix& logits = session.prefill_with_all_logits(text);
  double loss = 0;
  for (std::size_t t = prompt.tokens.size(); t < text.size(); ++t) {
    const auto row = logits.row(static_cast<Eigen::Index>(t) - 1).cast<double>();
    const double greatest = row.maxCoeff();
    loss += greatest + std::log((row.array() - greatest).exp().sum()) - row(text[t]);
  }
  return response.empty() ? 0 : loss / static_cast<double>(response.size());
}

}  // namespace morphkv::comparison

#endif  // MORPHKV_TOOLS_COMPARISON_WRITE_RESPONSES_HPP
