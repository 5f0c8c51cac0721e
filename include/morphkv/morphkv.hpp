// SPDX-License-Identifier: Apache-2.0
/// \file
/// The whole library, but for the optional device headers under cuda/.
#ifndef MORPHKV_MORPHKV_HPP
#define MORPHKV_MORPHKV_HPP

#include "morphkv/cache/budget.hpp"
#include "morphkv/cache/engine_storage.hpp"
#include "morphkv/cache/kv_cache.hpp"
#include "morphkv/cache/sequence_pool.hpp"
#include "morphkv/policy/decayed_max.hpp"
#include "morphkv/policy/full.hpp"
#include "morphkv/policy/h2o.hpp"
#include "morphkv/policy/morphkv.hpp"
#include "morphkv/policy/random.hpp"
#include "morphkv/policy/recommended.hpp"
#include "morphkv/policy/snapkv.hpp"
#include "morphkv/policy/streaming_llm.hpp"
#include "morphkv/policy/tova.hpp"
#include "morphkv/score/recurrent_score.hpp"
#include "morphkv/version.hpp"

#endif  // MORPHKV_MORPHKV_HPP
