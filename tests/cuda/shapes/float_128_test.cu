// SPDX-License-Identifier: Apache-2.0
// The decode step on a device, for one more shape.
#include "cuda/decode_cases.cuh"

namespace morphkv::testing { namespace {

class DecodeFloatx128 : public DeviceTest {};

TEST_F(DecodeFloatx128, AllPolicies) { play_all_policies<float, 128>(); }
TEST_F(DecodeFloatx128, HardCases) { play_hard_cases<float, 128>(); }

}  // namespace
}  // namespace morphkv::testing
