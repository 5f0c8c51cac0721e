// SPDX-License-Identifier: Apache-2.0
// The decode step on a device, for one more shape.
#include "cuda/decode_cases.cuh"

namespace morphkv::testing { namespace {

class DecodeFloatx256 : public DeviceTest {};

TEST_F(DecodeFloatx256, AllPolicies) { play_all_policies<float, 256>(); }
TEST_F(DecodeFloatx256, HardCases) { play_hard_cases<float, 256>(); }

}  // namespace
}  // namespace morphkv::testing
