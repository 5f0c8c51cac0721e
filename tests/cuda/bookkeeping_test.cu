// SPDX-License-Identifier: Apache-2.0
// place and observe on a device: for the same probabilities, the slots and tokens of the portable
// library.
#include "morphkv/cuda/bookkeeping.cuh"

#include <cmath>
#include <memory>
#include <vector>

#include "cuda/device.cuh"
#include "cuda/reference.hpp"
#include "morphkv/policy/decayed_max.hpp"
#include "morphkv/policy/full.hpp"
#include "morphkv/policy/h2o.hpp"
#include "morphkv/policy/morphkv.hpp"
#include "morphkv/policy/recommended.hpp"
#include "morphkv/policy/snapkv.hpp"
#include "morphkv/policy/streaming_llm.hpp"
#include "morphkv/policy/tova.hpp"
#include "support/weights.hpp"

namespace morphkv::testing { namespace {

constexpr std::uint32_t sequences = 3;
constexpr std::uint32_t kv_heads = 2;
constexpr std::uint32_t group = 3;
constexpr std::size_t cells = sequences * kv_heads;

class BookkeepingOnDevice : public DeviceTest {};

/// The portable library's way to fuse, in float.
std::vector<float> fuse(const std::vector<float>& weights, std::size_t cell, std::size_t stride,
                        std::size_t size, GroupFusion fusion) {
  std::vector<float> row(size, 0.0F);
  for (std::size_t g = 0; g < group; ++g) {
    for (std::size_t t = 0; t < size; ++t) {
      const float weight = weights[(cell * group + g) * stride + t];
      row[t] = fusion == GroupFusion::max ? std::max(row[t], weight) : row[t] + weight;
    }
  }
  if (fusion != GroupFusion::max) {
    for (float& weight : row) weight *= 1.0F / static_cast<float>(group);
  }
  return row;
}

void play(const cuda::Policy& policy, cuda::WeightForm form, Weights kind, int steps) {
  SCOPED_TRACE(::testing::Message() << policy.rules.capacity << " tokens, " << kind);
  std::vector<std::unique_ptr<Reference>> references;
  for (std::size_t cell = 0; cell < cells; ++cell) references.push_back(make_reference(policy));
  DeviceBuffer<std::byte> memory(cuda::state_bytes(policy, sequences, kv_heads));
  MORPHKV_EXPECT_CUDA(cuda::reset_state(policy, memory.data(), 0, sequences, kv_heads, nullptr));
  DeviceBuffer<Slot> slots(cells);
  DeviceBuffer<Position> evicted(cells);
  DeviceBuffer<std::uint32_t> sizes(cells);
  DeviceBuffer<Status> statuses(cells);
  DeviceBuffer<Position> positions(sequences);
  DeviceBuffer<float> device_weights(cells * group * policy.rules.slots);
  DeviceBuffer<float> logarithms(std::vector<float>(cells * group, 0.0F));
  Random random(9);
  for (int step = 0; step < steps; ++step) {
    std::vector<Position> at(sequences, static_cast<Position>(2 * step));
    at[step % sequences] = -1;
    positions.upload(at);
    MORPHKV_EXPECT_CUDA(cuda::place({.policy = policy,
                                     .state = memory.data(),
                                     .sequences = sequences,
                                     .kv_heads = kv_heads,
                                     .positions = positions.data(),
                                     .slots = slots.data(),
                                     .evicted = evicted.data(),
                                     .sizes = sizes.data(),
                                     .statuses = statuses.data()},
                                    nullptr));
    const auto slot = slots.download();
    const auto gone = evicted.download();
    const auto size = sizes.download();
    const auto status = statuses.download();
    for (std::size_t cell = 0; cell < cells; ++cell) {
      if (at[cell / kv_heads] < 0) continue;
      const Placement expected = references[cell]->place(at[cell / kv_heads]);
      ASSERT_EQ(status[cell], expected.status);
      ASSERT_EQ(slot[cell], expected.slot) << "step " << step << ", cell " << cell;
      ASSERT_EQ(gone[cell], expected.evicted);
      ASSERT_EQ(size[cell], references[cell]->positions().size());
    }
    if (step % 6 == 5) continue;  // nobody attends
    std::vector<float> weights(device_weights.size());
    for (float& weight : weights) weight = draw_weight(kind, random);
    if (step % 11 == 7) weights[0] = NAN;
    std::vector<float> given = weights;
    if (form == cuda::WeightForm::logits) {
      for (float& weight : given) weight = std::log(weight);
    }
    device_weights.upload(given);
    MORPHKV_EXPECT_CUDA(cuda::observe<float>({.policy = policy,
                                              .state = memory.data(),
                                              .sequences = sequences,
                                              .kv_heads = kv_heads,
                                              .group = group,
                                              .positions = positions.data(),
                                              .form = form,
                                              .weights = device_weights.data(),
                                              .weight_stride = policy.rules.slots,
                                              .log_sum_exp = logarithms.data(),
                                              .statuses = statuses.data()},
                                             nullptr));
    const auto observed = statuses.download();
    auto state = memory.download();
    for (std::size_t cell = 0; cell < cells; ++cell) {
      if (at[cell / kv_heads] < 0) continue;
      const auto row = fuse(weights, cell, policy.rules.slots, references[cell]->positions().size(),
                            policy.rules.group);
      if (std::isnan(weights[cell * group * policy.rules.slots])) {
        ASSERT_EQ(observed[cell], Status::bad_row);
      } else {
        ASSERT_EQ(observed[cell], references[cell]->observe(row));
      }
      ASSERT_EQ(positions_of(policy, state, cell), references[cell]->positions());
    }
  }
}

TEST_F(BookkeepingOnDevice, KeepsWhatThePortableLibraryKeeps) {
  for (const cuda::Policy& policy :
       {cuda::policy_of<MorphKV>({.capacity = 40, .window = 8, .fusion = Fusion::sum}),
        cuda::policy_of<MorphKV>({.capacity = 40, .window = 9, .fusion = Fusion::max}),
        cuda::policy_of<MorphKV>(
            {.capacity = 300, .window = 31, .fusion = Fusion::max, .sinks = 0}),
        cuda::policy_of<H2O>({.heavy = 20, .recent = 12}),
        cuda::policy_of<TOVA>({.capacity = 37, .recent = 3}),
        cuda::policy_of<DecayedMax>(recommended(40)),
        cuda::policy_of<StreamingLLM>({.capacity = 31}),
        cuda::policy_of<SnapKV>({.capacity = 32, .window = 8, .max_tokens = 900}),
        cuda::policy_of<Full>({.max_tokens = 900})}) {
    for (const Weights kind : all_weights) {
      play(policy, cuda::WeightForm::probabilities, kind,
           static_cast<int>(policy.rules.capacity) + 100);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_F(BookkeepingOnDevice, Briefly) {
  play(cuda::policy_of<MorphKV>({.capacity = 40, .window = 9, .fusion = Fusion::max}),
       cuda::WeightForm::probabilities, Weights::coarse, 60);
}

/// Logarithms and exponentials round, so that only weights far apart rank as they did.
TEST_F(BookkeepingOnDevice, TakesLogitsToo) {
  play(cuda::policy_of<StreamingLLM>({.capacity = 31}), cuda::WeightForm::logits, Weights::grid,
       90);
  play(cuda::policy_of<MorphKV>({.capacity = 40, .window = 8, .fusion = Fusion::max}),
       cuda::WeightForm::logits, Weights::zeros, 90);
}

}  // namespace
}  // namespace morphkv::testing
