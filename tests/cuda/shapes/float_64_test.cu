// SPDX-License-Identifier: Apache-2.0
// The decode step on a device, for one more shape.
#include "cuda/decode_cases.cuh"

namespace morphkv::testing { namespace {

class DecodeFloatx64 : public DeviceTest {};

TEST_F(DecodeFloatx64, AllPolicies) { play_all_policies<float, 64>(); }
TEST_F(DecodeFloatx64, HardCases) { play_hard_cases<float, 64>(); }

}  // namespace
}  // namespace morphkv::testing
