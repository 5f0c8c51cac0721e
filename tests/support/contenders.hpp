// SPDX-License-Identifier: Apache-2.0
/// \file
/// Every policy with its oracle, made from one common setting: the types of typed tests.
#ifndef MORPHKV_TESTS_SUPPORT_CONTENDERS_HPP
#define MORPHKV_TESTS_SUPPORT_CONTENDERS_HPP

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <ostream>

#include "morphkv/policy/decayed_max.hpp"
#include "morphkv/policy/full.hpp"
#include "morphkv/policy/h2o.hpp"
#include "morphkv/policy/morphkv.hpp"
#include "morphkv/policy/random.hpp"
#include "morphkv/policy/snapkv.hpp"
#include "morphkv/policy/streaming_llm.hpp"
#include "morphkv/policy/tova.hpp"
#include "oracle/scorings.hpp"

namespace morphkv::testing {

/// What all policies can be told. A policy takes from it what it has.
struct Setting {
  std::size_t capacity = 16;
  std::size_t window = 4;
  std::size_t sinks = default_sinks;
  bool protect_prompt = false;
  std::size_t max_tokens = 64;  ///< of those that grow
  std::size_t history = 0;
  GroupFusion group = GroupFusion::max;
};

inline std::ostream& operator<<(std::ostream& out, const Setting& s) {
  return out << "capacity " << s.capacity << ", window " << s.window << ", sinks " << s.sinks
             << ", protect_prompt " << s.protect_prompt << ", max_tokens " << s.max_tokens
             << ", history " << s.history;
}

template <Fusion fusion>
struct MorphKVContender {
  using Policy = MorphKV;
  static Policy::Options options(const Setting& s) {
    return {.capacity = s.capacity,
            .window = s.window,
            .fusion = fusion,
            .group = s.group,
            .sinks = s.sinks,
            .protect_prompt = s.protect_prompt,
            .panes = 0,
            .history = s.history};
  }
  static oracle::EvictionOracle reference(const Setting& s) {
    constexpr auto combine = fusion == Fusion::sum ? oracle::Combine::sum : oracle::Combine::max;
    return oracle::morphkv_oracle(s.capacity, s.window, combine, s.sinks, s.protect_prompt);
  }
};

/// A half-life of one token: the library's float scores are then exact.
template <bool distant, bool pinned = false, bool prompt_only = false>
struct DecayedMaxContender {
  using Policy = DecayedMax;
  static std::size_t distance(const Setting& s) { return distant ? s.window / 2 : 0; }
  static std::size_t pins(const Setting& s) {
    const std::size_t room = s.capacity - s.window - s.sinks;
    return pinned ? room - room / 4 : 0;
  }
  static std::size_t response_slots(const Setting& s) {
    return !prompt_only ? 0 : std::max(s.max_tokens, s.capacity + 1) - s.capacity;
  }
  static constexpr std::size_t pin_half_life = 7;
  static Policy::Options options(const Setting& s) {
    return {.capacity = s.capacity,
            .recent = s.window,
            .half_life = 1,
            .distance = distance(s),
            .group = s.group,
            .sinks = s.sinks,
            .protect_prompt = s.protect_prompt,
            .pins = pins(s),
            .pin_half_life = pin_half_life,
            .response_slots = response_slots(s),
            .history = s.history};
  }
  static oracle::EvictionOracle reference(const Setting& s) {
    return oracle::decayed_max_oracle(s.capacity, s.window, 1, distance(s), s.sinks,
                                      s.protect_prompt, pins(s), pin_half_life,
                                      prompt_only ? s.capacity + response_slots(s) : 0);
  }
};

template <Pooling pooling, std::size_t kernel>
struct SnapKVContender {
  using Policy = SnapKV;
  static Policy::Options options(const Setting& s) {
    return {.capacity = s.capacity,
            .window = s.window,
            .kernel = kernel,
            .pooling = pooling,
            .group = s.group,
            .sinks = s.sinks,
            .protect_prompt = s.protect_prompt,
            .max_tokens = s.max_tokens,
            .history = s.history};
  }
  static oracle::EvictionOracle reference(const Setting& s) {
    constexpr auto combine =
        pooling == Pooling::average ? oracle::Combine::sum : oracle::Combine::max;
    return oracle::snapkv_oracle(s.capacity, s.window, kernel, combine, s.sinks, s.protect_prompt,
                                 s.max_tokens);
  }
};

template <bool normalised>
struct H2OContender {
  using Policy = H2O;
  static Policy::Options options(const Setting& s) {
    return {.heavy = s.capacity - s.window,
            .recent = s.window,
            .normalised = normalised,
            .group = s.group,
            .sinks = s.sinks,
            .protect_prompt = s.protect_prompt,
            .history = s.history};
  }
  static oracle::EvictionOracle reference(const Setting& s) {
    return oracle::h2o_oracle(s.capacity - s.window, s.window, normalised, s.sinks,
                              s.protect_prompt);
  }
};

struct StreamingLLMContender {
  using Policy = StreamingLLM;
  static Policy::Options options(const Setting& s) {
    return {.capacity = s.capacity,
            .sinks = s.sinks,
            .protect_prompt = s.protect_prompt,
            .group = s.group,
            .history = s.history};
  }
  static oracle::EvictionOracle reference(const Setting& s) {
    return oracle::streaming_llm_oracle(s.capacity, s.sinks, s.protect_prompt);
  }
};

struct TOVAContender {
  using Policy = TOVA;
  static Policy::Options options(const Setting& s) {
    return {.capacity = s.capacity,
            .recent = s.window,
            .group = s.group,
            .sinks = s.sinks,
            .protect_prompt = s.protect_prompt,
            .history = s.history};
  }
  static oracle::EvictionOracle reference(const Setting& s) {
    return oracle::tova_oracle(s.capacity, s.window, s.sinks, s.protect_prompt);
  }
};

struct FullContender {
  using Policy = Full;
  static Policy::Options options(const Setting& s) {
    return {.max_tokens = s.max_tokens, .group = s.group, .history = s.history};
  }
  static oracle::EvictionOracle reference(const Setting& s) {
    return oracle::full_oracle(s.max_tokens);
  }
};

/// No oracle can foretell its choice; it takes part where only properties count.
struct RandomContender {
  using Policy = morphkv::Random;
  static Policy::Options options(const Setting& s) {
    return {.capacity = s.capacity,
            .seed = 7,
            .recent = s.window,
            .sinks = s.sinks,
            .protect_prompt = s.protect_prompt,
            .group = s.group,
            .history = s.history};
  }
};

using MorphKVSum = MorphKVContender<Fusion::sum>;
using MorphKVMax = MorphKVContender<Fusion::max>;
using SnapKVAverage = SnapKVContender<Pooling::average, 5>;
using SnapKVMax = SnapKVContender<Pooling::max, 7>;
using SnapKVUnpooled = SnapKVContender<Pooling::average, 1>;
using H2OPlain = H2OContender<false>;
using H2ONormalised = H2OContender<true>;
using DecayedMaxOfAll = DecayedMaxContender<false>;
using DecayedMaxOfDistant = DecayedMaxContender<true>;
using DecayedMaxWithPins = DecayedMaxContender<true, true>;
using DecayedMaxOfPrompts = DecayedMaxContender<true, true, true>;

/// Those that an oracle follows.
using OracleContenders =
    ::testing::Types<MorphKVSum, MorphKVMax, SnapKVAverage, SnapKVMax, SnapKVUnpooled, H2OPlain,
                     H2ONormalised, DecayedMaxOfAll, DecayedMaxOfDistant, DecayedMaxWithPins,
                     DecayedMaxOfPrompts, StreamingLLMContender, TOVAContender, FullContender>;
using AllContenders =
    ::testing::Types<MorphKVSum, MorphKVMax, SnapKVAverage, SnapKVMax, SnapKVUnpooled, H2OPlain,
                     H2ONormalised, DecayedMaxOfAll, DecayedMaxOfDistant, DecayedMaxWithPins,
                     DecayedMaxOfPrompts, StreamingLLMContender, TOVAContender, FullContender,
                     RandomContender>;
/// One of each kind, where every policy would only repeat the others (and compile for minutes).
using OneOfEachKind = ::testing::Types<MorphKVSum, SnapKVAverage, H2OPlain>;
/// Those whose size is bounded however long the sequence.
using BoundedContenders = ::testing::Types<MorphKVSum, MorphKVMax, H2OPlain, H2ONormalised,
                                           DecayedMaxOfAll, DecayedMaxOfDistant, DecayedMaxWithPins,
                                           StreamingLLMContender, TOVAContender, RandomContender>;

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_SUPPORT_CONTENDERS_HPP
