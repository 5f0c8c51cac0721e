// SPDX-License-Identifier: Apache-2.0
/// \file
/// The two passes over the rows of a block by the matrix units, for elements of 16 bits. A step
/// with them takes less than a third of the instructions of one with the passes in
/// block_attention.cuh, so that the memory is what bounds it.
///
/// Rows go from memory to registers, 16 bytes of a row per lane, and are operands as they are: the
/// order of dimensions within a product, and that of tokens, is free. Lane l is lane c = l % 4 of
/// the operand's row g = l / 4.
#ifndef MORPHKV_CUDA_MATRIX_ATTENTION_CUH
#define MORPHKV_CUDA_MATRIX_ATTENTION_CUH

#include <cstddef>
#include <cstdint>

#include "morphkv/core/kv_view.hpp"
#include "morphkv/cuda/block_attention.cuh"
#include "morphkv/cuda/cache_rows.cuh"
#include "morphkv/cuda/matrix_product.cuh"

namespace morphkv { inline namespace MORPHKV_ABI { namespace cuda {

namespace detail {

/// The words of `count` loads of 16 bytes.
template <int count>
struct RowWords {
  uint4 of[count];

  [[nodiscard]] __device__ std::uint32_t word(int load, int index) const {
    const uint4& w = of[load];
    return index == 0 ? w.x : index == 1 ? w.y : index == 2 ? w.z : w.w;
  }
};

}  // namespace detail

/// Queries of a group as an operand: `heads` of them at most, 8 or fewer.
template <Element T, int head_dim>
class MatrixQueries {
  static constexpr int loads = head_dim / 32;
  /// Keys that a warp multiplies at once, in tiles of 16.
  static constexpr int tiles = head_dim < 128 ? 128 / head_dim : 1;
  /// Dimensions that a lane reads at once of a key, in loads of 32 dimensions by four lanes.
  static constexpr int slice = loads < 4 ? loads : 4;

 public:
  /// \param query [count][head_dim], on 16 bytes
  __device__ void load(const T* query, std::uint32_t count) {
    const unsigned lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < loads; ++i) {
      words_.of[i] = uint4{};
      if (lane / 4 < count) {
        words_.of[i] =
            *reinterpret_cast<const uint4*>(query + lane / 4 * head_dim + 32 * i + lane % 4 * 8);
      }
    }
  }

  /// The products with the keys from `begin` to `end`, by all warps of a block: each takes the tile
  /// of its number, and then the next that none has taken, so that a warp may come late.
  /// `store(token, head, product)` is called once for each of them, for heads below `heads`.
  /// \param next_tile of the block: its warps, at first
  template <int heads, class Store>
  __device__ void multiply(const RowsToRead<T>& keys, std::uint32_t begin, std::uint32_t end,
                           std::uint32_t& next_tile, const Store& store) const {
    const unsigned row = threadIdx.x % 32 / 4;
    const unsigned column = threadIdx.x % 4;
    using Words = detail::RowWords<tiles * 2 * slice>;
    const auto load = [&](int part) {
      return [&keys, row, column, end, part](std::uint32_t first) {
        Words words;
#pragma unroll
        for (int r = 0; r < 2 * tiles; ++r) {
          const std::uint32_t token = min(first + static_cast<unsigned>(8 * r) + row, end - 1);
          const T* from = row_of(keys, token) + 32 * slice * part + column * 8;
#pragma unroll
          for (int i = 0; i < slice; ++i) {
            words.of[r * slice + i] = __ldcg(reinterpret_cast<const uint4*>(from + 32 * i));
          }
        }
        return words;
      };
    };
    const auto add = [&](const Words& words, int part, float(&sums)[tiles][4]) {
#pragma unroll
      for (int t = 0; t < tiles; ++t) {
#pragma unroll
        for (int i = 0; i < slice; ++i) {
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const int low = 2 * t * slice + i;
            const int high = low + slice;
            const std::uint32_t key[4] = {words.word(low, 2 * half), words.word(high, 2 * half),
                                          words.word(low, 2 * half + 1),
                                          words.word(high, 2 * half + 1)};
            const int q = part * slice + i;
            detail::add_product<T>(sums[t], key, words_.word(q, 2 * half),
                                   words_.word(q, 2 * half + 1));
          }
        }
      }
    };
    constexpr std::uint32_t tile = 16U * tiles;
    const auto claim = [&] {
      std::uint32_t claimed = 0;
      if (threadIdx.x % 32 == 0) claimed = atomicAdd(&next_tile, 1U);
      return begin + tile * __shfl_sync(0xffffffffU, claimed, 0);
    };
    std::uint32_t first = begin + tile * (threadIdx.x / 32);
    for (; first < end; first = claim()) {
      float sums[tiles][4] = {};
#pragma unroll
      for (int part = 0; part < loads / slice; ++part) add(load(part)(first), part, sums);
#pragma unroll
      for (int i = 0; i < 4 * tiles; ++i) {
        const std::uint32_t token = first + static_cast<unsigned>(i / 4 * 16 + i % 4 / 2 * 8) + row;
        const int head = static_cast<int>(2 * column) + i % 2;
        if (token < end && head < heads) store(token, head, sums[i / 4][i % 4]);
      }
    }
  }

 private:
  detail::RowWords<loads> words_;
};

/// Sums of weights times values, of the tokens that a warp serves, of at most 8 heads. Each weight
/// is the sum of two elements, so that its rounding is that of a float of 16 or more bits.
template <Element T, int head_dim, int heads>
class MatrixOutputs {
  /// Dimensions at once: 128, by eight lanes that read 16 or fewer each.
  static constexpr int width = head_dim < 128 ? head_dim : 128;
  static constexpr int loads = width / 64;  ///< of 16 bytes, of a lane and token
  static constexpr int groups = 2 / loads;  ///< of 16 tokens at once
  static constexpr int products = width / 16;

 public:
  /// Over the tokens from `begin` to `end`, by all warps of a block, in turn.
  /// \param weights [end - begin]
  /// \param to [heads][head_dim], for the warp's sums, which are stored after before_stores(): it
  /// may
  ///           lie over the weights
  template <class BeforeStores>
  static __device__ void sum(const PerHead<heads>* weights, const RowsToRead<T>& values,
                             std::uint32_t begin, std::uint32_t end, float* to,
                             const BeforeStores& before_stores) {
    constexpr int slices = head_dim / width;
    float sums[slices][products][4] = {};
#pragma unroll
    for (int slice = 0; slice < slices; ++slice) {
      add(weights, values, begin, end, slice * width, sums[slice]);
    }
    before_stores();
    const unsigned row = threadIdx.x % 32 / 4;
    const unsigned column = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < slices * products * 4; ++i) {
      const int product = i / 4 % products;
      const int head = static_cast<int>(2 * column) + i % 2;
      const int of_lane = product + i % 4 / 2 * products;  // dimension, among those of the lane
      const int dim =
          i / 4 / products * width + of_lane / 8 * 64 + static_cast<int>(row) * 8 + of_lane % 8;
      if (head < heads) to[head * head_dim + dim] = sums[i / 4 / products][product][i % 4];
    }
  }

 private:
  using Words = detail::RowWords<groups * 4 * loads>;

  static __device__ void add(const PerHead<heads>* weights, const RowsToRead<T>& values,
                             std::uint32_t begin, std::uint32_t end, int dim,
                             float (&sums)[products][4]) {
    const unsigned row = threadIdx.x % 32 / 4;
    const unsigned column = threadIdx.x % 4;
    // Tokens of a lane: 4 column ... 4 column + 3 of each group.
    const auto load = [&](std::uint32_t first) {
      Words words;
#pragma unroll
      for (int t = 0; t < 4 * groups; ++t) {
        const std::uint32_t token =
            min(first + static_cast<unsigned>(t / 4 * 16 + t % 4) + 4 * column, end - 1);
        const T* from = row_of(values, token) + dim + row * 8;
#pragma unroll
        for (int i = 0; i < loads; ++i) {
          words.of[t * loads + i] = __ldcg(reinterpret_cast<const uint4*>(from + 64 * i));
        }
      }
      return words;
    };
    constexpr std::uint32_t tile = 16U * groups;
    const std::uint32_t step = blockDim.x / 32 * tile;
    for (std::uint32_t first = begin + threadIdx.x / 32 * tile; first < end; first += step) {
      const Words words = load(first);
#pragma unroll
      for (int g = 0; g < groups; ++g) {
        float weight[4];
#pragma unroll
        for (int t = 0; t < 4; ++t) {
          const std::uint32_t token = first + static_cast<unsigned>(16 * g + t) + 4 * column;
          weight[t] = token < end && row < heads ? weights[token - begin].x[row] : 0.0F;
        }
        std::uint32_t high[2];
        std::uint32_t low[2];
#pragma unroll
        for (int pair = 0; pair < 2; ++pair) {
          detail::split<T>(weight[2 * pair], weight[2 * pair + 1], high[pair], low[pair]);
        }
#pragma unroll
        for (int p = 0; p < products; ++p) {
          const auto pair_of = [&](int of_lane, int pair) {  // a dimension of two tokens
            const int t = 4 * g + 2 * pair;
            const int load_index = of_lane / 8;
            const int word = of_lane % 8 / 2;
            return __byte_perm(words.word(t * loads + load_index, word),
                               words.word((t + 1) * loads + load_index, word),
                               of_lane % 2 == 0 ? 0x5410U : 0x7632U);
          };
          const std::uint32_t value[4] = {pair_of(p, 0), pair_of(p + products, 0), pair_of(p, 1),
                                          pair_of(p + products, 1)};
          detail::add_product<T>(sums[p], value, high[0], high[1]);
          detail::add_product<T>(sums[p], value, low[0], low[1]);
        }
      }
    }
  }
};

}}}  // namespace morphkv::v0::cuda

#endif  // MORPHKV_CUDA_MATRIX_ATTENTION_CUH
