// SPDX-License-Identifier: Apache-2.0
// The decode step on a device, for one more shape.
#include "cuda/decode_cases.cuh"

namespace morphkv::testing { namespace {

class DecodeHalfx128 : public DeviceTest {};

TEST_F(DecodeHalfx128, AllPolicies) { play_all_policies<__half, 128>(); }
TEST_F(DecodeHalfx128, HardCases) { play_hard_cases<__half, 128>(); }

}  // namespace
}  // namespace morphkv::testing
