// SPDX-License-Identifier: Apache-2.0
/// \file
/// A batch that decodes on the device, beside an oracle of its attention in double and the portable
/// library's policies, step for step.
#ifndef MORPHKV_TESTS_CUDA_DECODE_CASES_CUH
#define MORPHKV_TESTS_CUDA_DECODE_CASES_CUH

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <ostream>
#include <type_traits>
#include <vector>

#include "cuda/device.cuh"
#include "cuda/reference.hpp"
#include "morphkv/cuda/bookkeeping.cuh"
#include "morphkv/cuda/decode.cuh"
#include "morphkv/policy/decayed_max.hpp"
#include "morphkv/policy/full.hpp"
#include "morphkv/policy/h2o.hpp"
#include "morphkv/policy/morphkv.hpp"
#include "morphkv/policy/recommended.hpp"
#include "morphkv/policy/snapkv.hpp"
#include "morphkv/policy/streaming_llm.hpp"
#include "morphkv/policy/tova.hpp"

namespace morphkv::testing {

struct DecodeCase {
  cuda::Policy policy;
  std::uint32_t sequences = 2;
  std::uint32_t kv_heads = 2;
  std::uint32_t group = 4;
  std::uint32_t steps = 100;
  std::uint32_t page_rows = 0;  ///< 0: in one piece
  bool ragged = false;          ///< sequences sit out now and then, and positions skip
  bool bad_rows = false;        ///< a query is NaN now and then
};

inline std::ostream& operator<<(std::ostream& out, const DecodeCase& c) {
  return out << "slots " << c.policy.rules.slots << ", recent " << c.policy.rules.recent << ", "
             << c.sequences << " x " << c.kv_heads << " cells, group " << c.group << ", pages of "
             << c.page_rows;
}

/// Relative error of a rounding to T.
template <class T>
constexpr double rounding() {
  if (std::is_same_v<T, float>) return 1e-6;
  return std::is_same_v<T, __half> ? 0x1p-10 : 0x1p-8;
}

template <class T, int head_dim>
class DecodeMatch {
 public:
  explicit DecodeMatch(const DecodeCase& c)
      : c_(c),
        cells_(std::size_t{c.sequences} * c.kv_heads),
        queries_(cells_ * c.group * head_dim),
        keys_(cells_ * head_dim),
        values_(cells_ * head_dim),
        outputs_(queries_.size()),
        cache_keys_(cache_elements()),
        cache_values_(cache_elements()),
        positions_(c.sequences),
        state_(cuda::state_bytes(c.policy, c.sequences, c.kv_heads)),
        statuses_(cells_),
        slots_(cells_),
        rows_(cells_ * c.policy.rules.slots),
        log_sum_exp_(cells_ * c.group),
        next_(c.sequences, 0),
        held_keys_(cells_ * c.policy.rules.slots * head_dim),
        held_values_(held_keys_.size()) {
    for (std::size_t cell = 0; cell < cells_; ++cell) {
      references_.push_back(make_reference(c.policy));
    }
  }

  void play() {
    MORPHKV_EXPECT_CUDA(
        cuda::reset_state(c_.policy, state_.data(), 0, c_.sequences, c_.kv_heads, nullptr));
    if (c_.page_rows > 0) make_pages();
    for (std::uint32_t s = 0; s < c_.steps; ++s) {
      step(s);
      if (::testing::Test::HasFatalFailure()) return;
    }
  }

 private:
  [[nodiscard]] std::uint32_t pages_a_head() const {
    return c_.page_rows == 0 ? 0 : (c_.policy.rules.slots + c_.page_rows - 1) / c_.page_rows;
  }
  [[nodiscard]] std::size_t cache_elements() const {
    const std::size_t rows =
        c_.page_rows == 0 ? c_.policy.rules.slots : std::size_t{pages_a_head()} * c_.page_rows;
    return cells_ * rows * head_dim;
  }

  /// Pages in a random order, shared by the heads of a sequence as NHD pages are.
  void make_pages() {
    const std::size_t count = std::size_t{c_.sequences} * pages_a_head();
    std::vector<std::int32_t> pages(count);
    for (std::size_t i = 0; i < count; ++i) pages[i] = static_cast<std::int32_t>(i);
    for (std::size_t i = count; i > 1; --i) std::swap(pages[i - 1], pages[random_.below(i)]);
    pages_ = std::make_unique<DeviceBuffer<std::int32_t>>(pages);
  }

  [[nodiscard]] cuda::CacheRows<T> rows_at(T* data) const {
    if (c_.page_rows == 0) {
      const std::size_t head = std::size_t{c_.policy.rules.slots} * head_dim;
      return {.data = data,
              .sequence_stride = head * c_.kv_heads,
              .head_stride = head,
              .stride = head_dim};
    }
    const std::size_t slot = std::size_t{c_.kv_heads} * head_dim;
    return {.data = data,
            .head_stride = head_dim,
            .stride = slot,
            .pages = pages_->data(),
            .page_rows = c_.page_rows,
            .page_stride = slot * c_.page_rows,
            .table_stride = pages_a_head()};
  }

  void step(std::uint32_t s) {
    auto queries = draw<T>(queries_.size(), random_, 1.5F);
    const auto keys = draw<T>(keys_.size(), random_);
    const auto values = draw<T>(values_.size(), random_);
    std::vector<Position> positions(c_.sequences);
    for (std::uint32_t i = 0; i < c_.sequences; ++i) {
      const bool sits_out = c_.ragged && (s + i) % 3 == 2;
      if (c_.ragged && (s + i) % 7 == 3) next_[i] += 2;
      positions[i] = sits_out ? -1 : next_[i]++;
    }
    if (c_.bad_rows && s % 5 == 4) queries[s % queries.size()] = static_cast<T>(NAN);
    queries_.upload(queries);
    keys_.upload(keys);
    values_.upload(values);
    positions_.upload(positions);
    const float scale = 1.0F / std::sqrt(static_cast<float>(head_dim));
    MORPHKV_EXPECT_CUDA((cuda::decode<T, head_dim>({.queries = queries_.data(),
                                                    .keys = keys_.data(),
                                                    .values = values_.data(),
                                                    .outputs = outputs_.data(),
                                                    .cache_keys = rows_at(cache_keys_.data()),
                                                    .cache_values = rows_at(cache_values_.data()),
                                                    .positions = positions_.data(),
                                                    .sequences = c_.sequences,
                                                    .kv_heads = c_.kv_heads,
                                                    .group = c_.group,
                                                    .scale = scale,
                                                    .policy = c_.policy,
                                                    .state = state_.data(),
                                                    .statuses = statuses_.data(),
                                                    .slots = slots_.data(),
                                                    .rows = rows_.data(),
                                                    .log_sum_exp = log_sum_exp_.data()},
                                                   nullptr)));
    MORPHKV_EXPECT_CUDA(cudaDeviceSynchronize());
    const auto outputs = outputs_.download();
    const auto statuses = statuses_.download();
    const auto slots = slots_.download();
    const auto rows = rows_.download();
    const auto logarithms = log_sum_exp_.download();
    auto state = state_.download();
    for (std::size_t cell = 0; cell < cells_; ++cell) {
      SCOPED_TRACE(::testing::Message() << "step " << s << ", cell " << cell);
      const Position position = positions[cell / c_.kv_heads];
      if (position < 0) continue;
      Reference& reference = *references_[cell];
      const Placement placement = reference.place(position);
      if (placement.status != Status::ok) {
        ASSERT_EQ(statuses[cell], placement.status);
        continue;
      }
      ASSERT_EQ(slots[cell], placement.slot);
      hold(cell, placement.slot, keys, values);
      const std::size_t size = reference.positions().size();
      const std::vector<float> row(rows.begin() + row_begin(cell),
                                   rows.begin() + row_begin(cell) + static_cast<long>(size));
      const bool finite = compare_attention(cell, size, queries, outputs, row, logarithms, scale);
      ASSERT_EQ(statuses[cell], finite ? Status::ok : Status::bad_row);
      if (finite) ASSERT_EQ(reference.observe(row), Status::ok);
      ASSERT_EQ(positions_of(c_.policy, state, cell), reference.positions());
      if (::testing::Test::HasFatalFailure()) return;
    }
  }

  [[nodiscard]] long row_begin(std::size_t cell) const {
    return static_cast<long>(cell * c_.policy.rules.slots);
  }

  void hold(std::size_t cell, Slot slot, const std::vector<T>& keys, const std::vector<T>& values) {
    for (std::size_t d = 0; d < head_dim; ++d) {
      const std::size_t to = (cell * c_.policy.rules.slots + slot) * head_dim + d;
      held_keys_[to] = static_cast<float>(keys[cell * head_dim + d]);
      held_values_[to] = static_cast<float>(values[cell * head_dim + d]);
    }
  }

  /// \return whether the attention of the cell has finite weights
  bool compare_attention(std::size_t cell, std::size_t size, const std::vector<T>& queries,
                         const std::vector<T>& outputs, const std::vector<float>& row,
                         const std::vector<float>& logarithms, float scale) {
    std::vector<double> fused(size, 0.0);
    const double* keys = held_keys_.data() + cell * c_.policy.rules.slots * head_dim;
    const double* values = held_values_.data() + cell * c_.policy.rules.slots * head_dim;
    for (std::size_t g = 0; g < c_.group; ++g) {
      const std::size_t head = cell * c_.group + g;
      std::vector<double> weights(size);
      double greatest = -INFINITY;
      for (std::size_t t = 0; t < size; ++t) {
        for (std::size_t d = 0; d < head_dim; ++d) {
          weights[t] += static_cast<double>(static_cast<float>(queries[head * head_dim + d])) *
                        keys[t * head_dim + d];
        }
        weights[t] *= static_cast<double>(scale);
        if (!std::isfinite(weights[t])) return false;
        greatest = std::max(greatest, weights[t]);
      }
      double sum = 0;
      for (double& weight : weights) sum += weight = std::exp(weight - greatest);
      EXPECT_NEAR(logarithms[head], greatest + std::log(sum), 1e-4);
      for (std::size_t t = 0; t < size; ++t) {
        weights[t] /= sum;
        fused[t] = c_.policy.rules.group == GroupFusion::max
                       ? std::max(fused[t], weights[t])
                       : fused[t] + weights[t] / static_cast<double>(c_.group);
      }
      for (std::size_t d = 0; d < head_dim; ++d) {
        double expected = 0;
        for (std::size_t t = 0; t < size; ++t) expected += weights[t] * values[t * head_dim + d];
        const double actual = static_cast<double>(static_cast<float>(outputs[head * head_dim + d]));
        EXPECT_NEAR(actual, expected, rounding<T>() * std::abs(expected) + 2e-5);
      }
    }
    for (std::size_t t = 0; t < size; ++t) {
      EXPECT_NEAR(row[t], fused[t], 1e-5 + 1e-4 * fused[t]) << "slot " << t;
    }
    return true;
  }

  DecodeCase c_;
  std::size_t cells_;
  Random random_{17};
  DeviceBuffer<T> queries_;
  DeviceBuffer<T> keys_;
  DeviceBuffer<T> values_;
  DeviceBuffer<T> outputs_;
  DeviceBuffer<T> cache_keys_;
  DeviceBuffer<T> cache_values_;
  DeviceBuffer<Position> positions_;
  DeviceBuffer<std::byte> state_;
  DeviceBuffer<Status> statuses_;
  DeviceBuffer<Slot> slots_;
  DeviceBuffer<float> rows_;
  DeviceBuffer<float> log_sum_exp_;
  std::unique_ptr<DeviceBuffer<std::int32_t>> pages_;
  std::vector<Position> next_;
  std::vector<double> held_keys_;
  std::vector<double> held_values_;
  std::vector<std::unique_ptr<Reference>> references_;
};

template <class T, int head_dim>
void play(const DecodeCase& c) {
  SCOPED_TRACE(c);
  DecodeMatch<T, head_dim>(c).play();
}

/// Every policy, over sizes that fill a block's turn, leave a tail, and need a cluster.
template <class T, int head_dim>
void play_all_policies() {
  for (const cuda::Policy& policy :
       {cuda::policy_of<MorphKV>({.capacity = 40, .window = 8, .fusion = Fusion::sum}),
        cuda::policy_of<MorphKV>({.capacity = 40, .window = 9, .fusion = Fusion::max}),
        cuda::policy_of<MorphKV>({.capacity = 33, .window = 1, .fusion = Fusion::max, .sinks = 0}),
        cuda::policy_of<H2O>({.heavy = 20, .recent = 12}),
        cuda::policy_of<TOVA>({.capacity = 37, .recent = 3}),
        cuda::policy_of<DecayedMax>(recommended(40)),
        cuda::policy_of<StreamingLLM>({.capacity = 31}),
        cuda::policy_of<SnapKV>({.capacity = 32, .window = 8, .max_tokens = 200}),
        cuda::policy_of<Full>({.max_tokens = 150})}) {
    for (const std::uint32_t group : {1U, 2U, 3U, 4U, 5U, 8U, 11U}) {
      play<T, head_dim>({.policy = policy, .group = group, .steps = 120});
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
}

template <class T, int head_dim>
void play_hard_cases() {
  for (const Fusion fusion : {Fusion::sum, Fusion::max}) {
    const cuda::Policy policy =
        cuda::policy_of<MorphKV>({.capacity = 70, .window = 16, .fusion = fusion});
    play<T, head_dim>({.policy = policy, .sequences = 5, .steps = 150, .ragged = true});
    play<T, head_dim>({.policy = policy, .steps = 150, .page_rows = 16});
    play<T, head_dim>({.policy = policy, .group = 2, .steps = 150, .page_rows = 7, .ragged = true});
    play<T, head_dim>({.policy = policy, .sequences = 1, .steps = 150, .bad_rows = true});
    // Few cells and many slots: a cluster, where there are any. Many cells: one block each.
    play<T, head_dim>(
        {.policy = cuda::policy_of<MorphKV>({.capacity = 1100, .window = 32, .fusion = fusion}),
         .sequences = 1,
         .kv_heads = 1,
         .steps = 1300});
    play<T, head_dim>(
        {.policy = cuda::policy_of<MorphKV>({.capacity = 300, .window = 32, .fusion = fusion}),
         .sequences = 40,
         .kv_heads = 4,
         .group = 1,
         .steps = 340});
    if (::testing::Test::HasFatalFailure()) return;
  }
}

/// Few steps, for tools that slow them down a hundredfold: growth, eviction, pages, and a cluster.
template <class T, int head_dim>
void play_briefly() {
  for (const cuda::Policy& policy :
       {cuda::policy_of<MorphKV>({.capacity = 34, .window = 5, .fusion = Fusion::sum, .sinks = 2}),
        cuda::policy_of<MorphKV>({.capacity = 34, .window = 5, .fusion = Fusion::max, .sinks = 2}),
        cuda::policy_of<H2O>({.heavy = 20, .recent = 12})}) {
    play<T, head_dim>({.policy = policy, .sequences = 1, .steps = 50, .page_rows = 8});
  }
  play<T, head_dim>(
      {.policy = cuda::policy_of<MorphKV>({.capacity = 300, .window = 16, .fusion = Fusion::max}),
       .sequences = 1,
       .kv_heads = 1,
       .steps = 320});
}

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_CUDA_DECODE_CASES_CUH
