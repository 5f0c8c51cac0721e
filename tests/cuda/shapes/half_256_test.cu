// SPDX-License-Identifier: Apache-2.0
// The decode step on a device, for one more shape.
#include "cuda/decode_cases.cuh"

namespace morphkv::testing { namespace {

class DecodeHalfx256 : public DeviceTest {};

TEST_F(DecodeHalfx256, AllPolicies) { play_all_policies<__half, 256>(); }
TEST_F(DecodeHalfx256, HardCases) { play_hard_cases<__half, 256>(); }

}  // namespace
}  // namespace morphkv::testing
