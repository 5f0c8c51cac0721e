// SPDX-License-Identifier: Apache-2.0
//
// Top-k against a full sort.
#include "morphkv/kernels/top_k.hpp"

#include <algorithm>
#include <type_traits>

#include "kernels/support.hpp"
#include "morphkv/score/score.hpp"

namespace morphkv::testing::top_k_test { namespace {

template <class S>
std::vector<std::uint32_t> sorted_choice(const std::vector<S>& scores, std::size_t wanted) {
  std::vector<std::uint32_t> order(scores.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return scores[a] != scores[b] ? scores[a] > scores[b] : a > b;
  });
  order.resize(wanted);
  std::sort(order.begin(), order.end());
  return order;
}

template <class S>
auto key_of(S score) {
  if constexpr (std::is_same_v<S, float>) {
    return ranked_key(score);
  } else {
    return score;
  }
}

template <class S>
void expect_top_k(const std::vector<S>& scores, std::size_t wanted) {
  const auto expected = sorted_choice(scores, wanted);
  using Key = decltype(key_of(S{}));
  std::vector<Key> keys;
  for (const S score : scores) keys.push_back(key_of(score));
  std::vector<std::uint32_t> indices;
  kernels::top_k(std::span<const Key>(keys), wanted,
                 [&](std::uint32_t index) { indices.push_back(index); });
  ASSERT_EQ(indices, expected) << scores.size() << " scores, " << wanted << " wanted";
}

std::vector<std::size_t> counts(std::size_t size) {
  return {0, (size + 1) / 8, size / 2, size - 1, size};
}

TEST(TopKTest, AnySizeShapeAndCount) {
  auto all_sizes = sizes();
  all_sizes.insert(all_sizes.end(), {2047, 2048, 2049, 5000, 20000});
  for (const std::size_t size : all_sizes) {
    for (const Shape shape : shapes()) {
      std::mt19937 engine(static_cast<unsigned>(size));
      std::vector<float> scores(size);
      for (float& score : scores) {
        score = draw(shape, engine);
        if (engine() % 2 == 0) score = -score;
      }
      for (const std::size_t wanted : counts(size)) expect_top_k(scores, wanted);
    }
  }
}

TEST(TopKTest, FewDistinctValues) {
  for (const std::size_t size : Sizes{100, 3000, 70000}) {
    std::mt19937 engine(1);
    std::vector<float> scores(size);
    for (float& score : scores) score = static_cast<float>(engine() % 3) - 1;
    for (const std::size_t wanted : counts(size)) expect_top_k(scores, wanted);
  }
}

TEST(TopKTest, InfinitiesAndZeros) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  const float values[] = {infinity, -infinity, 0.0F, -0.0F, 1e-45F, -1e-45F, 3e38F};
  for (const std::size_t size : Sizes{50, 4000}) {
    std::mt19937 engine(2);
    std::vector<float> scores(size);
    for (float& score : scores) score = values[engine() % std::size(values)];
    for (std::size_t wanted = 0; wanted < size; wanted += size / 25) expect_top_k(scores, wanted);
  }
}

TEST(TopKTest, KeysOfThirtyTwoBits) {
  for (const std::size_t size : Sizes{33, 2500, 40000}) {
    std::mt19937 engine(3);
    std::vector<std::uint32_t> scores(size);
    for (std::uint32_t& score : scores) score = static_cast<std::uint32_t>(engine());
    scores[size / 3] = scores[size / 2] = std::numeric_limits<std::uint32_t>::max();
    scores[size / 4] = 0;
    for (const std::size_t wanted : counts(size)) expect_top_k(scores, wanted);
  }
}

TEST(TopKTest, KeysOfSixtyFourBits) {
  for (const std::size_t size : Sizes{33, 2500, 40000}) {
    std::mt19937_64 engine(3);
    std::vector<std::uint64_t> scores(size);
    for (std::uint64_t& score : scores) score = engine() >> (engine() % 60);
    scores[size / 3] = scores[size / 2] = std::numeric_limits<std::uint64_t>::max();
    scores[size / 4] = 0;
    for (const std::size_t wanted : counts(size)) expect_top_k(scores, wanted);
  }
}

TEST(TopKTest, SortedInputs) {
  for (const std::size_t size : Sizes{4096, 50000}) {
    std::vector<float> up(size);
    for (std::size_t i = 0; i < size; ++i) up[i] = static_cast<float>(i);
    std::vector<float> spike(size, 1.0F);
    for (std::size_t i = 0; i < size; i += 16) spike[i] = static_cast<float>(i);
    std::vector<float> down(up.rbegin(), up.rend());
    for (const std::size_t wanted : counts(size)) {
      expect_top_k(up, wanted);
      expect_top_k(down, wanted);
      expect_top_k(spike, wanted);
    }
  }
}

}  // namespace
}  // namespace morphkv::testing::top_k_test
