// SPDX-License-Identifier: Apache-2.0
#ifndef MORPHKV_BENCH_TASKS_VOCABULARY_HPP
#define MORPHKV_BENCH_TASKS_VOCABULARY_HPP

#include <cstddef>
#include <sstream>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace morphkv::tasks {

// A word-level vocabulary: one token a word. Ids are dense and never change once a model is
// trained.
class Vocabulary {
 public:
  static constexpr int number_count = 128;
  static constexpr int argument_count = 10;

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
  [[nodiscard]] int every_days(int n) const { return first_every_ + n; }

  [[nodiscard]] const std::vector<int>& names() const { return names_; }
  [[nodiscard]] const std::vector<int>& things() const { return things_; }
  [[nodiscard]] const std::vector<std::string>& filler() const { return filler_; }

  // The ids of a text whose words are separated by white space.
  [[nodiscard]] std::vector<int> encode(const std::string& text) const {
    std::vector<int> ids;
    std::istringstream stream(text);
    for (std::string word; stream >> word;) {
      ids.push_back(id(word));
    }
    return ids;
  }

 private:
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
  int first_number_ = 0;
  int first_for_ = 0;
  int first_every_ = 0;
};

}  // namespace morphkv::tasks

#endif  // MORPHKV_BENCH_TASKS_VOCABULARY_HPP
