// SPDX-License-Identifier: Apache-2.0
/// \file
/// Texts that a model reads under many caches, with one pass over the weights per step.
#ifndef MORPHKV_BENCH_REAL_SIDE_BY_SIDE_HPP
#define MORPHKV_BENCH_REAL_SIDE_BY_SIDE_HPP

#include <cstddef>
#include <functional>
#include <memory>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "comparison/any_cache.hpp"
#include "llama/model.hpp"
#include "llama/session.hpp"
#include "llama/transformer.hpp"

namespace morphkv::real {

/// A text, the caches that hold it, and who looks at the predictions.
struct Reading {
  std::vector<int> tokens;
  std::size_t prompt = 0;  ///< so many tokens are one block; the others are read one by one
  std::vector<std::unique_ptr<comparison::AnyCache>> caches;
  /// Called for each cache in order, with the logits of tokens[index]. The caches predict
  /// tokens[prompt] alike: within the first block, attention sees all of it.
  std::function<void(std::size_t cache, std::size_t index, std::span<const float> logits)> judge;
  /// The token that a cache reads at `index`, after its predictions went to judge(). Empty:
  /// tokens[index], whatever the model predicts, so that all caches read the same.
  std::function<int(std::size_t cache, std::size_t index)> next = {};
  /// Called with each cache once it holds tokens[0, index). May be empty.
  std::function<void(const comparison::AnyCache& held, std::size_t cache, std::size_t index)>
      watch = {};
};

/// Reads texts side by side.
class SideBySide {
 public:
  /// \pre `model` outlives this.
  SideBySide(const llama::Model& model, std::size_t threads) : transformer_(model, threads) {}

  /// \param advanced called after each pass over the weights, with the tokens that were read in it
  void read(std::span<Reading> readings, const std::function<void(std::size_t)>& advanced) {
    for (Reading& reading : readings) {
      read_prompt(reading);
      advanced(reading.prompt);
    }
    for (std::size_t step = 0;; ++step) {
      rows_.clear();
      tokens_.clear();
      positions_.clear();
      for (Reading& reading : readings) add_rows(reading, step);
      if (rows_.empty()) return;
      read_tokens();
      advanced(rows_.size());
    }
  }

 private:
  struct Row {
    Reading* reading;
    std::size_t cache;
  };

  void read_prompt(Reading& reading) {
    positions_.resize(reading.prompt);
    std::iota(positions_.begin(), positions_.end(), std::size_t{0});
    const std::span<const int> prompt(reading.tokens.data(), reading.prompt);
    transformer_.forward(prompt, positions_, [&](const llama::AttentionBlock& block) {
      transformer_.workers()(reading.caches.size(), [&](std::size_t cache) {
        llama::check(reading.caches[cache]->prefill(
            block.layer, llama::elements(block.queries), llama::elements(block.keys),
            llama::elements(block.values),
            cache == 0 ? llama::elements(block.outputs) : std::span<float>{}));
      });
    });
    const std::span<const float> logits = transformer_.last_logits();
    for (std::size_t cache = 0; cache < reading.caches.size(); ++cache) {
      reading.judge(cache, reading.prompt, logits);
      if (reading.watch) reading.watch(*reading.caches[cache], cache, reading.prompt);
    }
  }

  /// The last token predicts nothing that could be compared, so it is not read.
  void add_rows(Reading& reading, std::size_t step) {
    const std::size_t position = reading.prompt + step;
    if (position + 1 >= reading.tokens.size()) return;
    for (std::size_t cache = 0; cache < reading.caches.size(); ++cache) {
      rows_.push_back({&reading, cache});
      tokens_.push_back(reading.next ? reading.next(cache, position) : reading.tokens[position]);
      positions_.push_back(position);
    }
  }

  void read_tokens() {
    transformer_.forward(tokens_, positions_, [&](const llama::AttentionBlock& block) {
      transformer_.workers()(rows_.size(), [&](std::size_t row) {
        llama::check(rows_[row].reading->caches[rows_[row].cache]->step(
            block.layer, static_cast<Position>(positions_[row]), row_of(block.queries, row),
            row_of(block.keys, row), row_of(block.values, row), row_of(block.outputs, row)));
      });
    });
    const llama::Matrix& logits = transformer_.logits();
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      const auto [reading, cache] = rows_[row];
      reading->judge(cache, positions_[row] + 1, row_of(logits, row));
      if (reading->watch) reading->watch(*reading->caches[cache], cache, positions_[row] + 1);
    }
  }

  [[nodiscard]] static std::span<const float> row_of(const llama::Matrix& matrix, std::size_t row) {
    const auto width = static_cast<std::size_t>(matrix.cols());
    return {matrix.data() + row * width, width};
  }
  [[nodiscard]] static std::span<float> row_of(llama::Matrix& matrix, std::size_t row) {
    const auto width = static_cast<std::size_t>(matrix.cols());
    return {matrix.data() + row * width, width};
  }

  llama::Transformer transformer_;
  std::vector<Row> rows_;  ///< of the pass: one per token
  std::vector<int> tokens_;
  std::vector<std::size_t> positions_;
};

}  // namespace morphkv::real

#endif  // MORPHKV_BENCH_REAL_SIDE_BY_SIDE_HPP
