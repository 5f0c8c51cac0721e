// SPDX-License-Identifier: Apache-2.0
/// \file
/// Logits of many queries by the matrix units: what a block multiplies at once, for elements of 16
/// bits.
#ifndef MORPHKV_CUDA_MATRIX_LOGITS_CUH
#define MORPHKV_CUDA_MATRIX_LOGITS_CUH

#include <cstddef>
#include <cstdint>

#include "morphkv/core/kv_view.hpp"
#include "morphkv/cuda/cache_rows.cuh"
#include "morphkv/cuda/matrix_product.cuh"

namespace morphkv { inline namespace MORPHKV_ABI { namespace cuda {

/// A block of 256 threads multiplies `queries` queries of `heads` heads each (1, 2 or 4) with
/// `keys` keys, and again with the next keys, which come to shared memory meanwhile.
///
/// Four pairs of warps share the queries, the two warps of a pair the keys. A thread holds four
/// rows of the product, its slots: slot s is head s % heads of query s / heads * 8 + lane / 4 of
/// its warp, so that the heads of a query meet in one thread. It holds the columns
/// 8 j + lane % 4 * 2 and the next, for j < tiles.
template <Element T, int head_dim, int heads>
class MatrixLogits {
  static_assert(sizeof(T) == 2 && (heads == 1 || heads == 2 || heads == 4));

 public:
  static constexpr unsigned threads = 256;
  static constexpr std::uint32_t query_rows = 128;  ///< of queries and heads
  static constexpr std::uint32_t queries = query_rows / heads;
  static constexpr std::uint32_t keys = head_dim > 128 ? 64 : 128;
  static constexpr int slots = 4;
  static constexpr int tiles = static_cast<int>(keys) / 2 / 8;  ///< of eight columns, of a thread
  /// The queries, and the keys twice.
  static constexpr std::size_t shared_bytes = (query_rows + 2 * keys) * head_dim * sizeof(T);

  /// \param shared shared_bytes, on 128 bytes
  __device__ explicit MatrixLogits(unsigned char* shared) : shared_(shared) {}

  /// The query of a slot, among those of the block, and its head.
  [[nodiscard]] static __device__ std::uint32_t query_of(int slot) {
    return warp() % 4 * (queries / 4) + static_cast<unsigned>(slot / heads) * 8 + lane() / 4;
  }
  [[nodiscard]] static constexpr __device__ int head_of(int slot) { return slot % heads; }
  /// The first of the two columns that a thread holds of a tile, among the keys at once.
  [[nodiscard]] static __device__ std::uint32_t column_of(int tile) {
    return warp() / 4 * (keys / 2) + static_cast<unsigned>(tile) * 8 + lane() % 4 * 2;
  }

  /// All threads of a block.
  /// \param row_at row_at(query, head): a query of the block, on 16 bytes, or null for zeros
  template <class RowAt>
  __device__ void load_queries(const RowAt& row_at) const {
    for (std::uint32_t i = threadIdx.x; i < query_rows * chunks; i += threads) {
      const std::uint32_t row = i / chunks;
      const std::uint32_t slot = row % 32 / 8;
      const std::uint32_t query = row / 32 * (queries / 4) + slot / heads * 8 + row % 8;
      const T* from = row_at(query, slot % heads);
      auto* to = reinterpret_cast<uint4*>(shared_) + place_of(row, i % chunks);
      *to = from == nullptr ? uint4{} : *(reinterpret_cast<const uint4*>(from) + i % chunks);
    }
  }

  /// Calls use(token, products) for the keys from `begin` to `end`, MatrixLogits::keys at once:
  /// products[slot][tile][2], of which those past the end mean nothing. All threads of a block.
  template <class Use>
  __device__ void for_each_tile(const KvView<T>& rows, std::uint32_t begin, std::uint32_t end,
                                const Use& use) {
    if (begin >= end) return;
    fetch(rows, begin, end, 0);
    unsigned buffer = 0;
    for (std::uint32_t token = begin; token < end; token += keys) {
      const bool more = token + keys < end;
      if (more) fetch(rows, token + keys, end, buffer ^ 1U);
      if (more) {
        asm volatile("cp.async.wait_group 1;" ::: "memory");
      } else {
        asm volatile("cp.async.wait_group 0;" ::: "memory");
      }
      __syncthreads();
      float products[slots][tiles][2];
      multiply(buffer, products);
      __syncthreads();  // the keys have been read
      use(token, products);
      buffer ^= 1U;
    }
  }

 private:
  static constexpr int steps = head_dim / 16;
  static constexpr std::uint32_t chunks = head_dim / 8;  ///< of 16 bytes, of a row

  [[nodiscard]] static __device__ unsigned lane() { return threadIdx.x % 32; }
  [[nodiscard]] static __device__ unsigned warp() { return threadIdx.x / 32; }

  /// Where a chunk of a row lies, in chunks: those of eight rows never share their banks. The
  /// queries come first, then the keys, twice.
  [[nodiscard]] static __device__ std::uint32_t place_of(std::uint32_t row, std::uint32_t chunk) {
    return row * chunks + (chunk ^ (row & 7U));
  }
  [[nodiscard]] __device__ std::uint32_t address(std::uint32_t row, std::uint32_t chunk) const {
    return static_cast<std::uint32_t>(__cvta_generic_to_shared(shared_)) +
           16 * place_of(row, chunk);
  }
  [[nodiscard]] static __device__ std::uint32_t key_row(unsigned buffer, std::uint32_t row) {
    return query_rows + buffer * keys + row;
  }

  /// Four 8 x 8 parts of shared rows: lane l gives the address of row l % 8 of part l / 8.
  static __device__ void load_parts(std::uint32_t (&parts)[4], std::uint32_t address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(parts[0]), "=r"(parts[1]), "=r"(parts[2]), "=r"(parts[3])
                 : "r"(address));
  }

  __device__ void fetch(const KvView<T>& rows, std::uint32_t begin, std::uint32_t end,
                        unsigned buffer) const {
#pragma unroll
    for (std::uint32_t i = threadIdx.x; i < keys * chunks; i += threads) {
      const std::uint32_t row = i / chunks;
      const T* from = row_of(rows, min(begin + row, end - 1)) + i % chunks * 8;
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(
                       address(key_row(buffer, row), i % chunks)),
                   "l"(__cvta_generic_to_global(from))
                   : "memory");
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
  }

  __device__ void multiply(unsigned buffer, float (&products)[slots][tiles][2]) const {
    float sums[2][tiles][4] = {};
#pragma unroll
    for (int k = 0; k < steps; ++k) {
      const std::uint32_t chunk = static_cast<unsigned>(2 * k);
      std::uint32_t query[2][4];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const std::uint32_t row = warp() % 4 * 32 + static_cast<unsigned>(i) * 16 + lane() % 16;
        load_parts(query[i], address(row, chunk + lane() / 16));
      }
#pragma unroll
      for (int j = 0; j < tiles; j += 2) {
        const std::uint32_t row =
            warp() / 4 * (keys / 2) + static_cast<unsigned>(j) * 8 + lane() / 16 * 8 + lane() % 8;
        std::uint32_t key[4];
        load_parts(key, address(key_row(buffer, row), chunk + lane() / 8 % 2));
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          detail::add_product<T>(sums[i][j], query[i], key[0], key[1]);
          detail::add_product<T>(sums[i][j + 1], query[i], key[2], key[3]);
        }
      }
    }
#pragma unroll
    for (int s = 0; s < slots; ++s) {
#pragma unroll
      for (int j = 0; j < tiles; ++j) {
        products[s][j][0] = sums[s / 2][j][s % 2 * 2];
        products[s][j][1] = sums[s / 2][j][s % 2 * 2 + 1];
      }
    }
  }

  unsigned char* shared_;
};

}}}  // namespace morphkv::v0::cuda

#endif  // MORPHKV_CUDA_MATRIX_LOGITS_CUH
