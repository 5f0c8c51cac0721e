// SPDX-License-Identifier: Apache-2.0
// The decode step on a device, for one more shape.
#include "cuda/decode_cases.cuh"

namespace morphkv::testing { namespace {

class DecodeHalfx64 : public DeviceTest {};

TEST_F(DecodeHalfx64, AllPolicies) { play_all_policies<__half, 64>(); }
TEST_F(DecodeHalfx64, HardCases) { play_hard_cases<__half, 64>(); }

}  // namespace
}  // namespace morphkv::testing
