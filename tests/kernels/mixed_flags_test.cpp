// SPDX-License-Identifier: Apache-2.0
//
// Two units of one program, built with different flags, share the choice of the version and no
// code.
#include "kernels/mixed_flags_unit.hpp"
#include "kernels/support.hpp"

namespace morphkv::testing {

UnitReport report_of_baseline_unit() { return report(); }

namespace {

TEST(MixedFlagsTest, EachUnitTakesItsOwnKernels) {
  if (static_cast<int>(kernels::best_isa()) < wide_unit_needs) {
    GTEST_SKIP() << "built on a machine that has "
                 << kernels::to_string(static_cast<Isa>(wide_unit_needs));
  }
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    const UnitReport here = report_of_baseline_unit();
    const UnitReport there = report_of_wide_unit();
    EXPECT_EQ(here.isa, static_cast<int>(isa));
    EXPECT_EQ(there.isa, static_cast<int>(isa));
    EXPECT_EQ(here.build == there.build, here.kernel == there.kernel);
    ASSERT_FALSE(here.output.empty());
    ASSERT_EQ(here.output.size(), there.output.size());
    for (std::size_t d = 0; d < here.output.size(); ++d) {
      EXPECT_NEAR(here.output[d], there.output[d], 1e-5F);
    }
  }
}

}  // namespace
}  // namespace morphkv::testing
