// SPDX-License-Identifier: Apache-2.0
// The decode step on a device, for one more shape.
#include "cuda/decode_cases.cuh"

namespace morphkv::testing { namespace {

class DecodeBfloat16x64 : public DeviceTest {};

TEST_F(DecodeBfloat16x64, AllPolicies) { play_all_policies<__nv_bfloat16, 64>(); }
TEST_F(DecodeBfloat16x64, HardCases) { play_hard_cases<__nv_bfloat16, 64>(); }

}  // namespace
}  // namespace morphkv::testing
