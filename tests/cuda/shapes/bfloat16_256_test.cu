// SPDX-License-Identifier: Apache-2.0
// The decode step on a device, for one more shape.
#include "cuda/decode_cases.cuh"

namespace morphkv::testing { namespace {

class DecodeBfloat16x256 : public DeviceTest {};

TEST_F(DecodeBfloat16x256, AllPolicies) { play_all_policies<__nv_bfloat16, 256>(); }
TEST_F(DecodeBfloat16x256, HardCases) { play_hard_cases<__nv_bfloat16, 256>(); }

}  // namespace
}  // namespace morphkv::testing
