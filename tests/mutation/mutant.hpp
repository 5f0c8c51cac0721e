// SPDX-License-Identifier: Apache-2.0
/// \file
/// An operator that another replaces while the program runs: `a < b` becomes
/// `a < mutant<7, '<', 'L'> < b`, which is a <= b where the environment says MORPHKV_MUTANT=7. So
/// all mutants are compiled at once. The operators around keep their precedence.
#ifndef MORPHKV_TESTS_MUTATION_MUTANT_HPP
#define MORPHKV_TESTS_MUTATION_MUTANT_HPP

#include <atomic>
#include <cstdlib>
#include <type_traits>
#include <utility>

namespace morphkv_mutation {

inline const int chosen = [] {
  const char* text = std::getenv("MORPHKV_MUTANT");
  return text == nullptr ? -1 : std::atoi(text);
}();

/// Which operators have run, while reached.cpp records them; and of these, those whose operands
/// have no other operator, such as the sum of two iterators.
inline constexpr int most = 1 << 13;
inline std::atomic<bool> reached[most];
inline std::atomic<bool> impossible[most];

/// op: < > L (<=) G (>=) = (==) ! (!=) + - * /
template <char op>
constexpr auto apply(const auto& a, const auto& b) {
  if constexpr (op == '<') return a < b;
  if constexpr (op == '>') return a > b;
  if constexpr (op == 'L') return a <= b;
  if constexpr (op == 'G') return a >= b;
  if constexpr (op == '=') return a == b;
  if constexpr (op == '!') return a != b;
  if constexpr (op == '+') return a + b;
  if constexpr (op == '-') return a - b;
  if constexpr (op == '*') return a * b;
  if constexpr (op == '/') return b == decltype(b){} ? a : a / b;
}

template <char op, class A, class B>
concept Possible = (op != '+' && op != '-' && op != '/') || requires(A a, B b) {
  a - b;
  a + b;
};

template <int number, char from, char to>
struct Mutant {};
template <int number, char from, char to>
inline constexpr Mutant<number, from, to> mutant{};

template <class A, int number, char from, char to>
struct Left {
  A a;
  template <class B>
  constexpr auto with(const B& b) const {
    using Result = decltype(apply<from>(a, b));
    static_assert(number < most);
    if (!std::is_constant_evaluated()) {
      if constexpr (Possible<to, A, B>) {
        if (chosen == number) return static_cast<Result>(apply<to>(a, b));
        if (chosen < 0) reached[number].store(true, std::memory_order_relaxed);
      } else {
        impossible[number].store(true, std::memory_order_relaxed);
      }
    }
    return apply<from>(a, b);
  }
};

#define MORPHKV_MUTATION(op)                                               \
  template <class A, int number, char from, char to>                       \
  constexpr auto operator op(A a, Mutant<number, from, to>) {              \
    return Left<A, number, from, to>{a};                                   \
  }                                                                        \
  template <class A, int number, char from, char to, class B>              \
  constexpr auto operator op(const Left<A, number, from, to>& left, B b) { \
    return left.with(b);                                                   \
  }
MORPHKV_MUTATION(<)
MORPHKV_MUTATION(>)
MORPHKV_MUTATION(<=)
MORPHKV_MUTATION(>=)
MORPHKV_MUTATION(==)
MORPHKV_MUTATION(!=)
MORPHKV_MUTATION(+)
MORPHKV_MUTATION(-)
MORPHKV_MUTATION(*)
#undef MORPHKV_MUTATION

}  // namespace morphkv_mutation

#endif  // MORPHKV_TESTS_MUTATION_MUTANT_HPP
