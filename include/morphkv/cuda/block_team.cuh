// SPDX-License-Identifier: Apache-2.0
/// \file
/// The team of eviction/step.hpp on the device: a block, or a cluster of blocks that share a head.
#ifndef MORPHKV_CUDA_BLOCK_TEAM_CUH
#define MORPHKV_CUDA_BLOCK_TEAM_CUH

#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>

#include <cstdint>

#include "morphkv/core/config.hpp"

namespace morphkv { inline namespace MORPHKV_ABI { namespace cuda {

/// Lanes of a warp.
inline constexpr unsigned warp_lanes = 32;

/// The blocks of a cluster, each with the same shared memory. Where the device has no clusters
/// (below sm_90) there is one block. Read a peer's memory between two calls of sync().
class Cluster {
 public:
  __device__ explicit Cluster(std::uint32_t blocks) : blocks_(blocks) {}

  [[nodiscard]] __device__ std::uint32_t blocks() const { return blocks_; }
  [[nodiscard]] __device__ std::uint32_t rank() const { return blockIdx.x % blocks_; }

  /// Of all threads of all blocks; it orders their shared and global memory.
  __device__ void sync() const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    if (blocks_ > 1) {
      cooperative_groups::this_cluster().sync();
      return;
    }
#endif
    __syncthreads();
  }

  /// The same variable of another block.
  template <class T>
  [[nodiscard]] __device__ T* peer(T* variable, std::uint32_t rank) const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    if (blocks_ > 1) return cooperative_groups::this_cluster().map_shared_rank(variable, rank);
#endif
    return variable;
  }

 private:
  std::uint32_t blocks_;
};

/// Shared memory of a BlockTeam. Calls take turns with it, so that a slow reader is overtaken by
/// one call at most.
struct TeamStorage {
  std::uint64_t of_warp[2][warp_lanes];
  std::uint64_t of_block[2];
};

/// The threads of a cluster. Block r serves the slots from r * slots_per_block on.
class BlockTeam {
 public:
  __device__ BlockTeam(TeamStorage& storage, const Cluster& cluster, std::uint32_t slots_per_block)
      : storage_(storage), cluster_(cluster), slots_(slots_per_block) {}

  /// The slots of this block: first_slot() ... end(slots) - 1.
  [[nodiscard]] __device__ std::uint32_t first_slot() const { return cluster_.rank() * slots_; }
  [[nodiscard]] __device__ std::uint32_t begin() const { return first_slot() + threadIdx.x; }
  [[nodiscard]] __device__ std::uint32_t end(std::uint32_t slots) const {
    return min(first_slot() + slots_, slots);
  }
  [[nodiscard]] __device__ std::uint32_t stride() const { return blockDim.x; }
  [[nodiscard]] __device__ bool is_leader() const {
    return threadIdx.x == 0 && cluster_.rank() == 0;
  }
  [[nodiscard]] __device__ const Cluster& cluster() const { return cluster_; }

  template <class T>
  [[nodiscard]] __device__ T least(T x) const {
    namespace cg = cooperative_groups;
    const auto warp = cg::tiled_partition<warp_lanes>(cg::this_thread_block());
    x = cg::reduce(warp, x, cg::less<T>());
    std::uint64_t* of_warp = storage_.of_warp[turn_];
    if (warp.thread_rank() == 0) of_warp[warp.meta_group_rank()] = x;
    __syncthreads();
    for (unsigned w = 0; w < warp.meta_group_size(); ++w) x = min(x, static_cast<T>(of_warp[w]));
    if (cluster_.blocks() > 1) {
      std::uint64_t& of_block = storage_.of_block[turn_];
      if (threadIdx.x == 0) of_block = x;
      cluster_.sync();
      for (std::uint32_t r = 0; r < cluster_.blocks(); ++r) {
        x = min(x, static_cast<T>(*cluster_.peer(&of_block, r)));
      }
    }
    turn_ ^= 1U;
    return x;
  }

 private:
  TeamStorage& storage_;
  const Cluster& cluster_;
  std::uint32_t slots_;
  mutable unsigned turn_ = 0;
};

/// One warp of a block, for all slots of the block.
class WarpTeam {
 public:
  /// \param slots of the block
  __device__ WarpTeam(std::uint32_t first_slot, std::uint32_t slots)
      : first_(first_slot), slots_(slots) {}

  [[nodiscard]] __device__ std::uint32_t begin() const { return first_ + threadIdx.x % warp_lanes; }
  [[nodiscard]] __device__ std::uint32_t end(std::uint32_t slots) const {
    return min(first_ + slots_, slots);
  }
  [[nodiscard]] __device__ static std::uint32_t stride() { return warp_lanes; }

  template <class T>
  [[nodiscard]] __device__ T least(T x) const {
    namespace cg = cooperative_groups;
    return cg::reduce(cg::tiled_partition<warp_lanes>(cg::this_thread_block()), x, cg::less<T>());
  }

 private:
  std::uint32_t first_;
  std::uint32_t slots_;
};

}}}  // namespace morphkv::v0::cuda

#endif  // MORPHKV_CUDA_BLOCK_TEAM_CUH
