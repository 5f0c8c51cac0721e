// SPDX-License-Identifier: Apache-2.0
/// \file
/// What texts state and are asked for: tasks that SmolLM2-135M does with a full cache. Eight
/// names with numbers, and pairs of unrelated words, are beyond it.
#ifndef MORPHKV_BENCH_REAL_LOOKUP_TASKS_HPP
#define MORPHKV_BENCH_REAL_LOOKUP_TASKS_HPP

#include <array>
#include <cstddef>
#include <iterator>
#include <random>
#include <string>
#include <utility>

#include "real/lookup.hpp"
#include "tasks/passkey.hpp"

namespace morphkv::real {

struct LookupTask {
  const char* name;
  Fact (*make)(std::mt19937_64& random);
};

inline constexpr const char* passkey_task = "passkey";
using tasks::passkey_digits;

namespace detail {

/// The items in random order.
template <class Item, std::size_t Size>
[[nodiscard]] std::array<Item, Size> shuffled(std::array<Item, Size> items,
                                              std::mt19937_64& random) {
  for (std::size_t i = Size - 1; i > 0; --i) std::swap(items[i], items[random() % (i + 1)]);
  return items;
}

[[nodiscard]] inline Fact passkey(std::mt19937_64& random, std::size_t mentions) {
  const std::string number = tasks::random_passkey(random);
  return {.statement = "The secret pass key is " + number + ". Remember it.",
          .mentions = mentions,
          .question = "What is the secret pass key in the text?",
          .lead = "The secret pass key is",
          .answer = " " + number};
}

/// A list of names with numbers, one of which is asked for.
[[nodiscard]] inline Fact key_value(std::mt19937_64& random) {
  constexpr std::size_t entries = 4;
  const auto names =
      shuffled(std::to_array<const char*>({"Anna", "Bruno", "Clara", "David", "Elena", "Felix",
                                           "Greta", "Henry", "Irene", "Jacob", "Karen", "Louis"}),
               random);
  const std::size_t asked = random() % entries;
  Fact fact;
  fact.statement = "Phone numbers:";
  for (std::size_t i = 0; i < entries; ++i) {
    const std::string number = tasks::random_passkey(random);
    fact.statement += "\n" + std::string(names[i]) + ": " + number;
    if (i == asked) fact.answer = " " + number;
  }
  const std::string name = names[asked];
  fact.question = "What is the phone number of " + name + "?";
  fact.lead = name + ":";
  return fact;
}

/// Examples of a rule, one of which is asked for again: the verb does not say which ending it
/// takes.
[[nodiscard]] inline Fact few_shot(std::mt19937_64& random) {
  constexpr std::size_t examples = 8;
  const auto verbs = shuffled(
      std::to_array<const char*>({"walk", "talk",  "jump", "help", "open",  "clean", "paint",
                                  "cook", "climb", "call", "kick", "pull",  "lift",  "load",
                                  "pick", "work",  "play", "rent", "plant", "print"}),
      random);
  constexpr const char* endings[] = {"s", "ed", "ing"};
  const std::string ending = endings[random() % std::size(endings)];
  const std::size_t asked = random() % examples;
  const auto input = [&](std::size_t i) { return "Input: " + std::string(verbs[i]); };
  const auto output = [&](std::size_t i) { return " " + std::string(verbs[i]) + ending; };
  Fact fact;
  for (std::size_t i = 0; i < examples; ++i) {
    fact.statement += (i == 0 ? "" : "\n\n") + input(i) + "\nOutput:" + output(i);
  }
  fact.question = input(asked);
  fact.lead = "Output:";
  fact.answer = output(asked);
  return fact;
}

}  // namespace detail

inline constexpr LookupTask lookup_tasks[] = {
    {passkey_task, [](std::mt19937_64& random) { return detail::passkey(random, 1); }},
    {"passkey x 3", [](std::mt19937_64& random) { return detail::passkey(random, 3); }},
    {"key-value", &detail::key_value},
    {"few-shot", &detail::few_shot}};

}  // namespace morphkv::real

#endif  // MORPHKV_BENCH_REAL_LOOKUP_TASKS_HPP
