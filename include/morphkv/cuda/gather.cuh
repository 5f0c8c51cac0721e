// SPDX-License-Identifier: Apache-2.0
/// \file
/// Rows of keys or values, gathered from one place to another or moved up in place.
#ifndef MORPHKV_CUDA_GATHER_CUH
#define MORPHKV_CUDA_GATHER_CUH

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "morphkv/cuda/cache_rows.cuh"

namespace morphkv { inline namespace MORPHKV_ABI { namespace cuda {

/// Which rows of which heads. All pointers are of the device; nothing is owned. The rows of both
/// places lie on 16 bytes.
template <Element T>
struct GatherArguments {
  CacheRows<T> from{};
  CacheRows<T> to{};  ///< not used by compact()
  std::uint32_t sequences = 0;
  std::uint32_t kv_heads = 0;
  std::uint32_t head_dim = 0;
  const std::uint32_t* rows = nullptr;    ///< [sequences][kv_heads][rows_stride], ascending
  const std::uint32_t* counts = nullptr;  ///< [sequences][kv_heads]: how many of them
  std::uint32_t rows_stride = 0;          ///< at least every count
};

namespace detail {

inline constexpr unsigned gather_threads = 256;
/// Rows that a block of gather_kernel copies.
inline constexpr std::uint32_t gather_rows = 64;

/// Grid: (tiles of rows, cells). Every 16 bytes are the work of a thread.
template <Element T>
__global__ void __launch_bounds__(gather_threads)
    gather_kernel(const __grid_constant__ GatherArguments<T> a) {
  const std::size_t cell = blockIdx.y;
  const KvView<T> from = a.from.head(cell / a.kv_heads, cell % a.kv_heads);
  const KvView<T> to = a.to.head(cell / a.kv_heads, cell % a.kv_heads);
  const std::uint32_t* rows = a.rows + cell * a.rows_stride;
  const std::uint32_t begin = blockIdx.x * gather_rows;
  const std::uint32_t end = min(begin + gather_rows, a.counts[cell]);
  const std::uint32_t words = a.head_dim * sizeof(T) / 16;
  if (begin >= end) return;
  for (std::uint32_t i = threadIdx.x; i < (end - begin) * words; i += blockDim.x) {
    const std::uint32_t row = begin + i / words;
    const auto* source = reinterpret_cast<const uint4*>(row_of(from, rows[row]));
    reinterpret_cast<uint4*>(row_of(to, row))[i % words] = __ldcg(source + i % words);
  }
}

/// A block serves one cell. Row i comes from a row that is not before it, so that what is
/// overwritten has been read: in an earlier round, or before the barrier of this one.
template <Element T>
__global__ void __launch_bounds__(gather_threads)
    compact_kernel(const __grid_constant__ GatherArguments<T> a) {
  const std::size_t cell = blockIdx.x;
  const KvView<T> place = a.from.head(cell / a.kv_heads, cell % a.kv_heads);
  const std::uint32_t* rows = a.rows + cell * a.rows_stride;
  const std::uint32_t words = a.head_dim * sizeof(T) / 16;
  const std::size_t total = std::size_t{a.counts[cell]} * words;
  for (std::size_t base = 0; base < total; base += blockDim.x) {
    const std::size_t i = base + threadIdx.x;
    const auto row = static_cast<std::uint32_t>(i / words);
    uint4 word{};
    if (i < total) {
      word = __ldcg(reinterpret_cast<const uint4*>(row_of(place, rows[row])) + i % words);
    }
    __syncthreads();
    if (i < total) reinterpret_cast<uint4*>(row_of(place, row))[i % words] = word;
    __syncthreads();
  }
}

template <Element T>
[[nodiscard]] cudaError_t check_gather(const GatherArguments<T>& a, bool both) {
  if (a.rows == nullptr || a.counts == nullptr || a.head_dim == 0) return cudaErrorInvalidValue;
  const bool aligned =
      a.head_dim * sizeof(T) % 16 == 0 && a.from.is_aligned() && (!both || a.to.is_aligned());
  return aligned ? cudaSuccess : cudaErrorMisalignedAddress;
}

}  // namespace detail

/// Row i of `to` becomes row rows[i] of `from`, for every head. The two do not overlap. On the
/// stream; no allocation, no synchronisation. At most 65,535 heads in all.
template <Element T>
[[nodiscard]] cudaError_t gather(const GatherArguments<T>& a, cudaStream_t stream) {
  if (a.sequences == 0 || a.kv_heads == 0 || a.rows_stride == 0) return cudaSuccess;
  if (const cudaError_t error = detail::check_gather(a, true); error != cudaSuccess) return error;
  const dim3 grid((a.rows_stride + detail::gather_rows - 1) / detail::gather_rows,
                  a.sequences * a.kv_heads);
  detail::gather_kernel<T><<<grid, detail::gather_threads, 0, stream>>>(a);
  return cudaGetLastError();
}

/// Row i of `from` becomes its row rows[i], in place, for every head. \pre the rows are strictly
/// ascending. On the stream; no allocation, no synchronisation.
template <Element T>
[[nodiscard]] cudaError_t compact(const GatherArguments<T>& a, cudaStream_t stream) {
  if (a.sequences == 0 || a.kv_heads == 0 || a.rows_stride == 0) return cudaSuccess;
  if (const cudaError_t error = detail::check_gather(a, false); error != cudaSuccess) return error;
  detail::compact_kernel<T><<<a.sequences * a.kv_heads, detail::gather_threads, 0, stream>>>(a);
  return cudaGetLastError();
}

}}}  // namespace morphkv::v0::cuda

#endif  // MORPHKV_CUDA_GATHER_CUH
