// SPDX-License-Identifier: Apache-2.0
#ifndef MORPHKV_BENCH_TASKS_VOCABULARY_HPP
#define MORPHKV_BENCH_TASKS_VOCABULARY_HPP

#include <cstddef>
#include <sstream>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "random.hpp"

namespace morphkv::tasks {

// A word-level vocabulary: one token a word. Ids are dense and never change once a model is
// trained: new words go to the end, so that an older model speaks a first part of it.
class Vocabulary {
 public:
  static constexpr int number_count = 128;
  static constexpr int argument_count = 10;  // of "for-0", ..., and of the first "every-0", ...
  static constexpr int period_count = 64;

  Vocabulary() {
    add_words("<pad> <bos> rules begin day : . chest in out once done");
    filler_ = {"the road was long today", "rain fell on far hills", "we ate bread and cheese",
               "a cold wind blew north", "stars rose above our camp"};
    for (const std::string& phrase : filler_) {
      add_words(phrase);
    }
    first_number_ = add_numbers("", number_count);
    first_for_ = add_numbers("for-", argument_count);
    first_every_ = add_numbers("every-", argument_count);
    names_ = add_words(
        "ada alf amy ann ben bea bob cal cid cleo dan dea dora ed eli emma eva finn flo fred gail "
        "gus guy hal hans ida ike ina ivan jack jan jill joe kai kate ken kim lars lea leo lily "
        "liz lou lucy max mia milo nan ned nick nina noah olga omar otto pam pat paul pia rob rosa "
        "roy ruth sam sara tess tim tina tom uma vera vic walt wes wim yan yves zac zoe");
    things_ = add_words(
        "anchor apple arrow axe barrel basket bell belt boat book boot bottle bow bowl box brush "
        "bucket button candle cap card carpet chain chair clock cloak coat coin comb compass cup "
        "dagger desk dish doll door drum fan feather fiddle flag flask flute fork gem glove goblet "
        "hammer harp hat helmet hook horn jar key kite knife ladder lamp lantern lens letter lock "
        "map mask medal mirror needle net oar paddle pan pearl pen pillow pipe plate pot purse "
        "quill rake ribbon ring robe rope saddle saw scarf shell");
    add_later_words();
  }

  [[nodiscard]] int size() const { return static_cast<int>(words_.size()); }
  [[nodiscard]] const std::string& word(int id) const {
    return words_.at(static_cast<std::size_t>(id));
  }
  [[nodiscard]] int id(std::string_view word) const { return ids_.at(std::string(word)); }
  [[nodiscard]] const std::vector<std::string>& words() const { return words_; }

  [[nodiscard]] int number(int n) const { return first_number_ + n; }
  [[nodiscard]] bool is_number(int id) const {
    return id >= first_number_ && id < first_number_ + number_count;
  }
  [[nodiscard]] int value_of(int id) const { return id - first_number_; }

  [[nodiscard]] int for_days(int n) const { return first_for_ + n; }
  [[nodiscard]] int every_days(int n) const {
    return n < argument_count ? first_every_ + n : first_long_every_ + n - argument_count;
  }

  [[nodiscard]] const std::vector<int>& names() const { return names_; }
  [[nodiscard]] const std::vector<int>& things() const { return things_; }
  [[nodiscard]] const std::vector<int>& places() const { return places_; }
  [[nodiscard]] const std::vector<int>& trades() const { return trades_; }
  // Phrases of five words that tell nothing. The first daily_phrases are those of the shortest
  // logs.
  static constexpr std::size_t daily_phrases = 5;
  [[nodiscard]] const std::vector<std::string>& filler() const { return filler_; }

  [[nodiscard]] const std::string& phrase(Random& random) const {
    return filler_[static_cast<std::size_t>(
        random.uniform(0, static_cast<int>(filler_.size()) - 1))];
  }

  // The ids of a text whose words are separated by white space.
  [[nodiscard]] std::vector<int> encode(const std::string& text) const {
    std::vector<int> ids;
    std::istringstream stream(text);
    for (std::string word; stream >> word;) {
      ids.push_back(id(word));
    }
    return ids;
  }
  void append(std::vector<int>& tokens, const std::string& text) const {
    const std::vector<int> ids = encode(text);
    tokens.insert(tokens.end(), ids.begin(), ids.end());
  }

 private:
  // What the first model did not know.
  void add_later_words() {
    first_long_every_ = size();
    for (int n = argument_count; n < period_count; ++n) {
      add("every-" + std::to_string(n));
    }
    for (const char* phrase :
         {"we crossed an old bridge", "dogs barked behind the fence", "snow lay on high passes",
          "mist hid the broken tower", "smoke hung over each valley", "geese flew south at dusk",
          "our mule lost its shoe", "children waved from their window",
          "thunder rolled along the coast", "an owl called at midnight",
          "fireflies danced above warm grass", "somebody sang beside the well",
          "water tasted of iron here", "pines gave us cool shade",
          "two eagles circled very high"}) {
      filler_.emplace_back(phrase);
      add_words(phrase);
    }
    add_words("plan scene facts ask");
    places_ = add_words(
        "accra athens bath bergen bonn bruges cadiz cairo cork delhi derry dover genoa ghent graz "
        "hanoi havana kiel kyoto leeds lima linz lyon malta mainz minsk nantes oslo padua perth "
        "pisa porto quito riga siena split tunis turin vienna york");
    trades_ = add_words(
        "baker brewer butcher carter clerk cobbler cook cooper dyer farmer fisher fletcher "
        "gardener glazier groom guard hunter joiner judge mason miller miner monk nurse painter "
        "piper potter porter sailor scribe shepherd smith soldier tailor tanner teacher trader "
        "tinker weaver writer");
  }

  int add(const std::string& word) {
    const auto [entry, inserted] = ids_.emplace(word, size());
    if (inserted) {
      words_.push_back(word);
    }
    return entry->second;
  }

  // prefix0, prefix1, ...: consecutive ids; returns the first.
  int add_numbers(const std::string& prefix, int count) {
    const int first = size();
    for (int n = 0; n < count; ++n) {
      add(prefix + std::to_string(n));
    }
    return first;
  }

  std::vector<int> add_words(const std::string& text) {
    std::vector<int> ids;
    std::istringstream stream(text);
    for (std::string word; stream >> word;) {
      ids.push_back(add(word));
    }
    return ids;
  }

  std::vector<std::string> words_;
  std::unordered_map<std::string, int> ids_;
  std::vector<std::string> filler_;
  std::vector<int> names_;
  std::vector<int> things_;
  std::vector<int> places_;
  std::vector<int> trades_;
  int first_number_ = 0;
  int first_for_ = 0;
  int first_every_ = 0;
  int first_long_every_ = 0;
};

}  // namespace morphkv::tasks

#endif  // MORPHKV_BENCH_TASKS_VOCABULARY_HPP
