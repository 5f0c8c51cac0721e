// SPDX-License-Identifier: Apache-2.0
// The scores of the papers' benchmarks, beside values that were computed by hand from the
// definitions.
#include <gtest/gtest.h>

#if defined(MORPHKV_TOKENIZER_JSON)  // Unicode's properties come from utf8proc

#include <string>
#include <vector>

#include "papers/scores/class_match.hpp"
#include "papers/scores/completion_rate.hpp"
#include "papers/scores/edit_similarity.hpp"
#include "papers/scores/length_score.hpp"
#include "papers/scores/number_match.hpp"
#include "papers/scores/rouge_l.hpp"
#include "papers/scores/string_match.hpp"
#include "papers/scores/token_f1.hpp"
#include "papers/text.hpp"

namespace morphkv::testing::papers_scores_test { namespace {

using Strings = std::vector<std::string>;

TEST(PapersText, ReplacesWhatIsNotUtf8AndKeepsTheRest) {
  EXPECT_EQ(papers::valid_utf8("a\xE4\xBD\xA0z"), "a\xE4\xBD\xA0z");
  EXPECT_EQ(papers::valid_utf8("a\xFFz"), "a\xEF\xBF\xBDz");
  EXPECT_EQ(papers::valid_utf8("\xE4\xBD"), "\xEF\xBF\xBD\xEF\xBF\xBD") << "half a character";
  EXPECT_EQ(papers::valid_utf8(""), "");
  EXPECT_EQ(papers::split("a,,b,", ","), (std::vector<std::string_view>{"a", "", "b", ""}));
  EXPECT_EQ(papers::split("", ","), (std::vector<std::string_view>{""}));
  EXPECT_EQ(papers::words(U" a\u3000b\tc\n"), (std::vector<std::u32string>{U"a", U"b", U"c"}));
  EXPECT_EQ(papers::lower_case(U"ÄB1"), U"äb1");
}

TEST(PapersTokenF1, CountsCommonWords) {
  // {cat, sat} and {cat, sat, down}: precision 1, recall 2/3.
  EXPECT_DOUBLE_EQ(papers::token_f1("The cat sat.", "a cat sat down"), 0.8);
  // One cat of three and of two words: precision 1/3, recall 1/2.
  EXPECT_DOUBLE_EQ(papers::token_f1("cat cat cat", "Cat dog"), 0.4);
  EXPECT_DOUBLE_EQ(papers::token_f1("cat", "dog"), 0);
  EXPECT_DOUBLE_EQ(papers::token_f1("", "dog"), 0);
  EXPECT_DOUBLE_EQ(papers::token_f1("the", "a"), 0) << "articles alone are no words";
  EXPECT_DOUBLE_EQ(papers::token_f1("theatre", "the atre"), 0) << "articles are whole words";
  EXPECT_EQ(papers::answer_words("\u201CA\u201D U.S. plan_b"),
            (std::vector<std::u32string>{U"\u201C", U"\u201D", U"us", U"planb"}))
      << "only ASCII punctuation is removed";
}

TEST(PapersRougeL, CountsDifferentWordsOfCommonSubsequences) {
  EXPECT_NEAR(papers::rouge_l("the cat sat", "the cat ran"), 2.0 / 3, 1e-7);
  EXPECT_NEAR(papers::rouge_l("a b", "a b"), 1, 1e-7);
  // (a b c | a c x): a c. (d e | e d): e, as the walk first skips a word of the prediction. 3 of 5.
  EXPECT_NEAR(papers::rouge_l("a c x. e d", "a b c. d e"), 0.6, 1e-7);
  // Words count once: {a} of {a, b} and of {a}.
  EXPECT_NEAR(papers::rouge_l("a b a b", "a a"), 2.0 / 3, 1e-7);
  // The white space after the full stop is a sentence of an empty word: 2 of 3 and 2 of 2.
  EXPECT_NEAR(papers::rouge_l("a b. ", "a b"), 0.8, 1e-7);
  EXPECT_EQ(papers::rouge_l("", "a"), 0);
  EXPECT_EQ(papers::rouge_l("...", "a"), 0);
  EXPECT_EQ(papers::rouge_l("a", "b"), 0);
}

TEST(PapersClassMatch, DividesByTheClassesNamed) {
  const Strings classes = {"animal", "plant"};
  EXPECT_EQ(papers::class_match("It is an animal.", "animal", classes), 1);
  EXPECT_EQ(papers::class_match("animal or plant", "plant", classes), 0.5);
  EXPECT_EQ(papers::class_match("animal", "plant", classes), 0);
  EXPECT_EQ(papers::class_match("", "plant", classes), 0);
  EXPECT_EQ(papers::class_match("Food", "Food item", Strings{"Food", "Food item"}), 0);
  EXPECT_EQ(papers::class_match("Food item", "Food item", Strings{"Food", "Food item"}), 1);
  EXPECT_EQ(papers::class_match("Food item", "Food item", Strings{"Food", "item", "Food item"}),
            0.5)
      << "the name after a removed one is not looked at";
}

TEST(PapersNumberMatch, IsTheShareOfRightNumbers) {
  EXPECT_DOUBLE_EQ(papers::number_match("Paragraph 12, or 7, or 12.", "12"), 2.0 / 3);
  EXPECT_EQ(papers::number_match("112", "12"), 0);
  EXPECT_EQ(papers::number_match("no number", "12"), 0);
  EXPECT_EQ(papers::number_match("\uFF11\uFF12 12", "12"), 0.5) << "wide digits are digits";
  EXPECT_EQ(papers::number_after("Paragraph x, Paragraph 60.", "Paragraph "), "60");
  EXPECT_EQ(papers::number_after("段落27", "段落"), "27");
  EXPECT_EQ(papers::number_after("27", "Paragraph "), "");
}

TEST(PapersEditSimilarity, MatchesAsDifflibDoes) {
  EXPECT_DOUBLE_EQ(papers::text_similarity("abcd", "bcde"), 0.75);
  EXPECT_DOUBLE_EQ(papers::text_similarity("tide", "diet"), 0.25) << "not the longest subsequence";
  EXPECT_DOUBLE_EQ(papers::text_similarity("diet", "tide"), 0.5);
  EXPECT_DOUBLE_EQ(papers::text_similarity("abxcd", "abcd"), 0.89) << "8 of 9";
  EXPECT_DOUBLE_EQ(papers::text_similarity("abcdexxx", "abcdeyyy"), 0.62) << "62.5: to the even";
  EXPECT_DOUBLE_EQ(papers::text_similarity("日本", "日木"), 0.5) << "characters, not bytes";
  EXPECT_EQ(papers::text_similarity("", ""), 1);
  EXPECT_EQ(papers::text_similarity("a", ""), 0);
  EXPECT_DOUBLE_EQ(papers::text_similarity("ba", std::string(199, 'a')), 0.01);
  EXPECT_DOUBLE_EQ(papers::text_similarity("ba", std::string(200, 'a')), 0)
      << "in a text of 200 characters, a frequent one starts no match";
  EXPECT_EQ(papers::edit_similarity("\n\n# note\n// note\n```\nx = 1\ny", "x = 1"), 1);
  EXPECT_EQ(papers::edit_similarity("# note", "x = 1"), 0);
}

TEST(PapersStringMatch, FindsStringsInAnyCase) {
  const Strings strings = {"ab-1", "CD-2", "ef-3"};
  EXPECT_DOUBLE_EQ(papers::match_all("The values are AB-1 and cd-2.", strings), 2.0 / 3);
  EXPECT_EQ(papers::match_part("The values are AB-1 and cd-2.", strings), 1);
  EXPECT_EQ(papers::match_all("", strings), 0);
  EXPECT_EQ(papers::match_part("none", strings), 0);
  EXPECT_EQ(papers::match_part(" \n ", Strings{"\n"}), 0) << "the ends are stripped";
  EXPECT_EQ(papers::match_part("a\tb", Strings{"a\nb"}), 1) << "control characters are line ends";
}

TEST(PapersCompletionRate, CountsTheEntriesThatExist) {
  const std::string text =
      "#*# Week 1 (January): x Week 3 #*# Week 2: y #*# Week 2 #*# Week 9 #*# Weekend #*# Week 0";
  EXPECT_EQ(papers::completion_rate(text, "Week", 4), 0.5);
  EXPECT_EQ(papers::completion_rate(text, "Floor", 4), 0);
  EXPECT_EQ(papers::completion_rate("Week 1 Week 2 Week 3", "Week", 3), 1.0 / 3)
      << "one entry without marks";
  EXPECT_EQ(papers::completion_rate("#*# Menu Week 1 #*# Menu Week 02", "Menu Week", 2), 1);
  EXPECT_EQ(papers::completion_rate("Week 99999999999999999999999", "Week", 5), 0);
  EXPECT_EQ(papers::completion_rate("", "Week", 5), 0);
}

TEST(PapersLengthScore, FallsToZeroAtAThirdAndAtFourTimesTheLength) {
  EXPECT_EQ(papers::length_score(1000, 1000), 1);
  EXPECT_DOUBLE_EQ(papers::length_score(1000, 2500), 0.5);
  EXPECT_EQ(papers::length_score(1000, 4000), 0);
  EXPECT_EQ(papers::length_score(1000, 9000), 0);
  EXPECT_DOUBLE_EQ(papers::length_score(1000, 500), 0.5);
  EXPECT_EQ(papers::length_score(300, 100), 0);
  EXPECT_EQ(papers::length_score(300, 0), 0);
  // Don, t, stop, and three characters; x2 and words with other letters do not count.
  EXPECT_EQ(papers::count_words("Don't stop: 中文字 x2 naïve café a_b"), 6U);
  EXPECT_EQ(papers::count_words("hello世界"), 2U) << "no border between the letters";
  EXPECT_EQ(papers::count_words(""), 0U);
}

}  // namespace
}  // namespace morphkv::testing::papers_scores_test

#endif
