// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "comparison/contenders.hpp"
#include "comparison/lifetimes.hpp"
#include "comparison/make_contender.hpp"
#include "comparison/numbers.hpp"
#include "comparison/statistics.hpp"
#include "comparison/trails_json.hpp"
#include "demo/page.hpp"

namespace morphkv::testing::demo_parts_test { namespace {

TEST(ShareInterval, KeepsAWidthWhereAllAgree) {
  const comparison::Interval all = comparison::share_interval(std::vector<double>(10, 1.0), 250);
  EXPECT_EQ(all.mean, 1);
  EXPECT_NEAR(all.low, 1 - 3.84 / 253.84, 1e-3);
  EXPECT_NEAR(all.high, 1, 1e-12);
  const comparison::Interval none = comparison::share_interval(std::vector<double>(10, 0.0), 250);
  EXPECT_NEAR(none.low, 0, 1e-12);
  EXPECT_GT(none.high, 0.01);
}

TEST(ShareInterval, IsThatOfTheMeanWherePromptsDiffer) {
  const std::vector<double> shares = {0.4, 0.6, 0.5, 0.7, 0.3, 0.5, 0.45, 0.55};
  const comparison::Interval interval = comparison::share_interval(shares, 1000);
  EXPECT_DOUBLE_EQ(interval.mean, 0.5);
  const double error = 0.12247 / std::sqrt(8.0);  // standard deviation over the root of the count
  EXPECT_NEAR(interval.high - interval.low, 2 * 1.96 * error, 0.01);
  EXPECT_EQ(comparison::share_interval({}, 0).mean, 0);
}

TEST(ShareInterval, NeverClaimsMoreThanTheChecks) {
  const comparison::Interval interval =
      comparison::share_interval(std::vector<double>{0.5, 0.5}, 4);
  EXPECT_GT(interval.high - interval.low, 0.6);
}

TEST(Contenders, FillTheirBudgetAndNoMore) {
  const CacheShape shape{.layers = 4, .query_heads = 4, .kv_heads = 2, .head_dim = 32};
  const comparison::Task task{.prompt_tokens = 300, .response_tokens = 900, .seed = 1};
  const double full =
      static_cast<double>(comparison::cache_bytes<KVCache<comparison::Stored, Full>>(
          shape, {.max_tokens = task.prompt_tokens + task.response_tokens}));
  for (const comparison::Contender& contender : comparison::library_contenders()) {
    for (const double budget : {0.1, 0.25, 0.5}) {
      const auto bytes = static_cast<std::size_t>(budget * full);
      const auto variant =
          contender.fit(shape, task, contender.candidates.front(), budget, bytes).value();
      EXPECT_GT(variant.capacity, 0U);
      if (contender.key == "snapkv") {
        EXPECT_FALSE(variant.fits);
      }
      if (contender.key == "morphkv" || contender.key == "streaming_llm") {
        EXPECT_TRUE(variant.fits);
      }
    }
  }
}

TEST(Lifetimes, OneNumberATokenSaysAll) {
  struct FakeCache {
    std::vector<Position> held;
    [[nodiscard]] const std::vector<Position>& positions(std::size_t, std::size_t) const {
      return held;
    }
  };
  comparison::Lifetimes lifetimes(
      CacheShape{.layers = 1, .query_heads = 1, .kv_heads = 1, .head_dim = 1}, 5);
  lifetimes.record(FakeCache{{0, 2}}, 0);
  lifetimes.record(FakeCache{{3, no_position, 0}}, 1);
  constexpr std::uint16_t never = comparison::Lifetimes::never;
  EXPECT_EQ(lifetimes.last().front(), (std::vector<std::uint16_t>{1, never, 0, 1, never}));
}

TEST(Report, Base64) {
  EXPECT_EQ(comparison::detail::base64({}), "");
  EXPECT_EQ(comparison::detail::base64(std::vector<std::uint16_t>{0xFFFF}), "//8=");
  EXPECT_EQ(comparison::detail::base64(std::vector<std::uint16_t>{0x614D, 0x4D6E}), "TWFuTQ==");
  EXPECT_EQ(comparison::detail::base64(std::vector<std::uint16_t>{0x614D, 0x4D6E, 0x6E61}),
            "TWFuTWFu");
}

TEST(Page, NoTextOfAModelBecomesMarkup) {
  nlohmann::ordered_json trails;
  trails["words"]["1"] = "</script><script>alert(1)</script>";
  trails["words"]["2"] = "\xff broken UTF-8";
  const nlohmann::ordered_json real_text = {{"text", "</script><script>alert(1)</script>"}};
  const std::string page = demo::make_page({{"headline", "<b>"}}, trails, real_text);
  EXPECT_EQ(page.find("alert(1)</script>"), std::string::npos);
  EXPECT_NE(page.find("\\u003c/script>\\u003cscript>alert(1)"), std::string::npos);
  for (const char* loads : {"src=", "@import", "url(", "fetch(", "<link"}) {
    EXPECT_EQ(page.find(loads), std::string::npos) << loads;
  }
}

TEST(Numbers, AreForPeople) {
  EXPECT_EQ(comparison::percent(0.934), "93 %");
  EXPECT_EQ(comparison::percent(0.934, 1), "93.4 %");
  EXPECT_EQ(comparison::bytes_text(2048), "2.0 KiB");
  EXPECT_EQ(comparison::bytes_text(320 * 1024), "320 KiB");
  EXPECT_EQ(comparison::bytes_text(4 * 1024 * 1024), "4.0 MiB");
}

}  // namespace
}  // namespace morphkv::testing::demo_parts_test
