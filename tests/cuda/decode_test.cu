// SPDX-License-Identifier: Apache-2.0
// The decode step on a device: attention against an oracle in double, kept tokens against the
// portable library, for the shape that most models have. shapes/ has the others.
#include "cuda/decode_cases.cuh"

namespace morphkv::testing { namespace {

using Bfloat16 = __nv_bfloat16;

class DecodeOnDevice : public DeviceTest {};

TEST_F(DecodeOnDevice, AllPolicies) { play_all_policies<Bfloat16, 128>(); }
TEST_F(DecodeOnDevice, Briefly) { play_briefly<Bfloat16, 128>(); }
TEST_F(DecodeOnDevice, HardCases) { play_hard_cases<Bfloat16, 128>(); }

TEST_F(DecodeOnDevice, NumbersThatDoNotFitAreRefused) {
  cuda::DecodeArguments<Bfloat16> a{.sequences = 1, .kv_heads = 1};
  EXPECT_EQ((cuda::decode<Bfloat16, 128>(a, nullptr)), cudaErrorInvalidValue);
  a.policy = cuda::policy_of<MorphKV>({.capacity = 64, .window = 8, .fusion = Fusion::sum});
  EXPECT_EQ((cuda::decode<Bfloat16, 128>(a, nullptr)), cudaErrorInvalidValue);
  DeviceBuffer<std::byte> state(cuda::state_bytes(a.policy, 1, 1));
  a.state = state.data();
  a.cache_keys.stride = 127;
  EXPECT_EQ((cuda::decode<Bfloat16, 128>(a, nullptr)), cudaErrorMisalignedAddress);
}

/// One captured graph serves every step: what it leaves is what calls leave, bit for bit.
TEST_F(DecodeOnDevice, AGraphReplaysTheStep) {
  constexpr std::uint32_t slots = 96;
  constexpr std::uint32_t kv_heads = 3;
  constexpr std::uint32_t group = 4;
  const cuda::Policy policy =
      cuda::policy_of<MorphKV>({.capacity = slots, .window = 16, .fusion = Fusion::max});
  std::vector<std::byte> states[2];
  std::vector<float> rows[2];
  for (const int graphed : {0, 1}) {
    Random random(3);
    DeviceBuffer<Bfloat16> queries(kv_heads * group * 128);
    DeviceBuffer<Bfloat16> token(kv_heads * 128);
    DeviceBuffer<Bfloat16> outputs(queries.size());
    DeviceBuffer<Bfloat16> keys(std::size_t{kv_heads} * slots * 128);
    DeviceBuffer<Bfloat16> values(keys.size());
    DeviceBuffer<std::byte> state(cuda::state_bytes(policy, 1, kv_heads));
    DeviceBuffer<float> fused(std::size_t{kv_heads} * slots);
    const auto cache = [&](DeviceBuffer<Bfloat16>& memory) {
      return cuda::CacheRows<Bfloat16>{
          .data = memory.data(), .head_stride = slots * 128, .stride = 128};
    };
    const cuda::DecodeArguments<Bfloat16> a{.queries = queries.data(),
                                            .keys = token.data(),
                                            .values = token.data(),
                                            .outputs = outputs.data(),
                                            .cache_keys = cache(keys),
                                            .cache_values = cache(values),
                                            .sequences = 1,
                                            .kv_heads = kv_heads,
                                            .group = group,
                                            .scale = 0.088F,
                                            .policy = policy,
                                            .state = state.data(),
                                            .rows = fused.data()};
    cudaStream_t stream = nullptr;
    MORPHKV_EXPECT_CUDA(cudaStreamCreate(&stream));
    MORPHKV_EXPECT_CUDA(cuda::reset_state(policy, state.data(), 0, 1, kv_heads, stream));
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t replay = nullptr;
    if (graphed == 1) {
      MORPHKV_EXPECT_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
      MORPHKV_EXPECT_CUDA((cuda::decode<Bfloat16, 128>(a, stream)));
      MORPHKV_EXPECT_CUDA(cudaStreamEndCapture(stream, &graph));
      MORPHKV_EXPECT_CUDA(cudaGraphInstantiate(&replay, graph, 0));
    }
    for (int step = 0; step < 150; ++step) {
      queries.upload(draw<Bfloat16>(queries.size(), random));
      token.upload(draw<Bfloat16>(token.size(), random));
      if (graphed == 1) {
        MORPHKV_EXPECT_CUDA(cudaGraphLaunch(replay, stream));
      } else {
        MORPHKV_EXPECT_CUDA((cuda::decode<Bfloat16, 128>(a, stream)));
      }
      MORPHKV_EXPECT_CUDA(cudaStreamSynchronize(stream));
    }
    states[graphed] = state.download();
    rows[graphed] = fused.download();
    if (replay != nullptr) MORPHKV_EXPECT_CUDA(cudaGraphExecDestroy(replay));
    if (graph != nullptr) MORPHKV_EXPECT_CUDA(cudaGraphDestroy(graph));
    MORPHKV_EXPECT_CUDA(cudaStreamDestroy(stream));
  }
  EXPECT_EQ(states[0], states[1]);
  EXPECT_EQ(rows[0], rows[1]);
}

}  // namespace
}  // namespace morphkv::testing
