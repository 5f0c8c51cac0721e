// SPDX-License-Identifier: Apache-2.0
// The decode step on a device, for one more shape.
#include "cuda/decode_cases.cuh"

namespace morphkv::testing {
namespace {

class DecodeOnDevice_float_128 : public DeviceTest {};

TEST_F(DecodeOnDevice_float_128, AllPolicies) { play_all_policies<float, 128>(); }
TEST_F(DecodeOnDevice_float_128, HardCases) { play_hard_cases<float, 128>(); }

}  // namespace
}  // namespace morphkv::testing
