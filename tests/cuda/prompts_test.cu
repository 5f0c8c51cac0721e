// SPDX-License-Identifier: Apache-2.0
// Prompts on a device: their rows against an oracle in double, and what stays of them, and at the
// steps that follow, against the portable library fed with the device's rows.
#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "cuda/device.cuh"
#include "cuda/reference.hpp"
#include "morphkv/cuda/bookkeeping.cuh"
#include "morphkv/cuda/prompt.cuh"
#include "morphkv/policy/decayed_max.hpp"
#include "morphkv/policy/full.hpp"
#include "morphkv/policy/h2o.hpp"
#include "morphkv/policy/morphkv.hpp"
#include "morphkv/policy/recommended.hpp"
#include "morphkv/policy/snapkv.hpp"
#include "morphkv/policy/streaming_llm.hpp"
#include "morphkv/policy/tova.hpp"

namespace morphkv::testing { namespace {

using Half = __half;
constexpr int head_dim = 64;
constexpr std::uint32_t kv_heads = 2;

class PromptsOnDevice : public DeviceTest {};

/// Prompts of a batch, [token][head][dim] as an engine has them.
class PromptMatch {
 public:
  PromptMatch(const cuda::Policy& policy, std::uint32_t group, std::vector<std::uint32_t> lengths,
              bool gives_log_sum_exp)
      : policy_(policy),
        group_(group),
        lengths_(std::move(lengths)),
        longest_(*std::max_element(lengths_.begin(), lengths_.end())),
        sequences_(static_cast<std::uint32_t>(lengths_.size())),
        cells_(std::size_t{sequences_} * kv_heads),
        gives_log_sum_exp_(gives_log_sum_exp),
        queries_(draw<Half>(sequences_ * longest_ * kv_heads * group * head_dim, random_, 2.0F)),
        keys_(draw<Half>(sequences_ * longest_ * kv_heads * head_dim, random_)),
        values_(draw<Half>(keys_.size(), random_)),
        device_queries_(queries_),
        device_keys_(keys_),
        device_values_(values_),
        lengths_on_device_(lengths_),
        log_sum_exp_(cells_ * group * longest_),
        cache_keys_(cells_ * policy.rules.slots * head_dim),
        cache_values_(cache_keys_.size()),
        state_(cuda::state_bytes(policy, sequences_, kv_heads)),
        kept_(cells_ * policy.rules.slots),
        counts_(cells_),
        statuses_(cells_) {}

  void play() {
    rows_of_all_queries();
    if (::testing::Test::HasFatalFailure()) return;
    DeviceBuffer<std::byte> workspace(cuda::admit_workspace(policy_, prompts(gives_log_sum_exp_)));
    MORPHKV_EXPECT_CUDA(
        (cuda::admit_prompts<Half, head_dim>({.prompts = prompts(gives_log_sum_exp_),
                                              .policy = policy_,
                                              .state = state_.data(),
                                              .cache_keys = cache(cache_keys_.data()),
                                              .cache_values = cache(cache_values_.data()),
                                              .kept = kept_.data(),
                                              .counts = counts_.data(),
                                              .statuses = statuses_.data()},
                                             workspace.data(), nullptr)));
    MORPHKV_EXPECT_CUDA(cudaDeviceSynchronize());
    compare_prompt();
    if (!::testing::Test::HasFatalFailure()) compare_victims();
  }

 private:
  [[nodiscard]] cuda::CacheRows<Half> cache(Half* data) const {
    const std::size_t head = std::size_t{policy_.rules.slots} * head_dim;
    return {
        .data = data, .sequence_stride = head * kv_heads, .head_stride = head, .stride = head_dim};
  }
  [[nodiscard]] cuda::CacheRows<Half> prompt_rows(Half* data) const {
    return {.data = data,
            .sequence_stride = std::size_t{longest_} * kv_heads * head_dim,
            .head_stride = head_dim,
            .stride = kv_heads * head_dim};
  }
  [[nodiscard]] cuda::Prompts<Half> prompts(bool with_log_sum_exp) const {
    const std::size_t query = std::size_t{kv_heads} * group_ * head_dim;
    return {.queries = device_queries_.data(),
            .query_sequence_stride = query * longest_,
            .query_stride = query,
            .keys = prompt_rows(device_keys_.data()),
            .values = prompt_rows(device_values_.data()),
            .tokens = lengths_on_device_.data(),
            .max_tokens = longest_,
            .sequences = sequences_,
            .kv_heads = kv_heads,
            .group = group_,
            .scale = 0.125F,
            .log_sum_exp = with_log_sum_exp ? log_sum_exp_.data() : nullptr};
  }

  /// The fused row of one query in double, and its log-sum-exp.
  std::vector<double> oracle_row(std::size_t cell, std::size_t token, std::vector<float>& logs) {
    const std::size_t sequence = cell / kv_heads;
    const std::size_t head = cell % kv_heads;
    std::vector<double> fused(lengths_[sequence], 0.0);
    for (std::size_t g = 0; g < group_; ++g) {
      const std::size_t query_head = head * group_ + g;
      const Half* query =
          &queries_[((sequence * longest_ + token) * kv_heads * group_ + query_head) * head_dim];
      std::vector<double> weights(token + 1, 0.0);
      double sum = 0;
      for (std::size_t t = 0; t <= token; ++t) {
        const Half* key = &keys_[((sequence * longest_ + t) * kv_heads + head) * head_dim];
        for (int d = 0; d < head_dim; ++d) {
          weights[t] += double{static_cast<float>(query[d])} * double{static_cast<float>(key[d])};
        }
        weights[t] = std::exp(0.125 * weights[t]);
        sum += weights[t];
      }
      logs[(cell * group_ + g) * longest_ + token] = static_cast<float>(std::log(sum));
      for (std::size_t t = 0; t <= token; ++t) {
        fused[t] = policy_.rules.group == GroupFusion::max
                       ? std::max(fused[t], weights[t] / sum)
                       : fused[t] + weights[t] / sum / static_cast<double>(group_);
      }
    }
    return fused;
  }

  /// All rows of the device, and whether they are right.
  void rows_of_all_queries() {
    std::vector<float> logs(log_sum_exp_.size(), 0.0F);
    std::vector<std::vector<std::vector<double>>> expected(cells_);
    for (std::size_t cell = 0; cell < cells_; ++cell) {
      for (std::size_t t = 0; t < lengths_[cell / kv_heads]; ++t) {
        expected[cell].push_back(oracle_row(cell, t, logs));
      }
    }
    log_sum_exp_.upload(logs);
    DeviceBuffer<float> rows(cells_ * longest_ * longest_);
    DeviceBuffer<std::uint32_t> bad(std::vector<std::uint32_t>(cells_, 0));
    cuda::Prompts<Half> with_sums = prompts(gives_log_sum_exp_);
    DeviceBuffer<float> sums(log_sum_exp_.size());
    if (!gives_log_sum_exp_) {
      MORPHKV_EXPECT_CUDA(
          (cuda::detail::prompt_sums<Half, head_dim>(with_sums, longest_, sums.data(), nullptr)));
      with_sums.log_sum_exp = sums.data();
    }
    MORPHKV_EXPECT_CUDA((cuda::detail::prompt_rows<Half, head_dim>(with_sums,
                                                                   {.scoring = longest_,
                                                                    .first = 0,
                                                                    .rows = longest_,
                                                                    .fusion = policy_.rules.group,
                                                                    .out = rows.data(),
                                                                    .bad = bad.data()},
                                                                   nullptr)));
    const auto all = rows.download();
    ASSERT_EQ(bad.download(), std::vector<std::uint32_t>(cells_, 0));
    rows_.resize(cells_);
    for (std::size_t cell = 0; cell < cells_; ++cell) {
      const std::size_t tokens = lengths_[cell / kv_heads];
      for (std::size_t q = 0; q < tokens; ++q) {
        const float* row = &all[(cell * longest_ + q) * longest_];
        rows_[cell].emplace_back(row, row + tokens);
        for (std::size_t t = 0; t < tokens; ++t) {
          ASSERT_NEAR(row[t], expected[cell][q][t], 1e-5 + 1e-4 * expected[cell][q][t])
              << "cell " << cell << ", query " << q << ", token " << t;
        }
      }
    }
  }

  void compare_prompt() {
    auto state = state_.download();
    const auto statuses = statuses_.download();
    const auto keys = cache_keys_.download();
    const auto values = cache_values_.download();
    for (std::size_t cell = 0; cell < cells_; ++cell) {
      SCOPED_TRACE(::testing::Message() << "cell " << cell);
      references_.push_back(make_reference(policy_));
      std::vector<float> norms;
      for (std::size_t t = 0; t < lengths_[cell / kv_heads]; ++t) {
        const std::size_t row = (cell / kv_heads * longest_ + t) * kv_heads + cell % kv_heads;
        norms.push_back(pin_norm(&values_[row * head_dim], head_dim));
      }
      ASSERT_EQ(statuses[cell], references_.back()->prompt(rows_[cell], norms));
      const auto positions = references_.back()->positions();
      ASSERT_EQ(positions_of(policy_, state, cell), positions);
      for (std::size_t slot = 0; slot < positions.size(); ++slot) {
        const std::size_t token =
            (cell / kv_heads * longest_ + static_cast<std::size_t>(positions[slot])) * kv_heads +
            cell % kv_heads;
        const std::size_t held = cell * policy_.rules.slots + slot;
        for (std::size_t d = 0; d < head_dim; ++d) {
          ASSERT_EQ(static_cast<float>(keys[held * head_dim + d]),
                    static_cast<float>(keys_[token * head_dim + d]));
          ASSERT_EQ(static_cast<float>(values[held * head_dim + d]),
                    static_cast<float>(values_[token * head_dim + d]));
        }
      }
    }
  }

  /// Tokens that come and do not attend, until every slot has changed hands.
  void compare_victims() {
    DeviceBuffer<Slot> slots(cells_);
    for (std::uint32_t step = 0; step < policy_.rules.capacity; ++step) {
      MORPHKV_EXPECT_CUDA(cuda::place({.policy = policy_,
                                       .state = state_.data(),
                                       .sequences = sequences_,
                                       .kv_heads = kv_heads,
                                       .slots = slots.data()},
                                      nullptr));
      const auto placed = slots.download();
      for (std::size_t cell = 0; cell < cells_; ++cell) {
        const auto next = static_cast<Position>(lengths_[cell / kv_heads] + step);
        ASSERT_EQ(placed[cell], references_[cell]->place(next).slot)
            << "cell " << cell << ", token " << next;
      }
    }
  }

  cuda::Policy policy_;
  std::uint32_t group_;
  std::vector<std::uint32_t> lengths_;
  std::uint32_t longest_;
  std::uint32_t sequences_;
  std::size_t cells_;
  bool gives_log_sum_exp_;
  Random random_{23};
  std::vector<Half> queries_;
  std::vector<Half> keys_;
  std::vector<Half> values_;
  DeviceBuffer<Half> device_queries_;
  DeviceBuffer<Half> device_keys_;
  DeviceBuffer<Half> device_values_;
  DeviceBuffer<std::uint32_t> lengths_on_device_;
  DeviceBuffer<float> log_sum_exp_;
  DeviceBuffer<Half> cache_keys_;
  DeviceBuffer<Half> cache_values_;
  DeviceBuffer<std::byte> state_;
  DeviceBuffer<std::uint32_t> kept_;
  DeviceBuffer<std::uint32_t> counts_;
  DeviceBuffer<Status> statuses_;
  std::vector<std::vector<std::vector<float>>> rows_;
  std::vector<std::unique_ptr<Reference>> references_;
};

TEST_F(PromptsOnDevice, WhatStaysIsWhatThePortableLibraryKeeps) {
  for (const cuda::Policy& policy :
       {cuda::policy_of<MorphKV>({.capacity = 40, .window = 8, .fusion = Fusion::sum}),
        cuda::policy_of<MorphKV>({.capacity = 40, .window = 9, .fusion = Fusion::max}),
        cuda::policy_of<H2O>({.heavy = 20, .recent = 12}),
        cuda::policy_of<TOVA>({.capacity = 37, .recent = 3}),
        cuda::policy_of<DecayedMax>(recommended(40)),
        cuda::policy_of<DecayedMax>({.capacity = 40,
        .recent = 20,
        .half_life = 20,
        .distance = 10,
        .pins = 16,
        .pin_half_life = 10}),
        cuda::policy_of<StreamingLLM>({.capacity = 31}),
        cuda::policy_of<SnapKV>({.capacity = 32, .window = 8, .max_tokens = 200}),
        cuda::policy_of<SnapKV>(
            {.capacity = 32, .window = 4, .kernel = 7, .pooling = Pooling::max, .max_tokens = 200}),
        cuda::policy_of<Full>({.max_tokens = 300})}) {
    for (const bool gives_log_sum_exp : {false, true}) {
      for (const std::uint32_t group : {1U, 2U, 4U, 9U}) {
        SCOPED_TRACE(::testing::Message() << policy.rules.capacity << " tokens, group " << group);
        PromptMatch(policy, group, {90, 1, 40, 41, 7, 130}, gives_log_sum_exp).play();
        if (HasFatalFailure()) return;
      }
    }
  }
}

/// Rows of weights that lie on 4 bytes alone.
TEST_F(PromptsOnDevice, AnOddNumberOfTokens) {
  PromptMatch(cuda::policy_of<MorphKV>({.capacity = 40, .window = 8, .fusion = Fusion::max}), 4,
              {131, 64}, false)
      .play();
}

TEST_F(PromptsOnDevice, Briefly) {
  PromptMatch(cuda::policy_of<MorphKV>({.capacity = 40, .window = 8, .fusion = Fusion::max}), 2,
              {60, 1}, false)
      .play();
  PromptMatch(cuda::policy_of<SnapKV>({.capacity = 32, .window = 8, .max_tokens = 200}), 2, {60},
              true)
      .play();
}

TEST_F(PromptsOnDevice, LongerThanATileOfLogits) {
  PromptMatch(cuda::policy_of<MorphKV>({.capacity = 300, .window = 32, .fusion = Fusion::sum}), 4,
              {2100, 1025}, false)
      .play();
}

}  // namespace
}  // namespace morphkv::testing
