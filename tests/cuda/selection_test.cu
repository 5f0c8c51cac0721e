// SPDX-License-Identifier: Apache-2.0
// Rounding, selection, gather and compaction on a device.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "cuda/device.cuh"
#include "cuda/host_top_k.hpp"
#include "morphkv/core/weight_units.hpp"
#include "morphkv/cuda/gather.cuh"
#include "morphkv/cuda/top_k.cuh"

namespace morphkv::testing { namespace {

class SelectionOnDevice : public DeviceTest {};

/// All weights from `first` on, as patterns.
__global__ void round_weights(std::uint32_t first, std::uint32_t count, std::uint16_t* out,
                              std::uint64_t* fine) {
  const std::uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const float weight = __uint_as_float(first + i);
  out[i] = to_half_bits(weight);
  fine[i] = fine_units(weight);
}

TEST_F(SelectionOnDevice, WeightsRoundAsOnTheHost) {
  constexpr std::uint32_t chunk = 1U << 24U;
  std::uint32_t last = 0;
  std::memcpy(&last, &max_weight, sizeof last);
  DeviceBuffer<std::uint16_t> halves(chunk);
  DeviceBuffer<std::uint64_t> fine(chunk);
  for (std::uint32_t first = 0; first <= last; first += chunk) {
    const std::uint32_t count = std::min(chunk, last - first + 1);
    round_weights<<<(count + 255) / 256, 256>>>(first, count, halves.data(), fine.data());
    MORPHKV_EXPECT_CUDA(cudaGetLastError());
    const auto half = halves.download();
    const auto units = fine.download();
    std::uint32_t wrong = 0;  // not an assertion each: there are a thousand million weights
    for (std::uint32_t i = 0; i < count; ++i) {
      float weight = 0;
      const std::uint32_t bits = first + i;
      std::memcpy(&weight, &bits, sizeof weight);
      wrong += half[i] != to_half_bits(weight) || units[i] != fine_units(weight) ? 1U : 0U;
    }
    ASSERT_EQ(wrong, 0U) << "from pattern " << first;
  }
}

template <class Score>
void expect_top_k(const std::vector<Score>& scores, std::uint32_t segments, std::uint32_t count,
                  std::uint32_t k) {
  using Key = decltype(cuda::ranked_key(Score{}));
  DeviceBuffer<Score> device_scores(scores);
  DeviceBuffer<std::uint32_t> device_indices(std::size_t{segments} * k);
  MORPHKV_EXPECT_CUDA(cuda::top_k<Score>({.scores = device_scores.data(),
                                          .score_stride = count,
                                          .segments = segments,
                                          .count = count,
                                          .k = k,
                                          .indices = device_indices.data()},
                                         nullptr));
  const auto indices = device_indices.download();
  for (std::size_t s = 0; s < segments; ++s) {
    std::vector<Key> keys;
    for (std::size_t i = 0; i < count; ++i) keys.push_back(cuda::ranked_key(scores[s * count + i]));
    const auto expected = host_top_k(keys, std::min(k, count));
    for (std::size_t i = 0; i < k; ++i) {
      ASSERT_EQ(indices[s * k + i], i < expected.size() ? expected[i] : no_slot)
          << count << " scores, k = " << k << ", segment " << s;
    }
  }
}

TEST_F(SelectionOnDevice, TopKWithTies) {
  Random random(4);
  for (const std::uint32_t count : {1U, 31U, 1023U, 1024U, 1025U, 8192U}) {
    for (const std::uint64_t values : {1U, 3U, 500U, 1U << 30U}) {
      constexpr std::uint32_t segments = 5;
      std::vector<float> numbers(segments * count);
      std::vector<std::uint32_t> integers(numbers.size());
      std::vector<std::uint64_t> longs(numbers.size());
      for (std::size_t i = 0; i < numbers.size(); ++i) {
        numbers[i] = static_cast<float>(random.below(values)) - static_cast<float>(values / 2);
        integers[i] = static_cast<std::uint32_t>(random.below(values));
        longs[i] = random.below(values) << 31U;
      }
      for (const std::uint32_t k : {1U, count / 2, count - 1, count, count + 3}) {
        if (k == 0) continue;
        expect_top_k(numbers, segments, count, k);
        expect_top_k(integers, segments, count, k);
        expect_top_k(longs, segments, count, k);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_F(SelectionOnDevice, TopKBriefly) {
  expect_top_k(std::vector<float>(2 * 1500, 1.0F), 2, 1500, 700);
}

TEST_F(SelectionOnDevice, GatherAndCompactMoveTheSameRows) {
  Random random(6);
  constexpr std::uint32_t slots = 700;
  constexpr std::uint32_t heads = 3;
  for (const std::uint32_t head_dim : {8U, 40U, 64U, 128U, 256U}) {
    const auto source = draw<__half>(std::size_t{heads} * slots * head_dim, random);
    std::vector<std::uint32_t> rows(heads * slots, 0);
    std::vector<std::uint32_t> counts(heads, 0);
    for (std::uint32_t h = 0; h < heads; ++h) {
      for (std::uint32_t r = 0; r < slots; ++r) {
        if (random.chance(0.3 * (h + 1))) rows[h * slots + counts[h]++] = r;
      }
    }
    DeviceBuffer<__half> from(source);
    DeviceBuffer<__half> to(source.size());
    DeviceBuffer<std::uint32_t> device_rows(rows);
    DeviceBuffer<std::uint32_t> device_counts(counts);
    const auto place = [&](DeviceBuffer<__half>& memory) {
      return cuda::CacheRows<__half>{
          .data = memory.data(), .head_stride = std::size_t{slots} * head_dim, .stride = head_dim};
    };
    const cuda::GatherArguments<__half> a{.from = place(from),
                                          .to = place(to),
                                          .sequences = 1,
                                          .kv_heads = heads,
                                          .head_dim = head_dim,
                                          .rows = device_rows.data(),
                                          .counts = device_counts.data(),
                                          .rows_stride = slots};
    MORPHKV_EXPECT_CUDA(cuda::gather(a, nullptr));
    MORPHKV_EXPECT_CUDA(cuda::compact(a, nullptr));
    const auto gathered = to.download();
    const auto compacted = from.download();
    for (std::uint32_t h = 0; h < heads; ++h) {
      for (std::uint32_t i = 0; i < counts[h]; ++i) {
        const auto* expected = &source[(h * slots + rows[h * slots + i]) * head_dim];
        const std::size_t at = (h * slots + i) * std::size_t{head_dim};
        ASSERT_EQ(std::memcmp(&gathered[at], expected, head_dim * sizeof(__half)), 0);
        ASSERT_EQ(std::memcmp(&compacted[at], expected, head_dim * sizeof(__half)), 0);
      }
    }
  }
}

}  // namespace
}  // namespace morphkv::testing
