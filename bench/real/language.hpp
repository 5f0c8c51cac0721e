// SPDX-License-Identifier: Apache-2.0
/// \file
/// How far a cache moves the predictions of a text away from those of the full cache.
#ifndef MORPHKV_BENCH_REAL_LANGUAGE_HPP
#define MORPHKV_BENCH_REAL_LANGUAGE_HPP

#include <Eigen/Core>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

namespace morphkv::real {

/// Means over the tokens of one text under one cache.
struct Divergence {
  double nll_lost = 0;   ///< nats per token: -ln p of the text's token, minus the full cache's
  double kl = 0;         ///< KL(full || cache), nats per token
  double agreement = 0;  ///< share of tokens whose likeliest prediction is the full cache's
};

/// Compares the caches of one text with the first of them, the full cache.
class Language {
 public:
  explicit Language(std::size_t caches) : sums_(caches) {}

  /// The prediction of `token`. \param cache in ascending order, from 0, for each token
  void add(std::size_t cache, int token, std::span<const float> logits) {
    Eigen::Map<const Eigen::ArrayXf> given(logits.data(), static_cast<Eigen::Index>(logits.size()));
    Eigen::Index likeliest = 0;
    const float largest = given.maxCoeff(&likeliest);
    log_p_ = given - (largest + std::log((given - largest).exp().sum()));
    if (cache == 0) {
      full_ = log_p_;
      full_p_ = full_.exp();
      full_likeliest_ = likeliest;
      ++tokens_;
    }
    Divergence& sum = sums_[cache];
    sum.nll_lost += static_cast<double>(full_[token]) - static_cast<double>(log_p_[token]);
    sum.kl += static_cast<double>((full_p_ * (full_ - log_p_)).sum());
    sum.agreement += likeliest == full_likeliest_ ? 1 : 0;
    if (cache == 0) full_nll_ -= static_cast<double>(full_[token]);
  }

  /// Nats per token of the full cache.
  [[nodiscard]] double full_nll() const { return full_nll_ / static_cast<double>(tokens_); }

  [[nodiscard]] Divergence mean(std::size_t cache) const {
    const auto tokens = static_cast<double>(tokens_);
    const Divergence& sum = sums_[cache];
    return {sum.nll_lost / tokens, sum.kl / tokens, sum.agreement / tokens};
  }

 private:
  std::vector<Divergence> sums_;
  Eigen::ArrayXf log_p_;
  Eigen::ArrayXf full_;  ///< log-probabilities of the full cache, and the next its probabilities
  Eigen::ArrayXf full_p_;
  Eigen::Index full_likeliest_ = 0;
  double full_nll_ = 0;
  std::size_t tokens_ = 0;
};

}  // namespace morphkv::real

#endif  // MORPHKV_BENCH_REAL_LANGUAGE_HPP
