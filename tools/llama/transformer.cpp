// SPDX-License-Identifier: Apache-2.0
#include "llama/transformer.hpp"

#include <stdexcept>
#include <string>

#include "llama/multiply.hpp"
#include "llama/norm.hpp"

namespace morphkv::llama {

void Transformer::forward(std::span<const int> tokens, std::span<const std::size_t> positions,
                          const Attend& attend) {
  embed(tokens);
  for (std::size_t index = 0; index < model_->layers.size(); ++index) {
    const Layer& layer = model_->layers[index];
    normalise(x_, layer.attention_norm, epsilon(), normed_);
    attention_(index, normed_, positions, attend, added_, workers_);
    add(layer.attention_post_norm);
    normalise(x_, layer.feed_forward_norm, epsilon(), normed_);
    feed_forward_(model_->config, layer, normed_, added_, workers_);
    add(layer.feed_forward_post_norm);
  }
}

const Matrix& Transformer::logits() { return classify(x_); }

std::span<const float> Transformer::last_logits() {
  const Matrix& logits = classify(x_.bottomRows(1));
  return {logits.data(), static_cast<std::size_t>(logits.size())};
}

void Transformer::embed(std::span<const int> tokens) {
  const Weights& embedding = model_->embedding;
  if (tokens.empty()) throw std::invalid_argument("a prompt needs at least one token");
  x_.resize(static_cast<Eigen::Index>(tokens.size()),
            static_cast<Eigen::Index>(embedding.columns()));
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    if (tokens[t] < 0 || static_cast<std::size_t>(tokens[t]) >= embedding.rows()) {
      throw std::invalid_argument("token " + std::to_string(tokens[t]) +
                                  " is not in the vocabulary of " +
                                  std::to_string(embedding.rows()));
    }
    embedding.read_row(static_cast<std::size_t>(tokens[t]),
                       x_.row(static_cast<Eigen::Index>(t)).data());
  }
  const auto scale = static_cast<float>(model_->config.embedding_scale);
  if (scale != 1) x_ *= scale;
}

void Transformer::add(const RowVector& norm) {
  normalise_heads(added_, added_.cols(), norm, epsilon());
  x_ += added_;
}

template <class Rows>
const Matrix& Transformer::classify(const Rows& rows) {
  normalise(rows, model_->norm, epsilon(), normed_);
  multiply(normed_, model_->classifier(), logits_, workers_);
  const auto cap = static_cast<float>(model_->config.final_soft_cap);
  if (cap > 0) logits_.array() = cap * (logits_.array() / cap).tanh();
  return logits_;
}

}  // namespace morphkv::llama
